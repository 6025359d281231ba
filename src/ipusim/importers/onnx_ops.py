"""ONNX operators as workload nodes: one function each, by name.

A converter reads `work.value(name)` for data and `work.array(name)` for what must be known ahead of time (axes,
shapes), and returns the values of the node's outputs.  Attribute-or-input differences between opsets are settled by
`ints`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ipusim.dtype import as_dtype
from ipusim.errors import BadInput
from ipusim.importers.onnx_file import OnnxNode
from ipusim.importers.onnx_moves import MOVES, ints, scalar
from ipusim.workload.graph import Value

if TYPE_CHECKING:
    from ipusim.importers.onnx import Import

Converter = Callable[["Import", OnnxNode], Sequence[Value]]

#: Operators that are only ever computed ahead of time.
FOLDED_ONLY = frozenset({"Constant", "ConstantOfShape", "Shape", "Size", "Range", "NonZero", "EyeLike"})


def _windows(node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution or pooling."""
    dims = len(sizes)
    strides = list(node.attribute("strides", [1] * dims))
    dilations = list(node.attribute("dilations", [1] * dims))
    auto = node.attribute("auto_pad", "NOTSET")
    pads = list(node.attribute("pads", [0] * 2 * dims))
    pairs = [(pads[i], pads[i + dims]) for i in range(dims)]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pairs = []
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
            total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if auto == "SAME_UPPER" else (large, small))
    elif auto == "VALID":
        pairs = [(0, 0)] * dims
    elif auto != "NOTSET":
        raise BadInput(f"auto_pad {auto!r} is unknown")
    return {"stride": strides, "dilation": dilations, "padding": pairs}


def _conv(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, w = work.value(node.inputs[0]), work.value(node.inputs[1])
    bias = work.value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    options = _windows(node, x.shape[2:], w.shape[2:])
    return [work.builder.conv(x, w, bias, groups=node.attribute("group", 1), name=node.label, **options)]


def _matmul(work: Import, node: OnnxNode) -> Sequence[Value]:
    a, b = (work.value(n) for n in node.inputs)
    return [work.builder.matmul(a, b, name=node.label)]


def _gemm(work: Import, node: OnnxNode) -> Sequence[Value]:
    a, b = work.value(node.inputs[0]), work.value(node.inputs[1])
    c = work.value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    made = work.builder.gemm(
        a,
        b,
        c,
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


def _binary(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        if kind == "mod" and node.attribute("fmod", 0):
            raise BadInput("fmod=1 is not supported")
        a, b = (work.value(n) for n in node.inputs)
        return [work.builder.binary(kind, a, b, name=node.label)]

    return convert


def _pow(work: Import, node: OnnxNode) -> Sequence[Value]:
    base, exponent = node.inputs
    x = work.value(base)
    if (
        work.is_constant(exponent)
        and work.array(exponent).size == 1
        and float(work.array(exponent).reshape(-1)[0]) == 2.0
    ):
        return [work.builder.unary("square", x, name=node.label)]
    y = work.value(exponent)
    if y.dtype != x.dtype:
        y = work.builder.cast(y, x.dtype, name=f"{node.label}/exponent")
    return [work.builder.binary("pow", x, y, name=node.label)]


def _prelu(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, slope = (work.value(n) for n in node.inputs)
    if 1 < len(slope.shape) < len(x.shape) or (
        len(slope.shape) == 1 and len(x.shape) > 1 and slope.shape[0] == x.shape[1]
    ):
        slope = work.builder.reshape(
            slope, (*slope.shape, *(1,) * (len(x.shape) - 1 - len(slope.shape))), name=f"{node.label}/slope"
        )
    return [work.builder.binary("prelu", x, slope, name=node.label)]


def _many(kind: str, mean: bool = False) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        values = [work.value(n) for n in node.inputs]
        out = values[0]
        for i, value in enumerate(values[1:]):
            last = i + 2 == len(values) and not mean
            out = work.builder.binary(kind, out, value, name=node.label if last else f"{node.label}/{i}")
        return [work.builder.mul(out, 1.0 / len(values), name=node.label) if mean else out]

    return convert


def _where(work: Import, node: OnnxNode) -> Sequence[Value]:
    condition, a, b = (work.value(n) for n in node.inputs)
    return [work.builder.select(condition, a, b, name=node.label)]


def _clip(work: Import, node: OnnxNode) -> Sequence[Value]:
    lo, hi = scalar(work, node, 1, "min"), scalar(work, node, 2, "max")
    return [work.builder.clip(work.value(node.inputs[0]), lo, hi, name=node.label)]


def _reduce(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        x, axes = work.value(node.inputs[0]), ints(work, node, 1, "axes")
        if not axes and node.attribute("noop_with_empty_axes", 0):
            return [x]
        keep = bool(node.attribute("keepdims", 1))
        return [work.builder.reduce(kind, x, axes or None, keepdims=keep, name=node.label)]

    return convert


def _arg(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        if node.attribute("select_last_index", 0):
            raise BadInput("select_last_index=1 is not supported")
        x, keep = work.value(node.inputs[0]), bool(node.attribute("keepdims", 1))
        return [work.builder.arg_reduce(kind, x, node.attribute("axis", 0), keepdims=keep, name=node.label)]

    return convert


def _pool(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        if len(node.outputs) > 1 and node.outputs[1]:
            raise BadInput("the second output (indices) is not supported")
        if node.attribute("storage_order", 0):
            raise BadInput("storage_order=1 is not supported")
        x, kernel = work.value(node.inputs[0]), node.attributes["kernel_shape"]
        made = work.builder.pool(
            kind,
            x,
            kernel,
            ceil_mode=bool(node.attribute("ceil_mode", 0)),
            count_include_pad=bool(node.attribute("count_include_pad", 0)),
            name=node.label,
            **_windows(node, x.shape[2:], kernel),
        )
        return [made]

    return convert


def _global(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        x = work.value(node.inputs[0])
        return [work.builder.reduce(kind, x, tuple(range(2, len(x.shape))), name=node.label)]

    return convert


def _batch_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    if node.attribute("training_mode", 0) or not node.attribute("spatial", 1):
        raise BadInput("only inference over channels is supported")
    x, *rest = (work.value(n) for n in node.inputs)
    made = work.builder.batch_norm(x, *rest, epsilon=node.attribute("epsilon", 1e-5), name=node.label)
    return [made]


def _instance_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, scale, bias = (work.value(n) for n in node.inputs)
    return [
        work.builder.group_norm(x, scale, bias, x.shape[1], epsilon=node.attribute("epsilon", 1e-5), name=node.label)
    ]


def _group_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, scale, bias = (work.value(n) for n in node.inputs)
    groups = node.attributes["num_groups"]
    if scale.shape == (groups,) and groups != x.shape[1]:  # before opset 21: one parameter per group
        each = x.shape[1] // groups
        scale, bias = (
            work.builder.reshape(
                work.builder.expand(work.builder.reshape(v, (groups, 1)), (groups, each)), (x.shape[1],)
            )
            for v in (scale, bias)
        )
    return [work.builder.group_norm(x, scale, bias, groups, epsilon=node.attribute("epsilon", 1e-5), name=node.label)]


def _layer_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    if any(node.outputs[1:]):
        raise BadInput("outputs of mean and deviation are not supported")
    x, *rest = (work.value(n) for n in node.inputs if n)
    made = work.builder.layer_norm(
        x, *rest, axis=node.attribute("axis", -1), epsilon=node.attribute("epsilon", 1e-5), name=node.label
    )
    return [made]


def _lrn(work: Import, node: OnnxNode) -> Sequence[Value]:
    made = work.builder.lrn(
        work.value(node.inputs[0]),
        node.attributes["size"],
        alpha=node.attribute("alpha", 1e-4),
        beta=node.attribute("beta", 0.75),
        bias=node.attribute("bias", 1.0),
        name=node.label,
    )
    return [made]


def _softmax(log: bool) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        x = work.value(node.inputs[0])
        if work.opset >= 13:
            return [work.builder.softmax(x, node.attribute("axis", -1), log=log, name=node.label)]
        axis = node.attribute("axis", 1) % len(x.shape)  # before opset 13: over everything from the axis on
        if axis == len(x.shape) - 1:
            return [work.builder.softmax(x, axis, log=log, name=node.label)]
        flat = work.builder.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])), name=f"{node.label}/flat")
        made = work.builder.softmax(flat, 1, log=log, name=node.label)
        return [work.builder.reshape(made, x.shape, name=f"{node.label}/shape")]

    return convert


def _gather(work: Import, node: OnnxNode) -> Sequence[Value]:
    data, indices = (work.value(n) for n in node.inputs)
    return [work.builder.gather(data, indices, node.attribute("axis", 0), name=node.label)]


def _cast(work: Import, node: OnnxNode) -> Sequence[Value]:
    from ipusim.importers.onnx import TYPES

    code = node.attributes["to"]
    if code not in TYPES:
        raise BadInput(f"element type number {code} does not exist on the IPU")
    return [work.builder.cast(work.value(node.inputs[0]), TYPES[code], name=node.label)]


def _cast_like(work: Import, node: OnnxNode) -> Sequence[Value]:
    other = node.inputs[1]
    dtype = as_dtype(work.array(other).dtype) if work.is_constant(other) else work.value(other).dtype
    return [work.builder.cast(work.value(node.inputs[0]), dtype, name=node.label)]


_UNARY: dict[str, Converter] = {
    "Relu": _unary("relu"),
    "LeakyRelu": _unary("leaky_relu", 0.01),
    "Elu": _unary("elu", 1.0),
    "Celu": _unary("celu", 1.0),
    "HardSigmoid": _unary("hard_sigmoid", 0.2, 0.5),
    "HardSwish": _unary("hard_swish"),
    "Swish": _unary("swish", 1.0),
    "ThresholdedRelu": _unary("thresholded_relu", 1.0),
    "Gelu": _gelu,
    **{
        name: _unary(name.lower())
        for name in [
            "Exp",
            "Log",
            "Tanh",
            "Sigmoid",
            "Sqrt",
            "Reciprocal",
            "Neg",
            "Abs",
            "Ceil",
            "Floor",
            "Round",
            "Sign",
            "Erf",
            "Sin",
            "Cos",
            "Tan",
            "Asin",
            "Acos",
            "Atan",
            "Sinh",
            "Cosh",
            "Asinh",
            "Acosh",
            "Atanh",
            "Softplus",
            "Softsign",
            "Mish",
            "Not",
            "IsNaN",
            "IsInf",
        ]
    },
}


def _selu(work: Import, node: OnnxNode) -> Sequence[Value]:
    alpha, gamma = node.attribute("alpha", 1.6732632), node.attribute("gamma", 1.0507010)
    x = work.value(node.inputs[0])
    if np.isclose(alpha, 1.6732632) and np.isclose(gamma, 1.0507010):
        return [work.builder.unary("selu", x, name=node.label)]
    made = work.builder.unary("elu", x, alpha=alpha, name=f"{node.label}/elu")
    return [work.builder.mul(made, gamma, name=node.label)]


_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Mod": "mod",
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

CONVERTERS: dict[str, Converter] = {
    "Conv": _conv,
    "MatMul": _matmul,
    "Gemm": _gemm,
    **_UNARY,
    "Selu": _selu,
    **{name: _binary(kind) for name, kind in _BINARY.items()},
    "Pow": _pow,
    "PRelu": _prelu,
    "Sum": _many("add"),
    "Max": _many("max"),
    "Min": _many("min"),
    "Mean": _many("add", mean=True),
    "Where": _where,
    "Clip": _clip,
    **{name: _reduce(kind) for name, kind in _REDUCE.items()},
    "ArgMax": _arg("max"),
    "ArgMin": _arg("min"),
    "MaxPool": _pool("max"),
    "AveragePool": _pool("avg"),
    "GlobalAveragePool": _global("mean"),
    "GlobalMaxPool": _global("max"),
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "LRN": _lrn,
    "Softmax": _softmax(False),
    "LogSoftmax": _softmax(True),
    "Gather": _gather,
    "Cast": _cast,
    "CastLike": _cast_like,
    **MOVES,
}
