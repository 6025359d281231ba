"""ONNX operators with windows (convolution, pooling) and those that normalise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any

from ipusim.errors import BadInput
from ipusim.importers.onnx_file import OnnxNode
from ipusim.importers.onnx_work import Import, axis_of
from ipusim.workload.graph import Value

Converter = Callable[[Import, OnnxNode], Sequence[Value]]


def _windows(node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution or pooling."""
    dims = len(sizes)
    strides = list(node.attribute("strides", [1] * dims))
    dilations = list(node.attribute("dilations", [1] * dims))
    pads = list(node.attribute("pads", [0] * 2 * dims))
    if not len(kernel) == len(strides) == len(dilations) == dims or len(pads) != 2 * dims:
        raise BadInput(f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads} for {dims} dimensions")
    if min((*strides, *dilations), default=1) < 1:
        raise BadInput(f"strides {strides} and dilations {dilations} must be at least 1")
    auto = node.attribute("auto_pad", "NOTSET")
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
    x, w, bias = work.value(node.inputs[0]), work.value(node.inputs[1]), work.optional(node, 2)
    kernel = w.shape[2:]
    if tuple(node.attribute("kernel_shape", kernel)) != kernel:
        raise BadInput(f"kernel_shape {node.attributes['kernel_shape']} is not that of the weight {w.shape}")
    options = _windows(node, x.shape[2:], kernel)
    return [work.builder.conv(x, w, bias, groups=node.attribute("group", 1), name=node.label, **options)]


def _pool(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        if any(node.outputs[1:]):
            raise BadInput("the second output (indices) is not supported")
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


def _with_space(x: Value) -> None:
    if len(x.shape) < 3:
        raise BadInput(f"{x.shape} has no spatial axes")


def _global(kind: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        x = work.value(node.inputs[0])
        _with_space(x)
        return [work.builder.reduce(kind, x, tuple(range(2, len(x.shape))), name=node.label)]

    return convert


def _alike(work: Import, node: OnnxNode, x: Value) -> list[Value]:
    """The parameters of a norm in the element type of x (newer opsets let them differ)."""
    values = [work.value(name) for name in node.inputs[1:] if name]
    return [v if v.dtype == x.dtype else work.builder.cast(v, x.dtype, name=f"{v.name}/cast") for v in values]


def _batch_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    if node.attribute("training_mode", 0) or not node.attribute("spatial", 1) or any(node.outputs[1:]):
        raise BadInput("only inference over channels is supported")
    x = work.value(node.inputs[0])
    scale, bias, mean, var = _alike(work, node, x)
    epsilon = node.attribute("epsilon", 1e-5)
    return [work.builder.batch_norm(x, scale, bias, mean, var, epsilon=epsilon, name=node.label)]


def _instance_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    scale, bias = _alike(work, node, x)
    _with_space(x)
    epsilon = node.attribute("epsilon", 1e-5)
    return [work.builder.group_norm(x, scale, bias, x.shape[1], epsilon=epsilon, name=node.label)]


def _group_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    scale, bias = _alike(work, node, x)
    _with_space(x)
    groups, channels = node.attributes["num_groups"], x.shape[1]
    if groups < 1 or channels % groups:
        raise BadInput(f"{channels} channels in {groups} groups")
    if scale.shape == bias.shape == (groups,) != (channels,):  # before opset 21: one parameter per group
        scale, bias = (_per_channel(work, v, channels, f"{node.label}/{v.name}") for v in (scale, bias))
    epsilon = node.attribute("epsilon", 1e-5)
    return [work.builder.group_norm(x, scale, bias, groups, epsilon=epsilon, name=node.label)]


def _per_channel(work: Import, per_group: Value, channels: int, name: str) -> Value:
    groups = per_group.shape[0]
    column = work.builder.reshape(per_group, (groups, 1), name=f"{name}/column")
    wide = work.builder.expand(column, (groups, channels // groups), name=f"{name}/wide")
    return work.builder.reshape(wide, (channels,), name=f"{name}/channels")


def _layer_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    if any(node.outputs[1:]):
        raise BadInput("outputs of mean and deviation are not supported")
    x = work.value(node.inputs[0])
    axis, epsilon = axis_of(node.attribute("axis", -1), len(x.shape)), node.attribute("epsilon", 1e-5)
    return [work.builder.layer_norm(x, *_alike(work, node, x), axis=axis, epsilon=epsilon, name=node.label)]


def _rms_norm(work: Import, node: OnnxNode) -> Sequence[Value]:
    """x / sqrt(r**2 + epsilon) * scale with r the root of the mean square, made from the 2-norm so that squares of
    elements are not stored.
    """
    x = work.value(node.inputs[0])
    (scale,) = _alike(work, node, x)
    axes = tuple(range(axis_of(node.attribute("axis", -1), len(x.shape)), len(x.shape)))
    build, label = work.builder, node.label
    norm = build.reduce("l2", x, axes, name=f"{label}/norm")
    root = build.mul(norm, 1.0 / sqrt(prod(x.shape[a] for a in axes)), name=f"{label}/root")
    square = build.add(build.unary("square", root, name=f"{label}/square"), node.attribute("epsilon", 1e-5))
    scaled = build.div(x, build.unary("sqrt", square, name=f"{label}/deviation"), name=f"{label}/scaled")
    return [build.mul(scaled, scale, name=label)]


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
        new = work.opset >= 13
        axis = axis_of(node.attribute("axis", -1 if new else 1), len(x.shape))
        if new or prod(x.shape[axis + 1 :]) == 1:
            return [work.builder.softmax(x, axis, log=log, name=node.label)]
        # before opset 13: over everything from the axis on
        rows = (prod(x.shape[:axis]), prod(x.shape[axis:]))
        flat = work.builder.reshape(x, rows, name=f"{node.label}/flat")
        made = work.builder.softmax(flat, 1, log=log, name=node.label)
        return [work.builder.reshape(made, x.shape, name=f"{node.label}/shape")]

    return convert


LAYERS: dict[str, Converter] = {
    "Conv": _conv,
    "MaxPool": _pool("max"),
    "AveragePool": _pool("avg"),
    "GlobalAveragePool": _global("mean"),
    "GlobalMaxPool": _global("max"),
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "LRN": _lrn,
    "Softmax": _softmax(False),
    "LogSoftmax": _softmax(True),
}
