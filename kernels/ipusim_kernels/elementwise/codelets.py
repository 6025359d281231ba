"""Vertices of elementwise ops: one 1D MultiVertex per tile over what the tile owns.

A function that the library has no vertex for is one generated vertex that evaluates the whole expression (popops
map): its loop takes the sum of the loops of its parts.  Which vertex serves a broadcast operand follows from how the
operand repeats in the tile's storage.

Cycles are those of the vendor's formulas and, out of place, the start that a counter saw beyond them
(`MULTI_STUB_CYCLES`); the formulas in place start later by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ipusim.dtype import DType
from ipusim.hw.cost import MULTI_STUB_CYCLES
from ipusim.program.codelet import Array, Codelet
from ipusim_kernels.elementwise import cycles, numeric
from ipusim_kernels.elementwise.nonlinear_cycles import NONLINEARITY, nonlinearity_1d

#: Expressions in terms of table functions, for kinds without a vertex of their own.
EXPRESSIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "acos": (("asin",), ("sub",)),
    "atan": (("asin",), ("div", "mul")),
    "sinh": (("exp", "reciprocal"), ("sub", "mul")),
    "cosh": (("exp", "reciprocal"), ("add", "mul")),
    "asinh": (("square", "sqrt", "log"), ("add", "add")),
    "acosh": (("square", "sqrt", "log"), ("sub", "add")),
    "atanh": (("log",), ("add", "sub", "div", "mul")),
    "leaky_relu": ((), ("mul", "less", "max")),
    "elu": (("exp",), ("sub", "mul", "less", "max")),
    "selu": (("exp",), ("sub", "mul", "mul", "less", "max")),
    "celu": (("exp",), ("div", "sub", "mul", "min", "max")),
    "hard_sigmoid": ((), ("mul", "add", "min", "max")),
    "hard_swish": ((), ("mul", "add", "min", "max", "mul")),
    "softplus": (("abs", "exp", "log"), ("add", "max", "add")),
    "softsign": (("abs",), ("add", "div")),
    "mish": (("exp", "log", "tanh"), ("add", "mul")),
    "thresholded_relu": ((), ("greater", "mul")),
}
PRELU = ((), ("mul", "less", "max"))


@final
@dataclass(frozen=True, slots=True)
class UnaryAttrs:
    """A function of one element: kind, parameters, element type, whether it overwrites its operand, chip generation."""

    kind: str
    dtype: DType
    in_place: bool
    mk1: bool
    alpha: float = 0.0
    beta: float = 0.0


def expression_loop(parts: tuple[tuple[str, ...], tuple[str, ...]], half: bool, n: int) -> int:
    """Worker cycles of a generated vertex over n elements."""
    index = 1 if half else 0
    single = sum(cycles.loop(cycles.UNARY[u][index], n) for u in parts[0])
    return single + sum(cycles.loop(cycles.BINARY[b][index], n) for b in parts[1])


def _start(in_place: bool) -> int:
    return 0 if in_place else MULTI_STUB_CYCLES


def unary_cycles(attrs: UnaryAttrs, elements: int) -> int:
    """Tile cycles of one vertex."""
    return _start(attrs.in_place) + _unary(attrs, elements)


def _unary(attrs: UnaryAttrs, elements: int) -> int:
    half = attrs.dtype.bytes == 2
    kind = "gelu" if attrs.kind == "gelu_tanh" else attrs.kind
    if not attrs.dtype.is_float:
        return cycles.binary_1d(cycles.INTEGER_LOOP, elements, False, attrs.in_place)
    if kind in NONLINEARITY:
        return nonlinearity_1d(kind, half, elements)
    if kind in EXPRESSIONS:
        return 6 * (17 + expression_loop(EXPRESSIONS[kind], half, -(-elements // 6))) + 20
    entry = cycles.unary_entry(kind, half, attrs.in_place, attrs.mk1)
    return cycles.unary_1d(entry, elements, attrs.in_place, kind == "exp" and not attrs.in_place)


def one_flop(attrs: object, elements: int) -> int:
    """One operation per element."""
    return elements


def unary_batched(attrs: UnaryAttrs, arrays: Sequence[Array]) -> None:
    """x and out of the same shape (one array if in place)."""
    numeric.unary(attrs.kind, arrays[0], arrays[-1], attrs.alpha, attrs.beta)


def unary_compute(attrs: UnaryAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for x, out in zip(boxes[0], boxes[-1], strict=True):
        numeric.unary(attrs.kind, x, out, attrs.alpha, attrs.beta)


UNARY_OP = Codelet(
    "popops::UnaryOp1D", ("elements",), unary_cycles, unary_compute, unary_batched, one_flop, "multi", 256
)
UNARY_OP_IN_PLACE = Codelet(
    "popops::UnaryOp1DInPlace", ("elements",), unary_cycles, unary_compute, unary_batched, one_flop, "multi", 256
)


@final
@dataclass(frozen=True, slots=True)
class BinaryAttrs:
    """A function of two elements: kind, element type of the operands, whether it overwrites the first, chip
    generation.
    """

    kind: str
    dtype: DType
    in_place: bool
    mk1: bool


def binary_cycles(attrs: BinaryAttrs, elements: int) -> int:
    """Tile cycles with both operands whole."""
    return _start(attrs.in_place) + _binary(attrs, elements)


def _binary(attrs: BinaryAttrs, elements: int) -> int:
    half = attrs.dtype.bytes == 2
    if not attrs.dtype.is_float:
        return cycles.binary_1d(cycles.INTEGER_LOOP, elements, False, attrs.in_place)
    if attrs.kind == "prelu":
        return 6 * (26 + expression_loop(PRELU, half, -(-elements // 6))) + 11
    entry = cycles.binary_entry(attrs.kind, half, attrs.in_place, attrs.mk1)
    return cycles.binary_1d(entry, elements, not half, attrs.in_place)


def scalar_cycles(attrs: BinaryAttrs, elements: int) -> int:
    """Tile cycles with one operand a single value."""
    if not attrs.dtype.is_float or attrs.kind not in cycles.BROADCAST:
        return binary_cycles(attrs, elements)
    entry = cycles.BROADCAST[attrs.kind][attrs.dtype.bytes == 2]
    return _start(attrs.in_place) + cycles.broadcast_scalar_1d(entry, elements)


def inner_cycles(attrs: BinaryAttrs, length: int, repeats: int, slices: int) -> int:
    """Tile cycles with one operand a vector of `length` repeated along the rows of the other, for `slices` vectors."""
    worked = cycles.vector_inner_1d(attrs.kind, attrs.dtype.bytes == 2, length, repeats, slices, attrs.in_place)
    return _start(attrs.in_place) + worked


def outer_cycles(attrs: BinaryAttrs, rows: int, columns: int) -> int:
    """Tile cycles with one value per row; the cheaper of dealing rows or columns to workers."""
    entry = cycles.BROADCAST[attrs.kind][attrs.dtype.bytes == 2]
    by_row, by_column = cycles.vector_outer_by_row, cycles.vector_outer_by_column
    return _start(attrs.in_place) + min(by_row(entry, rows, columns), by_column(entry, rows, columns))


def product_flop(attrs: object, *sizes: int) -> int:
    """One operation per element, whose number is the product of the sizes."""
    total = 1
    for n in sizes:
        total *= n
    return total


def binary_batched(attrs: BinaryAttrs, arrays: Sequence[Array]) -> None:
    """a, b and out of one shape (broadcast views allowed); in place: a is the output."""
    a, b = arrays[:2]
    numeric.binary(attrs.kind, a, b, a if attrs.in_place else arrays[2])


def binary_compute(attrs: BinaryAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for a, b, out in zip(boxes[0], boxes[1], boxes[0 if attrs.in_place else 2], strict=True):
        numeric.binary(attrs.kind, a, b, out)


def _binary_codelet(name: str, sizes: tuple[str, ...], count: object, code_bytes: int) -> Codelet:
    return Codelet(name, sizes, count, binary_compute, binary_batched, product_flop, "multi", code_bytes)  # type: ignore[arg-type]


BINARY_OP = _binary_codelet("popops::BinaryOp1D", ("elements",), binary_cycles, 320)
BINARY_OP_IN_PLACE = _binary_codelet("popops::BinaryOp1DInPlace", ("elements",), binary_cycles, 320)
SCALAR_OP = _binary_codelet("popops::BroadcastScalar1D", ("elements",), scalar_cycles, 256)
INNER_OP = _binary_codelet("popops::BroadcastVectorInner1D", ("length", "repeats", "slices"), inner_cycles, 512)
OUTER_OP = _binary_codelet("popops::BroadcastVectorOuter1D", ("rows", "columns"), outer_cycles, 384)


@final
@dataclass(frozen=True, slots=True)
class PlainAttrs:
    """Element type, and the limits of a clip."""

    dtype: DType
    lo: float | None = None
    hi: float | None = None


def select_cycles(attrs: PlainAttrs, elements: int) -> int:
    """Tile cycles of Select."""
    return MULTI_STUB_CYCLES + cycles.select_1d(elements)


def select_batched(attrs: PlainAttrs, arrays: Sequence[Array]) -> None:
    """condition, a, b, out of one shape."""
    numeric.select(*arrays)


def select_compute(attrs: PlainAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for parts in zip(*boxes, strict=True):
        numeric.select(*parts)


def clip_cycles(attrs: PlainAttrs, elements: int) -> int:
    """Tile cycles of Clamp."""
    return MULTI_STUB_CYCLES + cycles.clamp_1d(elements, attrs.dtype.bytes == 2)


def clip_batched(attrs: PlainAttrs, arrays: Sequence[Array]) -> None:
    """x and out."""
    numeric.clip(arrays[0], attrs.lo, attrs.hi, arrays[-1])


def clip_compute(attrs: PlainAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for x, out in zip(*boxes, strict=True):
        numeric.clip(x, attrs.lo, attrs.hi, out)


SELECT = Codelet("popops::Select", ("elements",), select_cycles, select_compute, select_batched, one_flop, "multi", 320)
CLAMP = Codelet("popops::Clamp", ("elements",), clip_cycles, clip_compute, clip_batched, one_flop, "multi", 320)
