"""Walks over typed trees: parts of an expression, the names it reads, all statements of a body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ipusim.lang import ir


def parts(node: ir.Expr) -> tuple[ir.Expr, ...]:
    """The operands of an expression, in order of evaluation."""
    if isinstance(node, (ir.Const, ir.Name)):
        return ()
    if isinstance(node, ir.Load):
        return node.index
    if isinstance(node, ir.Length):
        return () if node.row is None else (node.row,)
    if isinstance(node, (ir.Unary, ir.Cast)):
        return (node.operand,)
    if isinstance(node, (ir.Binary, ir.Compare)):
        return node.left, node.right
    if isinstance(node, ir.Logic):
        return node.parts
    if isinstance(node, ir.Choose):
        return node.condition, node.then, node.other
    if isinstance(node, ir.MathCall):
        return node.arguments
    raise TypeError(type(node).__name__)


def walk(node: ir.Expr) -> Iterator[ir.Expr]:
    """An expression and all that is in it."""
    yield node
    for part in parts(node):
        yield from walk(part)


def reads(node: ir.Expr) -> set[str]:
    """Names of variables and fields that an expression reads."""
    found: set[str] = set()
    for part in walk(node):
        if isinstance(part, ir.Name):
            found.add(part.name)
        elif isinstance(part, ir.Load):
            found.add(part.field)
    return found


def expressions(statement: ir.Stmt) -> tuple[ir.Expr, ...]:
    """The expressions of one statement, without those of inner blocks."""
    if isinstance(statement, ir.Assign):
        return (statement.value,)
    if isinstance(statement, ir.Store):
        return (*statement.index, statement.value)
    if isinstance(statement, ir.For):
        return statement.start, statement.stop
    if isinstance(statement, (ir.While, ir.If)):
        return (statement.condition,)
    return ()


def blocks(statement: ir.Stmt) -> tuple[tuple[ir.Stmt, ...], ...]:
    """The inner blocks of one statement."""
    if isinstance(statement, (ir.For, ir.While)):
        return (statement.body,)
    if isinstance(statement, ir.If):
        return statement.then, statement.other
    return ()


def statements(body: Iterable[ir.Stmt]) -> Iterator[ir.Stmt]:
    """All statements of a body, outer before inner."""
    for statement in body:
        yield statement
        for inner in blocks(statement):
            yield from statements(inner)


def assigned(body: tuple[ir.Stmt, ...]) -> set[str]:
    """Names of variables that a body assigns, loop variables included."""
    return {s.name for s in statements(body) if isinstance(s, (ir.Assign, ir.For))}
