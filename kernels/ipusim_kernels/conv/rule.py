"""Lowering of convolutions and matmuls: plan, place, compute partial sums, reduce them.

A pass is: exchange inputs and weights to the tiles of the plan, rearrange them there if they are stored otherwise,
compute partial sums, and, where the reduction is split or the partial type differs, sum and cast them in one to three
stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.dtype import DType, float16, float32
from ipusim.lower.rules import Lowering
from ipusim.program import mapping as maps
from ipusim.program.graph import Boxes, Field, VertexGroup, WholeOp
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor, Variable
from ipusim.workload.graph import Node
from ipusim.workload.ops import Conv, MatMul
from ipusim_kernels.cast.codelets import cast_group
from ipusim_kernels.conv import codelets
from ipusim_kernels.conv.codelets import CODELETS, REDUCE, ConvAttrs, ReduceAttrs, WholeConv, WholeMatMul
from ipusim_kernels.conv.geometry import Geometry, geometry, operand_map, reduce_map, reduce_rows
from ipusim_kernels.conv.plan import Plan, operand_rate, plan
from ipusim_kernels.conv.shape import ConvShape, matmul_shape
from ipusim_kernels.elementwise.rule import binary
from ipusim_kernels.layout import stored_channels
from ipusim_kernels.reduce.cycles import conv_reduce_stages


@final
@dataclass(frozen=True, slots=True)
class Pass:
    """One planned convolution: x (N, G, Ci, H, W) and w (G, Co, Ci, KH, KW) in the plan's orientation, and its
    values.
    """

    shape: ConvShape
    plan: Plan
    x: Tensor
    w: Tensor
    dtype: DType


def lower_conv(low: Lowering, op: Conv, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Conv: x (N, C, *S), w (O, C / groups, *K), optional bias (O)."""
    x, w = (_two_dims(t) for t in inputs[:2])
    out_shape = node.outputs[0].shape
    shape = _conv_shape(op, x.shape, w.shape, out_shape)
    chosen = plan(shape, x.dtype, low.chip, low.options, stored=(_stored(x, 1), _stored(w, 1)))
    n, o, oh, ow = x.shape[0], w.shape[0], shape.out_height, shape.out_width
    work = Pass(
        chosen.shape(shape),
        chosen,
        _positions(x, shape) if chosen.flattened else x.reshape((n, op.groups, shape.ci, *x.shape[2:])),
        w.reshape((op.groups, shape.co, *w.shape[1:])),
        x.dtype,
    )
    made = _out_variable(low, work)
    if chosen.flattened:
        result = made.reshape((o, n, oh, ow)).transpose((1, 0, 2, 3))
    else:
        result = made.reshape((n, o, oh, ow))
    pads = (op.padding[0], op.padding[1]) if len(op.padding) == 2 else ((0, 0), op.padding[0])
    whole = WholeConv(
        shape.stride,
        shape.dilation,
        pads,
        op.groups,
        geometry(work.shape, chosen.partition).pieces,
        low.options.partials.name,
        low.options.threads,
    )
    _run(low, work, made, WholeOp(codelets.whole_conv, whole, (x, w, result)))
    result = result.reshape(out_shape)
    if len(inputs) > 2:
        bias = inputs[2].reshape((o,) + (1,) * (len(out_shape) - 2))
        result = binary(low, "add", result, bias, name="bias", in_place=True)
    return [result]


def _two_dims(tensor: Tensor) -> Tensor:
    return tensor if len(tensor.shape) == 4 else tensor.reshape((*tensor.shape[:2], 1, tensor.shape[2]))


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def _conv_shape(op: Conv, x: tuple[int, ...], w: tuple[int, ...], out: tuple[int, ...]) -> ConvShape:
    first = [lo for lo, _ in op.padding]
    oh, ow = (1, out[2]) if len(out) == 3 else out[2:]
    return ConvShape(
        batch=x[0],
        groups=op.groups,
        ci=w[1],
        co=w[0] // op.groups,
        height=x[2],
        width=x[3],
        out_height=oh,
        out_width=ow,
        kernel_height=w[2],
        kernel_width=w[3],
        stride=_pair(op.stride),
        dilation=_pair(op.dilation),
        pad=(0, first[0]) if len(first) == 1 else (first[0], first[1]),
    )


def _positions(x: Tensor, shape: ConvShape) -> Tensor:
    """(N, C, H, W) as (1, G, Ci, 1, N * H * W)."""
    return x.transpose((1, 0, 2, 3)).reshape((1, shape.groups, shape.ci, 1, shape.batch * x.shape[2] * x.shape[3]))


def lower_matmul(low: Lowering, op: MatMul, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """MatMul: a (..., M, K) x b (..., K, N) with numpy's batch broadcasting."""
    a, b, lead = _batched(low, *inputs)
    groups, m, k = a.shape
    n = b.shape[2]
    straight = matmul_shape(groups, m, k, n)
    swapped = matmul_shape(groups, n, k, m)
    stored = (_stored(a, 2), _stored(b, 1))
    chosen = plan(straight, a.dtype, low.chip, low.options, stored=stored, swapped=swapped)
    rows, weights = (b.transpose((0, 2, 1)), a) if chosen.swapped else (a, b.transpose((0, 2, 1)))
    shape = chosen.shape(straight, swapped)
    work = Pass(
        shape,
        chosen,
        rows.transpose((0, 2, 1)).reshape((1, groups, k, 1, rows.shape[1])),
        weights.reshape((groups, weights.shape[1], k, 1, 1)),
        a.dtype,
    )
    made = _out_variable(low, work)
    product = made.reshape((groups, shape.co * chosen.serial, shape.out_width))
    result = product if chosen.swapped else product.transpose((0, 2, 1))
    whole = WholeMatMul(
        codelets.pieces_of_k(geometry(shape, chosen.partition).pieces), low.options.partials.name, low.options.threads
    )
    _run(low, work, made, WholeOp(codelets.whole_matmul, whole, (a, b, result)))
    shape_out = node.outputs[0].shape
    return [result.reshape((*lead, m, n)).reshape(shape_out)]


def _batched(low: Lowering, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """a (G, M, K) and b (G, K, N); a matrix shared by all batches makes the batch part of M.  Third: the shape before
    (M, N).
    """
    a = a.reshape((1, *a.shape)) if len(a.shape) == 1 else a
    b = b.reshape((*b.shape, 1)) if len(b.shape) == 1 else b
    lead_a, lead_b = a.shape[:-2], b.shape[:-2]
    lead = np.broadcast_shapes(lead_a, lead_b)
    k = a.shape[-1]
    if all(n == 1 for n in lead_b):
        rows = int(np.prod(a.shape[:-1]))
        return a.reshape((1, rows, k)), b.reshape((1, k, b.shape[-1])), ()
    groups = int(np.prod(lead))
    full_a = low.mapped(a).broadcast_to((*lead, *a.shape[-2:])).solid().reshape((groups, *a.shape[-2:]))
    full_b = low.mapped(b).broadcast_to((*lead, *b.shape[-2:])).solid().reshape((groups, *b.shape[-2:]))
    return full_a, full_b, (groups,)


# -- one pass ----------------------------------------------------------------------------------------------------------


def _targets(geo: Geometry) -> list[tuple[int, Mapping]]:
    """(members, mapping of the sums) of each reduction stage; empty if one tile computes each sum whole."""
    depth, mapping, stages = len(geo.pieces), geo.partial_map, []
    if depth == 1:
        return []
    for left in (*conv_reduce_stages(depth), 1):
        members = -(-mapping.shape[0] // left)
        mapping = reduce_map(mapping, members)
        stages.append((members, mapping))
    return stages


def _out_variable(low: Lowering, work: Pass) -> Tensor:
    """Storage of the result, (1, N, G, Co, Ho, Wo): where the last stage leaves it."""
    s, p = work.shape, work.plan
    geo = geometry(s, p.partition)
    stages = _targets(geo)
    final = stages[-1][1] if stages else geo.partial_map
    if p.serial > 1:
        final = final.memo(("serial", p.serial), lambda: maps.concat([final] * p.serial, 3))
    depthwise = s.co == 1 and s.groups > 1
    channels = p.method.group_group if depthwise else min(p.method.out_group, s.co * p.serial)
    shape = (1, s.batch, s.groups, s.co * p.serial, s.out_height, s.out_width)
    return Tensor.of(
        low.variable(shape, work.dtype, "out", final, channels=channels, channel_axis=2 if depthwise else 3)
    )


def _run(low: Lowering, work: Pass, out: Tensor, whole: WholeOp) -> None:
    """Adds the compute sets of a pass, once per serial step."""
    p, s = work.plan, work.shape
    geo = geometry(s, p.partition)
    for step in range(p.serial):
        w = work.w.slice(1, step * s.co, (step + 1) * s.co)
        low.place(w, geo.weight_map)
        target = out.slice(3, step * s.co, (step + 1) * s.co)
        name = f"step{step}/" if p.serial > 1 else ""
        _one_step(low, Pass(s, p, work.x, w, work.dtype), geo, target, name, whole if step + 1 == p.serial else None)
    low.note(p.method.kind, p.splits(), p.estimate)


def _one_step(low: Lowering, work: Pass, geo: Geometry, target: Tensor, name: str, whole: WholeOp | None) -> None:
    p = work.plan
    partial_type = float32 if not p.method.half_partials else float16
    stages = _targets(geo)
    direct = not stages and partial_type == work.dtype
    low.place(work.x, operand_map(work.shape, p.partition) if p.flattened else None)
    if direct:
        partials = target
    else:
        partials = Tensor.of(low.variable(geo.partial_map.shape, partial_type, f"{name}partials", geo.partial_map))
    attrs = ConvAttrs(p.method, work.shape.stride, work.shape.dilation)
    copy_bytes = low.chip.tile.copy_bytes_per_cycle
    fields = (
        Field("x", "in", work.x, geo.x, _rate(work.x, work, copy_bytes)),
        Field("w", "in", work.w, geo.w, _rate(work.w, work, copy_bytes)),
        Field("partials", "out", partials, geo.partials),
    )
    group = VertexGroup(
        CODELETS[p.method.kind], attrs, geo.rows, fields, whole if direct else None, whole is None or not direct
    )
    low.execute(f"{name}convolve", [group])
    if direct:
        return
    if not stages:
        low.execute(f"{name}cast", [cast_group(partials, target, geo.partial_map, whole)])
        return
    for number, (members, mapping) in enumerate(stages):
        last = number + 1 == len(stages)
        partials = _reduce(low, partials, target if last else None, mapping, members, f"{name}reduce{number}", whole)


def _stored(tensor: Tensor, axis: int) -> int:
    """Channels stored together along an axis; 0 for weights, which are stored as the plan wants them."""
    return 0 if all(v.always_live for v in tensor.variables()) else stored_channels(tensor, axis)


def _rate(tensor: Tensor, work: Pass, copy_bytes: int) -> int:
    return operand_rate(_stored(tensor, 2), work.shape.ci, work.plan.method, copy_bytes)


def _reduce(
    low: Lowering,
    partials: Tensor,
    target: Tensor | None,
    mapping: Mapping,
    members: int,
    name: str,
    whole: WholeOp | None,
) -> Tensor:
    """One stage: sums of `members` neighbouring partials, into `target` if this is the last stage."""
    rows, boxes = reduce_rows(mapping, partials.shape[0], members)
    if target is None:
        made: Variable = low.variable(mapping.shape, partials.dtype, f"{name}/sums", mapping)
        out = Tensor.of(made)
    else:
        out = target
    attrs = ReduceAttrs(out.dtype == float16, partials.dtype == float16)
    fields = (Field("partials", "in", partials, boxes), Field("out", "out", out, Boxes.shares(mapping)))
    last = target is not None
    low.execute(name, [VertexGroup(REDUCE, attrs, rows, fields, whole if last else None, not last or whole is None)])
    return out
