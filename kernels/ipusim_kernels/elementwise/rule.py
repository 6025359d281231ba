"""Lowering of elementwise ops: vertices run where the main operand lives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ipusim.dtype import bool_
from ipusim.lower.placement import Placed, place_pointwise
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Codelet
from ipusim.program.graph import Rows, VertexGroup
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node
from ipusim.workload.ops import COMPARE, Binary, Clip, Select, Unary
from ipusim_kernels.elementwise import codelets, cycles
from ipusim_kernels.elementwise.codelets import BinaryAttrs, PlainAttrs, UnaryAttrs


def unary(
    low: Lowering,
    kind: str,
    x: Tensor,
    *,
    name: str,
    in_place: bool = False,
    alpha: float = 0.0,
    beta: float = 0.0,
    deferred: bool = False,
) -> Tensor:
    """Adds one function of each element of x; the result."""
    dtype = bool_ if kind in ("not", "isnan", "isinf") else x.dtype
    over = in_place and dtype == x.dtype and x.chain() is not None
    placed = place_pointwise(low, [x], x.shape, dtype, name, in_place=over)
    attrs = UnaryAttrs(kind, x.dtype, over, low.chip.generation == "mk1", alpha, beta)
    codelet = codelets.UNARY_OP_IN_PLACE if over else codelets.UNARY_OP
    fields = placed.fields(in_place=0 if over else None)
    low.execute(name, [VertexGroup(codelet, attrs, placed.rows(), fields, deferred=deferred)])
    return placed.result


def binary(
    low: Lowering, kind: str, a: Tensor, b: Tensor, *, name: str, in_place: bool = False, deferred: bool = False
) -> Tensor:
    """Adds one function of two elements with broadcasting; the result.  `in_place`: a may be overwritten."""
    shape = tuple(int(n) for n in np.broadcast_shapes(a.shape, b.shape))
    dtype = bool_ if kind in COMPARE else a.dtype
    over = in_place and a.shape == shape and dtype == a.dtype and a.chain() is not None
    placed = place_pointwise(low, [a, b], shape, dtype, name, in_place=over)
    attrs = BinaryAttrs(kind, a.dtype, over, low.chip.generation == "mk1")
    codelet, rows = _vertex(placed, kind, over)
    fields = placed.fields(in_place=0 if over else None)
    low.execute(name, [VertexGroup(codelet, attrs, rows, fields, deferred=deferred)])
    return placed.result


def _vertex(placed: Placed, kind: str, over: bool) -> tuple[Codelet, Rows]:
    """Which vertex serves the operands, and its rows: by how the smaller operand repeats in storage."""
    whole = codelets.BINARY_OP_IN_PLACE if over else codelets.BINARY_OP
    shape = placed.stored.shape
    long_axes = tuple(a for a, n in enumerate(shape) if n > 1)
    varying = [placed.varying(i) for i in range(2)]
    smaller = 0 if len(varying[0]) < len(varying[1]) else 1
    axes = varying[smaller]
    if axes == long_axes or kind not in cycles.BROADCAST or not placed.operands[0].dtype.is_float:
        return whole, placed.rows()
    if not axes:
        return codelets.SCALAR_OP, placed.rows()
    extent = placed.extent(axes)
    rest = np.maximum(1, placed.elements // np.maximum(1, extent))
    if kind not in ("add", "sub", "mul"):
        return whole, placed.rows()
    inner = _inner_length(placed, axes)
    if inner:
        length = np.minimum(inner, extent)
        return codelets.INNER_OP, placed.rows(length, rest, -(-extent // length))
    return codelets.OUTER_OP, placed.rows(extent, rest)


def _inner_length(placed: Placed, axes: tuple[int, ...]) -> int:
    """Length of the vector stored together if the operand varies along what is innermost in storage, else 0."""
    chain = placed.stored.chain()
    if chain is not None and chain[0].channels > 1 and placed.stored.variable is not None:
        return chain[0].channels if chain[0].channel_axis in axes else 0
    shape = placed.stored.shape
    last = max((a for a, n in enumerate(shape) if n > 1), default=0)
    tail = 1
    for a in range(last, -1, -1):
        if a not in axes and shape[a] > 1:
            break
        tail *= shape[a]
    return tail if last in axes else 0


def lower_unary(low: Lowering, op: Unary, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Unary."""
    low.note(op.kind)
    x = inputs[0]
    return [unary(low, op.kind, x, name=op.kind, in_place=low.reusable[0], alpha=op.alpha, beta=op.beta)]


def lower_binary(low: Lowering, op: Binary, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Binary."""
    low.note(op.kind)
    a, b = inputs
    if op.kind in ("add", "mul") and low.reusable[1] and not low.reusable[0] and b.shape == node.outputs[0].shape:
        a, b = b, a
    reusable = low.reusable[0] or (a is inputs[1] and low.reusable[1])
    in_place = reusable and not set(a.variables()) & set(b.variables())
    return [binary(low, op.kind, a, b, name=op.kind, in_place=in_place)]


def lower_select(low: Lowering, op: Select, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Select: placed by the first operand of full shape."""
    low.note("select")
    placed = place_pointwise(low, inputs, node.outputs[0].shape, node.outputs[0].dtype, "select")
    group = VertexGroup(codelets.SELECT, PlainAttrs(node.outputs[0].dtype), placed.rows(), placed.fields())
    low.execute("select", [group])
    return [placed.result]


def lower_clip(low: Lowering, op: Clip, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Clip."""
    low.note("clamp")
    x = inputs[0]
    placed = place_pointwise(low, [x], x.shape, x.dtype, "clamp")
    group = VertexGroup(codelets.CLAMP, PlainAttrs(x.dtype, op.lo, op.hi), placed.rows(), placed.fields())
    low.execute("clamp", [group])
    return [placed.result]
