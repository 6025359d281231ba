"""Whether the products of all steps with the input are made before the loop, by one large matmul.

The library's option preCalcWeights (poplibs lib/popnn/Lstm.cpp): steps then multiply their state alone and add what is
ready.  Here the planner's estimates decide: what the steps save against what the matmul and putting its result in
place take, where the products of all steps, (steps, batch, gates, units), fit beside what the layer holds anyway.
Omitted: that exchange of the steps is a little shorter; clips and peepholes, which both ways have; products of a part
of the steps at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import final

from ipusim.hw import cost
from ipusim.lower.rules import Lowering, PlanNote
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.ops_recurrent import Activation, Recurrent
from ipusim_kernels.conv.plan import Plan
from ipusim_kernels.conv.rule import matmul_plan
from ipusim_kernels.gather.cycles import dynamic_slice_1d
from ipusim_kernels.layout import stored_channels
from ipusim_kernels.recurrent.codelets import COUNT_CYCLES, JoinAttrs, join_cycles
from ipusim_kernels.recurrent.places import most_elements, step_place, unplaced

#: [poplibs] share of a tile's memory that code, exchange code and stacks are taken to need when checking what fits; its
#: planner leaves a fifth to a tenth of the memory to them.
RESERVED = 0.15


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """What is expected: cycles of a step that multiplies its input, `inside`, and of one that does not, `outside`, both
    without what they have in common, `rest`; of the matmul before the loop and of placing its result, `once`; bytes on
    the fullest tile that this needs, `needed`, those that there are, `room`, and those of the products of a step.
    """

    inside: int
    outside: int
    rest: int
    once: int
    needed: int
    room: int
    product: int
    steps: int
    directions: int

    @property
    def fits(self) -> bool:
        """Whether the products of all steps fit."""
        return self.needed <= self.room

    @property
    def pays(self) -> bool:
        """Whether they fit and save time."""
        return self.fits and self.once + self.steps * self.outside < self.steps * self.inside

    def note(self, cell: str) -> PlanNote:
        """The choice, and the other where it was one, for reports."""
        first = self._note(cell, "input products before the loop", self.once, self.outside, self.needed)
        why = "" if self.fits else " for lack of memory"
        each = self._note(cell, f"input products in each step{why}", 0, self.inside, self.product)
        if self.pays:
            return replace(first, runner_up=each)
        return replace(each, runner_up=first) if self.fits else each

    def _note(self, cell: str, title: str, once: int, step: int, temporary: int) -> PlanNote:
        each = {"input products": once, "products of steps": self.steps * step, "gates": self.steps * self.rest}
        items = tuple((name, self.directions * n) for name, n in each.items() if n)
        return PlanNote(cell, (("steps", self.steps),), sum(n for _, n in items), items, temporary, (title,))


def estimate(low: Lowering, op: Recurrent, x: Tensor, place: Mapping) -> Estimate:
    """The estimate for a layer whose states (batch, units) have a place."""
    return _Estimate(low, op, x, place).result()


@final
@dataclass(frozen=True, slots=True)
class _Estimate:
    low: Lowering
    op: Recurrent
    x: Tensor
    place: Mapping

    def result(self) -> Estimate:
        steps, batch, features = self.x.shape
        op, hidden, width = self.op, self.op.hidden, self.x.dtype.bytes
        first = self._plan(steps * batch, features, op.gates, _stored(self.x))
        inside, outside = ([self._plan(batch, k, n) for k, n in of] for of in (self._inside(features), self._outside()))
        taken = most_elements(step_place(batch, features, self.low.chip.tiles))
        ready = op.gates * most_elements(self.place)
        made = -(-steps * batch * op.gates * hidden // self.low.chip.tiles)
        return Estimate(
            inside=self._slice(taken) + sum(p.estimate for p in inside) + self._adds(self._biases()),
            outside=self._slice(ready) + sum(p.estimate for p in outside) + self._adds(self._ready()),
            rest=self._rest(),
            once=first.estimate + self._placed(steps * ready),
            needed=(steps * ready + made) * width + first.temporary,
            room=self._room(),
            product=max(p.temporary for p in inside),
            steps=steps,
            directions=op.directions,
        )

    def _plan(self, rows: int, k: int, gates: int, stored: int = 1) -> Plan:
        sizes = (1, rows, k, gates * self.op.hidden)
        return matmul_plan(self.low, sizes, self.x.dtype, (stored, 0))[0]

    def _inside(self, features: int) -> list[tuple[int, int]]:
        """(length of a product, gates) of the matmuls of a step that multiplies its input."""
        op, both = self.op, features + self.op.hidden
        if op.cell != "gru":
            return [(both, op.gates)]
        return [(both, 2), (features, 1), (op.hidden, 1)] if op.linear_before_reset else [(both, 2), (both, 1)]

    def _outside(self) -> list[tuple[int, int]]:
        """The same of one that does not."""
        op = self.op
        return [(op.hidden, 2), (op.hidden, 1)] if op.cell == "gru" else [(op.hidden, op.gates)]

    def _ready(self) -> list[int]:
        """Gates of each addition of what is ready, and of the bias that cannot be part of it."""
        if self.op.cell != "gru":
            return [self.op.gates]
        return [2] + [1] * (not self.op.linear_before_reset or "bias" in self.op.given)

    def _biases(self) -> list[int]:
        """Gates of each addition of a bias in a step that multiplies its input."""
        return [gates for _, gates in self._inside(1)] if "bias" in self.op.given else []

    def _slice(self, elements: int) -> int:
        """A slice, whose counter comes from another tile."""
        chip = self.low.chip
        return self._start() + dynamic_slice_1d(elements, 1, self.x.dtype.bytes == 2, chip.generation == "mk1")

    def _adds(self, gates: Iterable[int]) -> int:
        """Additions to that many gates each, where the states lie, with the barrier and the start of the exchange."""
        return sum(self._start() + self._join("add", n) for n in gates)

    def _join(self, kind: str, gates: int = 1, function: Activation | None = None) -> int:
        chosen = (function.kind, function.alpha, function.beta) if function else ("", 0.0, 0.0)
        return join_cycles(JoinAttrs(kind, self.x.dtype, chosen), gates * most_elements(self.place))

    def _rest(self) -> int:
        """What a step does after the sums of its gates: functions, the new state, storing it, counting."""
        op, sync = self.op, cost.sync_cycles(self.low.chip.sync)
        f, *other = op.functions(0)
        if op.cell == "rnn":
            parts = [self._join("function", 1, f)]
        elif op.cell == "gru":
            linear = op.linear_before_reset
            parts = [self._join("function", 2, f), self._join("gated" if linear else "product")]
            parts += [self._join("function", 1, other[0]), self._join("blend")]
        else:
            gates = self._join("function", 2 if op.input_forget else 3, f) + self._join("function", 1, other[0])
            parts = [gates, self._join("cell"), self._join("output", 1, other[1])]
            parts += [self._join("complement")] * op.input_forget
        ends = self._slice(most_elements(self.place)) * (2 if "lengths" in op.given else 1)
        return sum(parts) + len(parts) * sync + ends + sync + COUNT_CYCLES

    def _start(self) -> int:
        chip = self.low.chip
        return cost.sync_cycles(chip.sync) + chip.exchange.lead_in_cycles

    def _placed(self, elements: int) -> int:
        """The products of all steps brought to where steps want them, the biases added."""
        rate = self.low.chip.exchange.bytes_per_cycle
        moved = cost.with_gaps(cost.transfer_cycles(elements * self.x.dtype.bytes, 0, rate), cost.UNICAST_GAP)
        return self._start() + moved + join_cycles(JoinAttrs("add", self.x.dtype), elements)

    def _room(self) -> int:
        """Bytes of a tile for temporary data, less if what is held throughout leaves less."""
        tile, tiles = self.low.chip.tile.memory_bytes, self.low.chip.tiles
        steps, _, _ = self.x.shape
        weights = sum(v.dtype.bytes * v.elements for v in self.low.graph.variables if v.always_live)
        states = (2 + steps * self.op.directions) * most_elements(self.place) * self.x.dtype.bytes
        held = -(-(weights + self.x.elements * self.x.dtype.bytes) // tiles) + states
        return min(int(self.low.options.memory_proportion * tile), int((1 - RESERVED) * tile) - held)


def _stored(x: Tensor) -> int:
    """Channels stored together of x as the operand of the large matmul; 0 for what has no place yet."""
    steps, batch, features = x.shape
    return 0 if unplaced(x) else stored_channels(x.transpose((1, 0, 2)).reshape((steps * batch, features)), 1)
