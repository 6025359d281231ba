"""The nine-region Gaussian blur of examples/blur.py as a plain function, one source for float, float2 and half4."""

import sys
from pathlib import Path
from typing import Any

from ipusim.dtype import DType


def make(dtype: DType) -> Any:
    """The codelet's function for images of `dtype` (float32 or half)."""
    folder = str(Path(__file__).parents[2] / "examples")
    sys.path.insert(0, folder)
    try:
        import blur
    finally:
        sys.path.remove(folder)
    made = blur.make_codelet(dtype, 1).python
    names = {**made.__globals__, "dtype": dtype}  # which a deferred annotation takes from the function around
    made.__annotations__ = {n: eval(a, names) if isinstance(a, str) else a for n, a in made.__annotations__.items()}
    return made
