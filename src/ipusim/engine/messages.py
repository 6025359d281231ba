"""From what each tile lacks to the messages of an exchange.

A tile receives an element once per exchange, however many of its vertices read it; a copy's target receives it as often
as it is stored.  All that one tile has for another is one message, and elements that follow one another are one stretch
of it.  Tiles that need exactly the same of a sender are served by one multicast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.schedule import Messages, Schedule, schedule
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.program.mapping import I64

MASK, PRIME, MODULUS = 2**31 - 1, 1_103_515_245, 2**61 - 1
NOTHING = Messages.unicast([], [], [])


def collect(rows: NDArray[np.int64], sizes: I64, *, once: bool = True) -> Messages:
    """Messages for rows (from, to, first of all elements, elements, variable); `sizes`: bytes per element by variable.

    Every stretch is padded to a whole 32-bit word.  `once`: what several rows ask for is sent once.
    """
    if not len(rows):
        return NOTHING
    order = np.lexsort((rows[:, 2], rows[:, 0], rows[:, 1]))
    source, receiver, nbytes, key = _pairs(rows[order], sizes, once)
    order = np.lexsort((receiver, nbytes, key, source))
    source, receiver, nbytes, key = (c[order] for c in (source, receiver, nbytes, key))
    new = np.append(True, (source[1:] != source[:-1]) | (key[1:] != key[:-1]) | (nbytes[1:] != nbytes[:-1]))
    first = np.append(np.flatnonzero(new), len(source)).astype(np.int32)
    heads = first[:-1]
    return Messages(source[heads].astype(np.int32), nbytes[heads], first, receiver.astype(np.int32))


@jit
def _pairs(rows: NDArray[np.int64], sizes: I64, once: bool) -> tuple[I64, I64, I64, I64]:
    """(source, receiver, bytes, key of the set of elements) per pair; rows ordered by receiver, sender, element."""
    count = len(rows)
    source, receiver = np.empty(count, np.int64), np.empty(count, np.int64)
    nbytes, key = np.zeros(count, np.int64), np.zeros(count, np.int64)
    used, begin, reach = -1, np.int64(0), np.int64(0)  # of the open stretch
    for i in range(count):
        fresh = i == 0 or rows[i, 1] != rows[i - 1, 1] or rows[i, 0] != rows[i - 1, 0]
        at, end = rows[i, 2], rows[i, 2] + rows[i, 3]
        if not fresh and rows[i, 4] == rows[i - 1, 4] and (at == reach or (once and at < reach)):
            reach = max(reach, end)
            continue
        if i > 0:
            nbytes[used] += ((reach - begin) * sizes[rows[i - 1, 4]] + 3) // 4 * 4
            key[used] = _mixed(_mixed(key[used], int(begin)), int(reach))
        if fresh:
            used += 1
            source[used], receiver[used], key[used] = rows[i, 0], rows[i, 1], 1469598103
        begin, reach = at, end
    nbytes[used] += ((reach - begin) * sizes[rows[count - 1, 4]] + 3) // 4 * 4
    key[used] = _mixed(_mixed(key[used], int(begin)), int(reach))
    used += 1
    return source[:used], receiver[:used], nbytes[:used], key[:used]


@jit
def _mixed(key: int, part: int) -> int:
    """A key with one more number in it; 31 bits at a time, so that no product leaves 64."""
    return ((key ^ part) & MASK) * PRIME % MODULUS + (part >> 31)


def everyone(tile: int, nbytes: int, chip: ChipSpec) -> Schedule:
    """One tile tells all others the same."""
    others = np.array([t for t in range(chip.tiles) if t != tile], np.int32)
    if not len(others):
        return schedule(NOTHING, tiles=chip.tiles, spec=chip.exchange)
    whole = Messages(
        np.array([tile], np.int32), np.array([nbytes], np.int64), np.array([0, len(others)], np.int32), others
    )
    return schedule(whole, tiles=chip.tiles, spec=chip.exchange)
