"""A mesh of cells cut over IPUs, tiles and workers, for stencils.

Cells of the border (`margin` deep on every side) are fixed; those inside are cut, first over IPUs along one axis, then
each IPU's part over all its tiles.  Of all grids with as many blocks as there are tiles, and as many on every IPU, it
is the one with the least surface, and where two are equal the one with more blocks along the height, the last axis but
one, then along the width.  Sizes differ by one at most, larger blocks first.  A border cell lies on the tile of the
block beside it.  A tile's block is cut over its workers in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput

I64 = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Mesh:
    """Blocks of the cells inside; `lo`, `hi` (blocks, axes) int64, in cells of the whole mesh; block i is on tile i.

    `shape`: cells with the border; `margin`: depth of the border.
    """

    shape: tuple[int, ...]
    margin: int
    lo: I64
    hi: I64

    @property
    def cells(self) -> int:
        """Cells inside."""
        return int((self.hi - self.lo).prod(axis=1).sum())

    def owned(self) -> tuple[I64, I64]:
        """Bounds of what lies on the tiles: blocks, and for those at the edge the border beside them."""
        end = np.array(self.shape, np.int64) - self.margin
        return np.where(self.lo == self.margin, 0, self.lo), np.where(self.hi == end, np.array(self.shape), self.hi)

    def faces(self, along: int, ipus: int, reach: int) -> Faces:
        """Where IPUs meet: of each IPU's cells along an axis the first `reach` planes and the last.

        Raises BadInput for IPUs that have fewer planes.
        """
        ipu = np.arange(len(self.lo)) * ipus // len(self.lo)
        begin, end = np.full(ipus, self.shape[along], np.int64), np.zeros(ipus, np.int64)
        np.minimum.at(begin, ipu, self.lo[:, along])
        np.maximum.at(end, ipu, self.hi[:, along])
        if (end - begin).min() < 2 * reach:
            raise BadInput(f"{ipus} IPUs have {(end - begin).min()} planes of the mesh, which is read {reach} deep")
        return Faces(self, along, reach, begin, end)

    def parts(self, counts: Sequence[int]) -> tuple[I64, I64, I64]:
        """(lo, hi, tile) of the workers' parts: every block cut into `counts` along each axis, empty ones left out."""
        lo, hi, tile = self.lo[:, None, :], self.hi[:, None, :], np.arange(len(self.lo))[:, None]
        for axis, count in enumerate(counts):
            number = np.arange(count)[None, None, :]
            base, more = np.divmod(hi[..., axis] - lo[..., axis], count)
            first, size = (np.repeat(e[..., None, :], count, axis=2).reshape(len(e), -1, len(counts)) for e in (lo, hi))
            begin = lo[..., axis, None] + number * base[..., None] + np.minimum(number, more[..., None])
            first[..., axis] = begin.reshape(len(begin), -1)
            size[..., axis] = (begin + base[..., None] + (number < more[..., None])).reshape(len(begin), -1)
            lo, hi, tile = first, size, np.repeat(tile, count, axis=1)
        flat = lo.reshape(-1, len(counts)), hi.reshape(-1, len(counts)), tile.reshape(-1)
        full = (flat[0] < flat[1]).all(axis=1)
        return flat[0][full], flat[1][full], flat[2][full]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Faces:
    """The planes beside the cuts between IPUs, as a mesh of their own: axis `along` has 2 `reach` planes an IPU.

    `begin`, `end` (ipus,): the planes of each IPU in the mesh.
    """

    mesh: Mesh
    along: int
    reach: int
    begin: I64
    end: I64

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells of the faces' mesh."""
        sides = list(self.mesh.shape)
        sides[self.along] = 2 * self.reach * len(self.begin)
        return tuple(sides)

    @property
    def owned(self) -> tuple[I64, I64, I64]:
        """(lo, hi, tile) of what lies on the tiles, in the faces' mesh."""
        found = []
        lo, hi = self.mesh.owned()
        inner = self.mesh.lo[:, self.along], self.mesh.hi[:, self.along]
        tile = np.arange(len(lo))
        ipu = tile * len(self.begin) // len(lo)
        for last, plane in enumerate((self.begin[ipu], self.end[ipu] - self.reach)):
            first, stop = (np.clip(side, plane, plane + self.reach) for side in inner)
            here = first < stop
            move = 2 * self.reach * ipu + self.reach * last - plane
            found.append(self._moved(lo, hi, tile, first + move, stop + move, here))
        return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))  # type: ignore[return-value]

    def read(self, lo: I64, hi: I64, tile: I64) -> tuple[I64, I64, I64]:
        """The halo, `reach` deep, that parts (lo, hi, tile) of the mesh read across a cut, in the faces' mesh."""
        ipu = tile * len(self.begin) // len(self.mesh.lo)
        around = lo - self.reach, hi + self.reach
        before = (lo[:, self.along] == self.begin[ipu]) & (ipu > 0)
        after = (hi[:, self.along] == self.end[ipu]) & (ipu < len(self.begin) - 1)
        found = []
        for here, first in ((before, 2 * self.reach * ipu - self.reach), (after, 2 * self.reach * (ipu + 1))):
            found.append(self._moved(*around, tile, first, first + self.reach, here))
        return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))  # type: ignore[return-value]

    def _moved(
        self, lo: I64, hi: I64, tile: I64, first: I64, stop: I64, here: NDArray[np.bool_]
    ) -> tuple[I64, I64, I64]:
        """Those of the blocks that are `here`, with other bounds along the axis."""
        low, high = lo[here].copy(), hi[here].copy()
        low[:, self.along], high[:, self.along] = first[here], stop[here]
        return low, high, tile[here]


def cut(shape: Sequence[int], *, margin: int, ipus: int, tiles: int, along: int) -> Mesh:
    """A mesh on `ipus` IPUs of `tiles` tiles each, over IPUs along axis `along`.

    Raises BadInput for a mesh with fewer cells inside along an axis than parts.
    """
    inside = [side - 2 * margin for side in shape]
    if min(inside) < 1 or inside[along] < ipus:
        raise BadInput(f"mesh {'x'.join(map(str, shape))} has too few cells for {ipus} IPUs and a border of {margin}")
    lo, hi = [], []
    grid = list(counts(inside, tiles * ipus, along, ipus))
    grid[along] //= ipus
    for begin, end in even(inside[along], ipus):
        part = [end - begin if axis == along else side for axis, side in enumerate(inside)]
        first, last = _blocks(part, grid)
        move = np.full(len(shape), margin)
        move[along] += begin
        lo.append(first + move)
        hi.append(last + move)
    return Mesh(tuple(shape), margin, np.concatenate(lo), np.concatenate(hi))


def counts(shape: Sequence[int], blocks: int, along: int = 0, ipus: int = 1) -> tuple[int, ...]:
    """Blocks along each axis, whole numbers of them on each IPU along axis `along`.  Raises BadInput if none fits."""
    fitting = [
        grid
        for grid in _grids(blocks, len(shape))
        if all(n <= side for n, side in zip(grid, shape, strict=True)) and grid[along] % ipus == 0
    ]
    if not fitting:
        raise BadInput(f"{'x'.join(map(str, shape))} cells cannot be cut into a grid of {blocks} blocks")
    faces = [math.prod(shape) // side for side in shape]
    return min(fitting, key=lambda grid: (sum(n * f for n, f in zip(grid, faces, strict=True)), _later(grid)))


def _later(grid: tuple[int, ...]) -> tuple[int, ...]:
    """Of grids with one surface, the one with more blocks along the height first, then along the width."""
    return tuple(-n for n in (*grid[-2:], *grid[:-2]))


def _grids(blocks: int, axes: int) -> Iterator[tuple[int, ...]]:
    if axes == 1:
        yield (blocks,)
        return
    for first in range(1, blocks + 1):
        if blocks % first == 0:
            yield from ((first, *rest) for rest in _grids(blocks // first, axes - 1))


def even(length: int, parts: int) -> list[tuple[int, int]]:
    """Bounds of `parts` pieces of `length` as even as possible, larger ones first."""
    base, more = divmod(length, parts)
    starts = [n * base + min(n, more) for n in range(parts + 1)]
    return list(pairwise(starts))


def _blocks(shape: Sequence[int], grid: Sequence[int]) -> tuple[I64, I64]:
    bounds = [np.array(even(side, parts), np.int64) for side, parts in zip(shape, grid, strict=True)]
    index = np.indices(tuple(grid)).reshape(len(grid), -1)
    ends = [np.stack([bounds[axis][index[axis], end] for axis in range(len(grid))], axis=1) for end in (0, 1)]
    return ends[0], ends[1]
