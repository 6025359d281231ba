"""Vertices of serial splits: slices of an operand, updates of the result, accumulation over steps.

A step of a serial loop copies its slice of the weights (and of the inputs, where in channels are split) into a
variable of its own, on the tiles where it lies, and copies its result into the whole, or adds it.  Source: poplibs
lib/popops/PerformanceEstimation.cpp (DynamicSlice1D, BinaryOp1DInPlace) and lib/poplin/ConvModel.cpp at 7eac0f26.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.hw.cost import COPY_WORD_BYTES, copy_cycles
from ipusim.jit import jit
from ipusim.program.codelet import Array, Codelet

WORKERS = 6


@jit
def slice_cycles(elements: int, half: bool, mk1: bool) -> int:
    """Tile cycles of DynamicSlice1D or DynamicUpdateSlice1D for one piece of `elements`; 0 for none."""
    if elements == 0:
        return 0
    vector = 4 if half else 2
    return 25 + 6 * ((35 if mk1 else 39) + 24 + 2 * ((elements + 5) // 6 // vector))


@jit
def add_in_place_cycles(elements: int, half: bool) -> int:
    """Tile cycles of an addition in place, BinaryOp1DInPlace; 0 for none."""
    if elements == 0:
        return 0
    vector = 4 if half else 2
    return 6 * (58 + 3 * (((elements + 5) // 6 + vector - 1) // vector)) + 11


@jit
def zero_cycles(nbytes: int) -> int:
    """Tile cycles of writing zeros around operands, a copy of one run on the tile; 0 for none.

    In poplibs copies of a constant come before the vertex (lib/poplin/ConvVertices.cpp, `Padder`); its planner prices
    them at the exchange rate.
    """
    return copy_cycles(1, (nbytes + COPY_WORD_BYTES - 1) // COPY_WORD_BYTES, WORKERS)


@final
@dataclass(frozen=True, slots=True)
class MoveAttrs:
    """Element size and generation of the chip."""

    half: bool
    mk1: bool


def no_flops(attrs: object, *sizes: int) -> int:
    """Moves are no arithmetic."""
    return 0


def move_batched(attrs: MoveAttrs, arrays: Sequence[Array]) -> None:
    """Source and target of one shape."""
    arrays[1][...] = arrays[0]


def move_compute(attrs: MoveAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for source, target in zip(*boxes, strict=True):
        target[...] = source


def add_batched(attrs: MoveAttrs, arrays: Sequence[Array]) -> None:
    """Adds the first array to the second, rounded once to its type."""
    arrays[1][...] = (arrays[1].astype(np.float32) + arrays[0].astype(np.float32)).astype(arrays[1].dtype)


def add_compute(attrs: MoveAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for source, target in zip(*boxes, strict=True):
        add_batched(attrs, [source, target])


def _slice(attrs: MoveAttrs, elements: int) -> int:
    return slice_cycles(elements, attrs.half, attrs.mk1)


def _add(attrs: MoveAttrs, elements: int) -> int:
    return add_in_place_cycles(elements, attrs.half)


def _add_flops(attrs: MoveAttrs, elements: int) -> int:
    return elements


SLICE = Codelet(
    "popops::DynamicSlice1D",
    ("elements",),
    _slice,
    move_compute,
    move_batched,
    no_flops,
    "multi",
    192,
    ("in",),
)
UPDATE = Codelet(
    "popops::DynamicUpdateSlice1D",
    ("elements",),
    _slice,
    move_compute,
    move_batched,
    no_flops,
    "multi",
    192,
    ("in",),
)
ADD = Codelet("popops::BinaryOp1DInPlace", ("elements",), _add, add_compute, add_batched, _add_flops, "multi", 320)


@final
@dataclass(frozen=True, slots=True)
class ZeroAttrs:
    """Bytes of an element."""

    element_bytes: int


def _zero(attrs: ZeroAttrs, elements: int) -> int:
    return zero_cycles(elements * attrs.element_bytes)


def zero_batched(attrs: ZeroAttrs, arrays: Sequence[Array]) -> None:
    """Clears the target."""
    arrays[-1][...] = 0


def zero_compute(attrs: ZeroAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for target in boxes[-1]:
        target[...] = 0


ZERO = Codelet("poplar::Zero", ("elements",), _zero, zero_compute, zero_batched, no_flops, "multi", 128)
