"""The functions that a codelet may call: which Python names mean them, and what they are worth on literals.

A function is known by the object that its name stands for, so `math.exp`, `numpy.exp` and `from math import exp`
are the same.  The slots of each are in the table of the instruction set (`lang/op_slots.csv`); those that are
library calls on the tile (sin, pow, erf...) cost tens to thousands of slots.

`math.floor`, `math.ceil`, `math.trunc` and `round` give an integer, as in Python; their numpy namesakes give a
float.  `rsqrt`, `sigmoid` and `clamp` have instructions of their own and no name in `math`: they are defined here,
for numpy arrays and numbers as well.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from ipusim.dtype import DType, bool_, float32, half, int32, uint32


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x): one instruction on the tile."""
    return 1 / np.sqrt(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)): one instruction on the tile."""
    return 1 / (1 + np.exp(-x))


def clamp(x: Any, low: Any, high: Any) -> Any:
    """`x` held between `low` and `high`."""
    return np.minimum(np.maximum(x, low), high)


Result = Literal["float", "int", "bool"]


@final
@dataclass(frozen=True, slots=True)
class Math:
    """A function of floats: its name in the tree, how many arguments, what comes out, and Python's own for literals."""

    name: str
    arity: int
    result: Result
    fold: Callable[..., Any]


def _both(name: str, arity: int = 1, numpy: str | None = None) -> dict[Any, Math]:
    function = Math(name, arity, "float", getattr(math, name))
    return {getattr(math, name): function, getattr(np, numpy or name): function}


def _rounding() -> dict[Any, Math]:
    table: dict[Any, Math] = {}
    nearest: dict[str, Any] = {"floor": math.floor, "ceil": math.ceil, "trunc": math.trunc, "round": builtins.round}
    for name, whole in nearest.items():
        table[whole] = Math(name, 1, "int", whole)
        table[getattr(np, "rint" if name == "round" else name)] = Math(name, 1, "float", lambda x, f=whole: float(f(x)))
    return table | {np.round: table[np.rint]}


#: From the object that a name stands for, to the function it means.
MATH: dict[Any, Math] = {
    **{k: v for name in ("exp", "expm1", "log", "log2", "log1p", "sqrt") for k, v in _both(name).items()},
    **{k: v for name in ("tanh", "sin", "cos", "tan", "exp2", "cbrt") for k, v in _both(name).items()},
    **_both("asin", numpy="arcsin"),
    **_both("atan2", 2, numpy="arctan2"),
    **_both("fmod", 2),
    math.erf: Math("erf", 1, "float", math.erf),
    math.isnan: Math("isnan", 1, "bool", math.isnan),
    np.isnan: Math("isnan", 1, "bool", math.isnan),
    math.isinf: Math("isinf", 1, "bool", math.isinf),
    np.isinf: Math("isinf", 1, "bool", math.isinf),
    rsqrt: Math("rsqrt", 1, "float", lambda x: 1 / math.sqrt(x)),
    sigmoid: Math("sigmoid", 1, "float", lambda x: 1 / (1 + math.exp(-x))),
    **_rounding(),
}

#: Names of all functions that a `MathCall` may have, in order.
NAMES: tuple[str, ...] = tuple(sorted({m.name for m in MATH.values()} | {"abs"}))

ABS = (abs, math.fabs, np.abs, np.absolute, np.fabs)
LEAST = (min, np.minimum)
MOST = (max, np.maximum)
POWER = (pow, math.pow, np.power)

_CAST_LIST: tuple[tuple[Any, DType], ...] = (
    (int, int32),
    (float, float32),
    (bool, bool_),
    (np.float32, float32),
    (np.float16, half),
    (np.int32, int32),
    (np.uint32, uint32),
    (np.bool_, bool_),
    *((d, d) for d in (float32, half, int32, uint32, bool_)),
)


def is_one_of(value: Any, functions: tuple[Any, ...]) -> bool:
    """Whether `value` is one of these very objects (equality of arbitrary objects is not to be trusted)."""
    return any(value is f for f in functions)


def cast_type(value: Any) -> DType | None:
    """The type that `value(x)` converts to, or None where `value` is no type of values."""
    return next((dtype for key, dtype in _CAST_LIST if value is key), None)


def math_function(value: Any) -> Math | None:
    """The function of floats that an object means, or None."""
    try:
        return MATH.get(value)
    except TypeError:  # not hashable
        return None
