"""Slot table, index polynomials, pairing of blocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.dtype import float32, half, int32
from ipusim.errors import BadInput, UnknownName
from ipusim.lang import affine
from ipusim.lang.affine import Poly
from ipusim.lang.schedule import Instr, schedule
from ipusim.lang.slots import constant_slots, kind_of, lanes_of, slots_of


@pytest.mark.parametrize(
    ("op", "kind", "row"),
    [
        ("add", "f32", (0, 1)),
        ("add", "f16v4", (0, 1)),
        ("add", "f16", (0, 1)),  # one half takes the instruction of two
        ("exp", "f32", (0, 3)),
        ("exp", "f32v2", (0, 6)),  # two scalar instructions
        ("exp", "f16v4", (0, 4)),  # two pairs
        ("exp2", "f16v2", (0, 2)),
        ("log2", "f16v4", (0, 4)),  # as log
        ("sin", "f16", (25, 0)),
        ("cos", "f16v2", (50, 0)),  # as sin
        ("tan", "f16", (5100, 2)),  # in float, converted there and back
        ("div", "f32", (0, 3)),
        ("div", "f16v4", (0, 17)),
        ("div", "f16", (0, 6)),  # two conversions, divide 3, one back
        ("sqrt", "f16", (0, 7)),
        ("div", "i32", (160, 0)),
        ("div", "u32", (150, 0)),
        ("add", "u32", (1, 0)),
        ("store", "f16", (10, 0)),
    ],
)
def test_rows_and_what_follows_from_them(op: str, kind: str, row: tuple[int, int]) -> None:
    assert slots_of("mk1").of(op, kind) == row


def test_generations_differ_where_the_chips_do() -> None:
    mk1, mk2 = slots_of("mk1"), slots_of("mk2")
    assert (mk1.rpt_limit, mk2.rpt_limit) == (4095, 65535)
    assert mk1.unpack[1] == mk2.unpack[1] + 1  # compact pointers need an add more
    with pytest.raises(UnknownName, match="mk3"):
        slots_of("mk3")


def test_table_can_be_overridden_and_misses_are_named() -> None:
    slots = slots_of("mk1")
    assert slots.override({("tanh", "f32"): (0, 6)}).of("tanh", "f32v2") == (0, 12)
    assert slots.of("tanh", "f32") == (0, 5)
    with pytest.raises(BadInput, match="bessel"):
        slots.of("bessel", "f32")
    with pytest.raises(BadInput, match="negative"):
        slots.override({("add", "f32"): (0, -1)})


def test_register_widths() -> None:
    assert [lanes_of(float32, w) for w in (1, 2, 4)] == [(1, 1), (1, 2), (2, 2)]
    assert [lanes_of(half, w) for w in (1, 2, 4)] == [(1, 1), (1, 2), (1, 4)]
    assert lanes_of(int32, 4) == (4, 1)
    assert [kind_of(half, 4), kind_of(float32), kind_of(int32)] == ["f16v4", "f32", "i32"]


def test_literals() -> None:
    floats = {0.0: 0, 1.0: 1, 0.5: 1, 0.1: 2, math.inf: 1, 1e300: 1}
    assert {x: constant_slots(x, float32) for x in floats} == floats
    assert [constant_slots(n, int32) for n in (0, -7, 40_000, 1 << 25)] == [0, 0, 1, 2]
    assert constant_slots(0.1, half) == 1


# -- polynomials


def evaluate(poly: Poly, values: list[int]) -> int:
    total = 0
    for product, factor in poly:
        for v in product:
            factor *= values[v]
        total += factor
    return total


terms = st.dictionaries(
    st.lists(st.integers(0, 3), max_size=2).map(lambda p: tuple(sorted(p))), st.integers(-5, 5), max_size=4
)
polys = terms.map(lambda t: tuple(sorted((k, v) for k, v in t.items() if v)))
numbers = st.lists(st.integers(-9, 9), min_size=4, max_size=4)


@given(polys, polys, numbers)
def test_polynomials_are_what_they_evaluate_to(a: Poly, b: Poly, values: list[int]) -> None:
    x, y = evaluate(a, values), evaluate(b, values)
    assert evaluate(affine.add(a, b), values) == x + y
    assert evaluate(affine.add(a, b, -1), values) == x - y
    assert affine.add(a, a, -1) == ()
    product = affine.multiply(a, b)
    assert product is None or evaluate(product, values) == x * y
    assert evaluate(affine.without_constant(a), values) + affine.constant(a) == x
    common = affine.content(a)
    assert all(factor % common == 0 for _, factor in a)


@given(polys, numbers)
def test_splitting_by_a_value_loses_nothing(poly: Poly, values: list[int]) -> None:
    parts = affine.split(poly, 0)
    if parts is None:
        assert any(product.count(0) > 1 for product, _ in poly)
        return
    slope, rest = parts
    assert 0 not in affine.values_of(slope)
    assert 0 not in affine.values_of(rest)
    assert evaluate(slope, values) * values[0] + evaluate(rest, values) == evaluate(poly, values)


# -- pairing


@st.composite
def blocks(draw: st.DrawFn) -> list[Instr]:
    block = []
    for uid in range(draw(st.integers(0, 12))):
        deps = tuple(d for d in range(uid) if draw(st.integers(0, 3)) == 0)
        lane = draw(st.sampled_from(["main", "aux"]))
        block.append(Instr(uid, lane, draw(st.sampled_from([1, 1, 1, 3])), deps, uid))
    if draw(st.booleans()):
        block.append(Instr(99, "main", 1, (), 99, last=True))
    return block


def longest_chain(block: list[Instr]) -> int:
    finish: dict[int, int] = {}
    for i in block:
        finish[i.uid] = i.slots + max((finish[d] for d in i.deps if d in finish), default=0)
    return max(finish.values(), default=0)


@given(blocks())
def test_pairing_lies_between_its_bounds(block: list[Instr]) -> None:
    serial, paired, bound = (schedule(block, m) for m in ("serial", "list", "modulo"))
    assert bound.slots <= paired.slots <= serial.slots == sum(i.slots for i in block)
    assert paired.slots >= longest_chain(block)
    for timing in (serial, paired, bound):
        assert sum(timing.charged) == timing.slots
        assert timing.bundles <= len(block)
    assert schedule(block, "list") == paired


def test_two_pipes_and_a_closing_branch() -> None:
    loads = [Instr(0, "main", 1, (), 1), Instr(1, "main", 1, (), 1)]
    floats = [Instr(2, "aux", 1, (0, 1), 1), Instr(3, "aux", 1, (2,), 1)]
    branch = [Instr(4, "main", 1, (), 1, last=True)]
    assert schedule(loads + floats + branch, "list").slots == 4  # the branch shares the last add's bundle
    long = [Instr(2, "aux", 3, (0,), 1), Instr(3, "main", 1, (2,), 1)]
    assert (
        schedule(loads + long, "list").slots == 1 + 3 + 1
    )  # a long operation holds the worker, the load fits under it
