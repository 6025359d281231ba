"""Codelets as a user writes them: slots where `continue` and offsets share code, limits of size and of running time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lang.tables import codelet_of, fails, run

from ipusim.dtype import float32, int32
from ipusim.errors import BadInput
from ipusim.jit import DISABLED
from ipusim.lang import ir
from ipusim.lang.costs import costs
from ipusim.lang.decorator import codelet
from ipusim.lang.fields import InOut, Input, Output, Vector
from ipusim.lang.parse import parse
from ipusim.lang.reads import statements

HEAD = "def f(x: InOut[Vector[float32]], n: int) -> None:\n"


@codelet(profile="serial")
def positive_by_if(x: Input[Vector[float32]], y: Output[Vector[float32]]) -> None:
    c = 0
    for i in range(len(x)):
        if x[i] > 0.0:
            y[c] = x[i]
            c += 1


@codelet(profile="serial")
def positive_by_continue(x: Input[Vector[float32]], y: Output[Vector[float32]]) -> None:
    c = 0
    for i in range(len(x)):
        if x[i] <= 0.0:
            continue
        y[c] = x[i]
        c += 1


@codelet(profile="serial")
def odd_by_continue(y: Output[Vector[int32]], n: int) -> None:
    i = 0
    while i < n:
        i += 1
        if (i & 1) == 0:
            continue
        y[i] = i


@codelet(profile="serial")
def odd_by_if(y: Output[Vector[int32]], n: int) -> None:
    i = 0
    while i < n:
        i += 1
        if (i & 1) != 0:
            y[i] = i


def test_continue_costs_the_end_of_the_iteration() -> None:
    """ld, compare, move, branch, brnzdec whatever the element is; st and add where it is positive."""
    x = np.array([1, -1, -2, 3, -4, -5, -6], np.float32)
    y, z = np.zeros_like(x), np.zeros_like(x)
    slots = [int(run(f, x=x, y=out)[0]) for f, out in ((positive_by_if, y), (positive_by_continue, z))]
    assert np.array_equal(y, z)
    assert slots[0] == slots[1]
    more = int(run(positive_by_continue, x=np.append(x, [-1, -1]).astype(np.float32), y=z)[0])
    assert more - slots[1] == 2 * 5
    y, z = np.zeros(9, np.int32), np.zeros(9, np.int32)
    assert int(run(odd_by_if, y=y, n=8)[0]) == int(run(odd_by_continue, y=z, n=8)[0])
    assert np.array_equal(y, z)


def each(function: Callable[..., Any], number: int) -> int:
    tree = parse(function)
    loops = [s for s in statements(tree.body) if isinstance(s, (ir.For, ir.While))]
    return costs(tree, profile="serial").each.get(id(loops[number]), 0)


def insert(d: InOut[Vector[float32]], at: InOut[Vector[int32]], new: float, n: int) -> None:
    j = n
    while j > 0 and d[j - 1] > new:
        d[j] = d[j - 1]
        at[j] = at[j - 1]
        j -= 1
    d[j] = new


def window(x: Input[Vector[float32]], start: Input[Vector[int32]], out: Output[Vector[float32]]) -> None:
    for i in range(len(out)):
        at = start[i]
        out[i] = x[at] + x[at + 1] + x[at + 2] + x[at + 3]


def two_windows(
    x: Input[Vector[float32]], y: Input[Vector[float32]], start: Input[Vector[int32]], out: Output[Vector[float32]]
) -> None:
    for i in range(len(out)):
        at = start[i]
        out[i] = x[at - 1] + x[at + 1] + y[at - 1] + y[at + 1]


def test_an_offset_is_added_once() -> None:
    """insert: branch on j, ld, compare, move, branch, st, ld, st, j - 1 (the index of both loads, then j): 9.
    window: ld start, add, 4 ld, 3 adds, st, brnzdec: 11.  two_windows: ld start, 2 adds, 4 ld, 3 adds, st, brnzdec: 12."""
    assert each(insert, 0) == 9
    assert each(window, 0) == 11
    assert each(two_windows, 0) == 12


def test_blocks_nest_within_a_limit() -> None:
    def chain(count: int) -> str:
        tests = (f"    {'elif' if k else 'if'} n == {k}:\n        x[0] = {k}.0\n" for k in range(count))
        return HEAD + "".join(tests)

    x = np.zeros(2, np.float32)
    run(codelet_of(chain(58)), x=x, n=57)
    assert x[0] == 57
    with pytest.raises(BadInput, match=r"is 61 blocks deep \(each elif is one more\); keep numbers"):
        codelet_of(chain(70))


@pytest.mark.parametrize("terms", [300, 2000])
def test_expressions_nest_within_a_limit(terms: int) -> None:
    with pytest.raises(BadInput, match="more than 200 operations one inside the other; use local variables"):
        codelet_of(HEAD + "    x[0] = x[1]" + " + x[1]" * terms)


def test_conditions_nest_within_a_limit() -> None:
    wide = " and ".join(f"x[{k}] > 0.0" for k in range(120))
    made = codelet_of(HEAD + f"    if {wide}:\n        x[0] = 2.0")
    with pytest.raises(BadInput, match="codelet f: more than 98 blocks and parts of conditions"):
        made.compiled(counted=True)


@pytest.mark.skipif(DISABLED, reason="counts to four thousand millions")
def test_loops_in_loops_end() -> None:
    """Compiled code cannot be interrupted, so what would take days is told after seconds."""
    loops = "".join("    " * (k + 1) + f"for i{k} in range(n):\n" for k in range(3))
    made = codelet_of(HEAD + loops + "                x[0] = x[0] * 0.5 + 1.0")
    assert "more than 4,000,000,000 issue slots" in fails(made, x=np.zeros(2, np.float32), n=1_000_000)


def test_text_is_refused_with_what_to_write() -> None:
    with pytest.raises(BadInput, match="no values of type str; write characters as their codes"):
        codelet_of(HEAD + "    x[0] = 'a'")
