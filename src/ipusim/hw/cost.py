"""What moving data and waiting costs, in cycles: pure formulas that the planner and the engine share.

Exchange.  Ideal: a tile receives 4 bytes and sends 4 bytes per cycle, both at once, in a schedule fixed when the
program is compiled, so a phase lasts as long as its busiest tile:

    cycles = lead-in + latency + max over tiles of max(sent / 4, (received - shared / 2) / 4)

`shared` is what two bus partners receive alike: each lends the other its bus (poplibs
lib/popops/ExchangeEstimator.cpp). Omitted: gaps that a real first-fit schedule leaves when a sender and a receiver
are not free together, and the distance between tiles beyond its mean.  Source of the lead-in (110) and of the mean
latency (65): docs/numbers.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipusim.hw.spec import ExchangeSpec, SyncSpec
from ipusim.jit import jit

I64 = NDArray[np.int64]


@jit
def transfer_cycles(received: int, shared: int, bytes_per_cycle: int) -> int:
    """Cycles in which a tile receives `received` bytes of which its bus partner receives `shared` as well."""
    return (2 * received - shared + 2 * bytes_per_cycle - 1) // (2 * bytes_per_cycle)


def exchange_phase_cycles(sent: I64, received: I64, shared: I64, spec: ExchangeSpec) -> int:
    """Length of an exchange phase from bytes per tile, each (tiles,) int64; 0 if nothing moves."""
    busiest = int(received.max())
    if busiest == 0:
        return 0
    both = shared if spec.paired_receive else np.zeros_like(shared)
    width = 2 * spec.bytes_per_cycle
    arriving = int((-(-(2 * received - both) // width)).max())
    leaving = -(-int(sent.max()) // spec.bytes_per_cycle)
    return spec.lead_in_cycles + spec.latency_cycles + max(arriving, leaving)


def sync_cycles(spec: SyncSpec) -> int:
    """Cycles of the barrier before a superstep on one IPU."""
    return spec.on_chip_cycles


LAUNCH_CYCLES = 11  # [poplibs] lib/popnn/popnnCycleEstimators.cpp: a call of a vertex by the supervisor of a tile
COPY_SLOTS = 40  # [assumed] issue slots of a copy vertex beside its rows: entry, work list, exit
COPY_ROW_SLOTS = 8  # [lbm-graphcore] slots per row of a strided copy, fitted to the half4 rows of its profiled stencil
COPY_WORD_BYTES = 8  # [poplibs] a copy moves a 64-bit word per slot, a 32-bit word where data is not aligned to 8 bytes
PREDICATE_BYTES = 4  # [poplar] a condition is one word, read by every tile
HOST_BYTES_PER_SECOND = 7_900_000_000  # [hpc-cookbook] gc-inventory of a C2: PCIe Gen3 x8 per IPU and direction


def host_cycles(nbytes: int, clock_hz: float) -> int:
    """Cycles of moving bytes between host and one IPU, both ends ready."""
    return -(-int(nbytes * clock_hz) // HOST_BYTES_PER_SECOND)
