"""The functions inside recurrent cells, on float32 vectors, each in place.

exp is 2^n times a polynomial of degree 6, tanh near 0 an odd polynomial of degree 11 (schemes and coefficients of
Cephes, Moshier 1992), made of additions and multiplications alone, so that they are vectorised and have the same bits
on every host; sigmoid and the rest of tanh are made of exp.  Measured: exp within 1 unit in the last place, tanh and
sigmoid within 3.  What is beyond float32 is 0 or infinite, what is no number stays so.  Omitted: the rounding of the
chip's own instructions, which is not documented.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import jit

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

#: Numbers of the activation functions in compiled code.
CODES = {
    name: code
    for code, name in enumerate(
        [
            "relu", "tanh", "sigmoid", "affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu",
            "softsign", "softplus",
        ]
    )
}  # fmt: skip
RELU, TANH, SIGMOID, AFFINE, LEAKY_RELU, THRESHOLDED_RELU = range(6)
SCALED_TANH, HARD_SIGMOID, ELU, SOFTSIGN, SOFTPLUS = range(6, 11)

_LOG2E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_LEAST, _MOST = np.float32(-105.0), np.float32(88.72283)  # e^x is 0 below, infinite above
_INFINITE = np.float32(np.inf)
_T0, _T1, _T2 = np.float32(-5.70498872745e-3), np.float32(2.06390887954e-2), np.float32(-5.37397155531e-2)
_T3, _T4 = np.float32(1.33314422036e-1), np.float32(-3.33332819422e-1)
_SMALL = np.float32(0.625)  # [cephes] tanh is the polynomial below


@jit
def exp(x: F32, bits: I32) -> None:
    """x <- e^x.  `bits`: as long as x, overwritten.

    The power of two is multiplied in two halves, since it may be beyond float32 where the result is not.
    """
    scale = bits.view(np.float32)
    for i in range(len(x)):
        first = x[i]
        v = _LEAST if first < _LEAST else first
        v = _MOST if v > _MOST else v
        n = np.floor(v * _LOG2E + _HALF)
        v = v - n * _LN2_HIGH
        v = v - n * _LN2_LOW
        p = (((((_P0 * v + _P1) * v + _P2) * v + _P3) * v + _P4) * v + _P5) * (v * v) + v + _ONE
        n = n if n == n else np.float32(0)  # no number
        lower = np.floor(n * _HALF)
        p = p + p * (n - lower - lower)
        x[i] = _INFINITE if first > _MOST else p
        bits[i] = (np.int32(lower) + np.int32(127)) << np.int32(23)
    for i in range(len(x)):
        x[i] = x[i] * scale[i] * scale[i]


@jit
def sigmoid(x: F32, bits: I32) -> None:
    """x <- 1 / (1 + e^-x)."""
    for i in range(len(x)):
        x[i] = -x[i]
    exp(x, bits)
    for i in range(len(x)):
        x[i] = _ONE / (_ONE + x[i])


@jit
def tanh(x: F32, bits: I32) -> None:
    """x <- 1 - 2 / (e^2x + 1), near 0 the polynomial."""
    given = x.copy()
    for i in range(len(x)):
        x[i] = _TWO * x[i]
    exp(x, bits)
    for i in range(len(x)):
        small = abs(given[i]) < _SMALL
        v = given[i] if small else np.float32(0)
        z = v * v
        near = ((((_T0 * z + _T1) * z + _T2) * z + _T3) * z + _T4) * z * v + v
        far = _ONE - _TWO / (x[i] + _ONE)
        x[i] = near if small else far


@jit
def apply(code: int, alpha: np.float32, beta: np.float32, x: F32, bits: I32) -> None:
    """x <- the activation of a code in `CODES`, with its parameters as ONNX defines them."""
    n = len(x)
    if code == SIGMOID:
        sigmoid(x, bits)
    elif code == TANH:
        tanh(x, bits)
    elif code == SCALED_TANH:
        for i in range(n):
            x[i] = beta * x[i]
        tanh(x, bits)
        for i in range(n):
            x[i] = alpha * x[i]
    else:
        for i in range(n):
            x[i] = _simple(code, alpha, beta, x[i])


@jit
def _simple(code: int, alpha: np.float32, beta: np.float32, v: np.float32) -> np.float32:
    zero = np.float32(0)
    if code == RELU:
        return max(v, zero)
    if code == AFFINE:
        return alpha * v + beta
    if code == LEAKY_RELU:
        return v if v >= zero else alpha * v
    if code == THRESHOLDED_RELU:
        return v if v > alpha else zero
    if code == HARD_SIGMOID:
        return min(max(alpha * v + beta, zero), _ONE)
    if code == ELU:
        return v if v >= zero else np.float32(alpha * np.float32(np.exp(v) - _ONE))
    if code == SOFTSIGN:
        return v / (_ONE + abs(v))
    return max(v, zero) + np.float32(np.log1p(np.exp(-abs(v))))
