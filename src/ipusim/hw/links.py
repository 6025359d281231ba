"""Several IPUs: how data go from one to another, and how long a barrier over them takes.

The ladder.  IPUs 2k and 2k + 1 are a pair (a card of GC2), joined by a rung of `rung_links` links; pairs stand one
above the other, joined on each side by `side_links` links.  A packet takes the rung first if it has to change sides,
then goes up or down.  Links work both ways at once.  Source: github graphcore/poplibs lib/poplibs_test/Util.cpp, the
vendor's model of a server of C2 cards: 128 Gibit/s a link, of which 85 % carry data.

A phase.  Ideal: as long as the busiest link and direction needs for its bytes.  But each contiguous run of a sender is
a packet of its own, of at most `payload_bytes`, and packets leave and enter a chip through the contexts of its exchange
blocks, each of which handles one at a time, however short, in `packet_cycles`.  Packets of one tile follow one another,
those of different tiles are spread over the contexts; the greedy order of such chains ends no later than

    packet_cycles x (packets of the busiest tile + packets of its chip / contexts)

and a phase takes

    latency + hops of the longest route x hop + max(that, bytes of the busiest link / (links x rate x efficiency))

Omitted: which tiles share which context (taken as spread evenly: consecutive tiles in one context do not explain the
rows below); packets that meet in a queue on the way; a second path where there is one.

Two constants of GC2, `packet_cycles` and `latency_cycles`, were set on three rows of tests/data/measurements.csv: M0070
and M0071 less M0069, columns of single pixels between 2 and 4 IPUs, 23 packets a tile, 1,096 a border: 5,572 and 7,742
cycles of links, here 5,497 and 7,726; and M0103, rows of pixels between 16 IPUs, 3 packets a tile, 588 a border: 3,043
cycles, here 3,098.  Latency and hops cannot be told apart by these rows: a hop takes the 15 ns of a barrier's.

A barrier over several IPUs takes `sync_cycles` and 15 ns for each hop there and back, 1 + n / 4 hops for n IPUs (the
same file); `sync_cycles` is what the profile of 16 IPUs (M0102, 501 cycles) leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.hw.spec import SystemSpec

I64 = NDArray[np.int64]
Link = tuple[int, int]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Flows:
    """Bytes that go from IPU `source` to IPU `target`, each column (flows,) int64."""

    source: I64
    target: I64
    nbytes: I64


def sync_cycles(system: SystemSpec, ipus: int) -> int:
    """Cycles of the barrier over `ipus` IPUs of a system before a superstep; of one IPU: that of its chip."""
    if ipus == 1:
        return system.chip.sync.on_chip_cycles
    return system.links.sync_cycles + 2 * (1 + ipus // 4) * hop_cycles(system)


def hop_cycles(system: SystemSpec) -> int:
    """Cycles of one hop between IPUs, one way."""
    return round(system.links.hop_seconds * system.chip.clock_hz)


def route(source: int, target: int) -> tuple[Link, ...]:
    """Links (from, to) that a packet takes from one IPU to another: the rung if it changes sides, then up or down."""
    path, at = [], source
    if (source ^ target) & 1:
        path.append((at, at ^ 1))
        at ^= 1
    step = 2 if target > at else -2
    while at != target:
        path.append((at, at + step))
        at += step
    return tuple(path)


@lru_cache(maxsize=16)
def _routes(ipus: int) -> tuple[dict[Link, int], tuple[tuple[I64, ...], ...]]:
    """(number of each link, numbers of the links of the route from each IPU to each)."""
    number: dict[Link, int] = {}
    found = []
    for a in range(ipus):
        paths = [[number.setdefault(link, len(number)) for link in route(a, b)] for b in range(ipus)]
        found.append(tuple(np.array(path, np.int64) for path in paths))
    return number, tuple(found)


def phase_cycles(flows: Flows, packets: float, system: SystemSpec) -> int:
    """Cycles of a phase between IPUs.  `packets`: what `busiest_packets` gives, the larger of both ways.

    Returns: cycles, at least the latency.
    """
    spec = system.links
    ipus = system.ipus + system.ipus % 2
    number, routes = _routes(ipus)
    load, hops = np.zeros(len(number), np.int64), 0
    pair, which = np.unique(flows.source * ipus + flows.target, return_inverse=True)
    nbytes = np.bincount(which, flows.nbytes).astype(np.int64)
    for (a, b), amount in zip((divmod(p, ipus) for p in pair.tolist()), nbytes, strict=True):
        load[routes[a][b]] += amount
        hops = max(hops, len(routes[a][b]))
    wide = np.array([spec.rung_links if a // 2 == b // 2 else spec.side_links for a, b in number])
    rate = spec.bytes_per_second * spec.efficiency / system.chip.clock_hz
    busiest = math.ceil(float((load / wide).max()) / rate)
    return spec.latency_cycles + hops * hop_cycles(system) + max(busiest, math.ceil(packets * spec.packet_cycles))


def busiest_packets(tile: I64, system: SystemSpec) -> float:
    """Packets that the slowest chip waits for, one after another: of its busiest tile, and of each of its contexts.

    `tile` (tiles,) int64: packets of each tile of the system, one way.
    """
    chips = tile.reshape(system.ipus, -1)
    return float((chips.max(axis=1) + chips.sum(axis=1) / system.links.contexts).max())
