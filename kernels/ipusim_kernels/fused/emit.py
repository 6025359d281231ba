"""The instructions of each op of a workload.

Every value has a place of its own, in row-major order; reshaped values and runs of others share it.  Each operation
rounds as float32 does, sums run in the order of the elements, so that the bits are the same on every host whose log and
the like are (exp, tanh and sigmoid are our own: `recurrent.functions`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ipusim.workload import ops, ops_shape
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.ops import TensorType
from ipusim.workload.ops_loop import Loop, While
from ipusim.workload.ops_mcmc import Composite, Evaluate, Leapfrog, Metropolis
from ipusim.workload.ops_random import Dropout, Random
from ipusim_kernels.conv.numeric_tile import LANES
from ipusim_kernels.fused import kernels
from ipusim_kernels.fused.writer import (
    Call,
    Late,
    Leave,
    Next,
    Number,
    Place,
    Repeat,
    Writer,
    broadcast_strides,
    row_major,
    unknown,
)
from ipusim_kernels.poprand.rule import parameters
from ipusim_kernels.poprand.streams import KINDS

CHAIN: Final = 512  # [own choice] numbers that one accumulator sums: at most half a thousand roundings
_CASTS: Final = {"f": "F({a})", "i": "np.int32({a})", "b": "{a} != 0"}


def _elementwise(w: Writer, node: Node, expression: str) -> None:
    """`expression` is of {a}, {b}, ... (the inputs in order)."""
    out, places = node.outputs[0], [w.of(v) for v in node.inputs]
    read = [(p, broadcast_strides(v.shape, out.shape)) for p, v in zip(places, node.inputs, strict=True)]
    w.apply(expression, out.shape, [(w.fresh(out), row_major(out.shape)), *read])


def _unary(w: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, ops.Unary)
    kind = op.kind
    if kind in kernels.VECTOR:
        operands = [(w.of(node.inputs[0]), [1]), (w.fresh(node.outputs[0]), [1])][::-1]
        count = node.outputs[0].type.elements
        w.call(lambda pattern: kernels.vector(kind, pattern), kind, [count], operands, [w.scratch()])
    elif kind in kernels.UNARY:
        _elementwise(w, node, kernels.UNARY[kind])
    else:
        raise unknown(node, kind)


def _binary(w: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, ops.Binary)
    known = kernels.BINARY | (kernels.FLOAT_BINARY if node.inputs[0].dtype.is_float else {})
    if op.kind not in known:
        raise unknown(node, op.kind)
    _elementwise(w, node, known[op.kind])


def _select(w: Writer, node: Node) -> None:
    _elementwise(w, node, "{b} if {a} else {c}")


def _clip(w: Writer, node: Node) -> None:
    op, out = node.op, node.outputs[0]
    assert isinstance(op, ops.Clip)
    source, target, own = w.of(node.inputs[0]), w.fresh(out), row_major(out.shape)
    for limit, text in ((op.lo, kernels.AT_LEAST), (op.hi, kernels.AT_MOST)):
        if limit is not None:
            w.apply(text, out.shape, [(target, own), (source, own), (w.scalar(limit, out.dtype), [0] * len(own))])
            source = target
    if source is not target:
        w.copy(source, target, out.type.elements)


def _cast(w: Writer, node: Node) -> None:
    _elementwise(w, node, _CASTS[w.letter(node.outputs[0])])


def _reshape(w: Writer, node: Node) -> None:
    w.names[node.outputs[0].name] = w.of(node.inputs[0])


def _expand(w: Writer, node: Node) -> None:
    _elementwise(w, node, "{a}")


def _strided(w: Writer, out: Value, source: Place, strides: Sequence[int], offset: int = 0) -> None:
    """`out` from elements of another place at strides."""
    w.apply("{a}", out.shape, [(w.fresh(out), row_major(out.shape)), (source.moved(offset), strides)])


def _transpose(w: Writer, node: Node) -> None:
    op, x, out = node.op, node.inputs[0], node.outputs[0]
    assert isinstance(op, ops_shape.Transpose)
    strides, source = [row_major(x.shape)[a] for a in op.perm], w.of(x)
    last = len(op.perm) - 2
    if all(n == 1 or s == t for n, s, t in zip(out.shape, strides, row_major(out.shape), strict=True)):
        w.names[out.name] = source
    elif op.perm == (*range(last), last + 1, last):
        w.late[out.name] = Late(source, lambda: _strided(w, out, source, strides))
    else:
        _strided(w, out, source, strides)


def _slice(w: Writer, node: Node) -> None:
    op, x, out = node.op, node.inputs[0], node.outputs[0]
    assert isinstance(op, ops_shape.Slice)
    own = row_major(x.shape)
    offset = sum(a * s for a, s in zip(op.starts, own, strict=True))
    strides = [s * step for s, step in zip(own, op.steps, strict=True)]
    wanted, source = row_major(out.shape), w.of(x)
    if all(n == 1 or s == t for n, s, t in zip(out.shape, strides, wanted, strict=True)):
        w.names[out.name] = source.moved(offset)
    else:
        _strided(w, out, source, strides, offset)


def _split(w: Writer, node: Node) -> None:
    op, x = node.op, node.inputs[0]
    assert isinstance(op, ops_shape.Split)
    own, start = row_major(x.shape), 0
    for out, size in zip(node.outputs, op.sizes, strict=True):
        _strided(w, out, w.of(x), own, start * own[op.axis])
        start += size


def _into(w: Writer, value: Value, target: Place, strides: Sequence[int]) -> None:
    """A value stored at strides of another place."""
    w.apply("{a}", value.shape, [(target, strides), (w.of(value), row_major(value.shape))])


def _concat(w: Writer, node: Node) -> None:
    op, out = node.op, node.outputs[0]
    assert isinstance(op, ops_shape.Concat)
    target, own, start = w.fresh(out), row_major(out.shape), 0
    for value in node.inputs:
        _into(w, value, target.moved(start * own[op.axis]), own)
        start += value.shape[op.axis]


def _pad(w: Writer, node: Node) -> None:
    op, x, out = node.op, node.inputs[0], node.outputs[0]
    assert isinstance(op, ops_shape.Pad)
    if op.mode != "constant" or any(lo < 0 or hi < 0 for lo, hi in op.padding):
        raise unknown(node, op.mode)
    target, own = w.fresh(out), row_major(out.shape)
    w.apply("{a}", [out.type.elements], [(target, [1]), (w.scalar(op.value, out.dtype), [0])])
    _into(w, x, target.moved(sum(lo * s for (lo, _), s in zip(op.padding, own, strict=True))), own)


def _dynamic(
    w: Writer, kind: str, shape: Sequence[int], operands: Sequence[tuple[Place, Sequence[int]]], index: Value,
    most: int, stride: int,
) -> None:  # fmt: skip
    letter = operands[0][0].array
    numbers: list[Number] = [w.of(index), most, stride * kernels.BYTES[letter]]
    w.call(lambda pattern: kernels.moving(kind, letter, pattern), kind, shape, operands, numbers)


def _dynamic_slice(w: Writer, node: Node) -> None:
    op, (x, index), out = node.op, node.inputs, node.outputs[0]
    assert isinstance(op, ops_shape.DynamicSlice)
    own = row_major(x.shape)
    operands = [(w.fresh(out), row_major(out.shape)), (w.of(x), own)]
    _dynamic(w, "slice", out.shape, operands, index, x.shape[op.axis] - op.size, own[op.axis])


def _dynamic_update(w: Writer, node: Node) -> None:
    op, (x, value, index), out = node.op, node.inputs, node.outputs[0]
    assert isinstance(op, ops_shape.DynamicUpdate)
    own = row_major(x.shape)
    if x.name in w.owned:
        target = w.names[out.name] = w.of(x)
    else:
        target = w.fresh(out)
        w.copy(w.of(x), target, x.type.elements)
    operands = [(target, own), (w.of(value), row_major(value.shape))]
    _dynamic(w, "update", value.shape, operands, index, x.shape[op.axis] - value.shape[op.axis], own[op.axis])


def _matmul(w: Writer, node: Node) -> None:
    a, b = node.inputs
    out = node.outputs[0]
    if not out.dtype.is_float:
        raise unknown(node, out.dtype.name)
    m, depth = (a.shape[-2] if len(a.shape) > 1 else 1), a.shape[-1]
    n = b.shape[-1] if len(b.shape) > 1 else 1
    lead = out.shape[: len(out.shape) - (len(a.shape) > 1) - (len(b.shape) > 1)]
    late = w.late.get(a.name)
    left = (late.source if late else w.of(a)), a.shape[:-2], m * depth
    right, turned = (w.of(b), b.shape[:-2], depth * n), late is not None
    if n == 1 and turned:  # the columns that lie in rows, weighted and added
        left, right, m, n, turned = right, left, 1, m, False
    taps = [k * (m if turned else 1) for k in range(depth)] + [1 if turned else depth]
    held = [w.held(np.array(x, np.int32)) for x in (taps, [k * n for k in range(depth)])]
    operands = [
        (place, [*(s * size for s in broadcast_strides(shape, lead)), 1])
        for place, shape, size in ((w.fresh(out), lead, m * n), left, right)
    ] + [(place, [*[0] * len(lead), 1]) for place in held]
    kind = "wide" if n >= LANES else "narrow"
    w.call(lambda pattern: kernels.product(kind, pattern), "product", [*lead, 1], operands, [m, depth, n], whole=1)


def _fold(
    w: Writer,
    kind: str,
    shape: Sequence[int],
    target: tuple[Place, Sequence[int], int],
    source: tuple[Place, Sequence[int]],
) -> None:
    """`target` (place, strides, elements) of a reduction over `shape`; sums of many numbers are made of sums of `CHAIN`
    of them, so that rounding does not grow with their count.
    """
    place, to, count = target
    w.fill(place, count, kernels.REDUCE[kind][0])
    long = max(range(len(shape)), key=lambda a: 0 if to[a] else shape[a], default=0)
    if not shape or to[long] or shape[long] <= 2 * CHAIN or kind not in kernels.SUMS:
        w.call(lambda pattern: kernels.reduction(kind, pattern), kind, shape, [(place, to), source])
        return
    own, blocks = list(source[1]), shape[long] // CHAIN
    parts = w.room("f", count * blocks)
    inner = [*shape[:long], CHAIN, *shape[long + 1 :]]
    pieces = [blocks, *inner], (parts, [count, *to], count * blocks), (source[0], [CHAIN * own[long], *own])
    _fold(w, kind, *pieces)
    _fold(w, "sum", [blocks, count], (place, [0, 1], count), (parts, [count, 1]))
    rest = [*inner[:long], shape[long] - blocks * CHAIN, *inner[long + 1 :]]
    if rest[long]:
        after = source[0].moved(blocks * CHAIN * own[long]), own
        w.call(lambda pattern: kernels.reduction(kind, pattern), kind, rest, [(place, to), after])


def _reduce(w: Writer, node: Node) -> None:
    op, x, out = node.op, node.inputs[0], node.outputs[0]
    assert isinstance(op, ops.Reduce)
    if op.kind not in kernels.REDUCE or not x.dtype.is_float:
        raise unknown(node, op.kind)
    last = kernels.REDUCE[op.kind][2]
    target, count = w.fresh(out), out.type.elements
    to = broadcast_strides(ops.reduced_shape(x.shape, op.axes, True), x.shape)
    _fold(w, op.kind, x.shape, (target, to, count), (w.of(x), row_major(x.shape)))
    if last == "mul":
        scale = w.scalar(count / x.type.elements)
        w.apply(kernels.BINARY["mul"], [count], [(target, [1]), (target, [1]), (scale, [0])])
    elif last is not None:
        w.apply(kernels.UNARY[last], [count], [(target, [1]), (target, [1])])


def emit_all(
    w: Writer, workload: Workload, inputs: Sequence[Place], owned: frozenset[str] = frozenset()
) -> list[Place]:
    """The instructions of a workload on given places; the places of its outputs.  Its names are its own; `owned` are
    those of inputs whose places may be overwritten.
    """
    before = w.names, w.late, w.owned
    w.names, w.late, w.owned = {}, {}, owned
    w.names.update((v.name, n) for v, n in zip(workload.inputs, inputs, strict=True))
    for key, constant in workload.constants.items():
        w.constant(Value(key, TensorType(constant.shape, constant.dtype)), constant)
    for node in workload.nodes:
        emit(w, node)
    made = [w.of(v) for v in workload.outputs.values()]
    w.names, w.late, w.owned = before
    return made


def _loop(w: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Loop | While)
    first = [w.of(v) for v in node.inputs]
    carried = [w.fresh(v) for v in node.outputs]
    sizes = [v.type.elements for v in node.outputs]
    for source, target, size in zip(first, carried, sizes, strict=False):
        w.copy(source, target, size)
    places = [*carried, *first[len(carried) :]]
    repeat = Repeat(op.count if isinstance(op, Loop) else op.most)
    start = len(w.instructions)
    w.instructions.append(repeat)
    if isinstance(op, While):
        (test,) = emit_all(w, op.condition, places)
        w.instructions.append(Leave(repeat, test))
    _carry(w, emit_all(w, op.body, places, _updated(op.body)), carried, sizes)
    w.instructions.append(Next(start))
    repeat.end = len(w.instructions)


def _updated(body: Workload) -> frozenset[str]:
    """Carried values that a body only overwrites in part: records are written where they lie."""
    readers = Counter(v.name for node in body.nodes for v in node.inputs)
    readers.update(v.name for v in body.outputs.values())
    made = {node.outputs[0].name: node for node in body.nodes if isinstance(node.op, ops_shape.DynamicUpdate)}
    pairs = [(v.name, made.get(out.name)) for v, out in zip(body.inputs, body.outputs.values(), strict=False)]
    return frozenset(name for name, node in pairs if node and node.inputs[0].name == name and readers[name] == 1)


def _carry(w: Writer, made: list[Place], carried: Sequence[Place], sizes: Sequence[int]) -> None:
    """The next carried values in their places, those that lie in carried ones by way of others."""
    for number, (source, size) in enumerate(zip(made, sizes, strict=True)):
        others = [(c, n) for k, (c, n) in enumerate(zip(carried, sizes, strict=True)) if k != number]
        if any(c.array == source.array and c.offset < source.offset + size and source.offset < c.offset + n
               for c, n in others):  # fmt: skip
            made[number] = w.room(source.array, size)
            w.copy(source, made[number], size)
    for target, source, size in zip(carried, made, sizes, strict=True):
        if source != target:
            w.copy(source, target, size)


def _composite(w: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Composite)
    made = emit_all(w, op.expanded(tuple(v.type for v in node.inputs)), [w.of(v) for v in node.inputs])
    w.names.update((v.name, place) for v, place in zip(node.outputs, made, strict=True))


def _random(w: Writer, node: Node) -> None:
    op, out = node.op, node.outputs[0]
    assert isinstance(op, Random | Dropout)
    if w.layout is None or out.dtype.name != "float32":
        raise unknown(node, out.dtype.name)
    kind, a, b, alpha = parameters(op)
    found, source, target = w.layout(out.shape), node.inputs and w.of(node.inputs[0]), w.fresh(out)
    if source:
        found = next(w.masks)
        w.copy(source, target, out.type.elements)
    if op.seed not in w.states:
        w.states[op.seed] = w.room("u", w.words)
    where = [w.held(array) for array in (found.tiles, found.first, found.order)]
    counts = [KINDS[kind], len(found.tiles), len(found.order)]
    table: tuple[Number, ...] = (*counts, w.states[op.seed], *where, target, w.words, float(a), float(b), float(alpha))
    w.instructions.append(Call(kernels.random(), "random", table))


EMIT: Final[dict[type[ops.Op], Callable[[Writer, Node], None]]] = {
    ops.Unary: _unary,
    ops.Binary: _binary,
    ops.Select: _select,
    ops.Clip: _clip,
    ops.MatMul: _matmul,
    ops.Reduce: _reduce,
    Evaluate: _composite,
    Leapfrog: _composite,
    Metropolis: _composite,
    Random: _random,
    Dropout: _random,
    Loop: _loop,
    While: _loop,
    ops_shape.Cast: _cast,
    ops_shape.Reshape: _reshape,
    ops_shape.Expand: _expand,
    ops_shape.Transpose: _transpose,
    ops_shape.Slice: _slice,
    ops_shape.Split: _split,
    ops_shape.Concat: _concat,
    ops_shape.Pad: _pad,
    ops_shape.DynamicSlice: _dynamic_slice,
    ops_shape.DynamicUpdate: _dynamic_update,
}


def emit(w: Writer, node: Node) -> None:
    """Adds the instructions of a node.  Raises BadInput for an op that has none."""
    rule = EMIT.get(type(node.op))
    if rule is None:
        raise unknown(node, "")
    rule(w, node)


__all__ = ["EMIT", "emit", "emit_all"]
