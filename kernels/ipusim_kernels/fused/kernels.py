"""The text of small compiled functions, each one operation over rows of elements in memory.

A function gets the address of a table of int64: rows, elements of a row, outer axes, three further numbers, then the
address of each operand (the result first), the strides of each along a row in elements, and for every outer axis its
size, a counter (0 between calls) and the stride of each operand in bytes.  Functions are compiled one by one when first
used, kept on disk (`ipusim.lang.keep`), and called by address, so that a workload adds no machine code of its own.

Each is written for one pattern: a character for the stride of each operand along a row, 1, 0, or s for any, and a + if
there are outer axes.  Compiling takes as long as the text is, so it has the loops of its pattern alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from ipusim.lang import keep
from ipusim_kernels.conv import numeric_tile
from ipusim_kernels.fused import products
from ipusim_kernels.fused import rows as walk
from ipusim_kernels.fused.rows import HEADER
from ipusim_kernels.poprand import streams
from ipusim_kernels.recurrent import functions

BYTES: Final = {"f": 4, "i": 4, "b": 1}
_AT: Final = {"f": "f32_at", "i": "i32_at", "b": "u8_at"}
_CHUNK: Final = 1024  # [own choice] elements that exp and its like work on at a time: they stay in the first cache

UNARY: Final = {
    "relu": "ZERO if {a} < ZERO else {a}",
    "log": "np.log({a})",
    "sqrt": "np.sqrt({a})",
    "rsqrt": "ONE / np.sqrt({a})",
    "reciprocal": "ONE / {a}",
    "square": "{a} * {a}",
    "neg": "-{a}",
    "abs": "abs({a})",
    "sign": "np.sign({a})",
    "sin": "np.sin({a})",
    "cos": "np.cos({a})",
    "sinh": "np.sinh({a})",
    "cosh": "np.cosh({a})",
    "atan": "np.arctan({a})",
    "softplus": "max({a}, ZERO) + np.log1p(np.exp(-abs({a})))",
    "softsign": "{a} / (ONE + abs({a}))",
    "floor": "np.floor({a})",
    "ceil": "np.ceil({a})",
    "not": "not {a}",
    "isnan": "np.isnan({a})",
    "isinf": "np.isinf({a})",
}
VECTOR: Final = ("exp", "sigmoid", "tanh")
BINARY: Final = {
    "add": "{a} + {b}",
    "sub": "{a} - {b}",
    "mul": "{a} * {b}",
    "max": "{a} if {a} > {b} or {a} != {a} else {b}",
    "min": "{a} if {a} < {b} or {a} != {a} else {b}",
    "equal": "{a} == {b}",
    "less": "{a} < {b}",
    "less_equal": "{a} <= {b}",
    "greater": "{a} > {b}",
    "greater_equal": "{a} >= {b}",
    "not_equal": "{a} != {b}",
    "and": "{a} and {b}",
    "or": "{a} or {b}",
    "xor": "{a} != {b}",
}
#: Limits of {a}: what is no number stays so, as with max and min.
AT_LEAST, AT_MOST = "{b} if {a} < {b} else {a}", "{b} if {a} > {b} else {a}"
FLOAT_BINARY: Final = {"div": "{a} / {b}", "pow": "{a} ** {b}"}
#: First value, step, and what follows the last one (None: nothing).  One of max or min that is no number decides.
REDUCE: Final[dict[str, tuple[float, str, str | None]]] = {
    "sum": (0.0, "{s} + {x}", None),
    "mean": (0.0, "{s} + {x}", "mul"),
    "max": (float("-inf"), "{x} if {x} > {s} or {x} != {x} else {s}", None),
    "min": (float("inf"), "{x} if {x} < {s} or {x} != {x} else {s}", None),
    "prod": (1.0, "{s} * {x}", None),
    "sum_square": (0.0, "{s} + {x} * {x}", None),
    "l1": (0.0, "{s} + abs({x})", None),
    "l2": (0.0, "{s} + {x} * {x}", "sqrt"),
}
SUMS: Final = ("sum", "mean", "sum_square", "l1", "l2")

_HEAD: Final = """\
import numpy as np

from ipusim.address import f32_at, f64_at, i32_at, i64_at, u32_at, u8_at
from ipusim_kernels.fused.products import narrow, wide
from ipusim_kernels.fused.rows import advance
from ipusim_kernels.poprand.streams import fill
from ipusim_kernels.recurrent.functions import exp, sigmoid, tanh

F = np.float32
ZERO, ONE = F(0), F(1)
"""


def table_size(operands: int, axes: int) -> int:
    """Numbers in a table."""
    return HEADER + 2 * operands + axes * (2 + operands)


@lru_cache(maxsize=1)
def _sources() -> str:
    """Hash of the modules whose functions are copied into the machine code."""
    made = sha256()
    for module in (functions, numeric_tile, products, streams, walk):
        made.update(Path(module.__file__ or "").read_bytes())
    return made.hexdigest()


def _indented(lines: list[str], depth: int) -> list[str]:
    return [" " * 4 * depth + line for line in lines]


def pattern_of(strides: Sequence[int], elements: int, axes: int) -> str:
    """The pattern of rows and outer axes: all s if one stride is neither 1 nor 0, so that there are few patterns."""
    outer = "+" if axes else ""
    if elements == 1:
        return "1" * len(strides) + outer
    if any(s not in (0, 1) for s in strides):
        return "s" * len(strides) + outer
    return "".join(map(str, strides)) + outer


def rows(
    types: str, pattern: str, inner: list[str], before: tuple[str, ...] = (), after: tuple[str, ...] = ()
) -> str:
    """A function that runs `inner` for each row; there t is the table, whose numbers from `HEADER` on are the addresses
    of the row's operands, and n the elements of a row.  `types` has a letter for each operand: f, i or b.
    """
    many = len(types)
    first = HEADER + 2 * many
    lines = [f"t = i64_at(table, {first})", "n = t[1]", *before]
    if pattern.endswith("+"):
        lines += [f"outer = i64_at(table + {8 * first}, t[2] * {2 + many})", "for _ in range(t[0]):"]
        lines += _indented([*inner, "advance(t, outer)"], 1)
    else:
        lines += inner
    return _function([*lines, *after])


def _function(lines: list[str]) -> str:
    return "\n".join([f"# {_sources()}", _HEAD, "", "def group(table, low, high):", *_indented(lines, 1), ""])


def _views(types: str, pattern: str) -> list[str]:
    """Arrays x0, x1, ... over a row of each operand; where the pattern has an s, with strides s0, s1, ... and the first
    element at b0, b1, ...
    """
    made = []
    for k, (letter, stride) in enumerate(zip(types, pattern, strict=False)):
        at, address = _AT[letter], f"t[{HEADER + k}]"
        if stride == "s":
            made += [f"s{k} = t[{HEADER + len(types) + k}]", f"b{k} = max((1 - n) * s{k}, 0)"]
            made += [f"x{k} = {at}({address} - b{k} * {BYTES[letter]}, (n - 1) * abs(s{k}) + 1)"]
        else:
            made += [f"x{k} = {at}({address}, {'n' if stride == '1' else 1})"]
    return made


_ELEMENT: Final = {"1": "x{k}[i]", "0": "v{k}", "s": "x{k}[b{k} + i * s{k}]"}


def elementwise(
    expression: str, types: str, pattern: str, before: tuple[str, ...] = (), after: tuple[str, ...] = ()
) -> str:
    """A function for `expression` of {a}, {b}, {c}; `types` and `pattern` begin with the result's."""
    texts = [_ELEMENT[stride].format(k=k) for k, stride in enumerate(pattern[: len(types)])]
    held = [f"v{k} = x{k}[0]" for k, stride in enumerate(pattern) if stride == "0"]
    read = dict(zip("abc", texts[1:], strict=False))
    loop = ["for i in range(n):", f"    {texts[0]} = {expression.format(**read)}"]
    return rows(types, pattern, [*_views(types, pattern), *held, *loop], before, after)


def reduction(kind: str, pattern: str) -> str:
    """A function that adds rows of the operand to those of the result, one by one ("01": a row to one number)."""
    step = REDUCE[kind][1]
    if pattern.startswith("01"):
        inner = ["s = x0[0]", "for i in range(n):", f"    s = {step.format(s='s', x='x1[i]')}", "x0[0] = s"]
    else:
        made, read = (_ELEMENT[stride].format(k=k) for k, stride in enumerate(pattern[:2]))
        inner = ["for i in range(n):", f"    {made} = {step.format(s=made, x=read)}"]
    return rows("ff", pattern, [*_views("ff", pattern), *inner])


def vector(kind: str, pattern: str) -> str:
    """exp, sigmoid or tanh of rows that run on; the fourth number is the address of scratch memory."""
    inner = [
        *_views("ff", "11"),
        "for i in range(n):",
        "    x0[i] = x1[i]",
        f"for start in range(0, n, {_CHUNK}):",
        f"    part = x0[start : min(start + {_CHUNK}, n)]",
        f"    {kind}(part, i32_at(t[3], len(part)))",
    ]
    return rows("ff", pattern, inner)


def product(kind: str, pattern: str) -> str:
    """A product of matrices a row, "wide" or "narrow" (`products`); operands: the result, the two matrices, then `taps`
    and `steps`; the further numbers are m, depth, n.
    """
    out, a, b, taps, steps = (f"t[{HEADER + k}]" for k in range(5))
    return rows(
        "fffii",
        pattern,
        [
            f"taps, steps = i32_at({taps}, t[4] + 1), i32_at({steps}, t[4])",
            f"a, b, out = f32_at({a}, t[3] * t[4]), f32_at({b}, t[4] * t[5]), f32_at({out}, t[3] * t[5])",
            f"{kind}(t[3], t[5], a, b, taps, steps, out)",
        ],
    )


def moving(kind: str, letter: str, pattern: str) -> str:
    """A copy at an index: "slice" from, "update" to; the further numbers: its address, its most, bytes for each."""
    which = f"t[{HEADER + ('update', 'slice').index(kind)}]"
    before = ("moved = min(max(np.int64(i32_at(t[3], 1)[0]), 0), t[4]) * t[5]", f"{which} += moved")
    return elementwise("{a}", letter * 2, pattern, before, (f"{which} -= moved",))


def random() -> str:
    """`streams.fill`: its table holds kind, tiles and elements, then addresses of the states, the layout's three arrays
    and the result, the length of the states, and a, b and alpha as float64.
    """
    return _function(
        [
            "t, r = i64_at(table, 9), f64_at(table + 72, 3)",
            "tiles, first = i32_at(t[4], t[1]), i32_at(t[5], t[1] + 1)",
            "order, out = i32_at(t[6], t[2]), f32_at(t[7], t[2])",
            "fill(t[0], u32_at(t[3], t[8]), tiles, first, order, 2, r[0], r[1], r[2], out)",
        ]
    )


@lru_cache(maxsize=1024)
def address(text: str, title: str) -> int:
    """Where a function is, compiled if need be."""
    return keep.compile_group(text, title)


__all__ = ["AT_LEAST", "AT_MOST", "BINARY", "BYTES", "FLOAT_BINARY", "HEADER", "REDUCE", "SUMS", "UNARY", "VECTOR",
           "address", "elementwise", "moving", "pattern_of", "product", "random", "reduction", "table_size",
           "vector"]  # fmt: skip
