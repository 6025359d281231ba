"""Softmax and the normalisations: reductions and broadcast operations in the order the vendor's library runs them.

Softmax: maximum, subtract, exponential in place, sum in float, inverse, multiply (poplibs lib/popnn/LogSoftmax.cpp,
NonLinearity.cpp). Norms: mean and power (mean of squares) together, inverse standard deviation, subtract the mean,
multiply by it, then gamma and beta (lib/poplin/Norms.cpp, lib/popnn/GroupNorm.cpp).  Statistics are float.  Values: the
whole op in float32 and one rounding; each vertex on its own boxes rounds after every step, as the chip does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType, float32
from ipusim.lower.placement import place_pointwise
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import ComputeSet, VertexGroup, WholeOp
from ipusim.program.tensor import Tensor
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Node
from ipusim.workload.ops_norm import LRN, BatchNorm, GroupNorm, LayerNorm, Softmax
from ipusim_kernels.cast.codelets import cast, casts
from ipusim_kernels.elementwise.rule import binary, unary
from ipusim_kernels.halves import store, widen
from ipusim_kernels.pool.rule import channel_window_sum
from ipusim_kernels.reduce import numeric
from ipusim_kernels.reduce.cycles import inverse_deviation_region
from ipusim_kernels.reduce.rule import as_rows, reduce_rows, reduce_together


def settle(low: Lowering, function: Any, attrs: Any, tensors: tuple[Tensor, ...]) -> None:
    """Makes the last compute set's values, and so those deferred to it, by `function` over the op's tensors."""
    last: ComputeSet = low.graph.sets[-1]
    group = last.groups[-1]
    last.groups[-1] = VertexGroup(
        group.codelet, group.attrs, group.rows, group.fields, WholeOp(function, attrs, tensors)
    )


@final
@dataclass(frozen=True, slots=True)
class SoftmaxAttrs:
    """Whether the logarithm is wanted."""

    log: bool


def whole_softmax(attrs: SoftmaxAttrs, arrays: Sequence[Array]) -> None:
    """x and out, softmax over the last axis."""
    numeric.softmax(arrays[0], arrays[1], attrs.log)


def lower_softmax(low: Lowering, op: Softmax, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Softmax along one axis."""
    low.note("log softmax" if op.log else "softmax")
    x = low.mapped(inputs[0])
    rows, _ = as_rows(x, [op.axis])
    stat = tuple(1 if a == op.axis else n for a, n in enumerate(x.shape))
    top = reduce_rows(low, "max", rows, x.dtype, "max", deferred=True).reshape(stat)
    y = binary(low, "sub", x, top, name="subtract", deferred=True)
    if op.log:
        powers = unary(low, "exp", y, name="exp", deferred=True)
        total = reduce_rows(low, "sum", as_rows(powers, [op.axis])[0], float32, "sum", deferred=True)
        shift = _narrow(low, unary(low, "log", total, name="log", in_place=True, deferred=True), x.dtype).reshape(stat)
        y = binary(low, "sub", y, shift, name="shift", in_place=True, deferred=True)
    else:
        y = unary(low, "exp", y, name="exp", in_place=True, deferred=True)
        total = reduce_rows(low, "sum", as_rows(y, [op.axis])[0], float32, "sum", deferred=True)
        inverse = unary(low, "reciprocal", total, name="inverse", in_place=True, deferred=True)
        scale = _narrow(low, inverse, x.dtype).reshape(stat)
        y = binary(low, "mul", y, scale, name="scale", in_place=True, deferred=True)
    order = [a for a in range(len(x.shape)) if a != op.axis] + [op.axis]
    settle(low, whole_softmax, SoftmaxAttrs(op.log), (x.transpose(order), y.transpose(order)))
    return [y]


def _narrow(low: Lowering, x: Tensor, dtype: DType) -> Tensor:
    return x if x.dtype == dtype else cast(low, x, dtype, "cast", deferred=True)


# -- norms -------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class DeviationAttrs:
    """The number added to the variance."""

    epsilon: float


def deviation_cycles(attrs: DeviationAttrs, elements: int) -> int:
    """Tile cycles of InverseStdDeviation with the elements shared by six workers, one region each."""
    return 6 * (6 + inverse_deviation_region(-(-elements // 6)))


def deviation_flops(attrs: DeviationAttrs, elements: int) -> int:
    """Square, subtract, add, square root, divide."""
    return 5 * elements


def deviation_compute(attrs: DeviationAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """mean and power (mean of squares) to 1 / standard deviation, box by box."""
    for mean, power, out in zip(*boxes, strict=True):
        variance = np.maximum(power - mean * mean, np.float32(0))
        out[...] = np.float32(1) / np.sqrt(variance + np.float32(attrs.epsilon))


DEVIATION = Codelet(
    "poplin::InverseStdDeviation",
    ("elements",),
    deviation_cycles,
    deviation_compute,
    None,
    deviation_flops,
    "multi",
    192,
)


def _normalised(low: Lowering, x: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    """x minus its mean over axes, over its standard deviation; values are deferred."""
    rows, _ = as_rows(x, axes)
    stat = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    mean, power = reduce_together(low, ("mean", "mean_square"), rows, float32, "statistics")
    placed = place_pointwise(low, [mean, power], mean.shape, float32, "deviation")
    group = VertexGroup(DEVIATION, DeviationAttrs(epsilon), placed.rows(), placed.fields(), deferred=True)
    low.execute("deviation", [group])
    statistics = [mean, placed.result]
    if x.dtype != float32:
        statistics = casts(low, statistics, x.dtype, "cast", deferred=True)
    centre, scale = (t.reshape(stat) for t in statistics)
    y = binary(low, "sub", x, centre, name="centre", deferred=True)
    return binary(low, "mul", y, scale, name="whiten", in_place=True, deferred=True)


@final
@dataclass(frozen=True, slots=True)
class NormAttrs:
    """Rows to normalise: epsilon, and the shape (rows, n) of x."""

    epsilon: float
    rows: tuple[int, int]


def whole_norm(attrs: NormAttrs, arrays: Sequence[Array]) -> None:
    """x, optional scale, optional bias (broadcastable to x), out: rows normalised, scaled and shifted with one
    rounding.
    """
    x, *parameters, out = arrays
    made = np.empty(x.shape, np.float32).reshape(attrs.rows)
    numeric.normalise(np.ascontiguousarray(x).reshape(attrs.rows), attrs.epsilon, made)
    y = made.reshape(x.shape)
    if parameters:
        y = y * widen(parameters[0])
    if len(parameters) > 1:
        y = y + widen(parameters[1])
    store(y, out)


def lower_layer_norm(low: Lowering, op: LayerNorm, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """LayerNorm."""
    low.note("layer norm")
    x = low.mapped(inputs[0])
    axes = list(range(op.axis, len(x.shape)))
    y = _normalised(low, x, axes, op.epsilon)
    for kind, parameter in zip(("mul", "add"), inputs[1:], strict=False):
        y = binary(low, kind, y, parameter, name="gamma" if kind == "mul" else "beta", in_place=True, deferred=True)
    count = int(np.prod(x.shape[op.axis :]))
    attrs = NormAttrs(op.epsilon, (int(np.prod(x.shape)) // count, count))
    settle(low, whole_norm, attrs, (x, *(low.mapped(t) for t in inputs[1:]), y))
    return [y]


def lower_group_norm(low: Lowering, op: GroupNorm, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """GroupNorm: groups of channels as rows."""
    low.note("group norm")
    x = low.mapped(inputs[0])
    n, c = x.shape[:2]
    grouped = x.reshape((n, op.groups, c // op.groups, *x.shape[2:]))
    y = _normalised(low, grouped, list(range(2, len(grouped.shape))), op.epsilon).reshape(x.shape)
    vector = (c,) + (1,) * (len(x.shape) - 2)
    scale, bias = (low.mapped(t).reshape(vector) for t in inputs[1:])
    y = binary(low, "mul", y, scale, name="gamma", in_place=True, deferred=True)
    y = binary(low, "add", y, bias, name="beta", in_place=True, deferred=True)
    count = int(np.prod(x.shape[1:])) // op.groups
    attrs = NormAttrs(op.epsilon, (n * op.groups, count))
    settle(low, whole_norm, attrs, (x, scale, bias, y))
    return [y]


def lower_batch_norm(low: Lowering, op: BatchNorm, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """BatchNorm at inference: one multiplication and one addition per element, with combined parameters."""
    low.note("batch norm")
    x, *parameters = inputs
    vector = (x.shape[1],) + (1,) * (len(x.shape) - 2)
    scale, bias = _combined(low, op.epsilon, parameters, x.dtype)
    y = binary(low, "mul", x, scale.reshape(vector), name="scale", in_place=low.reusable[0])
    return [binary(low, "add", y, bias.reshape(vector), name="shift", in_place=True)]


def _combined(low: Lowering, epsilon: float, parameters: Sequence[Tensor], dtype: DType) -> tuple[Tensor, Tensor]:
    """scale / sqrt(var + eps) and bias - mean * that: ahead of time for constants, on the chip otherwise."""
    variables = [t.variable for t in parameters]
    known = [v.initial for v in variables if v is not None and isinstance(v.initial, Constant)]
    if len(known) == 4:
        scale, bias, mean, var = known

        def factor(s: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(s.astype(np.float32) / np.sqrt(v.astype(np.float32) + np.float32(epsilon)))

        first = scale.map(factor, f"norm scale {epsilon:g}", var)
        second = bias.map(
            lambda b, s, m, v: np.asarray(b - m.astype(np.float32) * factor(s, v)),
            f"norm shift {epsilon:g}",
            scale,
            mean,
            var,
        )
        place = low.spread(first.shape, dtype)
        return tuple(  # type: ignore[return-value]
            low.constant(c.astype(dtype), c.shape, dtype, name, place)
            for c, name in ((first, "scale"), (second, "shift"))
        )
    gamma, beta, average, variance = (low.mapped(t) for t in parameters)
    small = low.constant(Constant.full((1,), dtype, epsilon), (1,), dtype, "epsilon", low.spread((1,), dtype))
    spread = unary(low, "rsqrt", binary(low, "add", variance, small, name="variance"), name="deviation")
    scaled = binary(low, "mul", gamma, spread, name="combined scale")
    shift = binary(low, "sub", beta, binary(low, "mul", average, scaled, name="moved mean"), name="combined shift")
    return scaled, shift


def lower_lrn(low: Lowering, op: LRN, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """LRN: squares, their sum over a window of channels, scale, power, divide."""
    low.note("local response norm")
    x = low.mapped(inputs[0])
    one = (1,) * len(x.shape)

    def number(value: float, name: str) -> Tensor:
        return low.constant(Constant.full(one, x.dtype, value), one, x.dtype, name, low.spread(one, x.dtype))

    squares = unary(low, "square", x, name="square", deferred=True)
    total = channel_window_sum(low, squares, op.size)
    scaled = binary(low, "mul", total, number(op.alpha / op.size, "alpha"), name="scale", in_place=True, deferred=True)
    base = binary(low, "add", scaled, number(op.bias, "bias"), name="add", in_place=True, deferred=True)
    power = binary(low, "pow", base, number(op.beta, "beta"), name="power", in_place=True, deferred=True)
    y = binary(low, "div", x, power, name="divide", deferred=True)
    settle(low, whole_lrn, LrnAttrs(op.size, op.alpha, op.beta, op.bias), (x, y))
    return [y]


@final
@dataclass(frozen=True, slots=True)
class LrnAttrs:
    """Window and parameters of a local response normalisation."""

    size: int
    alpha: float
    beta: float
    bias: float


def whole_lrn(attrs: LrnAttrs, arrays: Sequence[Array]) -> None:
    """x and out (N, C, ...): in float32 with one rounding."""
    x = widen(arrays[0])
    squares = x * x
    before = (attrs.size - 1) // 2
    total = np.zeros_like(squares)
    for shift in range(-before, attrs.size - before):
        lo, hi = max(0, -shift), min(x.shape[1], x.shape[1] - shift)
        if lo < hi:
            total[:, lo:hi] += squares[:, lo + shift : hi + shift]
    base = np.float32(attrs.bias) + np.float32(attrs.alpha / attrs.size) * total
    store(x / base ** np.float32(attrs.beta), arrays[1])
