"""Where the elements of a tensor live: a grid of boxes, each on one tile.

A mapping cuts every axis of a shape into pieces; the Cartesian product of the pieces is a grid of cells and `tiles`
holds the tile of each cell.  A flat axis with one cut per interval is the general case (Poplar's list of intervals
per tile); a plan of a convolution is a grid over five axes with a thousand cells.  Transposing, reshaping, slicing
and joining tensors act on the mapping exactly, so a view never moves data.

Omitted: nothing about place; the order of elements inside a tile is the row-major order of the variable restricted to
the tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput

T = TypeVar("T")
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Shape = tuple[int, ...]


def even_cuts(size: int, pieces: int) -> I32:
    """Boundaries of `pieces` pieces of ceil(size / pieces) elements, the last ones shorter; empty pieces are left
    out.
    """
    step = -(-size // max(1, min(pieces, size)))
    return np.append(np.arange(0, size, step, dtype=np.int32), np.int32(size)).astype(np.int32)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Shares:
    """The cells of a mapping sorted by tile: box i is [`lo`[i], `hi`[i]) on every axis.

    `tiles` (n,) are the tiles that own something, ascending; the boxes of tile `tiles[k]` are `first[k]:first[k + 1]`;
    `elements` (n,) counts what each of them owns.
    """

    tiles: I32
    first: I32
    lo: I32
    hi: I32
    elements: I64


@final
@dataclass(frozen=True, eq=False, slots=True)
class Mapping:
    """A grid placement.  `cuts[a]` are ascending boundaries 0..shape[a]; `tiles` has one tile per cell.

    `repeats[a]` marks an axis made by broadcasting: every index along it is the same element.  Compared by identity,
    so that "mapped alike" is a pointer comparison.
    """

    shape: Shape
    cuts: tuple[I32, ...]
    tiles: I32
    repeats: tuple[bool, ...] = ()
    _memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.repeats:
            object.__setattr__(self, "repeats", (False,) * len(self.shape))
        expected = tuple(len(c) - 1 for c in self.cuts)
        if self.tiles.shape != expected or len(self.cuts) != len(self.shape):
            raise BadInput(
                f"mapping of shape {self.shape}: cuts give {expected} cells, tiles have shape {self.tiles.shape}"
            )

    def memo(self, key: Any, make: Callable[[], T]) -> T:
        """`make()` the first time a key is asked for, the same object afterwards."""
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = make()
        made: T = found
        return made

    @property
    def size(self) -> int:
        """Distinct elements: broadcast axes count once."""
        return prod(1 if r else n for n, r in zip(self.shape, self.repeats, strict=True))

    def shares(self) -> Shares:
        """Cells sorted by tile, in row-major order within a tile."""
        return self.memo("shares", self._shares)

    def _shares(self) -> Shares:
        flat = self.tiles.ravel()
        order = np.argsort(flat, kind="stable")
        index = np.unravel_index(order, self.tiles.shape) if self.shape else ()
        lo = np.empty((len(order), len(self.shape)), np.int32)
        hi = np.empty_like(lo)
        for axis, (cut, at) in enumerate(zip(self.cuts, index, strict=True)):
            lo[:, axis], hi[:, axis] = cut[at], cut[at + 1]
        owners = flat[order]
        starts = np.flatnonzero(np.append(True, owners[1:] != owners[:-1]))
        counts = np.prod(hi - lo, axis=1, dtype=np.int64) if len(self.shape) else np.ones(len(order), np.int64)
        return Shares(
            tiles=owners[starts].astype(np.int32),
            first=np.append(starts, len(order)).astype(np.int32),
            lo=lo,
            hi=hi,
            elements=np.add.reduceat(counts, starts),
        )

    def elements_per_tile(self, tiles: int) -> I64:
        """Distinct elements on each tile.  Returns: (tiles,) int64."""
        return self.memo(("elements", tiles), lambda: self._elements_per_tile(tiles))

    def _elements_per_tile(self, tiles: int) -> I64:
        counts: NDArray[Any] = np.ones((), np.int64)
        for axis, cut in enumerate(self.cuts):
            width = np.ones(len(cut) - 1, np.int64) if self.repeats[axis] else np.diff(cut).astype(np.int64)
            counts = counts[..., None] * width
        keep = tuple(slice(0, 1) if r else slice(None) for r in self.repeats)
        weights = counts[keep].ravel()
        return np.bincount(self.tiles[keep].ravel(), weights=weights, minlength=tiles).astype(np.int64)

    def permute(self, axes: Sequence[int]) -> Mapping:
        """Axes reordered as by numpy.transpose."""
        key = tuple(axes)
        return self.memo(
            ("permute", key),
            lambda: Mapping(
                tuple(self.shape[a] for a in key),
                tuple(self.cuts[a] for a in key),
                np.ascontiguousarray(self.tiles.transpose(key)),
                tuple(self.repeats[a] for a in key),
            ),
        )

    def reshape(self, shape: Shape) -> Mapping:
        """The same elements in row-major order under another shape.  Raises BadInput where broadcast and real axes
        would merge.
        """
        if shape == self.shape:
            return self
        return self.memo(("reshape", shape), lambda: _reshape(self, shape))

    def slice(self, axis: int, start: int, stop: int) -> Mapping:
        """Elements start..stop of one axis."""
        return self.memo(("slice", axis, start, stop), lambda: self._slice(axis, start, stop))

    def _slice(self, axis: int, start: int, stop: int) -> Mapping:
        cut = self.cuts[axis]
        first = int(np.searchsorted(cut, start, "right")) - 1
        last = int(np.searchsorted(cut, stop, "left"))
        inner = np.clip(cut[first : last + 1] - start, 0, stop - start).astype(np.int32)
        tiles = self.tiles[(slice(None),) * axis + (slice(first, last),)]
        return _with_axis(self, axis, size=stop - start, cut=inner, tiles=np.ascontiguousarray(tiles))

    def take(self, axis: int, index: Sequence[int]) -> Mapping:
        """Elements picked one by one along an axis (strided or reversed slices)."""
        key = ("take", axis, tuple(index))
        return self.memo(key, lambda: self._take(axis, np.asarray(index, np.int64)))

    def _take(self, axis: int, index: I64) -> Mapping:
        piece = np.searchsorted(self.cuts[axis], index, "right") - 1
        starts = np.flatnonzero(np.append(True, piece[1:] != piece[:-1]))
        cut = np.append(starts, len(index)).astype(np.int32)
        return _with_axis(self, axis, size=len(index), cut=cut, tiles=np.take(self.tiles, piece[starts], axis=axis))

    def broadcast_to(self, shape: Shape) -> Mapping:
        """Axes of size one (and missing leading axes) repeated to `shape`."""
        if shape == self.shape:
            return self
        return self.memo(("broadcast", shape), lambda: self._broadcast(shape))

    def _broadcast(self, shape: Shape) -> Mapping:
        extra = len(shape) - len(self.shape)
        old = (1,) * extra + self.shape
        one = np.array([0, 1], np.int32)
        cuts = (one,) * extra + self.cuts
        repeats = (False,) * extra + self.repeats
        grown = [n != m for n, m in zip(shape, old, strict=True)]
        return Mapping(
            shape,
            tuple(np.array([0, n], np.int32) if g else c for n, c, g in zip(shape, cuts, grown, strict=True)),
            self.tiles.reshape((1,) * extra + self.tiles.shape),
            tuple(r or g for r, g in zip(repeats, grown, strict=True)),
        )


def _with_axis(m: Mapping, axis: int, *, size: int, cut: I32, tiles: NDArray[Any]) -> Mapping:
    shape = (*m.shape[:axis], size, *m.shape[axis + 1 :])
    cuts = (*m.cuts[:axis], cut, *m.cuts[axis + 1 :])
    return Mapping(shape, cuts, tiles.astype(np.int32, copy=False), m.repeats)


def linear(shape: Shape, tiles: int, *, grain: int = 1, min_elements: int = 1, offset: int = 0) -> Mapping:
    """Contiguous intervals in row-major order, dealt to tiles `offset`, `offset` + 1, ... (modulo `tiles`).

    Elements are cut into grains; each tile gets at most ceil(grains / tiles) of them and not fewer than `min_elements`
    (poplibs lib/poputil/TileMapping.cpp).
    """
    size = prod(shape)
    grains = -(-size // grain)
    per_tile = max(-(-grains // tiles), -(-min_elements // grain)) * grain
    cut = np.append(np.arange(0, size, per_tile), size).astype(np.int32)
    where = ((np.arange(len(cut) - 1) + offset) % tiles).astype(np.int32)
    return Mapping((size,), (cut,), where).reshape(shape)


def concat(parts: Sequence[Mapping], axis: int) -> Mapping:
    """Mappings joined along an axis; the other axes take the union of all cuts."""
    first = parts[0]
    rank = len(first.shape)
    cuts: list[I32] = []
    for a in range(rank):
        if a == axis:
            edges, base = [np.zeros(1, np.int64)], 0
            for part in parts:
                edges.append(part.cuts[a][1:].astype(np.int64) + base)
                base += part.shape[a]
            cuts.append(np.concatenate(edges).astype(np.int32))
        else:
            cuts.append(np.unique(np.concatenate([p.cuts[a] for p in parts])))
    blocks = []
    for part in parts:
        tiles = part.tiles
        for a in range(rank):
            if a != axis:
                tiles = np.take(tiles, np.searchsorted(part.cuts[a], cuts[a][:-1], "right") - 1, axis=a)
        blocks.append(tiles)
    shape = (*first.shape[:axis], sum(p.shape[axis] for p in parts), *first.shape[axis + 1 :])
    return Mapping(shape, tuple(cuts), np.concatenate(blocks, axis=axis).astype(np.int32))


def _reshape(m: Mapping, shape: Shape) -> Mapping:
    if prod(shape) != prod(m.shape):
        raise BadInput(f"cannot view shape {m.shape} as {shape}: {prod(m.shape)} elements are not {prod(shape)}")
    done = m
    for axis, target in enumerate(shape):
        while axis < len(done.shape) and done.shape[axis] == 1 != target:
            done = _drop_axis(done, axis)
        if target == 1:
            if axis >= len(done.shape) or done.shape[axis] != 1:
                done = _add_axis(done, axis)
        else:
            while done.shape[axis] % target:
                done = _merge(done, axis)
            if done.shape[axis] != target:
                done = _split(done, axis, done.shape[axis] // target)
    while len(done.shape) > len(shape):
        done = _drop_axis(done, len(shape))
    return done


def _drop_axis(m: Mapping, axis: int) -> Mapping:
    return Mapping(
        m.shape[:axis] + m.shape[axis + 1 :],
        m.cuts[:axis] + m.cuts[axis + 1 :],
        m.tiles.reshape(m.tiles.shape[:axis] + m.tiles.shape[axis + 1 :]),
        m.repeats[:axis] + m.repeats[axis + 1 :],
    )


def _add_axis(m: Mapping, axis: int) -> Mapping:
    one = np.array([0, 1], np.int32)
    return Mapping(
        (*m.shape[:axis], 1, *m.shape[axis:]),
        (*m.cuts[:axis], one, *m.cuts[axis:]),
        m.tiles.reshape((*m.tiles.shape[:axis], 1, *m.tiles.shape[axis:])),
        (*m.repeats[:axis], False, *m.repeats[axis:]),
    )


def _merge(m: Mapping, axis: int) -> Mapping:
    """Axes `axis` and `axis` + 1 as one."""
    n0, n1 = m.shape[axis], m.shape[axis + 1]
    c0, c1 = m.cuts[axis], m.cuts[axis + 1]
    repeat = m.repeats[axis] and m.repeats[axis + 1]
    if m.repeats[axis] != m.repeats[axis + 1] and n0 != 1 and n1 != 1:
        raise BadInput(f"shape {m.shape}: a broadcast axis cannot be merged with a real one")
    if n0 == 1 or n1 == 1:
        repeat = m.repeats[axis] or m.repeats[axis + 1]
    if len(c1) == 2:
        cut, tiles = c0 * n1, m.tiles
    else:
        rows = np.arange(n0, dtype=np.int64)
        cut = np.append((rows[:, None] * n1 + c1[:-1]).ravel(), n0 * n1)
        tiles = np.take(m.tiles, np.searchsorted(c0, rows, "right") - 1, axis=axis)
    merged = tiles.reshape((*tiles.shape[:axis], -1, *tiles.shape[axis + 2 :]))
    return Mapping(
        (*m.shape[:axis], n0 * n1, *m.shape[axis + 2 :]),
        (*m.cuts[:axis], cut.astype(np.int32), *m.cuts[axis + 2 :]),
        merged,
        (*m.repeats[:axis], repeat, *m.repeats[axis + 2 :]),
    )


def _split(m: Mapping, axis: int, inner: int) -> Mapping:
    """Axis `axis` as (rows of) `inner` elements."""
    cut = m.cuts[axis]
    rows = m.shape[axis] // inner
    outer_cut = np.unique(np.concatenate([cut // inner, -(-cut // inner)]))
    inner_cut = np.unique(np.append(cut % inner, [0, inner]))
    at = outer_cut[:-1, None].astype(np.int64) * inner + inner_cut[:-1]
    tiles = np.take(m.tiles, np.searchsorted(cut, at.ravel(), "right") - 1, axis=axis)
    lead, tail = m.tiles.shape[:axis], m.tiles.shape[axis + 1 :]
    return Mapping(
        (*m.shape[:axis], rows, inner, *m.shape[axis + 1 :]),
        (*m.cuts[:axis], outer_cut.astype(np.int32), inner_cut.astype(np.int32), *m.cuts[axis + 1 :]),
        tiles.reshape((*lead, len(outer_cut) - 1, len(inner_cut) - 1, *tail)),
        (*m.repeats[:axis], m.repeats[axis], m.repeats[axis], *m.repeats[axis + 1 :]),
    )
