"""Reading codelets: types, names, rows, calls, annotations; what depends on data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lang.tables import codelet_of, function_of

from ipusim.dtype import bool_, float32, half, int8, int16, int32, uint8, uint16, uint32
from ipusim.errors import BadInput, UnknownName
from ipusim.lang import fields, ir
from ipusim.lang.decorator import codelet
from ipusim.lang.fields import InOut, Input, Output, Vector
from ipusim.lang.functions import MATH, NAMES
from ipusim.lang.infer import ORDER, join
from ipusim.lang.parse import parse
from ipusim.lang.reads import expressions, statements, walk

HEAD = (
    "def f(h: Input[Vector[half]], x: Input[Vector[float32]], n: Input[Vector[int32]], u: Input[Vector[uint32]],\n"
    "      e: Input[Vector[bool]], b: Input[Vector[int8]], rows: InOut[Vector[Vector[int32]]], k: InOut[half],\n"
    "      out: Output[Vector[float32]], size: int, scale: float, flag: bool):\n"
)


def read(body, partials="float32", **names):
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    return parse(function_of(HEAD + lines, **names), multi=False, partials=partials)


def kind(expression, partials="float32", **names):
    """The type of a variable that an expression is assigned to."""
    return read(f"v = {expression}", partials, **names).locals["v"]


@pytest.mark.parametrize(("expression", "expected"), [
    ("1", int32), ("1.0", float32), ("True", bool_), ("h[0]", half), ("x[0]", float32), ("u[0]", uint32),
    ("b[0]", int32), ("e[0]", bool_), ("k", half), ("k[0]", half), ("size", int32), ("scale", float32), ("flag", bool_),
    ("h[0] * 2", half), ("h[0] * 0.5", half), ("h[0] * x[0]", float32), ("n[0] * 2", int32), ("n[0] * 0.5", float32),
    ("n[0] + h[0]", half), ("n[0] + u[0]", uint32), ("u[0] + 1", uint32), ("n[0] / 2", float32), ("n[0] // 2", int32),
    ("h[0] / n[0]", half), ("n[0] % 3", int32), ("x[0] // 2", float32), ("n[0] ** 2", int32), ("n[0] ** 0.5", float32),
    ("h[0] ** 2", half), ("2 ** n[0]", int32), ("n[0] & 1", int32), ("e[0] & flag", bool_), ("e[0] + e[0]", int32),
    ("-e[0]", int32), ("~n[0]", int32), ("n[0] << u[0]", int32), ("1 << u[0]", uint32), ("u[0] >> n[0]", uint32),
    ("min(n[0], 3)", int32), ("max(h[0], n[0], 2.5)", half), ("n[0] < 2", bool_), ("0 < n[0] < 2", bool_),
    ("not n[0]", bool_), ("flag and n[0] > 2 or e[0]", bool_), ("1 if flag else 2", int32), ("1 if flag else 2.5", float32),
    ("h[0] if flag else 0", half), ("int(x[0])", int32), ("float(n[0])", float32), ("half(x[0])", half),
    ("uint32(n[0])", uint32), ("bool(n[0])", bool_), ("float32(h[0])", float32), ("np.float16(x[0])", half),
    ("math.exp(h[0])", half), ("math.exp(n[0])", float32), ("np.sqrt(x[0])", float32), ("abs(n[0])", int32),
    ("abs(h[0])", half), ("math.floor(x[0])", int32), ("np.floor(x[0])", float32), ("round(h[0])", int32),
    ("math.isnan(h[0])", bool_), ("rsqrt(h[0])", half), ("clamp(n[0], 0, 3)", int32), ("np.where(flag, h[0], 0.0)", half),
    ("len(x)", int32), ("len(rows[0])", int32), ("math.pi * h[0]", half), ("1 / 2", float32), ("7 // 2", int32),
    ("PI32 * h[0]", float32), ("TABLE[1] * n[0]", int32), ("SCALE * h[0]", half), ("BIG + n[0]", int32),
])  # fmt: skip
def test_types_of_expressions(expression, expected):
    names = {"PI32": np.float32(3.14), "TABLE": (1, 2), "SCALE": 0.25, "BIG": np.int64(4)}
    assert kind(expression, **names) == expected


@given(st.sampled_from(ORDER), st.sampled_from(ORDER), st.sampled_from(ORDER))
def test_join_is_a_maximum(a, b, c):
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, b) in (a, b)


@pytest.mark.parametrize(("body", "partials", "expected"), [
    ("s = 0.0\nfor i in range(size):\n    s += h[i]", "float32", float32),
    ("s = 0.0\nfor i in range(size):\n    s += h[i]", "half", half),
    ("s = 0\nfor i in range(size):\n    s += h[i]", "float32", float32),
    ("s = 0\nfor i in range(size):\n    s += n[i]", "float32", int32),
    ("s = 0\nfor i in range(size):\n    s += u[i]", "float32", uint32),
    ("s = 0\nfor i in range(size):\n    s = s / 2", "float32", float32),
    ("s = h[0]\nif flag:\n    s = 0.0", "float32", half),
    ("s = h[0]\ns = x[0]", "float32", float32),
    ("s = n[0]\ns = 1.5", "float32", float32),
    ("s = flag\ns = 2", "float32", int32),
    ("s: half = 0.0\ns += x[0]", "float32", half),
    ("s: float = 0\ns = n[0]", "float32", float32),
    ("s: 'uint32' = 0", "float32", uint32),
    ("t = 0\ns = 0\nfor i in range(size):\n    s = t\n    t = x[i]", "float32", float32),
])  # fmt: skip
def test_types_of_variables(body, partials, expected):
    assert read(body, partials).locals["s"] == expected


def check(function):
    """Operands of operators have one type; every name has a type that its reads and assignments have."""
    values = {v.name: v.dtype for v in function.values}
    for statement in statements(function.body):
        if isinstance(statement, ir.Assign):
            assert statement.value.type == function.locals[statement.name]
        if isinstance(statement, ir.For):
            assert statement.start.type == statement.stop.type == int32
        if isinstance(statement, (ir.If, ir.While)):
            assert statement.condition.type == bool_
        for root in expressions(statement):
            for part in walk(root):
                assert part.type in ORDER
                if isinstance(part, ir.Binary):
                    assert part.left.type == part.right.type == part.type
                    assert part.op != "/" or part.type.is_float
                if isinstance(part, ir.Compare):
                    assert part.left.type == part.right.type
                if isinstance(part, ir.Name):
                    assert part.type == {**function.locals, **values}.get(part.name, int32)
                if isinstance(part, ir.Load):
                    assert all(i.type == int32 for i in part.index)
                if isinstance(part, ir.MathCall):
                    assert part.function in NAMES
                if isinstance(part, ir.Const):
                    assert isinstance(part.value, float) == part.type.is_float


def test_trees_are_well_typed():
    check(
        read("""
s = 0
t, i = 1, 2
while t < 5 and flag:
    t, i = t + i, t
    s += h[i] * u[t] / 3 if e[i] else rows[i][t] ** 2
    rows[t, i] += s
row = rows[i]
for j in range(len(row)):
    row[j] = row[j] // 2 + max(b[j], 1, e[0]) + math.floor(scale)
k[0] = k + np.tanh(n[0]) + abs(row[0])
out[0] = not s
""")
    )


def test_signature():
    function = read("pass")
    assert [(f.name, f.role, f.depth, f.dtype) for f in function.fields] == [
        ("h", "in", 1, half), ("x", "in", 1, float32), ("n", "in", 1, int32), ("u", "in", 1, uint32), ("e", "in", 1, bool_),
        ("b", "in", 1, int8), ("rows", "inout", 2, int32), ("k", "inout", 0, half), ("out", "out", 1, float32),
    ]  # fmt: skip
    assert [(v.name, v.dtype) for v in function.values] == [("size", int32), ("scale", float32), ("flag", bool_)]
    assert function.worker is None
    assert function.body == ()


@pytest.mark.parametrize(("annotation", "expected"), [
    (Input[float], ("in", 0, float32)), (Output[Vector[int]], ("out", 1, int32)), (InOut[bool], ("inout", 0, bool_)),
    (Input[Vector[Vector[np.float16]]], ("in", 2, half)), (Input[np.dtype("uint16")], ("in", 0, uint16)),
    (Input[Vector["half"]], ("in", 1, half)), (Input[Vector[int16]], ("in", 1, int16)), (InOut[uint8], ("inout", 0, uint8)),
])  # fmt: skip
def test_annotations(annotation, expected):
    assert (annotation.role, annotation.depth, annotation.dtype) == expected


def test_annotations_show_as_they_are_written():
    assert fields.show(Input[Vector[Vector[half]]]) == "Input[Vector[Vector[float16]]]"
    assert fields.show(InOut[float32]) == "InOut[float32]"
    assert repr(Input) == "Input"
    assert repr(Vector) == "Vector"


def test_factories_over_a_type():
    def make(dtype):
        @codelet
        def double(x: Input[Vector[dtype]], y: Output[Vector[dtype]]):
            for i in range(len(x)):
                y[i] = x[i] * 2

        return double

    assert [make(d).fields[0].dtype for d in (half, float32, int32)] == [half, float32, int32]


def test_closure_and_module_numbers_are_constants():
    width = 3

    @codelet
    def f(y: Output[Vector[int32]]):
        y[0] = width + 1

    (store,) = f.function.body
    assert isinstance(store.value, ir.Const)
    assert store.value.value == 4


def test_known_conditions_are_decided():
    function = read(
        "if DEBUG:\n    v = x[0]\nelse:\n    v = h[0]\nwhile False:\n    v = u[0]\nw = 1 if DEBUG else 2.0", DEBUG=False
    )
    assert function.locals == {"v": half, "w": float32}
    assert len(function.body) == 2


def test_rows_bound_to_names_keep_their_index():
    function = read("""
i = 1
row = rows[i]
i = 2
v = row[0] + len(row)
other = row
row = rows[0]
""")
    names = [s.name for s in function.body]
    assert names == ["i", "row", "i", "v", "other", "row"]
    loads = [p for p in walk(function.body[3].value) if isinstance(p, ir.Load)]
    assert loads[0].field == "rows"
    assert [type(i).__name__ for i in loads[0].index] == ["Name", "Const"]
    assert loads[0].index[0].name == "row"


def test_augmented_store_is_a_store_of_a_binary_of_the_load():
    (store,) = read("rows[size][2] -= 5").body
    assert isinstance(store, ir.Store)
    assert store.value.op == "-"
    assert store.value.left.index == store.index


def test_swap_holds_only_what_is_overwritten():
    assert [s.name for s in read("p, q = 1, 2\np, q = q, p").body] == ["p", "q", "held", "p", "q"]
    assert [s.name for s in read("p, q = 1, 2\nc, d = q, p").body] == ["p", "q", "c", "d"]


def helper(x, y=2):
    z = x * y
    for _ in range(3):
        z += 1
    return z


def square(x):
    return x * x


def chain(x):
    return square(x) + helper(x, 1)


def endless(x):
    return endless(x - 1)


def test_calls_are_put_in_place():
    function = read("v = square(h[0]) + square(2)\nw = helper(v)\nif flag and square(n[0]) > 3:\n    w = chain(v)",
                    square=square, helper=helper, chain=chain)  # fmt: skip
    check(function)
    assert function.locals["v"] == half
    assert {"square_x", "helper_z", "helper__"} <= set(function.locals)
    branch = next(s for s in function.body if isinstance(s, ir.If))
    assert isinstance(branch.condition, ir.Logic)


def test_calls_in_a_condition_of_a_loop_are_evaluated_each_time():
    function = read("v = 9\nwhile helper(v) > 3:\n    v -= 1", helper=helper)
    loop = function.body[1]
    assert isinstance(loop, ir.While)
    assert isinstance(loop.condition, ir.Const)
    assert isinstance(loop.body[2], ir.If)


def test_lines_of_called_code_are_those_of_the_call():
    function = read("v = 1\nw = helper(v)", helper=helper)
    assert {s.line for s in statements(function.body)} == {4, 5}


@pytest.mark.parametrize(("body", "expected"), [
    ("for i in range(size):\n    out[i] = x[i]", False),
    ("for i in range(len(x)):\n    if i % 2 == 0 and flag:\n        out[i] = x[i]", False),
    ("if x[0] > 0:\n    out[0] = 1", True),
    ("v = x[0]\nw = v + 1\nwhile w > 0:\n    w -= 1", True),
    ("out[n[0]] = 1", True),
    ("v = n[0]\nfor i in range(v):\n    out[i] = 1", True),
    ("out[0] = x[n[0]]", True),
    ("out[0] = x[0] if x[1] > 0 else x[2]", True),
    ("v = x[0]\nw = x[1]\nout[0] = v if v > w else w", False),
    ("out[0] = size > 0 and x[size] > 0", False),
    ("out[0] = x[0] > 0 and x[1] > 0", True),
    ("out[0] = n[0] // n[1]", True),
    ("out[0] = n[0] // size", False),
    ("out[0] = n[0] // 3", False),
    ("if k > 0:\n    out[0] = 1", True),
    ("for j in range(len(rows[0])):\n    rows[0][j] = 1", False),
    ("row = rows[n[0]]\nrow[0] = 1", True),
])  # fmt: skip
def test_what_depends_on_data(body, expected):
    lines = "\n".join("    " + line for line in body.split("\n"))
    assert codelet_of(HEAD + lines).data_dependent is expected


def test_every_function_of_the_language_can_be_called():
    for function, meaning in MATH.items():
        arguments = ", ".join(["x[0]", "h[0]"][: meaning.arity])
        tree = read(f"v = call({arguments})", call=function)
        check(tree)
    assert math.exp in MATH


def test_codelet_objects():
    @codelet(vectorize=2, profile="list", cycles=7)
    def triad(a: Output[Vector[float32]], b: Input[Vector[float32]], s: float):
        """Not a triad."""
        for i in range(len(a)):
            a[i] = b[i] * s

    assert (triad.name, triad.kind, triad.vectorize, triad.profile, triad.override) == ("triad", "worker", 2, "list", 7)
    assert repr(triad) == "<codelet triad(a: Output[Vector[float32]], b: Input[Vector[float32]], s: float32)>"
    a = np.zeros(3, np.float32)
    triad(a, np.ones(3, np.float32), 2.0)
    assert a.tolist() == [2, 2, 2]
    assert triad.costs() is triad.costs(profile="list")
    assert triad.costs("mk2").generation == "mk2"
    assert triad.code_bytes() > 0
    assert "a[i] = b[i] * s" in triad.explain()
    assert "total += 0" not in triad.source(counted=True)
    assert triad.__wrapped__.__name__ == "triad"


@pytest.mark.parametrize(("options", "message"), [
    ({"vectorize": 3}, "vectorize=3; it can be 1, 2"),
    ({"profile": "pop"}, "did you mean 'popc'"),
    ({"partials": "double"}, "no partials of @codelet named 'double'"),
    ({"cycles": "many"}, "cycles='many'; it can be an integer, or a function"),
    ({"cycles": -1}, "cycles=-1 is negative"),
    ({"cycles": 1.5}, "cycles=1.5"),
])  # fmt: skip
def test_wrong_options(options, message):
    with pytest.raises(BadInput, match=message):
        codelet(**options)


def test_a_codelet_is_made_once():
    made = codelet_of("def f(y: Output[float32]):\n    y[0] = 1")
    with pytest.raises(BadInput, match="f is a codelet already"):
        codelet(made)


def test_unknown_generation():
    made = codelet_of("def f(y: Output[float32]):\n    y[0] = 1")
    with pytest.raises(UnknownName, match="mk9"):
        made.costs("mk9")
