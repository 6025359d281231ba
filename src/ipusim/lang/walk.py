"""Lowering of statements: loops, branches, and what they cost beside their expressions.

A counted loop costs a guard (compare, branch) unless its trip count is literal, a counter set-up, the rows of its
streams and what is hoisted, once; and per iteration its body and one decrement-and-branch, plus one add where several
streams share an offset or the variable itself is used.  A literal trip count within the hardware's repeat limit over
straight code needs no branch; one of at most 8 unrolls and disappears.  A `while` is rotated: its condition once as a
guard, then at the end of every iteration.  What ends an iteration also ends one that `continue` cuts short.  An `if`
joins the block before it; its first branch ends in a jump over the second.  Variables that change inside a loop or
branch and live on have a register of their own, so copying something into them is a move; other assignments only give
a value a name.

With `vectorize` > 1 an innermost loop whose accesses step one element at a time is counted per vector of 64 bits.
What cannot be so (strides, gathers, integers, recurrences) raises `NotVector`, and lowering starts again with that
loop scalar.  Pairs of floats may be accessed at neighbouring, unaligned offsets (`lang/align.py`).  The remainder of a
trip count is counted as a whole vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ipusim.dtype import DType, int32
from ipusim.lang import affine, flow, memory
from ipusim.lang.align import Lanes
from ipusim.lang.blocks import Block, Loop, NotVector, Scope, State, Value
from ipusim.lang.instructions import Evaluator
from ipusim.lang.ir import Assign, For, Function, If, Load, Stmt, Store, While
from ipusim.lang.reads import expressions, statements, walk
from ipusim.lang.schedule import Instr
from ipusim.lang.slots import VECTOR_BYTES, Slots, kind_of


@final
class Walker:
    """Lowers one function; `blocks`, `width` and `collapsed` are the result."""

    def __init__(
        self, function: Function, slots: Slots, *, vectorize: int, pipelined: bool, refused: dict[int, str]
    ) -> None:
        self.function, self.slots = function, slots
        self.vectorize, self.pipelined, self.refused = vectorize, pipelined, refused
        self.state = State(slots)
        self.fields = {f.name: f for f in function.fields}
        self.types = {**function.locals, **{f.name: _held(f.dtype) for f in function.fields}}
        self.evaluate = Evaluator(self.state, self.fields, function.worker)
        self.carried = flow.carried(function)
        self.width: dict[int, int] = {}
        self.collapsed: set[int] = set()
        self.kept: set[tuple[int, str]] = set()
        self.owned: set[int] = set()

    def run(self) -> None:
        """Lower the whole body.  Raises `NotVector` if a loop has to be tried again as a scalar one."""
        for field in self.function.fields:
            self.state.open_array(field.name)
        entry = sum(self.slots.of("vertex_entry", "any"))
        self.state.issue(0, [("main", 1)] * entry, (), self.function.first_line)
        self.block(self.function.body)
        self._book(self.state.scopes[-1], ("entry", 0))
        self.state.issue(0, [("main", sum(self.slots.of("exitz", "any")))], (), self.function.first_line)

    def block(self, body: Sequence[Stmt]) -> None:
        """Lower statements one after another into the current scope."""
        for stmt in body:
            block = self.state.scopes[-1].block
            if block.home is None:
                block.home = ("before", id(stmt))
            match stmt:
                case Assign():
                    self._assign(stmt)
                case Store():
                    self._store(stmt)
                case For():
                    self._for(stmt)
                case While():
                    self._while(stmt)
                case If():
                    self._if(stmt)
                case _:  # break, continue, return: the branch of the `if` around them does it
                    return

    # -- simple statements

    def _assign(self, stmt: Assign) -> None:
        value = self.evaluate.value(stmt.value)
        if stmt.name in self.carried:
            value = self._own_register(value, stmt.line)
        self.state.env[stmt.name] = value

    def _own_register(self, value: Value, line: int) -> Value:
        """The value in a register that lives on: computed there in this block, or moved if it has another owner."""
        state = self.state
        held = state.register(value, line)
        state.use(held)
        if held.const is None and held.home == state.here and held.id not in self.owned:
            self.owned.add(held.id)
            return held
        made = state.issue(state.here, [("aux" if held.dtype.is_float else "main", 1)], held.made, line)
        return state.value(held.dtype, state.here, (made,), held.lanes)

    def _store(self, stmt: Store) -> None:
        field, state = self.fields[stmt.field], self.state
        value = self.evaluate.value(stmt.value)
        if stmt.index:
            index = tuple(self.evaluate.index(i) for i in stmt.index)
            memory.store(state, field, index, value, stmt.line)
            return
        state.env[field.name] = value
        held = state.register(value, stmt.line)
        state.use(held)
        outer = next((n for n, s in enumerate(state.scopes) if s.kind == "loop"), None)
        at = state.here if outer is None else outer - 1
        if outer is not None and (id(state.scopes[outer]), field.name) in self.kept:
            return
        if outer is not None:  # kept in a register inside loops, written once
            self.kept.add((id(state.scopes[outer]), field.name))
        deps = memory.pointer(state, field, stmt.line) + held.made
        slots = sum(self.slots.of("store", memory.memory_kind("store", field.dtype, 1)))
        state.note_slow(stmt.line, f"store of one {field.dtype.name}", slots)
        state.issue(at, [("main", slots)], deps, stmt.line)

    # -- branches

    def _if(self, stmt: If) -> None:
        state = self.state
        self.evaluate.condition(stmt.condition)
        names = flow.assigned((*stmt.then, *stmt.other))
        before = {n: state.env[n] for n in names if n in state.env}
        for kind, body in (("then", stmt.then), ("other", stmt.other)):
            state.env.update(before)
            scope = state.open("branch", ("then" if kind == "then" else "other", id(stmt)))
            self.block(body)
            leaves = len(body) > 1 and flow.jumps(body)
            if leaves or (kind == "then" and stmt.other and not flow.jumps(body)):
                state.branch((), stmt.line)
            self._book(scope, ("then" if kind == "then" else "other", id(stmt)))
            state.scopes.pop()
        self._merge(names, flow.stored((*stmt.then, *stmt.other)))

    def _merge(self, names: Sequence[str], fields: Sequence[str]) -> None:
        """After a branch or loop: what it may have changed is not known any more; a new block starts."""
        for name in names:
            self.state.env[name] = self.state.placeholder(self._type(name), self.state.here)
            self.owned.add(self.state.env[name].id)
        for name in fields:
            self.state.changed(name)
        self.state.fall_through()

    def _book(self, scope: Scope, home: tuple[str, int]) -> None:
        if scope.block.home is None:
            scope.block.home = home  # type: ignore[assignment]

    def _type(self, name: str) -> DType:
        return self.types.get(name, int32)

    # -- loops

    def _carry(self, body: Sequence[Stmt], lanes: int, partial: Sequence[str]) -> dict[str, Value]:
        """Names that change in a loop's body stand for what the last iteration left; `partial` ones are vectors."""
        state = self.state
        values = {}
        for name in flow.assigned(body):
            values[name] = state.placeholder(self._type(name), state.here, lanes if name in partial else 1)
        state.env.update(values)
        self.owned |= {v.id for v in values.values()}
        for name in flow.stored(body):
            state.changed(name)
        return values

    def _read_scalars(self, body: Sequence[Stmt], line: int) -> None:
        """Scalar fields that a loop reads and sets are in a register before it starts."""
        wanted = flow.exposed(body)
        for name in flow.assigned(body):
            if name in self.fields and name in wanted and name not in self.state.env:
                self.evaluate.value(Load(line, self._type(name), name, ()))

    def _for(self, stmt: For) -> None:
        if flow.unrolled(stmt):
            self._unroll(stmt)
            return
        state = self.state
        self._read_scalars(stmt.body, stmt.line)
        start, stop = self.evaluate.index(stmt.start), self.evaluate.index(stmt.stop)
        count = affine.add(stop, start, -1)
        tight = flow.straight(stmt.body)
        self._loop_setup(stmt, count)
        width = self._width(stmt, None) if tight else 1
        loop = Loop(id(stmt), stmt.line, start=affine.without_constant(start))
        scope = state.open("loop", ("each", id(stmt)), loop)
        scope.block.pipelined = tight and self.pipelined
        variable = state.placeholder(int32, state.here, width)
        loop.variable = variable.id
        self.owned.add(variable.id)
        state.loops[variable.id] = loop
        partial = self._open_lanes(stmt, variable.id, width)
        self._carry(stmt.body, width, partial)
        state.env[stmt.name] = variable
        self.block(stmt.body)
        self._close_lanes()
        self._join_continues(stmt.body)
        known = -(-abs(affine.constant(count)) // (abs(stmt.step) * width)) if affine.is_constant(count) else None
        self._loop_branch(stmt, loop, tight and known is not None and known <= self.slots.rpt_limit)
        self._book(scope, ("each", id(stmt)))
        state.scopes.pop()
        self._add_partials(stmt, partial, width)
        self._merge((*flow.assigned(stmt.body), stmt.name), flow.stored(stmt.body))

    def _loop_setup(self, stmt: For, count: affine.Poly) -> None:
        """Guard and counter, in the block before the loop."""
        state = self.state
        slots = sum(self.slots.of("loop_guard", "range"))
        deps: tuple[int, ...] = ()
        if affine.is_constant(count):
            slots = 1
        else:
            held = state.integer(affine.without_constant(count), stmt.line)
            state.use(held)
            deps = held.made
        if _power_of_two(stmt.step) and abs(stmt.step) > 1:
            slots += not affine.is_constant(count)
        state.issue(state.here, [("main", 1)] * slots, deps, stmt.line)

    def _loop_branch(self, stmt: For, loop: Loop, repeated: bool) -> None:
        """End of an iteration: adds that post-increment does not hide, and the branch unless the hardware repeats."""
        state = self.state
        odd = not _power_of_two(stmt.step)
        adds = max(loop.adds, int(odd)) + int(odd)  # no cheap trip count: count with the variable and compare
        state.issue(state.here, [("main", 1)] * adds, (), stmt.line)
        if not repeated and not state.scopes[-1].block.pipelined:
            state.issue(state.here, [("main", sum(self.slots.of("loop_for", "range")))], (), stmt.line, last=True)

    def _while(self, stmt: While) -> None:
        state = self.state
        self._read_scalars(stmt.body, stmt.line)
        outside, before = state.scopes[-1].block, dict(state.env)
        scope = state.open("loop", ("each", id(stmt)), Loop(id(stmt), stmt.line))
        head = scope.block
        carried = self._carry(stmt.body, 1, ())
        self.evaluate.condition(stmt.condition)
        test, head.instrs = head.instrs, []
        self._repeat(test, outside, {n: (v, before[n]) for n, v in carried.items() if n in before}, False)
        self.block(stmt.body)
        self._join_continues(stmt.body)
        last = state.scopes[-1].block
        self._repeat(test, last, {n: (v, state.env[n]) for n, v in carried.items()}, True)
        if not test:
            state.branch((), stmt.line)
        self._book(scope, ("each", id(stmt)))
        state.scopes.pop()
        self._merge(flow.assigned(stmt.body), flow.stored(stmt.body))

    def _join_continues(self, body: Sequence[Stmt]) -> None:
        """What ends an iteration is a block of its own where a `continue` leads to it, and runs in every iteration."""
        if flow.continues(body):
            self.state.fall_through()

    def _repeat(self, test: Sequence[Instr], block: Block, now: dict[str, tuple[Value, Value]], last: bool) -> None:
        """A copy of a loop's condition at the end of `block`, with the values its names have there."""
        renamed = {old.made[0]: new.made for old, new in now.values()}
        for instr in test:
            self.state.uids += 1
            deps = tuple(u for d in instr.deps for u in renamed.get(d, (d,)))
            block.instrs.append(Instr(self.state.uids, instr.lane, instr.slots, deps, instr.line, instr.last and last))
            renamed[instr.uid] = (self.state.uids,)

    # -- unrolling and vectors

    def _unroll(self, stmt: For) -> None:
        """A loop of few literal trips: its body once per trip, or once per vector of them."""
        state = self.state
        count = flow.trips(stmt) or 0
        self.collapsed |= {id(s) for s in statements((stmt,)) if isinstance(s, For)}
        start = flow.literal(stmt.start) or 0
        width = self._width(stmt, count)
        if width == 1:
            for n in range(count):
                state.env[stmt.name] = state.constant(start + n * stmt.step, int32)
                self.block(stmt.body)
            return
        lane = state.placeholder(int32, state.here, width)
        partial = self._open_lanes(stmt, lane.id, width)
        for name in partial:
            held = state.env.get(name) or self.evaluate.value(Load(stmt.line, self._type(name), name, ()))
            state.env[name] = state.value(held.dtype, held.home, state.register(held, stmt.line).made, width)
        for n in range(start, start + count, width):
            state.env[stmt.name] = state.lazily(affine.add(affine.atom(lane.id), affine.number(n)), int32)
            self.block(stmt.body)
        self._close_lanes()
        self._add_partials(stmt, partial, width)
        state.env[stmt.name] = state.constant(start + count - 1, int32)
        for name in flow.assigned(stmt.body):
            state.env[name] = state.placeholder(self._type(name), state.here)

    def _width(self, stmt: For, count: int | None) -> int:
        """Elements per counted iteration that the loop may have, from the options and its narrowest float field."""
        sizes = [self.fields[name].dtype.bytes for name in _touched(stmt) if self.fields[name].dtype.is_float]
        if self.vectorize == 1 or self.state.lanes or id(stmt) in self.refused or stmt.step != 1 or not sizes:
            return 1
        width = min(self.vectorize, VECTOR_BYTES // min(sizes))
        while count is not None and count % width:
            width //= 2
        return width

    def _open_lanes(self, stmt: For, value: int, width: int) -> tuple[str, ...]:
        """Start counting per vector; the names that become vectors of partial results."""
        if width == 1:
            return ()
        self.state.lanes = Lanes(id(stmt), value, width)
        partial = flow.reductions(stmt.body)
        if partial is None:
            raise self.state.refuse("an iteration needs what the one before it computed")
        self.width[id(stmt)] = width
        return partial

    def _close_lanes(self) -> None:
        """Settle which accesses are aligned, and what the others take."""
        lanes = self.state.lanes
        if lanes is None:
            return
        why = lanes.align([i for block in self.state.blocks for i in block.instrs])
        if why is not None:
            raise self.state.refuse(why)
        self.state.lanes = None

    def _add_partials(self, stmt: For, partial: Sequence[str], width: int) -> None:
        """Join the vectors of partial results, once per loop."""
        steps = width.bit_length() - 1
        for name in partial:
            slots = sum(self.slots.of("add", kind_of(self._type(name))))
            self.state.issue(self.state.here, [("aux", slots)] * steps, (), stmt.line)


def _held(dtype: DType) -> DType:
    return dtype if dtype.is_float or dtype.bytes == 4 else int32


def _power_of_two(step: int) -> bool:
    return abs(step) & (abs(step) - 1) == 0


def _touched(stmt: For) -> tuple[str, ...]:
    """Vector fields that a loop reads or writes."""
    nodes = [e for s in statements(stmt.body) for root in expressions(s) for e in walk(root)]
    loads = [e.field for e in nodes if isinstance(e, Load) and e.index]
    return tuple(dict.fromkeys(loads)) + flow.stored(stmt.body)


def lower(function: Function, slots: Slots, *, vectorize: int, pipelined: bool) -> tuple[Walker, dict[int, str]]:
    """Lower a function; also why loops (by id) are not counted per vector although that was asked for."""
    refused: dict[int, str] = {}
    while True:
        walker = Walker(function, slots, vectorize=vectorize, pipelined=pipelined, refused=refused)
        try:
            walker.run()
        except NotVector as no:
            refused[no.loop] = no.why
        else:
            return walker, refused
