"""One share of a convolution: its field and weights brought into float32, the sums of its pieces, the result rounded.

Ideal: out[n, g, o, y, x] = sum over c, ky, kx of w[g, o, c, ky, kx] field[n, g, c, y', x'] with y' = y * stride - pad +
ky * dilation and x' alike.  The field of a share is copied once into planes of float32: one plane per channel and per
remainder of the position modulo the stride (a phase), with the padding written out.  Within a plane the tap (ky, kx) of
every result lies at the same distance from the result's own place, so a convolution becomes a matrix product whose
columns are read straight from the planes, with no copy per tap (im2col without its copies; columns that belong to no
result are computed and dropped).  Each piece of the reduction is a chain of multiply-adds from zero; pieces are added
in the partial type.

Arrays come flat, as uint16 bits of halves or as float32, with strides in elements, so that one compiled version serves
every view.  Other arguments are numbers and plain tuples, in the order of `Box` and `Window` in numeric_plan: compiled
code on disk must not refer to classes that a later version of ipusim may have renamed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import float_to_half, half_to_float, jit
from ipusim_kernels.conv.numeric_lanes import move, turn
from ipusim_kernels.conv.numeric_tile import F32, LANES, ROWS, VECTORS, Tables, fma_tile

HALF_ROWS = ROWS // 2
WIDE = 2 * VECTORS
LINE = 8

Flat = NDArray[Any]
I64 = NDArray[np.int64]
Ints = tuple[int, ...]


@jit
def load_rows(line: F32, place: int, x: Flat, start: int, layout: Ints, rows: int, width: int) -> None:
    """Rows of the field one after the other, float32."""
    at_y, at_x = layout[3], layout[4]
    if at_y == width * at_x:
        move(line, place, 1, x, start, at_x, rows * width)
    else:
        for row in range(rows):
            move(line, place + row * width, 1, x, start + row * at_y, at_x, width)


@jit
def spread_rows(planes: F32, place: int, line: F32, start: int, window: Ints, phases: I64, phase: int, y: int) -> None:
    """One phase of one image from field row `y` on, zero outside the field; its row zero would be at `start` of `line`.

    A row of `phases`: remainder of the row, zeros before a row, end of its data, field column of its first element.
    """
    _, _, _, height, width, stride_y, stride_x, _, rows, columns, _, _ = window
    lo, hi, first = phases[phase, 1], phases[phase, 2], phases[phase, 3]
    y += phases[phase, 0]
    for _ in range(rows):
        inside = 0 <= y < height
        for i in range(lo if inside else columns):
            planes[np.uint64(place + i)] = np.float32(0)
        if inside:
            move(planes, place + lo, 1, line, start + y * width + first, stride_x, hi - lo)
            for i in range(hi, columns):
                planes[np.uint64(place + i)] = np.float32(0)
        place += columns
        y += stride_y


@jit
def stage_planes(
    x: Flat, layout: Ints, window: Ints, phases: I64, box: Ints, g0: int, g1: int, line: F32, planes: F32
) -> None:
    """The planes of groups g0 ... g1: (group, channel, phase, image, row, column), float32."""
    _, _, channels, height, width, stride_y, _, pad_y, rows, columns, size, tail = window
    n0, images, y = box[0], box[1] - box[0], box[6] * stride_y - pad_y
    base, end = max(0, y), min(height, y + rows * stride_y)
    loaded = (end - base) * width
    plane = size // (channels * phases.shape[0])
    for channel in range((g1 - g0) * channels):
        corner = (g0 + channel // channels) * layout[1] + channel % channels * layout[2] + base * layout[3]
        for n in range(images):
            load_rows(line, n * loaded, x, corner + (n0 + n) * layout[0], layout, end - base, width)
        for phase in range(phases.shape[0]):
            place = (channel * phases.shape[0] + phase) * plane
            for n in range(images):
                spread_rows(planes, place, line, n * loaded - base * width, window, phases, phase, y)
                place += rows * columns
            for i in range(tail):
                planes[np.uint64(place + i)] = np.float32(0)


@jit
def stage_positions(x: Flat, layout: Ints, window: Ints, box: Ints, group: int, planes: F32) -> None:
    """The same without a window: (channel, image, column), transposed by squares where channels are neighbours."""
    _, _, channels, _, _, _, _, _, _, pitch, size, _ = window
    n0, n1, _, _, _, _, _, _, x0, x1 = box
    at_n, at_g, at_c, _, at_x = layout
    down, columns = size // channels, x1 - x0
    squares = columns // LANES * LANES if at_c == 1 and at_x != 1 else 0
    for n in range(n1 - n0):
        corner = (n0 + n) * at_n + group * at_g + x0 * at_x
        for j in range(0, squares, LANES):
            for c in range(0, channels - LANES + 1, LANES):
                turn(planes, c * down + n * pitch + j, down, x, corner + c * at_c + j * at_x, at_x)
        for c in range(channels):
            done = squares if c < channels // LANES * LANES else 0
            place, start = c * down + n * pitch + done, corner + c * at_c + done * at_x
            move(planes, place, 1, x, start, at_x, columns - done)


@jit
def sweep(
    rows: int, arrays: Tables, length: int, column: int, first: int, end: int, place: int, width: int, add: bool
) -> None:
    """Sums of taps first ... end for `width` columns by the fewest tiles; arguments as those of `fma_tile`."""
    stop = column + width
    if rows == ROWS:
        while column + VECTORS * LANES <= stop and stop - column != 4 * LANES:
            fma_tile(ROWS, VECTORS, arrays, length, column, first, end, place, width, add)
            column += VECTORS * LANES
            place += VECTORS * LANES
        while column + 2 * LANES <= stop:
            fma_tile(ROWS, 2, arrays, length, column, first, end, place, width, add)
            column += 2 * LANES
            place += 2 * LANES
        if column < stop:
            fma_tile(ROWS, 1, arrays, length, column, first, end, place, width, add)
    elif rows == HALF_ROWS:
        while column + WIDE * LANES <= stop:
            fma_tile(HALF_ROWS, WIDE, arrays, length, column, first, end, place, width, add)
            column += WIDE * LANES
            place += WIDE * LANES
        while column < stop:
            fma_tile(HALF_ROWS, 1, arrays, length, column, first, end, place, width, add)
            column += LANES
            place += LANES
    else:
        while column + LINE * LANES <= stop:
            fma_tile(1, LINE, arrays, length, column, first, end, place, width, add)
            column += LINE * LANES
            place += LINE * LANES
        while column < stop:
            fma_tile(1, 1, arrays, length, column, first, end, place, width, add)
            column += LANES
            place += LANES


@jit
def round_to_half(sums: F32, place: int, count: int, first: bool) -> None:
    """Rounds the sums of a piece, which begin at `place`, to half and adds them in half to the running sums."""
    for i in range(count):
        part = half_to_float(float_to_half(sums[np.uint64(place + i)]))
        if not first:
            part = half_to_float(float_to_half(np.float32(sums[np.uint64(i)] + part)))
        sums[np.uint64(i)] = part


@jit
def write_channels(
    out: Flat, start: int, layout: Ints, window: Ints, box: Ints, channels: int, width: int, sums: F32, line: F32
) -> None:
    """Results of a few out channels of a share; `start` is the place of the first for image, row and column zero."""
    n0, n1, _, _, _, _, y0, y1, x0, x1 = box
    at_n, _, at_o, at_y, at_x = layout
    rows, pitch = window[8], window[9]
    columns, height = x1 - x0, y1 - y0
    for i in range(channels):
        for n in range(n1 - n0):
            first = i * width + n * rows * pitch
            row = start + i * at_o + (n0 + n) * at_n + y0 * at_y + x0 * at_x
            if height == 1 or at_y != columns * at_x:
                for y in range(height):
                    move(out, row + y * at_y, at_x, sums, first + y * pitch, 1, columns)
            elif columns == pitch:
                move(out, row, at_x, sums, first, 1, height * columns)
            else:
                for y in range(height):
                    move(line, y * columns, 1, sums, first + y * pitch, 1, columns)
                move(out, row, at_x, line, 0, 1, height * columns)


@jit
def compute_box(
    x: Flat,
    w: Flat,
    out: Flat,
    layouts: tuple[Ints, Ints, Ints],
    window: Ints,
    phases: I64,
    ends: I64,
    half_partials: bool,
    box: Ints,
    arrays: Tables,
    line: F32,
) -> None:
    """All results of one share.

    The weights of an out channel are neighbours, in the order of the kernel; `ends` holds the first tap of each piece
    and the end of the last.
    """
    at_x, at_w, at_out = layouts
    n0, n1, g0, g1, o0, o1, y0, y1, x0, x1 = box
    pointwise, staged, _, _, _, _, _, _, rows, columns, size, _ = window
    weights, planes, taps, _, sums = arrays
    length = weights.shape[0] // ROWS
    width = (((n1 - n0 - 1) * rows + y1 - y0 - 1) * columns + x1 - x0 + LANES - 1) // LANES * LANES
    apart = ROWS * width if half_partials else 0
    for group in range(g0, g1):
        column = (group - g0) % staged * size
        if column == 0 and pointwise:
            stage_positions(x, at_x, window, box, group, planes)
        elif column == 0:
            stage_planes(x, at_x, window, phases, box, group, min(group + staged, g1), line, planes)
        for o in range(o0, o1, ROWS):
            used = min(ROWS, o1 - o)
            tall = ROWS if used > HALF_ROWS else (HALF_ROWS if used > 1 else 1)
            for i in range(used):
                move(weights, i * length, 1, w, group * at_w[0] + (o + i) * at_w[1], 1, taps.shape[0])
            for piece in range(ends.shape[0] - 1):
                add = piece > 0 and not half_partials
                sweep(tall, arrays, length, column, ends[piece], ends[piece + 1], apart, width, add)
                if half_partials:
                    round_to_half(sums, apart, tall * width, piece == 0)
            start = group * at_out[1] + o * at_out[2]
            write_channels(out, start, at_out, window, box, used, width, sums, line)
