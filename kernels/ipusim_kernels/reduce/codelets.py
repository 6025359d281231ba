"""Vertices of reductions over axes: x seen as (kept, reduced), one MultiVertex per tile over a box of it.

The time of a box is that of the vendor's reduce vertices on six workers: columns side by side are a strided
reduction, a single column a reduction of contiguous elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.jit import jit
from ipusim.program.codelet import Array, Codelet
from ipusim_kernels.elementwise.codelets import product_flop
from ipusim_kernels.halves import store, widen
from ipusim_kernels.reduce import numeric
from ipusim_kernels.reduce.cycles import arg_gather, arg_sparse, single_input_reduce, strided_reduce


@final
@dataclass(frozen=True, slots=True)
class AxisAttrs:
    """A stage of a reduction: kinds, types, whether it ends it, how many elements it reduces in all, and statistics
    it makes.
    """

    kind: str
    half_in: bool
    half_out: bool
    count: int
    first: bool
    last: bool
    adds: bool


@jit
def reduce_box(kept: int, reduced: int, half_in: bool, half_out: bool, adds: bool) -> int:
    """Tile cycles of reducing a box of kept x reduced elements on six workers."""
    if kept >= 6:
        share = (kept + 5) // 6
        return 13 + 6 * strided_reduce(share, reduced, share, 1, half_in, half_out, adds, False)
    workers = 6 // kept
    share = (reduced + workers - 1) // workers
    cycles = 13 + 6 * single_input_reduce(share, half_in, half_out)
    if workers > 1 and reduced > 1:
        cycles += 6 * single_input_reduce(workers, False, half_out)
    return cycles


def axis_cycles(attrs: AxisAttrs, kept: int, reduced: int) -> int:
    """Tile cycles of one vertex."""
    return reduce_box(kept, reduced, attrs.half_in, attrs.half_out, attrs.adds)


def axis_compute(attrs: AxisAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """x box (kept, reduced) -> out box (1, kept) of this stage."""
    inner, outer, finish = numeric.STAGES[attrs.kind]
    with np.errstate(all="ignore"):
        made = numeric.KINDS[inner if attrs.first else outer](widen(boxes[0][0]), 1)
        store(np.asarray(finish(made, attrs.count) if attrs.last else made), boxes[1][0][0])


REDUCE_AXIS = Codelet(
    "popops::Reduce", ("kept", "reduced"), axis_cycles, axis_compute, None, product_flop, "multi", 640
)


@final
@dataclass(frozen=True, slots=True)
class WholeReduce:
    """A reduction of x (kept, reduced)."""

    kind: str


def whole_reduce(attrs: WholeReduce, arrays: Sequence[Array]) -> None:
    """x (kept, reduced) and out (kept,)."""
    numeric.reduce(attrs.kind, arrays[0], (1,), arrays[1])


@final
@dataclass(frozen=True, slots=True)
class ArgAttrs:
    """An index reduction."""

    kind: str
    half_in: bool


def arg_cycles(attrs: ArgAttrs, kept: int, reduced: int) -> int:
    """Tile cycles of ReduceMaxClassGather for each kept row: pieces to six workers, then the best of them."""
    return kept * (arg_gather(reduced, -(-reduced // 6)) + 6 * arg_sparse(min(6, reduced)))


def arg_batched(attrs: ArgAttrs, arrays: Sequence[Array]) -> None:
    """x (kept, reduced), out (kept,)."""
    numeric.arg_reduce(attrs.kind, arrays[0], 1, arrays[1])


def arg_compute(attrs: ArgAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex."""
    numeric.arg_reduce(attrs.kind, boxes[0][0], 1, boxes[1][0])


def no_flops(attrs: object, *sizes: int) -> int:
    """Comparisons are not counted."""
    return 0


ARG_REDUCE = Codelet(
    "popnn::ReduceMaxClassGather", ("kept", "reduced"), arg_cycles, arg_compute, arg_batched, no_flops, "multi", 384
)
