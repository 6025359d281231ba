"""The light models inside the onnx package, with random weights, against onnxruntime."""

import light_models
import numpy as np
import onnx
import pytest

import ipusim

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

IMAGE = np.random.default_rng(1).normal(size=(1, 3, 224, 224)).astype(np.float32)
FITS_IN_FLOAT32 = {name: name not in ("light_vgg19", "light_zfnet512") for name in light_models.NAMES}


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
