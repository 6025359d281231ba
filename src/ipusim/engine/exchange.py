"""What an exchange moves, derived from the boxes that vertices read and the mappings of what they read.

Ideal: a tile receives each element of its boxes that another tile owns, once per vertex field; a tile sends each
element once however many tiles listen (multicast is free at the sender), and two neighbours that receive the same
data share their two buses.  Equal boxes are found first, so data sent to many tiles is walked once.

Omitted: parts of two different boxes that overlap (halos of neighbouring tiles) count twice at the sender, although one
transmission could serve both.  An element that two fields of one vertex read is received twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.distinct import distinct_rows
from ipusim.jit import jit
from ipusim.program.graph import Boxes, ComputeSet, Rows
from ipusim.program.mapping import I32, I64, Mapping


@final
@dataclass(frozen=True, eq=False, slots=True)
class Traffic:
    """Bytes per tile of one exchange, each (tiles,) int64.

    `shared` is the part of `received` that the tile's bus partner receives as well; `sources` counts the tiles each
    tile listens to, summed over fields.
    """

    sent: I64
    received: I64
    shared: I64
    sources: I64

    @staticmethod
    def none(tiles: int) -> Traffic:
        """No data moves."""
        return Traffic(*(np.zeros(tiles, np.int64) for _ in range(4)))

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.sent + other.sent,
            self.received + other.received,
            self.shared + other.shared,
            self.sources + other.sources,
        )


def traffic(compute_set: ComputeSet, tiles: int) -> Traffic | None:
    """Exchange before a compute set, or None if every vertex finds all its inputs on its own tile."""
    total: Traffic | None = None
    for group in compute_set.groups:
        for field in group.fields:
            mapping = field.tensor.mapping
            if field.role == "out" or field.boxes.of is mapping:
                continue
            part = field_traffic(group.rows, field.boxes, mapping, tiles=tiles, element_bytes=field.tensor.dtype.bytes)
            total = part if total is None else total + part
    return None if total is None or not total.received.any() else total


def field_traffic(rows: Rows, boxes: Boxes, mapping: Mapping, *, tiles: int, element_bytes: int) -> Traffic:
    """Exchange for one field of a vertex group (remembered with the rows: the same plan moves the same data)."""
    key = ("traffic", id(boxes), id(mapping), tiles, element_bytes)

    def make() -> tuple[Traffic, Boxes, Mapping]:
        found = Traffic.none(tiles)
        owner = np.repeat(rows.tile, np.diff(boxes.first))
        cuts, offsets, cells, strides = _packed(mapping)
        repeats = np.array(mapping.repeats or (False,))
        lo, hi = (boxes.lo, boxes.hi) if mapping.shape else _scalar_boxes(len(boxes.lo))
        _walk(
            lo,
            hi,
            owner,
            cuts,
            offsets,
            cells,
            strides,
            repeats,
            element_bytes,
            found.sent,
            found.received,
            found.shared,
            found.sources,
        )
        return found, boxes, mapping  # the last two only so that their ids stay taken

    return rows.memo(key, make)[0]


def _scalar_boxes(count: int) -> tuple[I32, I32]:
    return np.zeros((count, 1), np.int32), np.ones((count, 1), np.int32)


def _packed(mapping: Mapping) -> tuple[I32, I32, I32, I64]:
    return mapping.memo("packed", lambda: _pack(mapping))


def _pack(mapping: Mapping) -> tuple[I32, I32, I32, I64]:
    cuts = mapping.cuts or (np.array([0, 1], np.int32),)
    sizes = [len(c) for c in cuts]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    counts = [s - 1 for s in sizes]
    strides = np.array([int(np.prod(counts[a + 1 :])) for a in range(len(counts))], np.int64)
    return np.concatenate(cuts).astype(np.int32), offsets, np.ascontiguousarray(mapping.tiles).ravel(), strides


@jit
def _equal_boxes(lo: I32, hi: I32, owner: I32) -> tuple[I64, I32, int]:
    """Chains of boxes with the same bounds: `head` (groups) and `following` (boxes), -1 at the end of a chain.

    A tile that needs a box twice stands in its chain once.
    """
    count, rank = lo.shape
    both = np.empty((count, 2 * rank), np.int32)
    both[:, :rank] = lo
    both[:, rank:] = hi
    group, head, groups = distinct_rows(both)
    tail = head.copy()
    following = np.full(count, -1, np.int32)
    for i in range(count):
        last = tail[group[i]]
        if owner[last] != owner[i]:
            following[last] = i
            tail[group[i]] = i
    return head, following, groups


@jit
def _find(cuts: I32, begin: int, end: int, value: int) -> int:
    """Index (from `begin`) of the piece that holds `value`."""
    low, high = begin, end - 1
    while high - low > 1:
        middle = (low + high) // 2
        if cuts[middle] <= value:
            low = middle
        else:
            high = middle
    return low - begin


@jit
def _walk(
    lo: I32,
    hi: I32,
    owner: I32,
    cuts: I32,
    offsets: I32,
    cells: I32,
    strides: I64,
    repeats: NDArray[np.bool_],
    element_bytes: int,
    sent: I64,
    received: I64,
    shared: I64,
    sources: I64,
) -> None:
    count, rank = lo.shape
    low, high = lo.copy(), hi.copy()
    for a in range(rank):
        if repeats[a]:
            for i in range(count):
                low[i, a], high[i, a] = 0, 1
    head, following, groups = _equal_boxes(low, high, owner)
    own = np.zeros(len(sent), np.int64)
    touched = np.empty(len(sent), np.int32)
    first = np.empty(rank, np.int64)
    last = np.empty(rank, np.int64)
    at = np.empty(rank, np.int64)
    for group in range(groups):
        box = head[group]
        empty = False
        for a in range(rank):
            if high[box, a] <= low[box, a]:
                empty = True
                continue
            first[a] = _find(cuts, offsets[a], offsets[a + 1], low[box, a])
            last[a] = _find(cuts, offsets[a], offsets[a + 1], high[box, a] - 1)
            at[a] = first[a]
        if empty:
            continue
        alone = following[box] < 0
        tiles_touched = 0
        total = np.int64(0)
        while True:
            volume = np.int64(element_bytes)
            cell = np.int64(0)
            for a in range(rank):
                c = offsets[a] + at[a]
                if not repeats[a]:
                    volume *= min(cuts[c + 1], high[box, a]) - max(cuts[c], low[box, a])
                cell += at[a] * strides[a]
            source = cells[cell]
            if own[source] == 0:
                touched[tiles_touched] = source
                tiles_touched += 1
            own[source] += volume
            total += volume
            a = rank - 1
            while a >= 0:
                at[a] += 1
                if at[a] <= last[a]:
                    break
                at[a] = first[a]
                a -= 1
            if a < 0:
                break
        for k in range(tiles_touched):
            source = touched[k]
            if not (alone and owner[box] == source):
                sent[source] += own[source]
        i = box
        while i >= 0:
            tile = owner[i]
            received[tile] += total - own[tile]
            sources[tile] += tiles_touched - (own[tile] > 0)
            after = following[i]
            if after >= 0 and tile % 2 == 0 and owner[after] == tile + 1:
                both = total - own[tile] - own[tile + 1]
                shared[tile] += both
                shared[tile + 1] += both
            i = after
        for k in range(tiles_touched):
            own[touched[k]] = 0
