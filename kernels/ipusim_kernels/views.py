"""Ops that only change how elements are looked at: they add no vertices and move no data.

What a view costs, its consumers pay: their exchange gathers the elements from wherever they are, and a matrix codelet
that wants another order rearranges them on its tile.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipusim.lower.rules import Lowering
from ipusim.program.tensor import Tensor
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Node
from ipusim.workload.ops_shape import Concat, Expand, Pad, Reshape, Slice, Split, Transpose


def lower_reshape(low: Lowering, op: Reshape, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Reshape."""
    low.note("view")
    return [inputs[0].reshape(op.shape)]


def lower_transpose(low: Lowering, op: Transpose, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Transpose."""
    low.note("view")
    return [inputs[0].transpose(op.perm)]


def lower_expand(low: Lowering, op: Expand, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Expand."""
    low.note("view")
    return [inputs[0].broadcast_to(op.shape)]


def lower_concat(low: Lowering, op: Concat, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Concat: a tensor over several variables."""
    low.note("view")
    return [Tensor.concat([low.mapped(t) for t in inputs], op.axis)]


def lower_split(low: Lowering, op: Split, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Split."""
    low.note("view")
    out, at = [], 0
    for size in op.sizes:
        out.append(inputs[0].slice(op.axis, at, at + size))
        at += size
    return out


def lower_slice(low: Lowering, op: Slice, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Slice, with steps of either sign."""
    low.note("view")
    out = inputs[0]
    for axis, (start, step, count) in enumerate(zip(op.starts, op.steps, op.sizes(), strict=True)):
        out = out.slice(axis, start, start + count) if step == 1 else out.stride(axis, start, count, step)
    return [out]


def lower_pad(low: Lowering, op: Pad, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Pad: the tensor joined with constants, with its edge repeated, or with its reflection."""
    low.note("view")
    out = low.mapped(inputs[0])
    for axis, (before, after) in enumerate(op.padding):
        head = [_padding(low, op, out, axis, before, first=True)] if before else []
        tail = [_padding(low, op, out, axis, after, first=False)] if after else []
        out = Tensor.concat([*head, out, *tail], axis)
    return [out]


def _padding(low: Lowering, op: Pad, x: Tensor, axis: int, count: int, *, first: bool) -> Tensor:
    size = x.shape[axis]
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if op.mode == "edge":
        edge = x.slice(axis, 0, 1) if first else x.slice(axis, size - 1, size)
        return edge.broadcast_to(shape)
    if op.mode == "reflect":
        return x.stride(axis, count if first else size - 2, count, -1)
    name = f"padding{axis}{'a' if first else 'b'}"
    value = Constant.full((1,) * len(shape), x.dtype, op.value)
    made = low.constant(value, value.shape, x.dtype, name, low.spread(value.shape, x.dtype))
    return made.broadcast_to(shape)
