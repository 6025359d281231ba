"""Cycles of reduction vertices.

Ideal: eight halves or four floats are accumulated per worker cycle.  Sources: poplibs
lib/poplin/PerformanceEstimation.hpp (ReduceAdd of convolutions), lib/poplin/ConvReducePlan.cpp (stages),
lib/popops/reduction/CycleEstimationFunctions.cpp (the others), at 7eac0f26.
"""

from __future__ import annotations

from functools import lru_cache

from ipusim.jit import jit


@jit
def conv_reduce_add(elements: int, partials: int, half_out: bool, half_partials: bool) -> int:
    """Tile cycles of poplin::ReduceAdd: `partials` arrays of `elements` summed."""
    vector = 8 if half_partials else 4
    rest = elements % vector
    loops = elements // vector
    while rest:
        loops += rest & 1
        rest >>= 1
    cycles = 32
    each = loops // 6
    if loops % 6:
        if elements % vector:
            cycles += 2 * partials + (11 if half_partials else 13)
        else:
            each += 1
    fixed = (8 if half_partials else 6) if half_out else (9 if half_partials else 7)
    return 6 * (cycles + each * (3 * partials + fixed))


@jit
def conv_reduce_single_input(elements: int, partials: int, half_out: bool, half_partials: bool, fast: bool) -> int:
    """Tile cycles of ReduceAdd with contiguous partials; `partials` leaves out the tile's own."""
    vector = 8 if half_partials else 4
    fixed = (9 if half_out else 10) if half_partials else (7 if half_out else 8)
    each = (elements // vector + 5) // 6
    return 33 + 6 * (20 + each * ((1 if fast else 2) * partials + fixed))


@lru_cache(maxsize=4096)
def conv_reduce_stages(depth: int) -> tuple[int, ...]:
    """Partials left after each intermediate stage of a reduction of `depth`, e.g. 16 -> (4,), 125 -> (25, 5), 12 -> ().

    One stage below 16, two below 125, three above; each intermediate depth is one of the two integers around
    depth^((s - 1) / s) for s stages to come, whichever needs fewer inputs over all stages (the higher one on a tie).
    """
    return _stages(depth, 1 if depth < 16 else (2 if depth < 125 else 3))[1]


@lru_cache(maxsize=4096)
def _stages(depth: int, stages: int) -> tuple[float, tuple[int, ...]]:
    """(inputs per result over all stages, depth after each stage but the last)."""
    if stages == 1:
        return float(depth), ()
    root = int(depth ** ((stages - 1) / stages) + 1e-9)
    options = []
    for to in (root + 1, root):
        cost, rest = _stages(to, stages - 1)
        options.append((depth / to + cost, (to, *rest)))
    return min(options, key=lambda option: option[0])


@jit
def single_input_reduce(n: int, half_partials: bool, half_out: bool) -> int:
    """Worker cycles of a sum of n contiguous elements."""
    vector = 8 if half_partials else 4
    return 17 + 2 * n // vector + n % vector + (5 if half_out else 0)


def single_input_other(n: int, half_partials: bool, half_out: bool, per_vector: int) -> int:
    """The same without the accumulators, which hold sums only: `per_vector` cycles per 64 bits."""
    vector = 4 if half_partials else 2
    return 17 + per_vector * n // vector + n % vector + (5 if half_out else 0)


def continuous_reduce(outputs: int, partials: int, vector: int, per_vector: int, update: bool) -> int:
    """Worker cycles of ContinuousReduce: `outputs` rows of `partials`, `vector` of which take `per_vector` cycles."""
    return 17 + outputs * (12 + per_vector * (partials // vector)) + 2 * (partials % 2) + (1 if update else 0)


@jit
def strided_post(half_partials: bool, half_out: bool, adds: bool, update: bool) -> int:
    """Worker cycles after the inner loop of a strided reduction: sums, or the larger or smaller."""
    if half_partials:
        if half_out:
            return 1 + ((9 if adds else 10) if update else 7)
        return 1 + ((11 if update else 6) if adds else (10 if update else 7))
    out = (4 if update else 2) if half_out else (5 if update else 2)
    return (3 if adds else 2) + out


@jit
def strided_total(
    outputs: int, partials: int, stride: int, outer: int, half_partials: bool, post: int, each: int
) -> int:
    """Worker cycles of a strided reduction from those after its inner loop and those of `each` row of the loop."""
    group, other = stride, 4 if half_partials else 2
    while other:
        group, other = other, group % other
    return 16 + (outputs + group - 1) // group * (3 + post + outer * (3 + each * (partials - 1)))


@jit
def strided_reduce(
    outputs: int, partials: int, stride: int, outer: int, half_partials: bool, half_out: bool, adds: bool, update: bool
) -> int:
    """Worker cycles of a strided reduction: `outputs` side by side, `partials` rows `stride` apart, `outer` repeats."""
    post = strided_post(half_partials, half_out, adds, update)
    return strided_total(outputs, partials, stride, outer, half_partials, post, 1)


@jit
def arg_gather(elements: int, worker_elements: int) -> int:
    """Tile cycles of popnn::ReduceMaxClassGather: pieces of `worker_elements` searched by six workers."""
    return 9 + 6 * (30 + 3 * (min(worker_elements, elements) - 1))


@jit
def arg_sparse(elements: int) -> int:
    """Worker cycles of popnn::ReduceMaxClassSparse: the best of `elements` candidates."""
    return 27 + 3 * (elements - 1)


def arg_gather_integers(elements: int, worker_elements: int) -> int:
    """Tile cycles of popnn::ReduceMaxClassGather for integers, compiled from C++: one worker does all."""
    return 9 + 6 * (22 + -(-elements // worker_elements) * (6 * worker_elements + 25))


def arg_sparse_integers(elements: int) -> int:
    """Worker cycles of popnn::ReduceMaxClassSparse for integers."""
    return 23 + 6 * elements


@jit
def inverse_deviation_region(elements: int) -> int:
    """Worker cycles of one region of poplin::InverseStdDeviation, whose vertex takes 6 more."""
    return 4 + 5 * ((elements + 1) // 2)
