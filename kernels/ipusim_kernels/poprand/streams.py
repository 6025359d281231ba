"""The random codelets of `codelets.py` on whole tensors: the same streams, bit for bit, as one compiled function.

A tile's elements, in the order in which it holds them, are dealt to its six workers in even stretches; each worker
makes two elements a step of its own xoroshiro128aox generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import jit
from ipusim.program.mapping import Mapping

U32 = NDArray[np.uint32]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

WORKERS, WORDS = 6, 4
KINDS = {"uniform": 0, "normal": 1, "truncated_normal": 2, "bernoulli": 3, "dropout": 4}
UNIFORM, NORMAL, TRUNCATED, BERNOULLI, DROPOUT = range(5)

_F = np.float32
_SCALE24, _SCALE31 = _F(2.0**-24), _F(2.0**-31)
_QUARTER, _LN2 = _F(2.0**-30 * np.pi / 2), _F(np.log(2))
_L3, _L5, _L7, _L9, _L11, _L13 = (_F(1 / n) for n in range(3, 14, 2))
_S3, _S5, _S7, _S9, _S11 = _F(-1 / 6), _F(1 / 120), _F(-1 / 5040), _F(1 / 362880), _F(-1 / 39916800)
_C2, _C4, _C6 = _F(-1 / 2), _F(1 / 24), _F(-1 / 720)
_C8, _C10, _C12 = _F(1 / 40320), _F(-1 / 3628800), _F(1 / 479001600)
_ONE, _TWO, _ZERO = _F(1), _F(2), _F(0)
_U = np.uint64


@final
@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """Which elements (flat indices, `order` int32) each of `tiles` (n,) int32 holds, `first` (n + 1,) int32."""

    tiles: I32
    first: I32
    order: I32

    @staticmethod
    def of(mapping: Mapping) -> Layout:
        """The layout of a mapping, remembered with it."""

        def make() -> Layout:
            shares = mapping.shares()
            numbers = np.arange(int(np.prod(mapping.shape, dtype=np.int64)), dtype=np.int32).reshape(mapping.shape)
            boxes = zip(shares.lo.tolist(), shares.hi.tolist(), strict=True)
            parts = [numbers[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))].ravel() for lo, hi in boxes]
            sizes = np.add.reduceat([len(p) for p in parts], shares.first[:-1])
            first = np.append(0, np.cumsum(sizes)).astype(np.int32)
            return Layout(shares.tiles.astype(np.int32), first, np.concatenate(parts).astype(np.int32))

        return mapping.memo("random layout", make)


@jit
def _pair(lo: int | np.int64, hi: int | np.int64, out: F32) -> None:
    """Two normal values from two words of 32 bits."""
    m, k = lo | 1, 1
    while m < (1 << 31):
        m, k = m << 1, k + 1
    y = _F(m) * _SCALE31
    t = (y - _ONE) / (y + _ONE)
    q = t * t
    series = _L3 + q * (_L5 + q * (_L7 + q * (_L9 + q * (_L11 + q * _L13))))
    log = _TWO * t * (_ONE + q * series)
    r = np.sqrt(max(_TWO * (_F(k) * _LN2 - log), _ZERO))
    f = _F(hi & 1073741823) * _QUARTER
    g = f * f
    s = f * (_ONE + g * (_S3 + g * (_S5 + g * (_S7 + g * (_S9 + g * _S11)))))
    w = _ONE + g * (_C2 + g * (_C4 + g * (_C6 + g * (_C8 + g * (_C10 + g * _C12)))))
    turn = hi >> 30
    if turn == 0:
        out[0], out[1] = r * w, r * s
    elif turn == 1:
        out[0], out[1] = r * -s, r * w
    elif turn == 2:
        out[0], out[1] = r * -w, r * -s
    else:
        out[0], out[1] = r * s, r * -w


@jit
def _step(words: NDArray[np.uint64]) -> np.uint64:
    """The next 64 bits of a generator (two words), which moves on."""
    s0, s1 = words[0], words[1]
    both, sum_ = s0 & s1, s0 ^ s1
    turned = ((both << _U(1)) | (both >> _U(63))) | ((both << _U(2)) | (both >> _U(62)))
    words[0] = ((s0 << _U(55)) | (s0 >> _U(9))) ^ sum_ ^ (sum_ << _U(14))
    words[1] = (sum_ << _U(36)) | (sum_ >> _U(28))
    return np.uint64(sum_ ^ turned)


@jit
def _two(kind: int, words: NDArray[np.uint64], a: np.float32, b: np.float32, alpha: float, z: F32, v: F32) -> None:
    """Two values of a kind; `v` holds the two operands of a dropout before."""
    if kind == TRUNCATED:
        found = 0
        v[0] = v[1] = a
        while found < 2:
            bits = _step(words)
            _pair(np.int64(bits & _U(0xFFFFFFFF)), np.int64(bits >> _U(32)), z)
            for k in range(2):
                if abs(z[k]) <= _F(alpha) and found < 2:
                    v[found] = a + b * z[k]
                    found += 1
        return
    bits = _step(words)
    lo, hi = np.int64(bits & _U(0xFFFFFFFF)), np.int64(bits >> _U(32))
    if kind == UNIFORM:
        v[0] = a + _F(lo >> 8) * _SCALE24 * b
        v[1] = a + _F(hi >> 8) * _SCALE24 * b
    elif kind == NORMAL:
        _pair(lo, hi, z)
        v[0], v[1] = a + b * z[0], a + b * z[1]
    else:
        limit = np.int64(alpha)
        scale = b
        v[0] = v[0] * scale if (lo >> 1) < limit else _ZERO
        v[1] = v[1] * scale if (hi >> 1) < limit else _ZERO


@jit
def fill(
    kind: int,
    state: U32,
    tiles: I32,
    first: I32,
    order: I32,
    grain: int,
    a: float,
    b: float,
    alpha: float,
    out: F32,
) -> None:
    """Draws every element of `out` (flat; for dropout it holds the operand), advancing `state` (flat, 24 words a tile).

    `a`, `b`: low and width of uniform values, mean and deviation of normal ones, unused and scale of the others;
    `alpha`: the limit of truncated ones, the 31-bit threshold of Bernoulli and dropout.
    """
    words = np.empty(2, np.uint64)
    z, v = np.empty(2, np.float32), np.empty(2, np.float32)
    for k in range(len(tiles)):
        begin, end = first[k], first[k + 1]
        share = (end - begin + grain * WORKERS - 1) // (grain * WORKERS) * grain
        for worker in range(WORKERS):
            base = (tiles[k] * WORKERS + worker) * WORDS
            for w in range(2):
                words[w] = _U(state[base + 2 * w]) | (_U(state[base + 2 * w + 1]) << _U(32))
            low, high = begin + worker * share, min(end, begin + (worker + 1) * share)
            for i in range(low, high, 2):
                at = order[i]
                after = order[min(i + 1, end - 1)]
                v[0], v[1] = (out[at], out[after]) if kind == DROPOUT else (_ONE, _ONE)
                _two(kind, words, _F(a), _F(b), alpha, z, v)
                out[at] = v[0]
                if i + 1 < high:
                    out[after] = v[1]
            for w in range(2):
                state[base + 2 * w] = np.uint32(words[w] & _U(0xFFFFFFFF))
                state[base + 2 * w + 1] = np.uint32(words[w] >> _U(32))
