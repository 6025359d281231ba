"""Lowering rules of convolutions and matmuls: their operands as one planned convolution, its result as theirs.

What the plan does to the operands and which supersteps it takes is in `lowering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ipusim.dtype import DType
from ipusim.lower.rules import Lowering
from ipusim.program.graph import WholeOp
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node
from ipusim.workload.ops import Conv, MatMul
from ipusim_kernels.conv import codelets
from ipusim_kernels.conv.codelets import WholeConv, WholeMatMul
from ipusim_kernels.conv.joint import plan_joint
from ipusim_kernels.conv.lowering import Pass, canonical, convolve
from ipusim_kernels.conv.pieces import parts
from ipusim_kernels.conv.plan import Plan, plan, runner_up
from ipusim_kernels.conv.shape import ConvShape, matmul_shape
from ipusim_kernels.elementwise.rule import binary
from ipusim_kernels.layout import stored_channels

JOINT = ("planning with the backward and update passes",)


def lower_conv(low: Lowering, op: Conv, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Conv: x (N, C, *S), w (O, C / groups, *K), optional bias (O)."""
    x, w = (_two_dims(t) for t in inputs[:2])
    out_shape = node.outputs[0].shape
    shape = _conv_shape(op, x.shape, w.shape, out_shape)
    chosen = plan(shape, x.dtype, low.chip, low.options, stored=(_stored(x, 1), _stored(w, 1)))
    field = x.reshape((x.shape[0], op.groups, shape.ci, *x.shape[2:]))
    work = Pass(low, chosen, field, w.reshape((op.groups, shape.co, *w.shape[1:])), x.dtype)
    result = _conv_result(convolve(work), chosen)
    pads = (op.padding[0], op.padding[1]) if len(op.padding) == 2 else ((0, 0), op.padding[0])
    whole = WholeConv(
        shape.stride, shape.dilation, pads, op.groups, parts(chosen), _partials(chosen), low.options.threads
    )
    work.finish(WholeOp(codelets.whole_conv, whole, (x, w, result)))
    _note(low, chosen)
    result = result.reshape(out_shape)
    if len(inputs) > 2:
        bias = inputs[2].reshape((w.shape[0],) + (1,) * (len(out_shape) - 2))
        result = binary(low, "add", result, bias, name="bias", in_place=True)
    return [result]


def _conv_result(out: Tensor, chosen: Plan) -> Tensor:
    """(N, O, Ho, Wo)."""
    s, t = chosen.request.shape, chosen.transform
    sizes = (s.batch, s.groups * s.co, s.out_height, s.out_width)
    if len(out.shape) == 5 or not t.flattened:
        return out.reshape(sizes)
    if t.swapped:
        return canonical(out, chosen).reshape(sizes)
    return out.reshape((sizes[1], sizes[0], *sizes[2:])).transpose((1, 0, 2, 3))


def _partials(chosen: Plan) -> str:
    return "float16" if chosen.method.half_partials else "float32"


def _note(low: Lowering, chosen: Plan, remarks: tuple[str, ...] = ()) -> None:
    second = runner_up(chosen, low.chip)
    note = chosen.note(second.note() if second else None)
    low.notes[low.node] = replace(note, transforms=(*note.transforms, *remarks))


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


def lower_matmul(low: Lowering, op: MatMul, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """MatMul: a (..., M, K) x b (..., K, N) with numpy's batch broadcasting."""
    a, b, lead = _batched(low, *inputs)
    groups, m, k = a.shape
    n = b.shape[2]
    stored = (_stored(a, 2), _stored(b, 1))
    chosen, joint = matmul_plan(low, (groups, m, k, n), a.dtype, stored)
    field = a.transpose((0, 2, 1)).reshape((1, groups, k, 1, m))
    weights = b.transpose((0, 2, 1)).reshape((groups, n, k, 1, 1))
    work = Pass(low, chosen, field, weights, a.dtype)
    result = _product(convolve(work), chosen)
    whole = WholeMatMul(codelets.pieces_of_k(parts(chosen)), _partials(chosen), low.options.threads)
    work.finish(WholeOp(codelets.whole_matmul, whole, (a, b, result)))
    _note(low, chosen, JOINT if joint else ())
    shape_out = node.outputs[0].shape
    return [result.reshape((*lead, m, n)).reshape(shape_out)]


def matmul_plan(
    low: Lowering, sizes: tuple[int, int, int, int], dtype: DType, stored: tuple[int, int]
) -> tuple[Plan, bool]:
    """The plan of [groups, m, k] x [groups, k, n], and whether it was made with its training passes."""
    if low.options.matmul_pass == "training":
        found = plan_joint(sizes, dtype, low.chip, low.options, stored=stored)
        return found.forward, found.joint
    return plan(matmul_shape(*sizes), dtype, low.chip, low.options, stored=stored, matmul=True), False


def _product(out: Tensor, chosen: Plan) -> Tensor:
    """(G, M, N)."""
    s = chosen.request.shape
    if len(out.shape) == 6 and chosen.transform.swapped:
        return out.reshape((s.groups, s.out_width, s.co))
    return out.reshape((s.groups, s.co, s.out_width)).transpose((0, 2, 1))


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
    full_a, full_b = (_repeated(low, t, lead).reshape((groups, *t.shape[-2:])) for t in (a, b))
    return full_a, full_b, (groups,)


def _repeated(low: Lowering, tensor: Tensor, lead: tuple[int, ...]) -> Tensor:
    """Matrices (lead, M, N); what has no place yet and needs no repeating gets it from the plan."""
    if tensor.shape[:-2] == lead and tensor.chain() is not None:
        return tensor if tensor.variables()[0].mapping is None else tensor.solid()
    return low.mapped(tensor).broadcast_to((*lead, *tensor.shape[-2:])).solid()


def _stored(tensor: Tensor, axis: int) -> int:
    """Channels stored together along an axis; 0 for what has no place yet, and is stored as the plan wants it."""
    return 0 if all(v.mapping is None for v in tensor.variables()) else stored_channels(tensor, axis)
