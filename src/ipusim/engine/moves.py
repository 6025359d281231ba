"""Copies as programs of their own: what a superstep of lowered ops takes that only puts data in other places.

Of what a tile's part of the target is made, some lies on the tile already and is copied there; the rest arrives by the
exchange.  What arrives lands where it belongs if that is one stretch, and then costs nothing; where what was on the
tile lies between, it is copied out of a buffer.  No vertex runs beside these copies: they are those of ipusim.hw.cost,
and cost what a `Copy` of a tile program does (ipusim.engine.wired).  A broadcast source arrives once and is copied to
every place.

    stretches that arrive = stretches that were here + 1, less one for each end of the part that was here

Omitted: a tile's part of the target is taken to be one stretch; rows that lie side by side in different cells of a
mapping are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ipusim.engine.copies import grid, in_box, innermost, owned_by, shares_in_order
from ipusim.hw.cost import COPY_WORD_BYTES, tile_copy_cycles
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.program.graph import ComputeSet, Field, Rows
from ipusim.program.mapping import I32, I64

Settled = tuple[I64, I64, I64, I64, I64]


def moving(compute_set: ComputeSet) -> Iterator[tuple[Rows, Field]]:
    """What codelets that only move data read."""
    for group in compute_set.groups:
        if group.codelet.moves:
            yield from ((group.rows, field) for field in group.fields if field.role == "in")


def only_moves(compute_set: ComputeSet) -> bool:
    """Whether nothing but data moves."""
    return bool(compute_set.groups) and all(g.codelet.moves for g in compute_set.groups)


def settled(rows: Rows, field: Field, tiles: int) -> Settled:
    """(rows of more than a word, words that each tile copies of what it has; the same of what arrives in several
    stretches; bytes that it holds in a buffer meanwhile), each (tiles,) int64.
    """
    mapping, boxes, size = field.tensor.mapping, field.boxes, field.tensor.dtype.bytes
    axis, together, grouped = innermost(field.tensor)
    key = ("moves", id(boxes), id(mapping), axis, together, grouped, size, tiles)

    def make() -> tuple[Settled, object]:
        found = tuple(np.zeros(tiles, np.int64) for _ in range(5))
        if not mapping.shape or any(mapping.repeats):
            nbytes = boxes.elements() * size
            found[0][rows.tile] = np.where(nbytes > COPY_WORD_BYTES, 1, 0)
            found[1][rows.tile] = -(-nbytes // COPY_WORD_BYTES)
        else:
            stored = (axis, together, int(grouped), size)
            share = shares_in_order(field.tensor, tiles)
            _settle(boxes.lo, boxes.hi, boxes.first, rows.tile, *grid(mapping), stored, share, *found)
        held = (boxes, mapping)  # so that the ids stay taken
        return (found[0], found[1], found[2], found[3], found[4]), held

    return rows.memo(key, make)[0]


def move_cycles(compute_set: ComputeSet, chip: ChipSpec) -> tuple[I64, I64]:
    """Cycles each tile spends on copies of what it has, and of what has arrived.  Returns: (tiles,) int64 each."""
    found = [settled(rows, field, chip.tiles) for rows, field in moving(compute_set)]
    if not found:
        return np.zeros(chip.tiles, np.int64), np.zeros(chip.tiles, np.int64)
    here_rows, here_words, far_rows, far_words = (np.sum([f[k] for f in found], axis=0) for k in range(4))
    workers = chip.tile.workers
    return tile_copy_cycles(here_rows, here_words, workers), tile_copy_cycles(far_rows, far_words, workers)


def buffered(compute_set: ComputeSet, tiles: int) -> I64:
    """Bytes of what arrives that each tile cannot put in its place at once.  Returns: (tiles,) int64."""
    parts = [settled(rows, field, tiles)[4] for rows, field in moving(compute_set)]
    return np.asarray(sum(parts, np.zeros(tiles, np.int64)))


@jit
def _settle(
    lo: I32,
    hi: I32,
    first: I32,
    tile: I32,
    cuts: I64,
    offsets: I64,
    cells: I32,
    stored: tuple[int, int, int, int],
    share: I64,
    here_rows: I64,
    here_words: I64,
    far_rows: I64,
    far_words: I64,
    far_bytes: I64,
) -> None:
    """Adds the copies of every vertex to the last five arrays; see `settled`."""
    rank, size = lo.shape[1], stored[3]
    work, found = np.empty((5, rank), np.int64), np.empty(5, np.int64)
    for v in range(len(tile)):
        found[:] = 0
        total, at, begin, end = 0, tile[v], first[v], first[v + 1]
        for i in range(begin, end):
            volume = 1
            for a in range(rank):
                volume *= int(hi[i, a]) - int(lo[i, a])
            total += volume
            in_box(lo[i].astype(np.int64), hi[i].astype(np.int64), at, cuts, offsets, cells, stored, work, found)
        if found[3] == total == share[at]:  # all a tile has, in its order: one row
            words = (total * size + COPY_WORD_BYTES - 1) // COPY_WORD_BYTES
            here_rows[at] += 1 if words > 1 else 0
            here_words[at] += words
            continue
        here_rows[at] += found[1]
        here_words[at] += found[2]
        far = (total - found[3]) * size
        if far == 0 or found[3] == 0:
            continue
        stretches = found[4] + 1
        stretches -= owned_by(at, lo[begin].astype(np.int64), cuts, offsets, cells)
        stretches -= owned_by(at, hi[end - 1].astype(np.int64) - 1, cuts, offsets, cells)
        if stretches > 1:
            aligned = far % COPY_WORD_BYTES == 0 and found[3] * size % COPY_WORD_BYTES == 0
            word = COPY_WORD_BYTES if aligned else COPY_WORD_BYTES // 2
            words = max(stretches, (far + word - 1) // word)
            far_rows[at] += stretches if words > stretches else 0
            far_words[at] += words
            far_bytes[at] += far


__all__ = ["buffered", "move_cycles", "moving", "only_moves", "settled"]
