"""The closed set of ops that compute, as frozen records with shape and type rules.

An op holds only its attributes; what it reads and makes stands in the graph.  `infer` maps input types to output
types and raises BadInput naming what does not match.  `macs` counts multiply-adds (taps on padding included); `flops`
is 2 per multiply-add and 1 per element and elementary function otherwise.  Ops that only move data are in
`ops_shape.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, final

import numpy as np

from ipusim.dtype import DType, bool_, int32
from ipusim.errors import BadInput

if TYPE_CHECKING:
    from ipusim.workload.graph import Workload

Shape = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and element type of a value."""

    shape: Shape
    dtype: DType

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


class Op(ABC):
    """What a node does, without its operands."""

    __slots__ = ()

    @abstractmethod
    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """Types of the outputs.  Raises BadInput."""

    def parts(self) -> tuple[Workload, ...]:
        """Workloads that the op holds (bodies of loops)."""
        return ()

    def macs(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Multiply-adds."""
        return 0

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Floating-point operations."""
        return 2 * self.macs(inputs, outputs) or outputs[0].elements


def bad(op: Op, message: str) -> BadInput:
    """The error for operands that do not fit an op."""
    return BadInput(f"{type(op).__name__}: {message}")


def expect(op: Op, inputs: Sequence[TensorType], least: int, most: int | None = None) -> None:
    """Checks the number of operands."""
    high = least if most is None else most
    if not least <= len(inputs) <= high:
        wanted = str(least) if least == high else f"{least} to {high}"
        raise bad(op, f"takes {wanted} inputs, got {len(inputs)}")


def same_dtype(op: Op, inputs: Sequence[TensorType]) -> DType:
    """The common element type."""
    found = {t.dtype for t in inputs}
    if len(found) != 1:
        raise bad(op, f"inputs of different element types: {', '.join(str(t) for t in inputs)}")
    return found.pop()


def floats(op: Op, inputs: Sequence[TensorType]) -> DType:
    """The common floating-point type."""
    dtype = same_dtype(op, inputs)
    if not dtype.is_float:
        raise bad(op, f"needs floating-point inputs, got {dtype}")
    return dtype


def axis_of(op: Op, axis: int, rank: int) -> int:
    """A checked axis, counted from the front."""
    if not -rank <= axis < rank:
        raise bad(op, f"axis {axis} of a tensor with {rank} axes")
    return axis % rank


def kind_of(op: Op, kind: str, known: Sequence[str]) -> None:
    """Checks the name of a function."""
    if kind not in known:
        raise bad(op, f"no kind {kind!r} (known: {', '.join(known)})")


def window_sizes(op: Conv | Pool, x: Shape, kernel: Shape, extra: Shape) -> Shape:
    """Positions of the windows of `kernel` along each spatial axis of x (N, C, *S)."""
    dims = len(x) - 2
    for name, numbers in (("stride", op.stride), ("dilation", op.dilation), ("kernel", kernel)):
        if len(numbers) != dims or min(numbers) < 1:
            raise bad(op, f"{name} {numbers} for x {x} (wants {dims} numbers of at least 1)")
    if len(op.padding) != dims or len(extra) != dims or min(*extra, *(n for pair in op.padding for n in pair)) < 0:
        raise bad(op, f"padding {op.padding}, extra {extra} for x {x} (must have {dims} entries, none negative)")
    sizes = tuple(
        (n + lo + hi + more - (k - 1) * d - 1) // s + 1
        for n, k, s, d, (lo, hi), more in zip(x[2:], kernel, op.stride, op.dilation, op.padding, extra, strict=True)
    )
    if min(sizes) < 1:
        raise bad(op, f"kernel {kernel} is larger than the padded input of x {x}")
    return sizes


@final
@dataclass(frozen=True, slots=True)
class Conv(Op):
    """Convolution, rank 1 or 2: x (N, C, *S), w (O, C / groups, *K), optional bias (O) -> (N, O, *S')."""

    stride: Shape
    dilation: Shape
    padding: tuple[tuple[int, int], ...]
    groups: int = 1

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 2, 3)
        dtype = floats(self, inputs)
        x, w = inputs[0].shape, inputs[1].shape
        if len(x) not in (3, 4) or len(w) != len(x):
            raise bad(self, f"x {x} and weight {w} must both have 3 or 4 axes")
        if x[1] != w[1] * self.groups or w[0] % self.groups or self.groups < 1:
            raise bad(
                self, f"x {x} has {x[1]} channels, weight {w} with {self.groups} groups takes {w[1] * self.groups}"
            )
        if len(inputs) == 3 and inputs[2].shape != (w[0],):
            raise bad(self, f"bias {inputs[2].shape} for {w[0]} output channels")
        sizes = window_sizes(self, x, w[2:], (0,) * (len(x) - 2))
        return (TensorType((x[0], w[0], *sizes), dtype),)

    def macs(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Outputs x taps x channels per group."""
        return outputs[0].elements * prod(inputs[1].shape[1:])


@final
@dataclass(frozen=True, slots=True)
class MatMul(Op):
    """numpy.matmul: a (..., M, K) x b (..., K, N), batches broadcast, vectors promoted."""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 2)
        dtype = floats(self, inputs)
        a, b = (t.shape for t in inputs)
        if not a or not b or a[-1] != b[-2 if len(b) > 1 else 0]:
            raise bad(self, f"shapes {a} and {b} do not multiply")
        lead = broadcast(self, a[:-2], b[:-2])
        rows = a[-2:-1] if len(a) > 1 else ()
        columns = b[-1:] if len(b) > 1 else ()
        return (TensorType((*lead, *rows, *columns), dtype),)

    def macs(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Outputs x K."""
        return outputs[0].elements * inputs[0].shape[-1]


def broadcast(op: Op, *shapes: Shape) -> Shape:
    """The common shape under numpy's rules."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        raise bad(op, f"shapes {' and '.join(map(str, shapes))} do not broadcast") from None


UNARY = [
    "relu", "exp", "log", "tanh", "sigmoid", "sqrt", "rsqrt", "reciprocal", "square", "neg", "abs", "ceil", "floor",
    "round", "sign", "erf", "gelu", "gelu_tanh", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh",
    "acosh", "atanh", "leaky_relu", "elu", "selu", "celu", "hard_sigmoid", "hard_swish", "swish", "softplus",
    "softsign", "mish", "thresholded_relu", "not", "isnan", "isinf",
]  # fmt: skip
BINARY = [
    "add", "sub", "mul", "div", "max", "min", "pow", "mod", "equal", "less", "less_equal", "greater", "greater_equal",
    "not_equal", "and", "or", "xor", "prelu",
]  # fmt: skip
COMPARE = frozenset(["equal", "less", "less_equal", "greater", "greater_equal", "not_equal", "and", "or", "xor"])
REDUCE = ["sum", "mean", "max", "min", "prod", "sum_square", "l1", "l2", "log_sum", "log_sum_exp"]
ARG_REDUCE = ["max", "min"]
POOL = ["max", "avg"]
INTEGER_UNARY = frozenset(["neg", "abs", "sign", "square", "relu"])


@final
@dataclass(frozen=True, slots=True)
class Unary(Op):
    """One function of each element; `alpha` and `beta` are the parameters of the kinds that have any."""

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        kind_of(self, self.kind, UNARY)
        x = inputs[0]
        if self.kind == "not":
            if x.dtype != bool_:
                raise bad(self, f"not needs bool, got {x.dtype}")
        elif not x.dtype.is_float and self.kind not in INTEGER_UNARY:
            raise bad(self, f"{self.kind} needs a floating-point input, got {x.dtype}")
        return (TensorType(x.shape, bool_ if self.kind in ("not", "isnan", "isinf") else x.dtype),)


@final
@dataclass(frozen=True, slots=True)
class Binary(Op):
    """One function of two elements, with numpy's broadcasting."""

    kind: str

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 2)
        kind_of(self, self.kind, BINARY)
        dtype = same_dtype(self, inputs)
        if self.kind in ("and", "or", "xor") and dtype != bool_:
            raise bad(self, f"{self.kind} needs bool inputs, got {dtype}")
        if self.kind in ("sub", "div", "pow", "mod", "prelu") and dtype == bool_:
            raise bad(self, f"{self.kind} needs numbers, got bool")
        shape = broadcast(self, inputs[0].shape, inputs[1].shape)
        return (TensorType(shape, bool_ if self.kind in COMPARE else dtype),)


@final
@dataclass(frozen=True, slots=True)
class Select(Op):
    """where(condition, a, b) with broadcasting."""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 3)
        if inputs[0].dtype != bool_:
            raise bad(self, f"the condition must be bool, got {inputs[0].dtype}")
        dtype = same_dtype(self, inputs[1:])
        return (TensorType(broadcast(self, *(t.shape for t in inputs)), dtype),)


@final
@dataclass(frozen=True, slots=True)
class Clip(Op):
    """Limits each element to `lo`..`hi`; None leaves that side open."""

    lo: float | None
    hi: float | None

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        if inputs[0].dtype == bool_:
            raise bad(self, "needs numbers, got bool")
        return (inputs[0],)


@final
@dataclass(frozen=True, slots=True)
class Reduce(Op):
    """Reduction over `axes` (ascending, from the front)."""

    kind: str
    axes: Shape
    keepdims: bool = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        kind_of(self, self.kind, REDUCE)
        x = inputs[0]
        for axis in self.axes:
            axis_of(self, axis, len(x.shape))
        if min(self.axes, default=0) < 0 or any(a >= b for a, b in pairwise(self.axes)):
            raise bad(self, f"axes {self.axes} of x {x.shape} must ascend, counted from the front")
        if not x.dtype.is_float and self.kind not in ("sum", "max", "min", "prod"):
            raise bad(self, f"{self.kind} needs a floating-point input, got {x.dtype}")
        return (TensorType(reduced_shape(x.shape, self.axes, self.keepdims), x.dtype),)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """One per input element."""
        return inputs[0].elements


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """Shape after a reduction."""
    if keepdims:
        return tuple(1 if a in axes else n for a, n in enumerate(shape))
    return tuple(n for a, n in enumerate(shape) if a not in axes)


@final
@dataclass(frozen=True, slots=True)
class ArgReduce(Op):
    """Index (int32) of the first largest ("max") or smallest ("min") element along an axis."""

    kind: str
    axis: int
    keepdims: bool = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        kind_of(self, self.kind, ARG_REDUCE)
        axis = axis_of(self, self.axis, len(inputs[0].shape))
        return (TensorType(reduced_shape(inputs[0].shape, (axis,), self.keepdims), int32),)


@final
@dataclass(frozen=True, slots=True)
class Pool(Op):
    """Max or average pooling of x (N, C, *S).

    `extra` is padding at the high end that ceil mode added: windows may start there no more than in the input or
    `padding`, and averages never count it.
    """

    kind: str
    kernel: Shape
    stride: Shape
    dilation: Shape
    padding: tuple[tuple[int, int], ...]
    count_include_pad: bool = False
    extra: Shape = (0, 0)

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        kind_of(self, self.kind, POOL)
        floats(self, inputs)
        x = inputs[0].shape
        if len(x) != len(self.kernel) + 2 or len(self.kernel) not in (1, 2):
            raise bad(self, f"kernel {self.kernel} for x {x}")
        sizes = window_sizes(self, x, self.kernel, self.extra)
        return (TensorType((*x[:2], *sizes), inputs[0].dtype),)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """One per output and tap."""
        return outputs[0].elements * prod(self.kernel)
