"""Lowering of reductions over axes, in one or two stages.

x is seen as (kept, reduced) and cut into a grid over the tiles; each tile reduces its box, and if the reduced axis
was cut, a second stage adds up the pieces where the results live.  The grid is chosen by price: bytes received, the
reduce vertex, and the second superstep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType, float32, int32
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.lower import search
from ipusim.lower.rules import Lowering
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup, WholeOp
from ipusim.program.mapping import Mapping, even_cuts
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node
from ipusim.workload.ops import ArgReduce, Reduce
from ipusim_kernels.reduce import codelets
from ipusim_kernels.reduce.codelets import ARG_REDUCE, REDUCE_AXIS, ArgAttrs, AxisAttrs, WholeReduce, reduce_box

I32 = NDArray[np.int32]


@jit
def _price(
    table: I32, kept: int, reduced: int, element: int, half: bool, fixed: int, rate: int, out: NDArray[np.int64]
) -> None:
    """Cycles of each grid (pieces of kept, pieces of reduced)."""
    for i in range(len(table)):
        k, r = -(-kept // table[i, 0]), -(-reduced // table[i, 1])
        cycles = -(-k * r * element // rate) + reduce_box(k, r, half, False, True)
        if table[i, 1] > 1:
            cycles += fixed + -(-k * table[i, 1] * 4 // rate) + reduce_box(k, table[i, 1], False, half, True)
        out[i] = cycles


@final
@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """First-stage vertices: rows (kept, reduced), boxes of x and of pieces, mapping of pieces (pieces, kept)."""

    rows: Rows
    x: Boxes
    out: Boxes
    mapping: Mapping


@lru_cache(maxsize=1024)
def grid(kept: int, reduced: int, element: int, half: bool, chip: ChipSpec, whole_rows: bool = False) -> Grid:
    """The cheapest grid for a reduction of (kept, reduced) elements of `element` bytes; `whole_rows` keeps rows
    together.
    """
    table = search.candidates((kept, 1 if whole_rows else reduced), chip.tiles)
    cycles = np.empty(len(table), np.int64)
    exchange = chip.exchange
    fixed = chip.sync.on_chip_cycles + exchange.lead_in_cycles + exchange.latency_cycles
    _price(table, kept, reduced, element, half, fixed, exchange.bytes_per_cycle, cycles)
    pieces = table[int(cycles.argmin())]
    return _grid(kept, reduced, int(pieces[0]), int(pieces[1]))


def _grid(kept: int, reduced: int, pk: int, pr: int) -> Grid:
    ck, cr = even_cuts(kept, pk), even_cuts(reduced, pr)
    pk, pr = len(ck) - 1, len(cr) - 1
    at_k, at_r = (a.ravel() for a in np.meshgrid(np.arange(pk), np.arange(pr), indexing="ij"))
    lo = np.stack([ck[at_k], cr[at_r]], axis=1).astype(np.int32)
    hi = np.stack([ck[at_k + 1], cr[at_r + 1]], axis=1).astype(np.int32)
    tile = np.arange(pk * pr, dtype=np.int32)
    out_lo = np.stack([at_r, ck[at_k]], axis=1).astype(np.int32)
    out_hi = np.stack([at_r + 1, ck[at_k + 1]], axis=1).astype(np.int32)
    tiles = np.ascontiguousarray(tile.reshape(pk, pr).T)
    return Grid(
        Rows(tile, (hi - lo).astype(np.int32)),
        Boxes.one_each(lo, hi),
        Boxes.one_each(out_lo, out_hi),
        Mapping((pr, kept), (np.arange(pr + 1, dtype=np.int32), ck), tiles),
    )


@lru_cache(maxsize=1024)
def combine(mapping: Mapping) -> tuple[Rows, Boxes, Boxes, Mapping]:
    """Second stage over pieces mapped by `mapping` (pieces, kept): rows, boxes of pieces and result, mapping of the
    result (1, kept).
    """
    ck = mapping.cuts[1]
    first = Mapping((1, mapping.shape[1]), (np.array([0, 1], np.int32), ck), np.ascontiguousarray(mapping.tiles[:1]))
    shares = first.shares()
    kept_lo, kept_hi = shares.lo[:, 1], shares.hi[:, 1]
    zero = np.zeros_like(kept_lo)
    pieces = np.full_like(kept_lo, mapping.shape[0])
    x = Boxes.one_each(np.stack([kept_lo, zero], axis=1), np.stack([kept_hi, pieces], axis=1))
    sizes = np.stack([kept_hi - kept_lo, pieces], axis=1).astype(np.int32)
    out = Boxes.one_each(shares.lo, shares.hi)
    return Rows(shares.tiles, sizes), x, out, first


def reduce_rows(
    low: Lowering,
    kind: str,
    x: Tensor,
    dtype: DType,
    name: str,
    whole: WholeOp | None = None,
    *,
    deferred: bool = False,
) -> Tensor:
    """Adds a reduction of x (kept, reduced) along its second axis; the result, (kept,) of `dtype`.

    `whole` replaces how its values are made; with `deferred` a later group makes them.
    """
    return _reduce(low, (kind,), x, dtype, name, whole, deferred)[0]


def reduce_together(low: Lowering, kinds: Sequence[str], x: Tensor, dtype: DType, name: str) -> list[Tensor]:
    """Several reductions of x (kept, reduced) in the same supersteps (popops reduceMany); values deferred."""
    return _reduce(low, kinds, x, dtype, name, None, True)


def _reduce(
    low: Lowering, kinds: Sequence[str], x: Tensor, dtype: DType, name: str, whole: WholeOp | None, deferred: bool
) -> list[Tensor]:
    kept, reduced = low.mapped(x).shape
    half = x.dtype.bytes == 2
    found = grid(kept, reduced, x.dtype.bytes, half, low.chip)
    single = found.mapping.shape[0] == 1
    partial = dtype if single else _partial(x.dtype)
    names = [name if len(kinds) == 1 else f"{name}/{kind}" for kind in kinds]
    pieces = [Tensor.of(low.variable(found.mapping.shape, partial, f"{n}/pieces", found.mapping)) for n in names]
    results = [p.reshape((kept,)) for p in pieces] if single else []
    groups = []
    for i, (kind, out) in enumerate(zip(kinds, pieces, strict=True)):
        attrs = AxisAttrs(kind, half, partial.bytes == 2, reduced, True, single, _adds(kind))
        fields = (Field("x", "in", x, found.x), Field("out", "out", out, found.out))
        values = _values(whole, kind, x, results[i], deferred) if single else (None, True)
        groups.append(VertexGroup(REDUCE_AXIS, attrs, found.rows, fields, *values))
    low.execute(name, groups)
    if single:
        return results
    rows, boxes, target, mapping = combine(found.mapping)
    groups = []
    for kind, part, n in zip(kinds, pieces, names, strict=True):
        made = Tensor.of(low.variable((1, kept), dtype, n, mapping))
        results.append(made.reshape((kept,)))
        attrs = AxisAttrs(kind, partial.bytes == 2, dtype.bytes == 2, reduced, False, True, _adds(kind))
        fields = (Field("pieces", "in", part.transpose((1, 0)), boxes), Field("out", "out", made, target))
        values = _values(whole, kind, x, results[-1], deferred)
        groups.append(VertexGroup(REDUCE_AXIS, attrs, rows, fields, *values))
    low.execute(f"{name}/combine", groups)
    return results


def _adds(kind: str) -> bool:
    return kind not in ("max", "min", "prod", "log_sum_exp")


def _partial(dtype: DType) -> DType:
    return float32 if dtype.is_float else dtype


def _values(whole: WholeOp | None, kind: str, x: Tensor, result: Tensor, deferred: bool) -> tuple[WholeOp | None, bool]:
    if deferred:
        return None, True
    return whole or WholeOp(codelets.whole_reduce, WholeReduce(kind), (x, result)), False


def as_rows(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """x as (kept, reduced) with `axes` reduced, and the kept shape."""
    keep = [a for a in range(len(x.shape)) if a not in axes]
    shape = tuple(x.shape[a] for a in keep)
    count = int(np.prod([x.shape[a] for a in axes]))
    return x.transpose([*keep, *axes]).reshape((int(np.prod(shape)), count)), shape


def lower_reduce(low: Lowering, op: Reduce, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Reduce."""
    low.note(f"reduce {op.kind}")
    low.place(inputs[0])
    rows, _ = as_rows(inputs[0], op.axes)
    return [reduce_rows(low, op.kind, rows, inputs[0].dtype, op.kind).reshape(node.outputs[0].shape)]


def lower_arg_reduce(low: Lowering, op: ArgReduce, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """ArgReduce: whole rows on each tile."""
    low.note(f"arg {op.kind}")
    x, _ = as_rows(low.mapped(inputs[0]), [op.axis])
    kept, reduced = x.shape
    found = grid(kept, reduced, x.dtype.bytes, x.dtype.bytes == 2, low.chip, True)
    made = low.variable((1, kept), int32, "index", found.mapping)
    fields = (
        Field("x", "in", x, found.x),
        Field("out", "out", Tensor.of(made).reshape((kept,)), _kept_only(found.out)),
    )
    attrs = ArgAttrs(op.kind, x.dtype.bytes == 2)
    low.execute("arg", [VertexGroup(ARG_REDUCE, attrs, found.rows, fields)])
    return [Tensor.of(made).reshape(node.outputs[0].shape)]


def _kept_only(boxes: Boxes) -> Boxes:
    return Boxes(np.ascontiguousarray(boxes.lo[:, 1:]), np.ascontiguousarray(boxes.hi[:, 1:]), boxes.first)
