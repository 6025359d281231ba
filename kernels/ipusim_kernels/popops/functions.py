"""The named elementwise calls: `add(graph, a, b, program)` and so on.

Each takes the graph, tensors (for the second operand also a number), the `Sequence` it appends to and a debug name,
and returns a new tensor; `*_in_place` stores into its first operand instead.  Integers wrap at 32 bits, comparisons
give bool.  All raise BadInput, naming call and tensors, where shapes or types do not go together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ipusim.errors import BadInput
from ipusim.program import control as prog
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import expr, work
from ipusim_kernels.popops.elementwise import named, needs_bool, needs_float
from ipusim_kernels.popops.expr import Expr, _1, _2, _3, call

Number = int | float | bool


class Unary(Protocol):
    """`f(graph, x, program, name="")`: a new tensor of x's shape."""

    def __call__(self, graph: Graph, x: Tensor, program: prog.Sequence, name: str = "") -> Tensor:
        """Elementwise function."""
        ...


class UnaryInPlace(Protocol):
    """`f(graph, x, program, name="")`: x is replaced."""

    def __call__(self, graph: Graph, x: Tensor, program: prog.Sequence, name: str = "") -> None:
        """Elementwise function, stored in x."""
        ...


class Binary(Protocol):
    """`f(graph, a, b, program, name="")`: a new tensor of the broadcast shape; one operand may be a number."""

    def __call__(
        self, graph: Graph, a: Tensor | Number, b: Tensor | Number, program: prog.Sequence, name: str = ""
    ) -> Tensor:
        """Elementwise function of two."""
        ...


class BinaryInPlace(Protocol):
    """`f(graph, a, b, program, name="")`: a is replaced."""

    def __call__(self, graph: Graph, a: Tensor, b: Tensor | Number, program: prog.Sequence, name: str = "") -> None:
        """Elementwise function of two, stored in the first."""
        ...


def _documented(function: Any, title: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = title
    function.__doc__ = doc
    return function


def _unary(title: str, doc: str, tree: Expr, op: str = "", check: Callable[..., None] | None = None) -> Unary:
    def run(graph: Graph, x: Tensor, program: prog.Sequence, name: str = "") -> Tensor:
        if check is not None:
            check(title, x)
        return named(op or title, title, graph, tree, [x], program, name)

    made: Unary = _documented(run, title, doc)
    return made


def _unary_in_place(
    title: str, doc: str, tree: Expr, op: str = "", check: Callable[..., None] | None = None
) -> UnaryInPlace:
    def run(graph: Graph, x: Tensor, program: prog.Sequence, name: str = "") -> None:
        if check is not None:
            check(title, x)
        named(op or title, title, graph, tree, [x], program, name, in_place=True)

    made: UnaryInPlace = _documented(run, f"{title}_in_place", doc)
    return made


def _float(title: str, doc: str, op: str = "") -> Unary:
    return _unary(title, doc, call(title, _1), op, needs_float)


def _operands(
    title: str, tree: Callable[[Any, Any], Expr], a: Tensor | Number, b: Tensor | Number
) -> tuple[Expr, list[Tensor], bool]:
    """(expression, tensors in it, whether one operand is a number)."""
    given = [isinstance(x, bool | int | float | np.generic) for x in (a, b)]
    if all(given):
        raise BadInput(f"popops.{title}: one operand has to be a tensor, and there are {a!r} and {b!r}")
    if given[0]:
        return tree(expr.expression(a), _1), [b], True  # type: ignore[list-item]
    if given[1]:
        return tree(_1, expr.expression(b)), [a], True  # type: ignore[list-item]
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype != b.dtype:
        raise BadInput(f"popops.{title}: {work.show(a)} and {work.show(b)} differ in type; cast one of them first")
    return tree(_1, _2), [a, b], False  # type: ignore[list-item]


def _binary(
    title: str, doc: str, tree: Callable[[Any, Any], Expr], op: str = "", check: Callable[..., None] | None = None
) -> Binary:
    def run(graph: Graph, a: Tensor | Number, b: Tensor | Number, program: prog.Sequence, name: str = "") -> Tensor:
        made, tensors, scalar = _operands(title, tree, a, b)
        if check is not None:
            for tensor in tensors:
                check(title, tensor)
        return named(op or title, title, graph, made, tensors, program, name, scalar=scalar)

    found: Binary = _documented(run, title, doc)
    return found


def _binary_in_place(title: str, doc: str, tree: Callable[[Any, Any], Expr], op: str = "") -> BinaryInPlace:
    def run(graph: Graph, a: Tensor, b: Tensor | Number, program: prog.Sequence, name: str = "") -> None:
        made, tensors, scalar = _operands(title, tree, a, b)
        named(op or title, title, graph, made, tensors, program, name, in_place=True, scalar=scalar)

    found: BinaryInPlace = _documented(run, f"{title}_in_place", doc)
    return found


_SIGN = expr.select(_1 > 0, 1, expr.select(_1 < 0, -1, _1))

neg = _unary("neg", "-x.", -_1)
abs = _unary("abs", "Magnitude.", abs(_1))  # noqa: A001
exp = _float("exp", "e to the power of x.")
log = _float("log", "Natural logarithm.")
sqrt = _float("sqrt", "Square root.")
rsqrt = _float("rsqrt", "1 / square root.")
tanh = _float("tanh", "Hyperbolic tangent.")
sigmoid = _float("sigmoid", "1 / (1 + exp(-x)).")
floor = _float("floor", "The next whole number below, as a float.")
ceil = _float("ceil", "The next whole number above, as a float.")
round = _float("round", "The nearest whole number (ties to even), as a float.")  # noqa: A001
sin = _float("sin", "Sine.")
cos = _float("cos", "Cosine.")
erf = _float("erf", "Error function.")
inv = _unary("inv", "1 / x.", 1 / _1, "reciprocal", needs_float)
square = _unary("square", "x times x.", _1 * _1)
relu = _unary("relu", "x where it is positive, else 0.", expr.maximum(_1, 0))
sign = _unary("sign", "-1, 0 or 1; NaN stays.", _SIGN)
isnan = _unary("isnan", "Is no number.  Returns: bool.", call("isnan", _1), "", needs_float)
logical_not = _unary("logical_not", "A bool the other way.", expr.logical_not(_1), "", needs_bool)
bitwise_not = _unary("bitwise_not", "Every bit of an integer the other way.", ~_1)

neg_in_place = _unary_in_place("neg", "-x.", -_1)
exp_in_place = _unary_in_place("exp", "e to the power of x.", call("exp", _1), "", needs_float)
log_in_place = _unary_in_place("log", "Natural logarithm.", call("log", _1), "", needs_float)
sqrt_in_place = _unary_in_place("sqrt", "Square root.", call("sqrt", _1), "", needs_float)
tanh_in_place = _unary_in_place("tanh", "Hyperbolic tangent.", call("tanh", _1), "", needs_float)
sigmoid_in_place = _unary_in_place("sigmoid", "1 / (1 + exp(-x)).", call("sigmoid", _1), "", needs_float)
relu_in_place = _unary_in_place("relu", "x where it is positive, else 0.", expr.maximum(_1, 0))
square_in_place = _unary_in_place("square", "x times x.", _1 * _1)

add = _binary("add", "a + b.", lambda a, b: a + b)
sub = _binary("sub", "a - b.", lambda a, b: a - b)
mul = _binary("mul", "a * b.", lambda a, b: a * b)
div = _binary("div", "a / b; of integers float32.", lambda a, b: a / b)
pow = _binary("pow", "a to the power of b.", lambda a, b: a**b, "", needs_float)  # noqa: A001
min = _binary("min", "The smaller.", expr.minimum)  # noqa: A001
max = _binary("max", "The larger.", expr.maximum)  # noqa: A001
equal = _binary("equal", "a == b.", lambda a, b: a == b)
not_equal = _binary("not_equal", "a != b.", lambda a, b: a != b)
less = _binary("less", "a < b.", lambda a, b: a < b)
less_equal = _binary("less_equal", "a <= b.", lambda a, b: a <= b)
greater = _binary("greater", "a > b.", lambda a, b: a > b)
greater_equal = _binary("greater_equal", "a >= b.", lambda a, b: a >= b)
logical_and = _binary("logical_and", "Both.", expr.logical_and, "", needs_bool)
logical_or = _binary("logical_or", "One of them.", expr.logical_or, "", needs_bool)

add_in_place = _binary_in_place("add", "a += b.", lambda a, b: a + b)
sub_in_place = _binary_in_place("sub", "a -= b.", lambda a, b: a - b)
mul_in_place = _binary_in_place("mul", "a *= b.", lambda a, b: a * b)
div_in_place = _binary_in_place("div", "a /= b.", lambda a, b: a / b)
min_in_place = _binary_in_place("min", "The smaller.", expr.minimum)
max_in_place = _binary_in_place("max", "The larger.", expr.maximum)


def select(graph: Graph, test: Tensor, then: Tensor, other: Tensor, program: prog.Sequence, name: str = "") -> Tensor:
    """`then` where `test` (bool) is true, else `other`; all broadcast.  Returns: a tensor of the type of both."""
    needs_bool("select", test)
    if isinstance(then, Tensor) and isinstance(other, Tensor) and then.dtype != other.dtype:
        raise BadInput(f"popops.select: {work.show(then)} and {work.show(other)} differ in type; cast one of them")
    return named("", "select", graph, expr.select(_1, _2, _3), [test, then, other], program, name)


def clamp(graph: Graph, x: Tensor, low: Number, high: Number, program: prog.Sequence, name: str = "") -> Tensor:
    """`x` held between two numbers."""
    return named("", "clamp", graph, expr.clamp(_1, low, high), [x], program, name)
