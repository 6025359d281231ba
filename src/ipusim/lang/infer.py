"""Types of values: how operands meet, what a literal becomes, what a local variable may hold.

Five types exist: bool < int32 < uint32 < half < float32; two that meet give the higher one, so an integer takes the
type of a float, and half that of float32.  A literal has no type of its own: it takes that of the other operand (a
float literal makes an integer operand float32).  A local variable has one type, the highest of all values assigned
to it; one that starts from a bare number and takes floats is float32, so that `s = 0.0; s += h` accumulates halves
in float32 (`partials="half"` leaves it half).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, final

from ipusim.dtype import DType, bool_, float32, half, int32, uint32
from ipusim.lang import ir

ORDER: tuple[DType, ...] = (bool_, int32, uint32, half, float32)

LARGEST_HALF = 65504.0  # [IEEE 754-2019 table 3.5, binary16] the largest finite half
_BITS = 32


@final
@dataclass(frozen=True, slots=True)
class Weak:
    """A number written in the source (or a constant of the module), which takes the type that its use gives it."""

    line: int
    value: int | float


Operand = ir.Expr | Weak


def join(a: DType, b: DType) -> DType:
    """The type of two values that meet."""
    return max(a, b, key=ORDER.index)


def natural(value: float) -> DType:
    """The type of a literal that nothing else decides."""
    return float32 if isinstance(value, float) else int32


def common(*operands: Operand) -> DType | None:
    """The type of operands that meet, or None if all are literals."""
    types = [o.type for o in operands if isinstance(o, ir.Expr)]
    if not types:
        return None
    joined = types[0]
    for dtype in types[1:]:
        joined = join(joined, dtype)
    for literal in operands:
        if isinstance(literal, Weak):
            joined = _meet_literal(joined, literal.value)
    return joined


def _meet_literal(dtype: DType, value: float) -> DType:
    if isinstance(value, float):
        return dtype if dtype.is_float else float32
    return int32 if dtype == bool_ else dtype


def literal_fits(value: float, dtype: DType) -> str | None:
    """What is wrong with a literal as a value of a type, or None."""
    if dtype == half and math.isfinite(value) and abs(value) > LARGEST_HALF:
        return f"{value!r} is beyond the largest half, {LARGEST_HALF:g}; write float32({value!r})"
    if dtype == float32 and math.isfinite(value) and abs(value) > 3.4028235677973366e38:  # [IEEE 754] binary32
        return f"{value!r} is beyond the largest float32"
    if dtype == int32 and not -(2 ** (_BITS - 1)) <= value < 2 ** (_BITS - 1):
        return f"{value!r} does not fit int32; write uint32({value!r}) if it is meant without sign"
    if dtype == uint32 and not -(2 ** (_BITS - 1)) <= value < 2**_BITS:
        return f"{value!r} does not fit uint32"
    return None


def wrap(value: int, dtype: DType) -> int:
    """An integer as 32 bits hold it."""
    value &= 2**_BITS - 1
    return value - 2**_BITS if dtype == int32 and value >= 2 ** (_BITS - 1) else value


def constant(line: int, value: float, dtype: DType) -> ir.Const:
    """A literal as a value of a type; float to integer truncates."""
    if dtype == bool_:
        return ir.Const(line, bool_, bool(value))
    if dtype.is_float:
        return ir.Const(line, dtype, float(value))
    return ir.Const(line, dtype, wrap(int(value), dtype))


def settle(operand: Operand, dtype: DType | None = None) -> ir.Expr:
    """The operand as an expression of a type (by default its own; a literal's natural one)."""
    if isinstance(operand, Weak):
        return constant(operand.line, operand.value, dtype or natural(operand.value))
    if dtype is None or operand.type == dtype:
        return operand
    if isinstance(operand, ir.Const) and not (operand.type.is_float and not dtype.is_float):
        return constant(operand.line, operand.value, dtype)
    if dtype == bool_:
        return ir.Compare(operand.line, bool_, "!=", operand, constant(operand.line, 0, operand.type))
    return ir.Cast(operand.line, dtype, operand)


@final
@dataclass(slots=True)
class Variable:
    """What is known about a local variable: the values assigned to it so far, by kind."""

    declared: DType | None = None
    strong: DType | None = None
    starts_bare: bool = False
    literals: set[Literal["int", "float"]] = field(default_factory=set)

    def take(self, operand: Operand) -> None:
        """Notes an assignment."""
        if isinstance(operand, Weak):
            if self.strong is None:
                self.starts_bare = True
            self.literals.add("float" if isinstance(operand.value, float) else "int")
        else:
            self.strong = operand.type if self.strong is None else join(self.strong, operand.type)

    def type(self, partials: DType) -> DType:
        """The variable's type so far."""
        if self.declared is not None:
            return self.declared
        if self.strong is None:
            return partials if "float" in self.literals else int32
        if self.strong.is_float:
            return join(self.strong, partials) if self.starts_bare else self.strong
        if "float" in self.literals:
            return float32
        return join(self.strong, int32) if self.literals else self.strong
