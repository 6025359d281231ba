"""Calls of plain Python functions: their bodies are put in place of the call.

A called function takes numbers and ends in its one `return expression`.  It sees its arguments, its own local
variables and its own module, never the codelet's fields.  An argument that is used more than once is kept in a
local variable; so are the function's own variables, under names that carry the function's.  Where the call may not
happen at all (the right side of `and`, an arm of a conditional expression), only functions that are one expression
can be put in place.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

from ipusim.dtype import bool_
from ipusim.lang import ir
from ipusim.lang.context import Context, Frame
from ipusim.lang.expressions import evaluate
from ipusim.lang.infer import Operand, Weak
from ipusim.lang.source import Source, read

Block = Callable[[Context, list[ast.stmt]], bool]
_MOST_DEEP = 20


def stored_names(body: list[ast.stmt]) -> list[str]:
    """Names that statements assign, in order of appearance."""
    found: dict[str, None] = {}
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[node.id] = None
    return list(found)


def call(context: Context, node: ast.Call, function: Any, arguments: tuple[Operand, ...], block: Block) -> Operand:
    """The value of a called function; its statements go before the statement at hand."""
    source = _called(context, node, getattr(function, "py_func", function))
    body, result = _parts(context, node, source)
    names = stored_names(body)
    parameters = _matched(context, node, source, arguments)
    simple = not body and not any(p in names for p, _ in parameters)
    if context.conditional and not simple:
        raise context.wrong(
            node, f"{source.tree.name} has statements and this call may be skipped; call it on a line of its own before"
        )
    stem = source.tree.name
    frame = Frame(
        source,
        {n: context.fresh(f"{stem}_{n}") for n in names},
        call_line=context.frame.line(node),
        caller=context.frame,
    )
    uses = _uses(body, result)
    for name, argument in parameters:
        _give(context, node, frame, name, argument, uses[name])
    context.frame = frame
    try:
        if not block(context, body):
            raise context.wrong(node, "returns before its last statement")
        return evaluate(context, result)
    finally:
        context.frame = frame.caller or frame


def _called(context: Context, node: ast.Call, function: Any) -> Source:
    if not inspect.isfunction(function):
        raise context.wrong(
            node,
            f"{ast.unparse(node.func)} cannot be called on a tile; there are casts, abs, min, max, "
            "functions of math and numpy on numbers, and plain Python functions",
        )
    frame: Frame | None = context.frame
    depth = 0
    while frame is not None:
        if frame.source.function.__code__ is function.__code__:
            raise context.wrong(node, "calls itself; a tile has no recursion, write a loop")
        frame, depth = frame.caller, depth + 1
    if depth > _MOST_DEEP:
        raise context.wrong(node, f"calls go deeper than {_MOST_DEEP}")
    return read(function, "function")


def _parts(context: Context, node: ast.Call, source: Source) -> tuple[list[ast.stmt], ast.expr]:
    body = [s for s in source.tree.body if not _says_nothing(s)]
    if not body or not isinstance(body[-1], ast.Return) or body[-1].value is None:
        raise context.wrong(node, f"{source.tree.name} does not end in `return` with a value")
    for statement in body[:-1]:
        if any(isinstance(n, ast.Return) for n in ast.walk(statement)):
            raise context.wrong(
                node,
                f"{source.tree.name} has more than one return; keep the value in a variable and return it at the end",
            )
    return body[:-1], body[-1].value


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _matched(
    context: Context, node: ast.Call, source: Source, arguments: tuple[Operand, ...]
) -> list[tuple[str, Operand]]:
    form = source.tree.args
    if form.vararg or form.kwarg or form.kwonlyargs:
        raise context.wrong(
            node, f"{source.tree.name} takes its arguments by star or by keyword; only plain ones are known"
        )
    names = [a.arg for a in (*form.posonlyargs, *form.args)]
    missing = len(names) - len(arguments)
    defaults = source.function.__defaults__ or ()
    if missing < 0 or missing > len(defaults):
        raise context.wrong(node, f"{source.tree.name} takes {len(names)} arguments, not {len(arguments)}")
    values = list(arguments)
    for default in defaults[len(defaults) - missing :] if missing else ():
        if isinstance(default, bool):
            values.append(ir.Const(context.frame.line(node), bool_, default))
        elif isinstance(default, (int, float)):
            values.append(Weak(context.frame.line(node), default))
        else:
            raise context.wrong(node, f"the default {default!r} of {source.tree.name} is no number")
    return list(zip(names, values, strict=True))


def _uses(body: list[ast.stmt], result: ast.expr) -> Counter[str]:
    uses: Counter[str] = Counter()
    for root in (*body, result):
        weight = 2 if isinstance(root, (ast.For, ast.While)) else 1
        for node in ast.walk(root):
            if isinstance(node, ast.Name):
                uses[node.id] += weight
    return uses


def _give(context: Context, node: ast.Call, frame: Frame, name: str, argument: Operand, uses: int) -> None:
    if name in frame.locals:
        context.put(frame.locals[name], argument, context.frame.line(node))
    elif isinstance(argument, (Weak, ir.Const, ir.Name)) or uses <= 1 or context.conditional:
        frame.given[name] = argument
    else:
        local = context.fresh(f"{frame.source.tree.name}_{name}")
        context.put(local, argument, context.frame.line(node))
        frame.given[name] = context.read(local, context.frame.line(node))
