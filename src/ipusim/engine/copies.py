"""On-tile copies before the vertices of lowered ops.

A vertex reads a field as one stretch of its tile's memory.  What other tiles send arrives as such a stretch and costs
nothing more; what is stored on the tile itself is read in place if it is one run there and nothing else belongs to the
field, and is copied to the rest otherwise, as in tile programs (ipusim.engine.wired).  Rows and words of all copies of
a tile are dealt to its workers:

    cycles = 6 x (40 + 8 x rows / 6 + words / 6), each quotient rounded up; rows of one word: the words alone

A word has 64 bits, 32 where a row is no multiple of that.  A row is a run of elements that follow one another both in
the vertex's order and in the variable's: the axis that is stored innermost (channels in their groups, else the last),
then the other axes from the last one as long as the box and what the tile has of it span the same.  Codelets that take
a pointer for every region of a field (`Codelet.listed`) need no copy of it; codelets that only move data are copies
themselves (ipusim.engine.moves).

A field with `Field.rate` is rearranged as a whole instead: 5 b / 4 r cycles for b bytes at r bytes per cycle (poplibs
lib/poplin/ConvModel.cpp, the transform cost of the convolution planner).

Cells of a mapping that lie side by side along the last axis on one tile are one.

Omitted: rows that lie side by side in cells beside each other along other axes; conflicts in memory elements; alignment
of a row's start.  Sources of the constants: ipusim.hw.cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.exchange import arriving
from ipusim.hw.cost import COPY_WORD_BYTES, tile_copy_cycles
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.program.graph import ComputeSet, Field, Rows
from ipusim.program.mapping import I32, I64, Mapping
from ipusim.program.tensor import Tensor

Gathered = tuple[I64, I64, I64]
NOWHERE = (-1, 1, False)  # no axis is known to be stored innermost: every element is a row


def copy_cycles(compute_set: ComputeSet, chip: ChipSpec) -> I64:
    """Cycles each tile spends rearranging fields before its vertices run.  Returns: (tiles,) int64."""
    out = np.zeros(chip.tiles, np.int64)
    found: list[Gathered] = []
    for rows, field in _copied(compute_set):
        if field.rate:
            nbytes = field.boxes.elements() * field.tensor.dtype.bytes
            np.add.at(out, rows.tile, -(-5 * nbytes // (4 * field.rate)))
        else:
            found += gathered(rows, field, chip.tiles)
    if found:
        long_rows, words = (np.sum([f[k] for f in found], axis=0) for k in range(2))
        out += tile_copy_cycles(long_rows, words, chip.tile.workers)
    return out


def copied_bytes(compute_set: ComputeSet, tiles: int) -> I64:
    """Bytes that each tile holds in copies while a compute set runs.  Returns: (tiles,) int64."""
    out = np.zeros(tiles, np.int64)
    for rows, field in _copied(compute_set):
        if field.rate:
            np.add.at(out, rows.tile, field.boxes.elements() * field.tensor.dtype.bytes)
        else:
            out += sum(f[2] for f in gathered(rows, field, tiles))
    return out


def _copied(compute_set: ComputeSet) -> Iterable[tuple[Rows, Field]]:
    """Fields that may need a copy; what several groups read alike is copied once."""
    listed = [(g, f) for g in compute_set.groups for f in g.fields if f.rate]
    yield from ((group.rows, field) for group, field in listed)
    at_hand = {
        (id(g.rows), id(f.boxes))
        for g in compute_set.groups
        for f in g.fields
        if f.name in g.codelet.listed or g.codelet.moves
    }
    for rows, field in arriving(compute_set):
        if not field.rate and (id(rows), id(field.boxes)) not in at_hand:
            yield rows, field


def gathered(rows: Rows, field: Field, tiles: int) -> tuple[Gathered, ...]:
    """(rows of more than a word, words, bytes) that each tile copies for a field; nothing where no tile copies."""
    mapping, boxes, size = field.tensor.mapping, field.boxes, field.tensor.dtype.bytes
    axis, together, grouped = innermost(field.tensor)
    key = ("copies", id(boxes), id(mapping), axis, together, grouped, size, tiles)

    def make() -> tuple[tuple[Gathered, ...], object]:
        found = tuple(np.zeros(tiles, np.int64) for _ in range(3))
        if mapping.shape:
            share = shares_in_order(field.tensor, tiles)
            cuts, offsets, cells = grid(mapping)
            stored = (axis, together, int(grouped), size)
            repeats = np.array(mapping.repeats)
            _near(boxes.lo, boxes.hi, boxes.first, rows.tile, cuts, offsets, repeats, cells, stored, share, *found)
        some = ((found[0], found[1], found[2]),) if found[1].any() else ()
        return some, (boxes, mapping)  # the last only so that the ids stay taken

    return rows.memo(key, make)[0]


def shares_in_order(tensor: Tensor, tiles: int) -> I64:
    """Elements of a tensor on each tile, 0 where they are not stored in the order in which a vertex reads them."""
    axis, _, grouped = innermost(tensor)
    if axis < 0 or not (grouped or all(n == 1 for n in tensor.shape[axis + 1 :])):
        return np.zeros(tiles, np.int64)
    return tensor.mapping.elements_per_tile(tiles)


def grid(mapping: Mapping) -> tuple[I64, I64, I32]:
    """Cuts of all axes one after another (broadcast ones as one element), where each axis begins, tile of each cell."""
    cuts = [np.array([0, 1]) if r else c for c, r in zip(mapping.cuts, mapping.repeats, strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in cuts])]).astype(np.int64)
    return np.concatenate(cuts).astype(np.int64), offsets, np.ascontiguousarray(mapping.tiles).ravel()


def innermost(tensor: Tensor) -> tuple[int, int, bool]:
    """What a tensor's variable stores innermost: (axis, neighbours along it that are stored together, whether those are
    a group of channels, which codelets read one after another).
    """
    if tensor.variable is not None:
        variable = tensor.variable
        if variable.channels > 1:
            return variable.channel_axis % max(1, len(variable.shape)), variable.channels, True
        axis = max((a for a, n in enumerate(variable.shape) if n > 1), default=0)
        return axis, variable.shape[axis] if variable.shape else 1, False
    found = [innermost(s) for s in tensor.sources]
    axis, together, grouped = found[0]
    if axis < 0 or not tensor.sources[0].shape or any(f[0] != axis or f[2] != grouped for f in found):
        return NOWHERE
    together = min(f[1] for f in found)
    match tensor.kind:
        case "permute":
            return tensor.args.index(axis), together, grouped
        case "reshape":
            axis, together = _reshaped(tensor.sources[0].shape, axis, together, tensor.shape)
            return (axis, together, grouped) if axis >= 0 else NOWHERE
        case "broadcast":
            return axis + len(tensor.shape) - len(tensor.sources[0].shape), together, grouped
        case "stride":
            return NOWHERE if tensor.args[0] == axis and tensor.args[3] != 1 else (axis, together, grouped)
        case _:
            return axis, together, grouped


def _reshaped(before: tuple[int, ...], axis: int, together: int, after: tuple[int, ...]) -> tuple[int, int]:
    """Where an axis of a row-major shape begins in another one; (-1, 1) if nowhere."""
    inner = prod(before[axis + 1 :])
    for a in range(len(after) - 1, -1, -1):
        if after[a] > 1 and prod(after[a + 1 :]) == inner:
            return a, min(together, after[a]) if together < before[axis] else after[a]
    return -1, 1


@jit
def _find(cuts: I64, begin: int, end: int, value: int) -> int:
    """Index of the piece of cuts[begin:end] that holds `value`."""
    low, high = begin, end - 1
    while high - low > 1:
        middle = (low + high) // 2
        if cuts[middle] <= value:
            low = middle
        else:
            high = middle
    return low


@jit
def _run(width: I64, extent: I64, span: I64, axis: int, together: int, grouped: bool) -> int:
    """Elements of a row of the common part, of `width`, of a box of `span` and a cell of `extent`; innermost
    `together` along `axis`.
    """
    rank = len(width)
    if axis < 0:
        return 1
    run = int(min(width[axis], together))
    whole = run == min(extent[axis], together) and run == min(span[axis], together)
    if not grouped:  # the vertex reads the last axis first
        for a in range(axis + 1, rank):
            if width[a] > 1:
                return 1
    for a in range(rank - 1, -1, -1):
        if a == axis:
            continue
        if not whole:
            break
        run *= int(width[a])
        whole = width[a] == extent[a] and width[a] == span[a]
    return run


@jit
def _in_cell(
    low: I64,
    high: I64,
    at: I64,
    last: int,
    cuts: I64,
    stored: tuple[int, int, int, int],
    width: I64,
    extent: I64,
    found: I64,
) -> None:
    """Adds rows, rows of more than a word, words, elements and stretches in the box's order of what a box shares with
    cells of its own tile: the one at `at`, and those beside it along the last axis up to `last`.
    """
    axis, together, grouped, size = stored
    volume = 1
    for a in range(len(low)):
        end = cuts[(last if a == len(low) - 1 else at[a]) + 1]
        extent[a] = end - cuts[at[a]]
        width[a] = min(end, high[a]) - max(cuts[at[a]], low[a])
        volume *= width[a]
    run = _run(width, extent, high - low, axis, together, grouped == 1)
    count = volume // run
    word = COPY_WORD_BYTES if run * size % COPY_WORD_BYTES == 0 else COPY_WORD_BYTES // 2
    each = (run * size + word - 1) // word
    found[0] += count
    found[1] += count if each > 1 else 0
    found[2] += count * each
    found[3] += volume
    stretch = 1
    for a in range(len(low) - 1, -1, -1):
        stretch *= width[a]
        if width[a] != high[a] - low[a]:
            break
    found[4] += volume // stretch


@jit
def in_box(
    low: I64,
    high: I64,
    tile: int,
    cuts: I64,
    offsets: I64,
    cells: I32,
    stored: tuple[int, int, int, int],
    work: NDArray[np.int64],
    found: I64,
) -> bool:
    """Adds what tile `tile` owns of a box to `found`; whether other tiles own some of it.  `work`: (5, axes)."""
    rank = len(low)
    at, begin, end, width, extent = work[0], work[1], work[2], work[3], work[4]
    for a in range(rank):
        if high[a] <= low[a]:
            return False
        begin[a] = _find(cuts, offsets[a], offsets[a + 1], low[a])
        end[a] = _find(cuts, offsets[a], offsets[a + 1], high[a] - 1)
        at[a] = begin[a]
    far = False
    while True:
        cell = 0
        for a in range(rank):
            cell = cell * (offsets[a + 1] - offsets[a] - 1) + at[a] - offsets[a]
        a, last = rank - 1, at[rank - 1]
        if cells[cell] == tile:
            while last < end[a] and cells[cell + last + 1 - at[a]] == tile:
                last += 1
            _in_cell(low, high, at, last, cuts, stored, width, extent, found)
            at[a] = last
        else:
            far = True
        while a >= 0:
            at[a] += 1
            if at[a] <= end[a]:
                break
            at[a] = begin[a]
            a -= 1
        if a < 0:
            return far


@jit
def owned_by(tile: int, at: I64, cuts: I64, offsets: I64, cells: I32) -> int:
    """1 if an element lies on a tile, else 0."""
    cell = 0
    for a in range(len(at)):
        cell = cell * (offsets[a + 1] - offsets[a] - 1) + _find(cuts, offsets[a], offsets[a + 1], at[a]) - offsets[a]
    return 1 if cells[cell] == tile else 0


@jit
def _near(
    lo: I32,
    hi: I32,
    first: I32,
    tile: I32,
    cuts: I64,
    offsets: I64,
    repeats: NDArray[np.bool_],
    cells: I32,
    stored: tuple[int, int, int, int],
    share: I64,
    out_rows: I64,
    out_words: I64,
    out_bytes: I64,
) -> None:
    """Adds what every vertex has to gather of its own tile's data to the three arrays; see `gathered`."""
    rank = lo.shape[1]
    low, high = np.empty(rank, np.int64), np.empty(rank, np.int64)
    work, found = np.empty((5, rank), np.int64), np.empty(5, np.int64)
    for v in range(len(tile)):
        found[:] = 0
        far = False
        for i in range(first[v], first[v + 1]):
            for a in range(rank):
                low[a], high[a] = lo[i, a], hi[i, a]
                if repeats[a]:
                    low[a], high[a] = 0, min(1, hi[i, a] - lo[i, a])
            far = in_box(low, high, tile[v], cuts, offsets, cells, stored, work, found) or far
        whole = found[3] == share[tile[v]]
        if found[3] and (far or not (found[0] == 1 or whole)):
            out_rows[tile[v]] += found[1]
            out_words[tile[v]] += found[2]
            out_bytes[tile[v]] += found[3] * stored[3]
