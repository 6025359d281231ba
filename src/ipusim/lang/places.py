"""Elements of fields: what `f[i]`, `f[i][j]`, `f[i, j]`, `row[j]` and `len(...)` mean."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from ipusim.dtype import bool_, int32
from ipusim.lang import ir
from ipusim.lang.context import Context, Row
from ipusim.lang.fields import value_type
from ipusim.lang.infer import Operand, Weak, settle
from ipusim.lang.operators import convert

Evaluate = Callable[[Context, ast.expr], Operand]

_MOST_INDICES = 2


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A field with as many indices as were written: all of them for an element, one less for a row."""

    spec: ir.FieldSpec
    index: tuple[ir.Expr, ...]

    @property
    def is_element(self) -> bool:
        """Whether it is one element, not a row or a whole field."""
        return len(self.index) == self.spec.depth


def row_of(context: Context, name: str) -> Row | None:
    """The row that a name is bound to."""
    return context.frame.rows.get(name)


def field_of(context: Context, name: str) -> ir.FieldSpec | None:
    """The field of a name; called functions see none."""
    if context.frame.caller is not None or name in context.frame.locals:
        return None
    return context.fields.get(name)


def find(context: Context, node: ast.expr, evaluate: Evaluate) -> Place | None:
    """The field, row or element that an expression names, or None where it names something else."""
    if isinstance(node, ast.Name):
        row = row_of(context, node.id)
        if row is not None:
            if row.local not in context.assigned:
                raise context.wrong(node, f"{node.id!r} is not bound to a row on every way here; bind it before")
            return Place(context.fields[row.field], (context.read(row.local, context.frame.line(node)),))
        spec = field_of(context, node.id)
        return Place(spec, ()) if spec is not None else None
    if not isinstance(node, ast.Subscript):
        return None
    outer = find(context, node.value, evaluate)
    if outer is None:
        return None
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer.spec.depth == 0:
        return _scalar(context, node, outer, parts)
    if len(outer.index) + len(parts) > outer.spec.depth:
        raise context.wrong(node, f"field {outer.spec.name!r} takes {outer.spec.depth} ind{_ices(outer.spec.depth)}")
    return Place(outer.spec, outer.index + tuple(index(context, p, evaluate) for p in parts))


def _ices(number: int) -> str:
    return "ices" if number == _MOST_INDICES else "ex"


def _scalar(context: Context, node: ast.Subscript, outer: Place, parts: list[ast.expr]) -> Place:
    only = parts[0]
    if len(parts) == 1 and isinstance(only, ast.Constant) and only.value == 0 and outer.index == ():
        return outer
    raise context.wrong(node, f"field {outer.spec.name!r} is a scalar: its only index is 0")


def names_row(context: Context, node: ast.expr) -> bool:
    """Whether an expression has the form of a row (nothing is evaluated)."""
    if isinstance(node, ast.Name):
        return row_of(context, node.id) is not None
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return False
    spec = field_of(context, node.value.id)
    return spec is not None and spec.depth == _MOST_INDICES and not isinstance(node.slice, ast.Tuple)


def index(context: Context, node: ast.expr, evaluate: Evaluate) -> ir.Expr:
    """An index: an integer; a literal one is not negative."""
    if isinstance(node, (ast.Slice, ast.Starred)):
        raise context.wrong(node, "a slice is no element; loop over the elements, or wire a slice of the tensor")
    operand = evaluate(context, node)
    if isinstance(operand, Weak):
        if isinstance(operand.value, float):
            raise context.wrong(node, "an index is an integer")
        if operand.value < 0:
            raise context.wrong(node, "an index is not negative on the tile; write f[len(f) - 1] for the last element")
        return convert(context, node, operand, int32)
    if operand.type.is_float or operand.type == bool_:
        raise context.wrong(node, f"an index is an integer, and this is {operand.type}; convert it with int(...)")
    return settle(operand, int32)


def load(context: Context, node: ast.expr, place: Place) -> ir.Expr:
    """The value of an element.  Raises `BadInput` for a row, a whole field, or a field that is written only."""
    spec = place.spec
    if not place.is_element:
        what = "a vector of vectors" if spec.depth == _MOST_INDICES and not place.index else "a vector"
        raise context.wrong(
            node,
            f"is {what}, not a number; give it {spec.depth - len(place.index)} more "
            f"ind{_ices(spec.depth - len(place.index))}",
        )
    if spec.role == "out":
        raise context.wrong(node, f"field {spec.name!r} is an Output and cannot be read; make it InOut")
    return ir.Load(context.frame.line(node), value_type(spec.dtype), spec.name, place.index)


def length(context: Context, node: ast.Call, evaluate: Evaluate) -> ir.Expr:
    """`len(field)` or `len(field[row])`."""
    place = find(context, node.args[0], evaluate) if len(node.args) == 1 else None
    if place is None or len(place.index) >= place.spec.depth:
        raise context.wrong(node, "len takes a vector field, or a row of a vector of vectors")
    row = place.index[0] if place.index else None
    return ir.Length(context.frame.line(node), int32, place.spec.name, row)
