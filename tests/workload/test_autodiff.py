"""Gradients against finite differences, in double precision through the independent evaluator."""

import numpy as np
import pytest
import workload_numpy

from ipusim.errors import BadInput
from ipusim.workload import autodiff, ops
from ipusim.workload.builder import WorkloadBuilder

RNG = np.random.default_rng(11)
WEIGHT = "weight"  # the output is weighted, so that no symmetry hides a mistake


def scalar(build, shapes):
    """The weighted sum of what `build` makes of inputs x0, x1, ... as a workload with output "total"."""
    b = WorkloadBuilder("net", 1)
    values = [b.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    made = build(b, *values)
    total = None
    for number, y in enumerate(made if isinstance(made, tuple) else (made,)):
        weight = np.cos(np.arange(y.type.elements) + number).reshape(y.shape).astype(np.float32)
        part = b.reduce("sum", b.mul(y, weight), keepdims=False)
        total = part if total is None else b.add(total, part)
    return b.build({"total": total})


def check(build, *shapes, low=0.3, high=1.7, step=1e-6):
    workload = scalar(build, shapes)
    made = autodiff.gradient(workload)
    x = {v.name: RNG.uniform(low, high, v.shape) for v in workload.inputs}
    found = workload_numpy.evaluate(made, x)
    assert np.allclose(found["total"], workload_numpy.evaluate(workload, x)["total"])
    for name, value in x.items():
        wanted = np.zeros(value.shape)
        for at in np.ndindex(*value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[at] += sign * step
                ends.append(float(workload_numpy.evaluate(workload, x | {name: moved})["total"].reshape(-1)[0]))
            wanted[at] = (ends[0] - ends[1]) / (2 * step)
        assert found[f"d {name}"].shape == value.shape
        assert np.allclose(found[f"d {name}"], wanted, rtol=1e-6, atol=1e-7), name


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
    "used twice": (lambda b, x: b.mul(b.tanh(x), b.add(x, b.tanh(x))), ((3, 4),)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other(name):
    build, shapes = OTHERS[name]
    check(build, *shapes)


def test_every_rule_is_checked():
    here = {"Unary", "Binary", "Reduce", "MatMul", "Select", "Clip", "Softmax", "Cast", "Reshape", "Transpose", "Expand", "Concat", "Split", "Slice"}
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
