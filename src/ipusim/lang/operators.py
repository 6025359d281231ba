"""Operators on typed operands: what type comes out, and what becomes of two literals."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from ipusim.dtype import DType, bool_, float32, int32
from ipusim.lang import ir
from ipusim.lang.context import Context
from ipusim.lang.infer import Operand, Weak, common, constant, literal_fits, settle

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_FOLD: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "min": min,
    "max": max,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_BITS = {"&", "|", "^"}
_SHIFTS = {"<<", ">>"}
_LONGEST_LITERAL_POWER = 64


def convert(context: Context, node: ast.AST, operand: Operand, dtype: DType) -> ir.Expr:
    """The operand as a value of a type; a literal must fit it."""
    if isinstance(operand, Weak):
        problem = literal_fits(operand.value, dtype)
        if problem:
            raise context.wrong(node, problem)
    return settle(operand, dtype)


def fold(context: Context, node: ast.AST, op: str, left: Weak, right: Weak) -> Any:
    """An operator on two literals, in Python's arithmetic."""
    if op == "**" and abs(right.value) > _LONGEST_LITERAL_POWER:
        raise context.wrong(node, f"an exponent of {right.value!r} between literals is out of bounds")
    if op == "<<" and right.value > _LONGEST_LITERAL_POWER:
        raise context.wrong(node, f"a shift by {right.value!r} leaves nothing of 32 bits")
    try:
        found = _FOLD[op](left.value, right.value)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise context.wrong(node, f"cannot be computed: {error}") from None
    if isinstance(found, complex):
        raise context.wrong(node, "is a complex number")
    return found


def binary(context: Context, node: ast.AST, op: str, left: Operand, right: Operand) -> Operand:
    """`left op right`.  Raises `BadInput` where the operator does not take such operands."""
    line = context.frame.line(node)
    if isinstance(left, Weak) and isinstance(right, Weak):
        return Weak(line, fold(context, node, op, left, right))
    if op == "**" and isinstance(right, Weak):
        return _power(context, node, settle(left), right)
    dtype = _result(context, node, op, left, right)
    a, b = convert(context, node, left, dtype), convert(context, node, right, dtype)
    if op in {"//", "%"} and not dtype.is_float and isinstance(b, ir.Const) and b.value == 0:
        raise context.wrong(node, "divides an integer by zero")
    if op == "**" and dtype.is_float is False and isinstance(b, ir.Const) and b.value < 0:
        raise context.wrong(node, "is an integer to a negative power; convert it to float32 first")
    return ir.Binary(line, dtype, op, a, b)


def _result(context: Context, node: ast.AST, op: str, left: Operand, right: Operand) -> DType:
    dtype = common(left, right)
    assert dtype is not None
    if op in _BITS | _SHIFTS and dtype.is_float:
        raise context.wrong(node, f"{op} takes integers, and one operand is {dtype}; convert it with int(...)")
    if op in _BITS:
        return dtype
    if op in _SHIFTS:
        return int32 if isinstance(left, ir.Expr) and left.type == bool_ else common(left) or dtype
    if op == "/":
        return dtype if dtype.is_float else float32
    return int32 if dtype == bool_ and op not in {"min", "max"} else dtype


def _power(context: Context, node: ast.AST, base: ir.Expr, exponent: Weak) -> Operand:
    line = context.frame.line(node)
    if isinstance(exponent.value, int) and not base.type.is_float:
        if exponent.value < 0:
            raise context.wrong(node, "is an integer to a negative power; convert it to float32 first")
        dtype = int32 if base.type == bool_ else base.type
    else:
        dtype = base.type if base.type.is_float else float32
    return ir.Binary(line, dtype, "**", settle(base, dtype), convert(context, node, exponent, dtype))


def compare(context: Context, node: ast.AST, op: str, left: Operand, right: Operand) -> ir.Expr:
    """`left op right` of numbers of one type."""
    line = context.frame.line(node)
    if isinstance(left, Weak) and isinstance(right, Weak):
        return ir.Const(line, bool_, bool(fold(context, node, op, left, right)))
    dtype = common(left, right)
    assert dtype is not None
    if dtype == bool_ and op not in {"==", "!="}:
        dtype = int32
    return ir.Compare(line, bool_, op, convert(context, node, left, dtype), convert(context, node, right, dtype))


def unary(context: Context, node: ast.UnaryOp, operand: Operand) -> Operand:
    """`-x`, `+x`, `~x`; `not` is a condition and not met here."""
    line = context.frame.line(node)
    negative, invert = isinstance(node.op, ast.USub), isinstance(node.op, ast.Invert)
    if isinstance(operand, Weak):
        if invert and isinstance(operand.value, float):
            raise context.wrong(node, "~ takes integers")
        value = operand.value
        return Weak(line, -value if negative else ~int(value) if invert else value)
    if invert and operand.type.kind not in ("int", "uint"):
        hint = "write `not`" if operand.type == bool_ else "convert it with int(...)"
        raise context.wrong(node, f"~ takes integers, and the operand is {operand.type}; {hint}")
    wide = settle(operand, int32) if operand.type == bool_ else operand
    if isinstance(wide, ir.Const) and negative:
        return constant(line, -wide.value, wide.type)
    if isinstance(node.op, ast.UAdd):
        return wide
    return ir.Unary(line, wide.type, "neg" if negative else "invert", wide)
