"""A small codelet in a file of its own, for tests that start processes."""

from __future__ import annotations

from ipusim.dtype import half
from ipusim.lang.decorator import codelet
from ipusim.lang.fields import InOut, Input, Vector


@codelet
def blend(x: Input[Vector[half]], y: InOut[Vector[half]], n: int, a: float):
    for i in range(n):
        if i % 2 == 0:
            y[i] = y[i] * (1.0 - a) + x[i] * a
