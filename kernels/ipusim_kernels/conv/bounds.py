"""The search over partitions in compiled code, with a bound that leaves most of them out.

A vertex makes passes: one per conv group, group of in channels, group of out channels and kernel position.  A pass
costs at least `fixed` cycles and `each` cycles per position, so once conv groups and channels are split, what is left
of the tiles says how few positions a tile can have and with that the least that vertex, exchange, reduction and cast
can cost.  A branch that cannot come below the best so far is not followed (poplibs lib/poplin/ConvModel.cpp prunes by
multiply-adds alone).  The tests compare with a search that looks at everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.hw.cost import MULTICAST_GAP, UNICAST_GAP
from ipusim.jit import jit
from ipusim_kernels.conv.amp_cycles import weight_load_cycles
from ipusim_kernels.conv.cost import I64, NEVER, Numbers, copy_cycles, estimate, share
from ipusim_kernels.conv.geometry import STORED_GROUP
from ipusim_kernels.conv.mac_cycles import hmac_dot
from ipusim_kernels.conv.methods import (
    AMP_1X1,
    AMP_NX1,
    HMAC,
    ONE_GROUP_ON_TILE,
    ONE_OUT_GROUP_ON_TILE,
    OUTER_PRODUCT,
    SLIC,
    SLIC_WINDOW,
)

I32 = NDArray[np.int32]
MOST_WAYS = 256  # splits tried per axis: 2 sqrt(tiles) change the largest part
PARALLEL = 7  # axes that are split over tiles; the rest are split in series


@jit
def _up(a: int, b: int) -> int:
    return (a + b - 1) // b


@jit
def pass_cycles(m: Numbers, s: Numbers) -> tuple[int, int]:
    """(fixed, each): least tile cycles of a pass and of a position in it; see the formulas of each kind."""
    kind, half, half_partials, mk1 = m[0], m[5] == 1, m[6] == 1, m[9] == 1
    if kind == AMP_1X1:
        return weight_load_cycles(m[7], m[8]) + 6 + 6 * 18, 4 if half else 8
    if kind == AMP_NX1:
        load = weight_load_cycles(m[7], 8 if m[4] == 4 else m[8])
        return load + 18 + 6 * (39 if mk1 else 32), 4 if half else 8
    if kind == SLIC:
        return 6 * 30, (1 if m[10] == 4 else 2) * s[11]
    if kind == HMAC:
        outs = m[2] // 2 if half_partials and mk1 else (_up(m[2], 2) if half_partials else m[2])
        dot = hmac_dot(m[1], half, half_partials, mk1)
        if s[9] == 1 and not mk1 and half and not half_partials:
            return 6 * 16, 2 + dot
        return 6 * 16, 7 + outs * dot
    if kind == OUTER_PRODUCT:
        return 6 * 10, 10
    return 0, 10


@jit
def _passes(m: Numbers, s: Numbers, tile: Numbers) -> int:
    """Passes of a vertex over (groups, ci, ky, co) of a tile."""
    g, c, k, o = tile
    passes = _up(g, m[3]) * _up(c, m[1])
    if m[0] == AMP_1X1:
        return passes * _up(o, m[7])
    if m[0] == AMP_NX1:
        return passes * (o // m[7]) * _up(k, m[4]) * s[9]
    if m[0] == SLIC:
        return _up(g, m[3]) * k * _up(s[9], SLIC_WINDOW)
    if m[0] == HMAC:
        return passes * _up(o, m[2]) * k * s[9]
    return passes * _up(o, m[2]) if m[0] == OUTER_PRODUCT else passes * k


@jit
def _arriving_weights(
    m: Numbers, s: Numbers, machine: Numbers, tile: Numbers, pco: int, split: tuple[int, int, int, int]
) -> int:
    """The least cycles of receiving weights where a tile has `positions` or more of `most`, which `sharers` of it share
    if it has all: what it shares with others it has as small a part of as it has of the positions.

    split: positions, most, sharers, cycles that a position takes.  If positions cost less than the weights that come
    with sharing them, a tile might have them all.
    """
    positions, most, sharers, each = split
    g, c, k, o = tile
    size, rate = 2 if m[5] == 1 else 4, machine[2] * (2 if machine[3] and pco == 1 else 1)
    elements = g * c * k * o * s[9]
    if positions < most and each * sharers * most * rate * 100 < elements * size * (100 + MULTICAST_GAP):
        positions = most
    own = _up(elements * positions, sharers * most) + STORED_GROUP
    return max(0, elements - own) * size // rate


@jit
def _least(
    m: Numbers,
    s: Numbers,
    machine: Numbers,
    ways: Numbers,
    tile: Numbers,
    split: Numbers,
    rate: Numbers,
    in_series: bool,
) -> int:
    """The least cycles of a serial step with these ways (ci, ky, co) and sizes (groups, ci, ky, co) of a tile.

    split: positions of the tile, or fewer; those it may have at most; tiles that share its weights if it has as many,
    0 where out channels are not split yet; rate: `pass_cycles`.
    """
    pci, pky, pco = ways
    g, c, o = tile[0], tile[1], tile[3]
    positions, most, sharers = split
    size, partial_size = 2 if m[5] == 1 else 4, 2 if m[6] == 1 else 4
    passes = _passes(m, s, tile)
    total = machine[0] + passes * (rate[0] + rate[1] * positions)
    if sharers > 0:
        of = (positions, most, sharers, passes * rate[1])
        moved = _arriving_weights(m, s, machine, tile, pco, of)
        users = pco * pky
        if users > s[10] * s[11] and s[6] <= s[4] and s[7] <= s[5]:
            inputs = g * c * positions
            arriving = (inputs - inputs * s[10] * s[11] // users - STORED_GROUP) * size
            moved += max(0, arriving) // (machine[2] * (2 if machine[3] and pco % 2 == 0 else 1))
        total += moved + moved * MULTICAST_GAP // 100
    outputs, depth = g * o * positions, pci * pky
    if depth > 1:
        total += machine[0] + machine[1] + 6 * 32
        moved = outputs * (depth - 1) // depth * partial_size // machine[2]
        total += moved + moved * UNICAST_GAP // 100
        total += max(0, 3 * outputs // (8 if partial_size == 2 else 4) - 3 * depth)
    elif size != partial_size and not in_series:
        total += machine[0] + 234 + outputs // 4
    return total


@jit
def _rearranging(m: Numbers, s: Numbers, how: Numbers, machine: Numbers) -> int:
    """The least cycles of rearranging operands and result: all tiles share in it evenly."""
    size, tiles = 2 if m[5] == 1 else 4, machine[4]
    field = s[0] * s[1] * s[2] * s[4] * s[5]
    weights = s[1] * s[2] * s[3] * s[8] * s[9]
    result = s[0] * s[1] * s[3] * s[6] * s[7]
    total = copy_cycles(field * size // tiles, how[0], how[2]) + copy_cycles(weights * size // tiles, how[3], how[5])
    total += machine[0] if how[0] or how[3] else 0
    if how[6]:
        total += machine[0] + copy_cycles(result * size // tiles, how[6], how[8])
    return total


@jit
def least_bytes(tile: Numbers, s: Numbers, m: Numbers, positions: int) -> int:
    """The least bytes of operands and partials with (groups, ci, ky, co) and `positions` or more on a tile."""
    g, c, k, o = tile
    operands = g * c * k * o * s[9]
    if s[6] <= s[4] and s[7] <= s[5]:
        operands += g * c * positions
    return operands * (2 if m[5] == 1 else 4) + g * o * positions * (2 if m[6] == 1 else 4)


@jit
def _open(axis: int, ways: int, steps: tuple[int, int], s: Numbers, m: Numbers) -> bool:
    """Whether an axis may be split so, channels in `steps` (in, out) in series."""
    if axis == 1:
        short = m[0] in ONE_GROUP_ON_TILE and share(s[2], ways * steps[0], m[1]) > m[1]
        return not short and (steps[0] == 1 or _up(s[2], m[1]) // steps[0] >= ways)
    if axis == 3:
        short = m[0] in ONE_OUT_GROUP_ON_TILE and share(s[3], ways * steps[1], m[2]) > m[2]
        return not short and (steps[1] == 1 or _up(s[3], m[2]) // steps[1] >= ways)
    return True


@jit
def _divides(axis: int, ways: int, group_share: int, m: Numbers, together: bool) -> bool:
    """Conv groups that share a tile keep their channels together, so that a box holds them."""
    return not (together and ways > 1 and group_share > m[3] and (axis == 1 or axis == 3))


@jit
def ways_of(grains: int, limit: int, divisors: bool, out: I64) -> int:
    """Writes the splits of an axis: those that change the largest part, or those into equal parts; how many."""
    count = 0
    if divisors:
        for p in range(1, grains + 1):
            if grains % p == 0 and count < len(out):
                out[count] = p
                count += 1
        return count
    p = 1
    while p <= min(grains, limit) and count < len(out):
        out[count] = p
        count += 1
        part = _up(grains, p)
        if part == 1:
            break
        p = _up(grains, part - 1)
    return count


@jit
def search(
    serial: bool,
    s: Numbers,
    m: Numbers,
    how: Numbers,
    machine: Numbers,
    stages: I32,
    rules: Numbers,
    found: I64,
    rows: I64,
) -> int:
    """Tries every way to split the axes, the product of those over tiles within the chip.

    serial: whether channels may be split in series, in or out; rules: memory bound, whether conv groups that share a
    tile keep their channels together, cycles not to exceed, whether the least memory is wanted and not the fewest
    cycles.  found: (cycles, memory, tiles, nine ways) of the best, ties going to less memory, then fewer tiles; rows:
    (n, 12) of everything, if there is room for any.  Returns the rows found, or 1 if a best was found, else 0.
    """
    steps = np.ones(MOST_WAYS, np.int64)
    kept, bound, limit = 0, rules[0], rules[2]
    for of in range(2 if serial else 1):
        count = ways_of(_up(s[3], m[2]) if of == 0 else _up(s[2], m[1]), 0, serial, steps)
        for i in range(count if serial else 1):
            if of == 1 and i == 0:
                continue  # no split at all was the first
            one = np.int64(1)
            pair: tuple[Any, Any] = (one, steps[i]) if of == 0 else (steps[i], one)
            now = (bound, rules[1], limit, rules[3])
            more = _in_parallel(pair, s, m, how, machine, stages, now, found, rows[min(kept, len(rows)) :])
            if len(rows) > 0:
                kept += more
            elif more:
                kept = 1
                if rules[3]:
                    bound = found[1]
                else:
                    limit = found[0]
    return kept


@jit
def _tuple14(a: I64) -> Numbers:
    return a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13]


@jit
def cheapest(
    serial: bool,
    shapes: I64,
    methods: I64,
    moves: I64,
    machine: Numbers,
    stages: I32,
    rules: I64,
    goal: Numbers,
    found: I64,
) -> int:
    """`search` over several transforms and methods, in order, each with the best so far as its limit.

    shapes (n, 14), methods (n, 11), moves (n, 15): rows of numbers; rules (n, 2): the least cycles of a row, and
    whether its conv groups keep their channels together; goal: bytes and cycles not to exceed, whether the least
    memory is wanted.  Returns: the row of the best in `found`, -1 if there is none.
    """
    best, bound, limit, smallest = -1, goal[0], goal[1], goal[2]
    one = np.empty(12, np.int64)
    none = np.empty((0, 12), np.int64)
    for i in range(len(shapes)):
        if rules[i, 0] > limit:
            continue
        m, h = methods[i], moves[i]
        method = (m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10])
        how = (h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12], h[13], h[14])
        one[:] = limit
        now = (bound, rules[i, 1], limit, smallest)
        kept = search(serial, _tuple14(shapes[i]), method, how, machine, stages, now, one, none)
        if kept and (best < 0 or _before(one, found, smallest)):
            best = i
            found[:] = one
            if smallest:
                bound = one[1]
            else:
                limit = one[0]
    return best


@jit
def _before(a: I64, b: I64, smallest: int) -> bool:
    """Fewer cycles, then less memory, then fewer tiles; memory first if the least is wanted."""
    for i in range(3):
        k = 1 - i if smallest and i < 2 else i
        if a[k] != b[k]:
            return bool(a[k] < b[k])
    return False


@jit
def _in_parallel(
    steps: tuple[int, int],
    s: Numbers,
    m: Numbers,
    how: Numbers,
    machine: Numbers,
    stages: I32,
    rules: Numbers,
    found: I64,
    rows: I64,
) -> int:
    """`search` for given serial steps over (in channels, out channels)."""
    bound, together, limit, smallest = rules[0], rules[1] == 1, rules[2], rules[3]
    sizes = (s[1], s[2], s[8], s[3], s[0], s[6], s[7])
    grains = (m[3], m[1], m[4], m[2], 1, 1, 1)
    series = (1, steps[0], 1, steps[1], 1, 1, 1)
    options, lengths = np.ones((PARALLEL, MOST_WAYS), np.int64), np.ones(PARALLEL, np.int64)
    for a in range(PARALLEL):
        lengths[a] = ways_of(_up(sizes[a], grains[a]), machine[4], False, options[a])
    at = lengths - 1
    tiles = np.ones(PARALLEL + 1, np.int64)
    part = np.ones(PARALLEL, np.int64)
    rate, before = pass_cycles(m, s), _rearranging(m, s, how, machine)
    none, one = np.empty(0, np.int64), np.empty(3, np.int64)
    kept, axis, wanted = 0, 0, len(rows) > 0
    loop, every = steps[0] * steps[1], s[0] * s[6] * s[7]
    while axis >= 0:
        if at[axis] < 0:
            at[axis] = lengths[axis] - 1
            axis -= 1
            if axis >= 0:
                at[axis] -= 1
            continue
        ways = options[axis, at[axis]]
        tiles[axis + 1] = tiles[axis] * ways
        part[axis] = share(sizes[axis], ways * series[axis], grains[axis])
        go = tiles[axis + 1] <= machine[4] and _open(axis, ways, steps, s, m)
        go = go and _divides(axis, ways, part[0], m, together)
        if go and axis >= 3:
            left = machine[4] // tiles[axis + 1]
            whole, rest = 1, 1
            for a in range(4, PARALLEL):
                if a <= axis:
                    whole *= part[a]
                else:
                    rest *= sizes[a]
            positions = whole * _up(rest, min(left, rest))
            tile = (part[0], part[1], part[2], part[3])
            if bound < NEVER and least_bytes(tile, s, m, positions) > bound:
                go = False
            elif limit < NEVER:
                split = (positions, whole * rest, tiles[axis + 1] // tiles[4])
                over = (options[1, at[1]], options[2, at[2]], options[3, at[3]])
                least = _least(m, s, machine, over, tile, split, rate, steps[0] > 1)
                go = least * loop + before <= limit
        elif go and axis == 2 and limit < NEVER:
            # a pass over out channels has the more positions the fewer out channels a tile has
            pass_out = m[7] if m[0] == AMP_1X1 or m[0] == AMP_NX1 else m[2]
            positions = _up(sizes[3] * every, (machine[4] // tiles[3]) * pass_out * steps[1])
            over = (options[1, at[1]], options[2, at[2]], 1)
            tile = (part[0], part[1], part[2], pass_out)
            go = _least(m, s, machine, over, tile, (positions, 0, 0), rate, steps[0] > 1) * loop + before <= limit
        if not go:
            at[axis] -= 1
            continue
        if axis + 1 < PARALLEL:
            axis += 1
            continue
        first = (options[0, at[0]], options[1, at[1]], options[2, at[2]], options[3, at[3]])
        p = (*first, options[4, at[4]], options[5, at[5]], options[6, at[6]], steps[0], steps[1])
        at[axis] -= 1
        cycles, memory = estimate(p, s, m, how, machine, stages, limit, none)
        if cycles >= NEVER or memory > bound:
            continue
        if wanted:
            if kept < len(rows):
                rows[kept, 0], rows[kept, 1], rows[kept, 2] = cycles, memory, tiles[PARALLEL]
                for a in range(9):
                    rows[kept, 3 + a] = p[a]
            kept += 1
            continue
        one[0], one[1], one[2] = cycles, memory, tiles[PARALLEL]
        if _before(one, found, smallest):
            found[:3] = one
            for a in range(9):
                found[3 + a] = p[a]
            kept = 1
            if smallest:
                bound = memory
            else:
                limit = cycles
    return kept
