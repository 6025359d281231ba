"""What running a compute set of a tile program costs each tile, apart from the vertices themselves.

A field that lies in one stretch of its tile's memory is read in place.  One that lies in several is gathered on the
tile before the vertex runs and scattered after it, on the worker that owns the vertex; what lies on another tile
arrives by the exchange, in order, in a buffer of its own, and costs the tile nothing more.  What a vertex writes for
another tile leaves by a second exchange.

    copy of a field = 40 slots + per row 8 + one per 64-bit word; rows of one word: the words alone

Omitted: control code between the phases; memory conflicts.  Source: github thorbenlouw/lbm-graphcore, a stencil program
profiled on a GC2, which these rules reproduce (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.links import Exchange
from ipusim.engine.messages import moved
from ipusim.hw.cost import COPY_ROW_SLOTS, COPY_SLOTS, COPY_WORD_BYTES
from ipusim.hw.spec import SystemSpec
from ipusim.jit import jit
from ipusim.program.mapping import I64
from ipusim.program.painting import Intervals
from ipusim.program.placing import Pieces, owners
from ipusim.program.tensor import Variable
from ipusim.program.wiring import FieldColumns, WiredGroup

Bool = NDArray[np.bool_]
PLACE = 2**32  # above any number of a tile


@final
@dataclass(frozen=True, eq=False, slots=True)
class Surroundings:
    """Costs of a compute set beside its vertices.

    `before`, `after` (vertices,): slots of copies of each vertex, groups one after another; `arriving`, `leaving`: the
    exchanges before and after; `edges` (tiles,): connected ranges.  Bytes of buffers, each (tiles,): `held_in` of what
    arrives and is gathered, `held_out` of results before they are scattered or leave, `held` of all while vertices
    run.  Variables that vertices read or write in place: `direct_variable` (k,) numbers, `direct_tile` the tiles of
    each.
    """

    before: I64
    after: I64
    arriving: Exchange
    leaving: Exchange
    held_in: I64
    held: I64
    held_out: I64
    direct_variable: I64
    direct_tile: tuple[I64, ...]
    edges: I64


def surroundings(
    groups: Sequence[WiredGroup], variables: Sequence[Variable], where: Mapping[int, Intervals], device: SystemSpec
) -> Surroundings:
    """Copies and exchange of a compute set."""
    before, after, arrivals, departures = [], [], [], []
    held = {role: np.zeros(device.num_tiles, np.int64) for role in ("in", "inout", "out", "far inout")}
    edges, direct = np.zeros(device.num_tiles, np.int64), [np.zeros(0, np.int64)]
    sizes = np.array([v.dtype.bytes for v in variables], np.int64)
    base = np.concatenate([[0], np.cumsum([v.elements for v in variables])]).astype(np.int64)
    for group in groups:
        pre, post = np.zeros(len(group), np.int64), np.zeros(len(group), np.int64)
        for spec, column in zip(group.codelet.fields, group.fields, strict=True):
            found = _Field.of(group, column, where, base, spec.dtype.bytes)
            np.add.at(edges, group.tile, np.diff(column.first))
            if spec.role != "out":
                np.add.at(pre, found.vertex, found.slots)
                arrivals.append(found.messages(receiving=True))
            if spec.role != "in":
                np.add.at(post, found.vertex, found.slots)
                departures.append(found.messages(receiving=False))
            np.add.at(held[spec.role], group.tile[found.vertex], found.buffer)
            if spec.role != "in":
                key = "out" if spec.role == "out" else "far inout"
                held[key] += found.far_bytes(spec.dtype.bytes, device.num_tiles)
            direct.append(found.direct)
        before.append(pre)
        after.append(post)
    arriving = _exchange(arrivals, sizes, device)
    held["in"] += arriving.received
    places = np.unique(np.concatenate(direct))
    numbers, first = np.unique(places // PLACE, return_index=True)
    return Surroundings(
        before=_joined(before),
        after=_joined(after),
        arriving=arriving,
        leaving=_exchange(departures, sizes, device),
        held_in=held["in"] + held["inout"],
        held=held["in"] + held["inout"] + held["out"],
        held_out=held["inout"] + held["out"] + held["far inout"],
        direct_variable=numbers,
        direct_tile=tuple(np.split(places % PLACE, first[1:]))[: len(numbers)],
        edges=edges,
    )


def _joined(parts: Sequence[I64]) -> I64:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _exchange(parts: Sequence[NDArray[np.int64]], sizes: I64, device: SystemSpec) -> Exchange:
    rows = np.concatenate([np.zeros((0, 5), np.int64), *parts])
    return moved(rows, sizes, device)


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Field:
    """Pieces of one field of all vertices of a group, and for each vector with a copy: vertex, slots, buffer bytes.

    `direct`: variable * `PLACE` + tile of elements that are used where they lie, each once.
    """

    pieces: Pieces
    variable: I64
    first: I64
    tile: I64
    vertex: I64
    slots: I64
    buffer: I64
    direct: I64

    @staticmethod
    def of(group: WiredGroup, column: FieldColumns, where: Mapping[int, Intervals], base: I64, size: int) -> _Field:
        runs = column.runs
        pieces = owners(runs, dict(where))
        vector = runs.owner()[pieces.run]
        vertex_of_vector = np.repeat(np.arange(len(group)), np.diff(column.first))
        tile = group.tile.astype(np.int64)[vertex_of_vector[vector]] if len(vector) else np.zeros(0, np.int64)
        variable = runs.variable.astype(np.int64)[pieces.run]
        copied, slots, buffer = _copies(
            vector, pieces.tile == tile, variable, pieces.position, pieces.length, size, len(vertex_of_vector)
        )
        vertex = vertex_of_vector[copied]
        slots[np.append(True, vertex[1:] != vertex[:-1])[: len(vertex)]] += COPY_SLOTS
        gathered = np.zeros(len(vertex_of_vector), bool)
        gathered[copied] = True
        in_place = (pieces.tile == tile) & ~gathered[vector]
        direct = np.unique(variable[in_place] * PLACE + tile[in_place])
        return _Field(pieces, variable, base[variable] + pieces.begin, tile, vertex, slots, buffer, direct)

    def far_bytes(self, size: int, tiles: int) -> I64:
        """Bytes of elements of other tiles, for each tile whose vertices have them.  Returns: (tiles,) int64."""
        far = self.pieces.tile != self.tile
        return np.bincount(self.tile[far], self.pieces.length[far] * size, tiles).astype(np.int64)

    def messages(self, *, receiving: bool) -> NDArray[np.int64]:
        """(from, to, first of all elements, elements, variable) of what is on another tile."""
        far = self.pieces.tile != self.tile
        ends = (self.pieces.tile, self.tile) if receiving else (self.tile, self.pieces.tile)
        columns = (*ends, self.first, self.pieces.length, self.variable)
        return np.stack([c[far] for c in columns], axis=1)


@jit
def _copies(
    vector: I64, local: Bool, variable: I64, position: I64, length: I64, size: int, vectors: int
) -> tuple[I64, I64, I64]:
    """(vector, slots, bytes on the tile) of every vector that needs a copy; pieces are in order of their vectors."""
    which, slots, buffer = np.empty(vectors, np.int64), np.empty(vectors, np.int64), np.empty(vectors, np.int64)
    found, i = 0, 0
    while i < len(vector):
        end = i
        rows, cost64, cost32, near, aligned, far = 0, 0, 0, 0, True, False
        while end < len(vector) and vector[end] == vector[i]:
            if not local[end]:
                far = True
                end += 1
                continue
            begin, total = position[end], length[end]
            at = end + 1
            while (
                at < len(vector)
                and vector[at] == vector[i]
                and local[at]
                and variable[at] == variable[end]
                and position[at] == begin + total
            ):
                total += length[at]
                at += 1
            nbytes = total * size
            rows += 1
            near += nbytes
            aligned = aligned and (begin * size) % 8 == 0 and nbytes % 8 == 0
            words64, words32 = (nbytes + 7) // 8, (nbytes + 3) // 4
            cost64 += words64 + (COPY_ROW_SLOTS if words64 > 1 else 0)
            cost32 += words32 + (COPY_ROW_SLOTS if words32 > 1 else 0)
            end = at
        if rows > 1 or (rows == 1 and far):
            which[found] = vector[i]
            slots[found] = cost64 if aligned else cost32
            buffer[found] = near
            found += 1
        i = end
    return which[:found], slots[:found], buffer[:found]


@final
@dataclass(frozen=True, eq=False, slots=True)
class CopyCosts:
    """Cycles of a `Copy`: on-tile copies of what stays on its tile and of what lands in several places, each tile
    (tiles,), and the exchange of the rest."""

    before: I64
    after: I64
    moving: Exchange


def copy_costs(
    source: Pieces, target: Pieces, *, base: I64, variable: tuple[I64, I64], size: int, device: SystemSpec
) -> CopyCosts:
    """Costs of moving pieces pairwise; `variable`: number of the source's and the target's of each, both (pieces,)."""
    near = source.tile == target.tile
    rows = np.stack([source.tile, target.tile, base[variable[0]] + source.begin, source.length, variable[0]], axis=1)
    sizes = np.zeros(len(base), np.int64) + size
    here = [
        (end.position[near], number[near]) for end, number in zip((target, source), reversed(variable), strict=True)
    ]
    landed = [(target.position[~near], variable[1][~near])]
    return CopyCosts(
        before=_spread_copy(target.tile[near], here, source.length[near], size, 1, device),
        after=_spread_copy(target.tile[~near], landed, source.length[~near], size, 2, device),
        moving=moved(rows[~near], sizes, device, once=False),
    )


def _spread_copy(
    tile: I64, ends: Sequence[tuple[I64, I64]], length: I64, size: int, least: int, device: SystemSpec
) -> I64:
    """Cycles of an on-tile copy of at least `least` rows, its rows and words dealt to all workers of the tile.

    `ends`: (position, variable) of every piece where it is stored and, if it was here before, where it comes from; a
    row goes on as long as all of them do.
    """
    out = np.zeros(device.num_tiles, np.int64)
    if not len(tile):
        return out
    order = np.lexsort((*ends[0], tile))
    tile, length = tile[order], length[order]
    new, aligned = np.append(True, tile[1:] != tile[:-1]), np.ones(len(tile), bool)
    for position, variable in ((p[order], v[order]) for p, v in ends):
        new[1:] |= (position[1:] != position[:-1] + length[:-1]) | (variable[1:] != variable[:-1])
        aligned &= position * size % COPY_WORD_BYTES == 0
    nbytes = np.bincount(np.cumsum(new) - 1, length * size).astype(np.int64)
    width = np.where(aligned[new] & (nbytes % COPY_WORD_BYTES == 0), COPY_WORD_BYTES, COPY_WORD_BYTES // 2)
    words = -(-nbytes // width)
    per_tile = [
        np.bincount(tile[new], weights, device.num_tiles).astype(np.int64)
        for weights in (np.ones(len(words)), words > 1, words)
    ]
    rows, long_rows, moved = per_tile
    each = -(-long_rows // device.workers_per_tile) * COPY_ROW_SLOTS + -(-moved // device.workers_per_tile)
    busy = rows >= least
    out[busy] = device.workers_per_tile * (COPY_SLOTS + each[busy])
    return out
