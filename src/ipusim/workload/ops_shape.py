"""Ops that move, pick or retype elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import final

from ipusim.dtype import DType
from ipusim.workload.ops import Op, Shape, TensorType, axis_of, bad, broadcast, expect, same_dtype


class Move(Op):
    """An op without arithmetic."""

    __slots__ = ()

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """None."""
        return 0


@final
@dataclass(frozen=True, slots=True)
class Gather(Move):
    """Slices of data along an axis, picked by integer indices (negative ones count from the end)."""

    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 2)
        data, indices = inputs
        axis = axis_of(self, self.axis, len(data.shape))
        if indices.dtype.kind not in ("int", "uint"):
            raise bad(self, f"indices must be integers, got {indices.dtype}")
        return (TensorType((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]), data.dtype),)


@final
@dataclass(frozen=True, slots=True)
class Cast(Move):
    """Change of element type."""

    dtype: DType

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        return (TensorType(inputs[0].shape, self.dtype),)


@final
@dataclass(frozen=True, slots=True)
class Reshape(Move):
    """The same elements in row-major order under another shape."""

    shape: Shape

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        if min(self.shape, default=0) < 0:
            raise bad(self, f"{inputs[0].shape} to {self.shape}: sizes must not be negative (a builder takes one -1)")
        if prod(self.shape) != inputs[0].elements:
            raise bad(self, f"{inputs[0].shape} has {inputs[0].elements} elements, {self.shape} has {prod(self.shape)}")
        return (TensorType(self.shape, inputs[0].dtype),)


@final
@dataclass(frozen=True, slots=True)
class Transpose(Move):
    """Axes reordered as by numpy.transpose."""

    perm: Shape

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        x = inputs[0]
        if sorted(self.perm) != list(range(len(x.shape))):
            raise bad(self, f"{self.perm} is not an order of the axes of {x.shape}")
        return (TensorType(tuple(x.shape[a] for a in self.perm), x.dtype),)


@final
@dataclass(frozen=True, slots=True)
class Concat(Move):
    """Inputs joined along an axis."""

    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        if not inputs:
            raise bad(self, "needs at least one input")
        dtype, first = same_dtype(self, inputs), inputs[0].shape
        axis = axis_of(self, self.axis, len(first))
        for t in inputs[1:]:
            if len(t.shape) != len(first) or t.shape[:axis] + t.shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
                raise bad(self, f"shapes {first} and {t.shape} do not join along axis {axis}")
        return (TensorType((*first[:axis], sum(t.shape[axis] for t in inputs), *first[axis + 1 :]), dtype),)


@final
@dataclass(frozen=True, slots=True)
class Slice(Move):
    """x[start:stop:step] on every axis; steps may be negative, then stop may be -1 for "before the first"."""

    starts: Shape
    stops: Shape
    steps: Shape

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        x = inputs[0]
        if not len(self.starts) == len(self.stops) == len(self.steps) == len(x.shape) or 0 in self.steps:
            raise bad(self, f"starts {self.starts}, stops {self.stops}, steps {self.steps} for shape {x.shape}")
        for start, size, step, n in zip(self.starts, self.sizes(), self.steps, x.shape, strict=True):
            if size and not (0 <= start < n and 0 <= start + (size - 1) * step < n):
                raise bad(self, f"starts {self.starts}, stops {self.stops} lie outside shape {x.shape}")
        return (TensorType(self.sizes(), x.dtype),)

    def sizes(self) -> Shape:
        """Elements taken along each axis."""
        return tuple(len(range(a, b, c)) for a, b, c in zip(self.starts, self.stops, self.steps, strict=True))


@final
@dataclass(frozen=True, slots=True)
class Pad(Move):
    """Elements added before and after each axis: a constant, the edge, or a reflection."""

    padding: tuple[tuple[int, int], ...]
    value: float = 0.0
    mode: str = "constant"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        x = inputs[0]
        if len(self.padding) != len(x.shape) or any(lo < 0 or hi < 0 for lo, hi in self.padding):
            raise bad(self, f"padding {self.padding} for shape {x.shape} (must not be negative)")
        if self.mode not in ("constant", "edge", "reflect"):
            raise bad(self, f"no mode {self.mode!r}")
        if self.mode == "reflect" and any(max(pair) >= n for pair, n in zip(self.padding, x.shape, strict=True)):
            raise bad(self, f"reflect padding {self.padding} must be smaller than shape {x.shape}")
        return (TensorType(tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, self.padding, strict=True)), x.dtype),)


@final
@dataclass(frozen=True, slots=True)
class Split(Move):
    """Pieces of given sizes along an axis, one output each."""

    axis: int
    sizes: Shape

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        x = inputs[0]
        axis = axis_of(self, self.axis, len(x.shape))
        if sum(self.sizes) != x.shape[axis] or min(self.sizes, default=0) < 0:
            raise bad(self, f"sizes {self.sizes} of axis {axis} of {x.shape}")
        return tuple(TensorType((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype) for n in self.sizes)


@final
@dataclass(frozen=True, slots=True)
class Expand(Move):
    """Broadcast to a shape."""

    shape: Shape

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        if broadcast(self, inputs[0].shape, self.shape) != self.shape:
            raise bad(self, f"{inputs[0].shape} does not broadcast to {self.shape}")
        return (TensorType(self.shape, inputs[0].dtype),)


def _check_index(op: Op, index: TensorType) -> None:
    if index.dtype.name != "int32" or index.elements != 1:
        raise bad(op, f"the index must be one int32, not {index}")


@final
@dataclass(frozen=True, slots=True)
class DynamicSlice(Move):
    """`size` elements along an axis from an index (one int32) on, which is moved into range if it is outside."""

    axis: int
    size: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 2)
        x, index = inputs
        axis = axis_of(self, self.axis, len(x.shape))
        _check_index(self, index)
        if not 1 <= self.size <= x.shape[axis]:
            raise bad(self, f"size {self.size} of axis {axis} of {x.shape}")
        return (TensorType((*x.shape[:axis], self.size, *x.shape[axis + 1 :]), x.dtype),)


@final
@dataclass(frozen=True, slots=True)
class DynamicUpdate(Move):
    """x with `value` in place of as many elements along an axis from an index on, which is moved into range."""

    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 3)
        x, value, index = inputs
        axis = axis_of(self, self.axis, len(x.shape))
        same_dtype(self, inputs[:2])
        _check_index(self, index)
        cut = (*x.shape[:axis], *x.shape[axis + 1 :])
        if len(value.shape) != len(x.shape) or (*value.shape[:axis], *value.shape[axis + 1 :]) != cut:
            raise bad(self, f"value {value.shape} for axis {axis} of x {x.shape}")
        if not 1 <= value.shape[axis] <= x.shape[axis]:
            raise bad(self, f"value {value.shape} is longer than x {x.shape} along axis {axis}")
        return (x,)
