"""Placing views on tiles, and asking where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.errors import BadInput
from ipusim.program.blocks import Blocks
from ipusim.program.elements import Runs, runs, runs_of_columns
from ipusim.program.mapping import I32, I64
from ipusim.program.painting import Intervals
from ipusim.program.subscripts import is_whole
from ipusim.program.tensor import Tensor, Variable

MIN_BYTES_PER_TILE = 128  # [poplibs] lib/poputil/TileMapping.cpp: a linear mapping keeps at least 128 bytes per tile
GRAIN_BYTES = 8  # [poplibs] the same: grains of one 64-bit vector


def intervals_of(variable: Variable) -> Intervals:
    """Where a variable is, in element order."""
    if variable.mapping is not None and not variable.painted:
        shares = variable.mapping.shares()
        whole = Tensor.of(variable)
        for i, tile in enumerate(np.repeat(shares.tiles, np.diff(shares.first)).tolist()):
            view = whole
            for axis, (lo, hi) in enumerate(zip(shares.lo[i], shares.hi[i], strict=True)):
                view = view.slice(axis, int(lo), int(hi))
            paint(view, tile, variable.line)
    return variable.painted.intervals()


def paint(tensor: Tensor, tile: int, line: str) -> None:
    """Puts a view's elements on a tile."""
    _paint_runs(tensor, runs([tensor]), tile, line)


def _paint_runs(tensor: Tensor, found: Runs, tile: int, line: str) -> None:
    for variable in tensor.variables():
        mine = found.variable == variable.number
        if mine.any():
            variable.painted.paint(found.start[mine], found.length[mine], tile, line)


def paint_blocks(blocks: Blocks, tiles: I32, line: str) -> None:
    """Puts the elements of block i on tile `tiles`[i]; later blocks paint over earlier ones."""
    number, offset, lengths, steps = blocks.columns()
    count = len(blocks)
    found = runs_of_columns(
        np.full(count, number, np.int32), offset, lengths, np.tile(steps, (count, 1)), np.arange(count + 1)
    )
    if len(found):
        blocks.tensor.variables()[0].painted.paint(found.start, found.length, tiles[found.owner()], line)


def paint_linearly(
    tensor: Tensor, tiles: int, grain: int | None, min_bytes_per_tile: int, first_tile: int, line: str
) -> None:
    """Even consecutive pieces of a view's elements on consecutive tiles; for the arguments see `Graph.map_linearly`.

    Each tile gets at most ceil(grains / tiles) grains and not less than `min_bytes_per_tile` (poplibs
    lib/poputil/TileMapping.cpp).  Raises BadInput.
    """
    if not is_whole(first_tile) or not 0 <= first_tile < tiles:
        raise BadInput(f"{tensor.label}: first_tile {first_tile!r}; the device has tiles 0 to {tiles - 1}")
    width = grain if grain is not None else max(1, GRAIN_BYTES // tensor.dtype.bytes)
    if not (is_whole(width) and width >= 1 and is_whole(min_bytes_per_tile) and min_bytes_per_tile >= 0):
        raise BadInput(
            f"{tensor.label}: grain {grain!r} and min_bytes_per_tile {min_bytes_per_tile!r} must be positive whole "
            "numbers"
        )
    size, least = tensor.elements, -(-min_bytes_per_tile // tensor.dtype.bytes)
    grains = -(-size // width)
    per_tile = max(1, -(-grains // tiles), -(-least // width)) * width
    flat = tensor.flatten()
    for piece, begin in enumerate(range(0, size, per_tile)):
        paint(flat[begin : min(size, begin + per_tile)], (first_tile + piece) % tiles, line)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Pieces:
    """Runs cut where they pass from one tile to another, in order, each (pieces,) int64.

    `run`: which run; `begin`, `length`: elements of its variable; `tile`: -1 where nothing was painted; `position`:
    element within the tile's part of the variable.
    """

    run: I64
    begin: I64
    length: I64
    tile: I64
    position: I64


def owners(found: Runs, intervals: dict[int, Intervals]) -> Pieces:
    """Which tile holds what of every run."""
    pieces = [
        _cut(found, np.flatnonzero(found.variable == number), where)
        for number, where in intervals.items()
        if len(where.tile)
    ]
    if not pieces:
        return Pieces(*(np.zeros(0, np.int64) for _ in range(5)))
    every = [np.concatenate(p) for p in zip(*pieces, strict=True)]
    order = np.argsort(every[0], kind="stable")
    return Pieces(*(column[order] for column in every))


def _cut(found: Runs, run: I64, where: Intervals) -> tuple[I64, I64, I64, I64, I64]:
    start = found.start[run]
    end = start + found.length[run]
    first = np.searchsorted(where.start, start, "right") - 1
    count = np.searchsorted(where.start, end, "left") - first
    of = np.repeat(np.arange(len(run)), count)
    cell = first[of] + (np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count))
    begin = np.maximum(start[of], where.start[cell])
    stop = np.minimum(end[of], where.start[cell + 1])
    position = where.offset[cell] + begin - where.start[cell]
    return run[of], begin, stop - begin, where.tile[cell].astype(np.int64), position


def tile_mapping(tensor: Tensor, tiles: int) -> list[list[tuple[int, int]]]:
    """For each tile, the intervals (begin, end) of the flattened view that it holds, joined where they touch."""
    found = runs([tensor])
    where = {v.number: intervals_of(v) for v in tensor.variables()}
    cut = owners(found, where)
    base = np.concatenate([[0], np.cumsum(found.length)])[:-1]
    at = base[cut.run] + cut.begin - found.start[cut.run]
    out: list[list[tuple[int, int]]] = [[] for _ in range(tiles)]
    for a, n, t in zip(at.tolist(), cut.length.tolist(), cut.tile.tolist(), strict=True):
        if 0 <= t < tiles:
            mine = out[t]
            if mine and mine[-1][1] == a:
                mine[-1] = (mine[-1][0], a + n)
            else:
                mine.append((a, a + n))
    return out
