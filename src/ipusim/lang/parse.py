"""A Python function -> a typed `ir.Function`.

The signature gives fields and members; the body is read repeatedly until the types of its local variables no longer
change (they only ever rise, so this ends).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from ipusim.dtype import DType, float32, half, int32
from ipusim.errors import BadInput
from ipusim.lang import inline, ir
from ipusim.lang.context import Context, Frame
from ipusim.lang.fields import FieldType, VectorType, element_type
from ipusim.lang.infer import ORDER, Variable
from ipusim.lang.reads import expressions, parts, statements
from ipusim.lang.source import Source, read
from ipusim.lang.statements import block

Partials = Literal["half", "float32"]

WORKER = "worker_id"
_MOST_DEEP = 200  # [own choice, within Python's recursion limit of 1000] operations of an expression inside each other
_TOO_LONG = f"an expression has more than {_MOST_DEEP} operations one inside the other; use local variables for parts"


def parse(
    python_function: Callable[..., Any],
    *,
    multi: bool = False,
    partials: str = "float32",
    around: Mapping[str, Any] | None = None,
) -> ir.Function:
    """Reads a codelet.

    `multi`: all six workers run it, each with its `worker_id`.  `partials`: the type of a variable that starts from a
    bare number and takes halves.  `around`: names that annotations may use besides those of closure and module.
    Raises `BadInput` with file, line and construct for what the language does not have.
    """
    source = read(python_function, "codelet", around)
    fields, values, worker = _signature(source, multi)
    variables: dict[str, Variable] = {}
    narrow = half if partials == "half" else float32
    while True:
        before = {n: v.type(narrow) for n, v in variables.items()}
        context = _read_body(source, fields, values, worker, narrow, variables)
        if {n: v.type(narrow) for n, v in variables.items()} == before or not variables:
            break
    _check_depth(source, context.statements)
    return ir.Function(
        name=source.tree.name,
        fields=tuple(fields.values()),
        values=tuple(values.values()),
        worker=worker,
        locals={n: variables[n].type(narrow) for n in context.order},
        body=tuple(context.statements),
        source=source.text,
        file=source.file,
        first_line=source.first_line,
    )


def _read_body(
    source: Source,
    fields: dict[str, ir.FieldSpec],
    values: dict[str, ir.ValueSpec],
    worker: str | None,
    partials: DType,
    variables: dict[str, Variable],
) -> Context:
    own = inline.stored_names(source.tree.body)
    frame = Frame(source, {n: n for n in own})
    call = partial(inline.call, block=block)
    context = Context(fields, values, worker, partials, frame, variables, call)
    context.taken.update((*own, *fields, *values, *([worker] if worker else [])))
    try:
        block(context, source.tree.body)
    except RecursionError:
        raise source.wrong(source.tree.lineno, _TOO_LONG) from None
    return context


def _check_depth(source: Source, body: list[ir.Stmt]) -> None:
    """Raises `BadInput` for an expression that is nested deeper than what is done with it later can follow."""
    for statement in statements(tuple(body)):
        level, depth = list(expressions(statement)), 0
        while level:
            level, depth = [p for node in level for p in parts(node)], depth + 1
            if depth > _MOST_DEEP:
                raise source.wrong(statement.line, _TOO_LONG)


def _signature(source: Source, multi: bool) -> tuple[dict[str, ir.FieldSpec], dict[str, ir.ValueSpec], str | None]:
    form = source.tree.args
    for extra in (form.vararg, form.kwarg, *form.kwonlyargs):
        if extra is not None:
            raise source.wrong(extra, "a codelet's arguments are its fields and members, all plain")
    if form.defaults:
        raise source.wrong(form.defaults[0], "a member has no default; give the value when the vertex is added")
    fields: dict[str, ir.FieldSpec] = {}
    values: dict[str, ir.ValueSpec] = {}
    worker = None
    for argument in (*form.posonlyargs, *form.args):
        name, kind = argument.arg, _annotation(source, argument)
        if isinstance(kind, FieldType):
            fields[name] = ir.FieldSpec(name, kind.role, kind.depth, kind.dtype)
        elif name == WORKER:
            worker = _worker(source, argument, kind, multi)
        else:
            values[name] = ir.ValueSpec(name, _member(source, argument, kind))
    if multi and worker is None:
        raise source.wrong(source.tree.lineno, f"multi=True runs all six workers; add the argument {WORKER}: int")
    _no_result(source)
    return fields, values, worker


def _worker(source: Source, argument: ast.arg, kind: Any, multi: bool) -> str:
    if not multi:
        raise source.wrong(argument, f"{WORKER} exists in a codelet that all workers run: write @codelet(multi=True)")
    if kind not in (int, int32):
        raise source.wrong(argument, f"{WORKER} is an int")
    return WORKER


def _annotation(source: Source, argument: ast.arg) -> Any:
    if argument.annotation is None:
        raise source.wrong(
            argument, "needs an annotation: Input[...], Output[...] or InOut[...], or int, float or bool for a member"
        )
    value = source.function.__annotations__.get(argument.arg)
    if not isinstance(value, str):
        return value
    scope: dict[str, Any] = {}
    for names in reversed(source.names):
        scope.update(names)
    try:
        value = eval(value, scope)
        return eval(value, scope) if isinstance(value, str) else value  # quoted, in a module of deferred annotations
    except BadInput as error:
        raise source.wrong(argument, str(error)) from None
    except Exception as error:
        raise source.wrong(argument, f"the annotation cannot be evaluated: {error}") from None


def _member(source: Source, argument: ast.arg, kind: Any) -> DType:
    if isinstance(kind, VectorType):
        raise source.wrong(argument, "say how the field is used: Input[...], Output[...] or InOut[...] around Vector")
    try:
        dtype = element_type(kind)
    except BadInput as error:
        raise source.wrong(argument, str(error)) from None
    if dtype not in ORDER:
        raise source.wrong(argument, f"a member is int32, uint32, float32, half or bool, not {dtype}")
    return dtype


def _no_result(source: Source) -> None:
    found = source.tree.returns
    if found is not None and not (isinstance(found, ast.Constant) and found.value in (None, "None")):
        raise source.wrong(found, "a codelet returns nothing: -> None")
