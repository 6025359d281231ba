"""Gradients against finite differences, in double precision through the independent evaluator."""

import numpy as np
import pytest
import workload_numpy
from gradient_check import check

import ipusim
from ipusim.errors import BadInput
from ipusim.workload import autodiff, ops
from ipusim.workload.builder import WorkloadBuilder

UNARY = sorted(kind for op, kind in autodiff.RULES if op is ops.Unary)


@pytest.mark.parametrize("kind", UNARY)
def test_unary(kind):
    check(lambda b, x: b.unary(kind, x), (3, 4))


@pytest.mark.parametrize("kind", ["abs", "atan", "cos", "erf", "exp", "relu", "sigmoid", "sin", "softplus", "softsign", "tanh"])
def test_unary_of_negative_values(kind):
    check(lambda b, x: b.unary(kind, x), (3, 4), low=-1.7, high=-0.3)


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 4), (4,)), ((1, 4), (3, 1)), ((2, 3, 4), (3, 1))])
@pytest.mark.parametrize("kind", sorted(kind for op, kind in autodiff.RULES if op is ops.Binary))
def test_binary(kind, shapes):
    check(lambda b, x, y: b.binary(kind, x, y), *shapes)


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("kind", sorted(kind for op, kind in autodiff.RULES if op is ops.Reduce))
def test_reduce(kind, axes, keepdims):
    check(lambda b, x: b.reduce(kind, x, axes, keepdims=keepdims), (2, 3, 4))


@pytest.mark.parametrize(
    "shapes", [((3, 4), (4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (2, 4, 2)), ((2, 3, 4), (4, 2))]
)
def test_matmul(shapes):
    check(lambda b, x, y: b.matmul(x, y), *shapes)


OTHERS = {
    "select": (lambda b, x, y: b.select(b.binary("less", x, y), x, b.mul(y, 2.0)), ((3, 4), (1, 4))),
    "clip": (lambda b, x: b.clip(x, 0.6, 1.2), ((4, 5),)),
    "softmax": (lambda b, x: b.softmax(x, 1), ((3, 4),)),
    "log softmax": (lambda b, x: b.softmax(x, 0, log=True), ((3, 4),)),
    "cast": (lambda b, x: b.cast(x, "float16"), ((3, 4),)),
    "reshape": (lambda b, x: b.reshape(x, (2, 6)), ((3, 4),)),
    "transpose": (lambda b, x: b.transpose(x, (2, 0, 1)), ((2, 3, 4),)),
    "expand": (lambda b, x: b.expand(x, (5, 3, 4)), ((3, 1),)),
    "concat": (lambda b, x, y: b.concat([x, y, x], 1), ((3, 2), (3, 4))),
    "split": (lambda b, x: b.split(x, (1, 3), 1), ((3, 4),)),
    "part of a split": (lambda b, x: b.split(x, (1, 3), 1)[1], ((3, 4),)),
    "slice": (lambda b, x: b.slice(x, (1, 0), (3, 3)), ((3, 4),)),
    "slices that cover all": (
        lambda b, x: tuple(b.unary(k, b.slice(x, (i, 0), (j, 4))) for k, i, j in (("exp", 2, 3), ("square", 0, 2))),
        ((3, 4),),
    ),
    "slices that overlap": (
        lambda b, x: tuple(b.unary(k, b.slice(x, (i, 0), (j, 4))) for k, i, j in (("exp", 1, 3), ("square", 0, 2))),
        ((3, 4),),
    ),
    "slice by steps": (lambda b, x: b.slice(x, (3, 4, 0), (-5, 0, 1), (-2, -1, 3)), ((4, 5, 2),)),
    "nothing of it": (lambda b, x: b.concat([b.slice(x, (2, 0), (2, 4)), x], 0), ((3, 4),)),
    "pad": (lambda b, x: b.pad(x, [(1, 0), (0, 2)], value=3.0), ((3, 4),)),
    "used twice": (lambda b, x: b.mul(b.tanh(x), b.add(x, b.tanh(x))), ((3, 4),)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other(name):
    build, shapes = OTHERS[name]
    check(build, *shapes)


def test_every_rule_is_checked():
    here = {"Unary", "Binary", "Reduce", "MatMul", "Select", "Clip", "Softmax", "Cast", "Reshape", "Transpose", "Expand", "Concat", "Split", "Slice", "Pad"}
    assert {op.__name__ for op, _ in autodiff.RULES} == here


def test_a_network():
    def net(b, x, w, v):
        h = b.tanh(b.matmul(x, w))
        return b.reduce("log_sum_exp", b.matmul(h, v), 1)

    check(net, (3, 4), (4, 5), (5, 2), low=-1.0, high=1.0)


def test_an_input_that_does_not_matter_has_gradient_zero():
    b = WorkloadBuilder("net", 1)
    x, y = b.input("x", (3,)), b.input("y", (2,))
    made = autodiff.gradient(b.build({"t": b.reduce("sum", x), "y": b.tanh(y)}), "t")
    found = workload_numpy.evaluate(made, {"x": np.ones(3), "y": np.ones(2)})
    assert found["d y"].tolist() == [0, 0]
    assert found["d x"].tolist() == [1, 1, 1]


def test_what_has_no_gradient_is_named():
    b = WorkloadBuilder("net", 1)
    x = b.input("x", (3,))
    rounded = b.build({"t": b.reduce("sum", b.unary("asin", x, name="my asin"), keepdims=False)})
    with pytest.raises(BadInput, match=r"'my asin'.*'asin' has no gradient"):
        autodiff.gradient(rounded)
    with pytest.raises(BadInput, match="not one float"):
        autodiff.gradient(b.build({"t": x}))
    with pytest.raises(BadInput, match="no output 'z'"):
        autodiff.gradient(rounded, "z")
    with pytest.raises(BadInput, match="no input 'z'"):
        autodiff.gradient(rounded, inputs=["z"])
    with pytest.raises(BadInput, match="no output 'nope'"):
        autodiff.gradient(rounded, keep=["nope"])
    for steps, mode in (((1,), "edge"), ((2,), "reflect")):
        with pytest.raises(BadInput, match=f"'my {mode}'.*{mode!r} has no gradient"):
            autodiff.gradient(b.build({"t": b.reduce("sum", b.pad(x, [steps * 2], mode=mode, name=f"my {mode}"))}))


def test_an_input_of_integers_has_no_gradient():
    b = WorkloadBuilder("net", 1)
    x, i = b.input("x", (3,)), b.input("i", (3,), "int32")
    built = b.build({"t": b.reduce("sum", b.mul(x, b.cast(i, "float32")))})
    assert list(autodiff.gradient(built).outputs) == ["t", "d x"]
    with pytest.raises(BadInput, match=r"'i' is int32.3.; only floats"):
        autodiff.gradient(built, inputs=["i"])


def test_an_output_is_not_replaced_by_a_gradient():
    b = WorkloadBuilder("net", 1)
    x = b.input("x", (2,))
    built = b.build({"t": b.reduce("sum", b.mul(x, x)), "d x": b.tanh(x)})
    with pytest.raises(BadInput, match="output 'd x' has the name of the gradient of input 'x'"):
        autodiff.gradient(built, "t", keep=["d x"])
    assert list(autodiff.gradient(built, "t").outputs) == ["t", "d x"]  # the other one is not asked for


@pytest.mark.parametrize(
    ("build", "x", "wanted"),
    [
        (lambda b, x: b.binary("pow", x, 2.0), [-2, 0, 1, 3], [-4, 0, 2, 6]),
        (lambda b, x: b.binary("pow", x, 1.0), [-2, 0, 1], [1, 1, 1]),
        (lambda b, x: b.binary("pow", x, 0.0), [-2, 0, 1], [0, 0, 0]),
        (lambda b, y: b.binary("pow", b.constant(np.zeros(3, np.float32)), y), [0, 1, 2.5], [0, 0, 0]),
        (lambda b, y: b.binary("pow", b.constant(np.zeros(1, np.float32)), y), [-1], [-np.inf]),
        (lambda b, x: b.reduce("l2", x), [0, 0], [0, 0]),
        (lambda b, x: b.reduce("l2", b.reshape(x, (2, 2)), 1), [0, 0, 3, 4], [0, 0, 0.6, 0.8]),
    ],
)
def test_where_a_formula_would_be_nought_times_infinity(build, x, wanted):
    b = WorkloadBuilder("net", 1)
    made = autodiff.gradient(b.build({"t": b.reduce("sum", build(b, b.input("x", (len(x),))), keepdims=False)}))
    found = ipusim.simulate(made, {"x": np.array(x, np.float32)}, execute=True, precision="float32").outputs["d x"]
    assert np.allclose(found, wanted, rtol=1e-6)
