"""What can be said of statements before any instruction is issued: names, memory, trip counts, shape of loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ipusim.lang.ir import (
    Assign,
    Binary,
    Break,
    Cast,
    Const,
    Continue,
    Expr,
    For,
    Function,
    If,
    Load,
    Name,
    Return,
    Stmt,
    Store,
    Unary,
    While,
)
from ipusim.lang.reads import blocks, expressions, statements, walk
from ipusim.lang.slots import UNROLL_BODIES, UNROLL_TRIPS

_REDUCING = frozenset({"+", "-", "*", "min", "max"})


def reads(node: Expr) -> Iterator[str]:
    """Names of variables and scalar fields that an expression reads."""
    for part in walk(node):
        if isinstance(part, Name):
            yield part.name
        elif isinstance(part, Load) and not part.index:
            yield part.field


def assigned_by(stmt: Stmt) -> str | None:
    """The variable or scalar field that a statement itself sets."""
    match stmt:
        case Assign() | For():
            return stmt.name
        case Store() if not stmt.index:
            return stmt.field
        case _:
            return None


def assigned(block: Iterable[Stmt]) -> tuple[str, ...]:
    """Variables and scalar fields set anywhere in a block, in order, each once."""
    return tuple(dict.fromkeys(n for s in statements(block) if (n := assigned_by(s)) is not None))


def stored(block: Iterable[Stmt]) -> tuple[str, ...]:
    """Vector fields written anywhere in a block, in order, each once."""
    return tuple(dict.fromkeys(s.field for s in statements(block) if isinstance(s, Store) and s.index))


def _counts(stmts: Iterable[Stmt]) -> Counter[str]:
    return Counter(n for s in statements(stmts) for e in expressions(s) for n in reads(e))


def exposed(block: Sequence[Stmt]) -> set[str]:
    """Names that a block may read before it has set them."""
    needed: set[str] = set()
    have: set[str] = set()
    for stmt in block:
        for node in expressions(stmt):
            needed |= {n for n in reads(node) if n not in have}
        for body in blocks(stmt):
            inside = exposed(body)
            needed |= inside - have - ({stmt.name} if isinstance(stmt, For) else set())
        if isinstance(stmt, (Assign, Store)) and (name := assigned_by(stmt)) is not None:
            have.add(name)
    return needed


def carried(function: Function) -> frozenset[str]:
    """Names whose value has to survive the end of a loop's iteration or of a branch in a register of its own."""
    total = _counts(function.body)
    found: set[str] = set()
    for stmt in statements(function.body):
        if not isinstance(stmt, (For, While, If)):
            continue
        inside = _counts([stmt])
        names = set(assigned(b for body in blocks(stmt) for b in body))
        found |= {n for n in names if total[n] > inside[n]}
        if isinstance(stmt, (For, While)):
            again = exposed(stmt.body)
            if isinstance(stmt, While):
                again |= set(reads(stmt.condition))
            found |= names & again
    return frozenset(found)


def literal(node: Expr) -> int | None:
    """The value of an expression of integer literals."""
    match node:
        case Const() if isinstance(node.value, int):
            return int(node.value)
        case Unary(op="neg"):
            inner = literal(node.operand)
            return -inner if inner is not None else None
        case Binary(op="+" | "-" | "*"):
            left, right = literal(node.left), literal(node.right)
            if left is None or right is None:
                return None
            return left + right if node.op == "+" else left - right if node.op == "-" else left * right
        case _:
            return None


def trips(loop: For) -> int | None:
    """The trip count where it is a literal."""
    start, stop = literal(loop.start), literal(loop.stop)
    return len(range(start, stop, loop.step)) if start is not None and stop is not None else None


def unrolled(stmt: Stmt) -> int:
    """Copies of its body if the loop disappears by full unrolling, else 0."""
    if not isinstance(stmt, For):
        return 0
    count = trips(stmt)
    if count is None or not 0 < count <= UNROLL_TRIPS or not straight(stmt.body):
        return 0
    copies = count * max((max(1, unrolled(s)) for s in stmt.body), default=1)
    return copies if copies <= UNROLL_BODIES else 0


def straight(block: Iterable[Stmt]) -> bool:
    """True if nothing in the block branches, once loops that disappear have gone."""
    return all(isinstance(s, (Assign, Store)) or unrolled(s) > 0 for s in block)


def jumps(block: Sequence[Stmt]) -> bool:
    """True if the block ends by leaving."""
    return bool(block) and isinstance(block[-1], (Break, Continue, Return))


def continues(block: Iterable[Stmt]) -> bool:
    """True if a `continue` in the block goes on with the loop whose body the block is."""
    inner = (b for s in block if isinstance(s, If) for b in blocks(s))
    return any(isinstance(s, Continue) for s in block) or any(continues(b) for b in inner)


def reductions(block: Sequence[Stmt]) -> tuple[str, ...] | None:
    """Names that a loop's body carries round, if each is a plain reduction (`s = s op x`); None if one is not.

    A vector loop may keep such a name in a vector of partial results.
    """
    flat = [s for s in statements(block) if not isinstance(s, For)]
    names = [n for n in assigned(flat) if n in exposed(block)]
    for name in names:
        sets = [s for s in flat if assigned_by(s) == name]
        uses = sum(n == name for s in flat for e in expressions(s) for n in reads(e))
        if len(sets) != 1 or uses != 1 or not _reduces(sets[0], name):
            return None
    return tuple(names)


def _reduces(stmt: Stmt, name: str) -> bool:
    node = expressions(stmt)[-1]
    if not isinstance(node, Binary) or node.op not in _REDUCING:
        return False
    if name in reads(node.left):
        return _is_just(node.left, name)
    return node.op != "-" and _is_just(node.right, name)


def _is_just(node: Expr, name: str) -> bool:
    while isinstance(node, Cast):
        node = node.operand
    return (isinstance(node, Name) and node.name == name) or (isinstance(node, Load) and node.field == name)
