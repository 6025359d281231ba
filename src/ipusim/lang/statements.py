"""Statements of Python's syntax tree -> typed statements; checks that a variable has a value wherever it is read."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from ipusim.dtype import DType, bool_, int32, uint32
from ipusim.errors import BadInput
from ipusim.lang import ir, places
from ipusim.lang.context import Context, Loop, Row
from ipusim.lang.expressions import condition, evaluate, known
from ipusim.lang.fields import element_type, value_type
from ipusim.lang.infer import ORDER, Operand, Weak, settle
from ipusim.lang.operators import BINARY, binary, convert
from ipusim.lang.reads import reads

_MOST_NESTED = 60  # [own choice, within Python's limit of 100 levels of indentation] blocks inside each other

_HINTS: dict[type[ast.AST], str] = {
    ast.FunctionDef: "a codelet has no functions of its own; define it outside and call it",
    ast.AsyncFunctionDef: "a codelet has no functions of its own",
    ast.ClassDef: "a tile has no classes",
    ast.With: "a tile has no context managers",
    ast.Try: "a tile has no exceptions",
    ast.Raise: "a tile has no exceptions; store a flag into a field, and use AbortOnCondition in the program",
    ast.Assert: "a tile has no exceptions; store a flag into a field, and use AbortOnCondition in the program",
    ast.Import: "import at the top of the file",
    ast.ImportFrom: "import at the top of the file",
    ast.Global: "a vertex has no memory of its own beyond its fields; connect an InOut field",
    ast.Nonlocal: "a vertex has no memory of its own beyond its fields; connect an InOut field",
    ast.Delete: "local variables end by themselves",
    ast.Match: "write if / elif",
}


def block(context: Context, body: list[ast.stmt]) -> bool:
    """Adds statements; returns whether execution goes on after them."""
    for statement in body:
        handler = _HANDLERS.get(type(statement))
        if handler is None:
            raise context.wrong(
                statement, _HINTS.get(type(statement), "this statement is not part of the codelet language")
            )
        if not handler(context, statement):
            return False
    return True


def nested(context: Context, body: list[ast.stmt]) -> tuple[tuple[ir.Stmt, ...], bool]:
    """Statements of an inner block, and whether execution goes on after them."""
    outer, context.statements = context.statements, []
    context.depth += 1
    if context.depth > _MOST_NESTED:
        raise context.wrong(
            body[0], f"is {context.depth} blocks deep (each elif is one more); keep numbers to choose from in a field"
        )
    flows = block(context, body)
    context.depth -= 1
    inner, context.statements = tuple(context.statements), outer
    return inner, flows


def _assign(context: Context, node: ast.Assign) -> bool:
    if len(node.targets) > 1:
        value = _stay(context, evaluate(context, node.value), node)
        for target in node.targets:
            _set(context, target, value, node)
        return True
    target = node.targets[0]
    if isinstance(target, (ast.Tuple, ast.List)):
        _unpack(context, node, target)
    elif not _bind_row(context, target, node.value):
        _set(context, target, evaluate(context, node.value), node)
    return True


def _stay(context: Context, value: Operand, node: ast.stmt) -> Operand:
    """A value that is used more than once: kept in a variable unless it is simple."""
    if isinstance(value, (Weak, ir.Const, ir.Name)):
        return value
    local = context.fresh("value")
    context.put(local, value, context.frame.line(node))
    return context.read(local, context.frame.line(node))


def _unpack(context: Context, node: ast.Assign, target: ast.Tuple | ast.List) -> None:
    if not isinstance(node.value, (ast.Tuple, ast.List)) or len(node.value.elts) != len(target.elts):
        raise context.wrong(node, f"write {len(target.elts)} values on the right side, one for each target")
    pairs = list(zip(target.elts, node.value.elts, strict=True))
    if any(places.names_row(context, value) for _, value in pairs):
        raise context.wrong(node, "bind rows one on a line")
    values = [evaluate(context, v) for _, v in pairs]
    for i, value in enumerate(values):
        earlier = [_written(t) for t, _ in pairs[:i]]
        if isinstance(value, ir.Expr) and any(context.frame.locals.get(w, w) in reads(value) for w in earlier):
            values[i] = _stay_apart(context, value, node)
    for (place, _), value in zip(pairs, values, strict=True):
        _set(context, place, value, node)


def _stay_apart(context: Context, value: ir.Expr, node: ast.stmt) -> Operand:
    local = context.fresh("held")
    context.put(local, value, context.frame.line(node))
    return context.read(local, context.frame.line(node))


def _written(target: ast.expr) -> str:
    while isinstance(target, ast.Subscript):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _bind_row(context: Context, target: ast.expr, value: ast.expr) -> bool:
    """`row = field[i]`, for a vector of vectors: the name stands for the row from here on."""
    if not isinstance(target, ast.Name) or not places.names_row(context, value):
        return False
    place = places.find(context, value, evaluate)
    assert place is not None
    name = _own_name(context, target)
    bound = context.frame.rows.get(target.id)
    if bound is None and name in context.assigned:
        raise context.wrong(target, f"{target.id!r} holds a number elsewhere; give the row another name")
    if bound is not None and bound.field != place.spec.name:
        raise context.wrong(target, f"{target.id!r} is a row of {bound.field!r} elsewhere; give this one another name")
    context.put(name, place.index[0], context.frame.line(target))
    context.frame.rows[target.id] = Row(place.spec.name, name)
    return True


def _own_name(context: Context, target: ast.Name) -> str:
    """The local variable that an assignment means."""
    name, frame = target.id, context.frame
    if frame.caller is None:
        if name in context.fields:
            raise context.wrong(target, f"{name!r} is a field; write {name}[0] = ... or {name}[i] = ...")
        if name in context.values or name == context.worker:
            raise context.wrong(target, f"{name!r} is a member of the vertex; copy it to a local variable")
    local = frame.locals[name]
    if any(loop.counter == local for loop in context.loops):
        raise context.wrong(target, f"{name!r} counts a loop around this; copy it to another variable")
    return local


def _set(context: Context, target: ast.expr, value: Operand, node: ast.stmt) -> None:
    """`target = value`, for a name or an element."""
    if isinstance(target, ast.Name):
        local = _own_name(context, target)
        if target.id in context.frame.rows:
            raise context.wrong(target, f"{target.id!r} is bound to a row elsewhere; give the number another name")
        _assign_local(context, target, local, value)
        return
    _store(context, node, _target(context, target), value)


def _target(context: Context, target: ast.expr) -> places.Place:
    """The element that an assignment means."""
    place = places.find(context, target, evaluate) if isinstance(target, ast.Subscript) else None
    if place is None:
        raise context.wrong(target, "assign to a local variable or to an element of a field")
    if not place.is_element:
        raise context.wrong(target, "is a row; assign to its elements")
    if place.spec.role == "in":
        raise context.wrong(
            target, f"field {place.spec.name!r} is an Input and cannot be written; make it InOut or Output"
        )
    return place


def _store(context: Context, node: ast.stmt, place: places.Place, value: Operand) -> None:
    stored = _fitting(context, node, value, value_type(place.spec.dtype))
    context.statements.append(ir.Store(context.frame.line(node), place.spec.name, place.index, stored))


def _fitting(context: Context, node: ast.AST, value: Operand, dtype: DType) -> ir.Expr:
    if isinstance(value, Weak) and isinstance(value.value, float) and not dtype.is_float:
        if value.value != int(value.value):
            raise context.wrong(node, f"holds {dtype}, and {value.value!r} is no integer")
        value = Weak(value.line, int(value.value))
    return convert(context, node, value, dtype)


def _assign_local(context: Context, node: ast.AST, local: str, value: Operand) -> None:
    variable = context.variable(local)
    counts = local in context.counters
    dtype = value.type if isinstance(value, ir.Expr) else None
    if counts and (
        (dtype is not None and dtype.is_float) or (isinstance(value, Weak) and isinstance(value.value, float))
    ):
        raise context.wrong(node, f"{local!r} counts a loop elsewhere, and a float is assigned here; use another name")
    if isinstance(value, Weak):
        trial = variable.type(context.partials) if variable.strong or variable.declared else None
        convert(context, node, value, trial or settle(value).type)
    context.put(local, value, context.frame.line(node))


def _augment(context: Context, node: ast.AugAssign) -> bool:
    op = BINARY.get(type(node.op))
    if op is None:
        raise context.wrong(node, "@ is no operation of a tile; write the loops of the product")
    if isinstance(node.target, ast.Name):
        _own_name(context, node.target)
        left = evaluate(context, node.target)
        _set(context, node.target, binary(context, node, op, left, evaluate(context, node.value)), node)
        return True
    place = _target(context, node.target)
    left = places.load(context, node.target, place)
    _store(context, node, place, binary(context, node, op, left, evaluate(context, node.value)))
    return True


def _annotate(context: Context, node: ast.AnnAssign) -> bool:
    if not isinstance(node.target, ast.Name):
        raise context.wrong(node, "only local variables take a type")
    local = _own_name(context, node.target)
    dtype = _declared(context, node)
    variable = context.variable(local)
    if variable.declared not in (None, dtype) or local in context.counters:
        raise context.wrong(node, f"{node.target.id!r} has type {variable.declared} elsewhere")
    variable.declared = dtype
    if node.value is not None:
        context.statements.append(
            ir.Assign(context.frame.line(node), local, _fitting(context, node, evaluate(context, node.value), dtype))
        )
        context.assigned.add(local)
    return True


def _declared(context: Context, node: ast.AnnAssign) -> DType:
    annotation = node.annotation
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.copy_location(ast.parse(annotation.value, mode="eval").body, annotation)
    try:
        dtype = element_type(known(context, annotation))
    except BadInput as error:
        raise context.wrong(node, str(error)) from None
    if dtype not in ORDER:
        raise context.wrong(node, f"{dtype} exists in memory only; a local variable is {value_type(dtype)}")
    return dtype


def _if(context: Context, node: ast.If) -> bool:
    test = condition(context, node.test)
    if isinstance(test, ir.Const):
        return block(context, node.body if test.value else node.orelse)
    before = set(context.assigned)
    then, then_flows = nested(context, node.body)
    after_then, context.assigned = context.assigned, before
    other, other_flows = nested(context, node.orelse)
    context.statements.append(ir.If(context.frame.line(node), test, then, other))
    if then_flows:
        context.assigned = context.assigned & after_then if other_flows else after_then
    return then_flows or other_flows


def _for(context: Context, node: ast.For) -> bool:
    if node.orelse:
        raise context.wrong(node, "a loop has no else here; set a flag before `break`")
    if not isinstance(node.target, ast.Name):
        raise context.wrong(node, "a loop counts with one name: for i in range(...)")
    start, stop, step = _range(context, node)
    local = _own_name(context, node.target)
    variable = context.variable(local)
    if node.target.id in context.frame.rows or variable.type(context.partials).is_float:
        raise context.wrong(node, f"{node.target.id!r} holds something else elsewhere; count with another name")
    variable.declared = start.type
    context.counters.add(local)
    before = set(context.assigned)
    context.assigned.add(local)
    context.loops.append(Loop(local))
    body, _ = nested(context, node.body)
    context.loops.pop()
    context.assigned = before
    context.statements.append(ir.For(context.frame.line(node), local, start, stop, step, body))
    return True


def _range(context: Context, node: ast.For) -> tuple[ir.Expr, ir.Expr, int]:
    call = node.iter
    if not isinstance(call, ast.Call) or known(context, call.func) is not range:
        raise context.wrong(node, "a loop runs over range(...); for the elements of a field: for i in range(len(f))")
    if not 1 <= len(call.args) <= 3 or call.keywords:
        raise context.wrong(node, "range takes one to three integers")
    bounds: list[Any] = [evaluate(context, a) for a in call.args]
    step = 1
    if len(bounds) == 3:
        literal = bounds.pop()
        if isinstance(literal, ir.Const) and literal.type == int32:
            literal = Weak(literal.line, literal.value)
        if not isinstance(literal, Weak) or not isinstance(literal.value, int) or literal.value == 0:
            raise context.wrong(node, "the step of range is an integer literal other than 0; write a while loop")
        step = literal.value
    for bound, text in zip(bounds, call.args, strict=False):
        found = settle(bound).type
        if found.is_float or found == bool_:
            raise context.wrong(text, f"a bound of range is an integer, and this is {found}; convert it with int(...)")
    unsigned = step > 0 and any(settle(b).type == uint32 for b in bounds)
    if len(bounds) == 1:
        bounds.insert(0, Weak(node.iter.lineno, 0))
    texts = [call.args[0], *call.args[:2]][-2:]
    start, stop = (convert(context, t, b, uint32 if unsigned else int32) for b, t in zip(bounds, texts, strict=True))
    return start, stop, step


def _while(context: Context, node: ast.While) -> bool:
    if node.orelse:
        raise context.wrong(node, "a loop has no else here; set a flag before `break`")
    line = context.frame.line(node)
    before = set(context.assigned)
    outer, context.statements = context.statements, []
    test = condition(context, node.test)
    prepared, context.statements = context.statements, outer
    endless = isinstance(test, ir.Const)
    if isinstance(test, ir.Const) and not test.value:
        return True
    loop = Loop(None)
    context.loops.append(loop)
    body, _ = nested(context, node.body)
    context.loops.pop()
    if prepared:  # a called function's statements run before each test
        leave = ir.If(line, ir.Unary(line, bool_, "not", test), (ir.Break(line),), ())
        body, test = (*prepared, leave, *body), ir.Const(line, bool_, True)
    context.statements.append(ir.While(line, test, body))
    context.assigned = before
    if endless and loop.at_break:
        context.assigned = set(frozenset.intersection(*loop.at_break))
    return not endless or bool(loop.at_break)


def _leave(context: Context, node: ast.Break | ast.Continue) -> bool:
    line = context.frame.line(node)
    if isinstance(node, ast.Break):
        context.loops[-1].at_break.append(frozenset(context.assigned))
        context.statements.append(ir.Break(line))
    else:
        context.statements.append(ir.Continue(line))
    return False


def _return(context: Context, node: ast.Return) -> bool:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        raise context.wrong(node, "a codelet returns nothing; store into an Output field")
    context.statements.append(ir.Return(context.frame.line(node)))
    return False


def _expression(context: Context, node: ast.Expr) -> bool:
    if isinstance(node.value, ast.Constant):
        return True
    if isinstance(node.value, ast.Call) and known(context, node.value.func) is print:
        raise context.wrong(node, "a tile cannot print; use PrintTensor in the program")
    raise context.wrong(node, "the value of this is not used; assign it")


def _pass(context: Context, node: ast.Pass) -> bool:
    return True


_HANDLERS: dict[type[ast.AST], Callable[..., bool]] = {
    ast.Assign: _assign,
    ast.AugAssign: _augment,
    ast.AnnAssign: _annotate,
    ast.If: _if,
    ast.For: _for,
    ast.While: _while,
    ast.Break: _leave,
    ast.Continue: _leave,
    ast.Return: _return,
    ast.Expr: _expression,
    ast.Pass: _pass,
}
