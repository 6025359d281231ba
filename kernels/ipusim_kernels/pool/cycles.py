"""Cycles of pooling vertices.  Ideal: one 64-bit vector of channels per load, combine and store.

Source: poplibs lib/popnn/PerformanceEstimation.hpp at 7eac0f26.  One quirk kept: with more than one vector of
channels every worker is charged the extra share of the initialisation.
"""

from __future__ import annotations

from ipusim.jit import jit


@jit
def init_share(init: int, vectors: int, worker: int) -> int:
    """Vectors that a worker clears: `init` positions of `vectors` vectors.  Worker 0 clears as many as any."""
    each = init * vectors // 6
    extra = init - 6 * each
    return each + (1 if extra < 0 or worker < extra else 0)


@jit
def pool_worker(
    rows: int,
    taps: int,
    outputs: int,
    share: int,
    groups: int,
    vectors: int,
    maximum: bool,
    backward: bool,
    unpack_data: int,
    unpack_list: int,
) -> int:
    """Worker cycles over `rows` output rows, each with a work item of `outputs` outputs per kernel position.

    `vectors` of channels in each of `groups` groups; `backward`: the gradient of a maximum.  Cycles to unpack
    pointers: `unpack_data` of inputs and outputs, `unpack_list` of the work list (5 for Mk2 lists).
    """
    cycles = 17 + (4 + share) * groups + 6 + 1
    if rows == 0:
        return cycles
    cycles += 2 + (1 if maximum else 2) + 5 + 2 * unpack_list + 1
    if backward:
        cycles += 6 + unpack_data
    inner = 7 + 5 * (outputs - 1) if backward else (4 if maximum else 5) + 3 * (outputs - 1)
    per_item = 20 + 3 + groups * (2 + vectors * (3 + inner)) + (6 if backward else 4) * (groups - 1)
    return cycles + rows * (13 + 2 + taps * per_item)


@jit
def pool_total(worst: int) -> int:
    """Tile cycles from the slowest worker."""
    return 13 + 6 * worst


@jit
def pool_vertex(rows: int, columns: int, taps: int, channels: int, group: int, half: bool, maximum: bool) -> int:
    """Tile cycles for `rows` output rows of `columns`, rows dealt to six workers; channels are stored in groups of
    `group`.
    """
    used = min(group, channels)
    width = 4 if half else 2
    vectors = (used + width - 1) // width
    share = init_share(rows * columns, vectors, 0)
    return pool_total(
        pool_worker((rows + 5) // 6, taps, columns, share, (channels + used - 1) // used, vectors, maximum, False, 0, 5)
    )
