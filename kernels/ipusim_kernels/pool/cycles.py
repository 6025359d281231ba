"""Cycles of pooling vertices.  Ideal: one 64-bit vector of channels per load, combine and store.

Source: poplibs lib/popnn/PerformanceEstimation.hpp at 7eac0f26.  One quirk kept: with more than one vector of channels every worker is
charged the extra share of the initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipusim.units import ceil_div


def init_share(init: int, vectors: int) -> int:
    """Vectors that the busiest worker clears: `init` positions of `vectors` vectors."""
    whole = init * vectors // 6
    return whole + (1 if vectors > 1 or init * vectors % 6 else 0)


def pool_worker(
    rows: int, items: Sequence[int], *, share: int, groups: int, vectors: int, maximum: bool, unpack_list: int = 5
) -> int:
    """Worker cycles over `rows` output rows, each with work items of `items` outputs; `vectors` of channels in `groups` groups."""
    cycles = 17 + (4 + share) * groups + 6
    if not rows:
        return cycles
    cycles += 2 + (1 if maximum else 2) + 6 + 5 + unpack_list + 1
    per_row = 13 + 2
    for outputs in items:
        per_vector = 3 + (4 + 3 * (outputs - 1) if maximum else 5 + 3 * (outputs - 1))
        per_row += 20 + 3 + groups * (2 + vectors * per_vector) + 4 * (groups - 1)
    return cycles + rows * per_row


def pool_total(worst: int) -> int:
    """Tile cycles from the slowest worker."""
    return 13 + 6 * worst


def pool_balanced(
    positions: int, row_length: int, taps: int, channels: int, *, half: bool, maximum: bool, group: int
) -> int:
    """Tile cycles for `positions` outputs in rows of `row_length`, each from `taps` kernel positions, on `channels` channels."""
    group = min(group, channels)
    vectors = ceil_div(group, 4 if half else 2)
    rows = ceil_div(ceil_div(positions, row_length), 6)
    share = init_share(positions, vectors)
    return pool_total(
        pool_worker(
            rows, [row_length] * taps, share=share, groups=ceil_div(channels, group), vectors=vectors, maximum=maximum
        )
    )
