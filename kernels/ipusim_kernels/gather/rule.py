"""Lowering of gather: the table is cut by columns and rows over the tiles, and the lookups are cut
(ipusim_kernels.gather.plan); every tile looks up those of its indices that fall into its rows.  Tiles with the same
part of the table share it evenly.

If rows are cut, a second superstep picks each looked-up slice from the one tile that had it (poplibs
lib/popops/DynamicSlice.cpp: multi-stage lookup).  A single constant index is a slice and moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import final

import numpy as np

from ipusim.errors import BadInput
from ipusim.hw.spec import ChipSpec
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup, WholeOp
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node
from ipusim.workload.ops_shape import Gather
from ipusim_kernels.conv.geometry import cuts, subdivide
from ipusim_kernels.gather.cycles import multi_slice
from ipusim_kernels.gather.plan import GRAIN_BYTES, splits
from ipusim_kernels.reduce.codelets import no_flops


@final
@dataclass(frozen=True, slots=True)
class GatherAttrs:
    """Rows of the table, the user's name for the op, chip generation, and the stage."""

    rows: int
    name: str
    mk1: bool
    second: bool = False


def gather_cycles(attrs: GatherAttrs, lookups: int, columns: int, share: int, *_: int) -> int:
    """Tile cycles of MultiSlice: the lookups expected in this tile's rows, shared by six workers."""
    expected = -(-lookups * share // attrs.rows)
    per_worker = -(-expected // 6)
    each = multi_slice(per_worker, per_worker, columns, 4, attrs.mk1)  # halves take as long
    return 6 * each if attrs.mk1 else each


def _checked(attrs: GatherAttrs, indices: Array) -> Array:
    at = indices.astype(np.int64)
    wrong = (at < -attrs.rows) | (at >= attrs.rows)
    if wrong.any():
        raise BadInput(f"node {attrs.name!r}: index {int(at[wrong][0])} is outside the {attrs.rows} rows it picks from")
    return np.where(at < 0, at + attrs.rows, at)


def gather_compute(attrs: GatherAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """table (rows, columns) of this tile, all indices -> (1, lookups, columns), zero for other tiles' rows."""
    table, indices, out = (b[0] for b in boxes)
    first = sizes[3]
    at = _checked(attrs, indices) - first
    here = (at >= 0) & (at < len(table))
    out[0] = 0
    out[0][here] = table[at[here]]


def pick_compute(attrs: GatherAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """pieces (tiles of rows, lookups, columns) -> (lookups, columns): all but one piece are zero."""
    boxes[1][0][...] = boxes[0][0].sum(axis=0, dtype=boxes[0][0].dtype)


def whole_gather(attrs: GatherAttrs, arrays: Sequence[Array]) -> None:
    """table (rows, columns), indices (lookups,), out (lookups, columns)."""
    np.take(arrays[0], _checked(attrs, arrays[1]), axis=0, out=arrays[2], mode="clip")


LOOKUP = Codelet(
    "popops::MultiSlice",
    ("lookups", "columns", "rows", "first"),
    gather_cycles,
    gather_compute,
    None,
    no_flops,
    "multi",
    384,
)
PICK = Codelet(
    "popops::MultiSlicePick", ("lookups", "columns", "rows"), gather_cycles, pick_compute, None, no_flops, "multi", 256
)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Lookup:
    """Vertices of the first stage: rows, boxes of table, indices and pieces; mappings of table and pieces."""

    rows: Rows
    table: Boxes
    indices: Boxes
    pieces: Boxes
    table_map: Mapping
    pieces_map: Mapping


@lru_cache(maxsize=256)
def lookup(rows: int, columns: int, lookups: int, element: int, chip: ChipSpec) -> Lookup:
    """The first stage under the cheapest split; tiles are numbered by rows, then lookups, then columns."""
    split = splits(rows, columns, lookups, element, chip)
    by_row, by_lookup = cuts(rows, split.rows), cuts(lookups, split.lookups)
    by_column = cuts(columns, split.columns, max(1, GRAIN_BYTES // element))
    nr, nl, nc = len(by_row) - 1, len(by_lookup) - 1, len(by_column) - 1
    grid = np.arange(nr * nl * nc, dtype=np.int32).reshape(nr, nl, nc)
    r, n, c = (a.ravel() for a in np.meshgrid(np.arange(nr), np.arange(nl), np.arange(nc), indexing="ij"))
    span_r, span_n, span_c = ((edge[at], edge[at + 1]) for edge, at in ((by_row, r), (by_lookup, n), (by_column, c)))
    sizes = [span_n[1] - span_n[0], span_c[1] - span_c[0], span_r[1] - span_r[0], span_r[0]]
    users = np.ascontiguousarray(grid.transpose(0, 2, 1))
    table = Mapping((rows, columns), (by_row, by_column), users[..., 0].copy())
    return Lookup(
        Rows(grid.ravel(), np.stack(sizes, axis=1).astype(np.int32)),
        _boxes(span_r, span_c),
        _boxes(span_n),
        _boxes((r, r + 1), span_n, span_c),
        subdivide(table, users, keep=0) if nl > 1 else table,
        Mapping((nr, lookups, columns), (np.arange(nr + 1, dtype=np.int32), by_lookup, by_column), grid),
    )


def _boxes(*ranges: tuple[np.ndarray, np.ndarray]) -> Boxes:
    lo = np.stack([a for a, _ in ranges], axis=1).astype(np.int32)
    return Boxes.one_each(lo, np.stack([b for _, b in ranges], axis=1).astype(np.int32))


@lru_cache(maxsize=256)
def pick(source: Mapping) -> tuple[Rows, Boxes, Boxes, Mapping]:
    """Second stage: lookups over the tiles that hold a column piece; rows, boxes of pieces and of the result, its
    mapping.
    """
    pieces, lookups, columns = source.shape
    by_column, blocks = source.cuts[2], source.cuts[1].tolist()
    edges, tiles = [0], []
    for block, (begin, end) in enumerate(pairwise(blocks)):
        inner = cuts(end - begin, min(pieces, end - begin))
        edges += (inner[1:] + begin).tolist()
        tiles += [source.tiles[piece, block] for piece in range(len(inner) - 1)]
    by_lookup, grid = np.array(edges, np.int32), np.stack(tiles).astype(np.int32)
    n, c = (a.ravel() for a in np.meshgrid(np.arange(len(grid)), np.arange(grid.shape[1]), indexing="ij"))
    order = np.argsort(grid.ravel(), kind="stable")
    n, c = n[order], c[order]
    zero, all_pieces = np.zeros_like(n), np.full_like(n, pieces)
    spans = (by_lookup[n], by_lookup[n + 1]), (by_column[c], by_column[c + 1])
    sizes = np.stack([spans[0][1] - spans[0][0], spans[1][1] - spans[1][0], np.ones_like(n)], axis=1).astype(np.int32)
    mapping = Mapping((lookups, columns), (by_lookup, by_column), grid)
    return Rows(grid[n, c], sizes), _boxes((zero, all_pieces), *spans), _boxes(*spans), mapping


def lower_gather(low: Lowering, op: Gather, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Gather along an axis."""
    data, indices = inputs
    fixed = _constant_index(indices)
    if fixed is not None:
        low.note("view")
        size = data.shape[op.axis]
        at = fixed + size if fixed < 0 else fixed
        if not 0 <= at < size:
            raise BadInput(f"node {node.name!r}: index {fixed} is outside the {size} rows it picks from")
        return [data.slice(op.axis, at, at + 1).reshape(node.outputs[0].shape)]
    low.note("multi-slice")
    rest = [a for a in range(len(data.shape)) if a != op.axis]
    rows, other = data.shape[op.axis], tuple(data.shape[a] for a in rest)
    table = data.transpose([op.axis, *rest]).reshape((rows, int(np.prod(other))))
    flat = indices.reshape((int(np.prod(indices.shape)),))
    result = _lookup(low, node.name, table, low.mapped(flat))
    shaped = result.reshape((*indices.shape, *other))
    count = len(indices.shape)
    order = [*range(count, count + op.axis), *range(count), *range(count + op.axis, count + len(other))]
    return [shaped.transpose(order)]


def _constant_index(indices: Tensor) -> int | None:
    variable = indices.variable
    if variable is None or variable.initial is None or variable.elements != 1:
        return None
    return int(np.asarray(variable.initial.array()).reshape(())[()])


def _lookup(low: Lowering, name: str, table: Tensor, indices: Tensor) -> Tensor:
    rows, columns = table.shape
    lookups = indices.shape[0]
    found = lookup(rows, columns, lookups, table.dtype.bytes, low.chip)
    low.place(table, found.table_map)
    attrs = GatherAttrs(rows, name, low.chip.generation == "mk1")
    single = found.pieces_map.shape[0] == 1
    made = low.variable(found.pieces_map.shape, table.dtype, "found", found.pieces_map)
    fields = (
        Field("table", "in", table, found.table),
        Field("indices", "in", indices, found.indices),
        Field("found", "out", Tensor.of(made), found.pieces),
    )
    if single:
        result = Tensor.of(made).reshape((lookups, columns))
        whole = WholeOp(whole_gather, attrs, (table, indices, result))
        low.execute("lookup", [VertexGroup(LOOKUP, attrs, found.rows, fields, whole)])
        return result
    low.execute("lookup", [VertexGroup(LOOKUP, attrs, found.rows, fields, None, True)])
    picks, pieces, target, mapping = pick(found.pieces_map)
    result = Tensor.of(low.variable((lookups, columns), table.dtype, "picked", mapping))
    second = (Field("found", "in", Tensor.of(made), pieces), Field("out", "out", result, target))
    again = GatherAttrs(1, name, attrs.mk1, True)
    whole = WholeOp(whole_gather, attrs, (table, indices, result))
    low.execute("pick", [VertexGroup(PICK, again, picks, second, whole)])
    return result
