"""What running a compute set of a tile program costs each tile, apart from the vertices themselves.

A field that lies in one stretch of its tile's memory is read in place.  One that lies in several is gathered on the
tile before the vertex runs and scattered after it, on the worker that owns the vertex; what lies on another tile
arrives by the exchange, in order, in a buffer of its own, and costs the tile nothing more.  What a vertex writes for
another tile leaves by a second exchange.

    copy = 40 slots + per row 8 + one per 64-bit word; rows of one word: the words alone

Omitted: control code between the phases; memory conflicts.  Source: github thorbenlouw/lbm-graphcore, a stencil program
profiled on a GC2, which these rules reproduce (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.messages import NOTHING, collect
from ipusim.engine.schedule import Schedule, schedule
from ipusim.hw.cost import COPY_ROW_SLOTS, COPY_SLOTS, COPY_WORD_BYTES
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.program.mapping import I64
from ipusim.program.painting import Intervals
from ipusim.program.placing import Pieces, owners
from ipusim.program.tensor import Variable
from ipusim.program.wiring import FieldColumns, WiredGroup

Bool = NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Surroundings:
    """Costs of a compute set beside its vertices.

    `before`, `after` (vertices,): slots of copies of each vertex, groups one after another; `arriving`, `leaving`: the
    exchanges before and after; `copied` (tiles,): bytes of gathered fields, `edges` (tiles,): connected ranges.
    """

    before: I64
    after: I64
    arriving: Schedule
    leaving: Schedule
    copied: I64
    edges: I64


def surroundings(
    groups: Sequence[WiredGroup], variables: Sequence[Variable], where: Mapping[int, Intervals], chip: ChipSpec
) -> Surroundings:
    """Copies and exchange of a compute set."""
    before, after, arrivals, departures = [], [], [], []
    copied, edges = np.zeros(chip.tiles, np.int64), np.zeros(chip.tiles, np.int64)
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
            np.add.at(copied, group.tile[found.vertex], found.buffer)
        before.append(pre)
        after.append(post)
    return Surroundings(
        before=_joined(before),
        after=_joined(after),
        arriving=_exchange(arrivals, sizes, chip),
        leaving=_exchange(departures, sizes, chip),
        copied=copied,
        edges=edges,
    )


def _joined(parts: Sequence[I64]) -> I64:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _exchange(parts: Sequence[NDArray[np.int64]], sizes: I64, chip: ChipSpec) -> Schedule:
    rows = np.concatenate([np.zeros((0, 5), np.int64), *parts])
    return schedule(collect(rows, sizes, chip.tiles), tiles=chip.tiles, spec=chip.exchange)


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Field:
    """Pieces of one field of all vertices of a group, and for each vector with a copy: vertex, slots, buffer bytes."""

    pieces: Pieces
    variable: I64
    first: I64
    tile: I64
    vertex: I64
    slots: I64
    buffer: I64

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
        return _Field(pieces, variable, base[variable] + pieces.begin, tile, vertex_of_vector[copied], slots, buffer)

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
            slots[found] = COPY_SLOTS + (cost64 if aligned else cost32)
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
    moving: Schedule


def copy_costs(source: Pieces, target: Pieces, *, base: I64, variable: I64, size: int, chip: ChipSpec) -> CopyCosts:
    """Costs of moving pieces pairwise; `variable` (pieces,): the source's."""
    near = source.tile == target.tile
    rows = np.stack([source.tile, target.tile, base[variable] + source.begin, source.length, variable], axis=1)[~near]
    sizes = np.zeros(len(base), np.int64) + size
    return CopyCosts(
        before=_spread_copy(target.tile[near], target.position[near], source.length[near], size, 1, chip),
        after=_spread_copy(target.tile[~near], target.position[~near], source.length[~near], size, 2, chip),
        moving=schedule(collect(rows, sizes, chip.tiles), tiles=chip.tiles, spec=chip.exchange),
    )


def _spread_copy(tile: I64, position: I64, length: I64, size: int, least: int, chip: ChipSpec) -> I64:
    """Cycles of an on-tile copy of at least `least` rows, its rows and words dealt to all workers of the tile."""
    out = np.zeros(chip.tiles, np.int64)
    order = np.lexsort((position, tile))
    t, p, n = tile[order], position[order], length[order]
    new = np.append(True, (t[1:] != t[:-1]) | (p[1:] != p[:-1] + n[:-1])) if len(t) else np.zeros(0, bool)
    words = np.bincount(t, weights=-(-n * size // COPY_WORD_BYTES), minlength=chip.tiles).astype(np.int64)
    rows = np.bincount(t[new], minlength=chip.tiles)
    each = -(-rows // chip.tile.workers) * COPY_ROW_SLOTS + -(-words // chip.tile.workers)
    busy = rows >= least
    out[busy] = chip.tile.workers * (COPY_SLOTS + each[busy])
    return out


def no_exchange(chip: ChipSpec) -> Schedule:
    """The schedule of nothing."""
    return schedule(NOTHING, tiles=chip.tiles, spec=chip.exchange)
