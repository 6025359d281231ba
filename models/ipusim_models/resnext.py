"""ResNeXt-101 32x4d for ImageNet: ResNet's bottleneck blocks with a grouped 3x3 convolution.

Definition: Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", arXiv:1611.05431, in the form
of torchvision (blocks 3, 4, 23, 3; the 3x3 convolution strides and has 32 groups of 4, 8, 16, 32 channels, so blocks
are 128 to 1024 channels wide inside and 256 to 2048 outside).  Inference with batch norm folded.  7.97 G multiply-adds
per image; 44.18 M parameters in training, when each of the 68,928 channels has a scale and a shift, 44.11 M here.
Weights are random as in `ipusim_models.resnet`.

The vendor ran an ONNX file exported from PyTorch, with batch norm behind every convolution: the exporter folds it since
July 2020 (pytorch/pytorch pull request 40547), which is later than the published figures, and PopART has no pattern
that does.  `with_norms` is that form.
"""

from __future__ import annotations

from dataclasses import replace

from ipusim.workload.graph import Workload
from ipusim_models.resnet import ResNetConfig, build

RESNEXT101 = ResNetConfig(blocks=(3, 4, 23, 3), groups=32, group_width=4, name="resnext101")


def zoo(batch: int, seed: int) -> Workload:
    """ResNeXt-101 32x4d."""
    return build(replace(RESNEXT101, batch=batch, seed=seed))


def with_norms(batch: int, seed: int) -> Workload:
    """The same with batch norm as an op behind every convolution."""
    return build(replace(RESNEXT101, norms=True, batch=batch, seed=seed, name="resnext101-norms"))
