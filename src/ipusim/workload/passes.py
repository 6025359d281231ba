"""Workload -> workload rewrites that keep its meaning."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.ops import Conv, Op, TensorType
from ipusim.workload.ops_norm import BatchNorm
from ipusim.workload.ops_random import Random
from ipusim.workload.ops_shape import Cast

Array = NDArray[Any]


def fold_batch_norm(workload: Workload) -> Workload:
    """Batch norms that alone follow a convolution, with constant parameters, become its weight and bias.

    weight' = weight * scale / sqrt(var + epsilon), bias' = (bias - mean) * scale / sqrt(var + epsilon) + shift;
    computed in float32 when somebody needs the arrays.
    """
    readers = Counter(v.name for n in workload.nodes for v in n.inputs)
    readers.update(v.name for v in workload.outputs.values())
    convs = {n.outputs[0].name: n for n in workload.nodes if isinstance(n.op, Conv)}
    constants = dict(workload.constants)
    folded: dict[str, Node] = {}
    renamed: dict[str, Value] = {}
    for node in workload.nodes:
        conv = convs.get(node.inputs[0].name) if isinstance(node.op, BatchNorm) else None
        if conv is None or readers[conv.outputs[0].name] != 1:
            continue
        known = [constants.get(v.name) for v in (*conv.inputs[1:], *node.inputs[1:])]
        if all(known):
            folded[conv.name] = _folded(conv, node, [c for c in known if c], constants)
            renamed[node.outputs[0].name] = conv.outputs[0]
    nodes = []
    for node in workload.nodes:
        if node.outputs[0].name in renamed:
            continue
        kept = folded.get(node.name, node)
        nodes.append(replace(kept, inputs=tuple(renamed.get(v.name, v) for v in kept.inputs)))
    outputs = {k: renamed.get(v.name, v) for k, v in workload.outputs.items()}
    return drop_dead(replace(workload, outputs=outputs, nodes=tuple(nodes), constants=constants, _memo={}))


def _folded(conv: Node, norm: Node, known: list[Constant], constants: dict[str, Constant]) -> Node:
    assert isinstance(norm.op, BatchNorm)
    epsilon = np.float32(norm.op.epsilon)
    weight, (scale, shift, mean, var) = known[0], known[-4:]
    bias = known[1] if len(conv.inputs) == 3 else Constant.full((weight.shape[0],), weight.dtype, 0.0)

    def factor(s: Array, v: Array) -> Array:
        return np.asarray(s.astype(np.float32) / np.sqrt(v.astype(np.float32) + epsilon))

    def new_weight(w: Array, s: Array, v: Array) -> Array:
        return np.asarray(w * factor(s, v).reshape((-1,) + (1,) * (w.ndim - 1)))

    def new_bias(b: Array, s: Array, h: Array, m: Array, v: Array) -> Array:
        return np.asarray((b.astype(np.float32) - m) * factor(s, v) + h)

    names = [f"{conv.name}/folded_weight", f"{conv.name}/folded_bias"]
    constants[names[0]] = weight.map(new_weight, f"fold weight {epsilon:.9g}", scale, var)
    constants[names[1]] = bias.map(new_bias, f"fold bias {epsilon:.9g}", scale, shift, mean, var)
    made = tuple(Value(n, TensorType(constants[n].shape, constants[n].dtype)) for n in names)
    return replace(conv, inputs=(conv.inputs[0], *made))


def with_precision(workload: Workload, dtype: DType) -> Workload:
    """Every floating-point value, input, constant and cast target in one type."""

    def turn(value: Value) -> Value:
        if not value.dtype.is_float or value.dtype == dtype:
            return value
        return Value(value.name, TensorType(value.shape, dtype))

    def node(n: Node) -> Node:
        return Node(_op_in(n.op, dtype), tuple(turn(v) for v in n.inputs), tuple(turn(v) for v in n.outputs), n.name)

    return Workload(
        workload.name,
        tuple(turn(v) for v in workload.inputs),
        {k: turn(v) for k, v in workload.outputs.items()},
        tuple(node(n) for n in workload.nodes),
        {k: c.astype(dtype) if c.dtype.is_float else c for k, c in workload.constants.items()},
        workload.batch,
    )


def _op_in(op: Op, dtype: DType) -> Op:
    """An op with the types and workloads it holds in another precision."""
    if isinstance(op, Cast):
        return Cast(dtype) if op.dtype.is_float else op
    if isinstance(op, Random):
        return replace(op, dtype=dtype)
    if op.parts():
        held = {f.name: getattr(op, f.name) for f in fields(op)}  # type: ignore[arg-type]
        turned = {k: with_precision(v, dtype) if isinstance(v, Workload) else v for k, v in held.items()}
        return type(op)(**turned)
    return op


def drop_dead(workload: Workload) -> Workload:
    """Without nodes and constants that no output depends on."""
    needed = {v.name for v in workload.outputs.values()}
    kept: list[Node] = []
    for node in reversed(workload.nodes):
        if any(v.name in needed for v in node.outputs):
            kept.append(node)
            needed.update(v.name for v in node.inputs)
    constants = {k: c for k, c in workload.constants.items() if k in needed}
    return replace(workload, nodes=tuple(reversed(kept)), constants=constants, _memo={})
