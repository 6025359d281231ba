"""Every op by itself: values against the independent evaluator, whole and vertex by vertex, and the same cycles."""

import numpy as np
import programs
import pytest
import workload_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from op_check import RNG, check, one

import ipusim
from ipusim.workload import ops
from ipusim.workload.builder import WorkloadBuilder

POSITIVE = {"log", "sqrt", "rsqrt", "acosh"}
INSIDE = {"asin", "acos", "atanh"}
PARAMETERS = {"leaky_relu": 0.1, "elu": 0.7, "celu": 1.3, "hard_sigmoid": 0.2, "swish": 1.0, "thresholded_relu": 0.4}


@pytest.mark.parametrize("kind", [k for k in ops.UNARY if k not in ("not", "isnan", "isinf")])
def test_unary(kind):
    low, high = (0.2, 3.0) if kind in POSITIVE else ((-0.9, 0.9) if kind in INSIDE else (-2.0, 2.0))
    low = 1.1 if kind == "acosh" else low
    alpha, beta = PARAMETERS.get(kind, 0.0), 0.5
    check(*one(lambda b, x: b.unary(kind, x, alpha=alpha, beta=beta), (3, 7, 5), low=low, high=high), tolerance=5e-6)


@pytest.mark.parametrize("kind", ["not", "isnan", "isinf"])
def test_predicates(kind):
    b = WorkloadBuilder("predicate")
    x = b.input("x", (6,), "bool" if kind == "not" else "float32")
    workload = b.build({"y": b.unary(kind, x)})
    data = (
        np.array([0, 1, 0, 1, 1, 0], bool)
        if kind == "not"
        else np.array([0, np.nan, np.inf, -np.inf, 1, -2], np.float32)
    )
    for execute in (True, "vertices"):
        found = ipusim.simulate(workload, {"x": data}, execute=execute).outputs["y"]
        assert np.array_equal(found, workload_numpy.evaluate(workload, {"x": data})["y"])


SHAPES = [
    ((4, 6), (4, 6)),
    ((4, 6), (1,)),
    ((4, 6), (6,)),
    ((4, 6), (4, 1)),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((4, 1), (1, 6)),
    ((3,), (2, 5, 3)),
]


@pytest.mark.parametrize("kind", [k for k in ops.BINARY if k not in ("and", "or", "xor")])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_binary(kind, shapes):
    low = 0.3 if kind in ("pow", "div", "mod") else -2.0
    if kind == "mod":  # a jump where rounding decides: quotients of exact halves only
        low = 1.0
    workload, inputs = one(lambda b, x, y: b.binary(kind, x, y), *shapes, low=low)
    if kind == "mod":
        inputs = {k: np.round(v * 4) / 4 + i / 8 for i, (k, v) in enumerate(inputs.items())}
    check(workload, inputs)


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "div", "mod", "max", "min", "equal", "less", "not_equal"])
def test_integers(kind):
    b = WorkloadBuilder("integers")
    x, y = b.input("x", (5, 4), "int32"), b.input("y", (4,), "int32")
    workload = b.build({"y": b.binary(kind, x, y)})
    inputs = {"x": RNG.integers(-20, 20, (5, 4)).astype(np.int32), "y": np.array([3, -4, 7, -1], np.int32)}
    for execute in (True, "vertices"):
        found = ipusim.simulate(workload, inputs, execute=execute).outputs["y"]
        assert np.array_equal(found, workload_numpy.evaluate(workload, inputs)["y"])


@pytest.mark.parametrize("kind", ["and", "or", "xor"])
def test_logic(kind):
    b = WorkloadBuilder("logic")
    x, y = b.input("x", (2, 2), "bool"), b.input("y", (2,), "bool")
    workload = b.build({"y": b.binary(kind, x, y)})
    inputs = {"x": np.array([[0, 0], [1, 1]], bool), "y": np.array([0, 1], bool)}
    found = ipusim.simulate(workload, inputs, execute=True).outputs["y"]
    assert np.array_equal(found, workload_numpy.evaluate(workload, inputs)["y"])


@pytest.mark.parametrize("kind", ops.REDUCE)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((3, 5, 7), (1,)), ((2, 600), (1,)), ((40, 6), (0,)), ((3, 4, 5, 2), (0, 2)), ((900,), (0,)), ((2, 3), ())],
)
def test_reduce(kind, shape, axes):
    low, high = (0.8, 1.2) if kind in ("prod", "log_sum") else (-2.0, 2.0)
    if kind == "prod" and np.prod([shape[a] for a in axes]) > 100:
        low, high = 0.99, 1.01
    check(*one(lambda b, x: b.reduce(kind, x, axes), shape, low=low, high=high), tolerance=2e-5, half=1e-2)


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("keepdims", [True, False])
def test_arg_reduce(kind, keepdims):
    workload, inputs = one(lambda b, x: b.arg_reduce(kind, x, 1, keepdims=keepdims), (4, 30, 3))
    for execute in (True, "vertices"):
        found = ipusim.simulate(workload, inputs, execute=execute, precision="float32").outputs["y0"]
        assert np.array_equal(found, workload_numpy.evaluate(workload, inputs)["y0"])


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("options", [
    {"kernel": 2}, {"kernel": 3, "stride": 2, "padding": 1}, {"kernel": (3, 2), "stride": (1, 3), "padding": ((0, 1), (1, 0))},
    {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, {"kernel": 2, "dilation": 3}, {"kernel": 3, "padding": 1, "count_include_pad": True},
], ids=str)  # fmt: skip
def test_pool(kind, options):
    check(*one(lambda b, x: b.pool(kind, x, **options), (2, 5, 11, 10)))


def test_pool_in_one_dimension():
    check(*one(lambda b, x: b.avg_pool(x, 3, stride=2, padding=1), (2, 4, 19)))


@pytest.mark.parametrize("options", [
    {}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}, {"groups": 3, "padding": 1}, {"groups": 6, "padding": (0, 2)},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("partials", ["float32", "float16"])
def test_conv(options, partials):
    weight = RNG.normal(size=(12, 6 // options.get("groups", 1), 3, 3)) * 0.3
    workload, inputs = one(lambda b, x: b.conv(x, weight, np.arange(12) / 10, **options), (2, 6, 9, 8))
    expected = workload_numpy.evaluate(workload, inputs)["y0"]
    program = programs.compiled(workload, "float16", partials=getattr(ipusim, partials))
    for vertices in (False, True):
        found = programs.values(program, inputs, vertices)[0]["y0"]
        assert np.abs(found - expected).max() <= (3e-3 if partials == "float32" else 1e-2) * np.abs(expected).max()
    check(workload, inputs)


def test_conv_in_one_dimension():
    check(*one(lambda b, x: b.conv(x, RNG.normal(size=(8, 4, 5)), stride=2, padding=2), (3, 4, 21)))


@pytest.mark.parametrize(
    "shapes",
    [
        ((5, 7), (7, 3)),
        ((2, 4, 5, 7), (7, 3)),
        ((2, 4, 5, 7), (2, 4, 7, 3)),
        ((3, 1, 5, 7), (2, 7, 4)),
        ((7,), (7, 3)),
        ((5, 7), (3, 7, 2)),
        ((5, 7), (7,)),
        ((1, 300), (300, 40)),
    ],
    ids=str,
)
def test_matmul(shapes):
    check(*one(lambda b, x, y: b.matmul(x, y), *shapes), tolerance=1e-5)


def test_a_matmul_too_large_for_one_pass_is_split_serially():
    chip = ipusim.ChipSpec(**{f: getattr(ipusim.system("GC2").chip, f) for f in ipusim.ChipSpec.__slots__}).with_fields(
        {"tiles": 4}
    )
    workload, inputs = one(lambda b, x: b.matmul(x, RNG.normal(size=(256, 512)) * 0.1), (64, 256))
    program = programs.compiled(workload, "float16", chip, memory_proportion=0.1)
    assert "serial co" in dict(program.notes[0].splits)
    expected = workload_numpy.evaluate(workload, inputs)["y0"]
    for vertices in (False, True):
        found, _ = programs.values(program, inputs, vertices, chip)
        assert np.abs(found["y0"] - expected).max() <= 4e-3 * np.abs(expected).max()


def test_norms():
    vector = np.linspace(0.5, 1.5, 6)
    check(*one(lambda b, x: b.layer_norm(x, np.linspace(0.5, 1.5, 8), np.ones(8)), (2, 6, 8)), half=6e-3)
    check(*one(lambda b, x: b.layer_norm(x, axis=1), (2, 6, 8)), half=6e-3)
    check(*one(lambda b, x: b.group_norm(x, vector, vector, 3), (2, 6, 4, 5)), half=6e-3)
    check(*one(lambda b, x: b.group_norm(x, vector, vector, 6), (2, 6, 9)), half=6e-3)
    check(*one(lambda b, x: b.batch_norm(x, vector, vector, vector, vector + 1), (2, 6, 4, 5)), half=6e-3)
    check(*one(lambda b, x: b.lrn(x, 4, alpha=0.1), (2, 6, 4, 5)), half=6e-3)


def test_batch_norm_with_parameters_that_are_not_constant():
    check(*one(lambda b, x, *p: b.batch_norm(x, *p), (2, 5, 3), *[(5,)] * 4, low=0.5), half=1e-2)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("log", [False, True])
def test_softmax(axis, log):
    check(*one(lambda b, x: b.softmax(x, axis, log=log), (4, 5, 6)), half=5e-3)


def test_moves():
    def build(b, x):
        y = b.transpose(b.reshape(x, (4, 3, 10)), (2, 0, 1))
        a, c = b.split(y, (4, 6), axis=0)
        z = b.concat([b.slice(c, (5, 0, 2), (-7, 4, -9), (-2, 1, -1)), b.slice(a, (0, 0, 0), (3, 4, 3))], axis=0)
        z = b.pad(z, ((1, 0), (0, 2), (1, 1)), value=1.5)
        z = b.add(z, b.expand(b.slice(a, (0, 0, 0), (1, 1, 5)), (7, 6, 5)) if z.shape == (7, 6, 3) else 1.0)
        return b.pad(z, ((0, 0), (2, 1), (0, 2)), mode="reflect"), b.pad(
            b.relu(a), ((1, 2), (0, 0), (0, 1)), mode="edge"
        )

    check(*one(build, (4, 30)))


def test_select_clip_cast():
    def build(b, x, y):
        chosen = b.select(b.binary("greater", x, y), x, b.constant(np.float32(0.5)))
        return b.clip(chosen, None, 1.0), b.clip(x, -0.5, None), b.cast(b.cast(x, "int32"), "float32")

    check(*one(build, (4, 9), (9,)))


@pytest.mark.parametrize(("shape", "indices", "axis"), [
    ((40, 6), [[3, -1], [0, 39]], 0), ((3, 700), [699, 0, 4], 1), ((2, 3, 8), [1], 2), ((5, 4), [2], 0), ((2000, 3), list(range(0, 2000, 7)), 0),
])  # fmt: skip
def test_gather(shape, indices, axis):
    b = WorkloadBuilder("gather")
    x, i = b.input("x", shape), b.input("i", np.shape(indices), "int32")
    workload = b.build({"y": b.gather(x, i, axis), "fixed": b.gather(x, b.constant(np.array(1, np.int32)), axis)})
    check(
        workload, {"x": RNG.normal(size=shape).astype(np.float16).astype(np.float32), "i": np.array(indices, np.int32)}
    )


def test_an_index_out_of_range_names_the_op_and_the_index():
    b = WorkloadBuilder("gather")
    i = b.input("i", (2,), "int32")
    workload = b.build({"y": b.gather(RNG.normal(size=(10, 4)), i, name="lookup")})
    for execute in (True, "vertices"):
        with pytest.raises(ipusim.BadInput, match="node 'lookup': index 10 is outside the 10 rows"):
            ipusim.simulate(workload, {"i": np.array([3, 10])}, execute=execute)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_convolutions_of_any_shape(data):
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    ci, co = groups * draw(st.integers(1, 9)), groups * draw(st.integers(1, 9))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    size = (draw(st.integers(4, 12)), draw(st.integers(4, 12)))
    weight = RNG.normal(size=(co, ci // groups, *kernel))
    options = {"stride": draw(st.integers(1, 3)), "padding": draw(st.integers(0, 2)), "groups": groups}
    check(*one(lambda b, x: b.conv(x, weight, **options), (draw(st.integers(1, 3)), ci, *size)), tolerance=1e-5)


def test_results_written_through_a_view_that_numpy_must_copy():
    """Merging transposed axes: the array that is read is a copy, so what is written to it has to be put back."""
    b = WorkloadBuilder("folded")
    x = b.input("x", (4, 6))
    turned = x
    for _ in range(2):
        turned = b.reshape(b.transpose(b.reshape(turned, (6, 4)), (1, 0)), (4, 6))
    workload = b.build({"y": b.sub(b.reduce("max", x, 1), turned), "s": b.softmax(turned, 0)})
    check(workload, {"x": RNG.integers(-3, 4, (4, 6)).astype(np.float32)})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_chains_of_ops_in_place_and_through_views(data):
    """Random chains: overwriting in place must never reach a value that is still read."""
    draw = data.draw
    b = WorkloadBuilder("chain")
    pool = [b.input("x", (4, 6)), b.input("y", (4, 6))]
    for _ in range(draw(st.integers(2, 9))):
        a, c = (pool[draw(st.integers(0, len(pool) - 1))] for _ in range(2))
        match draw(st.integers(0, 9)):
            case 0:
                made = b.relu(a)
            case 1:
                made = b.add(a, c)
            case 2:
                made = b.mul(a, b.slice(c, (0, 0), (1, 6)))
            case 3:
                made = b.reshape(b.transpose(b.reshape(a, (6, 4)), (1, 0)), (4, 6))
            case 4:
                made = b.concat([b.slice(a, (0, 0), (2, 6)), b.slice(c, (2, 0), (4, 6))], axis=0)
            case 5:
                made = b.softmax(a, draw(st.integers(0, 1)))
            case 6:
                made = b.layer_norm(a, np.linspace(0.5, 1, 6), epsilon=0.1)
            case 7:
                made = b.matmul(a, np.eye(6)[::-1] * 0.5)
            case 8:
                made = b.transpose(b.matmul(b.transpose(c, (1, 0)), b.reshape(a, (4, 6))), (1, 0))
                made = b.slice(made, (0, 0), (4, 6))
            case _:
                made = b.sub(b.reduce("max", a, 1), c)
        pool.append(made)
    chosen = draw(st.lists(st.sampled_from(pool[2:]), min_size=1, max_size=3))
    workload = b.build({f"o{i}": v for i, v in enumerate(chosen)})
    inputs = {n: RNG.integers(-3, 4, (4, 6)).astype(np.float32) / 4 for n in "xy"}
    expected = workload_numpy.evaluate(workload, inputs)
    for vertices in (False, True):
        found, _ = programs.values(programs.compiled(workload, "float32"), inputs, vertices)
        for name, value in expected.items():
            assert np.abs(found[name] - value).max() <= 2e-5 * max(1.0, np.abs(value).max())
