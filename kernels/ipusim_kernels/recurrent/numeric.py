"""Values of a recurrent layer over a whole sequence, in float32 with the state rounded to the layer's type each step.

The products are chains of fused multiply-adds in the order of the operand's elements, one for the input and one for the
state, so that results do not depend on how many sequences run together.  The input's products of all steps are made
before the first step, with the biases.  Omitted: rounding of the gates to half between the functions of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import float_to_half, half_to_float, jit
from ipusim.workload.ops_recurrent import CELLS
from ipusim_kernels.halves import store, widen
from ipusim_kernels.recurrent.functions import CODES, apply
from ipusim_kernels.recurrent.panels import product, taps_of

Array = NDArray[Any]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
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
def _limit(x: F32, clip: np.float32) -> None:
    if clip > 0:
        for i in range(len(x)):
            x[i] = min(max(x[i], -clip), clip)


@jit
def _add(x: F32, other: F32) -> None:
    """x += as many of `other`."""
    for i in range(len(x)):
        x[i] += other[i]


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
    steps, batch, width = pre.shape
    rows = 4 * h.shape[1]
    g = np.empty((batch, width), np.float32)
    bits, taps = np.empty(rows, np.int32), taps_of(r)
    for t in range(steps):
        product(h, r, taps, g, False)
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            if at >= 0:
                sums = g[n, :rows]
                _add(sums, pre[at, n])
                _lstm_row(sums, h[n], c[n], peep, clip, input_forget, codes, numbers, bits)
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
    steps, batch, width = pre.shape
    rows = h.shape[1]
    g = np.empty((batch, width), np.float32)
    bits, taps = np.empty(rows, np.int32), taps_of(r)
    for t in range(steps):
        product(h, r, taps, g, False)
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            if at >= 0:
                sums = g[n, :rows]
                _add(sums, pre[at, n])
                _limit(sums, clip)
                _apply(0, codes, numbers, sums, bits)
                h[n] = sums
                if half:
                    _round(h[n])
                y[at, n] = h[n]


@jit
def _gru(
    pre: F32, gates: F32, hidden: F32, bias: F32, lengths: I32, reverse: bool, clip: np.float32, linear: bool,
    codes: I32, numbers: F32, half: bool, h: F32, y: F32,
) -> None:  # fmt: skip
    """Panels `gates` of z (update) and r (reset), and of the hidden one; `bias` (3 H): the state's products'."""
    steps, batch, _ = pre.shape
    size = h.shape[1]
    g = np.empty((batch, gates.shape[0] * gates.shape[2]), np.float32)
    new = np.empty((batch, hidden.shape[0] * hidden.shape[2]), np.float32)
    operand, bits, taps = np.empty((batch, size), np.float32), np.empty(2 * size, np.int32), taps_of(gates)
    for t in range(steps):
        product(h, gates, taps, g, False)
        for n in range(batch):
            at = max(_keep(t, lengths[n], steps, reverse), 0)
            sums = g[n, : 2 * size]
            _add(sums, bias)
            _add(sums, pre[at, n])
            _limit(sums, clip)
            _apply(0, codes, numbers, sums, bits)
            for k in range(size):
                operand[n, k] = h[n, k] if linear else h[n, k] * g[n, size + k]
        product(operand, hidden, taps, new, False)
        for n in range(batch):
            at = _keep(t, lengths[n], steps, reverse)
            if at < 0:
                continue
            sums = new[n, :size]
            for k in range(size):
                own = sums[k] + bias[2 * size + k]
                sums[k] = pre[at, n, 2 * size + k] + (g[n, size + k] * own if linear else own)
            _limit(sums, clip)
            _apply(1, codes, numbers, sums, bits)
            for k in range(size):
                h[n, k] = (np.float32(1) - g[n, k]) * sums[k] + g[n, k] * h[n, k]
            if half:
                _round(h[n])
            y[at, n] = h[n]


def run(
    layer: Layer, x: Array, w: F32, r: Sequence[F32], bias: Array | None, peepholes: Array | None,
    lengths: Array | None, state: Sequence[Array], y: Array,
) -> None:  # fmt: skip
    """One direction over a sequence.

    x (T, N, I); w of I and G H and r of H and G H as `panels.panels` makes them, r of a GRU as two: update and reset
    gates, hidden gate; bias (2 G H), peepholes (3 H) and lengths (N), each None if there is none; `state`: h and, for
    an LSTM, c, each (N, H), replaced by their last values; y (T, N, H), 0 beyond each length.
    """
    steps, batch, _ = x.shape
    size = state[0].shape[1]
    half, gru = x.dtype == np.float16, layer.cell == "gru"
    both = np.zeros(2 * CELLS[layer.cell][0] * size, np.float32) if bias is None else widen(bias)
    pre = _ready(x, w, both, gru)
    counts = np.full(batch, steps, np.int32) if lengths is None else np.ascontiguousarray(lengths, np.int32)
    codes = np.array([CODES[kind] for kind, _, _ in layer.functions], np.int32)
    numbers = np.array([v for _, *pair in layer.functions for v in pair], np.float32)
    clip = np.float32(layer.clip)
    now = [np.ascontiguousarray(widen(s)).copy() for s in state]
    made = np.zeros((steps, batch, size), np.float32)
    if layer.cell == "lstm":
        peep = np.zeros(0, np.float32) if peepholes is None else np.ascontiguousarray(widen(peepholes))
        h, c = now
        _lstm(pre, r[0], peep, counts, layer.reverse, clip, layer.input_forget, codes, numbers, half, h, c, made)
    elif gru:
        linear, own = layer.linear_before_reset, both[len(both) // 2 :]
        _gru(pre, r[0], r[1], own, counts, layer.reverse, clip, linear, codes, numbers, half, now[0], made)
    else:
        _rnn(pre, r[0], counts, layer.reverse, clip, codes, numbers, half, now[0], made)
    store(made, y)
    for values, out in zip(now, state, strict=True):
        store(values, out)


def _ready(x: Array, w: F32, both: F32, gru: bool) -> F32:
    """Products of all steps with the input, and biases (for a GRU the input's alone): (T, N, panels of w)."""
    steps, batch, features = x.shape
    rows = len(both) // 2
    pre = np.zeros((steps * batch, len(w) * w.shape[2]), np.float32)
    pre[:, :rows] = both[:rows] if gru else both[:rows] + both[rows:]
    product(np.ascontiguousarray(widen(x)).reshape(-1, features), w, taps_of(w), pre, True)
    return pre.reshape(steps, batch, -1)
