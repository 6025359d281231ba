"""What a tile's operations mean, in plain Python: the words that generated code is written in.

Integers are Python integers that hold any value; `wrap_i32` and `wrap_u32` bring them to 32 bits.  Floats are float32;
a half is a float32 whose value is a half's, rounded by `to_half`.  Memory is addressed by byte address and element
number.  `lang/machine_llvm.py` has the same names for compiled code; a test holds the two together.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ipusim.lang.status import INDEX

f32 = np.float32

_LOW, _HIGH, _ALL = -(1 << 31), (1 << 31) - 1, (1 << 32) - 1
_BITS = 32


def _element(kind: Any, address: int, index: int) -> Any:
    return kind.from_address(int(address) + int(index) * ctypes.sizeof(kind))


def _getter(kind: Any, convert: Callable[[Any], Any]) -> Callable[[int, int], Any]:
    def get(address: int, index: int) -> Any:
        return convert(_element(kind, address, index).value)

    return get


def _setter(kind: Any, convert: Callable[[Any], Any]) -> Callable[[int, int, Any], None]:
    def put(address: int, index: int, value: Any) -> None:
        _element(kind, address, index).value = convert(value)

    return put


def _from_half(bits: int) -> Any:
    return np.array([bits], np.uint16).view(np.float16)[0].astype(np.float32)


def _half_bits(value: Any) -> int:
    return int(np.array([value], np.float32).astype(np.float16).view(np.uint16)[0])


get_f32 = _getter(ctypes.c_float, f32)
get_f16 = _getter(ctypes.c_uint16, _from_half)
get_i32 = _getter(ctypes.c_int32, int)
get_u32 = _getter(ctypes.c_uint32, int)
get_i16 = _getter(ctypes.c_int16, int)
get_u16 = _getter(ctypes.c_uint16, int)
get_i8 = _getter(ctypes.c_int8, int)
get_u8 = _getter(ctypes.c_uint8, int)
get_b8 = _getter(ctypes.c_uint8, bool)
get_i64 = _getter(ctypes.c_int64, int)
get_f64 = _getter(ctypes.c_double, f32)

set_f32 = _setter(ctypes.c_float, float)
set_f16 = _setter(ctypes.c_uint16, _half_bits)
set_i32 = _setter(ctypes.c_uint32, lambda v: int(v) & _ALL)
set_i16 = _setter(ctypes.c_uint16, lambda v: int(v) & 0xFFFF)
set_i8 = _setter(ctypes.c_uint8, lambda v: int(v) & 0xFF)
set_b8 = _setter(ctypes.c_uint8, bool)
set_i64 = _setter(ctypes.c_int64, int)


def get_row(table: int, first: int, row: int, count: int) -> int:
    """Entry `first + row` of a table, or 0 where the vertex has no such row."""
    return 0 if outside(row, count) else int(get_i64(table, first + row))


def outside(index: int, count: int) -> bool:
    """Whether an index is not in 0..count-1."""
    return not 0 <= index < count


def beyond(indices: tuple[int, ...], lengths: tuple[int, ...]) -> bool:
    """Whether any of the indices is outside."""
    return any(map(outside, indices, lengths))


def _note(status: int, words: tuple[int, ...]) -> None:
    if get_i64(status, 0) == 0:
        for i, word in enumerate(words):
            set_i64(status, i, word)


def fail(status: int, code: int, vertex: int, line: int, worker: int) -> None:
    """Notes what went wrong, if it is the first."""
    _note(status, (code, vertex, -1, 0, 0, line, worker, 0))


def blame(
    status: int, vertex: int, worker: int, site: tuple[int, ...], indices: tuple[int, ...], lengths: tuple[int, ...]
) -> None:
    """Notes the first index that is outside; `site` is the line, then field and whether it is a row, of each."""
    for i, (index, length) in enumerate(zip(indices, lengths, strict=True)):
        if outside(index, length):
            _note(status, (INDEX, vertex, site[1 + 2 * i], index, length, site[0], worker, site[2 + 2 * i]))


def wrap_i32(value: int) -> int:
    """The low 32 bits, with sign."""
    return ((value & _ALL) ^ (1 << 31)) - (1 << 31)


def wrap_u32(value: int) -> int:
    """The low 32 bits, without sign."""
    return value & _ALL


def int_of_bool(value: Any) -> int:
    """0 or 1."""
    return int(value)


def float_of_i32(value: int) -> Any:
    """Nearest float of the low 32 bits with sign."""
    return f32(wrap_i32(value))


def float_of_u32(value: int) -> Any:
    """Nearest float of the low 32 bits without sign."""
    return f32(wrap_u32(value))


def _saturate(value: Any, low: int, high: int) -> int:
    number = float(value)
    if number != number:
        return 0
    return low if number <= low else high if number >= high else int(number)


def i32_of_float(value: Any) -> int:
    """Towards zero; beyond the range its end, 0 for NaN."""
    return _saturate(value, _LOW, _HIGH)


def u32_of_float(value: Any) -> int:
    """Towards zero; beyond the range its end, 0 for NaN."""
    return _saturate(value, 0, _ALL)


def to_half(value: Any) -> Any:
    """The nearest half, ties to even."""
    return np.float16(value).astype(np.float32)


def add_half(a: Any, b: Any) -> Any:
    """Sum of halves."""
    return to_half(a + b)


def sub_half(a: Any, b: Any) -> Any:
    """Difference of halves."""
    return to_half(a - b)


def mul_half(a: Any, b: Any) -> Any:
    """Product of halves."""
    return to_half(a * b)


def div_half(a: Any, b: Any) -> Any:
    """Quotient of halves."""
    return to_half(a / b)


def shift_left(value: int, by: int) -> int:
    """0 for a shift outside 0..31."""
    return 0 if outside(by, _BITS) else wrap_i32(value) << by


def shift_right(value: int, by: int) -> int:
    """All sign for a shift outside 0..31."""
    return value >> by if not outside(by, _BITS) else -1 if value < 0 else 0


def power_i(base: int, exponent: int) -> int:
    """The low 32 bits (with sign) of a power; a negative exponent gives the reciprocal, truncated."""
    if exponent < 0:
        return 1 if base == 1 else (-1 if exponent % 2 else 1) if base == -1 else 0
    return wrap_i32(pow(base, exponent, 1 << _BITS))


def square_i(value: int) -> int:
    """value * value."""
    return value * value


def square(value: Any) -> Any:
    """value * value."""
    return value * value


def least_i(a: int, b: int) -> int:
    """The smaller integer."""
    return min(a, b)


def most_i(a: int, b: int) -> int:
    """The larger integer."""
    return max(a, b)


def least(a: Any, b: Any) -> Any:
    """The smaller float; `a` where they do not compare."""
    return b if b < a else a


def most(a: Any, b: Any) -> Any:
    """The larger float; `a` where they do not compare."""
    return b if b > a else a


def abs_i(value: int) -> int:
    """Magnitude of an integer."""
    return abs(value)


def floor_div(a: Any, b: Any) -> Any:
    """floor(a / b)."""
    return np.floor(f32(a / b))


def floor_mod(a: Any, b: Any) -> Any:
    """Remainder with the sign of `b`."""
    rest = np.fmod(a, b)
    return f32(rest + b) if rest != 0 and (rest < 0) != (b < 0) else rest


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return f32(1) / np.sqrt(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return f32(1) / (f32(1) + np.exp(-x))


def erf(x: Any) -> Any:
    """The error function."""
    return f32(math.erf(x))


power, fmod, atan2 = np.power, np.fmod, np.arctan2
exp, exp2, expm1, log, log2, log1p = np.exp, np.exp2, np.expm1, np.log, np.log2, np.log1p
sqrt, cbrt, tanh, sin, cos, tan, asin = np.sqrt, np.cbrt, np.tanh, np.sin, np.cos, np.tan, np.arcsin
floor, ceil, trunc, round_even = np.floor, np.ceil, np.trunc, np.rint
fabs, isnan, isinf = np.fabs, np.isnan, np.isinf
