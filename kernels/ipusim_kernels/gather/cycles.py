"""Cycles of slicing vertices.  Source: poplibs lib/popops/PerformanceEstimation.cpp at 7eac0f26 and a9352552 (Mk1)."""

from __future__ import annotations

from ipusim.units import ceil_div


def dynamic_slice_1d(region: int, subelements: int, half: bool, mk1: bool) -> int:
    """Tile cycles of DynamicSlice1D: `subelements` pieces of `region` elements."""
    vector = 4 if half else 2
    return 25 + 6 * ((35 if mk1 else 39) + (24 + 2 * (ceil_div(region, 6) // vector)) * subelements)


def multi_slice_worker(offsets: int, region: int) -> int:
    """Worker cycles of MultiSlice with all `offsets` in range, `region` halves or floats each (two per two cycles)."""
    return 30 + offsets * (19 + 2 * ceil_div(region, 2))


def multi_slice(offsets: int, region: int, mk1: bool) -> int:
    """MultiSlice: worker cycles on Mk1, tile cycles otherwise."""
    if mk1:
        return 19 + offsets * (19 + 2 * ceil_div(region, 2))
    return 6 * multi_slice_worker(offsets, region)
