"""The text of small compiled functions, each one operation over rows of elements in memory.

A function gets the address of a table of int64: rows, elements of a row, outer axes, three further numbers, then the
address of each operand (the result first), the strides of each along a row in elements, and for every outer axis its
size, a counter (0 between calls) and the stride of each operand in bytes.  Functions are compiled one by one when first
used, kept on disk (`ipusim.lang.keep`), and called by address, so that a workload adds no machine code of its own.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from ipusim.lang import keep
from ipusim_kernels.conv import numeric_tile
from ipusim_kernels.poprand import streams
from ipusim_kernels.recurrent import functions, numeric

HEADER: Final = 6
BYTES: Final = {"f": 4, "i": 4, "b": 1}
_AT: Final = {"f": "f32_at", "i": "i32_at", "b": "u8_at"}
_CHUNK: Final = 1024  # [own choice] elements that exp and its like work on at a time: they stay in the first cache

UNARY: Final = {
    "relu": "max({a}, ZERO)",
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
    "max": "max({a}, {b})",
    "min": "min({a}, {b})",
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
FLOAT_BINARY: Final = {"div": "{a} / {b}", "pow": "{a} ** {b}"}
#: First value, step, and what follows the last one (None: nothing).
REDUCE: Final[dict[str, tuple[float, str, str | None]]] = {
    "sum": (0.0, "{s} + {x}", None),
    "mean": (0.0, "{s} + {x}", "mul"),
    "max": (float("-inf"), "max({s}, {x})", None),
    "min": (float("inf"), "min({s}, {x})", None),
    "prod": (1.0, "{s} * {x}", None),
    "sum_square": (0.0, "{s} + {x} * {x}", None),
    "l1": (0.0, "{s} + abs({x})", None),
    "l2": (0.0, "{s} + {x} * {x}", "sqrt"),
}

_HEAD: Final = """\
import numpy as np

from ipusim.address import f32_at, f64_at, i32_at, i64_at, u32_at, u8_at
from ipusim_kernels.poprand.streams import fill
from ipusim_kernels.recurrent.functions import exp, sigmoid, tanh
from ipusim_kernels.recurrent.numeric import accumulate

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
    for module in (functions, numeric, numeric_tile, streams):
        made.update(Path(module.__file__ or "").read_bytes())
    return made.hexdigest()


def _indented(lines: list[str], depth: int) -> list[str]:
    return [" " * 4 * depth + line for line in lines]


def rows(types: str, inner: list[str], before: tuple[str, ...] = ()) -> str:
    """A function that runs `inner` for each row; there p0, p1, ... are the operands' addresses, s0, s1, ... their
    strides, n the elements of a row, t the table.  `types` has a letter for each operand: f, i or b.
    """
    many = len(types)
    first = HEADER + 2 * many
    lines = [f"t = i64_at(table, {first})", "n, axes = t[1], t[2]"]
    lines += [f"p{k} = t[{HEADER + k}]" for k in range(many)]
    lines += [f"s{k} = t[{HEADER + many + k}]" for k in range(many)]
    lines += [*before, f"o = i64_at(table + {8 * first}, axes * {2 + many})", "for _ in range(t[0]):"]
    lines += _indented(inner, 1)
    lines += _indented(
        [
            "axis = axes - 1",
            "while axis >= 0:",
            f"    k = axis * {2 + many}",
            "    o[k + 1] += 1",
            *(f"    p{k} += o[k + {2 + k}]" for k in range(many)),
            "    if o[k + 1] < o[k]:",
            "        break",
            "    o[k + 1] = 0",
            *(f"    p{k} -= o[k] * o[k + {2 + k}]" for k in range(many)),
            "    axis -= 1",
        ],
        1,
    )
    return _function(lines)


def _function(lines: list[str]) -> str:
    return "\n".join([f"# {_sources()}", _HEAD, "", "def group(table, low, high):", *_indented(lines, 1), ""])


def _views(types: str, unit: bool = False) -> list[str]:
    """Arrays x0, x1, ... over a row of each operand, whose first element is b0, b1, ... there."""
    if unit:
        return [f"x{k} = {_AT[c]}(p{k}, n)" for k, c in enumerate(types)]
    first = [f"b{k} = max((1 - n) * s{k}, 0)" for k in range(len(types))]
    return first + [
        f"x{k} = {_AT[c]}(p{k} - b{k} * {BYTES[c]}, (n - 1) * abs(s{k}) + 1)" for k, c in enumerate(types)
    ]


def elementwise(expression: str, types: str, before: tuple[str, ...] = ()) -> str:
    """A function for `expression` of {a}, {b}, {c}; `types` begins with the result's."""
    keys, many = "abc", len(types) - 1

    def loop(strides: str) -> list[str]:
        """`strides`: for each operand 1, 0 or s (any)."""
        held = [f"v{k} = x{k}[0]" for k in range(1, many + 1) if strides[k] == "0"]
        texts = {"1": "x{k}[i]", "0": "v{k}", "s": "x{k}[b{k} + i * s{k}]"}
        read = {keys[k - 1]: texts[strides[k]].format(k=k) for k in range(1, many + 1)}
        target = "x0[i]" if strides[0] == "1" else "x0[b0 + i * s0]"
        return [*held, "for i in range(n):", f"    {target} = {expression.format(**read)}"]

    known = {1: ["11", "10"], 2: ["111", "110", "101"], 3: ["1111"]}[many]
    inner, word = _views(types), "if"
    for strides in known:
        test = " and ".join(f"s{k} == {s}" for k, s in enumerate(strides))
        inner += [f"{word} {test}:", *_indented(loop(strides), 1)]
        word = "elif"
    return rows(types, [*inner, "else:", *_indented(loop("s" * (many + 1)), 1)], before)


def reduction(kind: str) -> str:
    """A function that adds rows of the operand to those of the result, one by one."""
    step = REDUCE[kind][1]
    inner = [
        *_views("ff"),
        "if s0 == 0 and s1 == 1:",
        "    s = x0[0]",
        "    for i in range(n):",
        f"        s = {step.format(s='s', x='x1[i]')}",
        "    x0[0] = s",
        "elif s0 == 1 and s1 == 1:",
        "    for i in range(n):",
        f"        x0[i] = {step.format(s='x0[i]', x='x1[i]')}",
        "else:",
        "    for i in range(n):",
        f"        x0[b0 + i * s0] = {step.format(s='x0[b0 + i * s0]', x='x1[b1 + i * s1]')}",
    ]
    return rows("ff", inner)


def vector(kind: str) -> str:
    """exp, sigmoid or tanh of rows; the fourth number is the address of scratch memory."""
    inner = [
        *_views("ff", unit=True),
        "for i in range(n):",
        "    x0[i] = x1[i]",
        f"for start in range(0, n, {_CHUNK}):",
        f"    part = x0[start : min(start + {_CHUNK}, n)]",
        f"    {kind}(part, i32_at(t[3], len(part)))",
    ]
    return rows("ff", inner)


def product() -> str:
    """Sums of products added to the result, a matrix a row; the further numbers are m, depth, n."""
    return rows(
        "fff",
        [
            "a, b = f32_at(p1, t[3] * t[4]).reshape((t[3], t[4])), f32_at(p2, t[4] * t[5]).reshape((t[4], t[5]))",
            "accumulate(a, b, f32_at(p0, t[3] * t[5]).reshape((t[3], t[5])))",
        ],
    )


def moving(kind: str, letter: str) -> str:
    """A copy at an index: "slice" from, "update" to; the further numbers: its address, its most, bytes for each."""
    which = {"slice": "p1", "update": "p0"}[kind]
    before = (f"{which} += min(max(np.int64(i32_at(t[3], 1)[0]), 0), t[4]) * t[5]",)
    return elementwise("{a}", letter * 2, before)


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


__all__ = ["BINARY", "BYTES", "FLOAT_BINARY", "HEADER", "REDUCE", "UNARY", "VECTOR", "address", "elementwise", "moving",
           "product", "random", "reduction", "table_size", "vector"]  # fmt: skip
