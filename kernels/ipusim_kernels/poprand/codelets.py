"""Text of the random codelets: each of six workers advances its own xoroshiro128aox state and makes two values a step.

The state is two 64-bit words, here as four of 32 bits, low half first.  The output function (and, or, exclusive or) and
the constants 55, 14, 36 are those of the generator that Graphcore's hardware is described with: J. Hanlon and
S. Felix, A fast hardware pseudorandom number generator based on xoroshiro128, arXiv 2203.04058.  How the hardware makes
floats of the bits is not public.  Here a uniform value has 24 bits, and a normal one comes from the Box-Muller formula
with logarithm, sine and cosine as polynomials: only additions, products, divisions and square roots, each rounded once,
so that a stream is the same on every host.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ipusim.dtype import DType, float32, half, int32, uint32
from ipusim.lang.decorator import TileCodelet
from ipusim_kernels.popops.generated import from_text
from ipusim_kernels.poprand.cycles import Draw, RandomTiming

STEP = """
lo = (a ^ c) ^ (((a & c) << 1 | (b & d) >> 31) | ((a & c) << 2 | (b & d) >> 30))
hi = (b ^ d) ^ (((b & d) << 1 | (a & c) >> 31) | ((b & d) << 2 | (a & c) >> 30))
c = c ^ a
d = d ^ b
e = a
a = (b << 23 | a >> 9) ^ c ^ (c << 14)
b = (e << 23 | b >> 9) ^ d ^ (d << 14 | c >> 18)
e = c
c = d << 4 | c >> 28
d = e << 4 | d >> 28
"""

_UNIFORM = """
v0 = low + float32(lo >> 8) * SCALE24 * width
v1 = low + float32(hi >> 8) * SCALE24 * width
"""
_INTEGER = """
v0 = low + int32(lo % width)
v1 = low + int32(hi % width)
"""
_BERNOULLI = """
v0 = E(1) if (lo >> 1) < threshold else E(0)
v1 = E(1) if (hi >> 1) < threshold else E(0)
"""
_DROPOUT = """
v0 = float32(x[i]) * scale if (lo >> 1) < threshold else float32(0)
v1 = float32(x[min(i + 1, len(x) - 1)]) * scale if (hi >> 1) < threshold else float32(0)
"""
#: z0, z1 from lo, hi: the radius from the logarithm of one word, the angle from the other.
_PAIR = """
m = lo | 1
k = 1
while m < TOP:
    m = m << 1
    k = k + 1
y = float32(m) * SCALE31
t = (y - 1.0) / (y + 1.0)
q = t * t
l = 2.0 * t * (1.0 + q * (L3 + q * (L5 + q * (L7 + q * (L9 + q * (L11 + q * L13))))))
r = np_sqrt(max(2.0 * (float32(k) * LN2 - l), float32(0)))
f = float32(hi & 1073741823) * QUARTER
g = f * f
s = f * (1.0 + g * (S3 + g * (S5 + g * (S7 + g * (S9 + g * S11)))))
w = 1.0 + g * (C2 + g * (C4 + g * (C6 + g * (C8 + g * (C10 + g * C12)))))
turn = hi >> 30
z0 = r * (w if turn == 0 else (-s if turn == 1 else (-w if turn == 2 else s)))
z1 = r * (s if turn == 0 else (w if turn == 1 else (-s if turn == 2 else -w)))
"""
_NORMAL = """
v0 = mean + deviation * z0
v1 = mean + deviation * z1
"""


def _names() -> dict[str, Any]:
    names: dict[str, Any] = {"TOP": 1 << 31, "SCALE24": 2.0**-24, "SCALE31": 2.0**-31, "np_sqrt": np.sqrt}
    names |= {"LN2": math.log(2), "QUARTER": 2.0**-30 * math.pi / 2}
    names |= {f"L{n}": 1 / n for n in range(3, 14, 2)}
    names |= {f"S{n}": (-1) ** (n // 2) / math.factorial(n) for n in range(3, 12, 2)}
    names |= {f"C{n}": (-1) ** (n // 2) / math.factorial(n) for n in range(2, 13, 2)}
    return names | {"float32": float32, "int32": int32, "uint32": uint32}


def _indented(text: str, depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in text.strip("\n").split("\n"))


_MEMBERS: dict[str, str] = {
    "uniform": "low: float32, width: float32",
    "integer": "low: int32, width: uint32",
    "normal": "mean: float32, deviation: float32",
    "truncated_normal": "mean: float32, deviation: float32, alpha: float32",
    "bernoulli": "threshold: uint32",
    "dropout": "threshold: uint32, scale: float32",
}


def _values(draw: str) -> str:
    """Statements of one step that leave v0 and v1."""
    body = {"uniform": _UNIFORM, "integer": _INTEGER, "bernoulli": _BERNOULLI, "dropout": _DROPOUT}
    if draw in body:
        return _indented(STEP, 2) + _indented(body[draw], 2)
    if draw == "normal":
        return _indented(STEP, 2) + _indented(_PAIR, 2) + _indented(_NORMAL, 2)
    again = "z0 = alpha + 1.0\nz1 = alpha + 1.0\nfound = 0\nv0 = mean + 0.0\nv1 = mean + 0.0"
    keep = """
if abs(z0) <= alpha:
    if found == 0:
        v0 = mean + deviation * z0
    else:
        v1 = mean + deviation * z0
    found = found + 1
if abs(z1) <= alpha and found < 2:
    if found == 0:
        v0 = mean + deviation * z1
    else:
        v1 = mean + deviation * z1
    found = found + 1
"""
    inner = _indented(STEP, 3) + _indented(_PAIR, 3) + _indented(keep, 3)
    return _indented(again, 2) + _indented("while found < 2:", 2) + inner


@cache
def draw_codelet(draw: Draw, dtype: DType, iterations: int = 0) -> TileCodelet:
    """The MultiVertex that fills `out`; `state` holds four words of each worker, `share` is even."""
    form = "integer" if draw == "uniform" and not dtype.is_float else draw
    given = "x: Input[Vector[E]], " if draw == "dropout" else ""
    name = f"poprand_{draw}"
    text = (
        f"def {name}(state: InOut[Vector[uint32]], {given}out: Output[Vector[E]], {_MEMBERS[form]}, share: int, "
        "worker_id: int):\n"
        "    at = 4 * worker_id\n"
        "    a = state[at]\n    b = state[at + 1]\n    c = state[at + 2]\n    d = state[at + 3]\n"
        "    begin = worker_id * share\n"
        "    end = min(len(out), begin + share)\n"
        "    for i in range(begin, end, 2):\n"
        f"{_values(form)}"
        "        out[i] = v0\n"
        "        if i + 1 < end:\n"
        "            out[i + 1] = v1\n"
        "    state[at] = a\n    state[at + 1] = b\n    state[at + 2] = c\n    state[at + 3] = d\n"
    )
    timing = RandomTiming(draw, dtype == half, iterations)
    return from_text(name, text, {**_names(), "E": dtype}, multi=True, cycles=timing)
