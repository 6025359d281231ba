"""The op IR: shapes as the evaluator finds them, canonical text, rewrites, and what is refused."""

from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pytest
import workload_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim.dtype import float16, float32
from ipusim.errors import BadInput
from ipusim.workload import ops, ops_loop, ops_mcmc, ops_norm, ops_random, ops_recurrent, ops_shape
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.ops import TensorType
from ipusim.workload.passes import drop_dead, fold_batch_norm, with_precision
from ipusim.workload.text import text

GOLDEN = Path(__file__).parents[1] / "golden" / "workload.txt"


def example():
    b = WorkloadBuilder("example")
    x = b.input("x", (2, 3, 8, 8))
    w = b.constant(ipusim.Constant.normal((4, 3, 3, 3), float32, seed=7, std=0.1), "weight")
    y = b.conv(x, w, stride=2, padding="same", name="stem")
    y = b.batch_norm(y, *(np.ones(4) * n for n in (1, 2, 3, 4)), name="norm")
    parts = b.split(b.relu(y, name="act"), (1, 3), axis=1, name="parts")
    z = b.concat([b.reduce("mean", p, (1, 2, 3), keepdims=False) for p in parts], axis=0, name="joined")
    return b.build({"z": b.softmax(z, name="soft")})


def test_text_is_golden():
    """The file is the text as printed; a change of it is a change of every fingerprint."""
    assert text(example()) == GOLDEN.read_text()


def test_the_same_workload_has_the_same_fingerprint():
    assert example().fingerprint == example().fingerprint
    other = example().constants | {"weight": ipusim.Constant.normal((4, 3, 3, 3), float32, seed=8, std=0.1)}
    w = example()
    assert Workload(w.name, w.inputs, w.outputs, w.nodes, other, w.batch).fingerprint != w.fingerprint


def test_counts():
    workload = example()
    assert workload.macs == 2 * 4 * 4 * 4 * 3 * 9
    assert workload.parameters == 4 * 27 + 4 * 4
    graph = workload.to_networkx()
    assert graph.number_of_nodes() == len(workload.nodes) + 1
    assert graph.nodes["stem"]["type"] == "Conv"
    assert list(graph.successors("x")) == ["stem"]


def test_folding_batch_norm_keeps_the_meaning():
    workload, inputs = example(), {"x": np.random.default_rng(0).normal(size=(2, 3, 8, 8))}
    folded = fold_batch_norm(workload)
    assert [type(n.op).__name__ for n in folded.nodes].count("BatchNorm") == 0
    before, after = (workload_numpy.evaluate(w, inputs)["z"] for w in (workload, folded))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_batch_norm_whose_convolution_is_read_elsewhere_stays():
    b = WorkloadBuilder("shared")
    x = b.input("x", (1, 2, 4, 4))
    y = b.conv(x, np.ones((2, 2, 1, 1)))
    z = b.batch_norm(y, *[np.ones(2)] * 4)
    folded = fold_batch_norm(b.build({"y": y, "z": z}))
    assert [type(n.op).__name__ for n in folded.nodes] == ["Conv", "BatchNorm"]


def test_precision_turns_floats_and_leaves_integers():
    b = WorkloadBuilder("mixed")
    i = b.input("i", (3,), "int32")
    y = b.mul(b.cast(i, "float32"), 0.5)
    turned = with_precision(b.build({"y": y}), float16)
    assert {v.dtype.name for n in turned.nodes for v in n.outputs} == {"float16"}
    assert turned.inputs[0].dtype.name == "int32"
    assert all(c.dtype == float16 for c in turned.constants.values())
    assert text(turned) != text(b.build({"y": y}))


def test_dead_nodes_go():
    b = WorkloadBuilder("dead")
    x = b.input("x", (3,))
    y = b.relu(x)
    b.unary("exp", b.add(x, np.ones(3)))
    kept = drop_dead(b.build({"y": y}))
    assert [n.name for n in kept.nodes] == ["relu"]
    assert not kept.constants


def test_constants_are_lazy_repeatable_and_read_only():
    made = []
    constant = ipusim.Constant((2,), float32, lambda: made.append(1) or np.arange(2.0), "mine")
    half = constant.astype(float16).map(lambda a: a * 2, "twice")
    assert not made
    assert half.fingerprint == "twice(as float16(mine))"
    assert half.array().tolist() == [0.0, 2.0]
    assert half.array().dtype == np.float16
    with pytest.raises(ValueError, match="read-only"):
        half.array()[0] = 1
    one, two = (ipusim.Constant.uniform((100,), float32, 3, -1, 2).array() for _ in range(2))
    assert np.array_equal(one, two)
    assert -1 <= one.min() < one.max() < 2
    assert len(made) == 1


@pytest.mark.parametrize(("build", "message"), [
    (lambda b, x: b.conv(x, np.ones((4, 5, 3, 3))), "node 'conv': Conv: x (1, 3, 8, 8) has 3 channels"),
    (lambda b, x: b.conv(x, np.ones((4, 3, 9, 9))), "is larger than the padded input"),
    (lambda b, x: b.conv(x, np.ones((4, 3, 3, 3)), np.ones(5)), "bias (5,) for 4 output channels"),
    (lambda b, x: b.conv(x, np.ones((4, 3, 3, 3)), stride=0), "wants a number, or 2 numbers, of at least 1"),
    (lambda b, x: b.conv(x, np.ones((4, 3, 3, 3)), padding="full"), "padding 'full'"),
    (lambda b, x: b.matmul(x, np.ones((3, 3))), "do not multiply"),
    (lambda b, x: b.add(x, np.ones((2, 7))), "do not broadcast"),
    (lambda b, x: b.reshape(x, (5, 5)), "Reshape: (1, 3, 8, 8) has 192 elements, (5, 5) has 25"),
    (lambda b, x: b.transpose(x, (0, 0, 1, 2)), "is not an order of the axes"),
    (lambda b, x: b.concat([x, b.reshape(x, (1, 3, 64))], 1), "do not join along axis 1"),
    (lambda b, x: b.split(x, (1, 1), axis=1), "sizes (1, 1) of axis 1"),
    (lambda b, x: b.reduce("sum", x, (7,)), "axis 7 of a tensor with 4 axes"),
    (lambda b, x: b.softmax(x, 4), "node 'softmax': Softmax: axis 4 of a tensor with 4 axes"),
    (lambda b, x: b.concat([x, x], -5), "axis -5"), (lambda b, x: b.split(x, (1,), axis=9), "axis 9"), (lambda b, x: b.layer_norm(x, axis=7), "axis 7"),
    (lambda b, x: b.arg_reduce("max", x, -6), "axis -6"), (lambda b, x: b.gather(x, b.input("i", (2,), "int32"), 5), "axis 5"),
    (lambda b, x: b.unary("reluu", x), "no kind 'reluu'"),
    (lambda b, x: b.binary("plus", x, x), "no kind 'plus'"),
    (lambda b, x: b.gather(x, x), "indices must be integers"),
    (lambda b, x: b.select(x, x, x), "the condition must be bool"),
    (lambda b, x: b.max_pool(x, 9), "is larger than the padded input"),
    (lambda b, x: b.group_norm(x, np.ones(3), np.ones(3), 2), "3 channels in 2 groups"),
    (lambda b, x: b.layer_norm(x, bias=np.ones(8)), "a bias needs a scale"),
    (lambda b, x: b.input("x", (1,)), "input 'x': the name is in use"),
    (lambda b, x: b.input("z", (0, 3)), "must have sizes of at least 1"),
    (lambda b, x: b.build({}), "has no outputs"),
    (lambda b, x: b.relu(Value("foreign", x.type)), "value 'foreign' is not of builder 'bad'"),
])  # fmt: skip
def test_what_does_not_fit_is_named(build, message):
    b = WorkloadBuilder("bad")
    x = b.input("x", (1, 3, 8, 8))
    with pytest.raises(BadInput) as caught:
        build(b, x)
    assert message in str(caught.value)


def test_graphs_that_are_no_programs():
    a, c = (Value(n, TensorType((2,), float32)) for n in "ac")
    relu = Node(ops.Unary("relu"), (a,), (c,), "relu")
    with pytest.raises(BadInput, match="input 'a' is used before it is made"):
        Workload("w", (), {"c": c}, (relu,), {})
    with pytest.raises(BadInput, match="value 'c' is made twice"):
        Workload("w", (a,), {"c": c}, (relu, Node(ops.Unary("exp"), (a,), (c,), "exp")), {})
    with pytest.raises(BadInput, match="two nodes are named 'relu'"):
        Workload("w", (a,), {"c": c}, (relu, Node(ops.Unary("exp"), (a,), (Value("d", a.type),), "relu")), {})
    wrong = Value("c", TensorType((3,), float32))
    with pytest.raises(BadInput, match="node 'relu': makes"):
        Workload("w", (a,), {"c": wrong}, (Node(ops.Unary("relu"), (a,), (wrong,), "relu"),), {})


@settings(max_examples=150)
@given(st.data())
def test_inferred_shapes_are_those_that_numpy_finds(data):
    draw = data.draw
    b = WorkloadBuilder("random")
    value = b.input("x", tuple(draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))))
    for _ in range(draw(st.integers(1, 6))):
        rank = len(value.shape)
        axis = draw(st.integers(0, rank - 1))
        match draw(st.integers(0, 7)):
            case 0:
                value = b.transpose(value, draw(st.permutations(range(rank))))
            case 1:
                value = b.reshape(value, (-1, value.shape[axis]))
            case 2:
                value = b.reduce("max", value, axis, keepdims=rank < 3 or draw(st.booleans()))
            case 3:
                value = b.concat([value, value], axis)
            case 4:
                value = b.pad(value, [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank)])
            case 5:
                steps = [draw(st.sampled_from([1, 2, -1])) for _ in range(rank)]
                value = b.slice(value, [None] * rank, [None] * rank, steps)
            case 6:
                value = b.add(value, np.ones((2, *(1,) * rank)) if rank < 4 else 1.0)
            case _:
                value = b.softmax(value, axis)
    workload = b.build({"y": value})
    found = workload_numpy.evaluate(workload, {"x": np.random.default_rng(0).normal(size=workload.inputs[0].shape)})
    assert found["y"].shape == value.shape


def test_every_op_has_a_lowering_rule_and_a_reference():
    import ipusim_kernels

    classes = {
        c for module in (ops, ops_shape, ops_norm, ops_recurrent, ops_loop, ops_mcmc, ops_random) for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, ops.Op) and c.__module__ == module.__name__ and is_dataclass(c)
    }  # fmt: skip
    assert set(ipusim_kernels.rules()) == classes
    assert set(workload_numpy._RULES) == classes - {ops_random.Random, ops_random.Dropout}
