"""How a whole convolution is cut into shares that fit a CPU cache, and the tables that all shares read.

A share is computed from planes of float32 that should stay in a core's private cache while all out channels pass over
them; its rows of sums should stay in the first-level cache.  Results do not depend on the cut, so it may follow the
number of threads.  Omitted: fitting the cut to the caches of the CPU at hand (on one AMD Zen 5 core with 1 MiB the time
of ResNet-50 changes by 3 % between half and twice these limits).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput
from ipusim.units import ceil_div
from ipusim_kernels.conv.numeric_tile import I32, LANES, ROWS

PLANE_FLOATS = 128 * 1024
SUM_COLUMNS = 1024

I64 = NDArray[np.int64]
#: A part of the reduction: channels and kernel rows (c0, c1, y0, y1), or boxes (c0, c1, y0, y1, x0, x1) in order.
Piece = tuple[int, int, int, int] | tuple[tuple[int, int, int, int, int, int], ...]
Pieces = tuple[Piece, ...]
Pair = tuple[int, int]


class Box(NamedTuple):
    """One share of the result: first and end of its images, groups, out channels, rows and columns."""

    n0: int
    n1: int
    g0: int
    g1: int
    o0: int
    o1: int
    y0: int
    y1: int
    x0: int
    x1: int


class Window(NamedTuple):
    """Where results look: the field, its strides and padding before, and the distances within the staged planes.

    A plane has `rows` per image and `columns` per row; the planes of a group take `size` elements, and `groups` of them
    are staged together.  `tail` zeros follow each plane.  `pointwise` says that each position sees itself only, that
    there is one row, and that shares may begin at any column.
    """

    pointwise: int
    groups: int
    channels: int
    height: int
    width: int
    stride_y: int
    stride_x: int
    pad_y: int
    rows: int
    columns: int
    size: int
    tail: int


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a grouped convolution; channels are per group and `pad` lies before the first row and column."""

    images: int
    groups: int
    channels: int
    out_channels: int
    field: Pair
    out: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    pad: Pair

    @property
    def sees_itself(self) -> bool:
        """Each result reads its own position and no other."""
        return self.kernel == self.stride == (1, 1) and self.field == self.out and self.pad == (0, 0)

    @property
    def pointwise(self) -> bool:
        """The same over one row."""
        return self.sees_itself and self.out[0] == 1

    def in_one_row(self) -> Shape:
        """The same convolution with its rows joined, if each result sees itself only."""
        positions = self.out[0] * self.out[1]
        return replace(self, field=(1, positions), out=(1, positions))


@final
@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Shares and tables of one convolution.

    `phases` (phases, 4): remainder of the row, zeros before a row of a plane, end of its data, field column of its
    first element.  `taps`: places in the weights and in the planes of a group, in order of accumulation; `ends`: first
    tap of each piece and the end of the last.  `floats`: sizes of the work arrays of a thread.
    """

    window: Window
    phases: I64
    taps: tuple[I32, I32]
    ends: I64
    boxes: tuple[Box, ...]
    floats: dict[str, int]


@lru_cache(maxsize=512)
def plan(shape: Shape, pieces: Pieces, threads: int) -> Plan:
    """Shares of a convolution and what they need; raises `BadInput` if the pieces are not the whole reduction."""
    order, ends = _order(shape, pieces)
    down, across = _Axis.of(shape, 0), _Axis.of(shape, 1)
    phases = len(down.phases) * len(across.phases)
    share = images, height, width = _share(shape, phases, (down.reach, across.reach))
    shared_rows = down.shared if images > 1 else 0
    rows, columns = height + down.reach - shared_rows, width + across.reach - across.shared
    tail = shared_rows * columns + across.shared
    plane = images * rows * columns
    size = shape.channels * phases * plane
    groups = 1 if shape.pointwise else max(1, min(shape.groups, PLANE_FLOATS // size))
    reach = shape.pad[0], rows, columns, size, tail
    channel, tap = np.divmod(order, shape.kernel[0] * shape.kernel[1])
    places = channel * phases * plane + _places(down, across, plane, columns)[tap]
    sums = ceil_div(((images - 1) * rows + height - 1) * columns + width, LANES) * LANES
    return Plan(
        window=Window(int(shape.pointwise), groups, shape.channels, *shape.field, *shape.stride, *reach),
        phases=_phases(down, across),
        taps=(order.astype(np.int32), places.astype(np.int32)),
        ends=ends,
        boxes=tuple(_boxes(shape, share, threads)),
        floats={
            "weights": ROWS * ((len(order) // 16 | 1) + 2) * 16,
            "planes": groups * size + tail + LANES,
            "sums": 2 * ROWS * sums,
            "line": max(images * shape.stride[0] * rows * shape.field[1], height * width),
        },
    )


def _order(shape: Shape, pieces: Pieces) -> tuple[I64, I64]:
    """(taps in order of accumulation, ends of the pieces); a tap is (channel * KH + ky) * KW + kx."""
    kh, kw = shape.kernel
    taps = np.arange(shape.channels * kh * kw).reshape(shape.channels, kh, kw)
    boxes = [[taps[c0:c1, y0:y1, x0:x1].ravel() for c0, c1, y0, y1, x0, x1 in _boxes_of(p, kw)] for p in pieces]
    parts = [np.concatenate(found) for found in boxes]
    order = np.concatenate([*parts, np.zeros(0, np.int64)])
    if not np.array_equal(np.sort(order), taps.ravel()):
        raise BadInput(f"the pieces {pieces} do not cover {shape.channels} channels and {kh} kernel rows once each")
    return order, np.cumsum([0, *(len(p) for p in parts)])


def _boxes_of(piece: Piece, width: int) -> Iterator[tuple[int, ...]]:
    for box in piece if isinstance(piece[0], tuple) else (piece,):
        bounds = tuple(int(v) for v in box)
        yield bounds if len(bounds) == 6 else (*bounds, 0, width)


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Axis:
    """One axis as the taps see it, for a share that covers the axis.

    `phases` (phases, 4): remainder of the position, zeros before the data, end of the data, field position of its
    first element.  `phase` and `distance` of each tap; `reach`: the largest distance; `shared`: how many zeros after
    the data can be the zeros before the data of the next row.
    """

    phases: I64
    phase: I64
    distance: I64
    reach: int
    shared: int

    @staticmethod
    def of(shape: Shape, axis: int) -> _Axis:
        stride, pad, size = shape.stride[axis], shape.pad[axis], shape.field[axis]
        distance, remainder = np.divmod(np.arange(shape.kernel[axis]) * shape.dilation[axis], stride)
        kinds, phase = np.unique(remainder, return_inverse=True)
        need = shape.out[axis] + int(distance.max())
        first = kinds - pad
        before = np.clip(-(first // stride), 0, need)
        after = np.clip((size - 1 - first) // stride + 1, before, need)
        phases = np.stack([kinds, before, after, first + before * stride], axis=1)
        shared = min(int(before.min()), need - int(after.max()))
        return _Axis(phases, phase, distance, int(distance.max()), shared)


def _phases(down: _Axis, across: _Axis) -> I64:
    """The phases of both axes, as `Plan` has them."""
    remainders = np.repeat(down.phases[:, :1], len(across.phases), axis=0)
    return np.concatenate([remainders, np.tile(across.phases[:, 1:], (len(down.phases), 1))], axis=1)


def _places(down: _Axis, across: _Axis, plane: int, columns: int) -> I64:
    """Place of each tap of one channel in its planes."""
    phase = down.phase[:, None] * len(across.phases) + across.phase
    return (phase * plane + down.distance[:, None] * columns + across.distance).ravel()


def _share(shape: Shape, phases: int, reach: Pair) -> tuple[int, int, int]:
    """(images, rows, columns) of the result that one share covers."""
    height, width = shape.out
    per_position = shape.channels * phases
    if shape.pointwise:
        columns = _even(width, min(PLANE_FLOATS // per_position, SUM_COLUMNS), LANES)
        images = 1 if columns < width else min(PLANE_FLOATS // per_position, SUM_COLUMNS) // width
        return max(1, min(shape.images, images)), 1, columns
    row = width + reach[1]
    rows = min(PLANE_FLOATS // (per_position * row) - reach[0], SUM_COLUMNS // row)
    if rows < height:
        return 1, _even(height, rows, 1), width
    images = min(PLANE_FLOATS // per_position, SUM_COLUMNS) // ((height + reach[0]) * row)
    return max(1, min(shape.images, images)), height, width


def _even(size: int, limit: int, grain: int) -> int:
    """Length of equal parts of `size`, a multiple of `grain` and at most `limit` where that is possible."""
    parts = ceil_div(size, max(grain, limit // grain * grain))
    return min(size, ceil_div(ceil_div(size, parts), grain) * grain)


def _boxes(shape: Shape, share: tuple[int, int, int], threads: int) -> Iterator[Box]:
    """Shares by image and position; for several threads also by group and out channel, until there are enough."""
    images, rows, columns = share
    height, width = shape.out
    found = ceil_div(shape.images, images) * ceil_div(height, rows) * ceil_div(width, columns)
    parts = 1 if threads == 1 else ceil_div(2 * threads, found)
    groups = _even(shape.groups, ceil_div(shape.groups, parts), 1)
    parts = ceil_div(parts, ceil_div(shape.groups, groups))
    outs = _even(shape.out_channels, ceil_div(shape.out_channels, parts), ROWS)
    for n in _ranges(shape.images, images):
        for y in _ranges(height, rows):
            for x in _ranges(width, columns):
                for g in _ranges(shape.groups, groups):
                    for o in _ranges(shape.out_channels, outs):
                        yield Box(*n, *g, *o, *y, *x)


def _ranges(size: int, length: int) -> Iterator[Pair]:
    return ((first, min(first + length, size)) for first in range(0, size, length))
