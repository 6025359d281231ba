"""One share of a convolution: its field and weights brought into float32, the sums of its pieces, the result rounded once.

Ideal: out[n, g, o, y, x] = sum over c, ky, kx of w[g, o, c, ky, kx] field[n, g, c, y * stride + ky * dilation - pad, ...].  The
field of a share is copied once into planes of float32: one plane per channel and per remainder of the position modulo the stride
(a phase), with the padding written out.  Within a plane the tap (ky, kx) of every result lies at the same distance from the
result's own place, so a convolution becomes a matrix product whose columns are read straight from the planes, with no copy per
tap (the low-memory variant of im2col; rows of a plane that no result owns are computed and dropped).  Each piece of the
reduction is a chain of multiply-adds from zero; pieces are added in order in the partial type.

Arrays come flat, as uint16 bits of halves or as float32, with strides in elements; so one compiled version serves every view.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import float_to_half, half_to_float, jit
from ipusim_kernels.conv.numeric_lanes import move, turn
from ipusim_kernels.conv.numeric_tile import F32, LANES, ROWS, VECTORS, Work, fma_tile

HALF_ROWS = ROWS // 2
WIDE = 2 * VECTORS
LINE = 8

Flat = NDArray[Any]
Strides3 = tuple[int, int, int]
Strides5 = tuple[int, int, int, int, int]


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
    `tail` zeros follow the last plane.  `pointwise` says that each position
    sees itself only, that there is one row, and that shares may begin at any column.
    """

    pointwise: bool
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


@jit
def move_row(target: Flat, place: int, source: Flat, start: int, count: int) -> None:
    """Copies and converts neighbours, by whole vectors of which the last two may overlap."""
    if count >= LANES:
        for i in range(0, count - LANES, LANES):
            move(LANES, target, place + i, source, start + i)
        move(LANES, target, place + count - LANES, source, start + count - LANES)
    else:
        for i in range(count):
            move(1, target, place + i, source, start + i)


@jit
def move_steps(target: Flat, place: int, target_step: int, source: Flat, start: int, step: int, count: int) -> None:
    """Copies and converts elements that are not neighbours."""
    for i in range(count):
        move(1, target, place + i * target_step, source, start + i * step)


@jit
def move_over(target: F32, place: int, source: F32, start: int, step: int, count: int) -> None:
    """Copies every `step`-th element; writes whole vectors, so what follows the row in `target` is to be written afterwards."""
    if step == 1:
        for i in range(0, count, LANES):
            move(LANES, target, place + i, source, start + i)
    else:
        for i in range(count):
            target[np.uint64(place + i)] = source[np.uint64(start + i * step)]


@jit
def clear_row(target: F32, place: int, count: int) -> None:
    """Writes `count` zeros."""
    for i in range(count):
        target[np.uint64(place + i)] = np.float32(0)


@jit
def load_rows(line: F32, place: int, x: Flat, start: int, at_y: int, at_x: int, rows: int, width: int) -> None:
    """Rows of the field one after the other, float32."""
    if at_x == 1 and at_y == width:
        move_row(line, place, x, start, rows * width)
    else:
        for row in range(rows):
            if at_x == 1:
                move_row(line, place, x, start + row * at_y, width)
            else:
                move_steps(line, place, 1, x, start + row * at_y, at_x, width)
            place += width


@jit
def spread_rows(
    planes: F32, place: int, line: F32, start: int, window: Window, phases: NDArray[np.int64], phase: int, y: int
) -> int:
    """One plane of one image from field row `y` on, zero outside the field, whose row zero would lie at `start` in `line`.

    A row of `phases`: remainder of the row, zeros before a row, end of its data, field column of its first element.
    Returns: the end of the plane.
    """
    lo, hi, first = phases[phase, 1], phases[phase, 2], phases[phase, 3]
    y += phases[phase, 0]
    for _ in range(window.rows):
        if 0 <= y < window.height:
            clear_row(planes, place, lo)
            move_over(planes, place + lo, line, start + y * window.width + first, window.stride_x, hi - lo)
            clear_row(planes, place + hi, window.columns - hi)
        else:
            clear_row(planes, place, window.columns)
        place += window.columns
        y += window.stride_y
    return place


@jit
def stage_planes(
    x: Flat, layout: Strides5, window: Window, phases: NDArray[np.int64], box: Box, g0: int, g1: int, work: Work
) -> None:
    """The planes of a few groups: (group, channel, phase, image, row, column), float32."""
    at_n, at_g, at_c, at_y, at_x = layout
    y = box.y0 * window.stride_y - window.pad_y
    base, end = max(0, y), min(window.height, y + window.rows * window.stride_y)
    loaded = (end - base) * window.width
    place = 0
    for channel in range((g1 - g0) * window.channels):
        group, c = g0 + channel // window.channels, channel % window.channels
        for n in range(box.n1 - box.n0):
            start = (box.n0 + n) * at_n + group * at_g + c * at_c + base * at_y
            load_rows(work.line, n * loaded, x, start, at_y, at_x, end - base, window.width)
        for phase in range(phases.shape[0]):
            for n in range(box.n1 - box.n0):
                first = n * loaded - base * window.width
                place = spread_rows(work.planes, place, work.line, first, window, phases, phase, y)
    clear_row(work.planes, place, window.tail)


@jit
def stage_positions(x: Flat, layout: Strides5, window: Window, box: Box, group: int, planes: F32) -> None:
    """The same without a window: (channel, image, column), transposed by squares where channels are neighbours."""
    at_n, at_g, at_c, _, at_x = layout
    columns, channels, images = box.x1 - box.x0, window.channels, box.n1 - box.n0
    size = images * window.columns
    for n in range(images):
        start = (box.n0 + n) * at_n + group * at_g + box.x0 * at_x
        first = n * window.columns
        if at_x == 1:
            for c in range(channels):
                move_row(planes, first + c * size, x, start + c * at_c, columns)
        elif at_c == 1:
            turn_all(planes, first, size, x, start, at_x, channels, columns)
        else:
            for c in range(channels):
                move_steps(planes, first + c * size, 1, x, start + c * at_c, at_x, columns)


@jit
def turn_all(planes: F32, place: int, down: int, x: Flat, start: int, along: int, rows: int, columns: int) -> None:
    """planes[place + i * down + j] = x[start + j * along + i], by squares and then by elements."""
    whole = rows // LANES * LANES
    square = columns // LANES * LANES
    for i in range(0, whole, LANES):
        for j in range(0, square, LANES):
            turn(LANES, planes, place + i * down + j, down, x, start + j * along + i, along)
        for j in range(square, columns):
            for k in range(i, i + LANES):
                move(1, planes, place + k * down + j, x, start + j * along + k)
    for i in range(whole, rows):
        for j in range(columns):
            move(1, planes, place + i * down + j, x, start + j * along + i)


@jit
def sweep(
    rows: int, work: Work, length: int, column: int, first: int, end: int, place: int, width: int, add: bool
) -> None:
    """Sums of taps first ... end for `width` columns by the fewest tiles; arguments as those of `fma_tile`."""
    stop = column + width
    if rows == ROWS:
        while column + VECTORS * LANES <= stop and stop - column != 4 * LANES:
            fma_tile(ROWS, VECTORS, work, length, column, first, end, place, width, add)
            column += VECTORS * LANES
            place += VECTORS * LANES
        while column + 2 * LANES <= stop:
            fma_tile(ROWS, 2, work, length, column, first, end, place, width, add)
            column += 2 * LANES
            place += 2 * LANES
        if column < stop:
            fma_tile(ROWS, 1, work, length, column, first, end, place, width, add)
    elif rows == HALF_ROWS:
        while column + WIDE * LANES <= stop:
            fma_tile(HALF_ROWS, WIDE, work, length, column, first, end, place, width, add)
            column += WIDE * LANES
            place += WIDE * LANES
        while column < stop:
            fma_tile(HALF_ROWS, 1, work, length, column, first, end, place, width, add)
            column += LANES
            place += LANES
    else:
        while column + LINE * LANES <= stop:
            fma_tile(1, LINE, work, length, column, first, end, place, width, add)
            column += LINE * LANES
            place += LINE * LANES
        while column < stop:
            fma_tile(1, 1, work, length, column, first, end, place, width, add)
            column += LANES
            place += LANES


@jit
def round_to_half(sums: F32, place: int, count: int, first: bool) -> None:
    """Rounds the sums of a piece, from `place` on, to half and adds them in half to the running sums, all kept as float32."""
    for i in range(count):
        part = half_to_float(float_to_half(sums[np.uint64(place + i)]))
        if not first:
            part = half_to_float(float_to_half(np.float32(sums[np.uint64(i)] + part)))
        sums[np.uint64(i)] = part


@jit
def write_channels(
    out: Flat, start: int, layout: Strides5, window: Window, box: Box, channels: int, width: int, work: Work
) -> None:
    """Results of a few out channels of a share; `start` is the place of the first for image, row and column zero."""
    at_n, _, at_o, at_y, at_x = layout
    columns, height, images = box.x1 - box.x0, box.y1 - box.y0, box.n1 - box.n0
    start += box.n0 * at_n + box.y0 * at_y + box.x0 * at_x
    for i in range(channels * images):
        first = i // images * width + i % images * window.rows * window.columns
        row = start + i // images * at_o + i % images * at_n
        if at_x == 1 and (height == 1 or at_y == columns == window.columns):
            move_row(out, row, work.sums, first, height * columns)
        elif at_x == 1 and at_y == columns:
            for y in range(height):
                move_over(work.line, y * columns, work.sums, first + y * window.columns, 1, columns)
            move_row(out, row, work.line, 0, height * columns)
        else:
            for y in range(height):
                move_steps(out, row + y * at_y, at_x, work.sums, first + y * window.columns, 1, columns)


@jit
def compute_rows(rows: int, column: int, width: int, ends: NDArray[np.int64], half_partials: bool, work: Work) -> None:
    """Sums of a few out channels over all pieces; `ends` holds the first tap of each piece and the end of the last."""
    length = work.weights.shape[0] // ROWS
    partials = ROWS * width
    for piece in range(ends.shape[0] - 1):
        first, end = ends[piece], ends[piece + 1]
        if half_partials:
            sweep(rows, work, length, column, first, end, partials, width, False)
            round_to_half(work.sums, partials, rows * width, piece == 0)
        else:
            sweep(rows, work, length, column, first, end, 0, width, piece > 0)


@jit
def compute_box(
    arrays: tuple[Flat, Flat, Flat],
    layouts: tuple[Strides5, Strides3, Strides5],
    window: Window,
    phases: NDArray[np.int64],
    ends: NDArray[np.int64],
    half_partials: bool,
    box: Box,
    work: Work,
) -> None:
    """All results of one share; the weights of an out channel are neighbours in the order of the kernel."""
    x, w, out = arrays
    at_x, at_w, at_out = layouts
    length = work.weights.shape[0] // ROWS
    columns = ((box.n1 - box.n0 - 1) * window.rows + box.y1 - box.y0 - 1) * window.columns + box.x1 - box.x0
    width = (columns + LANES - 1) // LANES * LANES
    for group in range(box.g0, box.g1):
        column = (group - box.g0) % window.groups * window.size
        if column == 0 and window.pointwise:
            stage_positions(x, at_x, window, box, group, work.planes)
        elif column == 0:
            stage_planes(x, at_x, window, phases, box, group, min(group + window.groups, box.g1), work)
        o = box.o0
        while o < box.o1:
            left = box.o1 - o
            rows = ROWS if left > HALF_ROWS else (HALF_ROWS if left > 1 else 1)
            used = min(rows, left)
            for i in range(used):
                move_row(work.weights, i * length, w, group * at_w[0] + (o + i) * at_w[1], work.tap_weight.shape[0])
            compute_rows(rows, column, width, ends, half_partials, work)
            write_channels(out, group * at_out[1] + o * at_out[2], at_out, window, box, used, width, work)
            o += used
