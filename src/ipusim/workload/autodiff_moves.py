"""Gradients of ops that move elements, and what rules of all ops share (ipusim.workload.autodiff).

A move's gradient is the move back: what was taken out goes to its place among zeros, what was repeated is summed.
Omitted: Gather (its gradient adds at indices that are known only when the program runs, which no op does), padding by
edge or reflection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ipusim.errors import BadInput
from ipusim.workload import ops, ops_shape
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Node, Value

#: (builder, node, gradient of each output) -> gradient of each input, None where there is none.
Rule = Callable[[WorkloadBuilder, Node, Sequence[Value]], Sequence[Value | None]]


def zeros(build: WorkloadBuilder, value: Value) -> Value:
    """Zeros of a value's shape and type."""
    return build.constant(Constant.full(value.shape, value.dtype, 0.0), "zero")


def fit(build: WorkloadBuilder, grad: Value, value: Value) -> Value:
    """A gradient summed over the axes along which `value` was broadcast."""
    if grad.shape == value.shape:
        return grad
    extra = len(grad.shape) - len(value.shape)
    padded = (1,) * extra + value.shape
    axes = [a for a, (n, m) in enumerate(zip(grad.shape, padded, strict=True)) if n != m]
    summed = build.reduce("sum", grad, axes) if axes else grad
    return summed if summed.shape == value.shape else build.reshape(summed, value.shape)


def _reshape(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    return [b.reshape(grads[0], node.inputs[0].shape)]


def _transpose(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    op = node.op
    assert isinstance(op, ops_shape.Transpose)
    return [b.transpose(grads[0], [op.perm.index(a) for a in range(len(op.perm))])]


def _expand(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    return [fit(b, grads[0], node.inputs[0])]


def _concat(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    op = node.op
    assert isinstance(op, ops_shape.Concat)
    return list(b.split(grads[0], [v.shape[op.axis] for v in node.inputs], op.axis))


def _split(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    op = node.op
    assert isinstance(op, ops_shape.Split)
    return [b.concat(list(grads), op.axis)]


def _slice(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    """Zeros between, before and after the elements that were taken, in the order in which they lie."""
    op, x, grad = node.op, node.inputs[0], grads[0]
    assert isinstance(op, ops_shape.Slice)
    if not grad.type.elements:
        return [zeros(b, x)]
    for axis, step in enumerate(op.steps):
        if abs(step) > 1:
            grad = _apart(b, grad, axis, abs(step))
        if step < 0:
            grad = _backwards(b, grad, axis)
    lowest = [min(a, a + (n - 1) * s) for a, n, s in zip(op.starts, op.sizes(), op.steps, strict=True)]
    return [b.pad(grad, [(a, n - a - m) for a, n, m in zip(lowest, x.shape, grad.shape, strict=True)])]


def _apart(b: WorkloadBuilder, x: Value, axis: int, step: int) -> Value:
    """x with step - 1 zeros between neighbours along an axis."""
    shape = x.shape
    split = b.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    wide = b.pad(split, [(0, (step - 1) * (a == axis + 1)) for a in range(len(shape) + 1)])
    joined = b.reshape(wide, (*shape[:axis], shape[axis] * step, *shape[axis + 1 :]))
    stops = (*shape[:axis], (shape[axis] - 1) * step + 1, *shape[axis + 1 :])
    return b.slice(joined, (0,) * len(shape), stops)


def _backwards(b: WorkloadBuilder, x: Value, axis: int) -> Value:
    last = x.shape[axis] - 1
    starts = [last if a == axis else 0 for a in range(len(x.shape))]
    stops = [-last - 2 if a == axis else n for a, n in enumerate(x.shape)]  # before the first, as Python reads it
    return b.slice(x, starts, stops, [-1 if a == axis else 1 for a in range(len(x.shape))])


def _pad(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    op, x = node.op, node.inputs[0]
    assert isinstance(op, ops_shape.Pad)
    if op.mode != "constant":
        raise BadInput(f"node {node.name!r}: Pad {op.mode!r} has no gradient")
    starts = [lo for lo, _ in op.padding]
    return [b.slice(grads[0], starts, [lo + n for lo, n in zip(starts, x.shape, strict=True)])]


MOVES: Final[dict[type[ops.Op], Rule]] = {
    ops_shape.Reshape: _reshape,
    ops_shape.Transpose: _transpose,
    ops_shape.Expand: _expand,
    ops_shape.Concat: _concat,
    ops_shape.Split: _split,
    ops_shape.Slice: _slice,
    ops_shape.Pad: _pad,
}
