"""How a whole convolution is cut into shares that fit a CPU cache, and the tables that all shares read.

A share is computed from planes of float32 that should stay in a core's private cache while all out channels pass over them;
its rows of sums should stay in the first-level cache.  Sums do not depend on the cut, so it may follow the number of threads.
Omitted: fitting the cut to the caches of the CPU at hand (the two limits were measured on one AMD Zen 5 core).
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

PLANE_FLOATS = 160 * 1024
SUM_COLUMNS = 1024

Pieces = tuple[tuple[int, int, int, int], ...]
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
    """Where results look: the field, its strides and padding before, and the distances within a staged plane.

    A plane has `rows` per image and `columns` per row, the planes of a group `size` elements; `groups` are staged together and
    `tail` zeros follow the last plane.  `pointwise` says that each position sees itself only, that there is one row, and that
    shares may begin at any column.
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
    def pointwise(self) -> bool:
        """A 1x1 kernel over one row that reads each position once."""
        return self.field == self.out and self.out[0] == 1 and self.kernel == self.stride == (1, 1) and self.pad == (0, 0)

    def in_one_row(self) -> Shape:
        """The same convolution with rows joined, which a 1x1 kernel that reads each position once allows."""
        positions = self.out[0] * self.out[1]
        return replace(self, field=(1, positions), out=(1, positions), pad=(0, 0))


@final
@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Shares and tables of one convolution.

    `phases` (phases, 4): remainder of the row, zeros before a row of a plane, end of its data, field column of its first
    element; `taps`: places in the weights and in the planes, in order of
    accumulation; `ends`: first tap of each piece and the end of the last; sizes of the scratch arrays in float32.
    """

    window: Window
    phases: NDArray[np.int64]
    taps: tuple[I32, I32]
    ends: NDArray[np.int64]
    boxes: tuple[Box, ...]
    plane_floats: int
    weight_floats: int
    sum_floats: int
    line_floats: int


@lru_cache(maxsize=1024)
def plan(shape: Shape, pieces: Pieces, threads: int) -> Plan:
    """Shares of a convolution and what they need; raises `BadInput` if the pieces are not the whole reduction."""
    order, ends = _order(shape, pieces)
    views = [_views(shape, axis) for axis in (0, 1)]
    share = _share(shape, len(views[0].phases) * len(views[1].phases), (views[0].reach, views[1].reach))
    images, height, width = share
    rows = height + views[0].reach - (views[0].shared if images > 1 else 0)
    columns = width + views[1].reach - views[1].shared
    tail = (views[0].shared * columns if images > 1 else 0) + views[1].shared
    phases, places = _tables(views, images * rows * columns, columns)
    channel, tap = np.divmod(order, shape.kernel[0] * shape.kernel[1])
    channel_size = len(phases) * images * rows * columns
    size = shape.channels * channel_size
    groups = 1 if shape.pointwise else max(1, min(shape.groups, PLANE_FLOATS // size))
    sums = ceil_div(((images - 1) * rows + height - 1) * columns + width, LANES) * LANES
    return Plan(
        window=Window(
            int(shape.pointwise),
            groups,
            shape.channels,
            *shape.field,
            *shape.stride,
            shape.pad[0],
            rows,
            columns,
            size,
            tail,
        ),
        phases=phases,
        taps=(order.astype(np.int32), (channel * channel_size + places[tap]).astype(np.int32)),
        ends=ends,
        boxes=tuple(_boxes(shape, share, threads)),
        plane_floats=groups * size + tail + LANES,
        weight_floats=ROWS * ((len(order) // 16 | 1) + 2) * 16,
        sum_floats=2 * ROWS * sums + LANES,
        line_floats=max(images * shape.stride[0] * rows * shape.field[1], height * width) + LANES,
    )


def _order(shape: Shape, pieces: Pieces) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(taps in order of accumulation, ends of the pieces); a tap is (channel * KH + ky) * KW + kx."""
    kh, kw = shape.kernel
    taps = np.arange(shape.channels * kh * kw).reshape(shape.channels, kh, kw)
    parts = [taps[c0:c1, k0:k1].ravel() for c0, c1, k0, k1 in pieces]
    order = np.concatenate([*parts, np.zeros(0, np.int64)])
    if not np.array_equal(np.sort(order), taps.ravel()):
        raise BadInput(
            f"the pieces {pieces} of a reduction over {shape.channels} channels and {kh} kernel rows do not cover each part once"
        )
    return order, np.cumsum([0, *(len(p) for p in parts)])


@final
@dataclass(frozen=True, eq=False, slots=True)
class _View:
    """One axis as the taps see it, for a share that covers the axis.

    `phases` (phases, 4): remainder of the position, zeros before the data, end of the data, field position of its first element;
    `phase` and `distance` of each tap; `reach`, the largest distance; `shared`, how many zeros after the data can be the zeros
    before the data of the next row.
    """

    phases: NDArray[np.int64]
    phase: NDArray[np.int64]
    distance: NDArray[np.int64]
    reach: int
    shared: int


def _views(shape: Shape, axis: int) -> _View:
    stride, pad, size = shape.stride[axis], shape.pad[axis], shape.field[axis]
    distance, remainder = np.divmod(np.arange(shape.kernel[axis]) * shape.dilation[axis], stride)
    kinds, phase = np.unique(remainder, return_inverse=True)
    need = shape.out[axis] + int(distance.max())
    first = kinds - pad
    before = np.clip(-(first // stride), 0, need)
    after = np.clip((size - 1 - first) // stride + 1, before, need)
    phases = np.stack([kinds, before, after, first + before * stride], axis=1)
    shared = min(int(before.min()), need - int(after.max()))
    return _View(phases, phase, distance, int(distance.max()), shared)


def _tables(views: list[_View], plane: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(phases as `Plan` has them, place of each tap in the planes of its channel)."""
    rows, cols = views
    across = len(cols.phases)
    phases = [np.repeat(rows.phases[:, :1], across, axis=0), np.tile(cols.phases[:, 1:], (len(rows.phases), 1))]
    phase = rows.phase[:, None] * across + cols.phase
    places = phase * plane + rows.distance[:, None] * columns + cols.distance
    return np.concatenate(phases, axis=1), places.ravel()


def _share(shape: Shape, phases: int, reach: Pair) -> tuple[int, int, int]:
    """(images, rows, columns) of the result that one share covers."""
    height, width = shape.out
    per_position = shape.channels * phases
    if shape.pointwise:
        columns = _even(width, min(PLANE_FLOATS // per_position, SUM_COLUMNS), LANES)
        images = 1 if columns < width else PLANE_FLOATS // (per_position * width)
        return max(1, min(shape.images, images, SUM_COLUMNS // width)), 1, columns
    row = width + reach[1]
    rows = min(PLANE_FLOATS // (per_position * row) - reach[0], SUM_COLUMNS // row)
    if rows < height:
        return 1, _even(height, rows, 1), width
    plane = (height + reach[0]) * row
    images = min(PLANE_FLOATS // (per_position * plane), SUM_COLUMNS // plane)
    return max(1, min(shape.images, images)), height, width


def _even(size: int, limit: int, grain: int) -> int:
    """Length of equal parts of `size`, a multiple of `grain` and at most `limit` where that is possible."""
    parts = ceil_div(size, max(grain, limit // grain * grain))
    return min(size, ceil_div(ceil_div(size, parts), grain) * grain)


def _boxes(shape: Shape, share: tuple[int, int, int], threads: int) -> Iterator[Box]:
    images, rows, columns = share
    height, width = shape.out
    field = ceil_div(shape.images, images) * ceil_div(height, rows) * ceil_div(width, columns)
    parts = 1 if threads == 1 else ceil_div(4 * threads, field)
    groups = _even(shape.groups, ceil_div(shape.groups, parts), 1)
    parts = ceil_div(parts, ceil_div(shape.groups, groups))
    channels = _even(shape.out_channels, ceil_div(shape.out_channels, parts), ROWS)
    for n in range(0, shape.images, images):
        for y in range(0, height, rows):
            for x in range(0, width, columns):
                for g in range(0, shape.groups, groups):
                    for o in range(0, shape.out_channels, channels):
                        yield Box(
                            n, min(n + images, shape.images),
                            g, min(g + groups, shape.groups),
                            o, min(o + channels, shape.out_channels),
                            y, min(y + rows, height),
                            x, min(x + columns, width),
                        )  # fmt: skip
