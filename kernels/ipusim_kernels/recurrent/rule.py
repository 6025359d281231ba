"""Lowering of recurrent layers: a device loop over the steps of the sequence, one loop per direction.

A step takes the step's input out of the sequence, multiplies it and the state by weights that stay on their tiles,
applies the gates, and stores the new state (poplibs lib/popnn/Lstm.cpp, Gru.cpp, Rnn.cpp; inference).  Sequences are
spread so that each tile holds the same features of every step: slices and updates then move nothing.  Where it pays
(see `projection`) the products of all steps with the input are made before the loop, and a step takes its part of them
instead of its input.  Omitted: weights that are not constants stay where they are and travel to the matmul's tiles each
step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from ipusim.dtype import int32
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup, WholeOp
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Node, Value
from ipusim.workload.ops import MatMul, TensorType
from ipusim.workload.ops_recurrent import Activation, Recurrent
from ipusim_kernels.conv.rule import lower_matmul
from ipusim_kernels.copies import copy_group
from ipusim_kernels.elementwise.codelets import CLAMP, PlainAttrs
from ipusim_kernels.recurrent import codelets, numeric
from ipusim_kernels.recurrent.codelets import StepAttrs
from ipusim_kernels.recurrent.places import gates_place, join_group, over, pick, sequence, step_place, through
from ipusim_kernels.recurrent.projection import estimate
from ipusim_kernels.recurrent.weights import resident, summed
from ipusim_kernels.recurrent.whole import WholeAttrs, whole_layer


def lower_recurrent(low: Lowering, op: Recurrent, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """RNN, LSTM and GRU layers."""
    x, w, r, *rest = inputs
    given = dict(zip(op.given, rest, strict=True))
    steps, batch, _ = x.shape
    d, h = op.directions, op.hidden
    place = step_place(batch, h, low.chip.tiles)
    y = Tensor.of(low.variable((steps, d, batch, h), x.dtype, "y", over(place, (steps, d))))
    states = [
        Tensor.of(low.variable((d, batch, h), x.dtype, name, over(place, (d,))))
        for name in (("h", "c") if op.cell == "lstm" else ("h",))
    ]
    expected = estimate(low, op, x, place)
    source = x if expected.pays else sequence(low, x)
    for direction in range(d):
        one = _Direction(low, op, direction, place, source, pick(w, direction), pick(r, direction), node.name)
        one.parameters = {name: pick(t, direction) if name != "lengths" else low.mapped(t) for name, t in given.items()}
        if expected.pays:
            one.project()
        one.run(y.slice(1, direction, direction + 1).reshape((steps, batch, h)), [pick(s, direction) for s in states])
    low.notes[low.node] = expected.note(op.cell)
    return [y, *states]


@final
@dataclass(eq=False, slots=True)
class _Direction:
    """One direction of a layer: sequence (T, N, I), weights w (G H, I) and r (G H, H), places of (N, H); `ready`
    (T, N, G, H) are products with the input, biases added, where they are made before the loop.
    """

    low: Lowering
    op: Recurrent
    direction: int
    place: Mapping
    x: Tensor
    w: Tensor
    r: Tensor
    node: str
    parameters: dict[str, Tensor] = field(default_factory=dict)
    counter: Tensor | None = None
    ready: Tensor | None = None

    @property
    def reverse(self) -> bool:
        """Whether it runs from the end of the sequence."""
        return self.op.direction == "reverse" or self.direction == 1

    def _suffix(self) -> str:
        return str(self.direction) if self.op.directions > 1 else ""

    def project(self) -> None:
        """Makes the products of all steps with the input and puts them where the steps want them.  Values: the loop
        makes them again where it is run as a whole.
        """
        low, op, start = self.low, self.op, len(self.low.graph.sets)
        before, low.prefix = low.prefix, low.path(f"input{self._suffix()}")
        by_sequence = self.x.transpose((1, 0, 2))  # a tile of the matmul has many steps of few sequences: few messages
        made = self._product("product", [by_sequence], [self.w], slice(0, op.gates * op.hidden))
        made = made.transpose((1, 0, 2)).reshape((*self.x.shape[:2], op.gates, op.hidden))
        place = over(gates_place(self.place, op.gates), self.x.shape[:1])
        ready = self.ready = Tensor.of(low.variable(place.shape, made.dtype, "products", place))
        biases = [b.reshape((1, 1, op.gates, op.hidden)) for b in self._ready_biases()]
        low.execute("place", [join_group("add" if biases else "copy", place, [made, *biases[:1]], ready)])
        for bias in biases[1:]:
            low.execute("bias", [join_group("add", place, [ready, bias], ready)])
        low.prefix = before
        for compute_set in low.graph.sets[start:]:
            compute_set.groups[:] = [replace(g, whole=None, deferred=True) for g in compute_set.groups]

    def _ready_biases(self) -> list[Tensor]:
        """What is added to all products with the input: the sum of both biases, but for the gate whose state's product
        is multiplied before it is added.
        """
        op = self.op
        if op.cell != "gru" or not op.linear_before_reset:
            return self._biases("bias", 0, op.gates, "both")
        both, own = (
            self._biases("gates bias", 0, 2, "both"),
            self._biases("input bias", 2, 1, "input"),
        )
        rest = [self._nothing(own[0])] * (len(both) - 1) if own else []
        return [Tensor.concat([a, b], 0) for a, b in zip(both, [*own, *rest], strict=True)]

    def _nothing(self, like: Tensor) -> Tensor:
        zero = Constant.full(like.shape, like.dtype, 0.0)
        return self.low.constant(zero, like.shape, like.dtype, "nothing", self.low.spread(like.shape, like.dtype))

    def run(self, y: Tensor, states: Sequence[Tensor]) -> None:
        """Initial state, and the loop; y (T, N, H), states (N, H)."""
        low, op = self.low, self.op
        steps, suffix = self.x.shape[0], self._suffix()
        zero = Constant.full((1,), int32, 0)
        self._initial(states, suffix)
        counter = low.variable((1,), int32, f"step{suffix}", low.spread((1,), int32))
        self.counter = Tensor.of(counter)
        first = low.constant(zero, (1,), int32, f"first{suffix}", low.spread((1,), int32))
        low.execute(f"start{suffix}", [copy_group(first, self.counter, low.spread((1,), int32))])
        with low.graph.loop(low.path(f"steps{suffix}"), steps) as loop:
            before = low.prefix
            low.prefix = low.path(f"step{suffix}")
            taken = self._take()
            new = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}[op.cell](taken, states)
            self._store(new, states, y)
            low.execute("count", [self._count()])
            low.prefix = before
        optional = [self.parameters[name] for name in ("bias", "peepholes", "lengths") if name in self.parameters]
        names = tuple(n for n in ("bias", "peepholes", "lengths") if n in self.parameters)
        attrs = WholeAttrs(self._layer(), names, self.node)
        loop.whole.append(WholeOp(whole_layer, attrs, (self.x, self.w, self.r, *optional, y, *states), 1 + len(states)))

    def _layer(self) -> numeric.Layer:
        op = self.op
        functions = tuple((a.kind, a.alpha, a.beta) for a in op.functions(self.direction))
        return numeric.Layer(op.cell, self.reverse, functions, op.clip, op.input_forget, op.linear_before_reset)

    # -- pieces of a step ----------------------------------------------------------------------------------------------

    def _join(
        self, name: str, kind: str, operands: Sequence[Tensor], out: Tensor | None = None, f: Activation | None = None
    ) -> Tensor:
        made = self._state(name) if out is None else out
        self.low.execute(name, [join_group(kind, self.place, operands, made, f)])
        return made

    def _over_old(self, state: Tensor) -> Tensor | None:
        """The state itself where the new one may overwrite it: no sequence ends before the others."""
        return None if "lengths" in self.parameters else state

    def _state(self, name: str) -> Tensor:
        return Tensor.of(self.low.variable(self.place.shape, self.x.dtype, name, self.place))

    def _initial(self, states: Sequence[Tensor], suffix: str) -> None:
        low = self.low
        for name, state in zip("hc", states, strict=False):
            source = self.parameters.get(name)
            if source is None:
                zero = Constant.full((1, 1), state.dtype, 0.0)
                place = low.spread((1, 1), state.dtype)
                source = low.constant(zero, (1, 1), state.dtype, f"zero {name}{suffix}", place)
            placed = low.mapped(source).broadcast_to(state.shape)
            low.execute(f"initial {name}{suffix}", [copy_group(placed, state, self.place)])

    def _step_fields(self, boxes: Boxes) -> Iterator[Field]:
        """The counter, and the lengths of the sequences of each box if they have any."""
        count = len(boxes.lo)
        assert self.counter is not None
        one = Boxes(np.zeros((count, 1), np.int32), np.ones((count, 1), np.int32), boxes.first)
        yield Field("counter", "in", self.counter, one)
        if "lengths" in self.parameters:
            rows = Boxes(boxes.lo[:, :1], boxes.hi[:, :1], boxes.first)
            yield Field("lengths", "in", self.parameters["lengths"], rows)

    def _moving(self, codelet: Codelet, place: Mapping, first: Field, last: Field) -> VertexGroup:
        shares, boxes = place.shares(), Boxes.shares(place)
        mk1 = self.low.chip.generation == "mk1"
        attrs = StepAttrs(self.x.dtype, mk1, self.reverse, "lengths" in self.parameters, self.node)
        rows = Rows(shares.tiles, shares.elements[:, None].astype(np.int32))
        return VertexGroup(codelet, attrs, rows, (first, *self._step_fields(boxes), last))

    def _take(self) -> Tensor:
        """The step's input (N, I), or its part of the products with it (N, G, H)."""
        taken = self.x if self.ready is None else self.ready
        shape = taken.shape[1:]
        place = gates_place(self.place, shape[1]) if self.ready else step_place(*shape, self.low.chip.tiles)
        made = Tensor.of(self.low.variable(shape, taken.dtype, "input", place))
        source = Field("x", "in", taken, through(Boxes.shares(place), taken.shape[0]))
        group = self._moving(codelets.SLICE, place, source, Field("out", "out", made, Boxes.shares(place)))
        self.low.execute("slice", [group])
        return made

    def _store(self, new: Sequence[Tensor], states: Sequence[Tensor], y: Tensor) -> None:
        """The new state, unless a sequence is over, and its place in y."""
        boxes = Boxes.shares(self.place)
        if "lengths" in self.parameters:
            groups = [
                self._moving(codelets.KEEP, self.place, Field("new", "in", n, boxes), Field("state", "inout", s, boxes))
                for n, s in zip(new, states, strict=True)
            ]
            self.low.execute("keep", groups)
        target = Field("y", "inout", y, through(boxes, y.shape[0]))
        self.low.execute("store", [self._moving(codelets.UPDATE, self.place, Field("h", "in", new[0], boxes), target)])

    def _count(self) -> VertexGroup:
        assert self.counter is not None
        mapping = self.counter.mapping
        fields = (Field("counter", "inout", self.counter, Boxes.shares(mapping)),)
        return VertexGroup(codelets.COUNT, None, Rows(mapping.shares().tiles, np.ones((1, 1), np.int32)), fields)

    def _product(self, name: str, operands: Sequence[Tensor], weights: Sequence[Tensor], rows: slice) -> Tensor:
        """[operands] (.., N, K) times the chosen rows of [weights] (G H, K), joined along K: (.., N, rows)."""
        low = self.low
        a = operands[0] if len(operands) == 1 else Tensor.concat(list(operands), 1)
        parts = [w.slice(0, rows.start, rows.stop) for w in weights]
        b = resident(low, name, parts).transpose((1, 0))
        out = TensorType((*a.shape[:-1], b.shape[1]), a.dtype)
        values = [Value(n, TensorType(t.shape, t.dtype)) for n, t in (("a", a), ("b", b))]
        before, low.prefix = low.prefix, low.path(name)
        made = lower_matmul(low, MatMul(), Node(MatMul(), tuple(values), (Value("y", out),), name), [a, b])
        low.prefix = before
        return made[0]

    def _biases(self, name: str, first: int, count: int, which: str) -> list[Tensor]:
        """Biases (count H) of gates of the input's product, the state's, or both: their sum, or one after the other."""
        bias, hidden, total = self.parameters.get("bias"), self.op.hidden, self.op.gates * self.op.hidden
        if bias is None:
            return []
        lo, hi = first * hidden, (first + count) * hidden
        parts = [bias.slice(0, start + lo, start + hi) for start in (0, total)]
        place = gates_place(step_place(1, hidden, self.low.chip.tiles), count).reshape((count * hidden,))
        if which != "both":
            return [self.low.mapped(parts[which == "state"])]
        return [self.low.mapped(b) for b in summed(self.low, name, parts, place)]

    def _with_bias(self, name: str, z: Tensor, first: int, which: str) -> list[Tensor]:
        """z (N, count H) plus biases, where the state lies.  Returns: one (N, H) for each gate from `first` on."""
        count = z.shape[1] // self.op.hidden
        made = z.reshape((z.shape[0], count, self.op.hidden))
        place = gates_place(self.place, count)
        for number, bias in enumerate(self._biases(name, first, count, which)):
            title, before = f"{name}{number or ''}", made
            if not number:
                made = Tensor.of(self.low.variable(place.shape, z.dtype, title, place))
            self.low.execute(title, [join_group("add", place, [before, bias.reshape((1, *made.shape[1:]))], made)])
        return [_gate(made, k) for k in range(count)]

    def _sums(self, title: str, x: Tensor, state: Tensor, first: int, count: int) -> list[Tensor]:
        """What goes into `count` gates from `first` on: the products with the step's input and with `state` (N, H), and
        both biases.  Returns: one (N, H) for each.
        """
        rows, dot = self._rows(first, count), f"{title}product"
        if self.ready is None:
            z = self._product(dot, [x, state], [self.w, self.r], rows)
            return self._with_bias(f"{title}bias", z, first, "both")
        z = self._product(dot, [state], [self.r], rows).reshape((x.shape[0], count, self.op.hidden))
        made = x.slice(1, first, first + count)
        self.low.execute(f"{title}add", [join_group("add", gates_place(self.place, count), [z, made], made)])
        return [_gate(made, k) for k in range(count)]

    def _limited(self, name: str, z: Tensor) -> Tensor:
        """z within the clip."""
        if self.op.clip <= 0:
            return z
        low = self.low
        mapping = low.mapped(z).mapping
        shares, boxes = mapping.shares(), Boxes.shares(mapping)
        made = Tensor.of(low.variable(z.shape, z.dtype, name, mapping))
        group = VertexGroup(
            CLAMP,
            PlainAttrs(z.dtype, -self.op.clip, self.op.clip),
            Rows(shares.tiles, shares.elements[:, None].astype(np.int32)),
            (Field("in0", "in", z, boxes), Field("out", "out", made, boxes)),
        )
        low.execute(name, [group])
        return made

    def _gates(self, name: str, wanted: Sequence[tuple[str, Tensor, Activation]]) -> dict[str, Tensor]:
        """Activations of several gates in one compute set, each brought to where the state lies; those of one function
        are one vertex on each tile.
        """
        by_function: dict[Activation, list[tuple[str, Tensor]]] = {}
        for gate, z, function in wanted:
            by_function.setdefault(function, []).append((gate, z))
        made: dict[str, Tensor] = {}
        groups = []
        for function, gates in by_function.items():
            place = over(self.place, (len(gates),))
            title = " and ".join(gate for gate, _ in gates)
            out = Tensor.of(self.low.variable(place.shape, self.x.dtype, title, place))
            z = Tensor.concat([t.reshape((1, *t.shape)) for _, t in gates], 0)
            groups.append(join_group("function", place, [z], out, function))
            made |= {gate: pick(out, k) for k, (gate, _) in enumerate(gates)}
        self.low.execute(name, groups)
        return made

    # -- cells ---------------------------------------------------------------------------------------------------------

    def _rows(self, first: int, count: int = 1) -> slice:
        return slice(first * self.op.hidden, (first + count) * self.op.hidden)

    def _rnn(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        (f,) = self.op.functions(self.direction)
        z = self._limited("clip", self._sums("", x, states[0], 0, 1)[0])
        return [self._join("function", "function", [z], self._over_old(states[0]), f)]

    def _lstm(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        h, c = states
        f, g, last = self.op.functions(self.direction)
        i, o, forget, cell = self._sums("", x, h, 0, 4)
        peep = self.parameters.get("peepholes")
        if peep is not None:
            size = self.op.hidden
            pi, po, pf = (self.low.mapped(peep).slice(0, k * size, (k + 1) * size).reshape((1, size)) for k in range(3))
            i = self._join("peep input", "peephole", [i, pi, c])
            forget = self._join("peep forget", "peephole", [forget, pf, c])
        i, forget, cell = (self._limited(f"clip {n}", t) for n, t in (("input", i), ("forget", forget), ("cell", cell)))
        wanted = [("i", i, f), ("cell", cell, g)]
        if not self.op.input_forget:
            wanted.append(("forget", forget, f))
        if peep is None:
            wanted.append(("o", self._limited("clip output", o), f))
        made = self._gates("gates", wanted)
        if self.op.input_forget:
            made["forget"] = self._join("complement", "complement", [made["i"]])
        new_c = self._join("new c", "cell", [made["i"], made["cell"], made["forget"], c], self._over_old(c))
        if peep is not None:
            late = self._limited("clip output", self._join("peep output", "peephole", [o, po, new_c]))
            made |= self._gates("output gate", [("o", late, f)])
        out = self._limited("clip state", new_c)
        new_h = self._join("new h", "output", [made["o"], out], self._over_old(h), last)
        return [new_h, new_c]

    def _gru(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        (h,) = states
        f, g = self.op.functions(self.direction)
        hidden = self._rows(2)
        sums = self._limited("clip gates", Tensor.concat(self._sums("gates ", x, h, 0, 2), 1))
        parts = [sums.slice(1, k * self.op.hidden, (k + 1) * self.op.hidden) for k in range(2)]
        gates = self._gates("gates", [(n, z, f) for n, z in zip(("update", "reset"), parts, strict=True)])
        if self.op.linear_before_reset:
            of_x = self._of_input(x, hidden)
            of_h = self._product("state product", [h], [self.r], hidden)
            of_h = self._with_bias("state bias", of_h, 2, "state")[0]
            inner = self._join("reset", "gated", [of_x, gates["reset"], of_h])
        else:
            operand = self._join("reset", "product", [gates["reset"], h])
            inner = self._sums("hidden ", x, operand, 2, 1)[0]
        new = self._join("hidden", "function", [self._limited("clip hidden", inner)], f=g)
        return [self._join("new h", "blend", [gates["update"], new, h], self._over_old(h))]

    def _of_input(self, x: Tensor, rows: slice) -> Tensor:
        """The product with the step's input alone, and its bias (N, H)."""
        if self.ready is not None:
            return _gate(x, 2)
        return self._with_bias("input bias", self._product("input product", [x], [self.w], rows), 2, "input")[0]


def _gate(z: Tensor, index: int) -> Tensor:
    """One gate (N, H) of (N, gates, H)."""
    return z.slice(1, index, index + 1).reshape((z.shape[0], z.shape[2]))
