"""LSTM benchmarks: two stacked layers for inference, and DeepBench's single layers, forward.

`lstm-2x256`: 16 features, 200 steps, two layers of 256 units, the last state into a dense layer of one output
(github graphcore/examples@d180551, code_examples/tensorflow/kernel_benchmarks, lstm_multi.py of July 2020): 321.1 MFLOP
a sequence.  `lstm-deepbench`: one layer with as many features as units, all its outputs (github
baidu-research/DeepBench; the vendor's script multiplies the input as well, which DeepBench's own kernels skip).
Weights are uniform within 1 / sqrt(units), as PyTorch draws them; gates stand in ONNX's order: input, output, forget,
cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import final

from ipusim.dtype import float32
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Value, Workload


@final
@dataclass(frozen=True, slots=True)
class LstmConfig:
    """Stacked layers of `hidden` units over `steps` steps of `features`; `classes` outputs of a dense layer on the last
    state, or 0 for the states of all steps; batch and weight seed.
    """

    layers: int = 2
    hidden: int = 256
    features: int = 16
    steps: int = 200
    classes: int = 1
    batch: int = 1
    seed: int = 0
    name: str = "lstm-2x256"

    def __post_init__(self) -> None:
        sizes = (self.layers, self.hidden, self.features, self.steps, self.batch)
        if min(sizes) < 1 or min(self.classes, self.seed) < 0:
            raise BadInput(f"{self}: every size must be at least 1, classes and seed at least 0")


class _Weights:
    """Weights in the order in which they are made, each with the next seed."""

    def __init__(self, builder: WorkloadBuilder, config: LstmConfig) -> None:
        self.builder, self.bound = builder, 1 / sqrt(config.hidden)
        self.seed = config.seed * 100_003

    def __call__(self, name: str, *shape: int) -> Value:
        self.seed += 1
        return self.builder.constant(Constant.uniform(shape, float32, self.seed, -self.bound, self.bound), name)


def build(config: LstmConfig) -> Workload:
    """Input "x" (batch, steps, features); output "y" (batch, classes), or (batch, steps, hidden) without classes."""
    b = WorkloadBuilder(config.name, batch=config.batch)
    weight, h = _Weights(b, config), config.hidden
    x = b.input("x", (config.batch, config.steps, config.features), float32)
    y = b.transpose(x, (1, 0, 2), name="steps_first")
    last = y
    for layer in range(config.layers):
        name = f"layer{layer + 1}"
        w = weight(f"{name}/w", 1, 4 * h, y.shape[2])
        r, bias = weight(f"{name}/r", 1, 4 * h, h), weight(f"{name}/bias", 1, 8 * h)
        made, last, _ = b.lstm(y, w, r, bias, name=name)
        y = b.reshape(made, (config.steps, config.batch, h), name=f"{name}/states")
    if not config.classes:
        return b.build({"y": b.transpose(y, (1, 0, 2), name="batch_first")})
    state = b.reshape(last, (config.batch, h), name="last")
    dense = weight("dense/weight", config.classes, h), weight("dense/bias", config.classes)
    return b.build({"y": b.gemm(state, *dense, trans_b=True, name="dense")})


def zoo(batch: int, seed: int) -> Workload:
    """Two layers of 256 units."""
    return build(LstmConfig(batch=batch, seed=seed))


def deepbench(batch: int, seed: int) -> Workload:
    """A DeepBench shape: 512 units, 25 steps."""
    sizes = {"layers": 1, "hidden": 512, "features": 512, "steps": 25, "classes": 0}
    return build(LstmConfig(**sizes, batch=batch, seed=seed, name="lstm-deepbench"))
