"""The words of `lang/machine_python.py` as instructions, for compiled code.

Each is an intrinsic of a few instructions: no arrays are built, no call is made and nothing is compiled apart, so a
codelet compiles fast and its loops can be vectorised.  Integers are 64 bits wide between wraps.  Transcendental
functions are the C library's for float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ipusim.jit import HARD_HALF, float_to_half, half_to_float, jit
from ipusim.lang.status import INDEX

f32 = np.float32

Build = Callable[..., Any]

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
_F16, _F32, _F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
_I, _F, _B = types.int64, types.float32, types.boolean


def _word(result: Any, *arguments: Any) -> Callable[[Build], Any]:
    """An intrinsic of this signature from a function of the builder and the arguments' values."""

    def make(build: Build) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = build(builder, *args)
            return context.get_dummy_value() if result is types.void else value

        def one(typingctx: Any, a: Any) -> Any:
            return result(*arguments), codegen

        def two(typingctx: Any, a: Any, b: Any) -> Any:
            return result(*arguments), codegen

        def three(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
            return result(*arguments), codegen

        def four(typingctx: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
            return result(*arguments), codegen

        def five(typingctx: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
            return result(*arguments), codegen

        typed = {1: one, 2: two, 3: three, 4: four, 5: five}[len(arguments)]
        typed.__name__ = build.__name__
        return intrinsic(typed)

    return make


def _pointer(builder: Any, kind: Any, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


def _getter(kind: Any, result: Any, convert: Build) -> Any:
    def get(builder: Any, address: Any, index: Any) -> Any:
        return convert(builder, builder.load(_pointer(builder, kind, address, index)))

    return _word(result, _I, _I)(get)


def _setter(kind: Any, argument: Any, convert: Build) -> Any:
    def put(builder: Any, address: Any, index: Any, value: Any) -> None:
        builder.store(convert(builder, value), _pointer(builder, kind, address, index))

    return _word(types.void, _I, _I, argument)(put)


def _signed(builder: Any, value: Any) -> Any:
    return builder.sext(value, _I64)


def _unsigned(builder: Any, value: Any) -> Any:
    return builder.zext(value, _I64)


def _same(builder: Any, value: Any) -> Any:
    return value


def _cut(kind: Any) -> Build:
    return lambda builder, value: builder.trunc(value, kind)


get_f32 = _getter(_F32, _F, _same)
get_i32 = _getter(_I32, _I, _signed)
get_u32 = _getter(_I32, _I, _unsigned)
get_i16 = _getter(_I16, _I, _signed)
get_u16 = _getter(_I16, _I, _unsigned)
get_i8 = _getter(_I8, _I, _signed)
get_u8 = _getter(_I8, _I, _unsigned)
get_b8 = _getter(_I8, _B, lambda builder, value: builder.icmp_unsigned("!=", value, _I8(0)))
get_i64 = _getter(_I64, _I, _same)
get_f64 = _getter(_F64, _F, lambda builder, value: builder.fptrunc(value, _F32))

set_f32 = _setter(_F32, _F, _same)
set_i32 = _setter(_I32, _I, _cut(_I32))
set_i16 = _setter(_I16, _I, _cut(_I16))
set_i8 = _setter(_I8, _I, _cut(_I8))
set_b8 = _setter(_I8, _B, lambda builder, value: builder.zext(builder.trunc(value, _I1), _I8))
set_i64 = _setter(_I64, _I, _same)

if HARD_HALF:
    get_f16 = _getter(_F16, _F, lambda builder, value: builder.fpext(value, _F32))
    set_f16 = _setter(_F16, _F, lambda builder, value: builder.fptrunc(value, _F16))

    @_word(_F, _F)
    def to_half(builder: Any, value: Any) -> Any:
        """The nearest half, ties to even."""
        return builder.fpext(builder.fptrunc(value, _F16), _F32)

else:

    @jit
    def get_f16(address: int, index: int) -> Any:
        """A half in memory."""
        return half_to_float(np.uint16(get_u16(address, index)))

    @jit
    def set_f16(address: int, index: int, value: Any) -> None:
        """Stores the nearest half."""
        set_i16(address, index, np.int64(float_to_half(value)))

    @jit
    def to_half(value: Any) -> Any:
        """The nearest half, ties to even."""
        return half_to_float(float_to_half(value))


def _beyond(builder: Any, index: Any, count: Any) -> Any:
    return builder.icmp_unsigned(">=", index, count)


outside = _word(_B, _I, _I)(_beyond)


@_word(_I, _I, _I, _I, _I)
def get_row(builder: Any, table: Any, first: Any, row: Any, count: Any) -> Any:
    """Entry `first + row` of a table, or 0 where the vertex has no such row."""
    found = cgutils.alloca_once_value(builder, _I64(0))
    with builder.if_then(builder.not_(_beyond(builder, row, count))):
        builder.store(builder.load(_pointer(builder, _I64, table, builder.add(first, row))), found)
    return builder.load(found)


def _note(builder: Any, status: Any, words: list[Any]) -> None:
    free = builder.icmp_signed("==", builder.load(_pointer(builder, _I64, status, _I64(0))), _I64(0))
    with builder.if_then(free, likely=False):
        for i, word in enumerate(words):
            builder.store(word, _pointer(builder, _I64, status, _I64(i)))


@_word(types.void, *[_I] * 5)
def fail(builder: Any, status: Any, code: Any, vertex: Any, line: Any, worker: Any) -> None:
    """Notes what went wrong, if it is the first."""
    _note(builder, status, [code, vertex, _I64(-1), _I64(0), _I64(0), line, worker, _I64(0)])


def _pairs(builder: Any, indices: Any, lengths: Any) -> list[tuple[Any, Any]]:
    return [(builder.extract_value(indices, i), builder.extract_value(lengths, i)) for i in range(len(indices.type))]


@intrinsic  # type: ignore[untyped-decorator]
def beyond(typingctx: Any, indices: Any, lengths: Any) -> Any:
    """Whether any of the indices is outside."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = _I1(0)
        for index, length in _pairs(builder, *args):
            found = builder.or_(found, _beyond(builder, index, length))
        return found

    whole = types.UniTuple(types.int64, len(indices))
    return types.boolean(whole, whole), codegen


@intrinsic  # type: ignore[untyped-decorator]
def blame(typingctx: Any, status: Any, vertex: Any, worker: Any, site: Any, indices: Any, lengths: Any) -> Any:
    """Notes the first index that is outside; `site` is the line, then field and whether it is a row, of each."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = [builder.extract_value(args[3], i) for i in range(len(args[3].type))]
        pairs = _pairs(builder, *args[4:])
        told = [where[-2], *pairs[-1], where[-1]]
        for i in reversed(range(len(pairs) - 1)):
            here = [where[1 + 2 * i], *pairs[i], where[2 + 2 * i]]
            out = _beyond(builder, *pairs[i])
            told = [builder.select(out, a, b) for a, b in zip(here, told, strict=True)]
        field, index, length, of_row = told
        _note(builder, args[0], [_I64(INDEX), args[1], field, index, length, where[0], args[2], of_row])
        return context.get_dummy_value()

    whole, line = types.UniTuple(types.int64, len(indices)), types.UniTuple(types.int64, len(site))
    return types.void(types.int64, types.int64, types.int64, line, whole, whole), codegen


@_word(_I, _I)
def wrap_i32(builder: Any, value: Any) -> Any:
    """The low 32 bits, with sign."""
    return builder.sext(builder.trunc(value, _I32), _I64)


@_word(_I, _I)
def wrap_u32(builder: Any, value: Any) -> Any:
    """The low 32 bits, without sign."""
    return builder.zext(builder.trunc(value, _I32), _I64)


@_word(_I, _B)
def int_of_bool(builder: Any, value: Any) -> Any:
    """0 or 1."""
    return builder.zext(builder.trunc(value, _I1), _I64)


@_word(_F, _I)
def float_of_i32(builder: Any, value: Any) -> Any:
    """Nearest float of the low 32 bits with sign."""
    return builder.sitofp(builder.trunc(value, _I32), _F32)


@_word(_F, _I)
def float_of_u32(builder: Any, value: Any) -> Any:
    """Nearest float of the low 32 bits without sign."""
    return builder.uitofp(builder.trunc(value, _I32), _F32)


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@_word(_I, _F)
def i32_of_float(builder: Any, value: Any) -> Any:
    """Towards zero; beyond the range its end, 0 for NaN."""
    return builder.sext(_call(builder, "llvm.fptosi.sat.i32.f32", _I32, value), _I64)


@_word(_I, _F)
def u32_of_float(builder: Any, value: Any) -> Any:
    """Towards zero; beyond the range its end, 0 for NaN."""
    return builder.zext(_call(builder, "llvm.fptoui.sat.i32.f32", _I32, value), _I64)


def _rounded(operation: str) -> Any:
    def compute(builder: Any, a: Any, b: Any) -> Any:
        return builder.fpext(builder.fptrunc(getattr(builder, operation)(a, b), _F16), _F32)

    return _word(_F, _F, _F)(compute)


if HARD_HALF:
    add_half, sub_half, mul_half, div_half = (_rounded(f"f{name}") for name in ("add", "sub", "mul", "div"))
else:

    @jit
    def add_half(a: Any, b: Any) -> Any:
        """Sum of halves."""
        return to_half(a + b)

    @jit
    def sub_half(a: Any, b: Any) -> Any:
        """Difference of halves."""
        return to_half(a - b)

    @jit
    def mul_half(a: Any, b: Any) -> Any:
        """Product of halves."""
        return to_half(a * b)

    @jit
    def div_half(a: Any, b: Any) -> Any:
        """Quotient of halves."""
        return to_half(a / b)


@_word(_I, _I, _I)
def shift_left(builder: Any, value: Any, by: Any) -> Any:
    """0 for a shift outside 0..31."""
    beyond = _beyond(builder, by, _I64(32))
    return builder.select(beyond, _I64(0), builder.shl(value, builder.and_(by, _I64(31))))


@_word(_I, _I, _I)
def shift_right(builder: Any, value: Any, by: Any) -> Any:
    """All sign for a shift outside 0..31."""
    beyond = _beyond(builder, by, _I64(32))
    return builder.ashr(value, builder.select(beyond, _I64(63), by))


@jit
def power_i(base: Any, exponent: Any) -> Any:
    """The low 32 bits (with sign) of a power; a negative exponent gives the reciprocal, truncated."""
    if exponent < 0:
        if base == 1:
            return 1
        if base == -1:
            return 1 if exponent % 2 == 0 else -1
        return 0
    found, factor = 1, base
    while exponent > 0:
        if exponent & 1:
            found = wrap_i32(found * factor)
        factor = wrap_i32(factor * factor)
        exponent >>= 1
    return wrap_i32(found)


@_word(_I, _I)
def square_i(builder: Any, value: Any) -> Any:
    """value * value."""
    return builder.mul(value, value)


@_word(_F, _F)
def square(builder: Any, value: Any) -> Any:
    """value * value."""
    return builder.fmul(value, value)


@_word(_I, _I, _I)
def least_i(builder: Any, a: Any, b: Any) -> Any:
    """The smaller integer."""
    return builder.select(builder.icmp_signed("<", b, a), b, a)


@_word(_I, _I, _I)
def most_i(builder: Any, a: Any, b: Any) -> Any:
    """The larger integer."""
    return builder.select(builder.icmp_signed(">", b, a), b, a)


@_word(_F, _F, _F)
def least(builder: Any, a: Any, b: Any) -> Any:
    """The smaller float; `a` where they do not compare."""
    return builder.select(builder.fcmp_ordered("<", b, a), b, a)


@_word(_F, _F, _F)
def most(builder: Any, a: Any, b: Any) -> Any:
    """The larger float; `a` where they do not compare."""
    return builder.select(builder.fcmp_ordered(">", b, a), b, a)


@_word(_I, _I)
def abs_i(builder: Any, value: Any) -> Any:
    """Magnitude of an integer."""
    return builder.select(builder.icmp_signed("<", value, _I64(0)), builder.neg(value), value)


@_word(_F, _F, _F)
def floor_div(builder: Any, a: Any, b: Any) -> Any:
    """floor(a / b)."""
    return _call(builder, "llvm.floor.f32", _F32, builder.fdiv(a, b))


@_word(_F, _F, _F)
def floor_mod(builder: Any, a: Any, b: Any) -> Any:
    """Remainder with the sign of `b`."""
    zero = _F32(0.0)
    rest = builder.frem(a, b)
    other = builder.xor(builder.fcmp_ordered("<", rest, zero), builder.fcmp_ordered("<", b, zero))
    return builder.select(builder.and_(builder.fcmp_unordered("!=", rest, zero), other), builder.fadd(rest, b), rest)


@_word(_F, _F)
def rsqrt(builder: Any, x: Any) -> Any:
    """1 / sqrt(x)."""
    return builder.fdiv(_F32(1.0), _call(builder, "llvm.sqrt.f32", _F32, x))


@_word(_F, _F)
def sigmoid(builder: Any, x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    one = _F32(1.0)
    return builder.fdiv(one, builder.fadd(one, _call(builder, "llvm.exp.f32", _F32, builder.fneg(x))))


@_word(_F, _F, _F)
def fmod(builder: Any, a: Any, b: Any) -> Any:
    """Remainder with the sign of `a`."""
    return builder.frem(a, b)


@_word(_B, _F)
def isnan(builder: Any, x: Any) -> Any:
    """Whether a float is not a number."""
    return builder.fcmp_unordered("uno", x, x)


@_word(_B, _F)
def isinf(builder: Any, x: Any) -> Any:
    """Whether a float is infinite."""
    return builder.fcmp_ordered("==", _call(builder, "llvm.fabs.f32", _F32, x), _F32(float("inf")))


def _library(name: str, arity: int = 1) -> Any:
    def call(builder: Any, *args: Any) -> Any:
        return _call(builder, name, _F32, *args)

    return _word(_F, *[_F] * arity)(call)


power, atan2 = _library("llvm.pow.f32", 2), _library("atan2f", 2)
exp, exp2, log, log2, sqrt, sin, cos = (
    _library(f"llvm.{name}.f32") for name in ("exp", "exp2", "log", "log2", "sqrt", "sin", "cos")
)
expm1, log1p, tanh, tan, asin, erf, cbrt = (
    _library(f"{name}f") for name in ("expm1", "log1p", "tanh", "tan", "asin", "erf", "cbrt")
)
floor, ceil, trunc, round_even, fabs = (
    _library(f"llvm.{name}.f32") for name in ("floor", "ceil", "trunc", "rint", "fabs")
)
