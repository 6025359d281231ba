"""Random programs of loops, branches, rows and jumps: values against Python's own run, slots against an interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lang.slot_interpreter import Count
from lang.tables import codelet_of, run, same

HEAD = (
    "def f(x: Input[Vector[int32]], out: InOut[Vector[int32]], rows: InOut[Vector[Vector[int32]]], n: int):\n"
    "    p, q = 3, n\n"
    "    row = rows[0]\n"
)


@st.composite
def numbers(draw, names, depth=2):
    """Text of a small integer expression."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from([*names, "n", "2", "5", "len(row)", "row[1]", "x[0]"]))
    a, b = draw(numbers(names, depth - 1)), draw(numbers(names, depth - 1))
    form = draw(st.sampled_from(("+", "-", "*", "load", "rows", "choose", "min", "and")))
    if form == "load":
        return f"x[({a}) % 8]"
    if form == "rows":
        return f"rows[({a}) % 2][({b}) % 3]"
    if form == "choose":
        return f"({a} if {b} < 4 else x[({b}) % 7])"
    if form == "min":
        return f"min({a}, {b})"
    if form == "and":
        return f"(1 if {a} > 2 and out[({b}) % 8] < 9 or {b} == 1 else 0)"
    return f"({a} {form} {b})"


@st.composite
def blocks(draw, names, depth, loop):
    """Lines of a block; `loop` says whether it is in a loop."""
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        kinds = ["assign", "store", "row", "bind"] + ["if", "for", "while"] * (depth > 0) + ["jump"] * loop + ["return"]
        lines += draw(statements(draw(st.sampled_from(kinds)), names, depth, loop))
    return lines


def deeper(lines):
    return ["    " + line for line in lines]


@st.composite
def statements(draw, kind, names, depth, loop):
    value = draw(numbers(names))
    if kind == "assign":
        return [f"{draw(st.sampled_from('pq'))} = ({value}) % 97"]
    if kind == "store":
        return [f"out[({draw(numbers(names, 1))}) % 8] {draw(st.sampled_from(('=', '+=')))} ({value}) % 31"]
    if kind == "row":
        where = draw(st.sampled_from(("rows[0]", "rows[p % 2]", "row", "rows[n % 2]")))
        return [f"{where}[({draw(numbers(names, 1))}) % 3] = ({value}) % 19"]
    if kind == "bind":
        return [f"row = rows[({value}) % 2]"]
    if kind == "jump":
        return [f"if {value} > 6:", "    " + draw(st.sampled_from(("break", "continue")))]
    if kind == "return":
        return [f"if {value} == 4:", "    return"]
    body = draw(blocks(names, depth - 1, loop))
    if kind == "if":
        other = ["else:", *deeper(draw(blocks(names, depth - 1, loop)))] if draw(st.booleans()) else []
        return [f"if {value} < {draw(numbers(names, 1))}:", *deeper(body), *other]
    name = f"i{depth}"
    if kind == "for":
        bounds = draw(st.sampled_from(("3", "1, n", "n, -1, -2", "0, 7, 3", "p % 5, 6", "n, 2")))
        return [f"for {name} in range({bounds}):", *deeper(draw(blocks([*names, name], depth - 1, True)))]
    body = draw(blocks(names, depth - 1, True))
    return [f"w{depth} = 0", f"while w{depth} < 4 and {value} != 3:", f"    w{depth} += 1", *deeper(body)]


@st.composite
def programs(draw):
    body = draw(blocks(["p", "q"], 3, False))
    return HEAD + "\n".join(deeper([*body, "out[0] = p", "out[1] = q"]))


def vertex(seed, n):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.integers(-9, 20, 8).astype(np.int32),
        "out": rng.integers(0, 9, 8).astype(np.int32),
        "rows": [rng.integers(0, 9, 3).astype(np.int32) for _ in range(2)],
        "n": n,
    }


@pytest.mark.parametrize("profile", ["popc", "list"])
def test_random_control_flow(profile):
    @settings(max_examples=80, deadline=None)
    @given(programs(), st.integers(0, 9), st.integers(0, 6))
    def law(text, seed, n):
        made = codelet_of(text, options={"profile": profile})
        ours, theirs, third = (vertex(seed, n) for _ in range(3))
        slots = int(run(made, "words", **ours)[0])
        with np.errstate(all="ignore"):
            made(**theirs)
        assert same(ours["out"], theirs["out"]), text
        assert all(same(a, b) for a, b in zip(ours["rows"], theirs["rows"], strict=True)), text
        members = {"n": third.pop("n")}
        assert slots == Count(made.function, made.costs(), third, members).thread_slots, text

    law()
