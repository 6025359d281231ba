"""Cycles of the vector MAC convolution vertices, horizontal and vertical.

Horizontal: a dot product over input channels per output; vertical: multiply-adds over kernel taps, every worker with
its own copy of the outputs.  Both run on the vector units, far below AMP, but need no padding of channels.  Source:
poplibs lib/poplin/PerformanceEstimation.hpp, head 7eac0f26 and the Mk1 text a9352552 (which rounds dot products
otherwise and has a precedence slip in the vertical form; both reproduced).
"""

from __future__ import annotations

from ipusim.jit import jit
from ipusim_kernels.conv.amp_cycles import zero_partials_cycles


@jit
def hmac_dot(chans: int, half: bool, half_partials: bool, mk1: bool) -> int:
    """Worker cycles of one dot product over `chans` input channels."""
    if mk1:
        if not half:
            return 7 + (chans if chans % 2 == 0 else 2 * chans)
        base = 11 if half_partials else 7
        rest = chans // 4 if chans % 4 == 0 else (chans + 1 if half_partials else chans)
        return base + rest
    width = 4 if half else 2
    while chans % width:
        width //= 2
    full = width == (4 if half else 2)
    per_step = 1 if full else 2
    base = 11 if half and half_partials else 7
    narrow = 0 if full else (2 if half and half_partials else 1)
    return base + chans // width * per_step + narrow - (1 if half else 0)


@jit
def hmac_worker(
    positions: int,
    runs: int,
    kernel_positions: int,
    in_chans: int,
    out_chans: int,
    half: bool,
    half_partials: bool,
    mk1: bool,
) -> int:
    """Worker cycles over all kernel positions, `positions` outputs in `runs` unbroken rows at each."""
    start = 16 - (0 if mk1 or not half else 6)
    outs = out_chans
    if half_partials:
        outs = out_chans // 2 if mk1 else (out_chans + 1) // 2
    dot = hmac_dot(in_chans, half, half_partials, mk1)
    per_position = start + runs * 19 + positions * (7 + outs * dot)
    if positions == 0:
        per_position = start + 7
    return kernel_positions * per_position + 16


@jit
def hmac_total(
    worst: int,
    groups: int,
    in_groups: int,
    out_groups: int,
    zero_elements: int,
    half: bool,
    half_partials: bool,
    planned: bool,
    mk1: bool,
) -> int:
    """Tile cycles of ConvPartialHorizontalMac whose slowest worker takes `worst` worker cycles a call."""
    overhead = (63 if mk1 else 65) if half else 58
    keep = 0 if mk1 or not half_partials else 6
    total = overhead + 6 * (10 if half_partials else 9) + 6 * keep
    total += groups * (23 + in_groups * (15 + out_groups * (10 + 6 * worst)))
    if zero_elements:
        total += out_groups * groups * zero_partials_cycles(zero_elements, half_partials and not planned)
    return total


@jit
def hmac_1x1(
    positions: int,
    runs: int,
    groups: int,
    in_groups: int,
    out_groups: int,
    in_chans: int,
    out_chans: int,
    zero_elements: int,
) -> int:
    """Tile cycles of the head's 1x1 form for half activations and float partials; worst worker has `positions` in
    `runs`.
    """
    dot = hmac_dot(in_chans, True, False, False)
    if positions == 0:
        call = 1 + 7
    elif out_chans == 1:
        call = 1 + runs * 14 + positions * (2 + dot)
    else:
        call = 1 + runs * 13 + positions * (7 + out_chans * dot)
    inner = 6 * (call + 16)
    total = 65 - 10 + 6 * 9 + 6 * 15
    total += groups * (23 + in_groups * (15 + out_groups * (10 + inner)))
    return total + out_groups * groups * zero_partials_cycles(zero_elements, False)


@jit
def vmac_worker(entries: int, taps: int, groups_per_group: int, half_partials: bool) -> int:
    """Worker cycles of `entries` work-list entries of `taps` taps each."""
    cg = groups_per_group
    if cg >= 8 and half_partials:
        each = (22 + 3 + 3 * (taps - 1)) * (2 if cg == 16 else 1)
        return (25 if cg == 16 else 13) + entries * each
    per_tap = 3 * (cg // 8) if cg >= 8 else 2 * (cg // 4)
    each = 7 + (3 if half_partials else 5) + 3 + per_tap * (taps - 1)
    return (18 if half_partials else 19) + entries * each


@jit
def vmac_total(
    worst: int, groups: int, in_groups: int, groups_per_group: int, out_elements: int, half_partials: bool, mk1: bool
) -> int:
    """Tile cycles of ConvPartialVerticalMac; `out_elements` of one group of conv groups."""
    f = 0 if half_partials else 1
    zero = 4 + (out_elements + (3 if half_partials else 1)) // (4 if half_partials else 2)
    share = (out_elements + 5) // 6
    reduce = 10 - f + ((7 + 2 * f + (1 if half_partials else 2) * 5) * share) // groups_per_group
    total = 61 + 14 + (1 if mk1 else 25 + f)
    return total + groups * (zero + 32 + in_groups * (24 + 6 * worst) + reduce)


def outer_product(width: int, channels: int, chans_per_group: int, half: bool) -> int:
    """Worker cycles of OuterProduct: `width` positions times `channels`, in groups of `chans_per_group`.

    The unrolled loop needs whole vectors, three of them at least, and a stride that fits its field of 9 bits.
    """
    vector, start = (4, 10) if half else (2, 11)
    vectors, rest = divmod(chans_per_group, vector)
    if vectors >= 3 and not rest and vectors + 1 < 512:
        each = 6 + vectors - 3
    else:
        each = 10 + (5 * chans_per_group // 2 if half else 2 * chans_per_group)
    return 25 + channels // chans_per_group * (start + width * each)
