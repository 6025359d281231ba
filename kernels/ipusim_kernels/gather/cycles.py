"""Cycles of slicing vertices.  Source: poplibs lib/popops/PerformanceEstimation.cpp at 7eac0f26 and a9352552 (Mk1)."""

from __future__ import annotations

from ipusim.units import ceil_div


def dynamic_slice_1d(region: int, subelements: int, half: bool, mk1: bool) -> int:
    """Tile cycles of DynamicSlice1D: `subelements` pieces of `region` elements of 16 or 32 bits."""
    vector = 4 if half else 2
    return 25 + 6 * ((35 if mk1 else 39) + (24 + 2 * (ceil_div(region, 6) // vector)) * subelements)


def dynamic_slice_1d_bytes(region: int, subelements: int) -> int:
    """Tile cycles of DynamicSlice1D for elements of 8 bits."""
    return 25 + 6 * (72 + (70 + 2 * (ceil_div(region, 6) // 4)) * subelements)


def multi_slice_worker(offsets: int, region: int) -> int:
    """Worker cycles of MultiSlice with all `offsets` in range, `region` halves or floats each (two per two cycles)."""
    return 30 + lookups(offsets, offsets, region, 4)


def lookups(offsets: int, in_range: int, region: int, element_bytes: int) -> int:
    """Worker cycles of `offsets`, of which those `in_range` copy `region` elements."""
    each = 3 * ceil_div(region, 4) if element_bytes == 1 else 2 * ceil_div(region, 2)
    return in_range * (19 + each) + 8 * (offsets - in_range)


def multi_slice(offsets: int, in_range: int, region: int, element_bytes: int, mk1: bool) -> int:
    """MultiSlice: worker cycles on Mk1, tile cycles otherwise."""
    found = lookups(offsets, in_range, region, element_bytes)
    return 19 + found if mk1 else 6 * (30 + found)


def multi_update(offsets: int, in_range: int, region: int, element_bytes: int) -> int:
    """Tile cycles of MultiUpdate."""
    return 6 * (29 + lookups(offsets, in_range, region, element_bytes))


def multi_update_op(
    offsets: int, in_range: int, region: int, words: bool, scaled: bool, wide_scale: bool, adds: bool
) -> int:
    """Tile cycles of MultiUpdateOp, or ScaledMultiUpdateOp if `scaled`, with one worker owning all offsets in range.

    `words`: elements of 32 bits, else halves; `wide_scale`: the scale of halves is a float.  Scaled additions of 64
    bits, or 128 of words, have code of their own.  Halves that do not fill words are written one by one.
    """
    special = scaled and adds and (region in (2, 4) if words else region == 4)
    cycles = 3 + (29 if words else 30) - (1 if special else 0)
    if scaled:
        cycles += 6 if words else 4
    if special:
        each = 4 * region if words else (12 if wide_scale else 9)
    else:
        each = 11 if words else (13 if scaled else 12)
        if not words and region % 2:
            each += 20 * region
        else:
            each += (region // (1 if words else 2) - 1) * (4 if wide_scale else 3)
    return 6 * (cycles + each * in_range + 5 * (offsets - in_range))
