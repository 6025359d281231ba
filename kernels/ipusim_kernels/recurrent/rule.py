"""Lowering of recurrent layers: a device loop over the steps of the sequence, one loop per direction.

A step takes the step's input out of the sequence, multiplies it and the state by weights that stay on their tiles,
applies the gates, and stores the new state (poplibs lib/popnn/Lstm.cpp, Gru.cpp, Rnn.cpp; inference).  Sequences are
spread so that each tile holds the same features of every step: slices and updates then move nothing.
Omitted: products of all steps with the input made by one large matmul before the loop, which the library does where
memory allows; weights that are not constants stay where they are and travel to the matmul's tiles each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from ipusim.dtype import int32
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array, Codelet
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
from ipusim_kernels.elementwise.rule import binary
from ipusim_kernels.recurrent import codelets, numeric
from ipusim_kernels.recurrent.codelets import JoinAttrs, StepAttrs
from ipusim_kernels.recurrent.weights import resident, summed


def lower_recurrent(low: Lowering, op: Recurrent, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """RNN, LSTM and GRU layers."""
    x, w, r, *rest = inputs
    given = dict(zip(op.given, rest, strict=True))
    steps, batch, _ = x.shape
    d, h = op.directions, op.hidden
    place = low.spread((batch, h), x.dtype)
    y = Tensor.of(low.variable((steps, d, batch, h), x.dtype, "y", _over(place, (steps, d))))
    states = [
        Tensor.of(low.variable((d, batch, h), x.dtype, name, _over(place, (d,))))
        for name in (("h", "c") if op.cell == "lstm" else ("h",))
    ]
    sequence = _sequence(low, x)
    for direction in range(d):
        one = _Direction(low, op, direction, place, sequence, _pick(w, direction), _pick(r, direction), node.name)
        one.parameters = {
            name: _pick(t, direction) if name != "lengths" else low.mapped(t) for name, t in given.items()
        }
        one.run(y.slice(1, direction, direction + 1).reshape((steps, batch, h)), [_pick(s, direction) for s in states])
    low.note(op.cell, {"steps": steps})
    return [y, *states]


def _pick(tensor: Tensor, index: int) -> Tensor:
    return tensor.slice(0, index, index + 1).reshape(tensor.shape[1:])


def _over(mapping: Mapping, lead: Sequence[int]) -> Mapping:
    """The same place for every index of leading axes."""
    cuts = tuple(np.array([0, n], np.int32) for n in lead)
    tiles = mapping.tiles.reshape((1,) * len(lead) + mapping.tiles.shape)
    return mapping.memo(("over", tuple(lead)), lambda: Mapping((*lead, *mapping.shape), cuts + mapping.cuts, tiles))


def _sequence(low: Lowering, x: Tensor) -> Tensor:
    """x with each step's features on the same tiles; copied there once if it lies otherwise."""
    place = _over(low.spread(x.shape[1:], x.dtype), x.shape[:1])
    if all(v.mapping is None for v in x.variables()) and x.chain() is not None:
        low.place(x, place)
        return x
    if low.mapped(x).mapping is place or len(x.mapping.cuts[0]) == 2:
        return x
    made = Tensor.of(low.variable(x.shape, x.dtype, "sequence", place))
    low.execute("spread", [copy_group(x, made, place)])
    return made


def _join_group(
    kind: str, place: Mapping, operands: Sequence[Tensor], out: Tensor, function: Activation | None = None
) -> VertexGroup:
    """A vertex over what each tile owns of a place: `out` from operands of its shape."""
    shares, boxes = place.shares(), Boxes.shares(place)
    read = [Field(f"in{i}", "in", t.broadcast_to(out.shape), boxes) for i, t in enumerate(operands)]
    chosen = (function.kind, function.alpha, function.beta) if function else ("", 0.0, 0.0)
    rows = Rows(shares.tiles, shares.elements[:, None].astype(np.int32))
    attrs = JoinAttrs(kind, out.dtype, chosen)
    return VertexGroup(codelets.JOIN, attrs, rows, (*read, Field("out", "out", out, boxes)))


@final
@dataclass(eq=False, slots=True)
class _Direction:
    """One direction of a layer: sequence (T, N, I), weights w (G H, I) and r (G H, H), places of (N, H)."""

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

    @property
    def reverse(self) -> bool:
        """Whether it runs from the end of the sequence."""
        return self.op.direction == "reverse" or self.direction == 1

    def run(self, y: Tensor, states: Sequence[Tensor]) -> None:
        """Initial state, and the loop; y (T, N, H), states (N, H)."""
        low, op = self.low, self.op
        steps = self.x.shape[0]
        suffix = str(self.direction) if op.directions > 1 else ""
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
        loop.whole.append(
            WholeOp(whole_layer, attrs, (self.x, self.w, self.r, *optional, y, *states), 1 + len(states))
        )

    def _layer(self) -> numeric.Layer:
        op = self.op
        functions = tuple((a.kind, a.alpha, a.beta) for a in op.functions(self.direction))
        return numeric.Layer(op.cell, self.reverse, functions, op.clip, op.input_forget, op.linear_before_reset)

    # -- pieces of a step ----------------------------------------------------------------------------------------------

    def _join(
        self, name: str, kind: str, operands: Sequence[Tensor], out: Tensor | None = None, f: Activation | None = None
    ) -> Tensor:
        made = self._state(name) if out is None else out
        self.low.execute(name, [_join_group(kind, self.place, operands, made, f)])
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
        """The step's input (N, I)."""
        shape = self.x.shape[1:]
        place = self.low.spread(shape, self.x.dtype)
        made = Tensor.of(self.low.variable(shape, self.x.dtype, "input", place))
        source = Field("x", "in", self.x, _through(Boxes.shares(place), self.x.shape[0]))
        group = self._moving(codelets.SLICE, place, source, Field("out", "out", made, Boxes.shares(place)))
        self.low.execute("slice", [group])
        return made

    def _store(self, new: Sequence[Tensor], states: Sequence[Tensor], y: Tensor) -> None:
        """The new state, unless a sequence is over, and its place in y."""
        boxes = Boxes.shares(self.place)
        if "lengths" in self.parameters:
            groups = [
                self._moving(
                    codelets.KEEP, self.place, Field("new", "in", n, boxes), Field("state", "inout", s, boxes)
                )
                for n, s in zip(new, states, strict=True)
            ]
            self.low.execute("keep", groups)
        target = Field("y", "inout", y, _through(boxes, y.shape[0]))
        self.low.execute("store", [self._moving(codelets.UPDATE, self.place, Field("h", "in", new[0], boxes), target)])

    def _count(self) -> VertexGroup:
        assert self.counter is not None
        mapping = self.counter.mapping
        fields = (Field("counter", "inout", self.counter, Boxes.shares(mapping)),)
        return VertexGroup(codelets.COUNT, None, Rows(mapping.shares().tiles, np.ones((1, 1), np.int32)), fields)

    def _product(self, name: str, operands: Sequence[Tensor], weights: Sequence[Tensor], rows: slice) -> Tensor:
        """[operands] (N, ..) times the chosen rows of [weights] (G H, ..), joined: (N, rows)."""
        low = self.low
        a = operands[0] if len(operands) == 1 else Tensor.concat(list(operands), 1)
        parts = [w.slice(0, rows.start, rows.stop) for w in weights]
        b = resident(low, name, parts).transpose((1, 0))
        out = TensorType((a.shape[0], b.shape[1]), a.dtype)
        values = [Value(n, TensorType(t.shape, t.dtype)) for n, t in (("a", a), ("b", b))]
        before, low.prefix = low.prefix, low.path(name)
        made = lower_matmul(low, MatMul(), Node(MatMul(), tuple(values), (Value("y", out),), name), [a, b])
        low.prefix = before
        return made[0]

    def _bias(self, name: str, z: Tensor, rows: slice, which: str) -> Tensor:
        """z plus the biases of the chosen rows: of the input's product, the state's, or both."""
        bias = self.parameters.get("bias")
        if bias is None:
            return z
        low, total = self.low, self.op.gates * self.op.hidden
        parts = [bias.slice(0, start + rows.start, start + rows.stop) for start in (0, total)]
        used = summed(low, name, parts) if which == "both" else [parts[which == "state"]]
        for number, part in enumerate(used):
            row = low.mapped(part).reshape((1, part.shape[0]))
            z = binary(low, "add", z, row, name=f"{name}{number or ''}", in_place=True)
        return z

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
            place = _over(self.place, (len(gates),))
            title = " and ".join(gate for gate, _ in gates)
            out = Tensor.of(self.low.variable(place.shape, self.x.dtype, title, place))
            z = Tensor.concat([t.reshape((1, *t.shape)) for _, t in gates], 0)
            groups.append(_join_group("function", place, [z], out, function))
            made |= {gate: _pick(out, k) for k, (gate, _) in enumerate(gates)}
        self.low.execute(name, groups)
        return made

    # -- cells ---------------------------------------------------------------------------------------------------------

    def _rows(self, first: int, count: int = 1) -> slice:
        return slice(first * self.op.hidden, (first + count) * self.op.hidden)

    def _columns(self, z: Tensor, gate: int) -> Tensor:
        return z.slice(1, gate * self.op.hidden, (gate + 1) * self.op.hidden)

    def _rnn(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        (f,) = self.op.functions(self.direction)
        z = self._product("product", [x, states[0]], [self.w, self.r], self._rows(0))
        z = self._limited("clip", self._bias("bias", z, self._rows(0), "both"))
        return [self._join("function", "function", [z], self._over_old(states[0]), f)]

    def _lstm(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        h, c = states
        f, g, last = self.op.functions(self.direction)
        rows = self._rows(0, 4)
        z = self._bias("bias", self._product("product", [x, h], [self.w, self.r], rows), rows, "both")
        i, o, forget, cell = (self._columns(z, gate) for gate in range(4))
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
        both, hidden = self._rows(0, 2), self._rows(2)
        z = self._product("gates product", [x, h], [self.w, self.r], both)
        z = self._limited("clip gates", self._bias("gates bias", z, both, "both"))
        gates = self._gates("gates", [(n, self._columns(z, k), f) for k, n in enumerate(("update", "reset"))])
        if self.op.linear_before_reset:
            of_x = self._bias("input bias", self._product("input product", [x], [self.w], hidden), hidden, "input")
            of_h = self._bias("state bias", self._product("state product", [h], [self.r], hidden), hidden, "state")
            inner = self._join("reset", "gated", [of_x, gates["reset"], of_h])
        else:
            operand = self._join("reset", "product", [gates["reset"], h])
            inner = self._product("hidden product", [x, operand], [self.w, self.r], hidden)
            inner = self._bias("hidden bias", inner, hidden, "both")
        new = self._join("hidden", "function", [self._limited("clip hidden", inner)], f=g)
        return [self._join("new h", "blend", [gates["update"], new, h], self._over_old(h))]


def _through(boxes: Boxes, steps: int) -> Boxes:
    """Boxes of one step, through the whole sequence."""
    lo = np.concatenate([np.zeros((len(boxes.lo), 1), np.int32), boxes.lo], axis=1)
    hi = np.concatenate([np.full((len(boxes.hi), 1), steps, np.int32), boxes.hi], axis=1)
    return Boxes(lo, hi, boxes.first)


@final
@dataclass(frozen=True, slots=True)
class WholeAttrs:
    """The layer, which optional operands follow x, w and r, and the name of the node."""

    layer: numeric.Layer
    given: tuple[str, ...]
    node: str


def whole_layer(attrs: WholeAttrs, arrays: Sequence[Array]) -> None:
    """x, w, r, those of bias, peepholes and lengths that are given, y, h and, for an LSTM, c (initial, then last)."""
    x, w, r, *rest = arrays
    given = dict(zip(attrs.given, rest, strict=False))
    if "lengths" in given:
        codelets.check_lengths(attrs.node, given["lengths"], x.shape[0])
    y, *state = rest[len(attrs.given) :]
    bias, peepholes, lengths = (given.get(name) for name in ("bias", "peepholes", "lengths"))
    numeric.run(attrs.layer, x, numeric.turned(w), numeric.turned(r), bias, peepholes, lengths, state, y)
