"""Where in the user's own code something was made, for messages."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from types import FrameType

_OWN = f"{Path(__file__).parents[1]}{os.sep}"


def users_line() -> str:
    """`file:line` of the nearest caller outside ipusim; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _ours(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}" if frame is not None else ""  # noqa: PTH119


@lru_cache(maxsize=1024)
def _ours(filename: str) -> bool:
    return filename.startswith((_OWN, "<string")) or "ipusim_kernels" in filename
