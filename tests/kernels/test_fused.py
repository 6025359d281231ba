"""Workloads as tables of instructions: every op against the independent evaluator, and how they are put together."""

import numpy as np
import pytest
import workload_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim.errors import BadInput
from ipusim.workload import ops, ops_mcmc
from ipusim.workload.builder import WorkloadBuilder
from ipusim_kernels.fused import kernels
from ipusim_kernels.fused.emit import EMIT
from ipusim_kernels.fused.program import compile_workload, written
from ipusim_kernels.fused.writer import Call

RNG = np.random.default_rng(2)
POSITIVE = {"log", "sqrt", "rsqrt", "pow"}


def run(workload, inputs):
    outputs = [np.empty(v.shape, v.dtype.numpy) for v in workload.outputs.values()]
    arrays = [np.asarray(inputs[v.name], v.dtype.numpy) for v in workload.inputs]
    compile_workload(workload)(arrays, outputs)
    return dict(zip(workload.outputs, outputs, strict=True))


def check(build, *shapes, low=-1.5, high=1.5, dtypes=None, tolerance=2e-6):
    """What `build` makes of inputs of given shapes is what numpy makes."""
    b = WorkloadBuilder("one", 1)
    kinds = dtypes or ["float32"] * len(shapes)
    values = [b.input(f"x{i}", shape, kind) for i, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))]
    made = build(b, *values)
    workload = b.build({f"y{i}": v for i, v in enumerate(made if isinstance(made, tuple) else (made,))})
    inputs = {v.name: RNG.uniform(low, high, v.shape).astype(v.dtype.numpy) for v in workload.inputs}
    if "bool" in kinds:
        inputs = {n: RNG.integers(0, 2, a.shape).astype(bool) if a.dtype == bool else a for n, a in inputs.items()}
    found, wanted = run(workload, inputs), workload_numpy.evaluate(workload, inputs)
    for name, value in wanted.items():
        if found[name].dtype.kind in "ib":
            assert np.array_equal(found[name], value), name
        else:
            assert np.abs(found[name] - value).max() <= tolerance * max(np.abs(value).max(), 1), name


@pytest.mark.parametrize("kind", [k for k in (*kernels.UNARY, *kernels.VECTOR) if k not in ("not", "isnan", "isinf")])
def test_unary(kind):
    check(lambda b, x: b.unary(kind, x), (7, 5), low=0.1 if kind in POSITIVE else -1.5, high=2.0)


def test_unary_of_bools_and_of_what_is_no_number():
    check(lambda b, x: b.unary("not", x), (9,), dtypes=["bool"])
    b = WorkloadBuilder("nan", 1)
    x = b.input("x", (4,))
    given = {"x": np.array([0, np.nan, np.inf, -np.inf], np.float32)}
    found = run(b.build({"n": b.unary("isnan", x), "i": b.unary("isinf", x)}), given)
    assert found["n"].tolist() == [False, True, False, False]
    assert found["i"].tolist() == [False, False, True, True]


@pytest.mark.parametrize("kind", [*kernels.BINARY, *kernels.FLOAT_BINARY])
def test_binary(kind):
    types = ["bool"] * 2 if kind in ("and", "or", "xor") else None
    low = 0.2 if kind in POSITIVE else -1.5
    for shapes in [((3, 4), (3, 4)), ((3, 4), (1, 1)), ((1,), (5,)), ((3, 1), (1, 4)), ((2, 3, 4, 5), (3, 1, 5))]:
        check(lambda b, x, y: b.binary(kind, x, y), *shapes, low=low, dtypes=types)


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "max", "min", "less", "equal"])
def test_binary_of_integers(kind):
    check(lambda b, x, y: b.binary(kind, x, y), (3, 4), (4,), low=-9, high=9, dtypes=["int32"] * 2)


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("axes", [(0,), (2,), (0, 2), (1,), (0, 1, 2)])
@pytest.mark.parametrize("kind", kernels.REDUCE)
def test_reduce(kind, axes, keepdims):
    check(lambda b, x: b.reduce(kind, x, axes, keepdims=keepdims), (3, 4, 5))


@pytest.mark.parametrize(
    "shapes", [((3, 17), (17, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (2, 4, 5)), ((6, 2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5))]
)
def test_matmul(shapes):
    check(lambda b, x, y: b.matmul(x, y), *shapes, tolerance=1e-5)


MOVES = {
    "select": (lambda b, c, x, y: b.select(c, x, y), [(3, 1), (3, 4), (4,)], ["bool", "float32", "float32"]),
    "clip": (lambda b, x: (b.clip(x, -0.5, 0.5), b.clip(x, lo=0.1), b.clip(x, hi=0.1), b.clip(x)), [(5, 3)], None),
    "clip of integers": (lambda b, x: b.clip(x, -1, 1), [(40,)], ["int32"]),
    "casts": (lambda b, x: (b.cast(x, "int32"), b.cast(b.cast(x, "int32"), "float32")), [(30,)], None),
    "cast of bools": (lambda b, x: (b.cast(x, "float32"), b.cast(x, "int32")), [(30,)], ["bool"]),
    "reshape": (lambda b, x: b.tanh(b.reshape(x, (4, 3))), [(2, 6)], None),
    "expand": (lambda b, x: b.expand(x, (2, 3, 4)), [(3, 1)], None),
    "transpose": (lambda b, x: b.transpose(x, (2, 0, 3, 1)), [(2, 3, 4, 5)], None),
    "slices": (
        lambda b, x: (b.slice(x, (1, 0), (3, 5)), b.slice(x, (0, 4), (4, 0), steps=(2, -2)), b.slice(x, (1, 2), (2, 4))),
        [(4, 5)], None,
    ),
    "split": (lambda b, x: b.split(x, (1, 3, 2), 1), [(4, 6, 2)], None),
    "concat": (lambda b, x, y: b.concat([x, y, x], 1), [(2, 3, 2), (2, 1, 2)], None),
    "pad": (lambda b, x: b.pad(x, [(1, 2), (0, 3)], value=0.5), [(2, 3)], None),
    "dynamic slice": (lambda b, x, i: b.dynamic_slice(x, i, 2, 1), [(3, 6, 2), (1,)], ["float32", "int32"]),
    "dynamic update": (
        lambda b, x, v, i: b.dynamic_update(x, v, i, 1), [(3, 6, 2), (3, 2, 2), (1,)], ["float32", "float32", "int32"],
    ),
    "metropolis": (
        lambda b, r, u, x, y: b.add_node(ops_mcmc.Metropolis(1), [r, b.sigmoid(u), x, y]),
        [(3,), (3,), (3, 4), (3, 4)], None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_other(name):
    build, shapes, types = MOVES[name]
    low, high = (-9, 9) if types and "int32" in types else (-1.5, 1.5)
    check(build, *shapes, low=low, high=high, dtypes=types)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_broadcasting(shape, data):
    masks = [data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))) for _ in range(2)]
    shapes = [tuple(1 if m else n for m, n in zip(mask, shape, strict=True)) for mask in masks]
    check(lambda b, x, y: b.add(b.mul(x, y), b.sub(x, y)), *shapes)


@pytest.mark.parametrize("kind", ["max", "min"])
def test_what_is_no_number_stays_so(kind):
    """As in numpy: in max and min of two, along an axis, in limits and in relu."""
    b = WorkloadBuilder("nan", 1)
    x, y = b.input("x", (3, 4)), b.input("y", (3, 4))
    made = {"two": b.binary(kind, x, y), "clip": b.clip(x, -0.5, 0.5), "relu": b.unary("relu", x)}
    made |= {f"along {a}": b.reduce(kind, x, a, keepdims=False) for a in (0, 1)}
    given = {n: RNG.uniform(-1, 1, (3, 4)).astype(np.float32) for n in ("x", "y")}
    given["x"][1, 2] = given["y"][0, 0] = np.nan
    whole = np.maximum if kind == "max" else np.minimum
    wanted = {"two": whole(given["x"], given["y"]), "clip": np.clip(given["x"], -0.5, 0.5), "relu": np.maximum(given["x"], 0)}
    wanted |= {f"along {a}": whole.reduce(given["x"], a) for a in (0, 1)}
    for name, found in run(b.build(made), given).items():
        assert np.array_equal(found, wanted[name], equal_nan=True), name


@pytest.mark.parametrize("kind", ["sum", "mean", "sum_square", "l2", "max"])
@pytest.mark.parametrize(("shape", "axes"), [((1 << 21,), 0), ((3, 5000, 2), 1), ((1025, 3), (0, 1)), ((2, 70, 1500), (0, 2))])
def test_rounding_does_not_grow_with_the_count(kind, shape, axes):
    b = WorkloadBuilder("long", 1)
    workload = b.build({"y": b.reduce(kind, b.input("x", shape), axes, keepdims=False)})
    x = RNG.uniform(0.05, 0.15, shape).astype(np.float32)
    wide = x.astype(np.float64)
    square = {"sum_square", "l2"} & {kind}
    wanted = wide.max(axes) if kind == "max" else ((wide * wide) if square else wide).sum(axes)
    wanted = np.sqrt(wanted) if kind == "l2" else wanted / (x.size / wanted.size) if kind == "mean" else wanted
    found = run(workload, {"x": x})["y"]
    assert np.abs(found / wanted - 1).max() < 4e-6


def test_a_product_reads_a_transposed_operand_in_place():
    """And one that is transposed for others as well is written out for them alone."""

    def build(b, x, y):
        turned = b.transpose(x, (0, 2, 1))
        return b.matmul(turned, y), b.add(turned, 1.0)

    for n in (1, 3, 40):
        check(build, (2, 21, 19), (2, 21, n), tolerance=1e-5)
    b = WorkloadBuilder("one", 1)
    x, y = b.input("x", (30, 20)), b.input("y", (30, 40))
    made = written(b.build({"y": b.matmul(b.transpose(x, (1, 0)), y)}))
    assert [i.title for i in made.instructions] == ["product"]


def test_loops_in_loops():
    def inner(c, a, k):
        return c.tanh(c.add(a, k)), c.add(k, 0.25)

    def outer(c, a, n, w):
        a, k = c.loop(3, inner, [c.matmul(a, w), n])
        (a,) = c.while_loop(lambda d, v: d.binary("greater", d.reduce("max", v), 0.5), lambda d, v: d.mul(v, 0.9), [a], most=9)
        return a, k

    check(lambda b, x, n, w: b.loop(4, outer, [x, n], [w]), (4, 5), (1, 1), (5, 5), tolerance=1e-5)


def test_records_are_written_where_they_lie():
    """A carried value of which a run overwrites a part is not copied, unless something else reads it."""

    def record(c, kept, other, at):
        value = c.reshape(c.cast(at, "float32"), (1, 1))
        return c.dynamic_update(kept, value, at), c.add(other, 1.0), c.add(at, 1)

    def record_and_read(c, kept, other, at):
        changed = c.dynamic_update(kept, c.reshape(c.cast(at, "float32"), (1, 1)), at)
        return changed, c.add(other, kept), c.add(at, 1)

    for body in (record, record_and_read):
        check(
            lambda b, x, y, i, body=body: b.loop(5, body, [x, y, b.mul(i, 0)]),
            (7, 1), (7, 1), (1,), dtypes=["float32", "float32", "int32"],
        )  # fmt: skip
    b = WorkloadBuilder("record", 1)
    x, at = b.input("x", (1000, 1)), b.input("at", (1,), "int32")
    one = b.constant(np.ones((1, 1), np.float32))
    made = written(b.build({"y": b.loop(5, lambda c, kept, i, v: (c.dynamic_update(kept, v, i), c.add(i, 1)), [x, at], [one])[0]}))
    long = [i for i in made.instructions if isinstance(i, Call) and i.table[1] == 1000]
    assert len(long) == 1  # the copy of the first value, before the loop


def test_the_next_values_may_be_parts_of_the_old_ones():
    check(lambda b, x, y, z: b.loop(3, lambda c, x, y, z: (c.add(x, 1.0), c.slice(x, (2,), (4,)), y), [x, y, z]), (6,), (2,), (2,))


def test_a_second_run_starts_anew():
    b = WorkloadBuilder("again", 1)
    x = b.input("x", (3, 4))
    (y,) = b.loop(4, lambda c, a: c.add(c.reduce("sum", a, 1), a), [x])
    workload = b.build({"y": y})
    program, first, second = compile_workload(workload), np.empty((3, 4), np.float32), np.empty((3, 4), np.float32)
    given = RNG.uniform(-1, 1, (3, 4)).astype(np.float32)
    program([given], [first])
    program([given * 2], [second])
    program([given], [second])
    assert np.array_equal(first, second)


def test_a_run_may_take_more_calls_than_its_budget(monkeypatch):
    from ipusim_kernels.fused import program

    b = WorkloadBuilder("long", 1)
    (y,) = b.loop(1000, lambda c, a: c.add(a, 1.0), [b.input("x", (2,))])
    monkeypatch.setattr(program, "BUDGET", 7)
    assert run(b.build({"y": y}), {"x": [0.0, 1.0]})["y"].tolist() == [1000, 1001]


def test_functions_are_shared():
    """A workload twice as long needs no further functions."""

    def texts(count):
        b = WorkloadBuilder("long", 1)
        x = b.input("x", (7, count))
        for _ in range(count):
            x = b.tanh(b.add(x, 1.0))
        return {i.text for i in written(b.build({"y": x})).instructions}

    assert texts(2) == texts(9)
    assert len(texts(2)) == 2


def test_what_has_no_instructions_is_named():
    b = WorkloadBuilder("erf", 1)
    with pytest.raises(BadInput, match=r"'mine'.*Unary 'erf' cannot run inside a compiled loop"):
        compile_workload(b.build({"y": b.unary("erf", b.input("x", (3,)), name="mine")}))
    b = WorkloadBuilder("half", 1)
    with pytest.raises(BadInput, match="'x' is float16"):
        compile_workload(b.build({"y": b.unary("neg", b.input("x", (3,), "float16"))}))
    b = WorkloadBuilder("draw", 1)
    with pytest.raises(BadInput, match=r"'mine'.*Random"):
        compile_workload(b.build({"y": b.uniform((3,), name="mine")}))


def test_every_op_is_checked_here():
    """Random values: test_random_ops; leapfrog: tests/workload/test_mcmc."""
    here = {"Unary", "Binary", "Reduce", "MatMul", "Select", "Clip", "Cast", "Reshape", "Expand", "Transpose", "Slice", "Split",
            "Concat", "Pad", "DynamicSlice", "DynamicUpdate", "Metropolis", "Loop", "While"}  # fmt: skip
    assert {op.__name__ for op in EMIT} == here | {"Random", "Dropout", "Evaluate", "Leapfrog"}
    assert set(kernels.UNARY) | set(kernels.VECTOR) <= set(ops.UNARY)
