"""Vertices of a convolution: AMP 1x1, AMP Nx1, SLIC, horizontal and vertical MAC, and the reduction of partial sums.

All convolution codelets compute the same sums over their boxes; they differ in time, in the grouping of channels they
want and in when they may be used.  Values: products and sums in float32, rounded to the partial type once per vertex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.program.codelet import Array, Codelet
from ipusim_kernels.conv import numeric
from ipusim_kernels.conv.geometry import SIZES
from ipusim_kernels.conv.methods import Method, vertex_cycles
from ipusim_kernels.conv.numeric_plan import Pieces
from ipusim_kernels.reduce.cycles import conv_reduce_add


@final
@dataclass(frozen=True, slots=True)
class ConvAttrs:
    """What all vertices of a convolution share: the method with its grouping, types and strides."""

    method: Method
    stride: tuple[int, int]
    dilation: tuple[int, int]


def conv_cycles(attrs: ConvAttrs, *sizes: int) -> int:
    """Tile cycles of one convolution vertex from its box sizes (columns `SIZES`)."""
    return vertex_cycles(attrs.method, attrs.stride, sizes[:8])


def conv_flops(attrs: ConvAttrs, *sizes: int) -> int:
    """Two per multiply-add, taps on padding included."""
    batch, groups, co, ci, oh, ow, kh, kw = sizes[:8]
    return 2 * batch * groups * co * ci * oh * ow * kh * kw


def conv_compute(attrs: ConvAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex: x (b, g, ci, h, w) and w (g, co, ci, kh, kw) to partials (1, b, g, co, oh, ow)."""
    x, w, out = (b[0] for b in boxes)
    sums = np.zeros(out.shape[1:], np.float32)
    numeric.conv_vertex(
        np.ascontiguousarray(x, np.float32),
        np.ascontiguousarray(w, np.float32),
        sums,
        sizes[8],
        sizes[9],
        *attrs.stride,
        *attrs.dilation,
    )
    out[0] = sums


def conv_codelet(name: str, code_bytes: int) -> Codelet:
    """A convolution codelet; its values come from its boxes, its time from the method in its attributes."""
    return Codelet(name, SIZES, conv_cycles, conv_compute, None, conv_flops, "multi", code_bytes)


CODELETS: dict[str, Codelet] = {
    "AMP 1x1": conv_codelet("poplin::ConvPartial1x1Out", 1024),
    "AMP Nx1": conv_codelet("poplin::ConvPartialnx1", 1280),
    "SLIC": conv_codelet("poplin::ConvPartial1xNSLIC", 1536),
    "HMAC": conv_codelet("poplin::ConvPartialHorizontalMac", 768),
    "VMAC": conv_codelet("poplin::ConvPartialVerticalMac", 896),
    "outer product": conv_codelet("poplin::OuterProduct", 256),
}


@final
@dataclass(frozen=True, slots=True)
class ReduceAttrs:
    """Types of a reduction of partials: element types of the sum and of its inputs."""

    half_out: bool
    half_partials: bool


def reduce_cycles(attrs: ReduceAttrs, elements: int, partials: int) -> int:
    """Tile cycles of one ReduceAdd vertex."""
    return conv_reduce_add(elements, partials, attrs.half_out, attrs.half_partials)


def reduce_flops(attrs: ReduceAttrs, elements: int, partials: int) -> int:
    """One addition per element and further partial."""
    return elements * (partials - 1)


def reduce_compute(attrs: ReduceAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex: partials (d, ...) added in order in their own type, the sum rounded to the output type."""
    for source, target in zip(*boxes, strict=True):
        total = source[0].copy()
        for part in source[1:]:
            total = (total.astype(np.float32) + part.astype(np.float32)).astype(source.dtype)
        target[0] = total


REDUCE = Codelet(
    "poplin::ReduceAdd",
    ("elements", "partials"),
    reduce_cycles,
    reduce_compute,
    None,
    reduce_flops,
    "multi",
    640,
    ("partials",),
)


@final
@dataclass(frozen=True, slots=True)
class WholeConv:
    """Arguments of a whole convolution computed by its plan."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    groups: int
    pieces: Pieces
    partials: str
    threads: int


def whole_conv(attrs: WholeConv, arrays: Sequence[Array]) -> None:
    """x (N, C, H, W), w (O, C / groups, KH, KW) and out (N, O, Ho, Wo), pieces of the reduction in the plan's order."""
    x, w, out = arrays
    numeric.conv(
        x,
        w,
        out,
        stride=attrs.stride,
        dilation=attrs.dilation,
        padding=attrs.padding,
        groups=attrs.groups,
        pieces=attrs.pieces,
        partials=attrs.partials,
        threads=attrs.threads,
    )


@final
@dataclass(frozen=True, slots=True)
class WholeMatMul:
    """Arguments of a whole batched matmul computed by its plan."""

    pieces: tuple[tuple[int, int], ...]
    partials: str
    threads: int


def whole_matmul(attrs: WholeMatMul, arrays: Sequence[Array]) -> None:
    """a (B, M, K), b (B, K, N), out (B, M, N)."""
    a, b, out = arrays
    numeric.matmul(a, b, out, pieces=attrs.pieces, partials=attrs.partials, threads=attrs.threads)


def pieces_of_k(parts: tuple[tuple[tuple[int, int, int, int, int, int], ...], ...]) -> tuple[tuple[int, int], ...]:
    """Ranges of the contracted axis of a matmul from the parts of its 1x1 convolution."""
    return tuple((part[0][0], part[-1][1]) for part in parts)
