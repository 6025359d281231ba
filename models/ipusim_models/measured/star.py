"""Diffusion and acoustic wave of fourth order in space on a mesh: a star of 13 points, two cells each way.

Diffusion has two variables that take turns, the wave three, with a damping and a velocity beside them, all of one
mapping.  Axes, cut and workers as for the heat equation in three dimensions.  The codelets work on one float at a time:
the compiler makes no vectors of stencils by itself.  Predicted are cells inside the mesh per time of a step; so the
number of steps does not matter.  Omitted: sources and receivers of a survey, the host's time.

`smallest_partition` is the tiles' smallest block as the source gives it; the cut gives the same (height x width x
depth) in five of the six rows, but 9x13x13 where M0530 says 9x27x13, which would leave half of the tiles idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipusim import target
from ipusim_models.measured.codelets import diffusion as diffusion_codelet
from ipusim_models.measured.codelets import wave as wave_codelet
from ipusim_models.measured.stencil import Step, timed

if TYPE_CHECKING:
    from ipusim.validate_data import Row

REACH = 2
#: Second derivative of fourth order: weights of the cell, its neighbours and those beyond, three axes, 1/12 each.
WEIGHTS = (("c0", -7.5), ("c1", 4 / 3), ("c2", -1 / 12))


def diffusion(row: Row) -> float:
    """Cells per second of diffusion: keys mesh, ipus."""
    return _answer(row, wave=False)


def wave(row: Row) -> float:
    """Cells per second of the wave: keys mesh, ipus."""
    return _answer(row, wave=True)


def _answer(row: Row, *, wave: bool) -> float:
    row.note("poplar", "smallest_partition")
    row.text("dtype", "fp32")
    device = target(row.device(), ipus=row.whole("ipus", 1))
    cells, cycles = timed(device, row.extents("mesh", 3), equation(device.chip.tile.workers, wave=wave))
    return row.answer({("throughput", "Gpoint/s"): cells * device.clock_hz / cycles / 1e9})


def equation(workers: int, *, wave: bool) -> Step:
    """A step of the wave, or of diffusion."""
    return Step(
        wave_codelet() if wave else diffusion_codelet(),
        reach=REACH,
        along=0,
        workers=(1, 2, workers // 2),
        members=WEIGHTS,
        beside=("before", "damping", "velocity") if wave else (),
    )
