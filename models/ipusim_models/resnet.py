"""ResNet v1.5 for ImageNet: bottleneck blocks with the stride in the 3x3 convolution.

Definition: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, with the v1.5 change (the 3x3
convolution of a bottleneck strides, not the first 1x1).  Inference: batch norm is folded, so every convolution has a
bias and no norm is left.  ResNet-50 has 4.089 G multiply-adds per image and 25.53 M parameters (25.56 M in training,
when each of the 26,560 channels has a scale and a shift).

Weights are random.  He scaling keeps the size of activations through the layers, and each tap of a filter sums to zero
over the input channels: rectified inputs have a positive mean, and a filter that sees it answers every image alike.
Trained networks have batch norm for that.  So logits differ between images as much as between classes, and all
activations stay below 100, far inside the range of half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import float32
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Value, Workload

BIAS_DEVIATION = 0.05
#: Of the classifier: logits have a deviation of about one, so that classes stand apart after rounding to half.
CLASSIFIER_GAIN = 2.0


@final
@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """Blocks per stage, width of the first stage, image size, classes, batch and weight seed."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    image: int = 224
    classes: int = 1000
    batch: int = 1
    seed: int = 0
    name: str = "resnet50"

    def __post_init__(self) -> None:
        if min(self.batch, self.image, self.classes, self.width, *self.blocks) < 1 or self.seed < 0:
            raise BadInput(f"{self}: every size must be at least 1, the seed at least 0")


class _Layers:
    """The builder with the weights of a ResNet: names and seeds in the order in which they are made."""

    def __init__(self, config: ResNetConfig) -> None:
        self.builder, self.seed, self.count = WorkloadBuilder(config.name, batch=config.batch), config.seed, 0

    def normal(self, shape: tuple[int, ...], std: float) -> Constant:
        """Normally distributed values from the next seed."""
        self.count += 1
        return Constant.normal(shape, float32, self.seed * 100_003 + self.count, std)

    def weight(self, name: str, shape: tuple[int, ...], std: float) -> Value:
        """A weight (out, in, *kernel) that sums to zero over the input channels."""
        return self.builder.constant(self.normal(shape, std).map(_centred, "centred"), name)

    def bias(self, name: str, size: int) -> Value:
        """A bias (out,)."""
        return self.builder.constant(self.normal((size,), BIAS_DEVIATION), name)

    def conv(self, x: Value, name: str, *, out: int, kernel: int, stride: int = 1) -> Value:
        """A convolution with bias of x (N, C, H, W), padded so that stride 1 keeps the size."""
        shape = (out, x.shape[1], kernel, kernel)
        weight = self.weight(f"{name}/weight", shape, math.sqrt(2.0 / math.prod(shape[1:])))
        bias = self.bias(f"{name}/bias", out)
        return self.builder.conv(x, weight, bias, stride=stride, padding=kernel // 2, name=name)

    def relu(self, x: Value, name: str) -> Value:
        """max(x, 0), named after what it rectifies."""
        return self.builder.relu(x, name=f"{name}/relu")


def _centred(weight: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(weight - weight.mean(axis=1, keepdims=True))


def _block(w: _Layers, x: Value, name: str, *, width: int, stride: int) -> Value:
    y = w.relu(w.conv(x, f"{name}/conv1", out=width, kernel=1), f"{name}/conv1")
    y = w.relu(w.conv(y, f"{name}/conv2", out=width, kernel=3, stride=stride), f"{name}/conv2")
    y = w.conv(y, f"{name}/conv3", out=4 * width, kernel=1)
    if stride != 1 or x.shape[1] != 4 * width:
        x = w.conv(x, f"{name}/shortcut", out=4 * width, kernel=1, stride=stride)
    return w.relu(w.builder.add(y, x, name=f"{name}/add"), name)


def build(config: ResNetConfig) -> Workload:
    """Input "x" (batch, 3, image, image) float32, output "logits" (batch, classes)."""
    w = _Layers(config)
    b = w.builder
    x = b.input("x", (config.batch, 3, config.image, config.image), float32)
    y = w.relu(w.conv(x, "stem", out=config.width, kernel=7, stride=2), "stem")
    y = b.max_pool(y, 3, stride=2, padding=1, name="stem/pool")
    for stage, blocks in enumerate(config.blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = _block(w, y, f"stage{stage + 1}/block{block + 1}", width=config.width << stage, stride=stride)
    y = b.reduce("mean", y, (2, 3), keepdims=False, name="mean")
    weight = w.weight("fc/weight", (config.classes, y.shape[1]), CLASSIFIER_GAIN / math.sqrt(y.shape[1]))
    return b.build({"logits": b.gemm(y, weight, w.bias("fc/bias", config.classes), trans_b=True, name="fc")})


def zoo(batch: int, seed: int) -> Workload:
    """ResNet-50 for a batch, in float32."""
    return build(ResNetConfig(batch=batch, seed=seed))
