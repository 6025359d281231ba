"""The functions inside recurrent cells, on float32 vectors, each in place.

exp is 2^n times a polynomial of degree 6 (the scheme and coefficients of Cephes, Moshier 1992: within 2 units in the
last place), made of additions and multiplications alone, so that it is vectorised and has the same bits on every host;
sigmoid and tanh are made of it.  Omitted: the rounding of the chip's own instructions, which is not documented.
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
_LEAST, _MOST = np.float32(-87.0), np.float32(88.0)


@jit
def exp(x: F32, bits: I32) -> None:
    """x <- e^x, x limited to -87..88.  `bits`: as long as x, overwritten."""
    scale = bits.view(np.float32)
    for i in range(len(x)):
        v = min(max(x[i], _LEAST), _MOST)
        n = np.floor(v * _LOG2E + _HALF)
        v = v - n * _LN2_HIGH
        v = v - n * _LN2_LOW
        p = (((((_P0 * v + _P1) * v + _P2) * v + _P3) * v + _P4) * v + _P5) * (v * v) + v + _ONE
        bits[i] = (np.int32(n) + np.int32(127)) << np.int32(23)
        x[i] = p
    for i in range(len(x)):
        x[i] = x[i] * scale[i]


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
    """x <- 1 - 2 / (e^2x + 1)."""
    for i in range(len(x)):
        x[i] = _TWO * x[i]
    exp(x, bits)
    for i in range(len(x)):
        x[i] = _ONE - _TWO / (x[i] + _ONE)


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
