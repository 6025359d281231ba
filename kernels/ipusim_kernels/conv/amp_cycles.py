"""Cycles of the AMP convolution vertices, ConvPartial1x1Out and ConvPartialnx1.

Ideal: all matrix units finish one position in 4 cycles with half activations (8 with float).  What comes on top:
loading weights for every input group and kernel position, pipeline start and end per run of positions, and the
supervisor's loops.  Source: poplibs lib/poplin/PerformanceEstimation.hpp, head 7eac0f26 and the last text with Mk1
a9352552.

Arguments are whole numbers and flags.  `positions` are those of one worker; a run is an unbroken row of them.
"""

from __future__ import annotations

from ipusim.jit import jit


@jit
def core_cycles(half: bool) -> int:
    """Worker cycles per position."""
    return 4 if half else 8


@jit
def weight_load_cycles(units: int, load_bytes: int) -> int:
    """Tile cycles to load the weights of all units: 32 bytes a unit."""
    return units * 32 // load_bytes


@jit
def zero_partials_cycles(elements: int, half: bool) -> int:
    """Tile cycles to clear the partial sums of one output group, shared by six workers."""
    share = (elements + 5) // 6
    return 6 * ((share + 3) // 4 + 5) if half else 6 * ((share + 1) // 2 + 5)


@jit
def retention(first_half: bool, common: bool) -> tuple[int, int]:
    """Worker cycles saved per call by registers kept between calls (all calls, calls with the same input group)."""
    return (7, 3) if first_half and common else (0, 0)


@jit
def is_common(half: bool, half_partials: bool, units: int) -> bool:
    """Whether the float-partials path of AMP 1x1 applies."""
    return not half_partials or (half and units == 16)


@jit
def amp_1x1_worker(positions: int, half: bool, half_partials: bool, units: int, zeroing: bool) -> int:
    """Worker cycles of one call of AMP 1x1; `zeroing` on the first input group."""
    common = is_common(half, half_partials, units)
    z = 1 if zeroing else 0
    zero = 8 if (not half and units == 16) else (4 if not half_partials else 2)
    n = positions
    core = core_cycles(half)
    if not half:
        if n == 0:
            cycles = 24
        elif n == 1:
            cycles = 47 + z * (2 + zero)
        elif n == 2:
            cycles = 46 + z * (2 + 2 * zero)
        else:
            cycles = 46 + z * (2 + zero * n) + core * (n - 3)
    elif common:
        if n == 0:
            cycles = 22 - z
        elif n == 1:
            cycles = 33 - z
        elif n == 2:
            cycles = 42 - z
        else:
            cycles = 38 - z + core * (n - 3)
    elif n == 0:
        cycles = 24
    elif n == 1:
        cycles = 39 + z * (2 + zero)
    elif n == 2:
        cycles = 40 + z * (2 + 2 * zero)
    else:
        cycles = 41 + z * (2 + zero * n) + core * (n - 3)
    return cycles - retention(half, common)[0]


@jit
def _amp_1x1_calls(least: int, most: int, half: bool, half_partials: bool, units: int, zeroing: bool) -> int:
    """Tile cycles of one call; the worker with more positions may be the faster one (3 take less than 2)."""
    more = amp_1x1_worker(most, half, half_partials, units, zeroing)
    fewer = amp_1x1_worker(least, half, half_partials, units, zeroing)
    return max(6 * max(more, fewer), 6 * min(more, fewer) + 14)


@jit
def amp_1x1(
    positions: int,
    groups: int,
    in_groups: int,
    out_groups: int,
    out_chans: int,
    half: bool,
    half_partials: bool,
    units: int,
    load_bytes: int,
) -> int:
    """Tile cycles of ConvPartial1x1Out over `positions` on the tile; `out_chans` per out group, a multiple of
    `units`.
    """
    least, most = positions // 6, (positions + 5) // 6
    common = is_common(half, half_partials, units)
    r1, r2 = retention(half, common)
    k = 1 if common else 0
    passes = (out_chans + units - 1) // units
    load = weight_load_cycles(units, load_bytes)
    first = _amp_1x1_calls(least, most, half, half_partials, units, True)
    later = _amp_1x1_calls(least, most, half, half_partials, units, False)
    body = 12 + k
    body += (in_groups - 1) * (16 - k + out_groups * (19 + passes * (6 + load + later)))
    body += 11 + out_groups * (19 - k + passes * (7 + load + first))
    return 50 + 6 * (r1 + r2 * (in_groups * groups - 1)) + groups * body


@jit
def nx1_start(half_partials: bool, mk1: bool) -> int:
    """Worker cycles of an AMP Nx1 call before its first run."""
    return (15 if mk1 else 17) + (1 if half_partials else 0)


@jit
def nx1_run(n: int, half: bool, half_partials: bool, units: int, mk1: bool) -> int:
    """Worker cycles of one run of n positions."""
    extra = 1 if half and ((half_partials and units == 16) or (not half_partials and units == 8)) else 0
    if n == 0:
        body = 17
    elif n == 1:
        body = 29 if half else 33
    elif n == 2:
        body = 33 + extra if half else 44
    else:
        body = (34 if half else 45) + core_cycles(half) * (n - 3)
    return body + (7 - 4 if mk1 else 3 - 9)


@jit
def nx1_supervisor(amp_height: int) -> int:
    """Supervisor cycles of one pass over a kernel position: setting up pointers of `amp_height` input rows."""
    if amp_height == 1:
        return 15
    if amp_height == 2:
        return 46
    if amp_height == 4:
        return 60
    return 20 * amp_height


@jit
def nx1_total(
    calls: int,
    groups: int,
    in_groups: int,
    out_groups: int,
    out_chans: int,
    kernel_outer: int,
    kernel_inner: int,
    amp_height: int,
    zero_elements: int,
    half_partials: bool,
    planned: bool,
    units: int,
    load_bytes: int,
    mk1: bool,
) -> int:
    """Tile cycles of ConvPartialnx1 whose workers take `calls` tile cycles at one kernel position.

    `zero_elements`: output elements of one out group; the planner (`planned`) prices zeroing as for float partials.
    """
    passes = out_chans // units
    load = weight_load_cycles(units, 8 if amp_height == 4 else load_bytes)
    inner = kernel_outer * (14 + kernel_inner * (12 + passes * (load + nx1_supervisor(amp_height) + 3)))
    inner += passes * kernel_outer * kernel_inner * calls
    zeroing = out_groups * groups * zero_partials_cycles(zero_elements, half_partials and not planned)
    fixed = (103 if mk1 else 109) + 6 * (4 if mk1 else 9) + 6 * (10 if half_partials else 9)
    fixed += groups * (17 * out_groups + 6 * (out_groups - 1) + 1) + 6 * (groups - 1) + 1
    return fixed + groups * (16 + in_groups * (14 + out_groups * (14 + inner))) + zeroing


@jit
def runs_of_worker(worker: int, total: int, row_length: int) -> tuple[int, int, int]:
    """(positions of its first row, whole rows, positions of its last row) of one of six workers.

    Worker i takes positions floor(i total / 6) .. floor((i + 1) total / 6), cut where rows end (poplibs
    ConvUtilInternal.cpp); the first and the last row are 0 where they are whole.
    """
    at, end = worker * total // 6, (worker + 1) * total // 6
    head = min(end - at, -at % row_length)
    left = end - at - head
    whole = left // row_length
    return head, whole, left - whole * row_length


@jit
def nx1_calls(rows: int, row_length: int, half: bool, half_partials: bool, units: int, mk1: bool) -> int:
    """Tile cycles of one AMP Nx1 call over `rows` output rows of `row_length`, split evenly over six workers."""
    total = rows * row_length
    start = nx1_start(half_partials, mk1)
    row = nx1_run(row_length, half, half_partials, units, mk1)
    most, least = 0, 1 << 60
    for worker in range(6):
        head, whole, tail = runs_of_worker(worker, total, row_length)
        cycles = start if head + whole + tail else 0
        cycles += nx1_run(head, half, half_partials, units, mk1) if head else 0
        cycles += whole * row
        cycles += nx1_run(tail, half, half_partials, units, mk1) if tail else 0
        most, least = max(most, cycles), min(least, cycles)
    return max(6 * most, 6 * least + 9)
