"""Lowering of pooling: a grid over batch, channels and field; the kernel is never split.

The grid is chosen by price: bytes of the input window received, and the vertex (poplibs lib/popnn/PoolPlan.cpp).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.lower import search
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node
from ipusim.workload.ops import Pool
from ipusim_kernels.conv.geometry import cuts
from ipusim_kernels.halves import store, widen
from ipusim_kernels.layout import stored_channels
from ipusim_kernels.pool import numeric
from ipusim_kernels.pool.cycles import pool_vertex

Pair = tuple[int, int]


@final
@dataclass(frozen=True, slots=True)
class PoolShape:
    """Sizes of a pooling over x (batch, channels, height, width)."""

    batch: int
    channels: int
    size: Pair
    out: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]


@final
@dataclass(frozen=True, slots=True)
class PoolAttrs:
    """What all vertices of a pooling share."""

    kind: str
    shape: PoolShape
    include_pad: bool
    group: int
    half: bool


def pool_cycles(attrs: PoolAttrs, batch: int, channels: int, rows: int, columns: int, *_: int) -> int:
    """Tile cycles of one vertex."""
    kernel = attrs.shape.kernel
    return pool_vertex(
        batch * rows, columns, kernel[0] * kernel[1], channels, attrs.group, attrs.half, attrs.kind == "max"
    )


def pool_flops(attrs: PoolAttrs, batch: int, channels: int, rows: int, columns: int, *_: int) -> int:
    """One per output and kernel position."""
    kernel = attrs.shape.kernel
    return batch * channels * rows * columns * kernel[0] * kernel[1]


def pool_batched(attrs: PoolAttrs, arrays: Sequence[Array]) -> None:
    """x (N, C, H, W) and out."""
    s = attrs.shape
    numeric.pool(
        attrs.kind,
        arrays[0],
        arrays[1],
        kernel=s.kernel,
        stride=s.stride,
        dilation=s.dilation,
        padding=s.padding,
        count_include_pad=attrs.include_pad,
    )


def pool_compute(attrs: PoolAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex: its input window (b, c, h, w) to its outputs; sizes end with the padding before the window and the
    first output.
    """
    x, out = boxes[0][0], boxes[1][0]
    s = attrs.shape
    pad, first = sizes[4:6], sizes[6:8]
    made = numeric.window(
        attrs.kind,
        widen(x),
        (out.shape[2], out.shape[3]),
        kernel=s.kernel,
        stride=s.stride,
        dilation=s.dilation,
        before=(pad[0], pad[1]),
    )
    if attrs.kind == "avg":
        counted = []
        for a in range(2):
            lo, hi = s.padding[a]
            limits = (0, lo + s.size[a] + hi) if attrs.include_pad else (lo, lo + s.size[a])
            shifted = (limits[0] - first[a] * s.stride[a], limits[1] - first[a] * s.stride[a])
            counted.append(
                numeric.counts(
                    s.size[a],
                    out.shape[2 + a],
                    kernel=s.kernel[a],
                    stride=s.stride[a],
                    dilation=s.dilation[a],
                    limits=shifted,
                )
            )
        made = made / np.maximum(counted[0][:, None] * counted[1], 1)
    store(made, out)


SIZES = ("batch", "channels", "rows", "columns", "pad_y", "pad_x", "first_y", "first_x")
MAX_POOL = Codelet("popnn::MaxPooling", SIZES, pool_cycles, pool_compute, pool_batched, pool_flops, "multi", 640)
SUM_POOL = Codelet("popnn::SumPooling", SIZES, pool_cycles, pool_compute, pool_batched, pool_flops, "multi", 640)


@jit
def _ceil(a: int, b: int) -> int:
    return (a + b - 1) // b


@jit
def _price(
    table: NDArray[np.int32],
    sizes: tuple[int, ...],
    group: int,
    half: bool,
    maximum: bool,
    rate: int,
    out: NDArray[np.int64],
) -> None:
    batch, channels, oh, ow, height, width, kh, kw, sy, sx, dy, dx = sizes
    element = 2 if half else 4
    for i in range(len(table)):
        b, c = -(-batch // table[i, 0]), min(channels, _ceil(_ceil(channels, group), table[i, 1]) * group)
        y, x = -(-oh // table[i, 2]), -(-ow // table[i, 3])
        in_y, in_x = min(height, (y - 1) * sy + (kh - 1) * dy + 1), min(width, (x - 1) * sx + (kw - 1) * dx + 1)
        out[i] = -(-b * c * in_y * in_x * element // rate) + pool_vertex(b * y, x, kh * kw, c, group, half, maximum)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Windows:
    """Vertices of a pooling: rows, boxes of the input and of the output, mapping of the output."""

    rows: Rows
    x: Boxes
    out: Boxes
    mapping: Mapping


@lru_cache(maxsize=512)
def windows(s: PoolShape, group: int, half: bool, maximum: bool, chip: ChipSpec) -> Windows:
    """The cheapest grid of vertices for a pooling whose channels are stored in groups."""
    table = search.candidates((s.batch, -(-s.channels // group), *s.out), chip.tiles)
    cycles = np.empty(len(table), np.int64)
    sizes = (s.batch, s.channels, *s.out, *s.size, *s.kernel, *s.stride, *s.dilation)
    _price(table, sizes, group, half, maximum, chip.exchange.bytes_per_cycle, cycles)
    pieces = [int(p) for p in table[int(cycles.argmin())]]
    return _windows(s, group, pieces)


def _windows(s: PoolShape, group: int, pieces: list[int]) -> Windows:
    edges = [
        cuts(s.batch, pieces[0]),
        cuts(s.channels, pieces[1], group),
        *(cuts(s.out[a], pieces[2 + a]) for a in range(2)),
    ]
    grid = np.arange(int(np.prod([len(e) - 1 for e in edges])), dtype=np.int32).reshape([len(e) - 1 for e in edges])
    at = np.unravel_index(grid.ravel(), grid.shape)
    lo = np.stack([e[a] for e, a in zip(edges, at, strict=True)], axis=1).astype(np.int32)
    hi = np.stack([e[a + 1] for e, a in zip(edges, at, strict=True)], axis=1).astype(np.int32)
    x_lo, x_hi = lo.copy(), hi.copy()
    pads = []
    for a in range(2):
        start = lo[:, 2 + a] * s.stride[a] - s.padding[a][0]
        end = (hi[:, 2 + a] - 1) * s.stride[a] - s.padding[a][0] + (s.kernel[a] - 1) * s.dilation[a] + 1
        x_lo[:, 2 + a] = np.clip(start, 0, s.size[a])
        x_hi[:, 2 + a] = np.maximum(np.clip(end, 0, s.size[a]), x_lo[:, 2 + a])
        pads.append(x_lo[:, 2 + a] - start)
    columns = np.concatenate([hi - lo, np.stack(pads, axis=1), lo[:, 2:]], axis=1).astype(np.int32)
    mapping = Mapping((s.batch, s.channels, *s.out), tuple(edges), grid)
    return Windows(Rows(grid.ravel(), columns), Boxes.one_each(x_lo, x_hi), Boxes.one_each(lo, hi), mapping)


def add_pool(
    low: Lowering, kind: str, x: Tensor, s: PoolShape, include_pad: bool, name: str, *, deferred: bool = False
) -> Tensor:
    """Adds a pooling of x (N, C, H, W); the result (N, C, *s.out)."""
    half = x.dtype.bytes == 2
    stored = stored_channels(low.mapped(x), 1)
    group = stored if stored > 1 else min(s.channels, 4 if half else 2)
    found = windows(s, group, half, kind == "max", low.chip)
    made = low.variable((s.batch, s.channels, *s.out), x.dtype, name, found.mapping, channels=group, channel_axis=1)
    attrs = PoolAttrs(kind, s, include_pad, group, half)
    fields = (Field("x", "in", x, found.x), Field("out", "out", Tensor.of(made), found.out))
    codelet = MAX_POOL if kind == "max" else SUM_POOL
    low.execute(name, [VertexGroup(codelet, attrs, found.rows, fields, None, deferred)])
    return Tensor.of(made)


def lower_pool(low: Lowering, op: Pool, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Pool, rank 1 as rank 2 of height 1."""
    low.note(f"{op.kind} pool")
    x, out = inputs[0], node.outputs[0].shape
    if len(out) == 3:
        x = x.reshape((*x.shape[:2], 1, x.shape[2]))
    grow = 2 - len(op.kernel)
    one: tuple[int, ...] = (1,) * grow
    pads = ((0, 0),) * grow + tuple(op.padding)
    shape = PoolShape(
        x.shape[0],
        x.shape[1],
        _pair(x.shape[2:]),
        _pair((*one, *out[2:])),
        _pair((*one, *op.kernel)),
        _pair((*one, *op.stride)),
        _pair((*one, *op.dilation)),
        (pads[0], pads[1]),
    )
    return [add_pool(low, op.kind, x, shape, op.count_include_pad, "pool").reshape(out)]


def _pair(values: Sequence[int]) -> Pair:
    return (values[0], values[1])


def channel_window_sum(low: Lowering, x: Tensor, size: int) -> Tensor:
    """Sums over windows of `size` channels of x (N, C, ...), values deferred: a pooling along the channel axis."""
    n, c = x.shape[:2]
    rest = int(np.prod(x.shape[2:]))
    seen = x.reshape((n, c, rest)).transpose((0, 2, 1)).reshape((n, rest, 1, c))
    before = (size - 1) // 2
    shape = PoolShape(n, rest, (1, c), (1, c), (1, size), (1, 1), (1, 1), ((0, 0), (before, size - 1 - before)))
    made = add_pool(low, "sum", seen, shape, False, "window", deferred=True)
    return made.reshape((n, rest, c)).transpose((0, 2, 1)).reshape(x.shape)
