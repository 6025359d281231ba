"""ONNX operators as workload nodes, one function each: elementwise, matrices, reductions; `CONVERTERS` has them all.

A converter reads `work.value(name)` for data and `ints` or `work.parameter` for what must be known ahead of time (axes,
shapes, limits), and returns the values of the node's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ipusim.dtype import as_dtype
from ipusim.errors import BadInput
from ipusim.importers.onnx_file import OnnxNode
from ipusim.importers.onnx_layers import LAYERS
from ipusim.importers.onnx_moves import MOVES
from ipusim.importers.onnx_recurrent import RECURRENT
from ipusim.importers.onnx_tensor import VALUE_TYPES, type_name
from ipusim.importers.onnx_work import Import, axes_of, axis_of, ints
from ipusim.workload.graph import Value

Converter = Callable[[Import, OnnxNode], Sequence[Value]]


def _matmul(work: Import, node: OnnxNode) -> Sequence[Value]:
    a, b = (work.value(name) for name in node.inputs)
    return [work.builder.matmul(a, b, name=node.label)]


def _gemm(work: Import, node: OnnxNode) -> Sequence[Value]:
    a, b = work.value(node.inputs[0]), work.value(node.inputs[1])
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise BadInput(f"shapes {a.shape} and {b.shape} are not both matrices")
    made = work.builder.gemm(
        a,
        b,
        work.optional(node, 2),
        alpha=node.attribute("alpha", 1.0),
        beta=node.attribute("beta", 1.0),
        trans_a=bool(node.attribute("transA", 0)),
        trans_b=bool(node.attribute("transB", 0)),
        name=node.label,
    )
    return [made]


def _unary(kind: str, alpha: float = 0.0, beta: float = 0.0) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        x = work.value(node.inputs[0])
        a, b = node.attribute("alpha", alpha), node.attribute("beta", beta)
        return [work.builder.unary(kind, x, alpha=a, beta=b, name=node.label)]

    return convert


def _gelu(work: Import, node: OnnxNode) -> Sequence[Value]:
    kind = "gelu_tanh" if node.attribute("approximate", "none") == "tanh" else "gelu"
    return [work.builder.unary(kind, work.value(node.inputs[0]), name=node.label)]


def _selu(work: Import, node: OnnxNode) -> Sequence[Value]:
    alpha, gamma = node.attribute("alpha", 1.6732632), node.attribute("gamma", 1.0507010)
    x = work.value(node.inputs[0])
    if np.isclose(alpha, 1.6732632) and np.isclose(gamma, 1.0507010):
        return [work.builder.unary("selu", x, name=node.label)]
    made = work.builder.unary("elu", x, alpha=alpha, name=f"{node.label}/elu")
    return [work.builder.mul(made, gamma, name=node.label)]


def _is_inf(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    low, high = node.attribute("detect_negative", 1), node.attribute("detect_positive", 1)
    if low and high:
        return [work.builder.unary("isinf", x, name=node.label)]
    if not (low or high):
        raise BadInput("detects neither sign")
    return [work.builder.binary("equal", x, np.inf if high else -np.inf, name=node.label)]


def _binary(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        a, b = (work.value(name) for name in node.inputs)
        return [work.builder.binary(kind, a, b, name=node.label)]

    return convert


def _mod(work: Import, node: OnnxNode) -> Sequence[Value]:
    """The remainder has the sign of b; with fmod=1 that of a, so b is taken away where the two differ."""
    a, b = (work.value(name) for name in node.inputs)
    if not node.attribute("fmod", 0) or a.dtype.kind == "uint":
        return [work.builder.binary("mod", a, b, name=node.label)]
    build, label = work.builder, node.label
    rest = build.binary("mod", a, b, name=f"{label}/rest")
    signs = [build.binary("less", v, 0, name=f"{label}/negative_{n}") for n, v in (("a", a), ("b", b))]
    differ = build.binary("xor", signs[0], signs[1], name=f"{label}/signs")
    uneven = build.binary("not_equal", rest, 0, name=f"{label}/uneven")
    wrong = build.binary("and", differ, uneven, name=f"{label}/wrong")
    return [build.select(wrong, build.sub(rest, b, name=f"{label}/less_b"), rest, name=label)]


def _pow(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, known = work.value(node.inputs[0]), work.known.get(node.inputs[1])
    if known is not None and known.size == 1 and known.ndim <= len(x.shape) and float(known.reshape(-1)[0]) == 2.0:
        return [work.builder.unary("square", x, name=node.label)]
    y = work.value(node.inputs[1])
    if y.dtype != x.dtype:
        y = work.builder.cast(y, x.dtype, name=f"{node.label}/exponent")
    return [work.builder.binary("pow", x, y, name=node.label)]


def _prelu(work: Import, node: OnnxNode) -> Sequence[Value]:
    """The slope broadcasts to x; one per channel without axes for space, as old exporters wrote it, gets them."""
    x, slope = (work.value(name) for name in node.inputs)
    last, rank = x.shape[-1:], len(x.shape)
    if rank > 2 and slope.shape == x.shape[1:2] and slope.shape not in (last, (1,)):
        slope = work.builder.reshape(slope, (*slope.shape, *(1,) * (rank - 2)), name=f"{node.label}/slope")
    made = work.builder.binary("prelu", x, slope, name=node.label)
    if made.shape != x.shape:
        raise BadInput(f"slope {slope.shape} does not broadcast to {x.shape}")
    return [made]


def _many(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        values = [work.value(name) for name in node.inputs]
        return [_chain(work, kind, values, node.label)]

    return convert


def _mean(work: Import, node: OnnxNode) -> Sequence[Value]:
    values = [work.value(name) for name in node.inputs]
    total = _chain(work, "add", values, f"{node.label}/sum")
    return [work.builder.mul(total, 1.0 / len(values), name=node.label)]


def _chain(work: Import, kind: str, values: Sequence[Value], label: str) -> Value:
    out = values[0]
    for i, value in enumerate(values[1:], 2):
        out = work.builder.binary(kind, out, value, name=label if i == len(values) else f"{label}/{i - 2}")
    return out


def _where(work: Import, node: OnnxNode) -> Sequence[Value]:
    condition, a, b = (work.value(name) for name in node.inputs)
    return [work.builder.select(condition, a, b, name=node.label)]


def _clip(work: Import, node: OnnxNode) -> Sequence[Value]:
    """Limits that are computed on the way become max and min."""
    x = work.value(node.inputs[0])
    if x.dtype.kind == "bool":
        raise BadInput("cannot limit bool")
    lo, hi = (_limit(work, node, x, *place) for place in ((1, "min"), (2, "max")))
    for kind, position in (("max", 1), ("min", 2)):
        if node.input(position) and node.inputs[position] not in work.known:
            x = work.builder.binary(kind, x, work.value(node.inputs[position]), name=f"{node.label}/{kind}")
    return [x if lo is None and hi is None else work.builder.clip(x, lo, hi, name=node.label)]


def _limit(work: Import, node: OnnxNode, x: Value, position: int, name: str) -> float | None:
    known = work.known.get(node.input(position))
    found = node.attribute(name, None) if known is None else known.reshape(-1)[0]
    if found is None or x.dtype.is_float:
        return None if found is None else float(found)
    limits = np.iinfo(x.dtype.numpy)
    return int(min(max(int(found), limits.min), limits.max))


#: What a reduction over no axis leaves of the composite kinds.
_WITHOUT_AXES = {"sum_square": "square", "l1": "abs", "l2": "abs", "log_sum": "log"}


def _reduce(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        x, axes = work.value(node.inputs[0]), ints(work, node, 1, "axes")
        if not axes and node.attribute("noop_with_empty_axes", 0):
            left = _WITHOUT_AXES.get(kind)
            return [work.builder.unary(left, x, name=node.label) if left else x]
        chosen = axes_of(axes, len(x.shape)) if axes else None
        keep = bool(node.attribute("keepdims", 1))
        return [work.builder.reduce(kind, x, chosen, keepdims=keep, name=node.label)]

    return convert


def _arg(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        if node.attribute("select_last_index", 0):
            raise BadInput("select_last_index=1 is not supported")
        x, keep = work.value(node.inputs[0]), bool(node.attribute("keepdims", 1))
        axis = axis_of(node.attribute("axis", 0), len(x.shape))
        return [work.builder.arg_reduce(kind, x, axis, keepdims=keep, name=node.label)]

    return convert


def _cast(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, code = work.value(node.inputs[0]), node.attributes["to"]
    if code not in VALUE_TYPES:
        raise BadInput(f"the IPU has no element type {type_name(code)}")
    dtype = VALUE_TYPES[code]
    return [x if x.dtype == dtype else work.builder.cast(x, dtype, name=node.label)]


def _cast_like(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, other = work.value(node.inputs[0]), node.inputs[1]
    dtype = as_dtype(work.known[other].dtype) if other in work.known else work.value(other).dtype
    return [x if x.dtype == dtype else work.builder.cast(x, dtype, name=node.label)]


#: Elementwise operators whose kind is their name in lower case.
_PLAIN = [
    "Relu", "Exp", "Log", "Tanh", "Sigmoid", "Sqrt", "Reciprocal", "Neg", "Abs", "Ceil", "Floor", "Round", "Sign",
    "Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Softplus",
    "Softsign", "Mish", "Not", "IsNaN",
]  # fmt: skip
_PARAMETRIC: dict[str, Converter] = {
    "LeakyRelu": _unary("leaky_relu", 0.01),
    "Elu": _unary("elu", 1.0),
    "Celu": _unary("celu", 1.0),
    "HardSigmoid": _unary("hard_sigmoid", 0.2, 0.5),
    "HardSwish": _unary("hard_swish"),
    "Swish": _unary("swish", 1.0),
    "ThresholdedRelu": _unary("thresholded_relu", 1.0),
    "Gelu": _gelu,
    "Selu": _selu,
    "IsInf": _is_inf,
    "Clip": _clip,
}
_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Equal": "equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "And": "and",
    "Or": "or",
    "Xor": "xor",
}
_REDUCE = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceSumSquare": "sum_square",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
}

CONVERTERS: Final[dict[str, Converter]] = {
    **LAYERS,
    **MOVES,
    **RECURRENT,
    **{name: _unary(name.lower()) for name in _PLAIN},
    **_PARAMETRIC,
    **{name: _binary(kind) for name, kind in _BINARY.items()},
    **{name: _reduce(kind) for name, kind in _REDUCE.items()},
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Mod": _mod,
    "Pow": _pow,
    "PRelu": _prelu,
    "Sum": _many("add"),
    "Max": _many("max"),
    "Min": _many("min"),
    "Mean": _mean,
    "Where": _where,
    "ArgMax": _arg("max"),
    "ArgMin": _arg("min"),
    "Cast": _cast,
    "CastLike": _cast_like,
}
