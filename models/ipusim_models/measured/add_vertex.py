"""One library addition per tile: z = x + y over a few floats, a MultiVertex on each tile.

The measured cycles are a raw difference of two counters around the compute set, which takes the counters' own time
(`COUNTER_CYCLES`) with it.  Everything lies on its tile, so nothing is exchanged; the rest is the compute phase.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ipusim import Engine, Graph, SystemSpec, float32, half, target
from ipusim import program as prog
from ipusim_kernels import popops

if TYPE_CHECKING:
    from ipusim.dtype import DType
    from ipusim.validate_data import Row

COUNTER_CYCLES = 45  # [M0478, note of the source] what reading the counters adds to a difference
TYPES = {"fp32": float32, "fp16": half}


def add(row: Row) -> float:
    """Cycles: keys elements (of a tile), dtype, tiles."""
    device = target(row.device(), tiles=row.whole("tiles"))
    return row.answer({("cycles", "cycles"): timed(device, row.whole("elements"), TYPES[row.text("dtype", *TYPES)])})


@cache
def timed(device: SystemSpec, elements: int, dtype: DType) -> int:
    """Counter difference of the slowest tile."""
    graph = Graph(device, name="add vertex")
    tiles = np.arange(graph.tiles)
    x, y = (graph.add_variable((graph.tiles, elements), dtype, name) for name in "xy")
    for array in (x, y):
        lo = np.stack([tiles, tiles * 0], axis=1)
        graph.set_tile_mapping(array.blocks(lo, lo + np.array([1, elements])), tiles)
    steps = prog.Sequence()
    popops.add(graph, x, y, steps, "z")
    engine = Engine(graph, steps, timing_only=True)
    engine.run(0)
    return int(engine.report().phases["compute"]) + COUNTER_CYCLES
