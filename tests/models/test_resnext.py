"""ResNeXt-101 32x4d: torchvision's counts and layers, and values of grouped blocks against independent networks."""

from dataclasses import replace

import numpy as np
import numpy_models
import pytest
import workload_numpy

import ipusim
from ipusim.errors import BadInput
from ipusim.workload.passes import fold_batch_norm
from ipusim_models import ZOO
from ipusim_models.resnet import ResNetConfig, build

SMALL = ResNetConfig(
    blocks=(2, 1, 2), width=8, groups=4, group_width=4, image=32, classes=20, batch=3, seed=5, name="small"
)


@pytest.fixture(scope="module")
def whole():
    return ZOO["resnext101"].build()


def images(config):
    shape = (config.batch, 3, config.image, config.image)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_published_counts(whole):
    norms = sum(c.shape[0] for name, c in whole.constants.items() if name.endswith("/bias") and name != "fc/bias")
    assert norms == 68_928
    assert whole.parameters + norms == 44_177_704  # torchvision's count: a scale and a shift a channel
    assert whole.macs == pytest.approx(7.97e9, rel=1e-4)
    assert sum(node.op.__class__.__name__ == "Conv" for node in whole.nodes) == 1 + 3 * 33 + 4


def test_layers_are_those_of_torchvision(whole):
    """Shapes of the first block of each stage: groups of 4, 8, 16 and 32 channels."""
    for stage, width in enumerate((128, 256, 512, 1024), 1):
        shapes = {
            name: whole.constants[f"stage{stage}/block1/{name}/weight"].shape
            for name in ("conv1", "conv2", "conv3", "shortcut")
        }
        before = 64 if stage == 1 else width
        assert shapes == {
            "conv1": (width, before, 1, 1),
            "conv2": (width, width // 32, 3, 3),
            "conv3": (2 * width, width, 1, 1),
            "shortcut": (2 * width, before, 1, 1),
        }


def test_counts_against_torchvision(whole):
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed; its counts are above")
    model = torchvision.models.resnext101_32x4d() if hasattr(torchvision.models, "resnext101_32x4d") else None
    if model is None:
        pytest.skip("this torchvision has no resnext101_32x4d")
    theirs = sorted(tuple(p.shape) for name, p in model.named_parameters() if p.ndim > 1)
    assert theirs == sorted(c.shape for name, c in whole.constants.items() if len(c.shape) > 1)


def test_with_norms_the_counts_are_those_of_training():
    """44,177,704 parameters with a scale and a shift a channel, and two running statistics."""
    kept = ZOO["resnext101-norms"].build()
    statistics = sum(c.shape[0] for name, c in kept.constants.items() if name.endswith(("/mean", "/var")))
    assert statistics == 2 * 68_928
    assert kept.parameters - statistics == 44_177_704
    assert kept.macs == ZOO["resnext101"].build().macs


def test_folding_the_norms_changes_no_value():
    workload = build(replace(SMALL, norms=True))
    folded = fold_batch_norm(workload)
    assert not any(node.op.__class__.__name__ == "BatchNorm" for node in folded.nodes)
    one, other = (workload_numpy.evaluate(w, {"x": images(SMALL)})["logits"] for w in (workload, folded))
    assert np.abs(one - other).max() < 1e-5 * np.abs(one).max()


def test_values_against_numpy():
    workload, x = build(SMALL), images(SMALL)
    found = workload_numpy.evaluate(workload, {"x": x})["logits"]
    expected = numpy_models.resnet_forward(workload, x, blocks=SMALL.blocks)
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()
    assert found.std(axis=0).mean() > 0.05 * found.std(axis=1).mean()


def test_the_chip_computes_the_same():
    workload, x = build(SMALL), images(SMALL)
    expected = workload_numpy.evaluate(workload, {"x": x})["logits"]
    for precision, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        found = ipusim.simulate(workload, {"x": x}, execute=True, precision=precision).outputs["logits"]
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_in_full_agrees_with_pytorch(whole):
    pytest.importorskip("torch", reason="PyTorch is not installed; the small network stands for it")
    import torch_models

    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    expected = torch_models.resnet50_forward(whole, x).numpy()
    found = ipusim.simulate(whole, {"x": x}, execute=True, precision="float16").outputs["logits"]
    assert 0.1 < np.abs(expected).max() < 100
    assert np.abs(found - expected).max() <= 5e-3 * np.abs(expected).max()


@pytest.mark.slow
def test_in_full_half_agrees_with_float():
    """And images are told apart."""
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    single, half = (
        ipusim.simulate("resnext101", {"x": x}, batch=2, execute=True, precision=p).outputs["logits"].astype(np.float64)
        for p in ("float32", "float16")
    )
    assert np.abs(single - half).max() <= 5e-3 * np.abs(single).max()
    assert single.std(axis=0).mean() > 0.05 * single.std(axis=1).mean()


def test_groups_must_divide():
    with pytest.raises(BadInput, match="group_width"):
        ResNetConfig(groups=3)
