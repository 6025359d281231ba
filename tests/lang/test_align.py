"""Alignment of vectors, hand-written loops, and what the compilers of either chip add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ipusim import Input, Output, Vector, codelet, float32, half
from ipusim.lang.costs import costs
from ipusim.lang.ir import Function
from ipusim.lang.parse import parse
from ipusim.lang.slots import POPC_FACTOR

Floats = Vector[float32]


def inner(function: Callable[..., Any], vectorize: int = 2, profile: str = "serial") -> int:
    """Slots of an iteration of the only loop."""
    counted = costs(parse(function), profile=profile, vectorize=vectorize, generation="mk2")
    (slots,) = counted.each.values()
    return slots


def copied(x: Input[Floats], out: Output[Floats]) -> None:
    for i in range(len(out)):
        out[i] = x[i]


def shifted(x: Input[Floats], out: Output[Floats]) -> None:
    for i in range(len(out)):
        out[i] = x[i + 1]


def wide(a: Input[Floats], b: Input[Floats], c: Input[Floats], out: Output[Floats]) -> None:
    for i in range(len(out)):
        out[i] = a[i + 1] + b[i + 1] + c[i + 1]


def sides(x: Input[Floats], out: Output[Floats]) -> None:
    for i in range(len(out)):
        out[i] = x[i + 1] + (x[i] + x[i + 2])


def row(up: Input[Floats], x: Input[Floats], down: Input[Floats], out: Output[Floats]) -> None:
    for i in range(len(out)):
        out[i] = (x[i] + x[i + 2]) + x[i + 1] + up[i + 1] + down[i + 1]


@pytest.mark.parametrize(
    ("function", "slots"),
    [
        (copied, 1 + 1 + 1),
        (shifted, 2 + 1 + 1),  # load by words, or store by words: alike
        (wide, 3 + 2 + 2 + 1),  # three pairs, and a store by words instead of six loads by words
        (sides, 2 + (2 + 1) + 1 + 1 + 1),  # the middle out of the pairs beside it, so one of two sums in halves
        (row, 3 + 2 + (4 + 1) + 2 + 1 + 1),  # west and east by a word each, their sum in halves, a store by words
    ],
)
def test_slots_of_pairs(function: Any, slots: int) -> None:
    """Loads, operations, stores, an add where a stream has several offsets, the branch."""
    assert inner(function) == slots


def test_pairs_never_take_more_than_twice_the_slots_of_one() -> None:
    for function in (copied, shifted, wide, sides, row):
        assert inner(function, 1) <= inner(function, 2) < 2 * inner(function, 1)


def test_halves_are_not_split() -> None:
    def moved(x: Input[Vector[half]], out: Output[Vector[half]]) -> None:
        for i in range(len(out)):
            out[i] = x[i + 1]

    counted = costs(parse(moved), profile="serial", vectorize=4)
    assert not counted.width
    assert "not aligned" in " ".join(counted.scalar.values())


def triad(a: Output[Floats], b: Input[Floats], c: Input[Floats], s: float) -> None:
    for i in range(len(a)):
        a[i] = b[i] + s * c[i]


@pytest.mark.parametrize(
    ("profile", "slots"),
    [("serial", 6), ("list", 5), ("rpt", 4), ("asm", 3), ("pace", 1)],
)
def test_triad_by_hand(profile: str, slots: int) -> None:
    """M0003 is 3.8 slots per pair on a GC2, M0492 is 1.01 on a GC200."""
    assert inner(triad, 2, profile) == slots


def test_pace_joins_only_what_it_can() -> None:
    def scaled(a: Output[Floats], b: Input[Floats], c: Input[Floats]) -> None:
        for i in range(len(a)):
            a[i] = b[i] + b[i] * c[i]

    def copies(a: Output[Floats], b: Output[Floats], x: Input[Floats]) -> None:
        for i in range(len(a)):
            a[i] = x[i]
            b[i] = x[i]

    assert inner(scaled, 2, "pace") == 2  # both factors move: a product and a sum
    assert inner(copies, 2, "pace") == 2  # one store with the load, one alone
    assert inner(triad, 1, "pace") == inner(triad, 1, "asm")  # single words have no such instructions


@pytest.mark.parametrize("generation", ["mk1", "mk2"])
def test_compiled_code_is_a_multiple_of_its_instructions(generation: str) -> None:
    tree: Function = parse(triad)
    popc, serial = (costs(tree, profile=p, generation=generation) for p in ("popc", "serial"))
    assert popc.each == serial.each
    assert popc.factor == POPC_FACTOR[generation]
    assert serial.factor == (1, 1)


def test_explanation_names_the_factor() -> None:
    made = codelet(triad)
    assert "x 1.10" in made.explain()
    assert "x 1." not in made.explain("serial")
    for profile in ("rpt", "pace"):
        assert f"profile {profile}: " in made.explain(profile)
