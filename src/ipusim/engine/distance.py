"""Where tiles lie on a chip, and the cycles a word takes from one to another.

A chip is a spine with columns of supertiles on both sides of it, half of the columns on each; the tiles of a supertile
are equally far from everything.  A word goes down its column to the spine, along it, and up the receiver's column:

    latency = least + row_cycles x (rows of both from the spine) + column_cycles x column steps
              + crossing_cycles if they lie on different sides

Sources: the geometry is that of the header constants of GC2 (16 columns of 19 supertiles of 4 tiles); 2 cycles a row
and 6 a column are those of github osmarks/ipu-stack for a C600, whose least latency, 19, and longest, 165, this formula
meets with 23 rows (166); its mean over all pairs is 87 there, 65 by that source.  Assumed: numbers of tiles run through
a supertile, then along the columns of one row, then on to the next row.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ipusim.hw.spec import ExchangeSpec
from ipusim.jit import jit
from ipusim.program.mapping import I32, I64

#: (cycles to the spine, cycles along it from its first column, side) of each tile, and what every word and every change
#: of sides takes.
Places = tuple[I64, I64, I64, int, int]


@lru_cache(maxsize=16)
def places(tiles: int, chip_tiles: int, spec: ExchangeSpec) -> Places:
    """Places of `tiles` tiles on chips of `chip_tiles`, all built alike."""
    supertile = np.arange(tiles, dtype=np.int64) % chip_tiles // spec.supertile_tiles
    row, column = np.divmod(supertile, spec.columns)
    half = max(1, spec.columns // 2)
    side, along = column // half, column % half
    return row * spec.row_cycles, along * spec.column_cycles, side, spec.least_latency_cycles, spec.crossing_cycles


def turns(source: I32, receiver: I32, chip_tiles: int, spec: ExchangeSpec) -> I64:
    """How far each receiver lies from its sender, going round: by columns, then rows, then tiles of a supertile.

    Tiles that all send to others at one turn send to different ones, and along the spine equally far.
    """
    width, tall = spec.supertile_tiles, -(-chip_tiles // (spec.supertile_tiles * spec.columns))
    ends = [t.astype(np.int64) % chip_tiles for t in (source, receiver)]
    lane, column, row = (
        (there - here) % size
        for size, (here, there) in (
            (width, [t % width for t in ends]),
            (spec.columns, [t // width % spec.columns for t in ends]),
            (tall, [t // (width * spec.columns) for t in ends]),
        )
    )
    return np.asarray((column * tall + row) * width + lane)


@jit
def latency(source: int, receiver: int, where: Places) -> int:
    """Cycles from the sending of a word to its landing."""
    rise, along, side, least, crossing = where
    cycles: int = least + rise[source] + rise[receiver] + abs(along[source] - along[receiver])
    return cycles + crossing if side[source] != side[receiver] else cycles
