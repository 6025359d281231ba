"""Expressions of elements: small trees built by Python's operators on placeholders.

    >>> from ipusim_kernels.popops.expr import _1, _2, Const, exp
    >>> exp(_1) + _2 * Const(3.0)

`_1` is an element of the first tensor of a `map` call, `_2` of the second, and so on.  A bare number stands for
`Const`.  Types are those of the codelet language: a constant takes the type of what it meets, both sides of an operator
must otherwise agree (`cast` converts), comparisons give bool, `/` of integers gives float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ipusim.dtype import DType, as_dtype, bool_, float32, int32
from ipusim.errors import BadInput
from ipusim.lang.functions import rsqrt as _rsqrt
from ipusim.lang.functions import sigmoid as _sigmoid

#: Functions of one float: name in an expression, and what generated code calls.
FUNCTIONS: dict[str, Any] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "erf": math.erf,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "cbrt": np.cbrt,
}
_TESTS: dict[str, Any] = {"isnan": np.isnan, "isinf": np.isinf}
#: Everything that generated code may name.
NAMES: dict[str, Any] = {f"f_{k}": v for k, v in (FUNCTIONS | _TESTS).items()}

_COMPARE = ("<", "<=", ">", ">=", "==", "!=")
_LOGIC = ("and", "or")
_BITS = ("&", "|", "^")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Expr:
    """A node: `kind` "arg" (`what`: number from 1), "const" (a number), "call", "op", "choose" or "cast" (a DType)."""

    kind: str
    what: Any
    parts: tuple[Expr, ...] = ()

    def __add__(self, other: Any) -> Expr:
        return _op("+", self, other)

    def __radd__(self, other: Any) -> Expr:
        return _op("+", other, self)

    def __sub__(self, other: Any) -> Expr:
        return _op("-", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return _op("-", other, self)

    def __mul__(self, other: Any) -> Expr:
        return _op("*", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return _op("*", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return _op("/", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return _op("/", other, self)

    def __floordiv__(self, other: Any) -> Expr:
        return _op("//", self, other)

    def __mod__(self, other: Any) -> Expr:
        return _op("%", self, other)

    def __pow__(self, other: Any) -> Expr:
        return _op("**", self, other)

    def __and__(self, other: Any) -> Expr:
        return _op("&", self, other)

    def __or__(self, other: Any) -> Expr:
        return _op("|", self, other)

    def __xor__(self, other: Any) -> Expr:
        return _op("^", self, other)

    def __lt__(self, other: Any) -> Expr:
        return _op("<", self, other)

    def __le__(self, other: Any) -> Expr:
        return _op("<=", self, other)

    def __gt__(self, other: Any) -> Expr:
        return _op(">", self, other)

    def __ge__(self, other: Any) -> Expr:
        return _op(">=", self, other)

    def __eq__(self, other: object) -> Any:
        return _op("==", self, other)

    def __ne__(self, other: object) -> Any:
        return _op("!=", self, other)

    __hash__ = object.__hash__

    def __neg__(self) -> Expr:
        return Expr("op", "neg", (self,))

    def __invert__(self) -> Expr:
        return Expr("op", "~", (self,))

    def __abs__(self) -> Expr:
        return Expr("op", "abs", (self,))

    def __bool__(self) -> bool:
        raise BadInput("an expression has no truth value while it is built; use logical_and, logical_or, logical_not")


def expression(value: Any) -> Expr:
    """An expression, or the constant of a number."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool | int | float | np.generic):
        return Expr("const", value.item() if isinstance(value, np.generic) else value)
    raise BadInput(f"popops.expr: {value!r} is no expression: use placeholders _1, _2, numbers and functions of them")


def _op(what: str, *parts: Any) -> Expr:
    return Expr("op", what, tuple(expression(p) for p in parts))


def Const(value: float) -> Expr:  # noqa: N802  (poplibs' name)
    """A number."""
    return expression(value)


def placeholder(number: int) -> Expr:
    """`_1`, `_2`, ...: an element of the tensor of that number."""
    if number < 1:
        raise BadInput(f"popops.expr: placeholders are numbered from 1, not {number}")
    return Expr("arg", int(number))


def call(name: str, x: Any) -> Expr:
    """A function of one float, by name."""
    return Expr("call", name, (expression(x),))


def minimum(a: Any, b: Any) -> Expr:
    """The smaller of two."""
    return _op("min", a, b)


def maximum(a: Any, b: Any) -> Expr:
    """The larger of two."""
    return _op("max", a, b)


def select(test: Any, then: Any, other: Any) -> Expr:
    """`then` where `test` is true, else `other`."""
    return Expr("choose", None, (expression(test), expression(then), expression(other)))


def clamp(x: Any, low: Any, high: Any) -> Expr:
    """`x` held between two bounds."""
    return minimum(maximum(x, low), high)


def cast(x: Any, dtype: DType | str) -> Expr:
    """The value in another type."""
    return Expr("cast", as_dtype(dtype), (expression(x),))


def logical_and(a: Any, b: Any) -> Expr:
    """Both bools are true."""
    return _op("and", a, b)


def logical_or(a: Any, b: Any) -> Expr:
    """One of two bools is true."""
    return _op("or", a, b)


def logical_not(a: Any) -> Expr:
    """A bool is false."""
    return Expr("op", "not", (expression(a),))


_1, _2, _3, _4, _5, _6 = (placeholder(i) for i in range(1, 7))


def exp(x: Any) -> Expr:
    """e to the power of x."""
    return call("exp", x)


def log(x: Any) -> Expr:
    """Natural logarithm."""
    return call("log", x)


def sqrt(x: Any) -> Expr:
    """Square root."""
    return call("sqrt", x)


def rsqrt(x: Any) -> Expr:
    """1 / square root."""
    return call("rsqrt", x)


def tanh(x: Any) -> Expr:
    """Hyperbolic tangent."""
    return call("tanh", x)


def sigmoid(x: Any) -> Expr:
    """1 / (1 + exp(-x))."""
    return call("sigmoid", x)


# -- types and text ----------------------------------------------------------------------------------------------------


def arguments(tree: Expr) -> int:
    """The highest placeholder number."""
    own = int(tree.what) if tree.kind == "arg" else 0
    return max([own, *(arguments(p) for p in tree.parts)])


def constant(tree: Expr) -> bool:
    """No placeholder in it."""
    return tree.kind == "const" or (tree.kind == "op" and all(constant(p) for p in tree.parts))


@final
class Writer:
    """Statements of generated code for one expression: every node that is no constant gets a variable, once."""

    def __init__(self, call: str, types: tuple[DType, ...]) -> None:
        self.call, self.types = call, types
        self.lines: list[str] = []
        self.names: dict[str, Any] = dict(NAMES)
        self._made: dict[int, tuple[str, DType | None]] = {}
        self._kept: list[Expr] = []

    def write(self, tree: Expr) -> tuple[str, DType | None]:
        """(name or text of the value, its type; None for a constant)."""
        if id(tree) not in self._made:
            self._kept.append(tree)
            self._made[id(tree)] = self._node(tree)
        return self._made[id(tree)]

    def _node(self, tree: Expr) -> tuple[str, DType | None]:
        if tree.kind == "const":
            return self._number(tree.what), None
        if tree.kind == "arg":
            return f"x{tree.what}", self.types[tree.what - 1]
        parts = [self.write(p) for p in tree.parts]
        text, dtype = self._value(tree, parts)
        if dtype is None:
            return f"({text})", None
        name = f"t{len(self.lines) + 1}"
        self.lines.append(f"{name} = {text}")
        return name, dtype

    def _number(self, value: float) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            name = "c_nan" if math.isnan(value) else ("c_inf" if value > 0 else "c_minus_inf")
            self.names[name] = value
            return name
        return f"({value!r})" if not isinstance(value, bool) and value < 0 else repr(value)

    def _value(self, tree: Expr, parts: list[tuple[str, DType | None]]) -> tuple[str, DType | None]:
        text = [p[0] for p in parts]
        if tree.kind == "cast":
            name = f"T_{tree.what.name}"
            self.names[name] = tree.what
            return f"{name}({text[0]})", tree.what
        if tree.kind == "call":
            dtype = parts[0][1]
            result = bool_ if tree.what in _TESTS else (dtype if dtype and dtype.is_float else float32)
            return f"f_{tree.what}({text[0]})", result
        if tree.kind == "choose":
            self._is_bool("select", parts[0][1])
            return f"{text[1]} if {text[0]} else {text[2]}", self._common("select", parts[1:]) or float32
        return self._operator(tree.what, text, parts)

    def _operator(self, what: str, text: list[str], parts: list[tuple[str, DType | None]]) -> tuple[str, DType | None]:
        if what in ("neg", "~", "abs"):
            dtype = parts[0][1]
            dtype = int32 if dtype == bool_ else dtype
            return {"neg": f"-{text[0]}", "~": f"~{text[0]}", "abs": f"abs({text[0]})"}[what], dtype
        if what == "not":
            self._is_bool("logical_not", parts[0][1])
            return f"not {text[0]}", bool_
        common = self._common(what, parts)
        if what in _LOGIC:
            for _, dtype in parts:
                self._is_bool(f"logical_{what}", dtype)
            return f"({text[0]} {what} {text[1]})", bool_
        if what in ("min", "max"):
            return f"{what}({text[0]}, {text[1]})", common
        joined = f"{text[0]} {what} {text[1]}"
        if common is None:
            return joined, None
        if what in _COMPARE:
            return joined, bool_
        if what in _BITS and common.is_float:
            raise BadInput(f"{self.call}: {what} takes integers or bools, not {common}")
        if what == "/" and not common.is_float:
            return joined, float32
        return joined, int32 if common == bool_ and what not in _BITS else common

    def _is_bool(self, what: str, dtype: DType | None) -> None:
        if dtype != bool_:
            raise BadInput(f"{self.call}: {what} takes bools, not {dtype or 'a number'}; compare with something first")

    def _common(self, what: str, parts: list[tuple[str, DType | None]]) -> DType | None:
        types = list(dict.fromkeys(p[1] for p in parts if p[1] is not None))
        if len(types) > 1:
            raise BadInput(f"{self.call}: {what} of {types[0]} and {types[1]}; cast one of them")
        if not types:
            return None
        floats = any(
            p[1] is None and p[0] not in ("True", "False") and ("." in p[0] or "e" in p[0] or p[0].startswith("c_"))
            for p in parts
        )
        if floats and not types[0].is_float:
            return float32
        return types[0]
