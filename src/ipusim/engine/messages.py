"""From what each tile lacks to the messages of an exchange.

A tile receives an element once per exchange, however many of its vertices read it; a copy's target receives it as often
as it is stored.  All that one tile has for another is one message, and elements that follow one another are one stretch
of it.  Tiles that need exactly the same of a sender are served by one multicast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.links import Exchange, exchange
from ipusim.engine.schedule import Messages
from ipusim.hw.spec import SystemSpec
from ipusim.jit import jit
from ipusim.program.mapping import I64

MASK, PRIME, MODULUS = 2**31 - 1, 1_103_515_245, 2**61 - 1
NOTHING = Messages.unicast([], [], [])


def moved(rows: NDArray[np.int64], sizes: I64, device: SystemSpec, *, once: bool = True) -> Exchange:
    """The exchange for rows (from, to, first of all elements, elements, variable); see `collect`."""
    return exchange(*collect(rows, sizes, once=once, payload=device.links.payload_bytes), device)


def collect(
    rows: NDArray[np.int64], sizes: I64, *, once: bool = True, payload: int = MASK
) -> tuple[Messages, NDArray[np.int64]]:
    """Messages for rows (from, to, first of all elements, elements, variable); `sizes`: bytes per element by variable.

    Every stretch is padded to a whole 32-bit word.  `once`: what several rows ask for is sent once.

    Returns: the messages, and how many pieces of a stretch of at most `payload` bytes each has, (messages,) int64.
    """
    if not len(rows):
        return NOTHING, np.zeros(0, np.int64)
    order = np.lexsort((rows[:, 2], rows[:, 0], rows[:, 1]))
    found = _pairs(rows[order], sizes, once, payload)
    order = np.lexsort((found[1], found[2], found[4], found[0]))
    source, receiver, nbytes, pieces, key = (c[order] for c in found)
    new = np.append(True, (source[1:] != source[:-1]) | (key[1:] != key[:-1]) | (nbytes[1:] != nbytes[:-1]))
    first = np.append(np.flatnonzero(new), len(source)).astype(np.int32)
    heads = first[:-1]
    return Messages(source[heads].astype(np.int32), nbytes[heads], first, receiver.astype(np.int32)), pieces[heads]


@jit
def _pairs(rows: NDArray[np.int64], sizes: I64, once: bool, payload: int) -> tuple[I64, I64, I64, I64, I64]:
    """(source, receiver, bytes, pieces, key of the set of elements) per pair; rows by receiver, sender, element."""
    count = len(rows)
    source, receiver = np.empty(count, np.int64), np.empty(count, np.int64)
    nbytes, pieces, key = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    used, begin, reach = -1, np.int64(0), np.int64(0)  # of the open stretch
    for i in range(count + 1):
        fresh = 0 < i < count and (rows[i, 1] != rows[i - 1, 1] or rows[i, 0] != rows[i - 1, 0])
        if 0 < i < count and not fresh and rows[i, 4] == rows[i - 1, 4]:
            at = rows[i, 2]
            if at == reach or (once and at < reach):
                reach = max(reach, at + rows[i, 3])
                continue
        if i > 0:
            size = ((reach - begin) * sizes[rows[i - 1, 4]] + 3) // 4 * 4
            nbytes[used] += size
            pieces[used] += (size + payload - 1) // payload
            key[used] = _mixed(_mixed(key[used], int(begin)), int(reach))
        if i == count:
            break
        if i == 0 or fresh:
            used += 1
            source[used], receiver[used], key[used] = rows[i, 0], rows[i, 1], 1469598103
        begin, reach = rows[i, 2], rows[i, 2] + rows[i, 3]
    used += 1
    return source[:used], receiver[:used], nbytes[:used], pieces[:used], key[:used]


@jit
def _mixed(key: int, part: int) -> int:
    """A key with one more number in it; 31 bits at a time, so that no product leaves 64."""
    return ((key ^ part) & MASK) * PRIME % MODULUS + (part >> 31)


def everyone(tile: int, nbytes: int, device: SystemSpec) -> Exchange:
    """One tile tells all others the same."""
    told = to_all(tile, nbytes, device.num_tiles)
    return exchange(told, np.ones(len(told), np.int64), device)


def to_all(tile: int, nbytes: int, tiles: int) -> Messages:
    """The message of one tile to all others."""
    others = np.delete(np.arange(tiles, dtype=np.int32), tile)
    if not len(others):
        return NOTHING
    first = np.array([0, len(others)], np.int32)
    return Messages(np.array([tile], np.int32), np.array([nbytes], np.int64), first, others)
