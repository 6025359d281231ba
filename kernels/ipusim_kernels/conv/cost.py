"""What a plan costs on its busiest tile: cycles item by item and temporary bytes, in compiled code.

Cycles (poplibs lib/poplin/ConvModel.cpp, with what a superstep costs on this chip):

    serial steps x (slices + inputs and weights received + zeros around them + vertex
                    + per reduction stage (partials received + ReduceAdd) + cast + addition or update)
    + rearrangement of operands before, of the result after, + cast after the last addition

Every superstep pays its sync and every exchange its lead-in; both are one item, "sync and lead-in".  A tile receives
what its box holds beyond its even share of what it and its fellow users own.  Temporary bytes are those of poplibs:
inputs, weights and partials, or twice the largest rearranged tensor, or the partials between reduction stages; and
what a serial loop holds throughout.

Differs from poplibs: partials that need no reduction do not move, a serial loop rearranges its operands once and not
in every step, and the clearing of half partials is charged as the vertex does it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.hw.cost import COPY_WORD_BYTES, MULTICAST_GAP, UNICAST_GAP, transfer_cycles, with_gaps
from ipusim.hw.cost import copy_cycles as on_tile_copies
from ipusim.jit import jit
from ipusim_kernels.cast.cycles import cast_1d
from ipusim_kernels.conv.geometry import (
    MIN_ACTIVATION_BYTES,
    MIN_WEIGHT_BYTES,
    REDUCE_GRAIN,
    STORED_GROUP,
    least_piece,
)
from ipusim_kernels.conv.methods import (
    AMP_NX1,
    ONE_GROUP_ON_TILE,
    ONE_OUT_GROUP_ON_TILE,
    SLIC,
    SLIC_WINDOW,
    method_cycles,
)
from ipusim_kernels.conv.serial import add_in_place_cycles, slice_cycles, zero_cycles
from ipusim_kernels.reduce.cycles import conv_reduce_add

#: Axes of a partition in the order of the search.
AXES = ("groups", "ci", "ky", "co", "batch", "oy", "ox", "serial ci", "serial co")
#: Items of an estimate, in the order in which they happen.
ITEMS = (
    "rearrange operands",
    "dynamic slice",
    "input exchange",
    "weight exchange",
    "copies on the tile",
    "zeros around operands",
    "partial sums",
    "reduction stage 1 exchange",
    "reduction stage 1 add",
    "reduction stage 2 exchange",
    "reduction stage 2 add",
    "reduction stage 3 exchange",
    "reduction stage 3 add",
    "cast",
    "add in place",
    "dynamic update",
    "rearrange result",
    "sync and lead-in",
)
REARRANGE, SLICES, INPUTS, WEIGHTS, COPIES, ZEROS, SUMS, STAGES = range(8)
CAST, ADD, UPDATE, RESULT, SYNC = range(13, 18)
WORKERS = 6
SLIC_BYTES = 200  # [poplibs] ConvModel.cpp: temporary bytes of SLIC beside its second output buffer
NEVER = 1 << 60

Numbers = tuple[int, ...]
I64 = NDArray[np.int64]


@jit
def share(size: int, ways: int, grain: int) -> int:
    """Elements of the largest of `ways` parts of whole grains."""
    grains = (size + grain - 1) // grain
    return min(size, (grains + ways - 1) // ways * grain)


@jit
def _up(a: int, b: int) -> int:
    return (a + b - 1) // b


@jit
def copy_cycles(nbytes: int, rate: int, quarters: int) -> int:
    """Tile cycles of rearranging bytes at `rate` a cycle: 5 / 4, or 5 / 3 where channels are no whole vectors.

    Source: poplibs lib/poplin/ConvModel.cpp, the transform cost.
    """
    return (5 * nbytes + quarters * rate - 1) // (quarters * rate) if rate else 0


@jit
def own_share(elements: int, group: int, users: int, least: int) -> tuple[int, int]:
    """Elements that the poorest and the richest of `users` hold of what they share: whole groups of channels, in parts
    of at least `least`.
    """
    pieces, parts = _up(elements, group), min(users, max(1, elements // least))
    most = _up(pieces, parts)
    richest = min(elements, most * group)
    return richest if pieces >= users and parts == users else 0, richest


@jit
def near_cycles(own_x: int, own_w: int, layout: Numbers) -> int:
    """Tile cycles of copying what a tile has of its operands beside what arrives (see ipusim.engine.copies).

    layout: positions of the field that follow one another, channels stored together, bytes per element, rows of
    weights.  A row is the channels of a group over the positions.
    """
    positions, group, size, rows_w = layout
    rows = _up(own_x, max(1, min(own_x, positions * group))) + (rows_w if own_w else 0)
    words = _up(own_x * size, COPY_WORD_BYTES) + _up(own_w * size, COPY_WORD_BYTES)
    return on_tile_copies(rows, words, WORKERS)


@jit
def largest_part(widths: tuple[int, int, int, int, int], parts: int) -> int:
    """Elements of the largest of at most `parts` equal boxes of a box (batch, groups, channels, rows, columns).

    Whole splits per axis, the best there are; channels in grains of a reduction.
    """
    if widths[2] % REDUCE_GRAIN == 0:
        grains = widths[2] // REDUCE_GRAIN
        return REDUCE_GRAIN * _largest_part((widths[0], widths[1], grains, widths[3], widths[4]), parts)
    return _largest_part(widths, parts)


@jit
def _largest_part(widths: tuple[int, int, int, int, int], parts: int) -> int:
    a, b, c, d, e = widths
    least = _up(a * b * c * d * e, parts)
    best = a * b * c * d * e
    for i in range(1, min(a, parts) + 1):
        left_a = parts // i
        for j in range(1, min(b, left_a) + 1):
            left_b = left_a // j
            for k in range(1, min(c, left_b) + 1):
                left_c = left_b // k
                for m in range(1, min(d, left_c) + 1):
                    n = min(e, left_c // m)
                    size = _up(a, i) * _up(b, j) * _up(c, k) * _up(d, m) * _up(e, n)
                    if size < best:
                        best = size
                        if best == least:
                            return best
    return best


@jit
def padding_zeros(m: Numbers, s: Numbers, tile: Numbers) -> tuple[int, int]:
    """Zeros (around inputs, among weights) that a tile writes: `tile` is (batch, groups, ci, co, y, x, ky) of it.

    AMP Nx1 pads kernel rows to its height, SLIC kernel columns to its window, and SLIC wants padding in full.
    """
    batch, groups, ci, co, y, x, k = tile
    height, width, kw, sy, sx, dy, dx = s[4], s[5], s[9], s[10], s[11], s[12], s[13]
    rows, columns = (y - 1) * sy + (k - 1) * dy + 1, (x - 1) * sx + (kw - 1) * dx + 1
    in_y, in_x = min(height, rows), min(width, columns)
    if m[0] == AMP_NX1 and m[4] > 1:
        more = -k % m[4]
        return batch * groups * ci * more * dy * in_x, groups * co * ci * more * kw
    if m[0] == SLIC:
        more = -kw % SLIC_WINDOW
        whole = rows * (columns + more * dx)
        return batch * groups * ci * (whole - in_y * in_x), groups * co * ci * k * more
    return 0, 0


@jit
def source_elements(positions: int, channels: int, s: Numbers, how: Numbers) -> int:
    """Elements of the original field behind `positions` x `channels` of one whose kernel was made channels.

    They are received tap by tap, or as one box around all taps, whichever is less (see `rearrange`).
    """
    kh, kw, sy, sx, row = how[9], how[10], how[11], how[12], how[13]
    before = max(1, s[2] // (kh * kw))
    taps = 1 if before % channels == 0 else min(kh * kw, _up(channels, before) + (channels % before != 0))
    rows = _up(positions, row)
    if positions > row:
        wide, tall, runs = row * sx, (rows - 1) * sy + 1, 1
    else:
        runs = 1 if row % positions == 0 else 2
        wide, tall = positions * sx, 1
    one_by_one = channels * tall * wide
    around = before if taps > 1 else channels
    around *= tall + (kh - 1 if taps > kw else 0)
    around *= wide + runs * (max(0, kw - sx) if taps > 1 else 0)
    return min(one_by_one, around)


@jit
def _before(
    own: Numbers, cells: Numbers, s: Numbers, how: Numbers, machine: Numbers, size: int
) -> tuple[int, int]:
    """(moving, sync and lead-in) of rearranging operands.

    own: elements of x and of w that the tile makes; cells: positions, channels and users of the field that has its
    kernel in its channels, if there is one.
    """
    if how[0] == 0 and how[3] == 0:
        return 0, 0
    from_x, from_w = own
    if how[13]:
        positions, channels, users = cells
        source = source_elements(_up(positions, users), _up(channels, max(1, users // positions)), s, how)
        if how[14]:
            from_w = source
        else:
            from_x = source
    moved = ((from_x if how[1] else 0) + (from_w if how[4] else 0)) * size
    copies = copy_cycles(own[0] * size, how[0], how[2]) + copy_cycles(own[1] * size, how[3], how[5])
    moving = with_gaps(_up(moved, machine[2]), UNICAST_GAP)
    return moving + copies, machine[0] + (machine[1] if moved else 0)


@jit
def _after(elements: int, how: Numbers, machine: Numbers, size: int) -> tuple[int, int]:
    """(moving, sync and lead-in) of rearranging the result, of which the tile has `elements`."""
    if how[6] == 0:
        return 0, 0
    moved = with_gaps(_up(elements * size, machine[2]), UNICAST_GAP) if how[7] else 0
    return moved + copy_cycles(elements * size, how[6], how[8]), machine[0] + (machine[1] if moved else 0)


@jit
def estimate(
    p: Numbers,
    s: Numbers,
    m: Numbers,
    how: Numbers,
    machine: Numbers,
    stages: NDArray[np.int32],
    limit: int,
    items: I64,
) -> tuple[int, int]:
    """(cycles, temporary bytes) of one plan; cycles are `NEVER` where it is no plan or costs more than `limit`.

    p: ways, by `AXES`; s: shape; m: method; how: rearrangements (see `moves.Moves`); machine: sync, lead-in, bytes per
    cycle, paired, tiles, mk1.  `items` is filled if it has room.
    """
    batch, groups, ci, co, height, width, oh, ow, kh, kw, sy, sx, dy, dx = s
    pg, pci, pky, pco, pb, py, px, sci, sco = p
    sync, lead, bytes_per_cycle = machine[0], machine[1], machine[2]
    half, half_partials = m[5] == 1, m[6] == 1
    size, partial_size = 2 if half else 4, 2 if half_partials else 4
    g, c, o = share(groups, pg, m[3]), share(ci, pci * sci, m[1]), share(co, pco * sco, m[2])
    k, b, y, x = share(kh, pky, m[4]), _up(batch, pb), _up(oh, py), _up(ow, px)
    if (m[0] in ONE_GROUP_ON_TILE and c > m[1]) or (m[0] in ONE_OUT_GROUP_ON_TILE and o > m[2]):
        return NEVER, 0
    in_y = min(height, (y - 1) * sy + (k - 1) * dy + 1)
    in_x = min(width, (x - 1) * sx + (kw - 1) * dx + 1)
    inputs, weights, outputs = b * g * c * in_y * in_x, g * o * c * k * kw, b * g * o * y * x
    cell = b * g * c * min(height, y * sy if py > 1 else height) * min(width, x * sx if px > 1 else width)
    steps = sci * sco
    least_x, least_w = least_piece(MIN_ACTIVATION_BYTES, size, sci), least_piece(MIN_WEIGHT_BYTES, size, steps)
    own_x, near_x = own_share(min(inputs, cell), min(m[1], STORED_GROUP), pco * pky, least_x)
    own_w, near_w = own_share(weights, min(m[1], STORED_GROUP), pb * py * px, least_w)
    arriving = (inputs - own_x) * size
    both = max(0, inputs - 2 * own_x) * size if machine[3] and pco % 2 == 0 else 0
    t_inputs = with_gaps(transfer_cycles(arriving, both, bytes_per_cycle), MULTICAST_GAP)
    inner = px if px > 1 else (py if py > 1 else pb)
    both = max(0, weights - 2 * own_w) * size if machine[3] and pco == 1 and inner % 2 == 0 else 0
    t_weights = with_gaps(transfer_cycles((weights - own_w) * size, both, bytes_per_cycle), MULTICAST_GAP)
    t_sync = sync + (lead if t_inputs + t_weights else 0)
    zero_x, zero_w = padding_zeros(m, s, (b, g, c, o, y, x, k))
    t_zeros = zero_cycles((zero_x + zero_w) * size)
    t_sync += sync if t_zeros else 0
    group = min(m[1], STORED_GROUP)
    run, users, in_groups = min(width, x * sx), pco * pky, _up(c, group)
    if height == 1:  # groups of channels are shared first, then positions
        run = _up(run, max(1, users // in_groups))
    elif px > 1 or users > 1:
        run = _up(run, users)
    else:  # whole rows follow one another
        run *= min(height, y * sy)
    # weights of a group of in channels follow one another, unless the tiles share them kernel column by kernel column
    by_columns = kw > 1 and min(pb * py * px, max(1, weights // least_w)) % kw == 0
    layout = (run, group, size, _up(near_w, group) if by_columns else _up(g * in_groups * near_w, weights))
    # who has all of an operand reads it in place
    from_x = near_x if arriving and near_x < inputs else 0
    t_copies = near_cycles(from_x, near_w if t_weights and near_w < weights else 0, layout)
    so_far = t_inputs + t_weights + t_sync + t_copies + t_zeros
    if so_far * steps > limit:
        return NEVER, 0
    t_sums = method_cycles(m, sx, (b, g, o, c, y, x, k, kw), False)
    if (so_far + t_sums) * steps > limit:
        return NEVER, 0
    # a smaller tile at the end may take longer: its rows fall badly on the workers
    y_end, x_end = oh - (_up(oh, y) - 1) * y, ow - (_up(ow, x) - 1) * x
    if y_end < y:
        t_sums = max(t_sums, method_cycles(m, sx, (b, g, o, c, y_end, x, k, kw), False))
    if x_end < x:
        t_sums = max(t_sums, method_cycles(m, sx, (b, g, o, c, y, x_end, k, kw), False))
        if y_end < y:
            t_sums = max(t_sums, method_cycles(m, sx, (b, g, o, c, y_end, x_end, k, kw), False))
    so_far += t_sums
    if so_far * steps > limit:
        return NEVER, 0
    n, depth, stage, between = outputs, pci * pky, 0, 0
    t_reduce = 0
    fill = len(items) > 0
    if fill:
        items[:] = 0
    while depth > 1:
        to = stages[depth - 1]
        members = _up(depth, to)
        fewest = depth - (to - 1) * members if to > 1 else members
        # the first stage splits whole boxes; later ones split what that left, nearly evenly
        before = n
        n = largest_part((b, g, o, y, x), members) if stage == 0 else _up(before, members)
        moved = _up(n * (members - 1) * partial_size, bytes_per_cycle)
        added = conv_reduce_add(n, members, to == 1 and half and sci == 1, half_partials)
        if 0 < fewest < members:  # the last chunk has fewer partials and as much to add up
            n = largest_part((b, g, o, y, x), fewest) if stage == 0 else _up(before, fewest)
            moved = max(moved, _up(n * (fewest - 1) * partial_size, bytes_per_cycle))
            added = max(added, conv_reduce_add(n, fewest, False, half_partials))
        moved = with_gaps(moved, UNICAST_GAP)
        if fill:
            items[STAGES + 2 * stage], items[STAGES + 2 * stage + 1] = moved * steps, added * steps
        t_reduce += moved + added
        t_sync += sync + lead
        between = max(between, n * partial_size if to > 1 else 0)
        depth, stage = to, stage + 1
    casts = half and not half_partials
    t_cast = 0
    if casts and stage == 0 and sci == 1:
        t_cast = cast_1d(n, False, True) * steps
        t_sync += sync
    t_slices, t_add, t_update = 0, 0, 0
    if steps > 1:
        mk1 = machine[5] == 1
        t_slices = slice_cycles(near_w, half, mk1)
        t_sync += sync
        if sci > 1:
            t_slices += slice_cycles(near_x, half, mk1)
            t_add = add_in_place_cycles(n, half_partials) * (steps - 1)  # the first step makes the sums
        else:
            t_update = slice_cycles(n, half, mk1)
            t_sync += sync
    t_sync = t_sync * steps + (sync * (steps - 1) if sci > 1 else 0)
    if sci > 1 and casts:
        t_cast = cast_1d(n, False, True)
        t_sync += sync
    all_x, all_w = near_x * sci, near_w * steps
    if how[14]:
        cells = (o * sco, c * sci, pb * py * px)
    else:
        cells = (_up(b * cell, max(1, b * g * c)), c * sci, pco * pky)
    t_before, more = _before((all_x, all_w), cells, s, how, machine, size)
    t_after, again = _after(n * sco, how, machine, size)
    t_sync += more + again
    loop = t_inputs + t_weights + t_copies + t_zeros + t_sums + t_reduce + t_slices + t_update
    total = loop * steps + t_add + t_cast + t_before + t_after + t_sync
    if total > limit:
        return NEVER, 0
    if fill:
        items[REARRANGE], items[SLICES], items[INPUTS] = t_before, t_slices * steps, t_inputs * steps
        items[WEIGHTS], items[COPIES] = t_weights * steps, t_copies * steps
        items[ZEROS], items[SUMS] = t_zeros * steps, t_sums * steps
        items[CAST], items[ADD], items[UPDATE] = t_cast, t_add, t_update * steps
        items[RESULT], items[SYNC] = t_after, t_sync
    partials = outputs * partial_size
    conv = (inputs + zero_x + weights + zero_w) * size + partials
    if m[0] == SLIC:
        conv += partials // _up(g, m[3]) + SLIC_BYTES
    moved_x, moved_w = all_x * size if how[0] else 0, all_w * size if how[3] else 0
    moved = max(moved_x, moved_w, n * sco * size if how[6] else 0)
    held = (moved_x + moved_w if steps > 1 else 0) + (n * partial_size if sci > 1 else 0)
    return total, held + max(2 * moved, conv, between)
