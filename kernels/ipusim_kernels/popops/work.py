"""Where the vertices of a library call go: on the tiles that hold its data, in pieces for six workers.

Ideal: a tile's share of a tensor is one stretch of its memory, and one MultiVertex works through it with all six
workers.  Where the share (of any operand) lies in several stretches, up to six worker vertices take lists of stretches
instead, cut so that they are even (poplibs lib/poputil/Util.cpp, splitRegionsBetweenWorkers).  Nothing is copied on
the tile either way.  Omitted: poplibs' choice between both by their cycles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType
from ipusim.errors import BadInput
from ipusim.program import control as prog
from ipusim.program.elements import runs
from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.placing import intervals_of, owners
from ipusim.program.tensor import Tensor, Variable

I64 = NDArray[np.int64]
Span = tuple[int, int]

WORKERS = 6  # [poplibs] worker contexts of a tile
VECTOR_BYTES = 8  # [poplibs] one load or store of a worker


def generation(graph: Graph) -> str:
    """ "mk1" or "mk2": the chip's generation, for cycle formulas that differ."""
    return graph.system.chip.generation if graph.system is not None else "mk1"


def title(name: str, call: str) -> str:
    """Debug name of a call: `path/call`, or the call alone."""
    return f"{name}/{call}" if name else call


def fresh_name(graph: Graph, label: str) -> str:
    """A name that no variable of the graph has: the label, or the label and a number."""
    taken = {v.name for v in graph.variables}
    if label not in taken:
        return label
    number = 2
    while f"{label}#{number}" in taken:
        number += 1
    return f"{label}#{number}"


def variable(graph: Graph, shape: Sequence[int], dtype: DType, label: str) -> Tensor:
    """A new variable under a free name."""
    return graph.add_variable(tuple(shape), dtype, fresh_name(graph, label))


def compute_set(graph: Graph, program: prog.Sequence, label: str) -> ComputeSet:
    """A new compute set, run by the program from here on."""
    made = graph.add_compute_set(label)
    program.add(prog.Execute(made))
    return made


def check_graph(call: str, graph: Graph, tensors: Iterable[Tensor], program: object) -> None:
    """Raises BadInput unless a call's arguments are tensors of the graph and a Sequence."""
    if not isinstance(program, prog.Sequence):
        raise BadInput(f"{call}: the program is a Sequence to append to, not {program!r}")
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise BadInput(f"{call}: needs tensors, and {tensor!r} is none")
        for held in tensor.variables():
            if not (0 <= held.number < len(graph.variables) and graph.variables[held.number] is held):
                raise BadInput(f"{call}: {held.name!r} belongs to another graph")


def show(tensor: Tensor) -> str:
    """A tensor in a message: name, shape and type."""
    return f"{tensor.label!r} {tensor.shape} {tensor.dtype}"


def like(graph: Graph, model: Tensor, dtype: DType, label: str) -> Tensor:
    """A new tensor of a tensor's shape, each element on the tile of the model's, in the same order of memory.

    A model that is a reshaped or transposed variable gives the same view of a new variable.
    """
    found = model.chain()
    if found is None:
        made = variable(graph, model.shape, dtype, label)
        _place_as(made, model, label)
        return made
    whole = variable(graph, found[0].shape, dtype, label)
    _place_as(whole, Tensor.of(found[0]), label)
    held = whole.variable
    assert held is not None
    return model.rebase(held)


def _place_as(made: Tensor, model: Tensor, label: str) -> None:
    cells = layout(label, [model.flatten()])
    held = made.variable
    assert held is not None
    for tile in np.unique(cells.tile).tolist():
        mine = cells.tile == tile
        held.painted.paint(cells.begin[mine], cells.length[mine], int(tile), held.line)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Cells:
    """Views of equal length cut into cells that are one stretch of one tile's memory in each of them.

    `begin`, `length` (c,): elements of the views; `tile` (c,): where the first view's are; per view (views, c):
    `number` of the variable, `start` element of it, `far` whether it is on another tile than the first view's,
    `position` element of its tile's part of the variable.
    """

    begin: I64
    length: I64
    tile: I64
    number: I64
    start: I64
    far: NDArray[np.bool_]
    position: I64


def layout(call: str, views: Sequence[Tensor]) -> Cells:
    """Where flat views of equal length are.  Raises BadInput for elements without a tile."""
    found = [_pieces(call, v) for v in views]
    edges = np.unique(np.concatenate([f[0] for f in found] + [np.array([views[0].elements], np.int64)]))
    begin, length = edges[:-1], np.diff(edges)
    owner = np.zeros(0, np.int64)
    columns: list[tuple[I64, I64, NDArray[np.bool_], I64]] = []
    for at, tile, number, start, position in found:
        piece = np.searchsorted(at, begin, "right") - 1
        shift = begin - at[piece]
        if not columns:
            owner = tile[piece]
        columns.append((number[piece], start[piece] + shift, tile[piece] != owner, position[piece] + shift))
    numbers, starts, fars, positions = (np.stack(c) for c in zip(*columns, strict=True))
    return Cells(begin, length, owner, numbers, starts, fars, positions)


def _pieces(call: str, view: Tensor) -> tuple[I64, I64, I64, I64, I64]:
    """(element of the view, tile, variable, element of the variable, position on the tile) of each piece."""
    found = runs([view])
    where = {v.number: intervals_of(v) for v in view.variables()}
    cut = owners(found, where)
    if int(cut.length.sum()) != view.elements or (len(cut.tile) and int(cut.tile.min()) < 0):
        raise BadInput(f"{call}: {show(view)} has elements without a tile; use set_tile_mapping or map_linearly first")
    base = np.cumsum(found.length) - found.length
    at = base[cut.run] + cut.begin - found.start[cut.run]
    return at, cut.tile, found.variable[cut.run].astype(np.int64), cut.begin, cut.position


@final
@dataclass(frozen=True, eq=False, slots=True)
class Share:
    """What a tile has to do: `rows` are spans of the flat views; `solid`: one stretch of memory in every view."""

    tile: int
    rows: tuple[Span, ...]
    solid: bool

    @property
    def elements(self) -> int:
        """Elements in all rows."""
        return sum(e - b for b, e in self.rows)


def shares(call: str, views: Sequence[Tensor], *, whole_rows: bool = False) -> list[Share]:
    """Per tile of the first view, what the tile holds.  `whole_rows`: rows end where consecutive elements end only."""
    if not views[0].elements:
        return []
    cells = layout(call, views)
    order = np.argsort(cells.tile, kind="stable")
    tile, begin, length = cells.tile[order], cells.begin[order], cells.length[order]
    same = tile[1:] == tile[:-1]
    joined = same.copy()
    for v in range(len(views)):
        number, far, at = cells.number[v][order], cells.far[v][order], cells.position[v][order]
        near = (number[1:] == number[:-1]) & ~far[1:] & ~far[:-1] & (at[1:] == at[:-1] + length[:-1])
        joined &= near | (far[1:] & far[:-1])
    touching = same & (begin[1:] == begin[:-1] + length[:-1])
    firsts = np.flatnonzero(np.append(True, ~same))
    out = []
    for first, last in zip(firsts, [*firsts[1:], len(tile)], strict=True):
        solid = bool(joined[first : last - 1].all())
        keep = touching[first : last - 1]
        keep = keep if solid or whole_rows else keep & joined[first : last - 1]
        heads = np.append(first, first + 1 + np.flatnonzero(~keep))
        ends = np.append(heads[1:], last) - 1
        rows = zip(begin[heads].tolist(), (begin[ends] + length[ends]).tolist(), strict=True)
        out.append(Share(int(tile[first]), tuple(rows), solid))
    return out


def pieces(rows: Sequence[Span], grain: int, most: int = WORKERS) -> list[list[Span]]:
    """Rows cut into up to `most` even lists, each of whole grains and, if there are so many, of two or more."""
    total = sum(e - b for b, e in rows)
    grains = -(-total // grain)
    each = max(1, -(-grains // most), -(-grains // max(1, grains // 2)))
    count = -(-grains // each)
    edges = [min(total, v * grains // count * grain) for v in range(count)] + [total]
    out: list[list[Span]] = [[] for _ in range(count)]
    at, part = 0, 0
    for begin, end in rows:
        while begin < end:
            take = min(end - begin, edges[part + 1] - at)
            out[part].append((begin, begin + take))
            begin, at = begin + take, at + take
            if at == edges[part + 1] and part + 1 < count:
                part += 1
    return [spans for spans in out if spans]


def grain_of(dtype: DType) -> int:
    """Elements of one vector load."""
    return max(1, VECTOR_BYTES // dtype.bytes)


@final
class Slicer:
    """Stretches of a flat view as tensors, made from the variables themselves where the view is no box."""

    __slots__ = ("_at", "_parts", "_view")

    def __init__(self, view: Tensor) -> None:
        self._view = view
        found = runs([view])
        variables = {v.number: v for v in view.variables()}
        self._at: I64 = np.cumsum(found.length) - found.length
        self._parts: list[tuple[Tensor, int, int]] = []
        flat: dict[Variable, Tensor] = {}
        for number, start, length in zip(
            found.variable.tolist(), found.start.tolist(), found.length.tolist(), strict=True
        ):
            held = variables[number]
            if held not in flat:
                flat[held] = Tensor.of(held).flatten()
            self._parts.append((flat[held], start, length))

    def span(self, begin: int, end: int) -> Tensor:
        """Elements begin..end."""
        if begin == end:
            return self._view.slice(0, begin, end)
        first = int(np.searchsorted(self._at, begin, "right")) - 1
        out, at = [], begin
        while at < end:
            whole, start, length = self._parts[first]
            skip = at - int(self._at[first])
            take = min(end - at, length - skip)
            out.append(whole.slice(0, start + skip, start + skip + take))
            at, first = at + take, first + 1
        return Tensor.concat(out)

    def spans(self, rows: Sequence[Span]) -> Tensor:
        """Several stretches, joined."""
        return Tensor.concat([self.span(b, e) for b, e in rows])

    def each(self, rows: Sequence[Span]) -> list[Tensor]:
        """Several stretches, one tensor each."""
        return [self.span(b, e) for b, e in rows]
