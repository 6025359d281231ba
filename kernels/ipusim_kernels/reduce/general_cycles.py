"""Cycles of the general reduction vertex, whose outputs each have a list of regions of partials.

Ideal: a vector of accumulators (eight halves or four floats; half as many for products and extremes) passes over the
partials of a region, 64 bits per cycle; what is left of an output goes bit by bit of its size.  Source: poplibs
lib/popops/reduction/CycleEstimationFunctions.cpp at 7eac0f26.
"""

from __future__ import annotations

from collections.abc import Sequence

ACCUMULATED = ("add", "square_add")
VECTORISED = (*ACCUMULATED, "mul", "max", "min")
LOG_ADD_VECTOR = (23, 13)  # [poplibs] worker cycles per 64 bits of floats, of halves
LOG_ADD_SCALAR = 20  # [poplibs] worker cycles per element where it is compiled from C++


def vector_reduce(
    outputs: Sequence[int],
    regions: Sequence[int],
    elements: Sequence[int],
    half_partials: bool,
    half_out: bool,
    accumulates: bool,
    update: bool,
) -> int:
    """Worker cycles: output i has `outputs[i]` elements and `regions[i]` regions of `elements[i]` partials each."""
    word = 4 if half_partials else 2
    width = 2 * word if accumulates else word
    cycles = 33
    for size, count, partials in zip(outputs, regions, elements, strict=True):
        vectors, rest = divmod(size, width)
        bits = [1 << i for i in range(width.bit_length() - 1)]
        pieces = [bit for bit in bits if rest & bit]
        rows = partials // size
        cycles += 24 + 2 * len(bits)
        cycles += vectors * ((5 if accumulates else 3) + _store(width, half_out, accumulates, update) + 1 + 10 * count)
        for bit in pieces:
            cycles += (4 if accumulates else 2) + _store(bit, half_out, accumulates, update) + 10 * count
        load = (4 if accumulates else 2) + width // word
        loops = vectors * (load + 3) + sum(5 + bit // min(bit, word) for bit in pieces)
        cycles += count * rows * loops
    return cycles


def _store(width: int, half_out: bool, accumulates: bool, update: bool) -> int:
    """Worker cycles to scale and store `width` results."""
    return (3 if update else 2) * min(width, 4 if half_out else 2) + (1 if accumulates else 0)


def scalar_reduce(regions: Sequence[int], elements: Sequence[int], log_add: bool, converts: bool) -> int:
    """Worker cycles of reductions compiled from C++: logical ones, and sums of logarithms."""
    each = 24 + (12 if log_add else 1) + (1 if converts else 0)
    return 31 + sum(8 + count * (22 + each * partials) for count, partials in zip(regions, elements, strict=True))
