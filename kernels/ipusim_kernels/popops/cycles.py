"""Cycles of vertices that only tile programs have, by poplibs' formulas; others stand with the lowered ops.

Source: poplibs lib/popops/PerformanceEstimation.cpp at 7eac0f26 and a9352552 (Mk1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from ipusim.hw.cost import LAUNCH_CYCLES
from ipusim.units import ceil_div
from ipusim_kernels.cast.cycles import cast_worker
from ipusim_kernels.elementwise.cycles import fill
from ipusim_kernels.gather.cycles import multi_slice_worker
from ipusim_kernels.popops.vertex_cycles import scaled_add
from ipusim_kernels.reduce.cycles import single_input_reduce, strided_reduce


def plain(function: Any) -> Callable[..., int]:
    """The Python form of a compiled formula: a few calls are not worth compiling for."""
    found: Callable[..., int] = getattr(function, "py_func", function)
    return found


_cast_worker = plain(cast_worker)
_single_input = plain(single_input_reduce)
_strided = plain(strided_reduce)


@final
@dataclass(frozen=True, slots=True)
class CastTiming:
    """Cast1D and Cast2D."""

    from_half: bool
    to_half: bool
    multi: bool

    def __call__(self, *, out: Any, **_: Any) -> int:
        """Cycles from field sizes."""
        if self.multi:
            return 12 + 6 * (_cast_worker(ceil_div(out, 6), self.from_half, self.to_half) + 18)
        return 5 + sum(11 + _cast_worker(n, self.from_half, self.to_half) for n in out)


@final
@dataclass(frozen=True, slots=True)
class ScaledAddTiming:
    """ScaledAdd, whole or by rows (a row costs a worker what a sixth of the MultiVertex does)."""

    to_half: bool
    from_half: bool
    mk1: bool
    multi: bool

    def __call__(self, *, a1: Any, **_: Any) -> int:
        """Cycles from field sizes."""
        if self.multi:
            return scaled_add(a1, self.to_half, self.from_half, self.mk1)
        return sum(scaled_add(6 * n, self.to_half, self.from_half, self.mk1) // 6 for n in a1)


@final
@dataclass(frozen=True, slots=True)
class FillTiming:
    """Fill and Fill2d: worker cycles, for a MultiVertex six times those of a worker's share."""

    element_bytes: int
    multi: bool

    def __call__(self, *, out: Any, **_: Any) -> int:
        """Cycles from field sizes."""
        if self.multi:
            return 6 * fill(ceil_div(out, 6), self.element_bytes) + LAUNCH_CYCLES
        return sum(fill(n, self.element_bytes) for n in out)


@final
@dataclass(frozen=True, slots=True)
class RowsTiming:
    """Reduction of rows to one element each: one row by the single-input form, several by the continuous one."""

    half_in: bool
    half_out: bool
    adds: bool

    def __call__(self, *, x: tuple[int, ...], **_: Any) -> int:
        """Cycles from field sizes."""
        if len(x) == 1 and self.adds:
            return _single_input(x[0], self.half_in, self.half_out)
        width = 4 if self.half_in else 2
        return 17 + sum(12 + n // width + 2 * (n % 2) for n in x)


@final
@dataclass(frozen=True, slots=True)
class ColumnsTiming:
    """Reduction of rows, element by element, to one row."""

    half_in: bool
    half_out: bool
    adds: bool

    def __call__(self, *, x: tuple[int, ...], out: int, **_: Any) -> int:
        """Cycles from field sizes."""
        return _strided(out, len(x), out, 1, self.half_in, self.half_out, self.adds, False)


@final
@dataclass(frozen=True, slots=True)
class MultiSliceTiming:
    """MultiSlice with every index in range, its lookups dealt to six workers; 32-bit elements count as two halves."""

    half: bool

    def __call__(self, *, at: int, out: tuple[int, ...], share: int, **_: Any) -> int:
        """Cycles from field sizes."""
        region = max(out, default=0)
        return 6 * multi_slice_worker(min(at, share), region)
