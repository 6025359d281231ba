"""The numpy evaluator, the reference of most other tests, against PyTorch: windows, norms, functions, on random sizes.

Skipped where PyTorch is not installed; ONNX's own cases check the evaluator as well (tests/importers).
"""

import numpy as np
import pytest
import workload_numpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ipusim.workload import ops, ops_norm
from ipusim.workload.builder import WorkloadBuilder

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
functional = torch.nn.functional

RNG = np.random.default_rng(11)
DIMS = st.integers(1, 2)
SMALL = st.integers(1, 3)


def close(found, expected):
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9, atol=1e-11)


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


@settings(max_examples=150, deadline=None)
@given(st.data(), DIMS, st.booleans())
def test_convolution(data, dims, biased):
    draw = data.draw
    kernel, stride, dilation = (tuple(draw(SMALL) for _ in range(dims)) for _ in range(3))
    pads = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(dims))
    groups, per_in, per_out, batch = (draw(SMALL) for _ in range(4))
    spatial = [(k - 1) * d + draw(SMALL) for k, d in zip(kernel, dilation, strict=True)]
    x, w = RNG.normal(size=(batch, groups * per_in, *spatial)), RNG.normal(size=(groups * per_out, per_in, *kernel))
    arrays = [x, w, *([RNG.normal(size=groups * per_out)] if biased else [])]
    found = workload_numpy.compute(ops.Conv(stride, dilation, pads, groups), arrays)
    given_x, *rest = tensors(*arrays)
    padded = functional.pad(given_x, [n for pair in reversed(pads) for n in pair])
    conv = functional.conv1d if dims == 1 else functional.conv2d
    close(found, conv(padded, *rest, stride=stride, dilation=dilation, groups=groups))


@settings(max_examples=150, deadline=None)
@given(st.data(), DIMS, st.booleans())
def test_max_pool_with_the_builder_s_ceil_mode(data, dims, ceil):
    draw = data.draw
    kernel, stride, dilation = (tuple(draw(SMALL) for _ in range(dims)) for _ in range(3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    spatial = [(k - 1) * d + draw(st.integers(1, 5)) for k, d in zip(kernel, dilation, strict=True)]
    b = WorkloadBuilder("pool")
    x = b.input("x", (2, 3, *spatial))
    y = b.max_pool(x, kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil)
    array = RNG.normal(size=x.shape)
    pool = functional.max_pool1d if dims == 1 else functional.max_pool2d
    expected = pool(*tensors(array), kernel, stride, padding, dilation, ceil_mode=ceil)
    close(workload_numpy.evaluate(b.build({"y": y}), {"x": array})["y"], expected)


@settings(max_examples=150, deadline=None)
@given(st.data(), DIMS, st.booleans(), st.booleans())
def test_average_pool_with_the_builder_s_ceil_mode(data, dims, ceil, counted):
    draw = data.draw
    kernel, stride = (tuple(draw(SMALL) for _ in range(dims)) for _ in range(2))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    spatial = [k + draw(st.integers(0, 5)) for k in kernel]
    b = WorkloadBuilder("pool")
    x = b.input("x", (2, 3, *spatial))
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil, "count_include_pad": counted}
    y = b.avg_pool(x, kernel, **options)
    array = RNG.normal(size=x.shape)
    pool = functional.avg_pool1d if dims == 1 else functional.avg_pool2d
    expected = pool(*tensors(array), kernel, stride, padding, ceil, counted)
    close(workload_numpy.evaluate(b.build({"y": y}), {"x": array})["y"], expected)


@settings(max_examples=60, deadline=None)
@given(st.tuples(SMALL, st.integers(2, 6), *[SMALL] * 2), st.sampled_from([1e-5, 1e-2]))
def test_norms(shape, epsilon):
    channels, x = shape[1], RNG.normal(size=shape)
    scale, bias, mean = (RNG.normal(size=channels) for _ in range(3))
    variance = RNG.random(channels) + 0.1
    t = torch.from_numpy(x)
    expected = functional.batch_norm(t, *tensors(mean, variance, scale, bias), eps=epsilon)
    close(workload_numpy.compute(ops_norm.BatchNorm(epsilon), [x, scale, bias, mean, variance]), expected)
    for groups in (1, channels, *(g for g in (2, 3) if channels % g == 0)):
        if np.prod(shape[1:]) > groups:  # PyTorch refuses groups of one element
            expected = functional.group_norm(t, groups, *tensors(scale, bias), epsilon)
            close(workload_numpy.compute(ops_norm.GroupNorm(groups, epsilon), [x, scale, bias]), expected)
    for axis in range(1, 4):
        parameters = [RNG.normal(size=shape[axis:]) for _ in range(2)]
        expected = functional.layer_norm(t, shape[axis:], *tensors(*parameters), epsilon)
        close(workload_numpy.compute(ops_norm.LayerNorm(axis, epsilon), [x, *parameters]), expected)
        close(
            workload_numpy.compute(ops_norm.LayerNorm(axis, epsilon), [x]),
            functional.layer_norm(t, shape[axis:], eps=epsilon),
        )
    for axis in range(4):
        close(workload_numpy.compute(ops_norm.Softmax(axis), [x]), functional.softmax(t, axis))
        close(workload_numpy.compute(ops_norm.Softmax(axis, log=True), [x]), functional.log_softmax(t, axis))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_norm(size):
    """Odd windows: of even ones PyTorch and ONNX take opposite sides, and ONNX's cases hold ours."""
    x = RNG.normal(size=(2, 7, 3, 4))
    expected = functional.local_response_norm(torch.from_numpy(x), size, alpha=0.3, beta=0.6, k=1.5)
    close(workload_numpy.compute(ops_norm.LRN(size, 0.3, 0.6, 1.5), [x]), expected)


FUNCTIONS = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.3),
    "elu": lambda x: functional.elu(x, 0.3),
    "selu": functional.selu,
    "celu": lambda x: functional.celu(x, 0.3),
    "hard_sigmoid": lambda x: torch.clamp(0.3 * x + 0.45, 0, 1),
    "hard_swish": functional.hardswish,
    "swish": lambda x: x * torch.sigmoid(0.3 * x),
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "mish": functional.mish,
    "thresholded_relu": lambda x: functional.threshold(x, 0.3, 0.0),
    "rsqrt": torch.rsqrt,
    "round": torch.round,
    "not": torch.logical_not,
    # the rest have the same name there
}


@pytest.mark.parametrize("kind", ops.UNARY)
def test_unary(kind):
    """On finite values, halves and ties among them; the predicates on the others as well."""
    x = np.concatenate([RNG.normal(size=50) * 2, [0.0, 0.3, 0.5, 1.5, 2.5, -0.5, 7.0, -7.0]])
    if kind in ("isnan", "isinf"):
        x = np.concatenate([x, [np.inf, -np.inf, np.nan]])
    x = x > 0 if kind == "not" else x
    found = workload_numpy.compute(ops.Unary(kind, 0.3, 0.45), [x])
    expected = (FUNCTIONS.get(kind) or getattr(torch, kind))(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


REDUCTIONS = {
    "sum": torch.sum,
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
    "sum_square": lambda x, dim, keepdim: torch.sum(x * x, dim, keepdim),
    "l1": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 1, dim, keepdim),
    "l2": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 2, dim, keepdim),
    "log_sum": lambda x, dim, keepdim: torch.log(torch.sum(x, dim, keepdim)),
    "log_sum_exp": torch.logsumexp,
}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(REDUCTIONS)), st.sets(st.integers(0, 3), min_size=1), st.booleans())
def test_reductions(kind, axes, keepdims):
    x, chosen = RNG.random((2, 3, 4, 2)) + 0.1, tuple(sorted(axes))
    expected = REDUCTIONS[kind](torch.from_numpy(x), dim=chosen, keepdim=keepdims)
    close(workload_numpy.compute(ops.Reduce(kind, chosen, keepdims), [x]), expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=4), st.sampled_from(["argmax", "argmin"]), st.integers(0, 3))
def test_the_first_extreme_wins(shape, name, axis):
    """Integers from a short range, so that ties are common."""
    assume(axis < len(shape))
    x = RNG.integers(0, 3, [n + 1 for n in shape]).astype(np.float64)
    found = workload_numpy.compute(ops.ArgReduce(name[3:], axis), [x])
    extreme = x.max(axis, keepdims=True) if name == "argmax" else x.min(axis, keepdims=True)
    first = torch.from_numpy((x == extreme).cumsum(axis).cumsum(axis) == 1).to(torch.int32).argmax(axis, keepdim=True)
    assert np.array_equal(found, first.numpy())
