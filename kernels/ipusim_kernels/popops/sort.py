"""Sorting, the k best, and where the best is.

The last axis of a tensor is cut into blocks of one length, one per worker; each is sorted by itself, by key and then by
place, so that equal keys keep their order.  Blocks are then ordered by Batcher's odd-even merge network, in which a
comparison of two blocks leaves the lower half of their elements in one and the upper half in the other: about
log2(blocks)^2 / 2 supersteps.  The k best need a tree of merges only, log2(blocks) supersteps.  Where keys are NaN the
order is undefined.  Source of the network: K. E. Batcher, Sorting networks and their applications, AFIPS 1968.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ipusim.dtype import DType, bool_, int32
from ipusim.errors import BadInput
from ipusim.program import control as prog
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import codelets, work

LEAST_BLOCK = 16  # [own choice] elements of a block: fewer are not worth a worker

Pair = tuple[Tensor, Tensor]


def sort(
    graph: Graph, x: Tensor, axis: int, program: prog.Sequence, descending: bool = False, name: str = ""
) -> Tensor:
    """x sorted along an axis, equal elements in the order they had.  Returns: a new tensor of its shape and type."""
    return sort_pairs(graph, x, axis, program, descending, name)[0]


def sort_pairs(
    graph: Graph, x: Tensor, axis: int, program: prog.Sequence, descending: bool = False, name: str = ""
) -> Pair:
    """x sorted along an axis.  Returns: (sorted, int32 places that the elements had along the axis)."""
    made, order = _prepare("sort", graph, x, axis, program, name, descending)
    keys, places = made.sorted(made.spread())
    shape = tuple(x.shape[a] for a in order)
    back = np.argsort(order).tolist()
    return keys.reshape(shape).transpose(back), places.reshape(shape).transpose(back)


def top_k(graph: Graph, x: Tensor, k: int, largest: bool, program: prog.Sequence, name: str = "") -> Pair:
    """The k largest (or smallest) elements along the last axis, best first; of equal ones those that come first.

    Returns: (values, int32 places), each of x's shape with k in place of the last axis.
    """
    made, _ = _prepare("top_k", graph, x, -1, program, name, largest)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= made.length:
        raise BadInput(f"popops.top_k: k is 1 to {made.length} for {work.show(x)}, not {k!r}")
    keys, places = made.best(k)
    shape = (*x.shape[:-1], k)
    return keys.reshape(shape), places.reshape(shape)


def arg_max(graph: Graph, x: Tensor, axis: int, program: prog.Sequence, name: str = "") -> Tensor:
    """Where x is largest along an axis: the first place.  Returns: int32 of x's shape without the axis."""
    return _arg("arg_max", graph, x, axis, program, name, True)


def arg_min(graph: Graph, x: Tensor, axis: int, program: prog.Sequence, name: str = "") -> Tensor:
    """Where x is smallest along an axis: the first place.  Returns: int32 of x's shape without the axis."""
    return _arg("arg_min", graph, x, axis, program, name, False)


def _arg(what: str, graph: Graph, x: Tensor, axis: int, program: prog.Sequence, name: str, largest: bool) -> Tensor:
    made, order = _prepare(what, graph, x, axis, program, name, largest)
    return made.best(1)[1].reshape(tuple(x.shape[a] for a in order[:-1]))


def _prepare(
    what: str, graph: Graph, x: Tensor, axis: int, program: prog.Sequence, name: str, descending: bool
) -> tuple[_Sort, list[int]]:
    call = f"popops.{what}"
    work.check_graph(call, graph, [x], program)
    if not -x.ndim <= axis < x.ndim or not x.elements or x.dtype == bool_:
        raise BadInput(f"{call}: cannot sort {work.show(x)} along axis {axis}")
    axis %= x.ndim
    order = [*(a for a in range(x.ndim) if a != axis), axis]
    length = x.shape[axis]
    lists = x.transpose(order).reshape((x.elements // length, length))
    return _Sort(graph, program, work.title(name, what), lists, descending), order


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Sort:
    """One call over `lists` (lists, length)."""

    graph: Graph
    program: prog.Sequence
    label: str
    lists: Tensor
    descending: bool

    @property
    def length(self) -> int:
        """Elements of a list."""
        return self.lists.shape[1]

    @property
    def blocks(self) -> int:
        """Blocks of a list: as many as there are workers for it, of `LEAST_BLOCK` elements or more."""
        workers = max(1, work.WORKERS * self.graph.tiles // self.lists.shape[0])
        count = min(workers, -(-self.length // LEAST_BLOCK))
        return -(-self.length // -(-self.length // count))

    def tile(self, number: int, blocks: int) -> int:
        """The tile of a block of all lists."""
        total = self.lists.shape[0] * blocks
        return number // max(work.WORKERS, -(-total // self.graph.tiles))

    def _new(self, size: int, dtype: DType, blocks: int, label: str) -> Tensor:
        """(lists * blocks, size), a block per row."""
        made = work.variable(self.graph, (self.lists.shape[0] * blocks, size), dtype, f"{self.label}/{label}")
        total, per_tile = made.shape[0], max(work.WORKERS, -(-made.shape[0] // self.graph.tiles))
        for first in range(0, total, per_tile):
            self.graph.set_tile_mapping(made[first : min(total, first + per_tile)], first // per_tile)
        return made

    # -- sort ----------------------------------------------------------------------------------------------------------

    def spread(self) -> Pair:
        """Keys and places in blocks of one length, the last filled up with what sorts to the end."""
        blocks, count = self.blocks, self.lists.shape[0]
        size = -(-self.length // blocks)
        keys = self._new(size, self.lists.dtype, blocks, "keys")
        places = self._new(size, int32, blocks, "places")
        numbers = self.graph.add_constant(
            np.arange(blocks * size, dtype=np.int32), int32, work.fresh_name(self.graph, f"{self.label}/numbers")
        )
        self.graph.map_linearly(numbers)
        wide = keys.reshape((count, blocks * size))
        self.program.add(prog.Copy(self.lists, wide[:, : self.length], f"{self.label}/spread"))
        every = numbers.broadcast_to((count, blocks * size))
        self.program.add(prog.Copy(every, places.reshape((count, blocks * size)), f"{self.label}/number"))
        if blocks * size > self.length:
            filler = self.graph.add_constant(
                _last(self.lists.dtype, self.descending),
                self.lists.dtype,
                work.fresh_name(self.graph, f"{self.label}/filler"),
                tile=self.tile(blocks - 1, blocks),
            )
            rest = wide[:, self.length :]
            self.program.add(prog.Copy(filler.broadcast_to(rest.shape), rest, f"{self.label}/fill"))
        return keys, places

    def sorted(self, pair: Pair) -> Pair:
        """All lists sorted.  Returns: keys and places (lists, length)."""
        count, blocks = self.lists.shape[0], self.blocks
        size = pair[0].shape[1]
        chosen = work.compute_set(self.graph, self.program, f"{self.label}/blocks")
        made = codelets.sort_block(self.lists.dtype, self.descending)
        for b in range(count * blocks):
            fields = {"keys": pair[0][b], "places": pair[1][b]}
            self.graph.add_vertex(chosen, made, fields, tile=self.tile(b, blocks))
        now = [(pair[0][b], pair[1][b]) for b in range(count * blocks)]
        if blocks > 1:
            other = (self._new(size, self.lists.dtype, blocks, "keys"), self._new(size, int32, blocks, "places"))
            spare = [(other[0][b], other[1][b]) for b in range(count * blocks)]
            for number, pairs in enumerate(_network(blocks)):
                self._merge(pairs, now, spare, f"{self.label}/merge{number}")
        keys = Tensor.concat([k for k, _ in now]).reshape((count, blocks * size))
        places = Tensor.concat([p for _, p in now]).reshape((count, blocks * size))
        return keys[:, : self.length], places[:, : self.length]

    def _merge(self, pairs: list[tuple[int, int]], now: list[Pair], spare: list[Pair], label: str) -> None:
        chosen = work.compute_set(self.graph, self.program, label)
        blocks, dtype = self.blocks, self.lists.dtype
        made = (codelets.merge_low(dtype, self.descending), codelets.merge_high(dtype, self.descending))
        for first in range(0, self.lists.shape[0] * blocks, blocks):
            for low, high in pairs:
                ends = (first + low, first + high)
                (a, a_places), (b, b_places) = now[ends[0]], now[ends[1]]
                for merge, end in zip(made, ends, strict=True):
                    keys, places = spare[end]
                    fields = {"a": a, "a_places": a_places, "b": b, "b_places": b_places}
                    fields |= {"keys": keys, "places": places}
                    self.graph.add_vertex(chosen, merge, fields, tile=self.tile(end, blocks))
                for end in ends:
                    now[end], spare[end] = spare[end], now[end]

    # -- the k best ----------------------------------------------------------------------------------------------------

    def best(self, k: int) -> Pair:
        """Returns: keys and places (lists, k)."""
        found = self._first_best() if k == 1 else self._sorted_blocks()
        level = 0
        while max(len(row) for row in found) > 1:
            found = self._round(found, k, f"{self.label}/merge{level}")
            level += 1
        keys, places = (Tensor.concat([row[0][n][:k] for row in found]) for n in (0, 1))
        return keys.reshape((len(found), k)), places.reshape((len(found), k))

    def _sorted_blocks(self) -> list[list[Pair]]:
        keys, places = self.spread()
        blocks, size = self.blocks, keys.shape[1]
        chosen = work.compute_set(self.graph, self.program, f"{self.label}/blocks")
        made = codelets.sort_block(self.lists.dtype, self.descending)
        out = []
        for row in range(self.lists.shape[0]):
            mine = []
            for b in range(blocks):
                number, held = row * blocks + b, min(size, self.length - b * size)
                pair = (keys[number][:held], places[number][:held])
                self.graph.add_vertex(
                    chosen, made, {"keys": pair[0], "places": pair[1]}, tile=self.tile(number, blocks)
                )
                mine.append(pair)
            out.append(mine)
        return out

    def _first_best(self) -> list[list[Pair]]:
        """The best of what each worker of each tile holds of each list."""
        flat = self.lists.flatten()
        slicer, parts = work.Slicer(flat), []
        for held in work.shares(f"popops.{self.label}", [flat], whole_rows=True):
            for part in work.pieces(held.rows, work.grain_of(flat.dtype)):
                parts += [(held.tile, cut) for row in part for cut in _cut(row, self.length)]
        parts.sort(key=lambda p: p[1])
        keys = work.variable(self.graph, (len(parts),), flat.dtype, f"{self.label}/best")
        places = work.variable(self.graph, (len(parts),), int32, f"{self.label}/best_places")
        chosen = work.compute_set(self.graph, self.program, f"{self.label}/best")
        made = codelets.best_of(flat.dtype, self.descending)
        out: list[list[Pair]] = [[] for _ in range(self.lists.shape[0])]
        for n, (tile, (begin, end)) in enumerate(parts):
            pair = (keys[n : n + 1], places[n : n + 1])
            for tensor in pair:
                self.graph.set_tile_mapping(tensor, tile)
            fields: dict[str, Any] = {"x": slicer.span(begin, end), "key": pair[0], "place": pair[1]}
            self.graph.add_vertex(chosen, made, {**fields, "first": begin % self.length}, tile=tile)
            out[begin // self.length].append(pair)
        return out

    def _round(self, found: list[list[Pair]], k: int, label: str) -> list[list[Pair]]:
        """Neighbouring lists merged two by two, k elements kept of each."""
        chosen = work.compute_set(self.graph, self.program, label)
        made = codelets.merge_low(self.lists.dtype, self.descending)
        merges = [row[i : i + 2] for row in found for i in range(0, len(row) - 1, 2)]
        sizes = [min(k, len(a[0]) + len(b[0])) for a, b in merges]
        ends = np.cumsum(sizes)
        keys = work.variable(self.graph, (int(ends[-1]),), self.lists.dtype, f"{label}/keys")
        places = work.variable(self.graph, (int(ends[-1]),), int32, f"{label}/places")
        made_pairs: list[Pair] = []
        for number, (((a, a_places), (b, b_places)), end, size) in enumerate(
            zip(merges, ends.tolist(), sizes, strict=True)
        ):
            pair = (keys[end - size : end], places[end - size : end])
            tile = number * self.graph.tiles // len(merges)
            for tensor in pair:
                self.graph.set_tile_mapping(tensor, tile)
            fields = {"a": a, "a_places": a_places, "b": b, "b_places": b_places}
            self.graph.add_vertex(chosen, made, {**fields, "keys": pair[0], "places": pair[1]}, tile=tile)
            made_pairs.append(pair)
        left = iter(made_pairs)
        return [[*(next(left) for _ in range(len(row) // 2)), *row[len(row) // 2 * 2 :]] for row in found]


def _cut(span: work.Span, length: int) -> Iterator[work.Span]:
    """A stretch of all lists, cut where a list ends."""
    begin, end = span
    while begin < end:
        stop = min(end, (begin // length + 1) * length)
        yield begin, stop
        begin = stop


def _last(dtype: DType, descending: bool) -> Any:
    """What sorts behind all else."""
    if dtype.is_float:
        return np.array(-np.inf if descending else np.inf, dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    return np.array(limits.min if descending else limits.max, dtype.numpy)


def _network(size: int) -> Iterator[list[tuple[int, int]]]:
    """Comparisons of Batcher's odd-even merge sort of `size` lines, those of one step together."""
    whole = 1 << max(0, size - 1).bit_length()
    p = 1
    while p < whole:
        k = p
        while k >= 1:
            step = [
                (i + j, i + j + k)
                for j in range(k % p, whole - k, 2 * k)
                for i in range(min(k, whole - j - k))
                if (i + j) // (2 * p) == (i + j + k) // (2 * p) and i + j + k < size
            ]
            if step:
                yield step
            k //= 2
        p *= 2
