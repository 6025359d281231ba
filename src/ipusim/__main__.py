"""`python -m ipusim` is the `ipusim` command; Ctrl-C is taken from the first line on, while modules load."""

import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"ipusim: interrupted\n")
    os._exit(130)


signal.signal(signal.SIGINT, _leave)

from ipusim.cli import main  # noqa: E402

sys.exit(main())
