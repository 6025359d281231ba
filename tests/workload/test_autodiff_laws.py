"""Reverse mode for every op that has a gradient, over drawn shapes: central differences, and the library's own values."""

from math import prod

import gradient_check
import numpy as np
import pytest
import workload_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim.workload import autodiff, ops

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
FEW = settings(max_examples=12, deadline=None)
KINDS = {op: sorted(kind for o, kind in autodiff.RULES if o is op) for op in (ops.Unary, ops.Binary, ops.Reduce)}


@st.composite
def broadcast(draw):
    """Two shapes that broadcast, either of them smaller on any axis, or with fewer axes."""
    shape = draw(SHAPES)
    made = [tuple(draw(st.sampled_from([1, n])) for n in shape)[draw(st.integers(0, len(shape) - 1)) :] for _ in range(2)]
    return made if prod(np.broadcast_shapes(*made)) <= 36 else [shape, shape]


@st.composite
def reduced(draw):
    shape = draw(SHAPES)
    return shape, tuple(a for a in range(len(shape)) if draw(st.booleans())), draw(st.booleans())


@st.composite
def sliced(draw):
    """A shape, and starts, stops and steps of either sign inside it."""
    shape = draw(SHAPES)
    starts, stops, steps = [], [], []
    for n in shape:
        lo, step = draw(st.integers(0, n - 1)), draw(st.integers(1, 3))
        hi, forward = draw(st.integers(lo, n - 1)), draw(st.booleans())
        starts.append(lo if forward else hi)
        stops.append(hi + 1 if forward else lo - n - 1)
        steps.append(step if forward else -step)
    return shape, (starts, stops, steps)


@pytest.mark.parametrize("kind", KINDS[ops.Unary])
@FEW
@given(shape=SHAPES, sign=st.sampled_from([1, -1]))
def test_unary(kind, shape, sign):
    if kind in ("log", "sqrt", "rsqrt"):
        sign = 1
    low, high = sorted((0.3 * sign, 1.7 * sign))
    gradient_check.check(lambda b, x: b.unary(kind, x), shape, low=low, high=high)


@pytest.mark.parametrize("kind", KINDS[ops.Binary])
@FEW
@given(shapes=broadcast())
def test_binary(kind, shapes):
    gradient_check.check(lambda b, x, y: b.binary(kind, x, y), *shapes)


@pytest.mark.parametrize("kind", KINDS[ops.Reduce])
@FEW
@given(case=reduced())
def test_reduce(kind, case):
    shape, axes, keepdims = case
    gradient_check.check(lambda b, x: b.reduce(kind, x, axes, keepdims=keepdims), shape)


@FEW
@given(case=sliced(), pads=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=3))
def test_slices_and_padding(case, pads):
    shape, cut = case
    gradient_check.check(lambda b, x: b.pad(b.slice(x, *cut), pads[: len(shape)], value=0.5), shape)


@FEW
@given(lead=broadcast(), m=st.integers(1, 3), k=st.integers(1, 3), n=st.integers(1, 3))
def test_matmul(lead, m, k, n):
    gradient_check.check(lambda b, x, y: b.matmul(x, y), (*lead[0][-2:], m, k), (*lead[1][-2:], k, n))


@FEW
@given(shapes=broadcast(), axis=st.integers(-1, 0), log=st.booleans())
def test_select_softmax_and_moves(shapes, axis, log):
    def build(b, x, y):
        z = b.select(b.binary("less", x, y), b.mul(x, y), b.clip(y, 0.5, 1.5))
        turned = b.transpose(b.softmax(z, axis, log=log), range(len(z.shape) - 1, -1, -1))
        return b.concat([b.reshape(turned, (z.type.elements,)), b.reshape(b.expand(x, z.shape), (-1,))], 0)

    gradient_check.check(build, *shapes)


@settings(max_examples=6, deadline=None)
@given(shapes=broadcast(), kind=st.sampled_from(KINDS[ops.Binary]), seed=st.integers(0, 99))
def test_the_library_computes_the_same_gradients(shapes, kind, seed):
    rng = np.random.default_rng(seed)
    made = autodiff.gradient(gradient_check.scalar(lambda b, x, y: b.tanh(b.binary(kind, x, y)), shapes))
    x = {v.name: rng.uniform(0.3, 1.7, v.shape).astype(np.float32) for v in made.inputs}
    found = ipusim.simulate(made, x, execute=True, precision="float32").outputs
    for name, value in workload_numpy.evaluate(made, x).items():
        assert np.allclose(found[name], value, rtol=2e-4, atol=2e-5), name
