"""What moving data and waiting costs, in cycles: pure formulas for planners and the engine.

Exchange.  Ideal: a tile receives 4 bytes and sends 4 bytes per cycle, both at once, in a schedule fixed when the
program is compiled, so a phase lasts as long as its busiest tile:

    cycles = lead-in + latency + (received - shared / 2) / 4 + gaps

`shared` is what two bus partners receive alike: each lends the other its bus (poplibs
lib/popops/ExchangeEstimator.cpp).  This is a planner's estimate: the engine places messages one by one
(ipusim.engine.schedule); the gaps that a sender and a receiver leave that are not free together are here a share of the
time, the latency is one for all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.hw.spec import SyncSpec
from ipusim.jit import jit

I64 = NDArray[np.int64]


@jit
def transfer_cycles(received: int, shared: int, bytes_per_cycle: int) -> int:
    """Cycles in which a tile receives `received` bytes of which its bus partner receives `shared` as well."""
    return (2 * received - shared + 2 * bytes_per_cycle - 1) // (2 * bytes_per_cycle)


#: [derived] by how many percent the static schedule of a planned exchange is longer than what its busiest tile moves:
#: multicasts of operands, and unicasts of partial sums.  benchmarks/planner.py and tests/lower hold plans to it.
MULTICAST_GAP, UNICAST_GAP = 24, 14


@jit
def with_gaps(cycles: int, percent: int) -> int:
    """Cycles of moving data with the gaps that a schedule leaves."""
    return cycles + (cycles * percent + 99) // 100


def sync_cycles(spec: SyncSpec) -> int:
    """Cycles of the barrier before a superstep on one IPU."""
    return spec.on_chip_cycles


LAUNCH_CYCLES = 11  # [poplibs] lib/popnn/popnnCycleEstimators.cpp: a call of a vertex by the supervisor of a tile
#: [M0478] by which a library MultiVertex is slower than its formula: 285 cycles counted for 10 additions, formula 203.
#: Its start: the stub that the compiler writes, the state of the vertex, the work split.  The matrix unit's vertices
#: agree with theirs without it (M0350, M0353, M0365, M0413): those formulas price the supervisor's code line by line.
MULTI_STUB_CYCLES = 82
COPY_SLOTS = 40  # [assumed] issue slots of a copy vertex beside its rows: entry, work list, exit
COPY_ROW_SLOTS = 8  # [lbm-graphcore] slots per row of a strided copy, fitted to the half4 rows of its profiled stencil
COPY_WORD_BYTES = 8  # [poplibs] a copy moves a 64-bit word per slot, a 32-bit word where data is not aligned to 8 bytes
PREDICATE_BYTES = 4  # [poplar] a condition is one word, read by every tile
HOST_BYTES_PER_SECOND = 7_900_000_000  # [hpc-cookbook] gc-inventory of a C2: PCIe Gen3 x8 per IPU and direction


@jit
def copy_cycles(rows: int, words: int, workers: int) -> int:
    """Cycles of on-tile copies whose rows (of more than a word) and words are dealt to all workers of a tile."""
    if words == 0:
        return 0
    return workers * (COPY_SLOTS + (rows + workers - 1) // workers * COPY_ROW_SLOTS + (words + workers - 1) // workers)


@jit
def tile_copy_cycles(rows: I64, words: I64, workers: int) -> I64:
    """`copy_cycles` of every tile."""
    out = np.empty(len(rows), np.int64)
    for tile in range(len(rows)):
        out[tile] = copy_cycles(rows[tile], words[tile], workers)
    return out


def host_cycles(nbytes: int, clock_hz: float) -> int:
    """Cycles of moving bytes between host and one IPU, both ends ready."""
    return -(-int(nbytes * clock_hz) // HOST_BYTES_PER_SECOND)
