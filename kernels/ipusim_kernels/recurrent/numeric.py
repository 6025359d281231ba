"""Values of a recurrent layer over a whole sequence, in float32 with the state rounded to the layer's type each step.

The products are chains of fused multiply-adds in the order of the operand's elements, first the input's, then the
state's, so that results do not depend on how many sequences run together.  The input's products of all steps are made
before the first step.  Omitted: rounding of the gates to half between the functions of a step.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.address import address_of
from ipusim.jit import float_to_half, half_to_float, jit
from ipusim.workload.ops_recurrent import CELLS
from ipusim_kernels.conv.numeric_tile import multiply_add
from ipusim_kernels.halves import store, widen
from ipusim_kernels.recurrent.functions import CODES, apply

Array = NDArray[Any]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
BLOCK = 8
LINE = 16  # numbers in a cache line
_TURNED: dict[Any, tuple[weakref.ref[Array], F32]] = {}
#: Activation codes, their alphas and betas, each as long as a cell has functions.
Functions = tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]


@final
@dataclass(frozen=True, slots=True)
class Layer:
    """One direction of a layer: `cell`, `reverse`, activation functions (kind, alpha, beta), the clip (0: none), and
    the two switches of ONNX.
    """

    cell: str
    reverse: bool
    functions: tuple[tuple[str, float, float], ...]
    clip: float
    input_forget: bool
    linear_before_reset: bool


@jit
def _eight(a: F32, b: F32, k: int, s: float, j: int) -> float:
    """s + the eight products of a row's elements from k on with column j of b."""
    s = multiply_add(a[k], b[k, j], s)
    s = multiply_add(a[k + 1], b[k + 1, j], s)
    s = multiply_add(a[k + 2], b[k + 2, j], s)
    s = multiply_add(a[k + 3], b[k + 3, j], s)
    s = multiply_add(a[k + 4], b[k + 4, j], s)
    s = multiply_add(a[k + 5], b[k + 5, j], s)
    s = multiply_add(a[k + 6], b[k + 6, j], s)
    return multiply_add(a[k + 7], b[k + 7, j], s)  # type: ignore[no-any-return]


@jit
def accumulate(a: F32, b: F32, out: F32) -> None:
    """out (m, n) += a (m, k) @ b (k, n), each sum in the order of k; further columns of b are not used."""
    m, depth = a.shape
    n = out.shape[1]
    k = 0
    while k + BLOCK <= depth:
        i = 0
        while i + 1 < m:
            r0, r1 = a[i], a[i + 1]
            for j in range(n):
                s0 = _eight(r0, b, k, out[i, j], j)
                s1 = _eight(r1, b, k, out[i + 1, j], j)
                out[i, j] = s0
                out[i + 1, j] = s1
            i += 2
        if i < m:
            r0 = a[i]
            for j in range(n):
                out[i, j] = _eight(r0, b, k, out[i, j], j)
        k += BLOCK
    for last in range(k, depth):
        for i in range(m):
            v0 = a[i, last]
            for j in range(n):
                out[i, j] = multiply_add(v0, b[last, j], out[i, j])


@jit
def _limit(x: F32, clip: np.float32) -> None:
    if clip > 0:
        for i in range(len(x)):
            x[i] = min(max(x[i], -clip), clip)


@jit
def _round(x: F32) -> None:
    for i in range(len(x)):
        x[i] = half_to_float(float_to_half(x[i]))


@jit
def _gate(x: F32, clip: np.float32, codes: I32, numbers: F32, bits: I32) -> None:
    _limit(x, clip)
    _apply(0, codes, numbers, x, bits)


@jit
def _lstm_row(
    g: F32, h: F32, c: F32, peep: F32, clip: np.float32, input_forget: bool, codes: I32, numbers: F32, bits: I32
) -> None:
    """One sequence, one step: g (4 H) holds the sums of gates i, o, f, c; h and c (H) are replaced."""
    n = len(h)
    i, o, f, z = g[:n], g[n : 2 * n], g[2 * n : 3 * n], g[3 * n :]
    late = len(peep) > 0
    if late:
        for k in range(n):
            i[k] += peep[k] * c[k]
            f[k] += peep[2 * n + k] * c[k]
        _gate(i, clip, codes, numbers, bits)
        _gate(f, clip, codes, numbers, bits)
    else:
        _gate(g[: 3 * n], clip, codes, numbers, bits)
    if input_forget:
        for k in range(n):
            f[k] = np.float32(1) - i[k]
    _limit(z, clip)
    _apply(1, codes, numbers, z, bits)
    for k in range(n):
        c[k] = f[k] * c[k] + i[k] * z[k]
        h[k] = c[k]
    if late:
        for k in range(n):
            o[k] += peep[n + k] * c[k]
        _gate(o, clip, codes, numbers, bits)
    _limit(h, clip)
    _apply(2, codes, numbers, h, bits)
    for k in range(n):
        h[k] = o[k] * h[k]


@jit
def _apply(which: int, codes: I32, numbers: F32, x: F32, bits: I32) -> None:
    apply(codes[which], numbers[2 * which], numbers[2 * which + 1], x, bits[: len(x)])


def activate(function: tuple[str, float, float], x: Array) -> Array:
    """An activation (kind, alpha, beta) of float32 data."""
    kind, alpha, beta = function
    out = np.array(x, np.float32, order="C").reshape(-1)
    apply(CODES[kind], np.float32(alpha), np.float32(beta), out, np.empty(len(out), np.int32))
    return out.reshape(x.shape)


@jit
def _keep(t: int, length: int, steps: int, reverse: bool) -> int:
    """The place in the sequence that step t works on, -1 if the sequence is over."""
    if t >= length:
        return -1
    return length - 1 - t if reverse else t


@jit
def _lstm(
    pre: F32,
    r: F32,
    peep: F32,
    lengths: I32,
    reverse: bool,
    clip: np.float32,
    input_forget: bool,
    codes: I32,
    numbers: F32,
    half: bool,
    h: F32,
    c: F32,
    y: F32,
) -> None:
    steps, batch, rows = pre.shape
    g = np.empty((batch, rows), np.float32)
    bits = np.empty(rows, np.int32)
    for t in range(steps):
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            for k in range(rows):
                g[n, k] = pre[at, n, k] if at >= 0 else np.float32(0)
        accumulate(h, r, g)
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            if at >= 0:
                _lstm_row(g[n], h[n], c[n], peep, clip, input_forget, codes, numbers, bits)
                if half:
                    _round(h[n])
                    _round(c[n])
                y[at, n] = h[n]


@jit
def _rnn(
    pre: F32,
    r: F32,
    lengths: I32,
    reverse: bool,
    clip: np.float32,
    codes: I32,
    numbers: F32,
    half: bool,
    h: F32,
    y: F32,
) -> None:
    steps, batch, rows = pre.shape
    g = np.empty((batch, rows), np.float32)
    bits = np.empty(rows, np.int32)
    for t in range(steps):
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            for k in range(rows):
                g[n, k] = pre[at, n, k] if at >= 0 else np.float32(0)
        accumulate(h, r, g)
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            if at >= 0:
                _limit(g[n], clip)
                _apply(0, codes, numbers, g[n], bits)
                h[n] = g[n]
                if half:
                    _round(h[n])
                y[at, n] = h[n]


@jit
def _gru(
    pre: F32, r: F32, bias: F32, lengths: I32, reverse: bool, clip: np.float32, linear: bool, codes: I32, numbers: F32,
    half: bool, h: F32, y: F32,
) -> None:  # fmt: skip
    """Gates z (update), r (reset) and the hidden one; `bias` (3 H) is that of the state's products."""
    steps, batch, rows = pre.shape
    size = rows // 3
    first, last = np.ascontiguousarray(r[:, : 2 * size]), np.ascontiguousarray(r[:, 2 * size : rows])
    g = np.empty((batch, 2 * size), np.float32)
    new, operand = np.empty((batch, size), np.float32), np.empty((batch, size), np.float32)
    bits = np.empty(rows, np.int32)
    for t in range(steps):
        for n in range(batch):
            at = max(_keep(t, lengths[n], steps, reverse), 0)
            for k in range(2 * size):
                g[n, k] = pre[at, n, k] + bias[k]
            for k in range(size):
                new[n, k] = bias[2 * size + k]
        accumulate(h, first, g)
        for n in range(batch):
            _limit(g[n], clip)
            _apply(0, codes, numbers, g[n], bits)
            for k in range(size):
                operand[n, k] = h[n, k] if linear else h[n, k] * g[n, size + k]
        accumulate(operand, last, new)
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            if at < 0:
                continue
            for k in range(size):
                scaled = g[n, size + k] * new[n, k] if linear else new[n, k]
                new[n, k] = pre[at, n, 2 * size + k] + scaled
            _limit(new[n], clip)
            _apply(1, codes, numbers, new[n], bits)
            for k in range(size):
                h[n, k] = (np.float32(1) - g[n, k]) * new[n, k] + g[n, k] * h[n, k]
            if half:
                _round(h[n])
            y[at, n] = h[n]


def turned(weights: Array) -> F32:
    """Weights (rows, columns) as float32 (columns, rows and zeros up to a multiple of `LINE`), each row at the start of
    a cache line: reading them is what a step of a small batch takes its time for.  Of an array that nobody may write
    to, they are kept as long as it lives.
    """
    if weights.flags.writeable or not isinstance(weights.base, np.ndarray):
        return _turned(weights)
    held = weights.__array_interface__
    key = (held["data"], weights.shape, weights.strides, held["typestr"])
    if key not in _TURNED:
        _TURNED[key] = weakref.ref(weights.base, lambda _: _TURNED.pop(key, None)), _turned(weights)
    return _TURNED[key][1]


def _turned(weights: Array) -> F32:
    rows, columns = weights.shape
    width = -(-rows // LINE) * LINE
    memory = np.zeros(columns * width + LINE, np.float32)
    start = -(address_of(memory) // memory.itemsize) % LINE
    made = memory[start : start + columns * width].reshape(columns, width)
    made[:, :rows] = widen(weights).T
    return made


def run(
    layer: Layer, x: Array, w: F32, r: F32, bias: Array | None, peepholes: Array | None, lengths: Array | None,
    state: Sequence[Array], y: Array,
) -> None:  # fmt: skip
    """One direction over a sequence.

    x (T, N, I), w (I, G H) and r (H, G H) as `turned` makes them; bias (2 G H), peepholes (3 H) and lengths (N), each
    None if there is none; `state`: h and, for an LSTM, c, each (N, H), replaced by their last values; y (T, N, H), 0
    beyond each length.
    """
    steps, batch, features = x.shape
    size = len(r)
    rows = CELLS[layer.cell][0] * size
    half = x.dtype == np.float16
    pre = np.zeros((steps * batch, rows), np.float32)
    both = np.zeros(2 * rows, np.float32) if bias is None else widen(bias)
    gru = layer.cell == "gru"
    pre[:] = both[:rows] if gru else both[:rows] + both[rows:]
    accumulate(np.ascontiguousarray(widen(x)).reshape(-1, features), w, pre)
    pre = pre.reshape(steps, batch, rows)
    counts = np.full(batch, steps, np.int32) if lengths is None else np.ascontiguousarray(lengths, np.int32)
    codes = np.array([CODES[kind] for kind, _, _ in layer.functions], np.int32)
    numbers = np.array([v for _, *pair in layer.functions for v in pair], np.float32)
    clip = np.float32(layer.clip)
    now = [np.ascontiguousarray(widen(s)).copy() for s in state]
    made = np.zeros((steps, batch, size), np.float32)
    if layer.cell == "lstm":
        peep = np.zeros(0, np.float32) if peepholes is None else np.ascontiguousarray(widen(peepholes))
        h, c = now
        _lstm(pre, r, peep, counts, layer.reverse, clip, layer.input_forget, codes, numbers, half, h, c, made)
    elif gru:
        linear = layer.linear_before_reset
        _gru(pre, r, both[rows:], counts, layer.reverse, clip, linear, codes, numbers, half, now[0], made)
    else:
        _rnn(pre, r, counts, layer.reverse, clip, codes, numbers, half, now[0], made)
    store(made, y)
    for values, out in zip(now, state, strict=True):
        store(values, out)
