"""Tile mapping set piece by piece: runs of elements of a variable painted with a tile, later paint over earlier.

The variable's elements are numbered in row-major order.  What results is a list of intervals in element order, each on
one tile or on none; this is what Poplar calls the tile mapping.  The order of elements in a tile's memory is the order
of its intervals (reference: a measured stencil program is reproduced by that order; no layout is chosen beyond it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.jit import jit
from ipusim.program.mapping import I32, I64

NOWHERE = -1


@final
@dataclass(frozen=True, eq=False, slots=True)
class Intervals:
    """Interval i holds elements `start`[i]..`start`[i + 1] of a variable on tile `tile`[i] (-1: on none).

    `start` (k + 1,) int64 ascending from 0 to the number of elements; `tile` (k,) int32, neighbours differ;
    `offset` (k,) int64: where the interval begins in its tile's part of the variable, in elements.
    """

    start: I64
    tile: I32
    offset: I64

    def per_tile(self, tiles: int) -> I64:
        """Elements on each tile.  Returns: (tiles,) int64."""
        held = self.tile >= 0
        sizes = np.diff(self.start)[held]
        return np.bincount(self.tile[held], weights=sizes, minlength=tiles).astype(np.int64)


@final
class Painting:
    """Assignments of tiles to runs, in the order they were made."""

    __slots__ = ("_length", "_lines", "_made", "_start", "_tile", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._start: list[I64] = []
        self._length: list[I64] = []
        self._tile: list[int | I32] = []
        self._lines: list[str] = []
        self._made: Intervals | None = None

    def paint(self, start: I64, length: I64, tile: int | I32, line: str = "") -> None:
        """Puts runs `start`[i]..`start`[i] + `length`[i] on a tile, or on tile `tile`[i]; `line`: the user's."""
        self._start.append(start)
        self._length.append(length)
        self._tile.append(tile)
        self._lines.append(line)
        self._made = None

    def __bool__(self) -> bool:
        return bool(self._tile)

    @property
    def assignments(self) -> list[tuple[int, str]]:
        """(tile, user's line) of every assignment; of many tiles at once, the lowest and the highest."""
        found: list[tuple[int, str]] = []
        for tile, line in zip(self._tile, self._lines, strict=True):
            ends = [tile] if isinstance(tile, int) else [int(tile.min()), int(tile.max())] if tile.size else []
            found += [(end, line) for end in ends]
        return found

    def intervals(self) -> Intervals:
        """The mapping that results."""
        if self._made is None:
            counts = [len(s) for s in self._start]
            start = np.concatenate(self._start) if counts else np.zeros(0, np.int64)
            length = np.concatenate(self._length) if counts else np.zeros(0, np.int64)
            tile = self._tiles(counts)
            self._made = resolve(start, length, tile, self.size)
        return self._made

    def _tiles(self, counts: list[int]) -> I32:
        """The tile of every run."""
        if all(isinstance(tile, int) for tile in self._tile):
            return np.repeat(np.array(self._tile, np.int32), counts)
        every = [np.broadcast_to(np.asarray(t, np.int32), (n,)) for t, n in zip(self._tile, counts, strict=True)]
        return np.concatenate(every)


def resolve(start: I64, length: I64, tile: I32, size: int) -> Intervals:
    """Intervals from runs painted in order."""
    order = np.argsort(start, kind="stable")
    begin, end = start[order], (start + length)[order]
    if len(begin) and (length > 0).all() and (begin[1:] >= end[:-1]).all():
        return _side_by_side(begin, end, tile[order], size)
    edges = np.unique(np.concatenate([start, start + length, np.array([0, size], np.int64)]))
    owner = np.full(max(0, len(edges) - 1), NOWHERE, np.int32)
    first = np.searchsorted(edges, start)
    last = np.searchsorted(edges, start + length)
    _paint(first, last, tile, owner)
    keep = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])) if len(owner) else np.zeros(0, np.int64)
    bounds = np.append(edges[:-1][keep], size).astype(np.int64)
    tiles = owner[keep]
    return Intervals(bounds, tiles, _offsets(bounds, tiles))


def _side_by_side(begin: I64, end: I64, tile: I32, size: int) -> Intervals:
    """Intervals of ascending runs of which none overlaps another."""
    edges = np.concatenate([[0], np.stack([begin, end], axis=1).reshape(-1)])
    owner = np.full(len(edges), NOWHERE, np.int32)
    owner[1::2] = tile
    there = np.append(edges[1:], size) > edges
    edges, owner = edges[there], owner[there]
    keep = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    bounds = np.append(edges[keep], size).astype(np.int64)
    return Intervals(bounds, owner[keep], _offsets(bounds, owner[keep]))


@jit
def _paint(first: I64, last: I64, tile: I32, owner: I32) -> None:
    for i in range(len(first)):
        for k in range(first[i], last[i]):
            owner[k] = tile[i]


@jit
def _offsets(start: I64, tile: I32) -> I64:
    most = 0
    for t in tile:
        most = max(most, t)
    used = np.zeros(most + 1, np.int64)
    out = np.zeros(len(tile), np.int64)
    for i in range(len(tile)):
        if tile[i] >= 0:
            out[i] = used[tile[i]]
            used[tile[i]] += start[i + 1] - start[i]
    return out
