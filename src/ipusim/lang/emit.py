"""A typed function -> the text of its group function, which runs the vertices lo..hi-1 of a group.

Two variants come from one tree.  The counted one adds up issue slots as it runs, and checks every index, integer
division, and loop that may not end or has loops inside.  The plain one gives values only: it is for groups whose
counts do not depend on data and whose counted run was clean.  In both, rows of vectors of vectors whose number does
not change in a loop are looked up before it.

The table of a group has 64-bit words: slots column, status, then the columns of each field and member in order
(depth 0 has an address column; depth 1 address and length; depth 2 first row, number of rows, and the tables of all
rows' addresses and lengths; a member has its values, float64 for floats).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from ipusim.errors import BadInput
from ipusim.lang import ir
from ipusim.lang.emit_values import exact, fail, first_load, index_text, is_affine, member, store
from ipusim.lang.reads import assigned, blocks, expressions, reads, statements, walk
from ipusim.lang.status import BUDGET, RUNAWAY
from ipusim.lang.writer import RowNames, Writer, local

if TYPE_CHECKING:
    from ipusim.lang.costs import Costs

WORKERS = 6  # [Citadel, arXiv:1912.03413, section 1.2] hardware worker contexts of a tile
_FIXED_WORDS = 2
_MOST_LEVELS = 98  # [CPython Parser/tokenizer, MAXINDENT 100] levels of indentation


@final
@dataclass(slots=True, eq=False)
class _Body:
    """State while statements are written: open loops, slots not yet added."""

    writer: Writer
    costs: Costs | None
    loops: list[ir.For | ir.While] = field(default_factory=list)
    pending: int = 0
    silent: bool = False

    def before(self, statement: ir.Stmt) -> None:
        """Notes the slots of reaching a statement."""
        if self.costs is not None and not self.silent:
            self.pending += self.costs.before.get(id(statement), 0)

    def flush(self) -> None:
        """Writes the slots noted so far."""
        if self.pending:
            self.writer.add(f"total += {self.pending}")
            self.pending = 0


def group_source(function: ir.Function, *, costs: Costs | None, words: str) -> str:
    """The module text of one variant: counted with `costs`, plain without.

    `words` is the name of the module that the words come from.
    """
    writer = Writer(function, checked=costs is not None)
    body = _Body(writer, costs)
    _columns(writer)
    with writer.inside("for v in range(lo, hi):"):
        _fields(writer)
        if function.worker is None:
            _vertex(body, "v")
        else:
            with writer.inside(f"for {local(function.worker)} in range({WORKERS}):"):
                _vertex(body, f"{WORKERS} * v + {local(function.worker)}")
    _check_levels(writer)
    names = ", ".join(sorted(writer.words))
    head = [f'"""Codelet {function.name}: {"values and slots" if costs is not None else "values"}.  Generated."""', ""]
    head += [f"from {words} import {names}", ""] if names else []
    head += [f"{name} = {text}" for text, name in writer.constants.items()]
    return "\n".join([*head, "", "", "def group(table, lo, hi):", *writer.lines, ""])


def _check_levels(writer: Writer) -> None:
    if any(line.startswith("    " * _MOST_LEVELS) for line in writer.lines):
        function = writer.function
        raise BadInput(
            f"{function.file}:{function.first_line}: codelet {function.name}: more than {_MOST_LEVELS} blocks and "
            "parts of conditions are inside each other; use local variables for parts of conditions"
        )


def _columns(writer: Writer) -> None:
    word = _FIXED_WORDS
    if writer.checked:
        writer.add(f"slots = {writer.call('get_i64', 'table', 0)}")
        writer.add(f"status = {writer.call('get_i64', 'table', 1)}")
    for spec in writer.function.fields:
        for part in (("at",), ("at", "len"), ("first", "len", "rows", "sizes"))[spec.depth]:
            shared = part in ("rows", "sizes")
            writer.add(f"{spec.name}_{part}{'' if shared else '_col'} = {writer.call('get_i64', 'table', word)}")
            word += 1
    for value in writer.function.values:
        writer.add(f"{value.name}_member = {writer.call('get_i64', 'table', word)}")
        word += 1


def _fields(writer: Writer) -> None:
    for spec in writer.function.fields:
        for part in (("at",), ("at", "len"), ("first", "len"))[spec.depth]:
            writer.add(f"{spec.name}_{part} = {writer.call('get_i64', f'{spec.name}_{part}_col', 'v')}")
        if spec.depth == 0 and spec.role == "in":
            writer.add(f"{spec.name}_value = {first_load(writer, spec)}")
    for value in writer.function.values:
        writer.add(f"{local(value.name)} = {member(writer, value.dtype, f'{value.name}_member')}")


def _vertex(body: _Body, slot: str) -> None:
    writer, costs = body.writer, body.costs
    if costs is not None:
        writer.add("total = 0")
        body.pending = costs.entry
    if _returns(writer.function.body):
        writer.add("done = False")
        with writer.inside("while True:"):
            _block(body, writer.function.body)
            body.flush()
            writer.add("break")
    else:
        _block(body, writer.function.body)
        body.flush()
    if costs is not None:
        by, over = costs.factor
        found = "total" if by == over else f"(total * {by} + {over - 1}) // {over}"
        writer.add(writer.call("set_i64", "slots", slot, found))


def _returns(body: tuple[ir.Stmt, ...]) -> bool:
    return any(isinstance(s, ir.Return) for s in statements(body))


def _block(body: _Body, inner: tuple[ir.Stmt, ...]) -> None:
    for statement in inner:
        body.before(statement)
        _WRITE[type(statement)](body, statement)


def _inner(body: _Body, inner: tuple[ir.Stmt, ...], entering: int = 0) -> None:
    """A block of its own: slots noted in it are written in it."""
    body.pending = entering
    with body.writer.scope(assigned(inner)):
        _block(body, inner)
    body.flush()


def _assign(body: _Body, node: ir.Assign) -> None:
    text = exact(body.writer, node.value)
    body.writer.add(f"{local(node.name)} = {text}")
    body.writer.forget({node.name})


def _store(body: _Body, node: ir.Store) -> None:
    store(body.writer, node)


def _if(body: _Body, node: ir.If) -> None:
    test = exact(body.writer, node.condition)
    body.flush()
    costs = body.costs if not body.silent else None
    with body.writer.inside(f"if {test}:"):
        _inner(body, node.then, costs.then.get(id(node), 0) if costs else 0)
    other = costs.other.get(id(node), 0) if costs else 0
    if node.other or other:
        with body.writer.inside("else:"):
            _inner(body, node.other, other)


def _for(body: _Body, node: ir.For) -> None:
    writer = body.writer
    start, stop = exact(writer, node.start), exact(writer, node.stop)
    costs = body.costs if not body.silent else None
    each, was_silent = 0, body.silent
    if costs is not None:
        each = costs.each.get(id(node), 0)
        if writer.checked and not start.isidentifier() and not isinstance(node.start, ir.Const):
            start = writer.temporary(start)
        if not stop.isidentifier() and not isinstance(node.stop, ir.Const):
            stop = writer.temporary(stop)
        if id(node) in costs.collapsed:
            body.silent, each = True, 0
        else:
            _count_start(body, node, costs.entered.get(id(node), 0), start, stop)
            if _is_straight(node, costs):
                each = _count_straight(body, costs, node, each, start, stop)
                body.silent = True
    body.flush()
    with writer.scope(assigned((node,))):
        _rows(writer, node)
        with writer.inside(f"for {local(node.name)} in range({start}, {stop}, {node.step}):"):
            if (
                writer.checked
                and not body.silent
                and any(isinstance(x, (ir.For, ir.While)) for x in statements(node.body))
            ):
                _limit(writer, node.line)
            body.loops.append(node)
            _inner(body, node.body, each)
            body.loops.pop()
    body.silent = was_silent
    _leave_after(body, node)


def _count_start(body: _Body, node: ir.For, slots: int, start: str, stop: str) -> None:
    """Adds what a loop costs beside its iterations if it has any."""
    if not slots:
        return
    if isinstance(node.start, ir.Const) and isinstance(node.stop, ir.Const):
        body.pending += slots * bool(range(int(node.start.value), int(node.stop.value), node.step))
        return
    body.flush()
    with body.writer.inside(f"if ({start}) {'<' if node.step > 0 else '>'} ({stop}):"):
        body.writer.add(f"total += {slots}")


def _is_straight(node: ir.For, costs: Costs) -> bool:
    """Whether an iteration always costs the same."""
    for statement in node.body:
        if isinstance(statement, ir.For) and id(statement) in costs.collapsed:
            continue
        if not isinstance(statement, (ir.Assign, ir.Store)):
            return False
    return True


def _count_straight(body: _Body, costs: Costs, node: ir.For, each: int, start: str, stop: str) -> int:
    """Adds the slots of a whole straight loop; nothing is left to count in it."""
    each += sum(costs.before.get(id(s), 0) for s in node.body)
    width = costs.width.get(id(node), 1)
    if not each:
        return 0
    if isinstance(node.start, ir.Const) and isinstance(node.stop, ir.Const):
        trips = len(range(int(node.start.value), int(node.stop.value), node.step))
        body.pending += each * -(-trips // width)
        return 0
    span = f"{stop} - {start}" if node.step > 0 else f"{start} - {stop}"
    stride = abs(node.step) * width
    trips_text = body.writer.call("most_i", span if stride == 1 else f"({span} + {stride - 1}) // {stride}", 0)
    body.flush()
    body.writer.add(f"total += {each} * {trips_text}" if each > 1 else f"total += {trips_text}")
    return 0


def _while(body: _Body, node: ir.While) -> None:
    writer = body.writer
    body.flush()
    with writer.scope(assigned(node.body)):
        _rows(writer, node)
        _while_loop(body, node)
    _leave_after(body, node)


def _while_loop(body: _Body, node: ir.While) -> None:
    writer = body.writer
    with writer.aside() as lines:
        test = exact(writer, node.condition)
    simple = not lines
    with writer.inside(f"while {test}:" if simple else "while True:"):
        if not simple:
            writer.lines.extend("    " + line for line in lines)
            with writer.inside(f"if not {test}:"):
                writer.add("break")
        if body.costs is not None:
            writer.add(f"total += {body.costs.each.get(id(node), 1)}")
            _limit(writer, node.line)
        body.loops.append(node)
        _inner(body, node.body)
        body.loops.pop()


def _limit(writer: Writer, line: int) -> None:
    """Ends a vertex that runs for too long: compiled code cannot be interrupted."""
    with writer.inside(f"if total > {BUDGET}:"):
        fail(writer, RUNAWAY, line)


def _leave_after(body: _Body, node: ir.For | ir.While) -> None:
    if _returns(node.body):
        with body.writer.inside("if done:"):
            body.writer.add("break")


def _break(body: _Body, node: ir.Break) -> None:
    body.flush()
    body.writer.add("break")


def _continue(body: _Body, node: ir.Continue) -> None:
    body.flush()
    body.writer.add("continue")


def _return(body: _Body, node: ir.Return) -> None:
    body.flush()
    if body.loops:
        body.writer.add("done = True")
    body.writer.add("break")


_WRITE: dict[type[ir.Stmt], Callable[[_Body, ir.Stmt], None]] = {
    ir.Assign: _assign,  # type: ignore[dict-item]
    ir.Store: _store,  # type: ignore[dict-item]
    ir.For: _for,  # type: ignore[dict-item]
    ir.While: _while,  # type: ignore[dict-item]
    ir.If: _if,  # type: ignore[dict-item]
    ir.Break: _break,  # type: ignore[dict-item]
    ir.Continue: _continue,  # type: ignore[dict-item]
    ir.Return: _return,  # type: ignore[dict-item]
}


def _rows(writer: Writer, loop: ir.For | ir.While) -> None:
    """Looks up, before a loop, the rows whose number does not change in it."""
    changed = assigned((loop,))
    wanted: dict[tuple[str, str], bool] = {}
    for name, index, measured in _row_indices(loop):
        if _is_fixed(index, changed):
            key = name, index_text(writer, index)
            wanted[key] = wanted.get(key, writer.checked) or measured
    for (name, text), measured in wanted.items():
        if (name, text) in writer.rows:
            continue
        place = (f"{name}_first", text, f"{name}_len")
        address = writer.temporary(writer.call("get_row", f"{name}_rows", *place))
        length = writer.temporary(writer.call("get_row", f"{name}_sizes", *place)) if measured else ""
        writer.rows[name, text] = RowNames(address, length)


def _row_indices(loop: ir.For | ir.While) -> list[tuple[str, ir.Expr, bool]]:
    """Rows that a loop uses: field, index, and whether the row's length is asked for."""
    found: list[tuple[str, ir.Expr, bool]] = []
    roots: list[ir.Expr] = [loop.condition] if isinstance(loop, ir.While) else []
    for statement in statements(blocks(loop)[0]):
        roots.extend(expressions(statement))
        if isinstance(statement, ir.Store) and len(statement.index) == 2:
            found.append((statement.field, statement.index[0], False))
    for root in roots:
        for part in walk(root):
            if isinstance(part, ir.Load) and len(part.index) == 2:
                found.append((part.field, part.index[0], False))
            elif isinstance(part, ir.Length) and part.row is not None:
                found.append((part.field, part.row, True))
    return found


def _is_fixed(index: ir.Expr, changed: set[str]) -> bool:
    """Whether a row number is a sum of products of variables that do not change."""
    return is_affine(index) and changed.isdisjoint(reads(index))
