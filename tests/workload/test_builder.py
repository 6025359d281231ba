"""The builder: names, what numbers and arrays become, padding, and composed ops against numpy."""

import numpy as np
import pytest
import workload_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim.dtype import as_dtype
from ipusim.errors import BadInput, UnknownName
from ipusim.workload import ops, ops_norm, ops_shape
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Workload
from ipusim.workload.text import text

RNG = np.random.default_rng(3)


def made(build, *shapes, dtype="float32"):
    """The workload whose output is what `build` makes of the builder and its inputs x0, x1..."""
    b = WorkloadBuilder("made")
    return b.build({"y": build(b, *(b.input(f"x{i}", s, dtype) for i, s in enumerate(shapes)))})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["relu", "relu.1", "x", "tanh", None]), max_size=12))
def test_names_are_unique_and_the_same_every_time(names):
    def build():
        b = WorkloadBuilder("names")
        value = b.input("x", (2,))
        for name in names:
            value = b.add(b.relu(value, name), b.constant(np.ones(2, np.float32), name), name)
        return b.build({"y": value})

    workload = build()
    assert text(workload) == text(build())
    values = [v.name for n in workload.nodes for v in n.outputs] + list(workload.constants) + ["x"]
    assert len(set(values)) == len(values)
    assert len({n.name for n in workload.nodes}) == len(workload.nodes)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
@pytest.mark.parametrize("operand", [2, 2.0, np.float64(2), np.int64(2), [2, 2, 2], np.full(3, 2.0)])
def test_operands_become_constants_of_the_other_s_type(dtype, operand):
    for workload in (
        made(lambda b, x: b.add(x, operand), (3,), dtype=dtype),
        made(lambda b, x: b.add(operand, x), (3,), dtype=dtype),
    ):
        (constant,) = workload.constants.values()
        assert constant.dtype.name == dtype
        assert np.array_equal(constant.array(), np.asarray(operand))
        assert workload.outputs["y"].dtype.name == dtype


@pytest.mark.parametrize(("dtype", "operand"), [
    ("int32", 0.5), ("int32", float("nan")), ("int32", 2**31), ("uint8", -1), ("uint8", np.array([1, 256, 3])), ("bool", 2),
])  # fmt: skip
def test_an_operand_is_never_cut_to_fit(dtype, operand):
    with pytest.raises(BadInput, match=f"does not fit {dtype}, the element type of the other operand"):
        made(lambda b, x: b.binary("equal", x, operand), (3,), dtype=dtype)


def test_constants_of_64_bits_are_narrowed_if_they_fit():
    b = WorkloadBuilder("wide")
    assert b.constant(np.array([2**31 - 1, -(2**31)])).dtype.name == "int32"
    with pytest.raises(BadInput, match=r"constant \(1,\) has values outside int32"):
        b.constant(np.array([2**31]))
    with pytest.raises(UnknownName, match="no element type named 'float64'"):
        b.constant(np.array([1.0]))
    assert b.constant(1.5).dtype.name == "float32"


def test_a_table_of_integers_stays_one():
    workload = made(lambda b, i: b.gather(np.array([5, 6, 2**24 + 1]), i), (4,), dtype="int32")
    found = workload_numpy.evaluate(workload, {"x0": np.array([2, 0, -1, 1])})["y"]
    assert found.tolist() == [2**24 + 1, 5, 2**24 + 1, 6]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.integers(1, 12)] + [st.integers(1, 4)] * 3), min_size=1, max_size=2))
def test_same_padding_gives_a_window_per_stride(sizes):
    """ONNX's SAME_UPPER: ceil(size / stride) outputs, an odd element of padding at the end."""
    n, k, s, d = (tuple(column) for column in zip(*sizes, strict=True))
    workload = made(lambda b, x: b.conv(x, np.ones((1, 1, *k)), stride=s, dilation=d, padding="same"), (1, 1, *n))
    assert workload.outputs["y"].shape[2:] == tuple(-(-a // b) for a, b in zip(n, s, strict=True))
    assert all(hi - lo in (0, 1) for lo, hi in workload.nodes[0].op.padding)


def test_padding_is_given_in_three_ways():
    forms = [1, (1, 1), [(1, 1), (1, 1)], np.array([1, 1]), np.int64(1)]
    found = {
        made(lambda b, x, p=p: b.conv(x, np.ones((1, 1, 3, 3)), padding=p), (1, 1, 5, 5)).fingerprint for p in forms
    }
    assert len(found) == 1
    uneven = made(lambda b, x: b.conv(x, np.ones((1, 1, 3, 3)), padding=[(0, 1), (2, 3)]), (1, 1, 5, 5))
    assert uneven.nodes[0].op.padding == ((0, 1), (2, 3))


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, -2.0, 0.0])
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
def test_gemm(alpha, beta, trans_a, trans_b):
    a, b, c = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5)), RNG.normal(size=5)
    given_a, given_b = a.T if trans_a else a, (b.T if trans_b else b).astype(np.float32)
    options = {"alpha": alpha, "beta": beta, "trans_a": trans_a, "trans_b": trans_b}
    workload = made(lambda w, x: w.gemm(x, given_b, c, **options), given_a.shape)
    found = workload_numpy.evaluate(workload, {"x0": given_a})["y"]
    np.testing.assert_allclose(found, alpha * a @ b + beta * c, rtol=1e-5, atol=1e-5)
    assert workload.macs == 3 * 4 * 5
    assert ("gemm/c" in [n.name for n in workload.nodes]) == (beta != 0)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_slices_read_bounds_as_python_does(data):
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple))
    bound = st.one_of(st.none(), st.integers(-8, 8))
    step = st.integers(-3, 3).filter(bool)
    parts = [tuple(data.draw(s) for s in (bound, bound, step)) for _ in shape]
    workload = made(lambda b, x: b.slice(x, *zip(*parts, strict=True)), shape)
    x = RNG.normal(size=shape)
    expected = x[tuple(slice(*p) for p in parts)]
    assert workload.outputs["y"].shape == expected.shape
    if expected.size:
        assert np.array_equal(workload_numpy.evaluate(workload, {"x0": x})["y"], expected)


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_axes_count_from_either_end(axis):
    x = RNG.normal(size=(2, 3, 4))
    calls = {
        "softmax": lambda b, v, a: b.softmax(v, a),
        "layer_norm": lambda b, v, a: b.layer_norm(v, axis=a),
        "arg_reduce": lambda b, v, a: b.arg_reduce("min", v, a),
        "concat": lambda b, v, a: b.concat([v, v], a),
        "gather": lambda b, v, a: b.gather(v, b.constant(np.array([0, 1])), a),
        "split": lambda b, v, a: b.split(v, (1, v.shape[a] - 1), a)[1],
        "reduce": lambda b, v, a: b.reduce("l1", v, a),
    }
    for call in calls.values():
        front, back = (made(lambda b, v, a=a, c=call: c(b, v, a), x.shape) for a in (axis % 3, axis % 3 - 3))
        assert text(front) == text(back)


def test_input_names_may_be_those_of_nodes():
    """The op graph keeps the two apart."""
    b = WorkloadBuilder("twice")
    graph = b.build({"y": b.relu(b.input("relu", (2,)))}).to_networkx()
    assert list(graph.edges) == [("input relu", "relu")]
    assert graph.nodes["input relu"]["type"] == "Input"


def test_building_and_naming_a_network_makes_no_weights():
    """What is random stays a recipe until somebody computes with it."""
    workload = ipusim.WorkloadBuilder("lazy")
    x = workload.input("x", (1, 64, 8, 8))
    for seed in range(20):
        weight = Constant((64, 64, 3, 3), x.dtype, _never, f"weight {seed}")
        x = workload.batch_norm(workload.conv(x, workload.constant(weight), padding=1), *[np.ones(64)] * 4)
    from ipusim.workload.passes import fold_batch_norm, with_precision

    built = with_precision(fold_batch_norm(workload.build({"y": x})), ipusim.half)
    assert len(built.fingerprint) == 16
    assert built.parameters == 20 * (64 * 64 * 9 + 64)


def _never():
    raise AssertionError("a constant was made")


@pytest.mark.parametrize(("op", "types", "message"), [
    (ops.Conv((1,), (1, 1), ((0, 0),) * 2), [(1, 1, 4, 4), (1, 1, 3, 3)], "Conv: stride (1,) for x (1, 1, 4, 4)"),
    (ops.Conv((0, 1), (1, 1), ((0, 0),) * 2), [(1, 1, 4, 4), (1, 1, 3, 3)], "Conv: stride (0, 1) for x"),
    (ops.Conv((1, 1), (1, 1), ((0, 0),)), [(1, 1, 4, 4), (1, 1, 3, 3)], "Conv: padding ((0, 0),)"),
    (ops.Conv((1, 1), (1, 1), ((0, -1),) * 2), [(1, 1, 4, 4), (1, 1, 3, 3)], "none negative"),
    (ops.Conv((1, 1), (1, 1), ((0, 0),) * 2), [(1, 1, 4, 4)], "Conv: takes 2 to 3 inputs, got 1"),
    (ops.Pool("sum", (2,), (1,), (1,), ((0, 0),), extra=(0,)), [(1, 1, 4)], "Pool: no kind 'sum' (known: max, avg)"),
    (ops.Pool("max", (2,), (1,), (1,), ((0, 0),)), [(1, 1, 4)], "extra (0, 0) for x (1, 1, 4)"),
    (ops.Pool("max", (2,), (0,), (1,), ((0, 0),), extra=(0,)), [(1, 1, 4)], "Pool: stride (0,)"),
    (ops.ArgReduce("avg", 0), [(3,)], "ArgReduce: no kind 'avg' (known: max, min)"),
    (ops.Reduce("sum", (-1,)), [(3, 3)], "axes (-1,) of x (3, 3) must ascend, counted from the front"),
    (ops.Reduce("sum", (1, 0)), [(3, 3)], "axes (1, 0) of x (3, 3) must ascend"),
    (ops.Reduce("mean", (0,)), [((3,), "int32")], "mean needs a floating-point input, got int32"),
    (ops.Unary("exp"), [((3,), "int32")], "exp needs a floating-point input, got int32"),
    (ops.Unary("not"), [(3,)], "not needs bool, got float32"),
    (ops.Binary("sub"), [((3,), "bool")] * 2, "sub needs numbers, got bool"),
    (ops.Binary("and"), [(3,)] * 2, "and needs bool inputs, got float32"),
    (ops.Binary("add"), [(3,), ((3,), "int32")], "different element types: float32[3], int32[3]"),
    (ops.Clip(0, 1), [((3,), "bool")], "Clip: needs numbers, got bool"),
    (ops_norm.LayerNorm(1, 1e-5), [(2, 3, 4), (3, 1), (2,)], "LayerNorm: shapes (3, 4) and (2,) do not broadcast"),
    (ops_norm.LayerNorm(2, 1e-5), [(2, 3, 4), (3, 4)], "LayerNorm: parameter (3, 4) for normalised shape (4,)"),
    (ops_norm.GroupNorm(0, 1e-5), [(2, 4), (4,), (4,)], "GroupNorm: 4 channels in 0 groups"),
    (ops_norm.Softmax(2), [(2, 3)], "Softmax: axis 2 of a tensor with 2 axes"),
    (ops_shape.Reshape((-2, -2)), [(4,)], "Reshape: (4,) to (-2, -2): sizes must not be negative"),
    (ops_shape.Slice((0,), (9,), (1,)), [(3,)], "starts (0,), stops (9,) lie outside shape (3,)"),
    (ops_shape.Concat(0), [(), ()], "Concat: axis 0 of a tensor with 0 axes"),
    (ops_shape.Split(0, (1,)), [()], "Split: axis 0 of a tensor with 0 axes"),
    (ops_shape.Gather(0), [(), ((2,), "int32")], "Gather: axis 0 of a tensor with 0 axes"),
    (ops_shape.Pad(((3, 0),), mode="reflect"), [(3,)], "reflect padding ((3, 0),) must be smaller than shape (3,)"),
    (ops_shape.Pad(((3, 0),), mode="wrap"), [(3,)], "Pad: no mode 'wrap'"),
    (ops_shape.Expand((2, 3)), [(2,)], "do not broadcast"),
    (ops_shape.Expand((1, 3)), [(2, 3)], "Expand: (2, 3) does not broadcast to (1, 3)"),
])  # fmt: skip
def test_an_op_by_itself_says_what_does_not_fit(op, types, message):
    """Ops may be made without a builder; whatever is wrong with them is BadInput in one line."""
    given_types = [t if len(t) == 2 and isinstance(t[1], str) else (t, "float32") for t in types]
    with pytest.raises(BadInput) as caught:
        op.infer(*(ops.TensorType(shape, as_dtype(name)) for shape, name in given_types))
    assert message in str(caught.value)
    assert str(caught.value).startswith(type(op).__name__)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("build", "message"), [
    (lambda b, x: b.conv(x, np.ones((1, 3, 3)), padding="same", name="stem"), "node 'stem': x (1, 3, 8, 8) and weight (1, 3, 3)"),
    (lambda b, x: b.conv(x, np.ones((1, 3, 3, 3)), dilation=(1, 2, 3)), "node 'conv': dilation (1, 2, 3) wants a number, or 2"),
    (lambda b, x: b.conv(x, np.ones((1, 3, 3, 3)), stride=2.5), "node 'conv': stride 2.5 wants"),
    (lambda b, x: b.conv(x, np.ones((1, 3, 3, 3)), padding=(1, 2, 3)), "node 'conv': padding (1, 2, 3) wants a number, 2 numbers"),
    (lambda b, x: b.max_pool(x, (3,), name="p"), "node 'p': kernel (3,) wants a number, or 2 numbers"),
    (lambda b, x: b.avg_pool(x, 3, padding=-1), "node 'avg_pool': Pool: padding ((-1, -1), (-1, -1))"),
    (lambda b, x: b.slice(x, [0], [1]), "node 'slice': starts [0], stops [1]"),
    (lambda b, x: b.slice(x, [0] * 4, [1] * 4, [0] * 4, name="cut"), "node 'cut': starts"),
    (lambda b, x: b.reshape(x, (-1, -1, 192)), "sizes must not be negative"),
    (lambda b, x: b.reshape(x, (-1, 5)), "reshape: (1, 3, 8, 8) does not fit (-1, 5)"),
    (lambda b, x: b.batch_norm(b.reshape(x, (192,)), *[np.ones(())] * 4), "x (192,) must have at least 2 axes"),
    (lambda b, x: b.lrn(b.reshape(x, (192,)), 3), "x (192,) must have at least 2 axes"),
    (lambda b, x: b.add(x, "one"), "'one' is not a number or an array of numbers"),
    (lambda b, x: b.add(x, np.ones(3, complex)), "complex128 array (3,) is not a number"),
    (lambda b, x: Workload("w", (), {}, (), {}, batch=0), "workload 'w': batch 0 must be at least 1"),
])  # fmt: skip
def test_the_builder_names_the_node_and_the_argument(build, message):
    b = WorkloadBuilder("bad")
    x = b.input("x", (1, 3, 8, 8))
    with pytest.raises(BadInput) as caught:
        build(b, x)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
