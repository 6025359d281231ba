"""The walk over the rows of a table (`kernels`), one compiled function for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import jit

I64 = NDArray[np.int64]

HEADER = 6  # numbers of a table before its addresses


@jit
def advance(t: I64, outer: I64) -> None:
    """Moves the addresses of a table `t` to the next row, and after the last one back to the first.

    `t` ends behind the strides along a row; `outer`: for every outer axis its size, its counter and the stride of each
    operand in bytes.
    """
    many = (len(t) - HEADER) // 2
    axis = t[2] - 1
    while axis >= 0:
        k = axis * (2 + many)
        outer[k + 1] += 1
        for operand in range(many):
            t[HEADER + operand] += outer[k + 2 + operand]
        if outer[k + 1] < outer[k]:
            return
        outer[k + 1] = 0
        for operand in range(many):
            t[HEADER + operand] -= outer[k] * outer[k + 2 + operand]
        axis -= 1
