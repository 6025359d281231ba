"""Expressions of Python's syntax tree -> typed expressions."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ipusim.dtype import DType, as_dtype, bool_, float32, int32
from ipusim.errors import UnknownName
from ipusim.lang import ir, places
from ipusim.lang.context import Context
from ipusim.lang.functions import ABS, LEAST, MOST, POWER, Math, cast_type, clamp, is_one_of, math_function
from ipusim.lang.infer import Operand, Weak, common, settle
from ipusim.lang.operators import BINARY, COMPARE, binary, compare, convert, unary

_MISSING: Any = object()

_HINTS: dict[type[ast.AST], str] = {
    ast.List: "a tile has no lists; use a field, or one local variable per element",
    ast.Tuple: "a tuple is no value on the tile; use one local variable per element",
    ast.Dict: "a tile has no dictionaries; use fields and indices",
    ast.Set: "a tile has no sets; use fields and indices",
    ast.ListComp: "a tile has no lists; write a loop that stores into a field",
    ast.GeneratorExp: "a tile has no generators; write a loop",
    ast.SetComp: "a tile has no sets; write a loop",
    ast.DictComp: "a tile has no dictionaries; write a loop",
    ast.Lambda: "a codelet has no functions of its own; write one outside with def, and call it",
    ast.JoinedStr: "a tile has no strings",
    ast.NamedExpr: "assign on a line of its own",
    ast.Await: "a tile does not wait; compute sets are synchronised by the program",
    ast.Yield: "a codelet yields nothing; store into a field",
    ast.YieldFrom: "a codelet yields nothing; store into a field",
    ast.Starred: "write the arguments out",
    ast.Slice: "a slice is no number; loop over the elements",
}


def evaluate(context: Context, node: ast.expr) -> Operand:
    """An expression's value: typed, or a literal whose type is still open.

    Raises `BadInput` for what the language does not have.
    """
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise context.wrong(node, _HINTS.get(type(node), "this is not part of the codelet language"))
    return handler(context, node)


def condition(context: Context, node: ast.expr) -> ir.Expr:
    """An expression as a truth value: numbers are compared with zero."""
    if isinstance(node, ast.BoolOp):
        return _logic(context, node, condition)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        operand = condition(context, node.operand)
        if isinstance(operand, ir.Const):
            return ir.Const(context.frame.line(node), bool_, not operand.value)
        return ir.Unary(context.frame.line(node), bool_, "not", operand)
    return settle(evaluate(context, node), bool_)


def known(context: Context, node: ast.expr) -> Any:
    """The Python object that a name of the surroundings stands for (`math.pi`, `W[2]`), or _MISSING."""
    if isinstance(node, ast.Name):
        frame = context.frame
        if node.id in frame.locals or node.id in frame.given or node.id in frame.rows:
            return _MISSING
        if frame.caller is None and (
            node.id in context.fields or node.id in context.values or node.id == context.worker
        ):
            return _MISSING
        found, value = frame.source.look_up(node.id)
        return value if found else _MISSING
    if isinstance(node, ast.Attribute):
        base = known(context, node.value)
        if base is _MISSING:
            return _MISSING
        value = getattr(base, node.attr, _MISSING)
        if value is _MISSING:
            raise context.wrong(node, f"{ast.unparse(node.value)} has no {node.attr!r}")
        return value
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
        base = known(context, node.value)
        if isinstance(base, (tuple, list)) and node.slice.value < len(base):
            return base[node.slice.value]
    return _MISSING


def _constant_of(context: Context, node: ast.expr, value: Any) -> Operand:
    """A number of the surroundings as a literal; numpy's sized numbers keep their type."""
    line = context.frame.line(node)
    if isinstance(value, (bool, np.bool_)):
        return ir.Const(line, bool_, bool(value))
    if isinstance(value, (int, float)):
        return Weak(line, float(value) if isinstance(value, float) else int(value))
    if isinstance(value, np.generic) and value.dtype.kind in "fiu":
        try:
            dtype = as_dtype(value.dtype)
        except UnknownName as error:
            raise context.wrong(node, str(error)) from None
        wide = isinstance(value, np.integer) and value.dtype.name not in ("int32", "uint32")
        return Weak(line, int(value)) if wide else settle(Weak(line, value.item()), dtype)
    raise context.wrong(node, f"{_what(value)}; codelets use numbers of the module, fields and local variables")


def _what(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"is an array of shape {value.shape}: connect it as a field"
    if isinstance(value, types.ModuleType):
        return "is a module"
    if callable(value):
        return "is a function: call it"
    return f"is a {type(value).__name__}"


def _name(context: Context, node: ast.Name) -> Operand:
    frame, name = context.frame, node.id
    if name in frame.given:
        return frame.given[name]
    place = places.find(context, node, evaluate)
    if place is not None:
        return places.load(context, node, place)
    if name in frame.locals:
        local = frame.locals[name]
        if local not in context.assigned:
            raise context.wrong(
                node, f"{name!r} is not assigned on every way here; give it a value before, on the straight path"
            )
        return context.read(local, frame.line(node))
    if frame.caller is None and name in context.values:
        return ir.Name(frame.line(node), context.values[name].dtype, name)
    if frame.caller is None and name == context.worker:
        return ir.Name(frame.line(node), int32, name)
    value = known(context, node)
    if value is _MISSING:
        own_names = (*frame.locals, *context.fields, *context.values) if frame.caller is None else tuple(frame.locals)
        raise context.wrong(
            node,
            f"no local variable, field, member or module constant has the name {name!r}"
            + frame.source.nearest(name, own_names),
        )
    return _constant_of(context, node, value)


def _literal(context: Context, node: ast.Constant) -> Operand:
    if isinstance(node.value, bool):
        return ir.Const(context.frame.line(node), bool_, node.value)
    if isinstance(node.value, (int, float)):
        return Weak(context.frame.line(node), node.value)
    lever = "; write characters as their codes" if isinstance(node.value, (str, bytes)) else ""
    raise context.wrong(node, f"a tile has no values of type {type(node.value).__name__}{lever}")


def _attribute(context: Context, node: ast.Attribute) -> Operand:
    value = known(context, node)
    if value is _MISSING:
        raise context.wrong(node, "numbers on the tile have no attributes")
    return _constant_of(context, node, value)


def _subscript(context: Context, node: ast.Subscript) -> Operand:
    place = places.find(context, node, evaluate)
    if place is not None:
        return places.load(context, node, place)
    value = known(context, node)
    if value is not _MISSING:
        return _constant_of(context, node, value)
    base = known(context, node.value)
    if isinstance(base, (tuple, list, np.ndarray)):
        raise context.wrong(
            node, f"{ast.unparse(node.value)} is no field; connect it as an Input, or index it with a literal"
        )
    raise context.wrong(node, f"{ast.unparse(node.value)!r} is no field of the codelet")


def _binary(context: Context, node: ast.BinOp) -> Operand:
    op = BINARY.get(type(node.op))
    if op is None:
        raise context.wrong(node, "@ is no operation of a tile; write the loops of the product")
    left = evaluate(context, node.left)
    return binary(context, node, op, left, evaluate(context, node.right))


def _unary(context: Context, node: ast.UnaryOp) -> Operand:
    if isinstance(node.op, ast.Not):
        return condition(context, node)
    return unary(context, node, evaluate(context, node.operand))


def _compare(context: Context, node: ast.Compare) -> Operand:
    parts: list[ir.Expr] = []
    left = evaluate(context, node.left)
    for i, (sign, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
        op = COMPARE.get(type(sign))
        if op is None:
            raise context.wrong(node, "compare numbers with <, <=, >, >=, == or !=")
        context.conditional += i > 0
        right = evaluate(context, right_node)
        context.conditional -= i > 0
        parts.append(compare(context, node, op, left, right))
        left = right
    return parts[0] if len(parts) == 1 else join_logic(context.frame.line(node), "and", parts)


def join_logic(line: int, op: Any, parts: list[ir.Expr]) -> ir.Expr:
    """`and` / `or` of truth values, without those that are known."""
    kept: list[ir.Expr] = []
    for part in parts:
        if isinstance(part, ir.Const):
            if bool(part.value) == (op == "or"):  # decides
                kept.append(part)
                break
            continue
        kept.append(part)
    if not kept:
        return ir.Const(line, bool_, op == "and")
    return kept[0] if len(kept) == 1 else ir.Logic(line, bool_, op, tuple(kept))


def _truth(context: Context, node: ast.expr) -> ir.Expr:
    value = evaluate(context, node)
    if isinstance(value, Weak) or value.type != bool_:
        raise context.wrong(node, "and / or join truth values here, and this is a number; compare it with something")
    return value


def _logic(context: Context, node: ast.BoolOp, part: Callable[[Context, ast.expr], ir.Expr] = _truth) -> ir.Expr:
    parts = []
    for i, item in enumerate(node.values):
        context.conditional += i > 0
        parts.append(part(context, item))
        context.conditional -= i > 0
    return join_logic(context.frame.line(node), "and" if isinstance(node.op, ast.And) else "or", parts)


def _choose(context: Context, node: ast.IfExp) -> Operand:
    test = condition(context, node.test)
    if isinstance(test, ir.Const):
        return evaluate(context, node.body if test.value else node.orelse)
    context.conditional += 1
    then, other = evaluate(context, node.body), evaluate(context, node.orelse)
    context.conditional -= 1
    return choose(context, node, test, then, other)


def choose(context: Context, node: ast.AST, test: ir.Expr, then: Operand, other: Operand) -> ir.Expr:
    """`then if test else other`, of one type."""
    dtype = common(then, other)
    if dtype is None:
        dtype = float32 if any(isinstance(o, Weak) and isinstance(o.value, float) for o in (then, other)) else int32
    a, b = convert(context, node, then, dtype), convert(context, node, other, dtype)
    return ir.Choose(context.frame.line(node), dtype, test, a, b)


def _call(context: Context, node: ast.Call) -> Operand:
    function = known(context, node.func)
    if function is _MISSING:
        raise context.wrong(node, f"{ast.unparse(node.func)!r} is not a function known here")
    if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
        raise context.wrong(node, "calls take their arguments by place, written out")
    if function is len:
        return places.length(context, node, evaluate)
    arguments = tuple(evaluate(context, a) for a in node.args)
    return apply(context, node, function, arguments)


def apply(context: Context, node: ast.Call, function: Any, arguments: tuple[Operand, ...]) -> Operand:
    """A call of a known object: a conversion, a function of the language, or a Python function to put in place."""
    dtype = cast_type(function)
    if dtype is not None:
        _arity(context, node, 1)
        return _cast(context, node, arguments[0], dtype)
    if is_one_of(function, ABS):
        _arity(context, node, 1)
        return _absolute(context, node, arguments[0])
    if is_one_of(function, LEAST + MOST):
        return _extreme(context, node, "min" if is_one_of(function, LEAST) else "max", arguments)
    if is_one_of(function, POWER):
        _arity(context, node, 2)
        return binary(context, node, "**", *arguments)
    if function is clamp:
        _arity(context, node, 3)
        return binary(context, node, "min", binary(context, node, "max", *arguments[:2]), arguments[2])
    if function is np.where:
        _arity(context, node, 3)
        return choose(context, node, settle(arguments[0], bool_), *arguments[1:])
    meaning = math_function(function)
    if meaning is not None:
        _arity(context, node, meaning.arity)
        return _math(context, node, meaning, arguments)
    return context.call(context, node, function, arguments)


def _arity(context: Context, node: ast.Call, number: int) -> None:
    if len(node.args) != number:
        raise context.wrong(node, f"takes {number} argument{'s' * (number > 1)}, not {len(node.args)}")


def _cast(context: Context, node: ast.Call, operand: Operand, dtype: DType) -> Operand:
    if isinstance(operand, Weak) and not dtype.is_float and isinstance(operand.value, float):
        operand = Weak(operand.line, int(operand.value))
    return convert(context, node, operand, dtype)


def _absolute(context: Context, node: ast.Call, operand: Operand) -> Operand:
    line = context.frame.line(node)
    if isinstance(operand, Weak):
        return Weak(line, abs(operand.value))
    wide = settle(operand, int32) if operand.type == bool_ else operand
    return wide if wide.type.kind == "uint" else ir.MathCall(line, wide.type, "abs", (wide,))


def _extreme(context: Context, node: ast.Call, op: str, arguments: tuple[Operand, ...]) -> Operand:
    if len(arguments) < 2:
        raise context.wrong(node, f"{op} takes two or more numbers; for the {op}imum of a field write a loop")
    found = arguments[0]
    for argument in arguments[1:]:
        found = binary(context, node, op, found, argument)
    return found


def _math(context: Context, node: ast.Call, meaning: Math, arguments: tuple[Operand, ...]) -> Operand:
    line = context.frame.line(node)
    if all(isinstance(a, Weak) for a in arguments):
        try:
            found = meaning.fold(*(a.value for a in arguments if isinstance(a, Weak)))
        except (ArithmeticError, ValueError) as error:
            raise context.wrong(node, f"cannot be computed: {error}") from None
        return ir.Const(line, bool_, found) if meaning.result == "bool" else Weak(line, found)
    dtype = common(*arguments)
    assert dtype is not None
    if meaning.result == "int" and not dtype.is_float:  # math.floor of an integer
        return settle(arguments[0], int32 if dtype == bool_ else dtype)
    dtype = dtype if dtype.is_float else float32
    values = tuple(convert(context, node, a, dtype) for a in arguments)
    if meaning.result == "bool":
        return ir.MathCall(line, bool_, meaning.name, values)
    called = ir.MathCall(line, dtype, meaning.name, values)
    return ir.Cast(line, int32, called) if meaning.result == "int" else called


_HANDLERS: dict[type[ast.AST], Callable[..., Operand]] = {
    ast.Name: _name,
    ast.Constant: _literal,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.BoolOp: _logic,
    ast.IfExp: _choose,
    ast.Call: _call,
}
