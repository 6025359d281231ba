"""Values of elementwise functions: each computed in float32 and rounded once to the storage type.

`UNARY` and `BINARY` are the meaning, on float32 (or integer) arrays; the compiled loops below them are the same
functions for the cases that networks spend their time in.  Integer division truncates and the remainder takes the
divisor's sign, as ONNX says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import float_to_half, half_to_float, jit
from ipusim_kernels.halves import store, widen

Array = NDArray[Any]
F32 = NDArray[np.float32]
U16 = NDArray[np.uint16]


@jit
def _erf(x: F32, out: F32) -> None:
    """Error function, rational approximation (Eigen's float coefficients), within 4 units in the last place."""
    for i in range(len(x)):
        v = min(max(x[i], np.float32(-4.0)), np.float32(4.0))
        s = v * v
        p = np.float32(-2.72614225801306e-10)
        p = p * s + np.float32(2.77068142495902e-08)
        p = p * s + np.float32(-2.10102402082508e-06)
        p = p * s + np.float32(-5.69250639462346e-05)
        p = p * s + np.float32(-7.34990630326855e-04)
        p = p * s + np.float32(-2.95459980854025e-03)
        p = p * s + np.float32(-1.60960333262415e-02)
        q = np.float32(-1.45660718464996e-05)
        q = q * s + np.float32(-2.13374055278905e-04)
        q = q * s + np.float32(-1.68282697438203e-03)
        q = q * s + np.float32(-7.37332916720468e-03)
        q = q * s + np.float32(-1.42647390514189e-02)
        out[i] = v * p / q


def erf(x: Array) -> Array:
    """Error function of float32 data."""
    flat = np.ascontiguousarray(x, np.float32).ravel()
    out = np.empty_like(flat)
    _erf(flat, out)
    return out.reshape(x.shape)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


def _gelu_tanh(x: Array) -> Array:
    inner = np.float32(0.7978845608028654) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (1.0 + np.tanh(inner)))


_SELU_SCALE, _SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)

#: Functions of one array and the parameters alpha and beta.
UNARY: dict[str, Callable[[Array, Any, Any], Any]] = {
    "relu": lambda x, a, b: np.maximum(x, 0),
    "exp": lambda x, a, b: np.exp(x),
    "log": lambda x, a, b: np.log(x),
    "tanh": lambda x, a, b: np.tanh(x),
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "sqrt": lambda x, a, b: np.sqrt(x),
    "rsqrt": lambda x, a, b: 1.0 / np.sqrt(x),
    "reciprocal": lambda x, a, b: 1.0 / x,
    "square": lambda x, a, b: x * x,
    "neg": lambda x, a, b: -x,
    "abs": lambda x, a, b: np.abs(x),
    "ceil": lambda x, a, b: np.ceil(x),
    "floor": lambda x, a, b: np.floor(x),
    "round": lambda x, a, b: np.rint(x),
    "sign": lambda x, a, b: np.sign(x),
    "erf": lambda x, a, b: erf(x),
    "gelu": lambda x, a, b: np.float32(0.5) * x * (1.0 + erf(x * np.float32(0.7071067811865476))),
    "gelu_tanh": lambda x, a, b: _gelu_tanh(x),
    "sin": lambda x, a, b: np.sin(x),
    "cos": lambda x, a, b: np.cos(x),
    "tan": lambda x, a, b: np.tan(x),
    "asin": lambda x, a, b: np.arcsin(x),
    "acos": lambda x, a, b: np.arccos(x),
    "atan": lambda x, a, b: np.arctan(x),
    "sinh": lambda x, a, b: np.sinh(x),
    "cosh": lambda x, a, b: np.cosh(x),
    "asinh": lambda x, a, b: np.arcsinh(x),
    "acosh": lambda x, a, b: np.arccosh(x),
    "atanh": lambda x, a, b: np.arctanh(x),
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
    "selu": lambda x, a, b: _SELU_SCALE * np.where(x < 0, _SELU_ALPHA * np.expm1(np.minimum(x, 0)), x),
    "celu": lambda x, a, b: np.maximum(x, 0) + np.minimum(0, a * np.expm1(x / a)),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hard_swish": lambda x, a, b: x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1),
    "swish": lambda x, a, b: x * _sigmoid(a * x),
    "softplus": lambda x, a, b: _softplus(x),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "mish": lambda x, a, b: x * np.tanh(_softplus(x)),
    "thresholded_relu": lambda x, a, b: np.where(x > a, x, 0),
    "not": lambda x, a, b: ~x,
    "isnan": lambda x, a, b: np.isnan(x),
    "isinf": lambda x, a, b: np.isinf(x),
}


def _div(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    quotient = np.abs(a.astype(np.int64)) // np.maximum(np.abs(b.astype(np.int64)), 1)
    return np.asarray((quotient * np.sign(a) * np.sign(b)).astype(a.dtype))


#: Functions of two arrays.
BINARY: dict[str, Callable[[Array, Array], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _div,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "mod": np.mod,
    "equal": np.equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "not_equal": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "prelu": lambda a, b: np.where(a < 0, a * b, a),
}


@jit
def _relu_half(x: U16, out: U16) -> None:
    for i in range(len(x)):
        value = x[i]
        out[i] = np.uint16(0) if value > np.uint16(0x8000) and value <= np.uint16(0xFC00) else value


_BLOCK = 2048


@jit
def _block_half(code: int, a: U16, b: U16, out: U16) -> None:
    """a and b of equal length into a third array (distinct, so that the loops vectorise); code 0 add, 1 sub, 2 mul."""
    if code == 0:
        for i in range(len(out)):
            out[i] = float_to_half(half_to_float(a[i]) + half_to_float(b[i]))
    elif code == 1:
        for i in range(len(out)):
            out[i] = float_to_half(half_to_float(a[i]) - half_to_float(b[i]))
    else:
        for i in range(len(out)):
            out[i] = float_to_half(half_to_float(a[i]) * half_to_float(b[i]))


@jit
def _arithmetic_half(code: int, a: U16, b: U16, out: U16) -> None:
    """a, b and out of equal length, block by block through a buffer: out may be one of the others."""
    buffer = np.empty(_BLOCK, np.uint16)
    for start in range(0, len(out), _BLOCK):
        end = min(start + _BLOCK, len(out))
        part = buffer[: end - start]
        _block_half(code, a[start:end], b[start:end], part)
        out[start:end] = part


@jit
def _arithmetic_rows_half(code: int, a: U16, b: U16, out: U16) -> None:
    """a and out (rows, columns), b (rows, 1) or (1, columns); out may be a."""
    rows, columns = a.shape
    repeated = np.empty(_BLOCK, np.uint16)
    buffer = np.empty(_BLOCK, np.uint16)
    for r in range(rows):
        if b.shape[1] == 1:
            repeated[:] = b[r if b.shape[0] > 1 else 0, 0]
        for start in range(0, columns, _BLOCK):
            end = min(start + _BLOCK, columns)
            part = buffer[: end - start]
            if b.shape[1] == 1:
                _block_half(code, a[r, start:end], repeated[: end - start], part)
            else:
                _block_half(code, a[r, start:end], b[0, start:end], part)
            out[r, start:end] = part


_CODES = {"add": 0, "sub": 1, "mul": 2}


def unary(kind: str, x: Array, out: Array, alpha: float = 0.0, beta: float = 0.0) -> None:
    """One function of each element; `out` may be `x`."""
    if kind == "relu" and x.dtype == np.float16 and x.flags.c_contiguous and out.flags.c_contiguous:
        _relu_half(x.view(np.uint16).ravel(), out.view(np.uint16).reshape(-1))
        return
    with np.errstate(all="ignore"):
        made = UNARY[kind](widen(x), np.float32(alpha), np.float32(beta))
    store(np.asarray(made), out)


def binary(kind: str, a: Array, b: Array, out: Array) -> None:
    """One function of two elements with broadcasting; `out` may be one of them."""
    code = _CODES.get(kind)
    if code is not None and out.dtype == np.float16 and _fast_half(code, a, b, out):
        return
    with np.errstate(all="ignore"):
        made = BINARY[kind](widen(a), widen(b))
    store(np.asarray(made), out)


def _fast_half(code: int, a: Array, b: Array, out: Array) -> bool:
    """Half arithmetic on contiguous data, the second operand whole, per row or per column; False if it is anything
    else.
    """
    if not (a.shape == out.shape and a.flags.c_contiguous and out.flags.c_contiguous):
        return False
    if b.shape == out.shape and b.flags.c_contiguous:
        flat = (t.view(np.uint16).reshape(-1) for t in (a, b, out))
        _arithmetic_half(code, *flat)
        return True
    real = [ax for ax, s in enumerate(b.strides) if s and b.shape[ax] > 1] if b.shape == out.shape else None
    if real is None:
        return False
    core = b[tuple(slice(None) if ax in real else slice(0, 1) for ax in range(b.ndim))]
    if real == list(range(len(real))):
        rows = int(np.prod(out.shape[: len(real)]))
        shape = (rows, 1)
    elif real == list(range(b.ndim - len(real), b.ndim)):
        rows = int(np.prod(out.shape[: b.ndim - len(real)]))
        shape = (1, out.size // rows)
    else:
        return False
    small = np.ascontiguousarray(core).view(np.uint16).reshape(shape)
    wide = (rows, out.size // rows)
    _arithmetic_rows_half(code, a.view(np.uint16).reshape(wide), small, out.view(np.uint16).reshape(wide))
    return True


def select(condition: Array, a: Array, b: Array, out: Array) -> None:
    """a where the condition holds, else b, with broadcasting."""
    store(np.where(condition, a, b), out)


def clip(x: Array, lo: float | None, hi: float | None, out: Array) -> None:
    """x limited to lo..hi in its own type."""
    limits = [None if v is None else x.dtype.type(v) for v in (lo, hi)]
    store(np.clip(x, *limits) if any(v is not None for v in limits) else x, out)
