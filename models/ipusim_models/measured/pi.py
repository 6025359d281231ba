"""Pi by the midpoint rule, one worker per tile: cycles of the codelet.

A tile sums 4 / (1 + x x) at x = (i + 0.5) step over its own points i, an unsigned integer that is converted to float in
the loop.  Nothing is exchanged, so the compute phase is six cycles per slot of one worker.  Ideal: 13 to 14 slots a
point, with the divide at three.  `lang`: both compilers have this loop and are counted alike; the counter measured 14
slots for Julia [M0486] and 15 for C++ [M0484].  `unroll`: points per iteration, written out by hand: the integer is
converted once and the points' offsets are literals.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ipusim import Engine, Graph, SystemSpec, float32, target, uint32
from ipusim_models.measured.codelets import midpoints

if TYPE_CHECKING:
    from ipusim.validate_data import Row


def midpoint(row: Row) -> float:
    """Cycles of the codelet: keys tiles, n_per_tile, lang, unroll.  Raises BadInput for an `unroll` not built."""
    row.text("lang", "C++", "Julia")
    points, unroll = row.whole("n_per_tile"), row.whole("unroll", 1)
    device = target(row.device(), tiles=row.whole("tiles"))
    return row.answer({("cycles", "cycles"): timed(device, points, unroll)})


@cache
def timed(device: SystemSpec, points: int, unroll: int) -> int:
    """Cycles of the compute phase."""
    graph, step = build(device, points, unroll)
    engine = Engine(graph, step, timing_only=True)
    engine.run(0)
    return int(engine.report().phases["compute"])


def build(device: SystemSpec, points: int, unroll: int) -> tuple[Graph, Any]:
    """A vertex per tile for `points` points; its first point and its sum lie beside it."""
    graph = Graph(device, name="pi")
    tiles = np.arange(graph.tiles)
    first = graph.add_variable((graph.tiles,), uint32, "first")
    sums = graph.add_variable((graph.tiles,), float32, "sums")
    graph.set_initial_value(first, tiles * points % 2**32)
    step = graph.add_compute_set("midpoints")
    fields = {}
    for name, array in (("first", first), ("out", sums)):
        fields[name] = array.blocks(tiles[:, None], tiles[:, None] + 1)
        graph.set_tile_mapping(fields[name], tiles)
    members = {"points": points, "step": 1.0 / (graph.tiles * points)}
    graph.add_vertices(step, midpoints(unroll), {**fields, **members}, tiles)
    return graph, step
