"""From the boxes that vertices read to the messages of an exchange.

A tile sends what it owns of a box once, to all other tiles that need that box: a multicast.  Where boxes of several
tiles overlap in part (halos), the overlap is cut at their bounds, so that every element leaves its tile once and each
message has one set of receivers.  Messages of one compute set with the same sender and the same receivers are one.

With a paired receive (`ExchangeSpec.paired_receive`) a message that goes to whole bus pairs takes half the time.  If
one goes to whole pairs and to others it may be sent twice, at double rate to the pairs and once more to the others:
`halved` says what that does to messages, and the phase takes the form whose busiest tile is done first.

Omitted: an element that two fields of one vertex read is sent for each of them; elements stored apart that travel in
one message are taken to be sent and stored in one stretch (on-tile copies bring them together: ipusim.engine.compute).
"""

from __future__ import annotations

import numpy as np

from ipusim.engine.distinct import distinct_rows
from ipusim.engine.schedule import Messages
from ipusim.jit import jit
from ipusim.program.graph import Boxes, Rows
from ipusim.program.mapping import I32, I64, Mapping

Columns = tuple[I32, I64, I32, I32]  # source, bytes, first, receivers: see `Messages`
MASK, PRIME = 2**31 - 1, 1_103_515_245  # of the keys of hash tables
MARKED = 1 << 20  # elements of an axis whose bounds are found by marking them rather than by sorting


def box_messages(rows: Rows, boxes: Boxes, mapping: Mapping, *, tiles: int, element_bytes: int) -> Columns:
    """Messages for one field of a vertex group, by sender and then as its boxes come; receivers ascend."""
    owner = np.repeat(rows.tile, np.diff(boxes.first))
    lo, hi, cuts = _real_boxes(boxes, mapping)
    full = (hi > lo).all(axis=1)
    if not full.all():
        lo, hi, owner = lo[full], hi[full], owner[full]
    head, following, groups = _equal_boxes(lo, hi, owner)
    head = head[:groups]
    lo, hi = lo[head], hi[head]
    fine = [_bounds(c, lo[:, a], hi[:, a]) for a, c in enumerate(cuts)]
    begin = np.stack([np.searchsorted(f, lo[:, a]) for a, f in enumerate(fine)], axis=1)
    end = np.stack([np.searchsorted(f, hi[:, a]) for a, f in enumerate(fine)], axis=1)
    cell = [np.searchsorted(c, f[:-1], "right") - 1 for c, f in zip(cuts, fine, strict=True)]
    first, number, place, volume = _pair_cells(
        begin.astype(np.int64),
        end.astype(np.int64),
        np.concatenate([np.diff(f) for f in fine]).astype(np.int64),
        np.concatenate(cell).astype(np.int64),
        np.concatenate([[0], np.cumsum([len(c) for c in cell])]).astype(np.int64),
        np.array([len(c) - 1 for c in cuts], np.int64),
    )
    owners = np.ascontiguousarray(mapping.tiles).ravel()
    if _overlap(lo, hi):
        source, elements, of, members = _shared_cells(first, number, place, volume, owners)
    else:
        source, elements, of, members = _whole_boxes(first, place, volume, owners, tiles)
    to, receivers = _receivers(source, of, members, head, following, owner, tiles)
    return source, elements * element_bytes, to, receivers


def _real_boxes(boxes: Boxes, mapping: Mapping) -> tuple[I32, I32, tuple[I32, ...]]:
    """Bounds of the boxes and cuts of the mapping, broadcast axes as one element, a scalar as an axis of one."""
    if not mapping.shape:
        count = len(boxes.lo)
        return np.zeros((count, 1), np.int32), np.ones((count, 1), np.int32), (np.array([0, 1], np.int32),)
    if not any(mapping.repeats):
        return boxes.lo, boxes.hi, mapping.cuts
    lo, hi, cuts = boxes.lo.copy(), boxes.hi.copy(), list(mapping.cuts)
    for a, again in enumerate(mapping.repeats):
        if again:
            lo[:, a], hi[:, a] = 0, np.minimum(hi[:, a] - lo[:, a], 1)
            cuts[a] = np.array([0, 1], np.int32)
    return lo, hi, tuple(cuts)


def _bounds(cut: I32, lo: I32, hi: I32) -> I64:
    """Ascending bounds of an axis: those of the mapping and of all boxes."""
    size = int(cut[-1])
    if size > MARKED:
        return np.unique(np.concatenate([cut, lo, hi])).astype(np.int64)
    marks = np.zeros(size + 1, np.bool_)
    marks[cut] = marks[lo] = marks[hi] = True
    return np.flatnonzero(marks)


def _overlap(lo: I32, hi: I32) -> bool:
    """Whether some of the distinct boxes may have elements in common: on some axis two different ranges meet."""
    for a in range(lo.shape[1]):
        ranges = np.ascontiguousarray(np.stack([lo[:, a], hi[:, a]], axis=1))
        _, first, count = distinct_rows(ranges)
        ranges = ranges[first[:count]]
        ranges = ranges[np.lexsort((ranges[:, 1], ranges[:, 0]))]
        if (ranges[1:, 0] < ranges[:-1, 1]).any():
            return True
    return False


@jit
def _equal_boxes(lo: I32, hi: I32, owner: I32) -> tuple[I64, I32, int]:
    """Chains of boxes with the same bounds: `head` (groups) and `following` (boxes), -1 at the end of a chain.

    A tile that needs a box twice stands in its chain once.
    """
    count, rank = lo.shape
    both = np.empty((count, 2 * rank), np.int32)
    both[:, :rank] = lo
    both[:, rank:] = hi
    group, head, groups = distinct_rows(both)
    tail = head.copy()
    following = np.full(count, -1, np.int32)
    for i in range(count):
        last = tail[group[i]]
        if owner[last] != owner[i]:
            following[last] = i
            tail[group[i]] = i
    return head, following, groups


@jit
def _mixed(key: int, part: int) -> int:
    """A key below 2^62 with one more number in it (multiply with carry): no product leaves 64 bits."""
    return np.int64((key ^ part) & MASK) * PRIME + (key >> 31) + (part >> 31)  # type: ignore[return-value]


@jit
def _slot(keys: I64, key: int) -> int:
    """Where `key` is or goes in a table of keys (-1: free), a power of two long."""
    at = _mixed(PRIME, key)
    at = (at ^ (at >> 23)) & (len(keys) - 1)
    while keys[at] >= 0 and keys[at] != key:
        at = (at + 1) & (len(keys) - 1)
    return at


@jit
def _table(entries: int) -> I64:
    size = 16
    while size < 2 * entries:
        size *= 2
    return np.full(size, -1, np.int64)


@jit
def _pair_cells(
    begin: I64, end: I64, length: I64, cell: I64, offsets: I64, grid: I64
) -> tuple[I64, I64, I64, I64]:
    """Every fine cell of every box: where those of a box begin, then per entry its number, its mapping cell, volume."""
    boxes, rank = begin.shape
    first = np.zeros(boxes + 1, np.int64)
    for b in range(boxes):
        count = np.int64(1)
        for a in range(rank):
            count *= end[b, a] - begin[b, a]
        first[b + 1] = first[b] + count
    number, place, volume = np.empty(first[-1], np.int64), np.empty(first[-1], np.int64), np.empty(first[-1], np.int64)
    at = np.empty(rank, np.int64)
    for b in range(boxes):
        at[:] = begin[b]
        for i in range(first[b], first[b + 1]):
            number[i], place[i], volume[i] = 0, 0, 1
            for a in range(rank):
                k = offsets[a] + at[a]
                number[i] = number[i] * (offsets[a + 1] - offsets[a]) + at[a]
                place[i] = place[i] * grid[a] + cell[k]
                volume[i] *= length[k]
            a = rank - 1
            while a >= 0:
                at[a] += 1
                if at[a] < end[b, a]:
                    break
                at[a] = begin[b, a]
                a -= 1
    return first, number, place, volume


@jit
def _whole_boxes(first: I64, place: I64, volume: I64, owners: I32, tiles: int) -> tuple[I32, I64, I64, I32]:
    """No two boxes share an element: a message per box and sender."""
    source, amount = np.empty(len(place), np.int32), np.empty(len(place), np.int64)
    members = np.empty(len(place), np.int32)
    at = np.full(tiles, -1, np.int64)
    used = 0
    for b in range(len(first) - 1):
        start = used
        for i in range(first[b], first[b + 1]):
            tile = owners[place[i]]
            if at[tile] < start:
                at[tile] = used
                source[used], amount[used], members[used] = tile, 0, b
                used += 1
            amount[at[tile]] += volume[i]
    return source[:used], amount[:used], np.arange(used + 1), members[:used]


@jit
def _shared_cells(
    first: I64, number: I64, place: I64, volume: I64, owners: I32
) -> tuple[I32, I64, I64, I32]:
    """Boxes overlap: a message per sender and set of boxes that hold the same elements."""
    entries = len(number)
    keys = _table(entries)
    slot = np.empty(entries, np.int64)
    wanted, mix = np.zeros(len(keys), np.int32), np.zeros(len(keys), np.int64)
    for b in range(len(first) - 1):
        for i in range(first[b], first[b + 1]):
            at = _slot(keys, number[i])
            keys[at] = number[i]
            slot[i] = at
            wanted[at] += 1
            mix[at] = _mixed(mix[at], b + 1)
    kinds = _table(entries)
    of_kind = np.empty(len(kinds), np.int64)
    message = np.full(len(keys), -1, np.int64)  # of a cell that stands for its message
    seen = np.zeros(len(keys), np.bool_)
    source, amount, sizes = np.empty(entries, np.int32), np.zeros(entries, np.int64), np.empty(entries, np.int64)
    used = 0
    for i in range(entries):
        at = slot[i]
        if seen[at]:
            continue
        seen[at] = True
        tile = owners[place[i]]
        key = _mixed(mix[at], tile)
        where = _slot(kinds, key)
        if kinds[where] < 0:
            kinds[where], of_kind[where] = key, used
            source[used], sizes[used], message[at] = tile, wanted[at], used
            used += 1
        amount[of_kind[where]] += volume[i]
    begin = np.zeros(used + 1, np.int64)
    for m in range(used):
        begin[m + 1] = begin[m] + sizes[m]
    members = np.empty(begin[-1], np.int32)
    filled = begin[:-1].copy()
    for b in range(len(first) - 1):
        for i in range(first[b], first[b + 1]):
            m = message[slot[i]]
            if m >= 0:
                members[filled[m]] = b
                filled[m] += 1
    return source[:used], amount[:used], begin, members


@jit
def _receivers(
    source: I32, first: I64, members: I32, head: I64, following: I32, owner: I32, tiles: int
) -> tuple[I32, I32]:
    """Tiles that need the boxes of each message, without its sender: (first (messages + 1,), receivers)."""
    total = 0
    lengths = np.zeros(len(head), np.int64)
    for b in range(len(head)):
        i = head[b]
        while i >= 0:
            lengths[b] += 1
            i = following[i]
    for k in range(len(members)):
        total += lengths[members[k]]
    begin, out = np.zeros(len(source) + 1, np.int32), np.empty(total, np.int32)
    stamp = np.full(tiles, -1, np.int64)
    used = 0
    for m in range(len(source)):
        stamp[source[m]] = m
        start = used
        for k in range(first[m], first[m + 1]):
            i = np.int64(head[members[k]])
            while i >= 0:
                if stamp[owner[i]] != m:
                    stamp[owner[i]] = m
                    out[used] = owner[i]
                    used += 1
                i = np.int64(following[i])
        if first[m + 1] - first[m] > 1:
            out[start:used].sort()
        begin[m + 1] = used
    return begin, out[:used]


def merged(parts: list[Columns]) -> Messages:
    """Messages of several fields as one exchange: those with equal ends become one, empty ones are left out."""
    if not parts:
        return Messages.unicast([], [], [])
    source = np.concatenate([p[0] for p in parts])
    nbytes = np.concatenate([p[1] for p in parts])
    shift = np.cumsum([0, *(len(p[3]) for p in parts)])
    first = np.concatenate([[0], *(p[2][1:] + s for p, s in zip(parts, shift, strict=False))]).astype(np.int32)
    return Messages(*_merge(source, nbytes, first, np.concatenate([p[3] for p in parts])))


@jit
def _merge(source: I32, nbytes: I64, first: I32, receivers: I32) -> tuple[I32, I64, I32, I32]:
    count = len(source)
    table = _table(count)
    kept_source, kept_bytes = np.empty(count, np.int32), np.empty(count, np.int64)
    kept_first = np.zeros(count + 1, np.int32)
    kept = np.empty(len(receivers), np.int32)
    used = 0
    mask = len(table) - 1
    for m in range(count):
        begin, end = first[m], first[m + 1]
        if begin == end:
            continue
        key = int(source[m])
        for k in range(begin, end):
            key = _mixed(key, receivers[k])
        at = (key ^ (key >> 23)) & mask
        while table[at] >= 0:
            old = table[at]
            low = kept_first[old]
            same = kept_source[old] == source[m] and kept_first[old + 1] - low == end - begin
            k = 0
            while same and k < end - begin:
                same = kept[low + k] == receivers[begin + k]
                k += 1
            if same:
                break
            at = (at + 1) & mask
        if table[at] >= 0:
            kept_bytes[table[at]] += nbytes[m]
            continue
        table[at] = used
        kept_source[used], kept_bytes[used] = source[m], nbytes[m]
        low = kept_first[used]
        kept[low : low + end - begin] = receivers[begin:end]
        used += 1
        kept_first[used] = low + end - begin
    return kept_source[:used], kept_bytes[:used], kept_first[: used + 1], kept[: kept_first[used]]


def halved(m: Messages) -> Messages:
    """The same messages, those that go to whole bus pairs (tiles 2k and 2k + 1) and to others sent to each apart."""
    return Messages(*_halved(m.source, m.bytes, m.first, m.receivers))


@jit
def _halved(source: I32, nbytes: I64, first: I32, receivers: I32) -> tuple[I32, I64, I32, I32]:
    """Columns of `halved`."""
    count = len(source)
    out_source, out_bytes = np.empty(2 * count, np.int32), np.empty(2 * count, np.int64)
    out_first = np.zeros(2 * count + 1, np.int32)
    out = np.empty(len(receivers), np.int32)
    used, filled = 0, 0
    for m in range(count):
        for whole in (True, False):
            start = filled
            for k in range(first[m], first[m + 1]):
                tile = receivers[k]
                near = k - 1 if tile % 2 == 1 else k + 1
                paired = first[m] <= near < first[m + 1] and receivers[near] == tile ^ 1
                if paired == whole:
                    out[filled] = tile
                    filled += 1
            if filled > start:
                out_source[used], out_bytes[used] = source[m], nbytes[m]
                used += 1
                out_first[used] = filled
    return out_source[:used], out_bytes[:used], out_first[: used + 1], out[:filled]
