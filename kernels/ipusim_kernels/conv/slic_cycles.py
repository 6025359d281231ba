"""Cycles of ConvPartial1xNSLIC, the vertex for groups of 4, 2 or 1 channels.

Ideal: a window of 1 x 4 weights slides along a row, one output position per worker cycle and chain.  Source: poplibs
lib/poplin/PerformanceEstimation.hpp, head 7eac0f26; the text of a9352552 is the same for halves.  Two quirks of the
source are kept: weight loads are not multiplied by the number of group groups, and the zeroing pass of 8 and 16
groups is counted once.
"""

from __future__ import annotations

from ipusim.jit import jit
from ipusim_kernels.conv.amp_cycles import runs_of_worker


@jit
def slic_row(n: int, stride: int, half8: bool, half_partials: bool, zeroing: bool) -> int:
    """Worker cycles of one pass over a run of n outputs."""
    short = 6 if half8 else 5
    if stride == 1:
        if n < short:
            if zeroing:
                cycles = 13 + (n if n > 1 else 0)
            else:
                cycles = 13 if n == 1 else 18 + (n - 1)
        else:
            cycles = 15 + (n - 5) + (3 if half8 and not zeroing else 0)
    else:
        cycles = 13 if n == 1 else (15 if n < 3 else 15 + 2 * (n - 3))
    return cycles if half_partials else cycles - 1


@jit
def slic_start(half8: bool, groups_per_group: int) -> int:
    """Worker cycles before the first run."""
    return 2 + (2 if half8 else 3) + 1 + 2 + 4 + 2 + 2 + 1 + (1 if half8 else 0) + (4 if groups_per_group > 4 else 0)


@jit
def slic_run(n: int, stride: int, chains: int, half_partials: bool, zeroing: bool) -> int:
    """Worker cycles of one run of n outputs, all passes over its input."""
    half8 = chains == 2 and half_partials
    passes = 1 if chains == 4 else 2
    fixed = (9 if half8 else 10) + (1 if zeroing else 0) + (0 if half_partials else 3)
    return fixed + passes * slic_row(n, stride, half8, half_partials, zeroing)


@jit
def slic_inner(worst: int, outputs: int, half8: bool, zeroing: bool) -> int:
    """Tile cycles of one call, given the slowest worker and the outputs of all workers."""
    return 6 * worst + (2 + 2 * outputs if half8 and zeroing else 0)


@jit
def slic_total(
    zeroing: int,
    adding: int,
    group_groups: int,
    blocks: int,
    groups_per_group: int,
    chans: int,
    chains: int,
    half_partials: bool,
) -> int:
    """Tile cycles from those of a zeroing and of an accumulating call; `blocks`: 1 x 4 weight blocks of the kernel."""
    half8 = chains == 2 and half_partials
    cg = groups_per_group
    loops_blocks = 6 * (blocks - 1) + 1
    if chans == 4:
        load = 18 + 16
    else:
        load = 9 + 6 + 6 * ((12 if cg == 2 else 10) + (1 if cg > 4 else 0)) + 6 + 16
    body = 12 if half8 else 15
    if cg <= 4:
        block = load + (0 if half8 else 3) + 2 + (0 if half8 else 1) + 14
    else:
        s = cg // 4
        block = (load + 21) * s + 6 * (s - 1) + 1 + 15
        body += 8
        adding *= s
    total = (25 if half8 else 28) + body * group_groups + 6 * (group_groups - 1) + 1
    total += block * blocks + loops_blocks
    return total + group_groups * zeroing + group_groups * (blocks - 1) * adding


@jit
def slic_balanced(
    rows: int,
    row_length: int,
    stride: int,
    group_groups: int,
    blocks: int,
    groups_per_group: int,
    chans: int,
    chains: int,
    half_partials: bool,
) -> int:
    """Tile cycles with `rows` output rows of `row_length` split evenly over six workers."""
    half8 = chains == 2 and half_partials
    total = rows * row_length
    start = slic_start(half8, groups_per_group)
    end_cost = 2 if half8 else 0
    row_zero = slic_run(row_length, stride, chains, half_partials, True)
    row_add = slic_run(row_length, stride, chains, half_partials, False)
    worst_zero, worst_add = 0, 0
    for worker in range(6):
        head, whole, tail = runs_of_worker(worker, total, row_length)
        zero, add = start + end_cost + whole * row_zero, start + end_cost + whole * row_add
        for n in (head, tail):
            if n:
                zero += slic_run(n, stride, chains, half_partials, True)
                add += slic_run(n, stride, chains, half_partials, False)
        worst_zero, worst_add = max(worst_zero, zero), max(worst_add, add)
    return slic_total(
        slic_inner(worst_zero, total, half8, True),
        slic_inner(worst_add, total, half8, False),
        group_groups,
        blocks,
        groups_per_group,
        chans,
        chains,
        half_partials,
    )
