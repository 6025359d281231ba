"""Values of convolutions and matmuls as an IPU computes them: by the plan's pieces, in the plan's precision and order.

Each piece of the reduction is accumulated in float32, as the tile's matrix unit does, and rounds once to the partial
type; the pieces are then added in order in the partial type and the sum is rounded once to the result's type.  `conv`
and `matmul` compute a whole operation; `conv_vertex` is the meaning of one vertex, in plain loops over its boxes.  Both
run through the taps of a piece in the order of the kernel, one multiply-add each, so they give the same bits whatever
the CPU, its vector width and the number of threads (on CPUs that fuse multiply and add; NUMBA_DISABLE_JIT does not).
Omitted: the order in which the matrix unit adds the products of one piece, which is not documented.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput
from ipusim.jit import jit
from ipusim.units import ceil_div
from ipusim_kernels.conv.numeric_loops import compute_box
from ipusim_kernels.conv.numeric_plan import Pair, Piece, Pieces, Shape, plan
from ipusim_kernels.conv.numeric_tile import F32, LANES, multiply_add

Array = NDArray[Any]
CACHE_LINE = 64


@final
@dataclass(frozen=True, slots=True)
class _How:
    """The part of the arguments that does not depend on the arrays."""

    pieces: Pieces
    half_partials: bool
    threads: int


def conv(
    x: Array,
    w: Array,
    out: Array,
    *,
    stride: Pair,
    dilation: Pair,
    padding: tuple[Pair, Pair],
    groups: int,
    pieces: Sequence[Piece],
    partials: str,
    threads: int = 1,
) -> None:
    """Convolution of x (N, C, H, W) with w (O, C / groups, KH, KW) into out (N, O, Ho, Wo), all float16 or all float32.

    `pieces` are the parts of the reduction in order, (first channel of a group, end, first kernel row, end) or
    several such boxes with (first kernel column, end) as well; `partials` is "float32" or "float16". The arrays may
    be views; the bits of the result do not depend on `threads`. Raises `BadInput` if shapes, types or pieces do not
    match.
    """
    _check(x, w, out, partials, threads)
    shape = _conv_shape(x, w, out, stride, dilation, padding, groups)
    if out.size == 0:
        return
    how = _How(tuple(pieces), partials == "float16", threads)
    field = x.reshape(shape.images, groups, shape.channels, *shape.field)
    weights = w.reshape(groups, shape.out_channels, -1)
    result = out.reshape(shape.images, groups, shape.out_channels, *shape.out)
    if shape.sees_itself and _one_row(x) and _one_row(out):
        _pointwise(shape.in_one_row(), field, weights, result, how)
    else:
        _run(shape, field, weights, result, how)


def matmul(
    a: Array, b: Array, out: Array, *, pieces: Sequence[tuple[int, int]], partials: str, threads: int = 1
) -> None:
    """Products of a (B, M, K) and b (B, K, N) into out (B, M, N); either of a and b may be one matrix for all of them.

    `pieces` are the ranges of K that are summed apart, in order; everything else is as for `conv`.
    """
    _check(a, b, out, partials, threads)
    batches, m, n = out.shape
    if a.shape[1:] != (m, b.shape[1]) or b.shape[2] != n or {len(a), len(b)} - {1, batches}:
        raise BadInput(f"matmul of {a.shape} and {b.shape} does not give {out.shape}")
    if out.size == 0:
        return
    how = _How(tuple((int(first), int(end), 0, 1) for first, end in pieces), partials == "float16", threads)
    _product(a, b, out, how)


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

    Result (oy, ox) takes tap (ky, kx) from row oy * stride_y - pad_y + ky * dilation_y of its box, and columns alike;
    taps outside the box add nothing.
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


def _check(x: Array, w: Array, out: Array, partials: str, threads: int) -> None:
    if partials not in ("float32", "float16"):
        raise BadInput(f"partials are float32 or float16, not {partials!r}")
    if threads < 1:
        raise BadInput(f"threads is at least 1, not {threads}")
    if x.dtype not in (np.float16, np.float32) or not x.dtype == w.dtype == out.dtype:
        raise BadInput(f"operands and result are all float16 or all float32, not {x.dtype}, {w.dtype} and {out.dtype}")


def _conv_shape(
    x: Array, w: Array, out: Array, stride: Pair, dilation: Pair, padding: tuple[Pair, Pair], groups: int
) -> Shape:
    kernel = w.shape[2], w.shape[3]
    axes = zip(x.shape[2:], padding, kernel, dilation, stride, strict=True)
    expected = ((size + lo + hi - d * (k - 1) - 1) // s + 1 for size, (lo, hi), k, d, s in axes)
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
    return height == 1 or width == 1 or bool(array.strides[-2] == width * array.strides[-1])


def _pointwise(shape: Shape, x: Array, w: Array, out: Array, how: _How) -> None:
    """A 1x1 convolution whose positions lie in one row, as a product with the longer side along the vectors."""
    x, out = (t.reshape(*t.shape[:3], 1, -1) for t in (x, out))
    if shape.images == 1:
        _product(w, x[0, :, :, 0], out[0, :, :, 0], how)
    elif shape.out == (1, 1):
        x, out = (t[..., 0, 0].transpose(1, 0, 2) for t in (x, out))
        _product(x, w.transpose(0, 2, 1), out, how)
    else:
        _run(shape, x, w, out, how)


def _product(a: Array, b: Array, out: Array, how: _How) -> None:
    """a (G or 1, M, K) times b (G or 1, K, N) into out (G, M, N), or the transposed product if that is faster."""
    turned = b.transpose(0, 2, 1), a.transpose(0, 2, 1), out.transpose(0, 2, 1)
    if _product_time(*turned) < _product_time(a, b, out):
        a, b, out = turned
    groups, m, n = out.shape
    shape = Shape(1, groups, b.shape[1], m, (1, n), (1, n), (1, 1), (1, 1), (1, 1), (0, 0))
    _run(shape, b[None, :, :, None], a, out[None, :, :, None], how)


def _product_time(a: Array, b: Array, out: Array) -> float:
    """Nanoseconds per matrix, measured on one AMD Zen 5 core: moves of a, b and the result, then whole vectors."""
    m, k, n = int(a.shape[1]), int(a.shape[2]), int(b.shape[2])
    load_a = 0.05 if k == 1 or _strides(a)[2] == 1 else 0.8
    load_b = 0.1 if _strides(b)[2] == 1 else 0.16 if n >= LANES and _strides(b)[1] == 1 else 1.2
    store = 0.1 if _strides(out)[2] == 1 else 1.2
    return 60 * m + load_a * m * k + load_b * k * n + store * m * n + 0.008 * m * k * ceil_div(n, LANES) * LANES


# -- running -----------------------------------------------------------------------------------------------------------


class _Memory(threading.local):
    """Work arrays of a thread, kept between calls: fresh pages cost more than the sums that go into them."""

    def __init__(self) -> None:
        self.arrays: dict[str, F32] = {}

    def array(self, name: str, size: int) -> F32:
        """A float32 array of `size` elements whose first lies on a cache line; contents are arbitrary."""
        kept = self.arrays.get(name)
        if kept is None or len(kept) < size:
            fresh = np.zeros(size + CACHE_LINE // 4, np.float32)
            skip = -fresh.ctypes.data % CACHE_LINE // 4
            kept = self.arrays[name] = fresh[skip : skip + size]
        return kept[:size]


_MEMORY = _Memory()


@lru_cache(maxsize=4)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process; the process id is there because a fork must not inherit them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ipusim-conv")


def _together(work: Callable[[], None], threads: int) -> None:
    """Calls `work` here and on other threads, which share what there is to do; latecomers are sent home."""
    others = [_workers(os.getpid(), threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for other in others:
            if not other.cancel():
                other.result()


def _regular(array: Array) -> bool:
    """True if the storage of a view can be read as a row of whole elements that begins with its first."""
    steps = (s for s, n in zip(array.strides, array.shape, strict=True) if n > 1)
    return array.flags.aligned and all(s >= 0 and s % array.itemsize == 0 for s in steps)


def _flat(array: Array) -> Array:
    """The storage from the first element of a regular view on, as bits of halves or as float32."""
    bits = array.view(np.uint16) if array.dtype == np.float16 else array
    if bits.flags.c_contiguous:
        return bits.reshape(-1)
    extent = 1 + sum((n - 1) * s for n, s in zip(bits.shape, _strides(bits), strict=True))
    return np.lib.stride_tricks.as_strided(bits, (extent,), (bits.itemsize,))


def _readable(array: Array) -> Array:
    flat = _flat(array)
    flat.flags.writeable = False  # one compiled version for constants and variables
    return flat


def _run(shape: Shape, x: Array, w: Array, out: Array, how: _How) -> None:
    """x (N, G, C, H, W) with w (G, O, taps) into out (N, G, O, Ho, Wo); axes that are broadcast have one element."""
    if w.size == 0:
        out[...] = 0
        return
    x = x if _regular(x) else x.copy()
    w = w if _regular(w) and (_strides(w)[2] == 1 or w.shape[2] == 1) else w.copy()
    made = out if _regular(out) else np.empty_like(out)
    cut = plan(shape, how.pieces, how.threads)
    flats = _readable(x), _readable(w), _flat(made)
    layouts = _strides(x), _strides(w), _strides(made)
    tables = cut.phases, cut.ends, how.half_partials

    boxes = iter(cut.boxes)

    def compute() -> None:
        weights, planes, sums, line = (_MEMORY.array(name, size) for name, size in cut.floats.items())
        arrays = weights, planes, *cut.taps, sums
        for box in boxes:
            compute_box(*flats, layouts, tuple(cut.window), *tables, tuple(box), arrays, line)

    _together(compute, how.threads)
    if made is not out:
        out[...] = made
