"""Lowering of device loops: the body is compiled once and repeated; what it carries has a place of its own.

Carried values start as copies of the first ones, or as these where nothing else needs them.  The body may overwrite one
once it was read last: an op in place makes the next value where it belongs, and others write there if nothing looks at
the old value any more (ipusim.program.merging).  What lies elsewhere at the end of a run is copied, a superstep.
Values: where every op of the body has instructions (`fused`) the whole loop is one program; else the engine runs it
step by step.
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
from ipusim.program.graph import Loop as Steps
from ipusim.program.graph import WholeOp
from ipusim.program.groups import Rounds
from ipusim.program.mapping import Mapping
from ipusim.program.merging import merge, moved
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.ops_loop import Loop, LoopOp, While
from ipusim.workload.ops_mcmc import Composite, Finite
from ipusim_kernels.copies import copy_group
from ipusim_kernels.fused.program import Compiled, Text, written
from ipusim_kernels.gather.dynamic import wanted_place
from ipusim_kernels.poprand.rule import masks_of, state_of
from ipusim_kernels.poprand.streams import WORDS, WORKERS, Layout
from ipusim_kernels.recurrent.codelets import FINITE, FiniteAttrs


def lower_loop(low: Lowering, op: Loop, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Loop."""
    made = _lower(low, op, node, inputs, op.count)
    low.note("loop", {"runs": op.count})
    return made


def lower_while(low: Lowering, op: While, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """While: timed as if it ran as often as it may, until the values show how often it did."""
    made = _lower(low, op, node, inputs, op.most)
    low.note("while", {"runs at most": op.most})
    return made


def lower_composite(low: Lowering, op: Composite, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """An op made of others: their steps, whose values one program makes where it can."""
    part, before = op.expanded(tuple(v.type for v in node.inputs)), len(masks_of(low))
    with low.graph.loop(low.path("once"), 1) as once:
        made = lower_part(low, part, inputs)
    text = _written(low, op, node, before)
    if text is not None and once.steps:
        states = [state_of(low, seed) for seed in text.states]
        tensors, count = (*inputs, *states, *made), len(states) + len(made)
        once.whole.append(WholeOp(whole_part, WholePart(text, len(made)), tensors, count))
    low.note(type(op).__name__.lower())
    return made


def lower_finite(low: Lowering, op: Finite, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Finite: copies whose vertices look at what they copy."""
    groups, outputs = [], []
    for i, (what, given) in enumerate(zip(op.what, inputs, strict=True)):
        x = low.mapped(given)
        made = storage_like(low, x, x.dtype, f"out{i}")[1]
        groups.append(copy_group(x, made, codelet=FINITE, attrs=FiniteAttrs(what, node.name, op.infinite)))
        outputs.append(made)
    low.note("check")
    low.execute("check", groups)
    return outputs


def _lower(low: Lowering, op: LoopOp, node: Node, inputs: Sequence[Tensor], count: int) -> list[Tensor]:
    several = op.carried()
    places = [wanted_place(low, t, op.body, v) for t, v in zip(inputs, op.body.inputs, strict=True)]
    for tensor, place in zip(inputs[several:], places[several:], strict=True):
        if place is not None and tensor.chain() is not None and all(v.mapping is None for v in tensor.variables()):
            low.place(tensor, place)
    carried = [_carried(low, inputs, i, places[i]) for i in range(several)]
    fixed = [low.mapped(t) for t in inputs[several:]]
    copied = [copy_group(low.mapped(t), c) for t, c in zip(inputs, carried, strict=False) if t is not c]
    if copied:
        low.execute("first", copied)
    before = len(masks_of(low))
    with low.graph.loop(low.path("runs"), count) as loop:
        if isinstance(op, While):
            (test,) = lower_part(low, op.condition, [*carried, *fixed])
            low.graph.leave_unless(low.path("condition"), low.node, test)
        made = lower_part(low, op.body, [*carried, *fixed], several)
        _carry(low, _written_there(low, loop, made, carried), carried)
    text = _written(low, op, node, before)
    if text is not None:
        states = [state_of(low, seed) for seed in text.states]
        attrs = WholeLoop(text, several)
        loop.whole.append(WholeOp(whole_loop, attrs, (*fixed, *states, *carried), len(states) + several))
    return carried


def _carried(low: Lowering, inputs: Sequence[Tensor], number: int, place: Mapping | None) -> Tensor:
    """A place for a carried value: that of its first one where nothing else needs that, else one of its own."""
    first, name = inputs[number], f"carried{number}"
    if place is not None:
        return Tensor.of(low.variable(first.shape, first.dtype, name, place))
    others = {v for k, t in enumerate(inputs) if k != number for v in t.variables()}
    if low.reusable[number] and first.chain() is not None and others.isdisjoint(first.variables()):
        return low.mapped(first)
    return storage_like(low, first, first.dtype, name)[1]


def _written_there(low: Lowering, loop: Steps, made: Sequence[Tensor], carried: Sequence[Tensor]) -> list[Tensor]:
    """The next values, those that can be in the places of the values that they replace made there from the start."""
    out = list(made)
    for number, target in enumerate(carried):
        source, (place,) = out[number], target.variables()
        if any(place in t.variables() for k, t in enumerate(out) if k != number) or source.chain() is None:
            continue
        (old,) = source.variables()
        if merge(low.graph, loop, source, target):
            out = [moved(t, old, place) for t in out]
    return out


def _carry(low: Lowering, made: Sequence[Tensor], carried: Sequence[Tensor]) -> None:
    """The next values in the places of the carried ones, if they are not there already; those that lie in places which
    others take go by way of rooms of their own.
    """
    moving = [(s, t) for s, t in zip(made, carried, strict=True) if s.chain() is None or s.chain() != t.chain()]
    wanted = [(low.mapped(s), t) for s, t in moving]  # a constant lies nowhere yet
    taken = {v for _, target in wanted for v in target.variables()}
    pairs, first = [], []
    for source, target in wanted:
        if taken & set(source.variables()):
            aside = storage_like(low, target, target.dtype, "aside")[1]
            first.append(copy_group(source, aside))
            source = aside
        pairs.append(copy_group(source, target))
    if first:
        low.execute("aside", first)
    if pairs:
        low.execute("carry", pairs)


@final
@dataclass(frozen=True, eq=False, slots=True)
class WholeLoop:
    """A loop as a function, compiled when its values are wanted; `carried` values come last of its arrays."""

    text: Text
    carried: int
    made: list[Compiled] = field(default_factory=list)


@final
@dataclass(frozen=True, eq=False, slots=True)
class WholePart:
    """An op made of others as a function, compiled when its values are wanted; `results` come last of its arrays."""

    text: Text
    results: int
    made: list[Compiled] = field(default_factory=list)


def whole_part(attrs: WholePart, arrays: Sequence[Array]) -> Sequence[Rounds]:
    """Inputs, random states (which advance), then the results."""
    if not attrs.made:
        attrs.made.append(Compiled(attrs.text))
    seeds = len(attrs.text.states)
    first = len(arrays) - seeds - attrs.results
    return attrs.made[0](arrays[:first], arrays[first + seeds :], arrays[first : first + seeds])


def _written(low: Lowering, op: LoopOp | Composite, node: Node, before: int) -> Text | None:
    """An op as one function, None where one inside has no compiled form; `before`: dropouts lowered before it."""
    outputs = tuple(Value(f"y{i}", v.type) for i, v in enumerate(node.outputs))
    inputs = tuple(Value(f"x{i}", v.type) for i, v in enumerate(node.inputs))
    alone = Workload(node.name, inputs, {v.name: v for v in outputs}, (Node(op, inputs, outputs, node.name),), {})
    try:
        words = low.chip.tiles * WORKERS * WORDS
        return written(alone, lambda shape: Layout.of(low.spread(shape, float32)), words, masks_of(low)[before:])
    except BadInput:
        return None


def whole_loop(attrs: WholeLoop, arrays: Sequence[Array]) -> Sequence[Rounds]:
    """Fixed values, random states (which advance), then the carried values (first, then last)."""
    if not attrs.made:
        attrs.made.append(Compiled(attrs.text))
    seeds = len(attrs.text.states)
    fixed = arrays[: len(arrays) - seeds - attrs.carried]
    states, carried = arrays[len(fixed) : len(fixed) + seeds], arrays[len(fixed) + seeds :]
    return attrs.made[0]([*carried, *fixed], carried, states)
