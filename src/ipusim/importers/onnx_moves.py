"""ONNX operators that move elements, and the reading of parameters that are an attribute in old opsets and an input
in new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ipusim.errors import BadInput
from ipusim.importers.onnx_file import OnnxNode
from ipusim.workload.graph import Value

if TYPE_CHECKING:
    from ipusim.importers.onnx import Import


def ints(work: Import, node: OnnxNode, position: int, attribute: str) -> list[int]:
    """A list of numbers from an input (which must be constant) or an attribute; empty if neither is there."""
    if len(node.inputs) > position and node.inputs[position]:
        name = node.inputs[position]
        if not work.is_constant(name):
            raise BadInput(f"{attribute} ({name!r}) must be known when the model is compiled")
        return [int(v) for v in work.array(name).reshape(-1)]
    found = node.attribute(attribute, [])
    return [int(v) for v in found] if isinstance(found, list | tuple) else [int(found)]


def scalar(work: Import, node: OnnxNode, position: int, attribute: str) -> float | None:
    """A number from an input (which must be constant) or an attribute; None if neither is there."""
    if len(node.inputs) > position and node.inputs[position]:
        name = node.inputs[position]
        if not work.is_constant(name):
            raise BadInput(f"{attribute} ({name!r}) must be known when the model is compiled")
        return float(work.array(name).reshape(-1)[0])
    found = node.attribute(attribute, None)
    return None if found is None else float(found)


def _reshape(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, wanted = work.value(node.inputs[0]), ints(work, node, 1, "shape")
    if not node.attribute("allowzero", 0):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return [work.builder.reshape(x, wanted, name=node.label)]


def _flatten(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    axis = node.attribute("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return [work.builder.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])), name=node.label)]


def _squeeze(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, axes = work.value(node.inputs[0]), ints(work, node, 1, "axes")
    rank = len(x.shape)
    drop = {a % rank for a in axes} if axes else {a for a, n in enumerate(x.shape) if n == 1}
    if any(x.shape[a] != 1 for a in drop):
        raise BadInput(f"axes {sorted(drop)} of {x.shape} are not all of size 1")
    return [work.builder.reshape(x, [n for a, n in enumerate(x.shape) if a not in drop], name=node.label)]


def _unsqueeze(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, axes = work.value(node.inputs[0]), ints(work, node, 1, "axes")
    rank = len(x.shape) + len(axes)
    new = {a % rank for a in axes}
    sizes = iter(x.shape)
    return [work.builder.reshape(x, [1 if a in new else next(sizes) for a in range(rank)], name=node.label)]


def _transpose(work: Import, node: OnnxNode) -> Sequence[Value]:
    return [work.builder.transpose(work.value(node.inputs[0]), node.attribute("perm", None), name=node.label)]


def _concat(work: Import, node: OnnxNode) -> Sequence[Value]:
    return [work.builder.concat([work.value(n) for n in node.inputs], node.attributes["axis"], name=node.label)]


def _slice(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    rank = len(x.shape)
    starts, stops = ints(work, node, 1, "starts"), ints(work, node, 2, "ends")
    axes = ints(work, node, 3, "axes") or list(range(len(starts)))
    steps = ints(work, node, 4, "steps") or [1] * len(starts)
    begin: list[Any] = [None] * rank
    end: list[Any] = [None] * rank
    by = [1] * rank
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        begin[axis % rank], end[axis % rank], by[axis % rank] = start, stop, step
    return [work.builder.slice(x, begin, end, by, name=node.label)]


def _split(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    axis = node.attribute("axis", 0) % len(x.shape)
    sizes = ints(work, node, 1, "split")
    if not sizes:
        count = node.attribute("num_outputs", len(node.outputs))
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return work.builder.split(x, sizes, axis, name=node.label)


def _pad(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    rank = len(x.shape)
    pads = ints(work, node, 1, "pads")
    axes = [a % rank for a in ints(work, node, 3, "axes")] or list(range(rank))
    value = scalar(work, node, 2, "value") or 0.0
    pairs = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        pairs[axis] = (pads[i], pads[i + len(axes)])
    mode = node.attribute("mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        raise BadInput(f"mode {mode!r} is not supported")
    cropped = [(max(0, -lo), n - max(0, -hi)) for n, (lo, hi) in zip(x.shape, pairs, strict=True)]
    if any((lo, hi) != (0, n) for n, (lo, hi) in zip(x.shape, cropped, strict=True)):
        x = work.builder.slice(x, [lo for lo, _ in cropped], [hi for _, hi in cropped], name=f"{node.label}/crop")
    grown = [(max(0, lo), max(0, hi)) for lo, hi in pairs]
    return [work.builder.pad(x, grown, value=value, mode=mode, name=node.label)]


def _expand(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, wanted = work.value(node.inputs[0]), ints(work, node, 1, "shape")
    rank = max(len(wanted), len(x.shape))
    left, right = [1] * (rank - len(wanted)) + wanted, [1] * (rank - len(x.shape)) + list(x.shape)
    return [work.builder.expand(x, [max(a, b) for a, b in zip(left, right, strict=True)], name=node.label)]


def _tile(work: Import, node: OnnxNode) -> Sequence[Value]:
    out = work.value(node.inputs[0])
    for axis, count in enumerate(ints(work, node, 1, "repeats")):
        if count > 1:
            out = work.builder.concat([out] * count, axis, name=f"{node.label}/{axis}")
    return [out]


def _same(work: Import, node: OnnxNode) -> Sequence[Value]:
    return [work.value(node.inputs[0])]


def _dropout(work: Import, node: OnnxNode) -> Sequence[Value]:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise BadInput("the mask output is not supported at inference")
    return _same(work, node)


def _depth_to_space(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, size = work.value(node.inputs[0]), node.attributes["blocksize"]
    n, c, h, w = x.shape
    inner = c // (size * size)
    columns_first = node.attribute("mode", "DCR") == "CRD"
    shape = (n, inner, size, size, h, w) if columns_first else (n, size, size, inner, h, w)
    order = (0, 1, 4, 2, 5, 3) if columns_first else (0, 3, 4, 1, 5, 2)
    seen = work.builder.transpose(
        work.builder.reshape(x, shape, name=f"{node.label}/blocks"), order, name=f"{node.label}/order"
    )
    return [work.builder.reshape(seen, (n, inner, h * size, w * size), name=node.label)]


def _space_to_depth(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, size = work.value(node.inputs[0]), node.attributes["blocksize"]
    n, c, h, w = x.shape
    blocks = work.builder.reshape(x, (n, c, h // size, size, w // size, size), name=f"{node.label}/blocks")
    seen = work.builder.transpose(blocks, (0, 3, 5, 1, 2, 4), name=f"{node.label}/order")
    return [work.builder.reshape(seen, (n, c * size * size, h // size, w // size), name=node.label)]


MOVES = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "Identity": _same,
    "Dropout": _dropout,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
