"""Values of codelets: against numpy's arithmetic of the same types, and against Python's own run of the same function."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lang.tables import Group, codelet_of, fails, run, same

from ipusim.dtype import float32, half, int8, int16, int32, uint8, uint16, uint32
from ipusim.jit import DISABLED
from ipusim.lang import machine_llvm, machine_python
from ipusim.lang.decorator import codelet
from ipusim.lang.fields import InOut, Input, Output, Vector

compiled = pytest.mark.skipif(DISABLED, reason="nothing is compiled under NUMBA_DISABLE_JIT")

COUNT = 12


# --- random straight-line programs -------------------------------------------------------------------------------


def _least(a, b):
    return np.where(b < a, b, a)


def _most(a, b):
    return np.where(b > a, b, a)


REFERENCE = {"np": np, "where": np.where, "least": _least, "most": _most}


@st.composite
def expressions(draw, kind, names, depth=3):
    """(text in a codelet, text over whole numpy arrays) of an expression that is no literal."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        name = draw(st.sampled_from(names))
        return (f"{name}[i]", name) if len(name) == 1 else (name, name)
    inner = expressions(kind, names, depth - 1)
    a = draw(inner)
    forms = ["binary", "binary", "literal", "unary", "extreme", "choose"]
    form = draw(st.sampled_from(forms))
    if form == "unary":
        sign = draw(
            st.sampled_from(("-", "abs") if kind == "float" else ("-", "~", "abs") if kind == "int" else ("-", "~"))
        )
        return (f"{sign}({a[0]})", f"{sign}({a[1]})")
    if form == "literal":
        if kind == "float":
            op, literal = draw(st.sampled_from("+-*/")), draw(st.sampled_from(("0.1", "3", "-2.5", "1e-3", "0.0")))
        else:
            op = draw(st.sampled_from(("+", "-", "*", "//", "%", "<<", ">>", "&", "^", "|")))
            literal = str(draw(st.integers(1, 31)))
        return (f"({a[0]} {op} {literal})", f"({a[1]} {op} {literal})")
    b = draw(inner)
    if form == "extreme":
        word, plain = draw(st.sampled_from((("min", "least"), ("max", "most"))))
        return f"{word}({a[0]}, {b[0]})", f"{plain}({a[1]}, {b[1]})"
    if form == "choose":
        op, c, d = draw(st.sampled_from(("<", "<=", ">", ">=", "==", "!="))), draw(inner), draw(inner)
        return f"({c[0]} if {a[0]} {op} {b[0]} else {d[0]})", f"where({a[1]} {op} {b[1]}, {c[1]}, {d[1]})"
    op = draw(st.sampled_from("+-*/" if kind == "float" else "+-*&|^"))
    return f"({a[0]} {op} {b[0]})", f"({a[1]} {op} {b[1]})"


@st.composite
def programs(draw, dtype):
    """A codelet of a few assignments over elements of a, b, c, and the same over whole arrays."""
    names = ["a", "b", "c"]
    body, plain = [], []
    for number in range(draw(st.integers(1, 4))):
        text, reference = draw(expressions(dtype.kind, tuple(names)))
        body.append(f"    x{number} = {text}")
        plain.append(f"x{number} = {reference}")
        names.append(f"x{number}")
    fields = ", ".join(f"{n}: Input[Vector[{dtype.name.replace('float16', 'half')}]]" for n in "abc")
    out = f"out: Output[Vector[{dtype.name.replace('float16', 'half')}]]"
    text = "\n".join([f"def f({fields}, {out}):", "  for i in range(len(out)):", *body, f"    out[i] = {names[-1]}"])
    return text, "\n".join(plain), names[-1]


def words(dtype):
    """Bit patterns of three operands: mostly ordinary numbers, some wild."""
    kind = {4: np.uint32, 2: np.uint16}[dtype.bytes]
    if dtype.is_float:
        tame = st.floats(-100, 100, width=8 * dtype.bytes).map(lambda v: int(np.array(v, dtype.numpy).view(kind)))
    else:
        tame = st.integers(0, 100)
    each = st.one_of(tame, st.integers(0, int(np.iinfo(kind).max)))
    return st.lists(each, min_size=3 * COUNT, max_size=3 * COUNT).map(
        lambda bits: np.array(bits, kind).view(dtype.numpy).reshape(3, COUNT).copy()
    )


def check_program(program, data, how):
    text, plain, result = program
    a, b, c = data
    out = np.zeros(COUNT, data.dtype)
    run(codelet_of(text) if isinstance(text, str) else text, how, a=a, b=b, c=c, out=out)
    scope = REFERENCE | {"a": a, "b": b, "c": c}
    with np.errstate(all="ignore"):
        exec(plain, scope)
    assert same(out, np.broadcast_to(scope[result], COUNT).astype(data.dtype)), text


@pytest.mark.parametrize("dtype", [float32, half, int32, uint32], ids=str)
def test_random_programs_mean_what_numpy_computes(dtype):
    @settings(max_examples=60, deadline=None)
    @given(programs(dtype), words(dtype))
    def law(program, data):
        check_program(program, data, "words")

    law()


FIXED = {
    float32: (
        "min(a[i] * b[i] + 0.1, c[i]) / (a[i] - 3) - (b[i] if a[i] < c[i] else -c[i] * 1e-3)",
        "least(a * b + 0.1, c) / (a - 3) - where(a < c, b, -c * 1e-3)",
    ),
    half: (
        "max(a[i] * b[i] + 0.1, c[i]) / (a[i] - 3) - (b[i] if a[i] < c[i] else -c[i] * 1e-3)",
        "most(a * b + 0.1, c) / (a - 3) - where(a < c, b, -c * 1e-3)",
    ),
    int32: (
        "((a[i] * b[i] + 77) * c[i] // 7 - (a[i] << 5) % 11) ^ (~b[i] >> 3) if a[i] * 3 < c[i] else abs(min(a[i], b[i]))",
        "where(a * 3 < c, ((a * b + 77) * c // 7 - (a << 5) % 11) ^ (~b >> 3), abs(least(a, b)))",
    ),
    uint32: (
        "((a[i] * b[i] + 77) * c[i] // 7 - (a[i] << 5) % 11) ^ (~b[i] >> 3) if a[i] * 3 < c[i] else -max(a[i], b[i])",
        "where(a * 3 < c, ((a * b + 77) * c // 7 - (a << 5) % 11) ^ (~b >> 3), -most(a, b))",
    ),
}


@pytest.mark.parametrize("dtype", FIXED, ids=str)
def test_compiled_programs_mean_what_numpy_computes(dtype):
    text, plain = FIXED[dtype]
    kind = dtype.name.replace("float16", "half")
    made = codelet_of(
        f"def f(a: Input[Vector[{kind}]], b: Input[Vector[{kind}]], c: Input[Vector[{kind}]], out: Output[Vector[{kind}]]):\n"
        f"    for i in range(len(out)):\n        out[i] = {text}\n"
    )

    @settings(max_examples=40, deadline=None)
    @given(words(dtype), st.sampled_from(("counted", "plain")))
    def law(data, how):
        check_program((made, f"r = {plain}", "r"), data, how)

    law()


# --- the words of the machine ------------------------------------------------------------------------------------

PAIRS = (
    "power",
    "fmod",
    "atan2",
    "least",
    "most",
    "floor_div",
    "floor_mod",
    "add_half",
    "sub_half",
    "mul_half",
    "div_half",
)
ONES = (
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log1p",
    "sqrt",
    "cbrt",
    "tanh",
    "sin",
    "cos",
    "tan",
    "asin",
    "floor",
    "ceil",
    "trunc",
    "round_even",
    "fabs",
    "rsqrt",
    "sigmoid",
    "erf",
    "to_half",
    "square",
    "i32_of_float",
    "u32_of_float",
    "isnan",
    "isinf",
)
INTEGERS = ("wrap_i32", "wrap_u32", "float_of_i32", "float_of_u32", "abs_i", "square_i")
INTEGER_PAIRS = ("least_i", "most_i", "shift_left", "shift_right", "power_i")
ROUGH = {"exp", "exp2", "expm1", "log", "log2", "log1p", "cbrt", "tanh", "sin", "cos", "tan", "asin", "sigmoid", "erf",
         "power", "atan2"}  # fmt: skip


def test_both_machines_have_the_same_words():
    hidden = {"f32", "jit", "intrinsic", "float_to_half", "half_to_float"}
    names = [{n for n, v in vars(m).items() if n[0].islower() and callable(v)} for m in (machine_python, machine_llvm)]
    assert names[0] - hidden == names[1] - hidden


@compiled
def test_both_machines_agree():
    import numba

    lines = ["def both(x, y, n, k, size, found):"]
    cases = [*((w, "x") for w in ONES), *((w, "x, y") for w in PAIRS), *((w, "n") for w in INTEGERS),
             *((w, "n, k") for w in INTEGER_PAIRS), ("outside", "n, size")]  # fmt: skip
    lines += [f"    found[{i}] = {word}({given})" for i, (word, given) in enumerate(cases)]
    scope = {w: getattr(machine_llvm, w) for w, _ in cases}
    exec("\n".join(lines), scope)
    both = numba.njit(scope["both"], error_model="numpy")
    floats = [0.0, -0.0, 1.0, -1.5, 2.5, 0.3, 1e-8, 65520.0, 7e9, -3e9, 1e38, math.inf, -math.inf, math.nan]
    wholes = [0, 1, -1, 2, -2, 5, 31, 32, -7, 2**31 - 1, -(2**31), 123456789]
    found = np.zeros(len(cases))
    for x in floats:
        for y in floats[::2]:
            n, k = wholes[len(wholes) * floats.index(x) // len(floats)], wholes[floats.index(y) % len(wholes)]
            both(np.float32(x), np.float32(y), n, k, abs(k), found)
            given = {"x": np.float32(x), "y": np.float32(y), "n": n, "k": k, "size": abs(k)}
            for (word, text), value in zip(cases, found, strict=True):
                with np.errstate(all="ignore"):
                    expected = float(getattr(machine_python, word)(*(given[t] for t in text.split(", "))))
                tolerance = 4e-6 if word in ROUGH else 0.0
                if word in {"shift_left"}:
                    value, expected = int(value) & (2**32 - 1), int(expected) & (2**32 - 1)
                np.testing.assert_allclose(value, expected, rtol=tolerance, atol=0, err_msg=f"{word} {given}")


# --- constructs, against Python's run of the same function -------------------------------------------------------


def agree(made, how, **fields):
    """Runs a codelet and its own Python function on copies; all fields end equal."""

    def copy(v):
        return [r.copy() for r in v] if isinstance(v, list) else v.copy() if isinstance(v, np.ndarray) else v

    ours, theirs = ({k: copy(v) for k, v in fields.items()} for _ in range(2))
    run(made, how, **ours)
    with np.errstate(all="ignore"):
        made(**theirs)
    for name, value in ours.items():
        if isinstance(value, list):
            assert all(same(a, b) for a, b in zip(value, theirs[name], strict=True)), name
        elif isinstance(value, np.ndarray):
            assert same(value, theirs[name]), name


def scaled(x, by=3):
    y = x * by
    if y > 10:
        y -= 1
    return y


def halve(x):
    return x // 2


@codelet
def sink(x: Input[Vector[int32]], out: Output[Vector[int32]], rows: InOut[Vector[Vector[int32]]], n: int, flag: bool):
    """Loops, branches, breaks, rows, tuples, chains, calls."""
    low, high = 0, n - 1
    while low < high:
        low, high = low + 1, high - 1
        if low == 5:
            break
    out[0] = low * 100 + high
    count = 0
    for i in range(n - 1, -1, -2):
        if x[i] < 0:
            continue
        if (0 <= x[i] <= 20 and not flag) or x[i] == 33:
            count += scaled(x[i])
        else:
            count -= halve(x[i]) + scaled(2)
        if count > 500:
            break
    out[1] = count
    while True:
        count -= 7
        if count < 0:
            break
    out[2] = count
    for r in range(len(rows)):
        row = rows[r]
        for j in range(1, len(row)):
            row[j] += row[j - 1] + rows[r][0] + len(rows[r])
    for a in range(0, n, 3):
        for b in range(a, n):
            if x[a] == x[b] + 1:
                out[3] = a * 10 + b
                return
    out[3] = -1


@pytest.mark.parametrize(
    "how", ["words", pytest.param("counted", marks=compiled), pytest.param("plain", marks=compiled)]
)
def test_constructs(how):
    rng = np.random.default_rng(1)
    for n in (1, 2, 7, 30):
        for flag in (False, True):
            x = rng.integers(-20, 60, n).astype(np.int32)
            rows = [rng.integers(-9, 9, 1 + k).astype(np.int32) for k in range(n)]
            agree(sink, how, x=x, out=np.zeros(4, np.int32), rows=rows, n=n, flag=flag)


def test_return_leaves_all_loops_and_still_counts():
    x = np.arange(6, dtype=np.int32)[::-1].copy()
    slots = run(sink, "words", x=x, out=np.zeros(4, np.int32), rows=[x], n=6, flag=False)
    assert slots[0] > 0


@codelet
def narrow(
    a: InOut[Vector[int8]],
    b: InOut[Vector[uint8]],
    c: InOut[Vector[int16]],
    d: InOut[Vector[uint16]],
    e: InOut[Vector[bool]],
    by: int,
):
    for i in range(len(a)):
        a[i] = a[i] * by
        b[i] = b[i] - by
        c[i] += by * by
        d[i] = -d[i]
        e[i] = not e[i] or a[i] > 5


@pytest.mark.parametrize("how", ["words", pytest.param("counted", marks=compiled)])
def test_narrow_integers_widen_when_loaded_and_wrap_when_stored(how):
    rng = np.random.default_rng(2)
    kept = {"a": rng.integers(-128, 128, 20).astype(np.int8), "b": rng.integers(0, 256, 20).astype(np.uint8),
            "c": rng.integers(-(2**15), 2**15, 20).astype(np.int16), "d": rng.integers(0, 2**16, 20).astype(np.uint16),
            "e": rng.integers(0, 2, 20).astype(bool)}  # fmt: skip
    ours = {k: v.copy() for k, v in kept.items()}
    run(narrow, how, **ours, by=1000)
    wide = {k: v.astype(np.int64) for k, v in kept.items()}
    assert same(ours["a"], (wide["a"] * 1000).astype(np.int8))
    assert same(ours["b"], (wide["b"] - 1000).astype(np.uint8))
    assert same(ours["c"], (wide["c"] + 1000000).astype(np.int16))
    assert same(ours["d"], (-wide["d"]).astype(np.uint16))
    assert same(ours["e"], ~kept["e"] | (ours["a"] > 5))


@codelet
def scalars(
    k: Input[half], n: InOut[int32], u: Input[uint32], out: Output[Vector[float32]], f: float, h: half, m: uint32
):
    n[0] = n + 1
    out[0] = k + h
    out[1] = k[0] * f
    out[2] = u
    out[3] = float32(u) / m
    out[4] = int(k * 10)
    out[5] = n


@pytest.mark.parametrize("how", ["words", pytest.param("counted", marks=compiled)])
def test_scalar_fields_and_members(how):
    k, n, u = np.array([0.3], np.float16), np.array([41], np.int32), np.array([4000000000], np.uint32)
    out = np.zeros(6, np.float32)
    run(scalars, how, k=k, n=n, u=u, out=out, f=0.1, h=0.7, m=3000000000)
    assert n[0] == 42
    expected = [np.float32(k[0] + np.float16(0.7)), np.float32(k[0]) * np.float32(0.1), 4e9,
                np.float32(4e9) / np.float32(3e9), 3, 42]  # fmt: skip
    assert same(out, np.array(expected, np.float32))


@codelet
def mixed(h: Input[Vector[half]], i: Input[Vector[int32]], out: Output[Vector[float32]]):
    total = 0.0
    for j in range(len(h)):
        total += h[j]
    out[0] = total
    out[1] = i[0] / i[1]
    out[2] = i[0] * 0.5
    out[3] = i[0] * h[0]
    out[4] = h[0] ** 2 + i[1] ** 2
    out[5] = 7 // 2 + 7 / 2
    out[6] = math.floor(h[1]) + np.floor(h[1]) + round(h[1])
    out[7] = i[2] << i[3]
    out[8] = (i[0] > 0) + (i[1] > 0)


@pytest.mark.parametrize("how", ["words", pytest.param("counted", marks=compiled)])
def test_mixed_types(how):
    h = np.full(3000, 0.1, np.float16)
    h[1] = -2.5
    i = np.array([7, -2, 1, 33], np.int32)
    out = np.zeros(9, np.float32)
    run(mixed, how, h=h, i=i, out=out)
    total = np.float32(0)
    for v in h:
        total += np.float32(v)
    square = np.float16(h[0] * h[0])
    expected = [total, np.float32(7) / np.float32(-2), 3.5, np.float16(7) * h[0], np.float16(square + np.float16(4)), 6.5,
                -3 - 3 - 2, 0, 1]  # fmt: skip
    assert same(out, np.array(expected, np.float32))


def test_partials_half_accumulates_in_half():
    text = """
        def f(h: Input[Vector[half]], out: Output[Vector[float32]]):
            s = 0.0
            for j in range(len(h)):
                s += h[j]
            out[0] = s
    """
    h, out = np.full(5000, 0.1, np.float16), np.zeros(1, np.float32)
    run(codelet_of(text, options={"partials": "half"}), "words", h=h, out=out)
    total = np.float16(0)
    for v in h:
        total = np.float16(total + v)
    assert out[0] == total
    run(codelet_of(text), "words", h=h, out=out)
    assert abs(out[0] - 500) < 1


@codelet(multi=True)
def shares(x: Input[Vector[float32]], y: Output[Vector[float32]], a: float, worker_id: int):
    for i in range(worker_id, len(x), 6):
        y[i] = a * x[i] + worker_id


@pytest.mark.parametrize(
    "how", ["words", pytest.param("counted", marks=compiled), pytest.param("plain", marks=compiled)]
)
def test_all_workers_run_a_multi_vertex(how):
    x = np.arange(20, dtype=np.float32)
    vertices = [{"x": x, "y": np.zeros(20, np.float32), "a": k + 1.0} for k in range(3)]
    group = Group(shares, vertices)
    slots = group.run(how).reshape(3, 6)
    for k, v in enumerate(vertices):
        assert same(v["y"], (k + 1) * x + np.arange(20, dtype=np.float32) % 6)
    if how != "plain":
        assert (slots[:, 0] > slots[:, 5]).all()  # workers 0 and 1 have four elements, the others three
        assert (slots == slots[0]).all()


def test_a_range_of_vertices_leaves_the_others_alone():
    x = np.ones(5, np.float32)
    vertices = [{"x": x, "y": np.zeros(5, np.float32), "a": 1.0} for _ in range(4)]
    Group(shares, vertices).run("words", lo=1, hi=3)
    assert [bool(v["y"].any()) for v in vertices] == [False, True, True, False]


def test_slots_are_counted_as_the_code_runs():
    text = """
        def f(x: Input[Vector[int32]], out: Output[Vector[int32]]):
            n = x[0]
            s = 0
            while n > 0:
                n -= 1
                if n % 2 == 0:
                    s += n
            out[0] = s
    """
    made = codelet_of(text)
    assert made.data_dependent
    slots = [int(run(made, "words", x=np.array([n], np.int32), out=np.zeros(1, np.int32))[0]) for n in (0, 10, 20, 30)]
    steps = np.diff(slots)
    assert steps[0] > 0
    assert max(steps[1:]) - min(steps[1:]) <= 1  # rounding of the profile's factor


def test_a_straight_loop_costs_the_same_counted_at_once_or_as_it_runs():
    head = "def f(x: Input[Vector[float32]], y: Output[Vector[float32]], n: int, k: int):\n"
    loop = "    for i in range(n):\n        y[i] = x[i] + 1.0\n"
    made = codelet_of(head + loop, options={"profile": "serial"})
    (each,) = made.costs().each.values()
    x, y = np.ones(64, np.float32), np.zeros(64, np.float32)
    taken = [int(run(made, "words", x=x, y=y, n=n, k=0)[0]) for n in (0, 1, 33, 64)]
    assert [t - taken[0] for t in taken] == [0, each, 33 * each, 64 * each]
    wide = codelet_of(head + loop, options={"profile": "serial", "vectorize": 2})
    (each,) = wide.costs().each.values()
    taken = [int(run(wide, "words", x=x, y=y, n=n, k=0)[0]) for n in (0, 1, 33, 64)]
    assert [t - taken[0] for t in taken] == [0, each, 17 * each, 32 * each]


# --- checks ------------------------------------------------------------------------------------------------------


@codelet
def reach(x: Input[Vector[float32]], rows: Output[Vector[Vector[int32]]], i: int, r: int, c: int, by: int):
    if i < 100 and x[i] > 0.0:
        rows[r][c] = 6 // by
    rows[0][0] = int(x[0]) if i < 0 else 1


HOWS = ["words", pytest.param("counted", marks=compiled)]


@pytest.mark.parametrize("how", HOWS)
def test_an_index_out_of_range_is_told_with_field_line_and_length(how):
    x, rows = np.ones(5, np.float32), [np.zeros(3, np.int32), np.zeros(2, np.int32)]
    first = reach.function.first_line
    run(reach, how, x=x, rows=rows, i=4, r=1, c=1, by=-4)
    assert rows[1][1] == -2
    text = fails(reach, how, x=x, rows=rows, i=5, r=0, c=0, by=1)
    assert text == f"{Path(__file__).name}:{first + 2}: codelet reach: index 5 of field 'x', which has 5 elements"
    assert "index -1 of field 'x'" in fails(reach, how, x=x, rows=rows, i=-1, r=0, c=0, by=1)
    text = fails(reach, how, x=x, rows=rows, i=0, r=2, c=0, by=1)
    assert text.endswith(f":{first + 3}: codelet reach: row 2 of field 'rows', which has 2 rows")
    assert fails(reach, how, x=x, rows=rows, i=0, r=1, c=2, by=1).endswith(
        "index 2 of field 'rows', which has 2 elements"
    )
    assert fails(reach, how, x=x, rows=rows, i=0, r=0, c=0, by=0).endswith("an integer is divided by zero")


@pytest.mark.parametrize("how", HOWS)
def test_what_is_skipped_is_not_checked(how):
    x, rows = np.ones(5, np.float32), [np.zeros(3, np.int32)]
    run(reach, how, x=x, rows=rows, i=100, r=9, c=9, by=0)
    assert rows[0][0] == 1


@pytest.mark.parametrize("how", HOWS)
def test_the_first_failure_is_kept_and_the_rest_of_the_group_does_not_run(how):
    rows = [[np.zeros(2, np.int32)] for _ in range(3)]
    x = np.ones(3, np.float32)
    vertices = [{"x": x, "rows": rows[k], "i": 0, "r": 0, "c": c, "by": 1} for k, c in enumerate((1, 7, 8))]
    group = Group(reach, vertices)
    group.run(how)
    assert group.status[1] == 1
    assert rows[0][0].tolist() == [1, 6]
    assert rows[2][0].tolist() == [0, 0]


@compiled
def test_an_endless_loop_ends():
    made = codelet_of("""
        def f(x: InOut[Vector[int32]]):
            while x[0] == 0:
                x[1] = 1
    """)
    assert "a vertex has run for more than 4,000,000,000 issue slots" in fails(made, x=np.zeros(2, np.int32))


def test_worker_of_a_failure():
    made = codelet_of(
        """
        def f(x: Output[Vector[int32]], worker_id: int):
            x[worker_id] = 1
    """,
        options={"multi": True},
    )
    assert "worker 4: index 4 of field 'x'" in fails(made, "words", x=np.zeros(4, np.int32))


def test_rows_looked_up_before_a_loop_may_be_missing_if_it_does_not_use_them():
    made = codelet_of("""
        def f(rows: InOut[Vector[Vector[int32]]], n: int, out: Output[Vector[int32]]):
            for r in range(n):
                for i in range(len(out)):
                    if r > 0:
                        out[i] = rows[r - 1][i]
                    else:
                        out[i] = 5
    """)
    out = np.zeros(3, np.int32)
    for how in ("words", *(() if DISABLED else ("counted", "plain"))):
        run(made, how, rows=[], n=1, out=out)
        assert out.tolist() == [5, 5, 5]
        run(made, how, rows=[np.arange(3, dtype=np.int32)], n=2, out=out)
        assert out.tolist() == [0, 1, 2]
        out[:] = 0


# --- processes ---------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
sys.path[:0] = {paths!r}
import numpy as np
from lang.tables import Group
from lang.small_codelet import blend
vertices = [dict(x=np.arange(9, dtype=np.float16) / 7, y=np.ones(9, np.float16) * k, n=9, a=0.3) for k in range(2)]
group = Group(blend, vertices)
group.run("counted")
group.run("plain")
print(group.status.tolist(), group.slots.tolist(), [v["y"].view(np.uint16).tolist() for v in vertices])
kept = sys.modules["ipusim.lang.keep"]._KEPT
print([getattr(k, "cache_hits", None) for _, k in kept.values()])
"""


def script(tmp_path, **environment):
    here = Path(__file__).parent.parent
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(paths=[str(here)]), encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")}
    done = subprocess.run(
        [sys.executable, str(file)], env=kept | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@compiled
def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    place = str(tmp_path / "kept")
    first, second = (script(tmp_path, XDG_CACHE_HOME=place) for _ in range(2))
    assert first[1] == "[0, 0]"
    assert second[1] == "[1, 1]"
    assert first[0] == second[0]
    assert len(list(Path(place, "ipusim", "codelets").glob("*.py"))) == 2


@compiled
def test_same_values_without_a_place_and_without_compilation(tmp_path):
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    nowhere = script(tmp_path, XDG_CACHE_HOME=str(file))
    plain = script(tmp_path, XDG_CACHE_HOME=str(file), NUMBA_DISABLE_JIT="1")
    assert nowhere[1] == "[0, 0]"
    assert plain[1] == "[None, None]"
    assert nowhere[0] == plain[0]


@compiled
def test_damaged_machine_code_is_made_again(tmp_path):
    place = tmp_path / "kept"
    first = script(tmp_path, XDG_CACHE_HOME=str(place))
    for kept in place.rglob("*.nbc"):
        kept.write_bytes(b"nonsense")
    assert script(tmp_path, XDG_CACHE_HOME=str(place))[0] == first[0]
