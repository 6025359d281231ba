"""Matrix products inside compiled loops.

Ideal: out[i, j] = sum over k of a[i, k] b[k, j], one fused multiply-add per k and in the order of k (the register tile
of `conv.numeric_tile`).  Operands stay where they are: a may lie transposed.  Where a tile would reach over the end, it
is put back as far as it must and makes some sums twice, with the same bits.  Omitted: blocks for the cache, as what is
inside such loops is small.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import jit
from ipusim_kernels.conv.numeric_tile import LANES, fma_tile, multiply_add

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
ROWS = 8  # [own choice] rows of a tile one vector wide: chains enough to hide the latency of a multiply-add
ZERO = np.float32(0)


@jit
def wide(m: int, n: int, a: F32, b: F32, taps: I32, steps: I32, out: F32) -> None:
    """out (m, n) = a b for n of at least LANES, all flat.

    `taps` (depth + 1,): where the elements of a row of a are, and how far rows are apart; `steps` (depth,): where the
    rows of b are.
    """
    depth = len(steps)
    apart = int(taps[depth])
    column = 0
    while True:
        i = 0
        while i < m:
            if m >= ROWS:
                i = min(i, m - ROWS)
                arrays = (a[i * apart :], b, taps, steps, out)
                fma_tile(8, 1, arrays, apart, column, 0, depth, i * n + column, n, False)
                i += ROWS
            else:
                arrays = (a[i * apart :], b, taps, steps, out)
                fma_tile(1, 1, arrays, apart, column, 0, depth, i * n + column, n, False)
                i += 1
        if column + LANES >= n:
            return
        column = min(column + LANES, n - LANES)


@jit
def narrow(m: int, n: int, a: F32, b: F32, taps: I32, steps: I32, out: F32) -> None:
    """As `wide`, for any n: eight rows side by side, column by column."""
    depth = len(steps)
    r = int(taps[depth])
    for j in range(n):
        i = 0
        while i + ROWS <= m:
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = ZERO
            for k in range(depth):
                v, at = b[steps[k] + j], i * r + taps[k]
                s0 = multiply_add(a[at], v, s0)
                s1 = multiply_add(a[at + r], v, s1)
                s2 = multiply_add(a[at + 2 * r], v, s2)
                s3 = multiply_add(a[at + 3 * r], v, s3)
                s4 = multiply_add(a[at + 4 * r], v, s4)
                s5 = multiply_add(a[at + 5 * r], v, s5)
                s6 = multiply_add(a[at + 6 * r], v, s6)
                s7 = multiply_add(a[at + 7 * r], v, s7)
            out[i * n + j], out[(i + 1) * n + j], out[(i + 2) * n + j], out[(i + 3) * n + j] = s0, s1, s2, s3
            out[(i + 4) * n + j], out[(i + 5) * n + j], out[(i + 6) * n + j], out[(i + 7) * n + j] = s4, s5, s6, s7
            i += ROWS
        while i < m:
            s0 = ZERO
            for k in range(depth):
                s0 = multiply_add(a[i * r + taps[k]], b[steps[k] + j], s0)
            out[i * n + j] = s0
            i += 1
