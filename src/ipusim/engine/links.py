"""An exchange over all tiles of a device: on every chip its own schedule, between chips a phase of the links.

What a message has for tiles of its own chip goes into the schedule of that chip; chips do theirs at the same time, so
the phase lasts as long as the slowest one's.  What it has for tiles of another chip crosses once, however many of them
listen there, and is a multicast on arrival.  The phase of the links (ipusim.hw.links) comes after.  An exchange that
crosses needs a barrier over all IPUs of the device, any other one that of a chip.

Omitted: chips that need no barrier run ahead of the others; what arrives over links takes no time of the on-chip
exchange.  Assumed: a packet needs PACKET_INSTRUCTIONS of exchange code at the tile that sends it and at the one that
receives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.schedule import INSTRUCTION_BYTES, Messages, schedule
from ipusim.hw import links
from ipusim.hw.spec import SystemSpec
from ipusim.program.mapping import I64

PACKET_INSTRUCTIONS = 3  # [ipu-stack] source select, neutralise and pointer write for a piece that lands by itself


@final
@dataclass(frozen=True, eq=False, slots=True)
class Exchange:
    """What moves before or after a superstep, and for how long.

    `cycles`: of the slowest chip's own schedule, `link_cycles`: of the phase between chips, 0 where nothing moves;
    `ipus`: over how many of them the barrier goes.  Each tile, (tiles,) int64: `sent`, `received` bytes, those over
    links included, `over_links`: the part of `received` that came over links, `code_bytes` of exchange instructions.
    """

    cycles: int
    link_cycles: int
    ipus: int
    sent: I64
    received: I64
    over_links: I64
    code_bytes: I64

    @property
    def moves(self) -> bool:
        """Anything moves."""
        return self.cycles + self.link_cycles > 0

    def sync_cycles(self, device: SystemSpec) -> int:
        """Cycles of the barrier before it."""
        return links.sync_cycles(device, self.ipus)


def exchange(messages: Messages, packets: I64, device: SystemSpec) -> Exchange:
    """The exchange of some messages; `packets` (messages,): contiguous runs of at most a packet's payload."""
    tiles = device.num_tiles
    near, over = (messages, None) if device.ipus == 1 else _split(messages, packets, device.chip.tiles)
    placed = schedule(near, tiles=tiles, spec=device.chip.exchange, chip_tiles=device.chip.tiles)
    if over is None or not len(over.messages):
        return Exchange(
            placed.cycles, 0, 1, placed.sent, placed.received, np.zeros(tiles, np.int64), placed.code_bytes
        )
    moved, counts = over.messages, np.diff(over.messages.first)
    sent, leaving = (_at(moved.source, w, tiles) for w in (moved.bytes, over.packets))
    received, arriving = (_at(moved.receivers, np.repeat(w, counts), tiles) for w in (moved.bytes, over.packets))
    source, target = (
        (t // device.chip.tiles).astype(np.int64) for t in (moved.source, moved.receivers[moved.first[:-1]])
    )
    most = max(links.busiest_packets(leaving, device), links.busiest_packets(arriving, device))
    return Exchange(
        cycles=placed.cycles,
        link_cycles=links.phase_cycles(links.Flows(source, target, moved.bytes), most, device),
        ipus=device.ipus,
        sent=placed.sent + sent,
        received=placed.received + received,
        over_links=received,
        code_bytes=placed.code_bytes + INSTRUCTION_BYTES * PACKET_INSTRUCTIONS * (leaving + arriving),
    )


def _at(tile: NDArray[np.int32], amount: I64, tiles: int) -> I64:
    return np.bincount(tile, amount, tiles).astype(np.int64)


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Over:
    """Messages to other chips, all receivers of one on one chip, and the packets of each."""

    messages: Messages
    packets: I64


def _split(messages: Messages, packets: I64, chip_tiles: int) -> tuple[Messages, _Over]:
    """(what stays on its chip, what goes to another), each message once per chip of its receivers."""
    row = np.repeat(np.arange(len(messages)), np.diff(messages.first))
    chip = messages.receivers // chip_tiles
    order = np.lexsort((chip, row))
    row, chip, receivers = row[order], chip[order], messages.receivers[order]
    new = np.append(True, (row[1:] != row[:-1]) | (chip[1:] != chip[:-1]))[: len(row)]
    part = np.cumsum(new) - 1
    of, home = row[new], messages.source[row[new]] // chip_tiles == chip[new]
    parts = []
    for chosen in (home, ~home):
        count = np.bincount(part[chosen[part]], minlength=len(of))[chosen]
        first = np.append(0, np.cumsum(count)).astype(np.int32)
        mine = of[chosen]
        parts.append((Messages(messages.source[mine], messages.bytes[mine], first, receivers[chosen[part]]), mine))
    (near, _), (over, mine) = parts
    return near, _Over(over, packets[mine])
