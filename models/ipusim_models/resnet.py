"""ResNet v1.5 for ImageNet: bottleneck blocks with the stride in the 3x3 convolution.

Definition: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, in the v1.5 form (the 3x3
convolution of a bottleneck strides, not the first 1x1).  Inference: batch norm is folded, so every convolution has a
bias and no norm is left.  ResNet-50 has 4.089 G multiply-adds per image and 25.53 M parameters (25.56 M in training,
when each of the 26,560 channels has a scale and a shift).  With `groups` the 3x3 convolution is grouped (ResNeXt:
`ipusim_models.resnext`); with `norms` batch norm stays behind every convolution, in place of its bias.

Weights are random: He-scaled, the last convolution of each block scaled down so that sums over blocks keep their size.
Rectified inputs have a positive mean, and filters that see it answer every image alike (trained networks have batch
norm for that), so behind the stem each tap of a filter loses most of its mean over the input channels.  Not all of it:
that would amplify differences between images and rounding errors alike, until half results were off by a tenth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import float32
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Value, Workload

MEAN_TAKEN = np.float32(0.7)


@final
@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """Blocks per stage, width of the first stage, image size, classes, batch and weight seed.

    The 3x3 convolutions have `groups` groups of `group_width` channels in the first stage, twice as many in each
    later one; `group_width` 0: as many as make the inner width equal to the stage's.  `norms`: batch norm stays an op.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    groups: int = 1
    group_width: int = 0
    image: int = 224
    classes: int = 1000
    norms: bool = False
    batch: int = 1
    seed: int = 0
    name: str = "resnet50"

    def __post_init__(self) -> None:
        if min(self.batch, self.image, self.classes, self.width, self.groups, *self.blocks) < 1 or self.seed < 0:
            raise BadInput(f"{self}: every size must be at least 1, the seed at least 0")
        if self.group_width < 0 or (not self.group_width and self.width % self.groups):
            raise BadInput(f"{self}: group_width must be at least 1, or 0 and width a multiple of groups")

    def inner(self, stage: int) -> int:
        """Channels between the 1x1 convolutions of a block; stages count from 0."""
        return (self.group_width * self.groups or self.width) << stage


class _Weights:
    """Names and seeds of weights in the order in which they are made."""

    def __init__(self, builder: WorkloadBuilder, config: ResNetConfig) -> None:
        self.builder, self.seed, self.norms, self.count = builder, config.seed, config.norms, 0

    def normal(
        self, name: str, shape: tuple[int, ...], std: float, *, mean: float = 0.0, centred: bool = False
    ) -> Value:
        """A weight with the next seed; `centred` ones (out, in, ...) lose most of their mean over the inputs."""
        self.count += 1
        made = Constant.normal(shape, float32, self.seed * 100_003 + self.count, std, mean)
        return self.builder.constant(made.map(_centred, f"without {MEAN_TAKEN} of the mean") if centred else made, name)

    def norm(self, x: Value, name: str) -> Value:
        """Batch norm over the channels of x, with statistics near those of a standard normal distribution."""
        channels = x.shape[1:2]
        scale, bias = self.normal(f"{name}/scale", channels, 0.1, mean=1.0), self.normal(f"{name}/bias", channels, 0.05)
        mean, var = self.normal(f"{name}/mean", channels, 0.05), self.normal(f"{name}/var", channels, 0.1, mean=1.0)
        return self.builder.batch_norm(x, scale, bias, mean, var, name=name)


def _centred(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(weight - MEAN_TAKEN * weight.mean(axis=1, keepdims=True))


def _conv(
    w: _Weights,
    x: Value,
    name: str,
    *,
    out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    gain: float = 1.0,
    relu: bool = True,
) -> Value:
    shape = (out, x.shape[1] // groups, kernel, kernel)
    fan_in = shape[1] * kernel * kernel
    weight = w.normal(f"{name}/weight", shape, gain * math.sqrt(2.0 / fan_in), centred=name != "stem")
    bias = None if w.norms else w.normal(f"{name}/bias", (out,), 0.05)
    y = w.builder.conv(x, weight, bias, stride=stride, padding=kernel // 2, groups=groups, name=name)
    y = w.norm(y, f"{name}/norm") if w.norms else y
    return w.builder.relu(y, name=f"{name}/relu") if relu else y


def _block(w: _Weights, x: Value, name: str, *, config: ResNetConfig, stage: int, stride: int) -> Value:
    inner, out = config.inner(stage), 4 * config.width << stage
    y = _conv(w, x, f"{name}/conv1", out=inner, kernel=1)
    y = _conv(w, y, f"{name}/conv2", out=inner, kernel=3, stride=stride, groups=config.groups)
    y = _conv(w, y, f"{name}/conv3", out=out, kernel=1, gain=0.35, relu=False)
    if stride != 1 or x.shape[1] != out:
        x = _conv(w, x, f"{name}/shortcut", out=out, kernel=1, stride=stride, gain=0.7, relu=False)
    return w.builder.relu(w.builder.add(y, x, name=f"{name}/add"), name=f"{name}/relu")


def build(config: ResNetConfig) -> Workload:
    """Input "x" (batch, 3, image, image), output "logits" (batch, classes)."""
    b = WorkloadBuilder(config.name, batch=config.batch)
    w = _Weights(b, config)
    x = b.input("x", (config.batch, 3, config.image, config.image), float32)
    y = _conv(w, x, "stem", out=config.width, kernel=7, stride=2)
    y = b.max_pool(y, 3, stride=2, padding=1, name="stem/pool")
    for stage, blocks in enumerate(config.blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = _block(w, y, f"stage{stage + 1}/block{block + 1}", config=config, stage=stage, stride=stride)
    y = b.reduce("mean", y, (2, 3), keepdims=False, name="mean")
    weight = w.normal("fc/weight", (config.classes, y.shape[1]), math.sqrt(1.0 / y.shape[1]), centred=True)
    bias = w.normal("fc/bias", (config.classes,), 0.05)
    return b.build({"logits": b.gemm(y, weight, bias, trans_b=True, name="fc")})


def zoo(batch: int, seed: int) -> Workload:
    """ResNet-50."""
    return build(ResNetConfig(batch=batch, seed=seed))
