"""Values of pooling: float32 over strided slabs of the input, one per kernel position, one rounding at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim_kernels.halves import store, widen

Array = NDArray[Any]
Pair = tuple[int, int]


def window(
    kind: str,
    x: Array,
    out_shape: Pair,
    *,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    before: Pair,
) -> Array:
    """Maximum or sum over windows of x (..., H, W) float32; positions outside are skipped.  Returns: (...,
    *out_shape) float32.
    """
    combine = np.maximum if kind == "max" else np.add
    made = np.full((*x.shape[:-2], *out_shape), -np.inf if kind == "max" else 0.0, np.float32)
    for ky in range(kernel[0]):
        y0, y1, row = _span(ky * dilation[0] - before[0], stride[0], out_shape[0], x.shape[-2])
        for kx in range(kernel[1]):
            x0, x1, column = _span(kx * dilation[1] - before[1], stride[1], out_shape[1], x.shape[-1])
            if y1 > y0 and x1 > x0:
                source = x[..., row : row + (y1 - y0 - 1) * stride[0] + 1 : stride[0], :]
                source = source[..., column : column + (x1 - x0 - 1) * stride[1] + 1 : stride[1]]
                target = made[..., y0:y1, x0:x1]
                combine(target, source, out=target)
    return made


def _span(offset: int, stride: int, outputs: int, size: int) -> tuple[int, int, int]:
    """(first output, end, input position of the first) for which offset + output * stride lies in the input."""
    first = max(0, -(offset // stride)) if offset < 0 else 0
    end = min(outputs, (size - 1 - offset) // stride + 1)
    return first, end, offset + first * stride


def counts(size: int, outputs: int, *, kernel: int, stride: int, dilation: int, limits: Pair) -> NDArray[np.float32]:
    """Kernel positions of each output that fall within limits[0] .. limits[1] around an input of `size`."""
    at = np.arange(outputs)[:, None] * stride + np.arange(kernel) * dilation
    return np.asarray(((at >= limits[0]) & (at < limits[1])).sum(axis=1), np.float32)


def pool(
    kind: str,
    x: Array,
    out: Array,
    *,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    padding: tuple[Pair, Pair],
    count_include_pad: bool,
) -> None:
    """x (N, C, H, W) pooled into out; kind "max", "avg" or "sum"."""
    shape = (out.shape[-2], out.shape[-1])
    before = (padding[0][0], padding[1][0])
    made = window(kind, widen(x), shape, kernel=kernel, stride=stride, dilation=dilation, before=before)
    if kind == "avg":
        made = made / _divisors(x.shape[-2:], shape, kernel, stride, dilation, padding, count_include_pad)
    store(made, out)


def _divisors(
    size: tuple[int, ...],
    outputs: Pair,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    padding: tuple[Pair, Pair],
    include: bool,
) -> Array:
    per_axis = []
    for a in range(2):
        lo, hi = padding[a]
        limits = (0, lo + size[a] + hi) if include else (lo, lo + size[a])
        per_axis.append(
            counts(size[a], outputs[a], kernel=kernel[a], stride=stride[a], dilation=dilation[a], limits=limits)
        )
    return np.asarray(np.maximum(per_axis[0][:, None] * per_axis[1], 1))
