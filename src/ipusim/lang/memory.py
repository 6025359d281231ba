"""Loads, stores and the addresses they need.

Inside a `for` loop a subscript that is linear in the loop's variable is a stream: the post-increment forms of loads and
stores advance it at no cost, and its row (the part that does not move) is set up in the pre-header, one slot per row
because strength reduction turns rows into adds along the outer loop.  Other subscripts cost their arithmetic, and an
add if there is a constant offset: an address has a register offset or an immediate, not both.  That add serves other
arrays at the same offset, and the same array at other offsets.  A row of a vector of vectors is one load of its
pointer.  Loads of memory that no store of the loop changes leave the loop.  A store forwards its value to a later load
of the same element, and spares what is known of elements at another constant offset.
"""

from __future__ import annotations

from typing import Literal

from ipusim.dtype import DType, int32
from ipusim.lang import affine
from ipusim.lang.affine import Poly
from ipusim.lang.align import Access
from ipusim.lang.blocks import State, Value
from ipusim.lang.ir import FieldSpec
from ipusim.lang.schedule import Role
from ipusim.lang.slots import VECTOR_BYTES, kind_of

Index = tuple[Poly | None, Poly]


def pointer(state: State, field: FieldSpec, line: int) -> tuple[int, ...]:
    """Load and unpack the pointer of a field, once, at entry; the instruction that has it."""
    return _at_entry(state, ("pointer", field.name), 1 + state.slots.unpack[field.depth], line).made


def _at_entry(state: State, key: tuple[str, str], slots: int, line: int) -> Value:
    known = state.scopes[0].known
    if key not in known:
        known[key] = state.value(int32, 0, (state.issue(0, [("main", 1)] * slots, (), line),))
    return known[key]


def length(state: State, field: FieldSpec, row: Poly | None, line: int) -> Value:
    """`len(field)`: a word of the vertex's state; `len(field[row])`: one load from the table of rows."""
    pointer(state, field, line)
    if row is None:
        return _at_entry(state, ("length", field.name), 1, line)
    return _of_row(state, "length", field, row, line)


def _of_row(state: State, what: str, field: FieldSpec, row: Poly, line: int) -> Value:
    """Pointer or length of a row: one load, where the row's number is known."""
    key = (what, field.name, row)
    hit = state.find(key)
    if hit is not None:
        return hit
    at = state.place(state.home_of(row), True)
    deps = _address(state, ("rows", field.name), row, at, line)
    value = state.value(int32, at, (state.issue(at, [("main", 1)], deps, line),))
    state.scopes[at].known[key] = value
    return value


def load(state: State, field: FieldSpec, index: tuple[Poly, ...], line: int) -> Value:
    """The element `field[index]` (depth 1 or 2), widened to a type of values."""
    row, column = where = _split_index(index)
    array = state.arrays[field.name]
    for scope in reversed(state.scopes):
        known = scope.loads.get((field.name, row, column))
        if known is not None and known[0] == array.version:
            return known[1]
    pointer(state, field, line)
    dtype = field.dtype if field.dtype.is_float else int32
    lanes = _lanes(state, field, where)
    home = max(state.home_of(column), array.home, state.home_of(row or ()))
    at = state.place(home, False)
    deps = _base(state, field, where, at, line) + _ordered(state, field, where, writes=False)
    made = _issue(state, "load", field, where, at, deps, lanes, line)
    value = state.value(dtype, at, made, lanes)
    state.scopes[at].loads[field.name, row, column] = (array.version, value)
    return value


def store(state: State, field: FieldSpec, index: tuple[Poly, ...], value: Value, line: int) -> None:
    """`field[index] = value` (depth 1 or 2)."""
    row, column = where = _split_index(index)
    pointer(state, field, line)
    lanes = _lanes(state, field, where)
    if state.lanes and lanes == 1:
        raise state.refuse(f"a store to {field.name} does not move with the loop")
    held = state.register(value, line)
    state.use(held)
    deps = _base(state, field, where, state.here, line) + held.made + _ordered(state, field, where, writes=True)
    _issue(state, "store", field, where, state.here, deps, lanes, line)
    before = state.arrays[field.name].version
    state.changed(field.name)
    _keep(state, field.name, where, before)
    state.scopes[-1].loads[field.name, row, column] = (state.arrays[field.name].version, value)


def _split_index(index: tuple[Poly, ...]) -> Index:
    return (index[0], index[1]) if len(index) > 1 else (None, index[0])


def _apart(one: Index, other: Index) -> bool:
    """True if two accesses of one field certainly touch different elements."""
    rows = affine.add(one[0] or (), other[0] or (), -1)
    columns = affine.add(one[1], other[1], -1)
    return (bool(rows) and affine.is_constant(rows)) or (not rows and bool(columns) and affine.is_constant(columns))


def _ordered(state: State, field: FieldSpec, where: Index, writes: bool) -> tuple[int, ...]:
    """Earlier accesses that this one must not overtake."""
    accesses = state.arrays[field.name].accesses
    return tuple(uid for uid, wrote, other in accesses if (writes or wrote) and not _apart(where, other))


def _keep(state: State, name: str, where: Index, before: int) -> None:
    """After a store: what is known of other elements stays known."""
    now = state.arrays[name].version
    kept = {}
    for scope in state.scopes:
        for (field, row, column), (version, value) in scope.loads.items():
            if field == name and version == before and _apart(where, (row, column)):
                kept[field, row, column] = (now, value)
    state.scopes[-1].loads.update(kept)


def _lanes(state: State, field: FieldSpec, where: Index) -> int:
    """Elements of this access: one, or the width of the vector that runs along the subscript."""
    row, column = where
    if not state.lanes:
        return 1
    if state.lanes_in(row or ()) > 1:
        raise state.refuse(f"it runs over rows of {field.name}")
    if state.lanes_in(column) == 1:
        return 1
    parts = affine.split(column, state.lanes.value)
    if parts is None or parts[0] != affine.number(1) or state.lanes_in(parts[1]) > 1:
        raise state.refuse(f"it does not step through {field.name} one element at a time")
    if not field.dtype.is_float:
        raise state.refuse(f"{field.name} holds no floats")
    return state.lanes.width


def _issue(
    state: State,
    what: Literal["load", "store"],
    field: FieldSpec,
    where: Index,
    at: int,
    deps: tuple[int, ...],
    lanes: int,
    line: int,
) -> tuple[int, ...]:
    """The memory instructions of one access, remembered for ordering and alignment."""
    copies = -(-lanes * field.dtype.bytes // VECTOR_BYTES) if lanes > 1 else 1
    slots = sum(state.slots.of(what, memory_kind(what, field.dtype, lanes)))
    state.note_slow(line, f"store of one {field.dtype.name}", slots)
    role: Role = "" if lanes * field.dtype.bytes < VECTOR_BYTES else "load64" if what == "load" else "store64"
    made = tuple(state.issue(at, [("main", slots)], deps, line, role=role) for _ in range(copies))
    state.arrays[field.name].accesses += [(uid, what == "store", where) for uid in made]
    if lanes > 1 and state.lanes:
        instrs = state.scopes[at].block.instrs[-copies:]
        row = (where[0], affine.without_constant(where[1]))
        state.lanes.accesses.append(Access(affine.constant(where[1]), what == "store", field, row, instrs))
    return made


def memory_kind(what: str, dtype: DType, lanes: int) -> str:
    """Type of a load or store in the slot table: memory has narrower types than registers."""
    if lanes > 1:
        return "f32v2"  # 64 bits; a pair of halves is a 32-bit word, one slot as well
    if dtype.is_float:
        return kind_of(dtype)
    if dtype.bytes == 4:
        return "i32"
    if what == "store":
        return "8bit" if dtype.bytes == 1 else "f16"  # the same read-modify-write as for a half
    return "8bit" if dtype.bytes == 1 else "16bit_int"


def _base(state: State, field: FieldSpec, where: Index, at: int, line: int) -> tuple[int, ...]:
    """Instructions that have the address of an access, but for a constant offset."""
    row, column = where
    if state.lanes and state.lanes_in(column) > 1 and state.lanes.value not in state.loops:
        column = affine.add(column, affine.atom(state.lanes.value), -1)
    if row is None:
        return _address(state, field.name, column, at, line)
    return _of_row(state, "pointer", field, row, line).made + _address(state, (field.name, row), column, at, line)


def _address(state: State, array: object, index: Poly, at: int, line: int) -> tuple[int, ...]:
    """Arithmetic of a subscript that is not hidden in post-increment addressing."""
    around = state.loop_at(at)
    loop = state.scopes[around].loop if around is not None else None
    if around is not None and loop is not None and loop.variable is not None:
        parts = affine.split(index, loop.variable)
        if parts is not None and max(state.home_of(parts[0]), state.home_of(parts[1])) < around:
            slope, rest = parts
            base = affine.without_constant(rest)
            loop.streams.setdefault((array, slope, base), set()).add(affine.constant(rest))
            first = affine.multiply(slope, loop.start)
            row = affine.without_constant(affine.add(base, first or ()))
            return _row_setup(state, array, row, around - 1, line) if row else ()
    if affine.is_constant(index):
        return ()
    base = affine.without_constant(index)
    held = state.integer(base, line)
    if base != index:
        held = _offset(state, array, index, held, line)
    state.use(held)
    return held.made


def _offset(state: State, array: object, index: Poly, base: Value, line: int) -> Value:
    """A register for `index`, which is `base` and a constant; other offsets of this array are immediates from there."""
    key = ("address", array, affine.without_constant(index))
    held = state.find(("integer", index)) or state.find(key)
    if held is None:
        literal = state.constant(affine.constant(index), int32)
        held = state.step(index, [base, literal], line)
        state.scopes[held.home].known[key] = held
    return held


def _row_setup(state: State, array: object, base: Poly, outside: int, line: int) -> tuple[int, ...]:
    """The start of a stream in the pre-header: an add per row, after the arithmetic no outer loop reduces."""
    key = ("row", array, base)
    hit = state.find(key)
    if hit is not None:
        return hit.made
    at = state.place_from(outside, state.home_of(base), True)
    moving = any(v in state.loops for v in affine.values_of(base))
    deps = () if moving else state.integer(base, line).made
    value = state.value(int32, at, (state.issue(at, [("main", 1)], deps, line),))
    state.scopes[at].known[key] = value
    return value.made
