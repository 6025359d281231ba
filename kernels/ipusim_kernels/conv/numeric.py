"""Values of convolutions and matmuls as an IPU computes them: by the plan's pieces, in the plan's precision and order.

Each piece of the reduction is accumulated in float32, as the tile's matrix unit does, and rounds once to the partial type; the
pieces are then added in order in the partial type and the sum is rounded once to the result's type.  `conv` and `matmul` compute a
whole operation; `conv_vertex` is the meaning of one vertex, in plain loops over its boxes, and gives the same bits.
Omitted: the order in which the matrix unit adds the products of one piece, which is not documented.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput
from ipusim.jit import jit
from ipusim.units import ceil_div
from ipusim_kernels.conv.numeric_loops import Box, Scratch, Strides3, Strides5, compute_box
from ipusim_kernels.conv.numeric_plan import Pair, Plan, Shape, plan
from ipusim_kernels.conv.numeric_tile import F32, multiply_add

Array = NDArray[Any]
ALIGNMENT = 64


def conv(
    x: Array,
    w: Array,
    out: Array,
    *,
    stride: Pair,
    dilation: Pair,
    padding: tuple[Pair, Pair],
    groups: int,
    pieces: Sequence[tuple[int, int, int, int]],
    partials: str,
    threads: int = 1,
) -> None:
    """Convolution of x (N, C, H, W) with w (O, C / groups, KH, KW) into out (N, O, Ho, Wo), all float16 or all float32.

    `pieces` are the parts of the reduction in order, (first channel of a group, end, first kernel row, end); `partials` is
    "float32" or "float16".  The arrays may be views; the bits of the result do not depend on `threads`.  Raises `BadInput` if
    shapes, types or pieces do not match.
    """
    _check_types(x, w, out, partials)
    shape = _conv_shape(x, w, out, stride, dilation, padding, groups)
    if out.size == 0:
        return
    (sn, sc, sy, sx), (on, oo, oy, ox) = _strides(x), _strides(out)
    weights = w.reshape(groups, shape.out_channels, -1)
    per_group = shape.channels, shape.out_channels
    layouts = (sn, per_group[0] * sc, sc, sy, sx), _strides(weights), (on, per_group[1] * oo, oo, oy, ox)
    ordered = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in pieces)
    if shape.kernel == shape.stride == (1, 1) and shape.field == shape.out and _one_row(x) and _one_row(out):
        shape = shape.in_one_row()
        layouts = (*layouts[0][:3], 0, sx or sy), layouts[1], (*layouts[2][:3], 0, ox or oy)
    _run(plan(shape, ordered, threads), (x, weights, out), layouts, partials == "float16", threads)


def matmul(
    a: Array, b: Array, out: Array, *, pieces: Sequence[tuple[int, int]], partials: str, threads: int = 1
) -> None:
    """Products of a (B, M, K) and b (B, K, N) into out (B, M, N); one matrix may serve all batches of the other side.

    `pieces` are the ranges of K that are summed apart, in order; everything else as for `conv`.
    """
    _check_types(a, b, out, partials)
    batches, m, n = out.shape
    k = a.shape[2]
    if b.shape[1] != k or (a.shape[1], b.shape[2]) != (m, n) or {len(a), len(b)} - {1, batches}:
        raise BadInput(f"matmul of {a.shape} and {b.shape} does not give {out.shape}")
    if out.size == 0:
        return
    if _swapped(a, b):
        a, b, target, m, n = b.transpose(0, 2, 1), a.transpose(0, 2, 1), out.transpose(0, 2, 1), n, m
    else:
        target = out
    shape = Shape(1, batches, k, m, (1, n), (1, n), (1, 1), (1, 1), (1, 1), (0, 0))
    (bg, bk, bn), (og, om, on) = _strides(b), _strides(target)
    layouts = (0, bg, bk, 0, bn), _strides(a), (0, og, om, 0, on)
    ordered = tuple((int(first), int(end), 0, 1) for first, end in pieces)
    _run(plan(shape, ordered, threads), (b, a, target), layouts, partials == "float16", threads)


@jit
def conv_vertex(
    x: F32,
    w: F32,
    out: F32,
    pad_y: int,
    pad_x: int,
    stride_y: int,
    stride_x: int,
    dilation_y: int,
    dilation_x: int,
) -> None:
    """One vertex: boxes x (n, g, c, h, w) and w (g, o, c, kh, kw) to sums out (n, g, o, oh, ow), all float32.

    Result (oy, ox) takes tap (ky, kx) from row oy * stride_y - pad_y + ky * dilation_y of its box, and columns alike; taps
    outside the box add nothing.
    """
    out[:] = np.float32(0)
    images, groups, outs, height, width = out.shape
    _, _, channels, kernel_height, kernel_width = w.shape
    for n in range(images):
        for g in range(groups):
            for o in range(outs):
                for c in range(channels):
                    for ky in range(kernel_height):
                        for kx in range(kernel_width):
                            weight = w[g, o, c, ky, kx]
                            for oy in range(height):
                                y = oy * stride_y - pad_y + ky * dilation_y
                                if 0 <= y < x.shape[3]:
                                    for ox in range(width):
                                        column = ox * stride_x - pad_x + kx * dilation_x
                                        if 0 <= column < x.shape[4]:
                                            total = out[n, g, o, oy, ox]
                                            out[n, g, o, oy, ox] = multiply_add(x[n, g, c, y, column], weight, total)


# -- shapes and views --------------------------------------------------------------------------------------------------


def _check_types(x: Array, w: Array, out: Array, partials: str) -> None:
    if partials not in ("float32", "float16"):
        raise BadInput(f"partials are float32 or float16, not {partials!r}")
    if x.dtype not in (np.float16, np.float32) or not x.dtype == w.dtype == out.dtype:
        raise BadInput(f"operands and result must all be float16 or all float32, not {x.dtype}, {w.dtype}, {out.dtype}")


def _conv_shape(
    x: Array, w: Array, out: Array, stride: Pair, dilation: Pair, padding: tuple[Pair, Pair], groups: int
) -> Shape:
    kernel = w.shape[2], w.shape[3]
    reach = [size + lo + hi - d * (k - 1) - 1 for size, (lo, hi), d, k in zip(x.shape[2:], padding, dilation, kernel, strict=True)]
    expected = tuple(r // s + 1 for r, s in zip(reach, stride, strict=True))
    fits = x.shape[1] == groups * w.shape[1] and w.shape[0] % groups == 0
    if not fits or out.shape != (x.shape[0], w.shape[0], *expected):
        raise BadInput(
            f"convolution of {x.shape} with {w.shape}, stride {stride}, dilation {dilation}, padding {padding} and "
            f"{groups} groups does not give {out.shape}"
        )
    return Shape(
        images=x.shape[0],
        groups=groups,
        channels=w.shape[1],
        out_channels=w.shape[0] // groups,
        field=(x.shape[2], x.shape[3]),
        out=(out.shape[2], out.shape[3]),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        pad=(padding[0][0], padding[1][0]),
    )


def _strides(array: Array) -> tuple[int, ...]:
    """Strides in elements; zero along axes of one element."""
    return tuple(s // array.itemsize if n > 1 else 0 for s, n in zip(array.strides, array.shape, strict=True))


def _one_row(array: Array) -> bool:
    """True if the last two axes are evenly spaced as one."""
    *_, height, width = array.shape
    return height == 1 or width == 1 or array.strides[-2] == width * array.strides[-1]


def _swapped(a: Array, b: Array) -> bool:
    """True if the product is better computed transposed: operands should be stored along K on the left, along N on the right."""
    straight = a.size * (_strides(a)[2] > 1) + b.size * (_strides(b)[2] > 1)
    turned = a.size * (_strides(a)[1] > 1) + b.size * (_strides(b)[1] > 1)
    return turned < straight


# -- running -----------------------------------------------------------------------------------------------------------


class _Memory(threading.local):
    """Work arrays of a thread, kept between calls: fresh pages cost more than the sums that go into them."""

    def __init__(self) -> None:
        self.arrays: dict[str, F32] = {}

    def array(self, name: str, size: int) -> F32:
        """A float32 array of at least `size` elements whose first lies on a cache line; contents are arbitrary."""
        kept = self.arrays.get(name)
        if kept is None or len(kept) < size:
            fresh = np.zeros(size + ALIGNMENT // 4, np.float32)
            skip = -fresh.ctypes.data % ALIGNMENT // 4
            kept = self.arrays[name] = fresh[skip : skip + size]
        return kept

    def scratch(self, made: Plan) -> Scratch:
        """Work arrays for the shares of a plan."""
        return Scratch(
            self.array("planes", made.plane_floats),
            self.array("weights", made.weight_floats),
            self.array("sums", made.sum_floats),
            self.array("partials", made.sum_floats),
            self.array("line", made.line_floats),
        )


_MEMORY = _Memory()


@lru_cache(maxsize=4)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process; a fork must not inherit them, hence the process id."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ipusim-conv")


def _flat(array: Array) -> Array:
    """The storage from the first element of a view on, as bits of halves or as float32."""
    bits = array.view(np.uint16) if array.dtype == np.float16 else array
    if bits.flags.c_contiguous:
        return bits.reshape(-1)
    extent = 1 + sum((n - 1) * s for n, s in zip(bits.shape, _strides(bits), strict=True))
    return np.lib.stride_tricks.as_strided(bits, (extent,), (bits.itemsize,))


def _readable(array: Array) -> Array:
    flat = _flat(array)
    flat.flags.writeable = False  # one compiled version for constants and variables
    return flat


def _run(
    made: Plan,
    arrays: tuple[Array, Array, Array],
    layouts: tuple[tuple[int, ...], ...],
    half_partials: bool,
    threads: int,
) -> None:
    flats = _readable(arrays[0]), _readable(arrays[1]), _flat(arrays[2])

    def compute(box: Box) -> None:
        scratch = _MEMORY.scratch(made)
        compute_box(flats, layouts, made.window, made.phases, made.taps, made.ends, half_partials, box, scratch)

    if threads == 1:
        for box in made.boxes:
            compute(box)
    else:
        list(_workers(os.getpid(), threads).map(compute, made.boxes))
