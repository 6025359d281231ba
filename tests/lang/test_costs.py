"""Slots of codelets: against hand counts, against measurements, and laws that hold for all of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lang import slot_codelets
from lang.blur_codelet import make
from lang.hand_counts import HAND, KERNELS, at, function_of, run, schedules
from lang.slot_interpreter import Count
from lang.tables import Group

from ipusim.dtype import DType, float32, half, int32, uint8
from ipusim.errors import BadInput, UnknownName
from ipusim.lang.costs import PROFILES, code_bytes, costs
from ipusim.lang.decorator import codelet
from ipusim.lang.explain import explain
from ipusim.lang.fields import InOut, Input, Output, Vector
from ipusim.lang.parse import parse
from ipusim.lang.reads import statements
from ipusim.lang.slots import NESTED_LOOP_SLOTS, slots_of

# -- hand counts


@pytest.mark.parametrize("row", HAND, ids=[f"{r['kernel']}-{r['profile']}-{r['where']}" for r in HAND])
def test_hand_counts(row: dict[str, str]) -> None:
    function = function_of(row["kernel"])
    assert at(function, costs(function, profile=row["profile"]), row["where"]) == int(row["slots"]), row["derivation"]


def test_list_profile_is_near_independent_schedules() -> None:
    """Whole kernels against schedules made by hand before this code: dot 4, saxpy 5, softmax 2 + 7 + 4, search 10 a step,
    stencil 10 and its rows, insertion sort 7 a move and 9 a key, Mandelbrot 11.5 an iteration and 4 a point."""
    errors = [abs(slots["list"] / hand - 1) for _, hand, slots in schedules()]
    assert len(errors) == 7
    assert statistics.median(errors) < 0.1
    assert max(errors) < 0.15


# -- measurements


def test_pi_by_the_midpoint_rule() -> None:
    """90.0 cycles per point in C++ and 84.0 in Julia on a Bow, one worker (GitHub UCL-RITS/pi_examples)."""
    function = function_of("pi")
    assert at(function, costs(function, profile="serial"), "for 1") == 13
    out = np.zeros(1, np.float32)
    cycles = [6 * run("pi", "popc", {"out": out}, {"n": n, "h": 1 / n}).thread_slots for n in (1000, 2000)]
    per_point = (cycles[1] - cycles[0]) / 1000
    assert per_point == pytest.approx(85.8, abs=0.02)
    assert per_point == pytest.approx(90.0, rel=0.07)
    assert per_point == pytest.approx(84.0, rel=0.07)
    assert out[0] == pytest.approx(math.pi, rel=1e-4)


def triad_rate(profile: str, vectorize: int) -> float:
    """GB/s of 1216 tiles at 1.6 GHz, six workers each: one slot a cycle."""
    function = function_of("triad")
    counted = costs(function, profile=profile, vectorize=vectorize)
    per_element = at(function, counted, "for 1") * counted.factor[0] / counted.factor[1] / vectorize
    return 1216 * 1.6 * 12 / per_element


def test_stream_triad() -> None:
    """3726 GB/s naive and 12420 in assembly on a GC2 (Louw and McIntosh-Smith, EasyChair 4896)."""
    assert triad_rate("popc", 1) == pytest.approx(3726, rel=0.15)
    assert triad_rate("popc", 2) < 12420 < triad_rate("asm", 2)


def blur_slots(dtype: DType, vectorize: int, width: int, height: int, profile: str = "popc") -> Count:
    function = parse(make(dtype))
    fields = {
        name: np.zeros(size * 4, dtype.numpy)
        for name, size in blur_sizes(width, height).items()
    }  # fmt: skip
    counted = costs(function, profile=profile, vectorize=vectorize)
    return Count(function, counted, fields, {"width": width, "height": height})


def blur_sizes(width: int, height: int) -> dict[str, int]:
    edges = {"n": width, "s": width, "e": height, "w": height, "nw": 1, "ne": 1, "sw": 1, "se": 1}
    return {"inp": width * height, "out": width * height, **edges}


@pytest.mark.validation
@pytest.mark.parametrize(("width", "height", "measured", "apart"), [(8, 47, 63531, 0.01), (12, 2, 4446, 0.08)])
def test_half4_blur_of_the_busiest_worker(width: int, height: int, measured: int, apart: float) -> None:
    """Profiled compute cycles on a GC2, 1 and 16 IPUs (GitHub thorbenlouw/lbm-graphcore, exchange-vs-compute.csv)."""
    cycles = 11 + 6 * blur_slots(half, 4, width, height).thread_slots
    assert cycles == pytest.approx(measured, rel=apart)


def nested(trips: int, generation: str, profile: str = "popc") -> int:
    """Slots of the blur's rows of `trips` pixels in its middle: five rows and a loop in each."""
    function = parse(make(float32))
    fields = {name: np.zeros(size * 4, np.float32) for name, size in blur_sizes(trips + 2, 7).items()}
    counted = costs(function, profile=profile, generation=generation)
    return Count(function, counted, fields, {"width": trips + 2, "height": 7}).slots


@pytest.mark.parametrize(("generation", "slots"), [("mk1", 12), ("mk2", 0)])
def test_a_loop_in_a_loop_costs_its_start_if_it_has_an_iteration(generation: str, slots: int) -> None:
    assert NESTED_LOOP_SLOTS[generation] == slots
    for trips, starts in ((3, 5), (1, 5), (0, 0)):
        assert nested(trips, generation) - nested(trips, generation, "serial") == starts * slots


def test_blur_in_three_types_differs_by_its_vectors_only() -> None:
    """A pixel is one half4, two float2 or four floats: 9 loads, 11 operations and a store each, plus loop and rows."""
    per_pixel = [blur_slots(*kind, 34, 34, "serial") for kind in ((half, 4), (float32, 2), (float32, 1))]
    middle = [
        max(c.costs.each.values()) for c in per_pixel
    ]  # fmt: skip
    assert middle == [21 + 2, 42 + 2, 84 + 2]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4), (5, 1), (2, 2), (4, 3)])
def test_blur_codelet_computes_the_blur(width: int, height: int) -> None:
    image = np.random.default_rng(5).standard_normal((height + 2, width + 2, 4)).astype(np.float32)
    fields = {
        "inp": image[1:-1, 1:-1], "out": np.zeros((height, width, 4), np.float32),
        "n": image[0, 1:-1], "s": image[-1, 1:-1], "w": image[1:-1, 0], "e": image[1:-1, -1],
        "nw": image[0, 0], "ne": image[0, -1], "sw": image[-1, 0], "se": image[-1, -1],
    }  # fmt: skip
    flat = {name: array.ravel().copy() for name, array in fields.items()}
    function = parse(make(float32))
    Count(function, costs(function, profile="popc", vectorize=2), flat, {"width": width, "height": height})
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    wanted = sum(
        weights[dy, dx] * image[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)
    )  # fmt: skip
    np.testing.assert_allclose(flat["out"].reshape(height, width, 4), wanted, rtol=1e-5, atol=1e-6)


# -- laws


@pytest.mark.parametrize("name", [*KERNELS, "half_scale"])
@pytest.mark.parametrize("vectorize", [1, 2, 4])
def test_laws_of_all_codelets(name: str, vectorize: int) -> None:
    function = function_of(name)
    by = {p: costs(function, profile=p, vectorize=vectorize) for p in PROFILES}
    for counted in by.values():
        known = {id(s) for s in statements(function.body)}
        tables = (counted.before, counted.entered, counted.each, counted.then, counted.other)
        assert all(set(t) <= known and all(v > 0 for v in t.values()) for t in tables)
        booked = counted.entry + sum(sum(t.values()) for t in tables)
        assert sum(slots for _, _, slots in counted.lines.values()) == booked
        assert counted.code_bytes % 8 == 0
    for table in ("each", "before", "then", "other"):
        low, mid, high = (getattr(by[p], table) for p in ("asm", "list", "serial"))
        assert all(low.get(k, 0) <= mid[k] <= high[k] for k in mid)
    assert by["popc"].each == by["serial"].each
    assert (by["popc"].factor, by["serial"].factor) == ((11, 10), (1, 1))
    assert code_bytes(function, profile="popc", vectorize=vectorize) == by["popc"].code_bytes


def test_counting_twice_gives_the_same() -> None:
    for name in KERNELS:
        function = function_of(name)
        one, two = (costs(function, profile="list", vectorize=2) for _ in range(2))
        assert (one.before, one.each, one.lines, one.scalar) == (two.before, two.each, two.lines, two.scalar)


def test_a_slower_operation_slows_what_uses_it() -> None:
    function = function_of("softmax")
    slow = slots_of("mk1").override({("exp", "f32"): (0, 30)})
    before, after = costs(function, profile="serial"), costs(function, profile="serial", slots=slow)
    assert at(function, after, "for 2") - at(function, before, "for 2") == 27
    assert after.entry == before.entry


def test_generations_differ_at_entry_only_here() -> None:
    function = function_of("saxpy")
    one, two = (costs(function, profile="serial", generation=g) for g in ("mk1", "mk2"))
    assert one.entry - two.entry == 2  # two compact pointers
    assert one.each == two.each


def test_wrong_options_are_refused() -> None:
    function = function_of("dot")
    with pytest.raises(UnknownName, match="popq"):
        costs(function, profile="popq")
    with pytest.raises(BadInput, match="vectorize=3"):
        costs(function, profile="popc", vectorize=3)
    with pytest.raises(UnknownName, match="mk9"):
        costs(function, profile="popc", generation="mk9")


@pytest.mark.parametrize(("name", "vectorize"), [("search", 1), ("stencil", 2), ("softmax", 2)])
def test_compiled_counting_is_the_definition(name: str, vectorize: int) -> None:
    rng = np.random.default_rng(6)
    inputs: dict[str, dict[str, Any]] = {
        "search": {"keys": np.arange(40, dtype=np.float32), "wanted": 40 * rng.random(9, np.float32)},
        "stencil": {"u": rng.random(63, np.float32), "width": 9, "height": 7, "a": 0.5, "b": 0.125},
        "softmax": {"x": rng.random(17, np.float32)},
    }
    sizes = {"search": np.zeros(9, np.int32), "stencil": np.zeros(63, np.float32)}
    given = inputs[name] | ({"out": sizes[name]} if name in sizes else {})
    one, two = ({k: v.copy() if isinstance(v, np.ndarray) else v for k, v in given.items()} for _ in range(2))
    compiled = codelet(vectorize=vectorize)(getattr(slot_codelets, name))
    members = {v.name for v in compiled.values}
    reference = Count(compiled.function, compiled.costs(), one, {k: v for k, v in one.items() if k in members})
    assert Group(compiled, [two]).run().tolist() == [reference.thread_slots]
    for field in compiled.fields:
        np.testing.assert_allclose(two[field.name], one[field.name], rtol=1e-6)


# -- single rules, each as a pair of codelets and the difference it makes per iteration


def each(function: Callable[..., Any], vectorize: int = 1, which: str = "for 1") -> int:
    tree = parse(function)
    return at(tree, costs(tree, profile="serial", vectorize=vectorize), which)


def test_division_and_powers() -> None:
    def plain(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = x[i] * 3.0

    def eighth(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = x[i] / 8.0

    def third(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = x[i] / 3.0

    def square(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = x[i] ** 2

    def root(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = 1.0 / math.sqrt(x[i])

    base = each(plain)
    assert each(eighth) == each(square) == base == 4
    assert each(third) == base + 2
    assert each(root) == base + 3  # one instruction of 4 slots


def test_integers() -> None:
    def convert(x: Output[Vector[float32]], k: Input[Vector[int32]]) -> None:
        for i in range(len(x)):
            x[i] = float32(k[i])

    def shift(k: InOut[Vector[int32]]) -> None:
        for i in range(len(k)):
            k[i] = k[i] // 8 + k[i] % 8

    def divide(k: InOut[Vector[int32]]) -> None:
        for i in range(len(k)):
            k[i] = k[i] // 7

    def gather(x: Output[Vector[float32]], y: Input[Vector[float32]], k: Input[Vector[int32]]) -> None:
        for i in range(len(x)):
            x[i] = y[k[i]]

    def byte(k: InOut[Vector[uint8]]) -> None:
        for i in range(len(k)):
            k[i] = k[i] + 1

    assert each(convert) == 1 + 3 + 1 + 1
    assert each(shift) == 1 + 3 + 1 + 1
    assert each(divide) == 1 + 160 + 1 + 1
    assert each(gather) == 2 + 1 + 1
    assert each(byte) == 1 + 1 + 13 + 1


def test_memory_and_hoisting() -> None:
    def forward(x: InOut[Vector[float32]], y: Input[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = y[0] * y[i] * y[i]  # y[0] and the second y[i] are known

    def aliased(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = x[0] * x[i]  # x[0] may be x[i]

    def stored(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            x[i] = x[i] + 2.0
            x[i] = x[i] * 2.0  # what was stored is known

    def accumulate(x: Input[Vector[float32]], out: InOut[float32]) -> None:
        for i in range(len(x)):
            out[0] += x[i]

    assert each(forward) == 1 + 2 + 1 + 1
    assert each(aliased) == 2 + 1 + 1 + 1
    assert each(stored) == 1 + 2 + 2 + 1
    assert each(accumulate) == 1 + 1 + 1


def test_loops() -> None:
    def nine(x: InOut[Vector[float32]]) -> None:
        for i in range(9):
            x[i] = x[i] + 1.0

    def eight(x: InOut[Vector[float32]]) -> None:
        for i in range(8):
            x[i] = x[i] + 1.0

    def branchy(x: InOut[Vector[float32]]) -> None:
        for i in range(len(x)):
            if x[i] > 0.0:
                x[i] = 1.0
            else:
                x[i] = 2.0

    assert each(nine) == 3  # repeated by the hardware
    tree = parse(eight)
    counted = costs(tree, profile="serial")
    loop = tree.body[0]
    assert counted.collapsed == {id(loop)}
    assert not counted.each
    assert counted.before[id(loop)] == 24
    tree = parse(branchy)
    counted = costs(tree, profile="serial")
    assert (at(tree, counted, "for 1"), at(tree, counted, "then 1"), at(tree, counted, "other 1")) == (1 + 3 + 1, 2, 1)


def test_a_worker_number_is_read_once() -> None:
    def shared(x: InOut[Vector[float32]], worker_id: int) -> None:
        for i in range(worker_id, len(x), 6):
            x[i] = x[i] + 1.0

    def alone(x: InOut[Vector[float32]]) -> None:
        for i in range(0, len(x), 6):
            x[i] = x[i] + 1.0

    one, six = (costs(parse(f, multi=f is shared), profile="serial") for f in (alone, shared))
    assert six.entry - one.entry == 2
    assert list(six.each.values()) == [3 + 2 + 1]  # six is no power of two: the variable is added to and compared


def test_vectors() -> None:
    def mixed(x: Input[Vector[half]], k: Input[float32], out: Output[Vector[half]]) -> None:
        for i in range(len(x)):
            out[i] = half(x[i] * k)

    def literal(x: Input[Vector[half]], out: Output[Vector[half]]) -> None:
        for i in range(len(x)):
            out[i] = x[i] * 0.3

    def strided(x: Input[Vector[float32]], out: Output[Vector[float32]]) -> None:
        for i in range(len(out)):
            out[i] = x[2 * i]

    def prefix(x: InOut[Vector[float32]]) -> None:
        s = 0.0
        for i in range(len(x)):
            s = s * 0.5 + x[i]
            x[i] = s

    assert each(literal, 4) == 1 + 1 + 1 + 1
    assert each(mixed, 4) == 1 + (2 + 2 + 1) + 1 + 1  # to two float2, two multiplies, back
    for scalar, why in ((strided, "one element at a time"), (prefix, "the one before")):
        tree = parse(scalar)
        counted = costs(tree, profile="serial", vectorize=2)
        assert not counted.width
        assert any(why in text for text in counted.scalar.values())
        assert counted.each == costs(tree, profile="serial").each


# -- explanation


def test_explanation_is_the_golden_text() -> None:
    function = function_of("explained")
    text = explain(function, costs(function, profile="popc", vectorize=2))
    text = text.replace(function.file, "slot_codelets.py")
    assert text == (Path(__file__).parents[1] / "golden" / "explain.txt").read_text()


def test_explanation_of_another_profile() -> None:
    function = function_of("softmax")
    counted = costs(function, profile="popc")
    assert "profile asm" in explain(function, counted, "asm")
    assert explain(function, counted) == explain(function, counted, "popc")
