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
from ipusim_kernels.conv.numeric_tile import F32, I32, LANES, ROWS, VECTORS, fma_tile

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

    A plane has `rows` per image and `columns` per row; `tail` zeros follow the last plane.  `pointwise` says that each position
    sees itself only, that there is one row, and that shares may begin at any column.
    """

    pointwise: bool
    channels: int
    height: int
    width: int
    stride_y: int
    stride_x: int
    pad_y: int
    rows: int
    columns: int
    tail: int


class Scratch(NamedTuple):
    """Work arrays of one thread: planes of the field, rows of weights, running sums, sums of one piece, rows of one channel."""

    planes: F32
    weights: F32
    sums: F32
    partials: F32
    line: F32


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
    planes: F32, place: int, line: F32, start: int, window: Window, phase: NDArray[np.int64], y: int
) -> int:
    """One plane of one image from field row `y` on, zero outside the field, whose row zero would lie at `start` in `line`.

    `phase`: remainder of the row, zeros before a row, end of its data, field column of its first element.  Returns: the end.
    """
    lo, hi, first = phase[1], phase[2], phase[3]
    y += phase[0]
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
    x: Flat, layout: Strides5, window: Window, phases: NDArray[np.int64], box: Box, group: int, line: F32, planes: F32
) -> None:
    """The planes of one group: (channel, phase, image, row, column), float32."""
    at_n, at_g, at_c, at_y, at_x = layout
    images, rows = box.n1 - box.n0, window.rows
    y = box.y0 * window.stride_y - window.pad_y
    base, end = max(0, y), min(window.height, y + rows * window.stride_y)
    loaded = (end - base) * window.width
    place = 0
    for c in range(window.channels):
        for n in range(images):
            start = (box.n0 + n) * at_n + group * at_g + c * at_c + base * at_y
            load_rows(line, n * loaded, x, start, at_y, at_x, end - base, window.width)
        for phase in range(phases.shape[0]):
            for n in range(images):
                first = n * loaded - base * window.width
                place = spread_rows(planes, place, line, first, window, phases[phase], y)
    clear_row(planes, place, window.tail)


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
    rows: int,
    weights: F32,
    length: int,
    planes: F32,
    taps: tuple[I32, I32],
    span: tuple[int, int],
    sums: F32,
    width: int,
    add: bool,
) -> None:
    """The sums of one piece for a few out channels and all columns of a share; `add` adds them to what is there."""
    j = 0
    if rows == ROWS:
        while j + VECTORS * LANES <= width and width - j != 4 * LANES:
            fma_tile(ROWS, VECTORS, (weights, 0, length), (planes, j), taps, span, (sums, j, width), add)
            j += VECTORS * LANES
        while j + 2 * LANES <= width:
            fma_tile(ROWS, 2, (weights, 0, length), (planes, j), taps, span, (sums, j, width), add)
            j += 2 * LANES
        while j < width:
            fma_tile(ROWS, 1, (weights, 0, length), (planes, j), taps, span, (sums, j, width), add)
            j += LANES
    elif rows == HALF_ROWS:
        while j + WIDE * LANES <= width:
            fma_tile(HALF_ROWS, WIDE, (weights, 0, length), (planes, j), taps, span, (sums, j, width), add)
            j += WIDE * LANES
        while j < width:
            fma_tile(HALF_ROWS, 1, (weights, 0, length), (planes, j), taps, span, (sums, j, width), add)
            j += LANES
    else:
        while j + LINE * LANES <= width:
            fma_tile(1, LINE, (weights, 0, length), (planes, j), taps, span, (sums, j, width), add)
            j += LINE * LANES
        while j < width:
            fma_tile(1, 1, (weights, 0, length), (planes, j), taps, span, (sums, j, width), add)
            j += LANES


@jit
def round_to_half(partials: F32, sums: F32, count: int, first: bool) -> None:
    """Rounds the sums of a piece to half and adds them in half to the running sums, both kept as float32."""
    if first:
        for i in range(count):
            sums[i] = half_to_float(float_to_half(partials[i]))
    else:
        for i in range(count):
            part = half_to_float(float_to_half(partials[i]))
            sums[i] = half_to_float(float_to_half(np.float32(sums[i] + part)))


@jit
def write_channel(
    out: Flat, start: int, layout: Strides5, window: Window, box: Box, sums: F32, place: int, line: F32
) -> None:
    """Results of one out channel of a share; `start` is its place for image, row and column zero, `place` that of its sums."""
    at_n, _, _, at_y, at_x = layout
    width, height = box.x1 - box.x0, box.y1 - box.y0
    for n in range(box.n1 - box.n0):
        first = place + n * window.rows * window.columns
        row = start + (box.n0 + n) * at_n + box.y0 * at_y + box.x0 * at_x
        if at_x == 1 and (height == 1 or at_y == width == window.columns):
            move_row(out, row, sums, first, height * width)
        elif at_x == 1 and at_y == width:
            for y in range(height):
                move_over(line, y * width, sums, first + y * window.columns, 1, width)
            move_row(out, row, line, 0, height * width)
        else:
            for y in range(height):
                move_steps(out, row + y * at_y, at_x, sums, first + y * window.columns, 1, width)


@jit
def compute_rows(
    weights: F32,
    planes: F32,
    taps: tuple[I32, I32],
    ends: NDArray[np.int64],
    half_partials: bool,
    sums: F32,
    partials: F32,
    rows: int,
    width: int,
) -> None:
    """Sums of a few out channels over all pieces; `ends` holds the first tap of each piece and the end of the last."""
    length = weights.shape[0] // ROWS
    made = partials if half_partials else sums
    for piece in range(ends.shape[0] - 1):
        span = (ends[piece], ends[piece + 1])
        sweep(rows, weights, length, planes, taps, span, made, width, piece > 0 and not half_partials)
        if half_partials:
            round_to_half(partials, sums, rows * width, piece == 0)


@jit
def compute_box(
    arrays: tuple[Flat, Flat, Flat],
    layouts: tuple[Strides5, Strides3, Strides5],
    window: Window,
    phases: NDArray[np.int64],
    taps: tuple[I32, I32],
    ends: NDArray[np.int64],
    half_partials: bool,
    box: Box,
    scratch: Scratch,
) -> None:
    """All results of one share; the weights of an out channel are neighbours in the order of the kernel."""
    x, w, out = arrays
    at_x, at_w, at_out = layouts
    planes, weights, sums, partials, line = scratch
    length = weights.shape[0] // ROWS
    columns = ((box.n1 - box.n0 - 1) * window.rows + box.y1 - box.y0 - 1) * window.columns + box.x1 - box.x0
    width = (columns + LANES - 1) // LANES * LANES
    for group in range(box.g0, box.g1):
        if window.pointwise:
            stage_positions(x, at_x, window, box, group, planes)
        else:
            stage_planes(x, at_x, window, phases, box, group, line, planes)
        o = box.o0
        while o < box.o1:
            left = box.o1 - o
            rows = ROWS if left > HALF_ROWS else (HALF_ROWS if left > 1 else 1)
            used = min(rows, left)
            for i in range(used):
                move_row(weights, i * length, w, group * at_w[0] + (o + i) * at_w[1], taps[0].shape[0])
            compute_rows(weights, planes, taps, ends, half_partials, sums, partials, rows, width)
            for i in range(used):
                start = group * at_out[1] + (o + i) * at_out[2]
                write_channel(out, start, at_out, window, box, sums, i * width, line)
            o += used
