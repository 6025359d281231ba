"""The light models inside the onnx package, with random weights, against onnxruntime."""

import tracemalloc

import light_models
import numpy as np
import onnx
import pytest

import ipusim
from ipusim.importers.onnx import load
from ipusim.workload import ops, ops_norm

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

IMAGE = np.random.default_rng(1).normal(size=(1, 3, 224, 224)).astype(np.float32)
FITS_IN_FLOAT32 = {name: name not in ("light_vgg19", "light_zfnet512") for name in light_models.NAMES}


#: Convolutions, batch norms that follow no convolution, millions of weights, billions of multiply-adds at 224 x 224.
SIZES = {
    "light_bvlc_alexnet": (5, 0, 60.97, 0.65),
    "light_densenet121": (121, 62, 8.12, 2.83),
    "light_inception_v1": (57, 0, 7.00, 1.43),
    "light_inception_v2": (69, 0, 11.20, 2.02),
    "light_resnet50": (53, 0, 25.53, 4.09),
    "light_shufflenet": (49, 0, 1.38, 0.12),
    "light_squeezenet": (26, 0, 1.24, 0.35),
    "light_vgg19": (16, 0, 143.67, 19.63),
    "light_zfnet512": (5, 0, 87.25, 1.48),
}


@pytest.mark.parametrize("name", light_models.NAMES)
def test_sizes_of_the_models(name):
    workload = load(light_models.path(name))
    convolutions, norms, weights, macs = SIZES[name]
    assert sum(isinstance(n.op, ops.Conv) for n in workload.nodes) == convolutions
    assert sum(isinstance(n.op, ops_norm.BatchNorm) for n in workload.nodes) == norms
    assert workload.parameters / 1e6 == pytest.approx(weights, abs=0.006)
    assert workload.macs / 1e9 == pytest.approx(macs, abs=0.006)
    assert [workload.batch, [v.shape for v in workload.inputs]] == [1, [(1, 3, 224, 224)]]


def test_weights_of_one_value_take_no_memory():
    """VGG-19 has 575 MB of them."""
    load(light_models.path("light_squeezenet"))
    tracemalloc.start()
    load(light_models.path("light_vgg19"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6


def expected(proto):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(proto.SerializeToString(), options)
    return session.get_inputs()[0].name, session.run(None, {session.get_inputs()[0].name: IMAGE})[0]


def error(found, reference):
    return np.abs(found.astype(np.float32) - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize("name", light_models.NAMES)
def test_logits_agree_with_onnxruntime(name, tmp_path):
    proto = light_models.with_logits(name)
    path = tmp_path / f"{name}.onnx"
    onnx.save(proto, path)
    feed, reference = expected(proto)
    assert reference.std() > 1e-3 * np.abs(reference).max()
    for precision, tolerance in (("float32", 1e-4), ("float16", 2e-2)):
        report = ipusim.simulate(path, {feed: IMAGE}, execute=True, precision=precision)
        (found,) = report.outputs.values()
        assert error(found, reference) <= tolerance
        if precision == "float32":
            assert report.memory.fits == FITS_IN_FLOAT32[name]


@pytest.mark.parametrize("name", light_models.NAMES)
def test_the_models_as_they_are_import(name):
    report = ipusim.simulate(light_models.path(name))
    assert report.cycles > 10_000


def test_one_corrupt_weight_fails_the_comparison(tmp_path):
    proto = light_models.with_logits("light_squeezenet")
    feed, reference = expected(proto)
    weight = next(t for t in proto.graph.initializer if len(t.dims) == 4 and t.dims[2] == 3)
    array = onnx.numpy_helper.to_array(weight).copy()
    array[5, 2, 1, 1] += 1.0
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    path = tmp_path / "corrupt.onnx"
    onnx.save(proto, path)
    report = ipusim.simulate(path, {feed: IMAGE}, execute=True, precision="float32")
    assert error(next(iter(report.outputs.values())), reference) > 1e-4
