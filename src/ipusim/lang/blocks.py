"""Straight blocks of instructions, and where in them an operation lands.

Lowering keeps a stack of scopes: the vertex's entry, the body, and one scope per open loop or branch, each with the
block that is being filled.  Every value knows the outermost scope in which it exists (its home): an operation whose
operands all come from outside a loop is issued before the loop (hoisting).  Every operation has a key, what it computes
from what: a key known in an open scope, that is on the dominating path, is not issued again (value numbering).  Arrays
carry a version that a store bumps; different arrays do not alias.

Integers are kept as polynomials (`lang/affine.py`) until an instruction needs them in a register, so subscripts of
loops cost nothing and a value that is used elsewhere costs its adds and multiplies once.  Registers are unlimited: the
spills of the real register file (8 floats) are part of the compiler's factor, not counted one by one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from ipusim.dtype import DType, int32
from ipusim.lang import affine
from ipusim.lang.affine import Poly
from ipusim.lang.align import Lanes
from ipusim.lang.schedule import Instr, Lane, Role
from ipusim.lang.slots import Slots, constant_slots, kind_of, lanes_of

SLOW = 10  # [own choice] operations of so many slots are worth a remark

Home = tuple[Literal["entry", "before", "each", "then", "other"], int]
Piece = tuple[Lane, int]


class NotVector(Exception):
    """The loop `loop` (an id) cannot be counted per vector, because `why`; lowering starts again without it."""

    def __init__(self, loop: int, why: str) -> None:
        super().__init__(why)
        self.loop, self.why = loop, why


@final
@dataclass(slots=True, eq=False)
class Block:
    """Instructions that run together; `home` says where their slots are booked; `pipelined`: body of a tight loop."""

    home: Home | None
    instrs: list[Instr] = field(default_factory=list)
    pipelined: bool = False


@final
@dataclass(slots=True, eq=False)
class Value:
    """A scalar, or `lanes` elements side by side.  `made`: the instructions that leave it in a register.

    Integers have a polynomial; `lazy` ones are nothing but that yet.  `const` is the number where it is known.
    """

    id: int
    home: int
    dtype: DType
    made: tuple[int, ...] = ()
    lanes: int = 1
    poly: Poly | None = None
    lazy: bool = False
    const: int | float | bool | None = None

    @property
    def key(self) -> Hashable:
        """Equal for equal values."""
        return self.poly if self.poly is not None else self.id


@final
@dataclass(slots=True, eq=False)
class Loop:
    """An open loop: its variable's value (None for `while`), what its streams are, whether the variable is used."""

    stmt: int
    line: int
    variable: int | None = None
    live: bool = False
    start: Poly = ()
    streams: dict[Hashable, set[int]] = field(default_factory=dict)

    @property
    def adds(self) -> int:
        """Adds per iteration that post-increment addressing does not hide."""
        shared = len(self.streams) > 1 and any(len(offsets) > 1 for offsets in self.streams.values())
        return int(self.live or shared)


@final
@dataclass(slots=True, eq=False)
class Scope:
    """A region that dominates what is opened inside it: known values, and the block being filled."""

    kind: Literal["entry", "body", "loop", "branch"]
    block: Block
    loop: Loop | None = None
    known: dict[Hashable, Value] = field(default_factory=dict)
    loads: dict[tuple[str, Poly | None, Poly], tuple[int, Value]] = field(default_factory=dict)


@final
@dataclass(slots=True, eq=False)
class Array:
    """State of a field's memory: version, the scope it dates from, instructions that wrote and read it last."""

    version: int = 0
    home: int = 0
    accesses: list[tuple[int, bool, tuple[Poly | None, Poly]]] = field(default_factory=list)


@final
class State:
    """Everything known at one point of lowering, and the instructions so far."""

    def __init__(self, slots: Slots) -> None:
        entry, body = Block(("entry", 0)), Block(None)
        self.slots = slots
        self.blocks = [entry, body]
        self.scopes = [Scope("entry", entry), Scope("body", body)]
        self.values: list[Value] = []
        self.loops: dict[int, Loop] = {}
        self.env: dict[str, Value] = {}
        self.arrays: dict[str, Array] = {}
        self.lanes: Lanes | None = None
        self.slow: dict[tuple[int, str], int] = {}
        self.uids = self.versions = 0

    def open_array(self, name: str) -> None:
        """The memory of a field as the vertex finds it."""
        self.arrays[name] = Array()

    def changed(self, name: str) -> None:
        """The memory of a field differs from here on."""
        self.versions += 1
        array = self.arrays[name]
        array.version, array.home = self.versions, self.here

    # -- scopes

    @property
    def here(self) -> int:
        """Number of the innermost open scope."""
        return len(self.scopes) - 1

    def open(self, kind: Literal["loop", "branch"], home: Home, loop: Loop | None = None) -> Scope:
        """Open a scope with a new block."""
        scope = Scope(kind, Block(home), loop)
        self.blocks.append(scope.block)
        self.scopes.append(scope)
        return scope

    def fall_through(self) -> None:
        """Start a new block in the current scope; the next statement says where it is booked."""
        block = Block(None)
        self.blocks.append(block)
        self.scopes[-1].block = block

    def place(self, home: int, speculate: bool) -> int:
        """The scope where an operation on values of `home` is issued: outside all loops that do not change it."""
        return self.place_from(self.here, home, speculate)

    def place_from(self, start: int, home: int, speculate: bool) -> int:
        """The same for an operation that may already leave the scopes inside `start`."""
        best = at = start
        while at > home:
            kind = self.scopes[at].kind
            at -= 1
            if kind == "loop":
                best = at
            elif kind == "body" or not speculate:
                break
        return best

    def loop_at(self, at: int) -> int | None:
        """Number of the innermost loop scope around scope `at`."""
        return next((n for n in range(at, -1, -1) if self.scopes[n].kind == "loop"), None)

    # -- values

    def value(self, dtype: DType, home: int, made: tuple[int, ...] = (), lanes: int = 1) -> Value:
        """A value nothing is known about."""
        number = len(self.values)
        poly = None if dtype.is_float else affine.atom(number)
        self.values.append(Value(number, home, dtype, made, lanes, poly))
        return self.values[-1]

    def placeholder(self, dtype: DType, home: int, lanes: int = 1) -> Value:
        """A value that arrives from an earlier iteration or one of two branches."""
        self.uids += 1
        return self.value(dtype, home, (self.uids,), lanes)

    def lazily(self, poly: Poly, dtype: DType) -> Value:
        """An integer that is computed when somebody needs it in a register."""
        if affine.is_constant(poly):
            return self.constant(affine.constant(poly), dtype)
        single = affine.single(poly)
        if single is not None and self.values[single].dtype == dtype:
            return self.values[single]
        value = self.value(dtype, self.home_of(poly), lanes=self.lanes_in(poly))
        value.poly, value.lazy = poly, True
        return value

    def home_of(self, poly: Poly) -> int:
        """The innermost scope that one of the polynomial's values dates from."""
        return max((self.values[v].home for v in affine.values_of(poly)), default=0)

    def lanes_in(self, poly: Poly) -> int:
        """Lanes of an integer: one unless it runs along the vector."""
        return max((self.values[v].lanes for v in affine.values_of(poly)), default=1)

    def constant(self, value: int | float | bool, dtype: DType) -> Value:
        """A literal; free until a register is needed."""
        known = self.scopes[0].known
        key = ("constant", dtype.name, value, str(value))
        if key not in known:
            made = self.value(dtype, 0)
            made.const = value
            if not dtype.is_float:
                made.poly = affine.number(int(value))
            known[key] = made
        return known[key]

    # -- instructions

    def find(self, key: Hashable) -> Value | None:
        """The value of `key` if the dominating path has computed it."""
        return next((s.known[key] for s in reversed(self.scopes) if key in s.known), None)

    def note_slow(self, line: int, what: str, slots: int) -> None:
        """Remember an operation that takes many slots, for the explanation."""
        if slots >= SLOW:
            self.slow[line, what] = slots

    def issue(
        self, at: int, pieces: Sequence[Piece], deps: tuple[int, ...], line: int, last: bool = False, role: Role = ""
    ) -> int:
        """Append a chain of instructions to scope `at`; the number of the last one, which has the role."""
        for n, (lane, slots) in enumerate(pieces):
            self.uids += 1
            end = n == len(pieces) - 1
            made = Instr(self.uids, lane, slots, deps, line, last and end, role if end else "")
            self.scopes[at].block.instrs.append(made)
            deps = (self.uids,)
        return self.uids

    def emit(
        self,
        key: Hashable,
        pieces: Sequence[Piece],
        operands: Sequence[Value],
        dtype: DType,
        line: int,
        *,
        speculate: bool = True,
        lanes: int = 1,
        copies: int = 1,
        role: Role = "",
    ) -> Value:
        """The value of an operation: known already, or `copies` chains of `pieces` at the outermost possible place."""
        hit = self.find(key)
        if hit is not None:
            return hit
        held = [self.register(v, line) for v in operands]
        at = self.place(max((v.home for v in held), default=0), speculate)
        for v in held:
            self.use(v)
        deps = tuple(u for v in held for u in v.made)
        made = tuple(self.issue(at, pieces, deps, line, role=role) for _ in range(copies))
        value = self.value(dtype, at, made, lanes)
        self.scopes[at].known[key] = value
        return value

    def branch(self, deps: tuple[int, ...], line: int) -> None:
        """The conditional branch that closes the current block; an earlier one stays in order before it."""
        instrs = self.scopes[-1].block.instrs
        before = tuple(i.uid for i in instrs if i.last)
        for instr in instrs:
            instr.last = False
        self.issue(self.here, [("main", sum(self.slots.of("branch", "any")))], deps + before, line, last=True)

    def use(self, value: Value) -> None:
        """Note that an instruction reads the value: a loop variable then needs a register of its own."""
        if value.id in self.loops:
            self.loops[value.id].live = True

    def operate(
        self,
        op: str,
        operands: Sequence[Value],
        dtype: DType,
        line: int,
        speculate: bool = True,
        kind: DType | None = None,
    ) -> Value:
        """One operation of the table on operands of type `kind` (default: the result's), per vector if any is one."""
        kind = kind or dtype
        lanes = max(v.lanes for v in operands)
        if lanes > 1 and not kind.is_float:
            raise self.refuse("integer arithmetic on its elements")
        copies, per = lanes_of(kind, lanes)
        main, aux = self.slots.of(op, kind_of(kind, per))
        key = (op, dtype.name, kind.name, *(v.key for v in operands))
        cheap = main + aux <= 1
        role: Role = "mul" if op == "mul" and per > 1 else "add" if op == "add" and per > 1 else ""
        self.note_slow(line, op, main + aux)
        return self.emit(
            key,
            pieces_of(main, aux),
            operands,
            dtype,
            line,
            speculate=speculate and cheap,
            lanes=lanes,
            copies=copies,
            role=role,
        )

    def refuse(self, why: str) -> NotVector:
        """The exception that makes the open vector loop a scalar one."""
        return NotVector(self.lanes.loop if self.lanes else 0, why)

    # -- registers

    def register(self, value: Value, line: int) -> Value:
        """The value with the instructions that put it into a register."""
        if value.const is not None:
            return self._constant_register(value, line)
        if value.lazy and value.poly is not None:
            return self.integer(value.poly, line)
        return value

    def _constant_register(self, value: Value, line: int) -> Value:
        size = constant_slots(value.const or 0, value.dtype)
        if size and not value.made:
            lane: Lane = "aux" if value.dtype.is_float else "main"
            value.made = (self.issue(0, [(lane, 1)] * size, (), line),)
        return value

    def integer(self, poly: Poly, line: int) -> Value:
        """A register with the value of a polynomial: one multiply or add at a time, invariant terms first."""
        if affine.is_constant(poly):
            return self.constant(affine.constant(poly), int32)
        single = affine.single(poly)
        if single is not None:
            return self.values[single]
        hit = self.find(("integer", poly))
        if hit is not None:
            return hit
        if self.lanes_in(poly) > 1:
            raise self.refuse("the loop variable is used as a value")
        factor = affine.content(poly)
        if factor != 1:
            whole = tuple((product, times // factor) for product, times in poly)
            return self.step(poly, [self.integer(whole, line), self.constant(factor, int32)], line)
        head, tail = self._halves(poly)
        return self.step(poly, [self.integer(head, line), self.integer(tail, line)], line)

    def _halves(self, poly: Poly) -> tuple[Poly, Poly]:
        """Two polynomials that one add, subtract or multiply joins: what changes least often comes first."""
        terms = sorted(poly, key=lambda t: (not t[0], self.home_of((t,)), t[1] < 0, t))
        if len(terms) == 1:
            product = terms[0][0]
            return ((product[:-1], 1),), affine.atom(product[-1])
        head: Poly = tuple(sorted(terms[:-1]))
        tail: Poly = (terms[-1],)
        if all(times < 0 for _, times in head):
            head = affine.scale(head, -1)
        elif tail[0][0] and tail[0][1] < 0:
            tail = affine.scale(tail, -1)
        return head, tail

    def step(self, poly: Poly, operands: Sequence[Value], line: int) -> Value:
        """One integer instruction whose result is `poly`."""
        return self.emit(("integer", poly), [("main", 1)], operands, int32, line)


def pieces_of(main: int, aux: int, aux_first: bool = False) -> list[Piece]:
    """A row of the table as a chain: one instruction if one pipe does it all, else one-slot steps in order."""
    if not main or not aux:
        return [("main", main)] if main else [("aux", aux)] if aux else []
    steps: list[Piece] = [("main", 1)] * main if main < SLOW else [("main", main)]
    floats: list[Piece] = [("aux", 1)] * aux
    return floats + steps if aux_first else steps + floats
