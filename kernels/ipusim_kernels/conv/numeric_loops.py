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
from ipusim_kernels.conv.numeric_lanes import move
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
    """Where results look: field size and channels per group, strides, padding before, and the shape of a staged plane."""

    channels: int
    height: int
    width: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    rows: int
    columns: int


class Scratch(NamedTuple):
    """Work arrays of one thread: planes of the field, rows of weights, running sums, sums of one piece, rows of one channel."""

    planes: F32
    weights: F32
    sums: F32
    partials: F32
    line: F32


@jit
def move_row(target: Flat, place: int, target_step: int, source: Flat, start: int, source_step: int, count: int) -> None:
    """Copies and converts `count` elements; neighbours go by whole vectors, of which the last two may overlap."""
    if target_step == 1 and source_step == 1 and count >= LANES:
        for i in range(0, count - LANES, LANES):
            move(LANES, target, place + i, source, start + i)
        move(LANES, target, place + count - LANES, source, start + count - LANES)
    else:
        for i in range(count):
            move(1, target, place + i * target_step, source, start + i * source_step)


@jit
def clear_row(target: F32, place: int, count: int) -> None:
    """Writes `count` zeros."""
    for i in range(count):
        target[np.uint64(place + i)] = np.float32(0)


@jit
def load_rows(line: F32, x: Flat, start: int, steps: tuple[int, int], rows: int, width: int) -> None:
    """Rows of the field one after the other, float32."""
    at_y, at_x = steps
    if at_y == width * at_x:
        move_row(line, 0, 1, x, start, at_x, rows * width)
    else:
        for row in range(rows):
            move_row(line, row * width, 1, x, start + row * at_y, at_x, width)


@jit
def stage_channel(
    line: F32, base: int, window: Window, phases: NDArray[np.int64], box: Box, image: int, planes: F32, place: int
) -> None:
    """All phases of one channel of one image, zero outside the field; `line` holds its rows from `base` on."""
    rows, columns, step = window.rows, window.columns, window.stride_x
    for phase in range(phases.shape[0]):
        first = box.x0 * step + phases[phase, 1] - window.pad_x
        lo = min(columns, max(0, -(first // step)))
        hi = max(lo, min(columns, (window.width - 1 - first) // step + 1))
        y = box.y0 * window.stride_y + phases[phase, 0] - window.pad_y
        at = place + (phase * (box.n1 - box.n0) + image) * rows * columns
        for _ in range(rows):
            if 0 <= y < window.height:
                clear_row(planes, at, lo)
                move_row(planes, at + lo, 1, line, (y - base) * window.width + first + lo * step, step, hi - lo)
                clear_row(planes, at + hi, columns - hi)
            else:
                clear_row(planes, at, columns)
            at += columns
            y += window.stride_y


@jit
def stage_field(
    x: Flat, layout: Strides5, window: Window, phases: NDArray[np.int64], box: Box, group: int, line: F32, planes: F32
) -> None:
    """The planes of one group: (channel, phase, image, row, column), float32."""
    at_n, at_g, at_c, at_y, at_x = layout
    images = box.n1 - box.n0
    size = images * window.rows * window.columns
    y0 = max(0, box.y0 * window.stride_y - window.pad_y)
    y1 = min(window.height, box.y0 * window.stride_y + window.rows * window.stride_y - window.pad_y)
    plain = phases.shape[0] == window.rows == window.stride_x == 1 and window.pad_x == window.pad_y == 0
    for c in range(window.channels):
        for n in range(images):
            start = (box.n0 + n) * at_n + group * at_g + c * at_c
            if plain and box.y0 == 0 and box.x0 + window.columns <= window.width:
                place = (c * images + n) * window.columns
                move_row(planes, place, 1, x, start + box.x0 * at_x, at_x, window.columns)
            else:
                load_rows(line, x, start + y0 * at_y, (at_y, at_x), y1 - y0, window.width)
                stage_channel(line, y0, window, phases, box, n, planes, c * phases.shape[0] * size)


@jit
def stage_weights(w: Flat, start: int, layout: Strides3, rows: int, count: int, weights: F32, length: int) -> None:
    """Rows of weights, `count` taps each, `length` elements apart."""
    _, at_o, at_k = layout
    if at_k == 1:
        for i in range(rows):
            move_row(weights, i * length, 1, w, start + i * at_o, 1, count)
    else:
        for k in range(count):
            for i in range(rows):
                move(1, weights, i * length + k, w, start + i * at_o + k * at_k)


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
def round_to_half(partials: F32, sums: F32, first: bool) -> None:
    """Rounds the sums of a piece to half and adds them in half to the running sums, both kept as float32."""
    if first:
        for i in range(sums.shape[0]):
            sums[i] = half_to_float(float_to_half(partials[i]))
    else:
        for i in range(sums.shape[0]):
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
        if at_y == width * at_x and window.columns > width:
            for y in range(height):
                move_row(line, y * width, 1, sums, first + y * window.columns, 1, width)
            move_row(out, row, at_x, line, 0, 1, height * width)
        elif at_y == width * at_x:
            move_row(out, row, at_x, sums, first, 1, height * width)
        else:
            for y in range(height):
                move_row(out, row + y * at_y, at_x, sums, first + y * window.columns, 1, width)


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
    """All results of one share; `ends` holds the first tap of each piece and the end of the last."""
    x, w, out = arrays
    at_x, at_w, at_out = layouts
    planes, weights, sums, partials, line = scratch
    length = weights.shape[0] // ROWS
    columns = ((box.n1 - box.n0 - 1) * window.rows + box.y1 - box.y0 - 1) * window.columns + box.x1 - box.x0
    width = (columns + LANES - 1) // LANES * LANES
    for group in range(box.g0, box.g1):
        stage_field(x, at_x, window, phases, box, group, line, planes)
        o = box.o0
        while o < box.o1:
            left = box.o1 - o
            rows = ROWS if left > HALF_ROWS else (HALF_ROWS if left > 1 else 1)
            used = min(rows, left)
            stage_weights(w, group * at_w[0] + o * at_w[1], at_w, used, taps[0].shape[0], weights, length)
            for piece in range(ends.shape[0] - 1):
                span = (ends[piece], ends[piece + 1])
                if half_partials:
                    sweep(rows, weights, length, planes, taps, span, partials, width, False)
                    round_to_half(partials[: used * width], sums[: used * width], piece == 0)
                else:
                    sweep(rows, weights, length, planes, taps, span, sums, width, piece > 0)
            for i in range(used):
                start = group * at_out[1] + (o + i) * at_out[2]
                write_channel(out, start, at_out, window, box, sums, i * width, line)
            o += used
