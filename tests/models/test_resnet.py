"""ResNet: published counts, the accounting of any size, and values against networks written down independently."""

import math

import numpy as np
import numpy_models
import pytest
import workload_numpy
from hypothesis import given
from hypothesis import strategies as st

from ipusim.errors import BadInput
from ipusim_models.resnet import ResNetConfig, build

SMALL = ResNetConfig(blocks=(2, 1, 2), width=8, image=32, classes=20, batch=3, seed=5, name="small")


def images(config, seed=0):
    shape = (config.batch, 3, config.image, config.image)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_published_counts():
    workload = build(ResNetConfig())
    assert workload.macs == pytest.approx(4.089e9, rel=1e-3)
    assert workload.parameters == 25_557_032 - 26_560  # torchvision's count less one of two norm parameters a channel
    assert workload.inputs[0].shape == (1, 3, 224, 224)
    assert workload.outputs["logits"].shape == (1, 1000)


def test_stride_stands_in_the_3x3():
    strides = {n.name: n.op.stride for n in build(ResNetConfig()).nodes if n.name.endswith(("conv1", "conv2"))}
    assert {s for name, s in strides.items() if name.endswith("conv1")} == {(1, 1)}
    assert [name for name, s in strides.items() if s == (2, 2)] == [f"stage{s}/block1/conv2" for s in (2, 3, 4)]


def expected_macs(config):
    """Multiply-adds layer by layer, from the paper's table."""
    size = math.ceil(config.image / 2)
    macs = size**2 * 49 * 3 * config.width
    size, channels = math.ceil(size / 2), config.width
    for stage, blocks in enumerate(config.blocks):
        out = 4 * config.width * 2**stage
        width = (config.groups * config.group_width or config.width) * 2**stage
        for block in range(blocks):
            macs += size**2 * channels * width
            if block == 0:
                size = math.ceil(size / 2) if stage else size
                macs += size**2 * channels * out
            macs += size**2 * (9 * width**2 // config.groups + width * out)
            channels = out
    return config.batch * (macs + channels * config.classes)


@given(
    st.builds(
        ResNetConfig,
        blocks=st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple),
        width=st.integers(1, 9),
        groups=st.just(1) | st.just(3),
        group_width=st.integers(1, 4),
        image=st.integers(7, 70),
        classes=st.integers(1, 30),
        batch=st.integers(1, 4),
    )
)
def test_accounting(config):
    workload = build(config)
    assert workload.macs == expected_macs(config)
    assert workload.outputs["logits"].shape == (config.batch, config.classes)


def test_values_against_numpy():
    workload, x = build(SMALL), images(SMALL)
    found = workload_numpy.evaluate(workload, {"x": x})["logits"]
    expected = numpy_models.resnet_forward(workload, x, blocks=SMALL.blocks)
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max()


def test_values_against_torch():
    pytest.importorskip("torch", reason="PyTorch is not installed; the numpy reference stands alone")
    import torch_models

    workload, x = build(SMALL), images(SMALL)
    found = workload_numpy.evaluate(workload, {"x": x})["logits"]
    expected = torch_models.resnet50_forward(workload, x).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_logits_tell_images_apart():
    """If all images had the same answer, comparing values would show nothing."""
    logits = workload_numpy.evaluate(build(SMALL), {"x": images(SMALL)})["logits"]
    assert logits.std(axis=0).mean() > 0.05 * logits.std(axis=1).mean()


def test_full_size_logits_suit_half():
    """They stay far inside its range, and images differ by much more than half can lose (a thousandth or two)."""
    pytest.importorskip("torch", reason="PyTorch is not installed, numpy takes too long for the full size")
    import torch_models

    config = ResNetConfig(batch=2)
    logits = torch_models.resnet50_forward(build(config), images(config))
    assert logits.std(dim=0).mean() > 0.05 * logits.std(dim=1).mean()
    assert 0.1 < logits.abs().max() < 100


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"blocks": (3, 0)}, {"width": -1}, {"seed": -1}, {"image": 0}, {"groups": 0}]
)
def test_sizes_are_checked(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        ResNetConfig(**wrong)
