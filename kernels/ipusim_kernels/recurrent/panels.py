"""Products with weights that are used again every step: panels of columns, each a register tile wide.

Ideal: out[i, j] = sum over k of a[i, k] w[k, j], one fused multiply-add per k and in the order of k (the tile of
`conv.numeric_tile`).  A step of a small batch takes as long as its weights need from the cache: a panel lies in memory
in the order in which it is read, so that the processor fetches ahead.  A panel is twice as wide as a tile of the matmul
and has half its rows: one row alone then has chains enough to keep the arithmetic busy.  Sums do not depend on how many
rows there are.  Omitted: cutting long sums so that a panel stays in the nearest cache.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.address import address_of
from ipusim.jit import jit
from ipusim_kernels.conv.numeric_tile import LANES, ROWS, VECTORS, fma_tile
from ipusim_kernels.halves import widen

Array = NDArray[Any]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
VECTORS_WIDE = 2 * VECTORS
ROWS_AT_ONCE = ROWS // 2
WIDTH = VECTORS_WIDE * LANES  # columns of a panel
LINE = 16  # numbers in a cache line
_MADE: dict[Any, tuple[weakref.ref[Array], F32]] = {}


def panels(weights: Array) -> F32:
    """Weights (columns, depth) as panels (ceil(columns / WIDTH), depth, WIDTH) float32, zeros beyond the last column,
    at the start of a cache line.  Of an array that nobody may write to, they are kept as long as it lives.
    """
    if weights.flags.writeable or not isinstance(weights.base, np.ndarray):
        return _panels(weights)
    held = weights.__array_interface__
    key = (held["data"], weights.shape, weights.strides, held["typestr"])
    if key not in _MADE:
        _MADE[key] = weakref.ref(weights.base, lambda _: _MADE.pop(key, None)), _panels(weights)
    return _MADE[key][1]


def _panels(weights: Array) -> F32:
    columns, depth = weights.shape
    count = -(-columns // WIDTH)
    memory = np.zeros(count * depth * WIDTH + LINE, np.float32)
    start = -(address_of(memory) // memory.itemsize) % LINE
    made = memory[start : start + count * depth * WIDTH].reshape(count, depth, WIDTH)
    wide = widen(weights)
    for number, panel in enumerate(made):
        part = wide[number * WIDTH : (number + 1) * WIDTH]
        panel[:, : len(part)] = part.T
    return made


@jit
def taps_of(b: F32) -> I32:
    """Where the operands of each multiply-add lie in a row and in a panel.  Returns: (2, depth)."""
    depth = b.shape[1]
    taps = np.empty((2, depth), np.int32)
    for k in range(depth):
        taps[0, k], taps[1, k] = k, k * WIDTH
    return taps


@jit
def product(a: F32, b: F32, taps: I32, out: F32, add: bool) -> None:
    """out (m, panels WIDTH) = a (m, depth) times panels b, or is increased by it; all C-contiguous."""
    m, depth = a.shape
    count, width = len(b), out.shape[1]
    flat, sums = b.reshape(-1), out.reshape(-1)
    for p in range(count):
        column, place = p * depth * WIDTH, p * WIDTH
        i = 0
        while i + ROWS_AT_ONCE <= m:
            arrays = (a[i:].reshape(-1), flat, taps[0], taps[1], sums)
            fma_tile(ROWS_AT_ONCE, VECTORS_WIDE, arrays, depth, column, 0, depth, i * width + place, width, add)
            i += ROWS_AT_ONCE
        while i + 2 <= m:
            arrays = (a[i:].reshape(-1), flat, taps[0], taps[1], sums)
            fma_tile(2, VECTORS_WIDE, arrays, depth, column, 0, depth, i * width + place, width, add)
            i += 2
        if i < m:
            arrays = (a[i:].reshape(-1), flat, taps[0], taps[1], sums)
            fma_tile(1, VECTORS_WIDE, arrays, depth, column, 0, depth, i * width + place, width, add)
