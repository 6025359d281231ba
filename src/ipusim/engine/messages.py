"""From what each tile lacks to the messages of an exchange.

A tile receives an element once per exchange, however many of its vertices read it; all that one tile has for another is
one message.  Tiles that need exactly the same of a sender are served by one multicast.
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


def collect(rows: NDArray[np.int64], sizes: I64, tiles: int) -> Messages:
    """Messages for rows (from, to, first of all elements, elements, variable); `sizes`: bytes per element by variable.

    Every piece is padded to a whole 32-bit word.
    """
    if not len(rows):
        return NOTHING
    order = np.lexsort((rows[:, 2], rows[:, 0], rows[:, 1]))
    source, receiver, nbytes, key = _pairs(rows[order], sizes)
    order = np.lexsort((receiver, nbytes, key, source))
    source, receiver, nbytes, key = (c[order] for c in (source, receiver, nbytes, key))
    new = np.append(True, (source[1:] != source[:-1]) | (key[1:] != key[:-1]) | (nbytes[1:] != nbytes[:-1]))
    first = np.append(np.flatnonzero(new), len(source)).astype(np.int32)
    heads = first[:-1]
    return Messages(source[heads].astype(np.int32), nbytes[heads], first, receiver.astype(np.int32))


@jit
def _pairs(rows: NDArray[np.int64], sizes: I64) -> tuple[I64, I64, I64, I64]:
    """(source, receiver, bytes, key of the set of elements) per pair; rows ordered by receiver, sender, element."""
    count = len(rows)
    source, receiver = np.empty(count, np.int64), np.empty(count, np.int64)
    nbytes, key = np.zeros(count, np.int64), np.zeros(count, np.int64)
    used, reach = 0, np.int64(0)
    for i in range(count):
        if i == 0 or rows[i, 1] != rows[i - 1, 1] or rows[i, 0] != rows[i - 1, 0]:
            source[used], receiver[used] = rows[i, 0], rows[i, 1]
            nbytes[used], key[used] = 0, np.int64(1469598103)
            reach = np.int64(-1)
            used += 1
        begin, end = max(rows[i, 2], reach), rows[i, 2] + rows[i, 3]
        if end <= begin:
            continue
        nbytes[used - 1] += ((end - begin) * sizes[rows[i, 4]] + 3) // 4 * 4
        for part in (begin, end):  # 31 bits at a time, so that no product leaves 64
            key[used - 1] = ((key[used - 1] ^ part) & MASK) * PRIME % MODULUS + (part >> 31)
        reach = end
    return source[:used], receiver[:used], nbytes[:used], key[:used]


def everyone(tile: int, nbytes: int, chip: ChipSpec) -> Schedule:
    """One tile tells all others the same."""
    others = np.array([t for t in range(chip.tiles) if t != tile], np.int32)
    if not len(others):
        return schedule(NOTHING, tiles=chip.tiles, spec=chip.exchange)
    whole = Messages(
        np.array([tile], np.int32), np.array([nbytes], np.int64), np.array([0, len(others)], np.int32), others
    )
    return schedule(whole, tiles=chip.tiles, spec=chip.exchange)
