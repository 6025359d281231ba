"""The heat equation on a mesh, one explicit step after another: 5 points in two dimensions, 7 in three.

Two float variables with one mapping; a run is Repeat(steps / 2, [b to a, a to b]).  Both steps move and compute the
same, so one is timed.  Two dimensions: axes (height, width), over IPUs along the width, a worker has a band of rows.
Three: axes (depth, height, width), over IPUs along the depth, workers 2 x 3 in height and width.  The optimised
vertices work on pairs of floats, `HeatEquationSimple` on one at a time.

Ideal: per pair 3 (or 5) loads of pairs, two of single floats for west and east, 7 (or 9) operations, two stores, one
add and one branch: 16 (or 20) slots.  On top, and counted: rows of a worker's part, on-tile copies of rows that have a
halo cell from another tile, exchange, sync.  Omitted: the host's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipusim import target
from ipusim_models.measured.codelets import heat_2d, heat_3d
from ipusim_models.measured.stencil import Step, timed

if TYPE_CHECKING:
    from ipusim.validate_data import Row

ALPHA = 0.1
FLOPS = {2: 6, 3: 8}  # [reference program] counted per cell and step
WORDS = 5  # [M0494, M0495] of four bytes per cell and step in its minimal bandwidth: 4.28 / 1.28 x 6 / 4
VERTICES = {"HeatEquationOptimized": 2, "HeatEquationSimple": 1}


def plane(row: Row) -> float:
    """Time, throughput or minimal bandwidth of the equation in two dimensions: keys mesh, steps, ipus."""
    return _answer(row, 2)


def space(row: Row) -> float:
    """Time or throughput in three dimensions: keys mesh, steps, ipus, vertex."""
    return _answer(row, 3)


def _answer(row: Row, axes: int) -> float:
    row.note("sdk", "poplar")
    row.text("dtype", "fp32")
    shape, steps = row.extents("mesh", axes), row.whole("steps")
    device = target(row.device(), ipus=row.whole("ipus", 1))
    width = VERTICES[row.text("vertex", *VERTICES, default="HeatEquationOptimized")] if axes == 3 else 2
    cells, cycles = timed(device, shape, equation(axes, width, device.chip.tile.workers))
    seconds = steps * cycles / device.clock_hz
    every = cells * steps / seconds
    found = {("time", "s"): seconds, ("throughput", "TFLOP/s"): FLOPS[axes] * every / 1e12}
    if axes == 2:
        found["minimal_bandwidth", "TB/s"] = WORDS * 4 * every / 1e12
    return row.answer(found)


def equation(axes: int, vectorize: int, workers: int) -> Step:
    """The step in two or three dimensions, `vectorize` floats at a time."""
    members = (("alpha", ALPHA), ("beta", 1 - 2 * axes * ALPHA))
    if axes == 2:
        return Step(heat_2d(vectorize), reach=1, along=1, workers=(workers, 1), members=members)
    return Step(heat_3d(vectorize), reach=1, along=0, workers=(1, 2, workers // 2), members=members)
