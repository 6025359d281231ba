"""Reductions over axes, in stages as poplibs makes them: each tile its own elements, then tiles among each other.

Ideal: a tile reduces what it holds with six workers to one partial per output; the partials of an output then meet on
one tile.  Where an output has 16 partials or more they meet in two steps, from 125 in three, so that no tile receives
too many (poplibs lib/poplin/ConvReducePlan.cpp; popops' own planner differs in the number of pieces).  A tile with
fewer than six outputs cuts each among its workers, which makes more partials and no stage of its own.  An output whose
elements are all on one tile stays there; the others are spread over tiles.  Halves are summed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import final

import numpy as np

from ipusim.dtype import DType, bool_, float32, half
from ipusim.errors import BadInput, UnknownName
from ipusim.program import control as prog
from ipusim.program.graph import Graph
from ipusim.program.placing import MIN_BYTES_PER_TILE
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import codelets, work
from ipusim_kernels.reduce.cycles import conv_reduce_stages

OUTPUT_GRAIN = 8  # [poplibs] lib/popops/reduction/ReductionStages.cpp: outputs are spread in grains of 8 elements


def reduce(
    graph: Graph,
    x: Tensor,
    axes: int | Sequence[int] | None,
    kind: str,
    program: prog.Sequence,
    name: str = "",
) -> Tensor:
    """x reduced over some axes (None: all), which go from its shape.

    Args:
        graph: where vertices go.
        x: what is reduced.
        axes: negative numbers count from the last.
        kind: "add", "mul", "max", "min", "square_add" of numbers; "and", "or" of bools.
        program: appended to.
        name: goes before "reduce_..." in names.

    Returns: a tensor of x's type.  Raises UnknownName for another kind, BadInput for axes or a type it does not take.
    """
    if kind not in codelets.COMBINE:
        raise UnknownName("kind of reduction", kind, codelets.COMBINE)
    call = f"popops.reduce({kind!r})"
    work.check_graph(call, graph, [x], program)
    if (x.dtype == bool_) != (kind in ("and", "or")):
        raise BadInput(f"{call}: takes {'bool' if kind in ('and', 'or') else 'numbers'}, not {work.show(x)}")
    reduced = _axes(call, x, axes)
    kept = tuple(n for a, n in enumerate(x.shape) if a not in reduced)
    if not prod(x.shape[a] for a in reduced):
        raise BadInput(f"{call}: {work.show(x)} has nothing to reduce over axes {reduced}")
    made = _Reduction(graph, call, kind, x.dtype, program, work.title(name, f"reduce_{kind}"), prod(kept))
    return made.run(_view(x, reduced)).reshape(kept)


def all_true(graph: Graph, x: Tensor, program: prog.Sequence, name: str = "") -> Tensor:
    """Whether all elements of x (bool) are true.  Returns: one bool, for conditions of programs."""
    return reduce(graph, x, None, "and", program, work.title(name, "all_true"))


def any_true(graph: Graph, x: Tensor, program: prog.Sequence, name: str = "") -> Tensor:
    """Whether an element of x (bool) is true.  Returns: one bool, for conditions of programs."""
    return reduce(graph, x, None, "or", program, work.title(name, "any_true"))


def _axes(call: str, x: Tensor, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(x.ndim))
    listed = [axes] if isinstance(axes, int) else list(axes)
    found = {a + x.ndim if a < 0 else a for a in listed}
    if len(found) != len(listed) or any(not 0 <= a < x.ndim for a in found):
        raise BadInput(f"{call}: {axes} are no different axes of {work.show(x)}")
    return tuple(sorted(found))


def _view(x: Tensor, reduced: tuple[int, ...]) -> Tensor:
    """x as (outer outputs, reduced, inner outputs)."""
    if not reduced:
        return x.reshape((x.elements, 1, 1))
    count = prod(x.shape[a] for a in reduced)
    if reduced == tuple(range(reduced[0], reduced[-1] + 1)):
        return x.reshape((prod(x.shape[: reduced[0]]), count, prod(x.shape[reduced[-1] + 1 :])))
    kept = [a for a in range(x.ndim) if a not in reduced]
    return x.transpose([*kept, *reduced]).reshape((x.elements // count, count, 1))


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Task:
    """Outputs `begin`..`begin` + `width`, from `rows` of as many elements each, or (`across`) from one long row."""

    tile: int
    begin: int
    width: int
    rows: list[Tensor]
    across: bool = False


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Reduction:
    """One call: the type of x, what to append to, the number of outputs."""

    graph: Graph
    call: str
    kind: str
    dtype: DType
    program: prog.Sequence
    label: str
    outputs: int

    @property
    def held(self) -> DType:
        """The type in which partials are kept."""
        return float32 if self.dtype == half and self.kind in ("add", "mul", "square_add") else self.dtype

    def run(self, x: Tensor) -> Tensor:
        """All stages over x (outer, reduced, inner)."""
        tasks, given, kind, stage = _first_tasks(self.call, x), self.dtype, self.kind, 1
        plan: list[int] | None = None
        while True:
            most = _most(tasks, self.outputs)
            last = most <= 1
            label = self.label if last else f"{self.label}/stage{stage}"
            out = self._emit(tasks, kind, given, last, label)
            if last:
                return out
            plan = list(conv_reduce_stages(most)) if plan is None else plan
            tasks = self._meet(_joined(tasks, out), most, plan.pop(0) if plan else 1)
            kind = "add" if kind == "square_add" else kind
            given, stage = self.held, stage + 1

    def _emit(self, tasks: list[_Task], kind: str, given: DType, last: bool, label: str) -> Tensor:
        """One compute set.  Returns: the outputs if it is the last, else the partials, task after task."""
        result = self.dtype if last else self.held
        size = self.outputs if last else sum(t.width for t in tasks)
        out = work.variable(self.graph, (size,), result, label)
        if not tasks:
            self.graph.map_linearly(out)
            return out
        chosen = work.compute_set(self.graph, self.program, label)
        at = 0
        places = []
        for task in tasks:
            places.append(task.begin if last else at)
            at += task.width
            self.graph.set_tile_mapping(out[places[-1] : places[-1] + task.width], task.tile)
        for group in _vertices(tasks, places):
            first, task = places[group[0]], tasks[group[0]]
            make = codelets.reduce_rows if task.across else codelets.reduce_columns
            width = len(group) if task.across else task.width
            rows = [r for k in group for r in tasks[k].rows]
            fields = {"x": rows, "out": out[first : first + width]}
            self.graph.add_vertex(chosen, make(kind, given, self.held, result), fields, tile=task.tile)
        return out

    def _meet(self, parts: list[_Part], most: int, depth: int) -> list[_Task]:
        """Tasks of the next stage, which leaves about `depth` partials of each output.

        Partials of neighbouring tiles meet on these tiles, in the last stage on those where the outputs go.
        """
        tasks: list[_Task] = []
        size = -(-most // depth)
        first = min(p.tile for p in parts)
        for chunk in _chunks(parts, depth):
            each = self._each(len({p.tile for p in chunk}) if depth > 1 else self.graph.tiles)
            for begin, end, mine in _cells(chunk, each):
                for group in [mine[i : i + size] for i in range(0, len(mine), size)]:
                    near = sorted({chunk[k].tile for k in group})
                    tile = near[begin // each % len(near)]
                    if depth == 1 and len(near) > 1:
                        tile = (first + begin // each) % self.graph.tiles
                    tasks.append(_Task(tile, begin, end - begin, [chunk[k].cut(begin, end) for k in group]))
        return _widths_split(tasks, self.held)

    def _each(self, tiles: int) -> int:
        """Outputs per tile if they are spread over so many."""
        least = max(OUTPUT_GRAIN, MIN_BYTES_PER_TILE // self.dtype.bytes, -(-self.outputs // tiles))
        return -(-least // OUTPUT_GRAIN) * OUTPUT_GRAIN


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """Partials of outputs `begin`..`begin` + `width` side by side on a tile."""

    tile: int
    begin: int
    width: int
    held: Tensor

    def cut(self, begin: int, end: int) -> Tensor:
        """Those of some outputs."""
        return self.held[begin - self.begin : end - self.begin]


def _joined(tasks: list[_Task], partials: Tensor) -> list[_Part]:
    """What tasks left in `partials`, one after another, stretches of outputs joined."""
    out: list[_Part] = []
    at = first = 0
    for k, task in enumerate(tasks):
        at += task.width
        following = tasks[k + 1] if k + 1 < len(tasks) else None
        if following is None or (following.tile, following.begin) != (task.tile, task.begin + task.width):
            width = at - first
            out.append(_Part(task.tile, task.begin + task.width - width, width, partials[first:at]))
            first = at
    return out


def _most(tasks: list[_Task], outputs: int) -> int:
    """The most tasks that any output has."""
    change = np.zeros(outputs + 1, np.int64)
    np.add.at(change, [t.begin for t in tasks], 1)
    np.add.at(change, [t.begin + t.width for t in tasks], -1)
    return int(np.cumsum(change).max())


def _chunks(parts: list[_Part], depth: int) -> list[list[_Part]]:
    """Partials in order, in `depth` groups of about as many elements."""
    ends = np.cumsum([p.width for p in parts])
    number = (ends - 1) * depth // int(ends[-1])
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(parts)]
    return [parts[a:b] for a, b in pairwise(edges)]


def _cells(parts: list[_Part], each: int) -> list[tuple[int, int, list[int]]]:
    """Ranges of outputs that have the same partials and lie in one block of `each`: (begin, end, the partials)."""
    low, high = min(p.begin for p in parts), max(p.begin + p.width for p in parts)
    edges = {e for p in parts for e in (p.begin, p.begin + p.width)}
    bounds = sorted(edges | set(range(-(-low // each) * each, high, each)))
    index = {e: i for i, e in enumerate(bounds)}
    members: list[list[int]] = [[] for _ in bounds[1:]]
    for k, part in enumerate(parts):
        for cell in range(index[part.begin], index[part.begin + part.width]):
            members[cell].append(k)
    return [(a, b, mine) for (a, b), mine in zip(pairwise(bounds), members, strict=True) if mine]


def _vertices(tasks: list[_Task], places: list[int]) -> list[list[int]]:
    """Tasks of each vertex: rows of one tile, with outputs side by side, are dealt to six workers."""
    out: list[list[int]] = []
    stretch: list[int] = []
    for k in range(len(tasks) + 1):
        if stretch and (
            k == len(tasks)
            or not tasks[k].across
            or tasks[k].tile != tasks[stretch[-1]].tile
            or places[k] != places[stretch[-1]] + 1
        ):
            each = -(-len(stretch) // work.WORKERS)
            out += [stretch[i : i + each] for i in range(0, len(stretch), each)]
            stretch = []
        if k < len(tasks):
            if tasks[k].across:
                stretch.append(k)
            else:
                out.append([k])
    return out


def _first_tasks(call: str, x: Tensor) -> list[_Task]:
    """What each tile holds of x (outer, reduced, inner), by output."""
    _, count, inner = x.shape
    flat = x.flatten()
    slicer = work.Slicer(flat) if x.elements else None
    out: list[_Task] = []
    for held in work.shares(call, [flat], whole_rows=True):
        assert slicer is not None
        if inner == 1:
            out += _across(held, count, slicer, x.dtype)
        else:
            out += _columns(held, count, inner, slicer, x.dtype)
    return out


def _across(held: work.Share, count: int, slicer: work.Slicer, dtype: DType) -> list[_Task]:
    spans: dict[int, list[work.Span]] = {}
    for begin, end in held.rows:
        for output in range(begin // count, (end - 1) // count + 1):
            cut = (max(begin, output * count), min(end, (output + 1) * count))
            spans.setdefault(output, []).append(cut)
    most = max(1, work.WORKERS // len(spans))
    out = []
    for output, rows in sorted(spans.items()):
        parts = work.pieces(rows, work.grain_of(dtype), most)
        out += [_Task(held.tile, output, 1, [slicer.spans(part)], across=True) for part in parts]
    return out


def _columns(held: work.Share, count: int, inner: int, slicer: work.Slicer, dtype: DType) -> list[_Task]:
    spans: list[tuple[int, int, int]] = []
    for begin, end in held.rows:
        for row in range(begin // inner, (end - 1) // inner + 1):
            low, high = max(begin, row * inner), min(end, (row + 1) * inner)
            shift = (row // count - row) * inner
            spans.append((low + shift, high + shift, low))
    found = _columns_of(spans)
    most = max(1, work.WORKERS // len(found))
    out = []
    for low, high, starts in found:
        ranges = _ranges(high - low, work.grain_of(dtype), most)
        for first, last in ranges:
            rows = [slicer.span(s + first, s + last) for s in starts]
            out.append(_Task(held.tile, low + first, last - first, rows))
        if len(ranges) == 1 and most > 1 and len(starts) >= 2 * most:
            out = out[:-1] + _rows_split(out[-1], most)
    return out


def _columns_of(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, list[int]]]:
    """Ranges of outputs with the same rows: (begin, end, where each row has them), from (begin, end, element)."""
    bounds = sorted({e for low, high, _ in spans for e in (low, high)})
    index = {e: i for i, e in enumerate(bounds)}
    rows: list[list[int]] = [[] for _ in bounds[1:]]
    for low, high, at in spans:
        for cell in range(index[low], index[high]):
            rows[cell].append(at + bounds[cell] - low)
    return [(a, b, mine) for (a, b), mine in zip(pairwise(bounds), rows, strict=True) if mine]


def _rows_split(task: _Task, most: int) -> list[_Task]:
    each = -(-len(task.rows) // most)
    return [_Task(task.tile, task.begin, task.width, task.rows[i : i + each]) for i in range(0, len(task.rows), each)]


def _ranges(width: int, grain: int, most: int) -> list[work.Span]:
    return [part[0] for part in work.pieces([(0, width)], grain, most)]


def _widths_split(tasks: list[_Task], dtype: DType) -> list[_Task]:
    """Wide tasks cut among the workers of their tile."""
    on_tile: dict[int, int] = {}
    for task in tasks:
        on_tile[task.tile] = on_tile.get(task.tile, 0) + 1
    out = []
    for task in tasks:
        most = max(1, work.WORKERS // on_tile[task.tile])
        for low, high in _ranges(task.width, work.grain_of(dtype), most):
            rows = [r[low:high] for r in task.rows]
            out.append(_Task(task.tile, task.begin + low, high - low, rows))
    return out
