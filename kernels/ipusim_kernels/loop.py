"""Lowering of device loops: the body is compiled once and repeated; what it carries has a place of its own.

Carried values start as copies of the first ones and are overwritten at the end of each run, a superstep.  Values: where
every op of the body has instructions (`fused`) the whole loop is one program; else the engine runs it step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from ipusim.dtype import float32
from ipusim.errors import BadInput
from ipusim.lower.compile import lower_part
from ipusim.lower.placement import storage_like
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array
from ipusim.program.graph import WholeOp
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.ops_loop import Loop, LoopOp, While
from ipusim.workload.ops_mcmc import Composite, Finite
from ipusim_kernels.copies import copy_group
from ipusim_kernels.fused.program import Compiled, Text, written
from ipusim_kernels.gather.dynamic import wanted_place
from ipusim_kernels.poprand.rule import state_of
from ipusim_kernels.poprand.streams import WORDS, WORKERS, Layout
from ipusim_kernels.recurrent.codelets import FINITE, FiniteAttrs


def lower_loop(low: Lowering, op: Loop, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Loop."""
    made = _lower(low, op, node, inputs, op.count)
    low.note("loop", {"runs": op.count})
    return made


def lower_while(low: Lowering, op: While, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """While: timed as if it ran as often as it may."""
    made = _lower(low, op, node, inputs, op.most)
    low.note("while", {"runs at most": op.most})
    return made


def lower_composite(low: Lowering, op: Composite, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """An op made of others."""
    made = lower_part(low, op.expanded(tuple(v.type for v in node.inputs)), inputs)
    low.note(type(op).__name__.lower())
    return made


def lower_finite(low: Lowering, op: Finite, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Finite: a copy whose vertices look at what they copy."""
    x = low.mapped(inputs[0])
    made = storage_like(low, x, x.dtype, "out")[1]
    low.note("check")
    low.execute("check", [copy_group(x, made, codelet=FINITE, attrs=FiniteAttrs(op.what, node.name))])
    return [made]


def _lower(low: Lowering, op: LoopOp, node: Node, inputs: Sequence[Tensor], count: int) -> list[Tensor]:
    several = op.carried()
    places = [wanted_place(low, t, op.body, v) for t, v in zip(inputs, op.body.inputs, strict=True)]
    for tensor, place in zip(inputs[several:], places[several:], strict=True):
        if place is not None and tensor.chain() is not None and all(v.mapping is None for v in tensor.variables()):
            low.place(tensor, place)
    firsts = zip(inputs[:several], places, strict=False)
    carried = [_carried(low, t, place, f"carried{i}") for i, (t, place) in enumerate(firsts)]
    fixed = [low.mapped(t) for t in inputs[several:]]
    low.execute("first", [copy_group(low.mapped(t), c) for t, c in zip(inputs, carried, strict=False)])
    with low.graph.loop(low.path("runs"), count) as loop:
        if isinstance(op, While):
            (test,) = lower_part(low, op.condition, [*carried, *fixed])
            loop.tests.append((len(loop.steps), test))
        made = lower_part(low, op.body, [*carried, *fixed])
        _carry(low, made, carried)
    text = _written(low, op, node)
    if text is not None:
        states = [state_of(low, seed) for seed in text.states]
        attrs = WholeLoop(text, several)
        loop.whole.append(WholeOp(whole_loop, attrs, (*fixed, *states, *carried), len(states) + several))
    return carried


def _carried(low: Lowering, first: Tensor, place: Mapping | None, name: str) -> Tensor:
    """A place of its own for a carried value."""
    if place is None:
        return storage_like(low, first, first.dtype, name)[1]
    return Tensor.of(low.variable(first.shape, first.dtype, name, place))


def _carry(low: Lowering, made: Sequence[Tensor], carried: Sequence[Tensor]) -> None:
    """The next values in the places of the carried ones; those that are made of carried ones go by way of others."""
    held = {v for t in carried for v in t.variables()}
    pairs, moved = [], []
    for source, target in zip(made, carried, strict=True):
        if source is target:
            continue
        if held & set(source.variables()):
            aside = storage_like(low, target, target.dtype, "aside")[1]
            moved.append(copy_group(source, aside))
            source = aside
        pairs.append(copy_group(source, target))
    if moved:
        low.execute("aside", moved)
    if pairs:
        low.execute("carry", pairs)


@final
@dataclass(frozen=True, eq=False, slots=True)
class WholeLoop:
    """A loop as a function, compiled when its values are wanted; `carried` values come last of its arrays."""

    text: Text
    carried: int
    made: list[Compiled] = field(default_factory=list)


def _written(low: Lowering, op: LoopOp, node: Node) -> Text | None:
    """The loop as one function, None where its body has an op without a compiled form."""
    outputs = tuple(Value(f"y{i}", v.type) for i, v in enumerate(node.outputs))
    inputs = tuple(Value(f"x{i}", v.type) for i, v in enumerate(node.inputs))
    alone = Workload(node.name, inputs, {v.name: v for v in outputs}, (Node(op, inputs, outputs, node.name),), {})
    try:
        words = low.chip.tiles * WORKERS * WORDS
        return written(alone, lambda shape: Layout.of(low.spread(shape, float32)), words)
    except BadInput:
        return None


def whole_loop(attrs: WholeLoop, arrays: Sequence[Array]) -> None:
    """Fixed values, random states (which advance), then the carried values (first, then last)."""
    if not attrs.made:
        attrs.made.append(Compiled(attrs.text))
    seeds = len(attrs.text.states)
    fixed = arrays[: len(arrays) - seeds - attrs.carried]
    states, carried = arrays[len(fixed) : len(fixed) + seeds], arrays[len(fixed) + seeds :]
    attrs.made[0]([*carried, *fixed], carried, states)
