"""Half tensors in float arithmetic: read as float32, rounded once when stored (to nearest even).

numba cannot read float16 on CPUs and numpy is slow at it, so halves cross as uint16 through compiled loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import float_to_half, half_to_float, jit

Array = NDArray[Any]
F32 = NDArray[np.float32]
U16 = NDArray[np.uint16]


@jit
def _widen(source: U16, target: F32) -> None:
    for i in range(len(source)):
        target[i] = half_to_float(source[i])


@jit
def _narrow(source: F32, target: U16) -> None:
    for i in range(len(source)):
        target[i] = float_to_half(source[i])


def widen(x: Array) -> Array:
    """Half data as float32, anything else as it is; broadcast axes are not repeated by the conversion."""
    if x.dtype != np.float16:
        return x
    if any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True)):
        whole = tuple(slice(0, 1) if s == 0 else slice(None) for s in x.strides)
        return np.broadcast_to(widen(x[whole]), x.shape)
    flat = np.ascontiguousarray(x)
    out = np.empty(x.shape, np.float32)
    _widen(flat.view(np.uint16).ravel(), out.ravel())
    return out


def store(values: Array, out: Array) -> None:
    """Writes values (float32, or of `out`'s type) to `out`, rounding to half where `out` is half."""
    if out.dtype == np.float16 and values.dtype == np.float32:
        flat = np.ascontiguousarray(np.broadcast_to(values, out.shape))
        if out.flags.c_contiguous:
            _narrow(flat.ravel(), out.view(np.uint16).reshape(-1))
        else:
            made = np.empty(out.shape, np.uint16)
            _narrow(flat.ravel(), made.ravel())
            out[...] = made.view(np.float16)
    else:
        out[...] = values
