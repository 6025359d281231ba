"""Ops that normalise: batch, layer and group norm, local response norm, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ipusim.workload.ops import Op, TensorType, axis_of, bad, broadcast, expect, floats


def _channel_vectors(op: Op, x: TensorType, others: Sequence[TensorType]) -> None:
    if len(x.shape) < 2:
        raise bad(op, f"x {x.shape} must have at least 2 axes")
    for t in others:
        if t.shape != x.shape[1:2]:
            raise bad(op, f"parameter {t.shape} for {x.shape[1:2]} channels of x {x.shape}")


@final
@dataclass(frozen=True, slots=True)
class BatchNorm(Op):
    """Inference batch norm over axis 1: x, scale, bias, mean, variance."""

    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 5)
        floats(self, inputs)
        _channel_vectors(self, inputs[0], inputs[1:])
        return (inputs[0],)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """A multiplication and an addition per element."""
        return 2 * outputs[0].elements


@final
@dataclass(frozen=True, slots=True)
class LayerNorm(Op):
    """Normalisation over the axes from `axis` on: x, optional scale, optional bias (of the normalised shape,
    broadcastable).
    """

    axis: int
    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1, 3)
        floats(self, inputs)
        axis = axis_of(self, self.axis, len(inputs[0].shape))
        tail = inputs[0].shape[axis:]
        for t in inputs[1:]:
            if broadcast(self, tail, t.shape) != tail:
                raise bad(self, f"parameter {t.shape} for normalised shape {tail}")
        return (inputs[0],)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Six per element (two statistics, subtract, two multiplications, add)."""
        return 6 * outputs[0].elements


@final
@dataclass(frozen=True, slots=True)
class GroupNorm(Op):
    """Normalisation of x (N, C, *S) over each of `groups` groups of channels and space: x, scale (C), bias (C)."""

    groups: int
    epsilon: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 3)
        floats(self, inputs)
        _channel_vectors(self, inputs[0], inputs[1:])
        if self.groups < 1 or inputs[0].shape[1] % self.groups:
            raise bad(self, f"{inputs[0].shape[1]} channels in {self.groups} groups")
        return (inputs[0],)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """As LayerNorm."""
        return 6 * outputs[0].elements


@final
@dataclass(frozen=True, slots=True)
class LRN(Op):
    """Local response normalisation over channels: x / (bias + alpha / size * sum of squares in a window) ** beta."""

    size: int
    alpha: float
    beta: float
    bias: float

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        floats(self, inputs)
        _channel_vectors(self, inputs[0], ())
        if self.size < 1:
            raise bad(self, f"size {self.size} must be at least 1")
        return (inputs[0],)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Window additions, a square, a scale, a power and a division per element."""
        return (self.size + 4) * outputs[0].elements


@final
@dataclass(frozen=True, slots=True)
class Softmax(Op):
    """Softmax along an axis, or its logarithm."""

    axis: int
    log: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        floats(self, inputs)
        axis_of(self, self.axis, len(inputs[0].shape))
        return (inputs[0],)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Maximum, subtraction, exponential, sum and scaling."""
        return 5 * outputs[0].elements
