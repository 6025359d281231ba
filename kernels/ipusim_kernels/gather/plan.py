"""How a lookup is split over tiles: columns and rows of the table, and the lookups themselves.

Cost of a split on its busiest tile (poplibs lib/popops/DynamicSlice.cpp, the embedding planner):

    share of the table that others hold, if lookups are split + indices + MultiSlice
    + if rows are split: every tile's slices of its lookups, and a second MultiSlice to pick one of them

each superstep with its barrier and each exchange with its lead-in.  Indices are taken to be spread evenly over the rows
of the table.  Columns are cut in grains of 8 bytes and rows into at most half as many pieces as there are.

Omitted: serial splits of lookups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from ipusim.hw.spec import ChipSpec
from ipusim.lower import search
from ipusim.units import ceil_div
from ipusim_kernels.gather.cycles import multi_slice

GRAIN_BYTES = 8  # [poplibs] embedding planner: columns are cut in grains of 8 bytes
INDEX_BYTES = 4  # [poplibs] offsets are unsigned words
MEMORY_SHARE = 0.6  # [poplibs] embedding planner: of a tile's memory, for what a lookup moves


@final
@dataclass(frozen=True, slots=True)
class Splits:
    """Pieces of columns, of rows and of lookups, and the cycles expected."""

    columns: int
    rows: int
    lookups: int
    cycles: int


@lru_cache(maxsize=256)
def splits(rows: int, columns: int, lookups: int, element: int, chip: ChipSpec) -> Splits:
    """The cheapest split of `lookups` from a table of (rows, columns) of `element` bytes."""
    grain = max(1, GRAIN_BYTES // element)
    grains = (ceil_div(columns, grain), max(1, rows // 2), lookups)
    table = search.candidates(grains, chip.tiles).astype(np.int64)
    by_column, by_row, by_lookup = table.T
    wide, high, many = -(-grains[0] // by_column) * grain, -(-rows // by_row), -(-lookups // by_lookup)
    rate, mk1 = chip.exchange.bytes_per_cycle, chip.generation == "mk1"
    fixed = chip.sync.on_chip_cycles + chip.exchange.lead_in_cycles + chip.exchange.latency_cycles
    share = high * wide * element
    moved = share - share // by_lookup
    expected = -(-many * high // rows)
    cycles = fixed + -(-(moved + many * INDEX_BYTES) // rate) + _slice(-(-expected // 6), wide, mk1)
    own = -(-many // by_row)
    second = fixed + -(-own * (by_row - 1) * wide * element // rate) + _slice(-(-own // 6), wide, mk1)
    cycles = np.where(by_row > 1, cycles + second, cycles)
    temporary = moved + many * wide * element
    chosen = search.best(cycles, temporary, table.prod(axis=1), int(MEMORY_SHARE * chip.tile.memory_bytes))
    assert chosen is not None  # one piece of each is always there
    pc, pr, pl = (int(n) for n in table[chosen.index])
    return Splits(pc, pr, pl, chosen.cycles)


def _slice(offsets: search.I64, columns: search.I64, mk1: bool) -> search.I64:
    """Tile cycles of MultiSlice with `offsets` for each worker, elementwise."""
    found = multi_slice(offsets, offsets, columns, 4, mk1)  # type: ignore[arg-type]  # halves take as long
    return np.asarray(6 * found if mk1 else found)
