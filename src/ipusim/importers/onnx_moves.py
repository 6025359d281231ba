"""ONNX operators that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ipusim.errors import BadInput
from ipusim.importers.onnx_file import OnnxNode
from ipusim.importers.onnx_work import Import, axes_of, axis_of, ints
from ipusim.workload.graph import Value

Converter = Callable[[Import, OnnxNode], Sequence[Value]]


def _reshape(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, wanted = work.value(node.inputs[0]), ints(work, node, 1, "shape") or []
    if wanted.count(-1) > 1 or any(n < -1 for n in wanted):
        raise BadInput(f"shape {tuple(wanted)} is not valid: one size may be -1")
    if not node.attribute("allowzero", 0):
        if any(n == 0 for n in wanted[len(x.shape) :]):
            raise BadInput(f"shape {tuple(wanted)} keeps an axis that {x.shape} does not have")
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return [work.builder.reshape(x, wanted, name=node.label)]


def _flatten(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    axis, rank = node.attribute("axis", 1), len(x.shape)
    at = rank if axis == rank else axis_of(axis, rank)
    return [work.builder.reshape(x, (prod(x.shape[:at]), prod(x.shape[at:])), name=node.label)]


def _squeeze(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, axes = work.value(node.inputs[0]), ints(work, node, 1, "axes")
    drop = axes_of(axes, len(x.shape)) if axes else [a for a, n in enumerate(x.shape) if n == 1]
    if any(x.shape[a] != 1 for a in drop):
        raise BadInput(f"axes {drop} of {x.shape} are not all of size 1")
    return [work.builder.reshape(x, [n for a, n in enumerate(x.shape) if a not in drop], name=node.label)]


def _unsqueeze(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, axes = work.value(node.inputs[0]), ints(work, node, 1, "axes") or []
    rank = len(x.shape) + len(axes)
    new = axes_of(axes, rank)
    sizes = iter(x.shape)
    return [work.builder.reshape(x, [1 if a in new else next(sizes) for a in range(rank)], name=node.label)]


def _transpose(work: Import, node: OnnxNode) -> Sequence[Value]:
    return [work.builder.transpose(work.value(node.inputs[0]), node.attribute("perm", None), name=node.label)]


def _concat(work: Import, node: OnnxNode) -> Sequence[Value]:
    values = [work.value(name) for name in node.inputs]
    axis = axis_of(node.attributes["axis"], len(values[0].shape))
    return [work.builder.concat(values, axis, name=node.label)]


def _slice(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    rank = len(x.shape)
    starts, stops = ints(work, node, 1, "starts") or [], ints(work, node, 2, "ends") or []
    axes = ints(work, node, 3, "axes")
    axes = list(range(len(starts))) if axes is None else axes
    steps = ints(work, node, 4, "steps") or [1] * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps):
        raise BadInput(f"{len(starts)} starts, {len(stops)} ends, {len(axes)} axes and {len(steps)} steps")
    begin: list[Any] = [None] * rank
    end: list[Any] = [None] * rank
    by = [1] * rank
    for axis, start, stop, step in zip(axes_of(axes, rank), starts, stops, steps, strict=True):
        begin[axis], end[axis], by[axis] = start, stop, step
    made = work.builder.slice(x, begin, end, by, name=node.label)
    if 0 in made.shape:
        raise BadInput(f"starts {starts} and ends {stops} take nothing of {x.shape}")
    return [made]


def _split(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    axis = axis_of(node.attribute("axis", 0), len(x.shape))
    sizes = ints(work, node, 1, "split")
    if sizes is None:
        count = len(node.outputs)
        if node.attribute("num_outputs", count) != count:
            raise BadInput(f"num_outputs {node.attributes['num_outputs']} for {count} outputs")
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    if len(sizes) != len(node.outputs) or min(sizes) < 1:
        raise BadInput(f"sizes {sizes} of axis {axis} of {x.shape} for {len(node.outputs)} outputs")
    return work.builder.split(x, sizes, axis, name=node.label)


def _pad(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    rank = len(x.shape)
    pads = ints(work, node, 1, "pads") or []
    axes = ints(work, node, 3, "axes")
    axes = list(range(rank)) if axes is None else axes_of(axes, rank)
    if len(pads) != 2 * len(axes):
        raise BadInput(f"{len(pads)} pads for {len(axes)} axes")
    pairs = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        pairs[axis] = (pads[i], pads[i + len(axes)])
    mode = node.attribute("mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        raise BadInput(f"mode {mode!r} is not supported (constant, edge and reflect are)")
    given = work.parameter(node, 2, "value")
    value = float(node.attribute("value", 0.0) if given is None else given.reshape(-1)[0])
    grown = [(max(0, lo), max(0, hi)) for lo, hi in pairs]
    if mode == "reflect" and any(max(pair) >= n for n, pair in zip(x.shape, grown, strict=True)):
        raise BadInput(f"reflection by {grown} is wider than {x.shape}")
    return [work.builder.pad(_cropped(work, node, x, pairs), grown, value=value, mode=mode, name=node.label)]


def _cropped(work: Import, node: OnnxNode, x: Value, pairs: Sequence[tuple[int, int]]) -> Value:
    """x without what negative padding takes away."""
    kept = [(max(0, -lo), n - max(0, -hi)) for n, (lo, hi) in zip(x.shape, pairs, strict=True)]
    if any(lo >= hi for lo, hi in kept):
        raise BadInput(f"pads take away all of {x.shape}")
    if all((lo, hi) == (0, n) for n, (lo, hi) in zip(x.shape, kept, strict=True)):
        return x
    return work.builder.slice(x, [lo for lo, _ in kept], [hi for _, hi in kept], name=f"{node.label}/crop")


def _expand(work: Import, node: OnnxNode) -> Sequence[Value]:
    x, wanted = work.value(node.inputs[0]), ints(work, node, 1, "shape") or []
    try:
        shape = np.broadcast_shapes(x.shape, tuple(wanted))
    except ValueError:
        raise BadInput(f"{x.shape} does not broadcast with {tuple(wanted)}") from None
    return [work.builder.expand(x, shape, name=node.label)]


def _tile(work: Import, node: OnnxNode) -> Sequence[Value]:
    """Each repeated axis gets an axis of size 1 before it, which is broadcast and merged."""
    x, counts = work.value(node.inputs[0]), ints(work, node, 1, "repeats") or []
    if len(counts) != len(x.shape) or any(n < 1 for n in counts):
        raise BadInput(f"repeats {counts} for {x.shape}")
    if all(n == 1 for n in counts):
        return [x]
    pairs = [(c, n) for c, n in zip(counts, x.shape, strict=True)]
    apart = [size for c, n in pairs for size in ((1, n) if c > 1 else (n,))]
    wide = [size for c, n in pairs for size in ((c, n) if c > 1 else (n,))]
    grown = work.builder.reshape(x, apart, name=f"{node.label}/axes")
    grown = work.builder.expand(grown, wide, name=f"{node.label}/repeat")
    return [work.builder.reshape(grown, [c * n for c, n in pairs], name=node.label)]


def _same(work: Import, node: OnnxNode) -> Sequence[Value]:
    return [work.value(node.inputs[0])]


def _dropout(work: Import, node: OnnxNode) -> Sequence[Value]:
    training = work.parameter(node, 2, "training_mode")
    if any(node.outputs[1:]) or (training is not None and training.any()):
        raise BadInput("training mode and the mask output are not supported")
    return _same(work, node)


def _gather(work: Import, node: OnnxNode) -> Sequence[Value]:
    data, indices = (work.value(name) for name in node.inputs)
    axis = axis_of(node.attribute("axis", 0), len(data.shape))
    size, known = data.shape[axis], work.known.get(node.inputs[1])
    if known is not None and known.size and (known.min() < -size or known.max() >= size):
        raise BadInput(f"indices {known.min()} to {known.max()} into an axis of size {size}")
    return [work.builder.gather(data, indices, axis, name=node.label)]


def _blocks(x: Value, node: OnnxNode) -> tuple[int, bool]:
    """(block size, whether the depth of a block varies slowest) of DepthToSpace and SpaceToDepth."""
    size, mode = node.attributes["blocksize"], node.attribute("mode", "DCR")
    if len(x.shape) != 4 or size < 1 or mode not in ("DCR", "CRD"):
        raise BadInput(f"blocksize {size}, mode {mode!r} for shape {x.shape}")
    return size, mode == "CRD"


def _depth_to_space(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    b, depth_first = _blocks(x, node)
    n, c, h, w = x.shape
    inner = c // (b * b)
    shape = (n, inner, b, b, h, w) if depth_first else (n, b, b, inner, h, w)
    order = (0, 1, 4, 2, 5, 3) if depth_first else (0, 3, 4, 1, 5, 2)
    apart = work.builder.reshape(x, shape, name=f"{node.label}/blocks")
    seen = work.builder.transpose(apart, order, name=f"{node.label}/order")
    return [work.builder.reshape(seen, (n, inner, h * b, w * b), name=node.label)]


def _space_to_depth(work: Import, node: OnnxNode) -> Sequence[Value]:
    x = work.value(node.inputs[0])
    b, depth_first = _blocks(x, node)
    n, c, h, w = x.shape
    order = (0, 1, 3, 5, 2, 4) if depth_first else (0, 3, 5, 1, 2, 4)
    apart = work.builder.reshape(x, (n, c, h // b, b, w // b, b), name=f"{node.label}/blocks")
    seen = work.builder.transpose(apart, order, name=f"{node.label}/order")
    return [work.builder.reshape(seen, (n, c * b * b, h // b, w // b), name=node.label)]


MOVES: dict[str, Converter] = {
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
    "Gather": _gather,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
