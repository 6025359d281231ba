"""Gaussian blur on tiles, as measured: times of whole runs, phases of one step, and the sweep of partition sizes.

A run is Repeat(outer_iterations, [img to tmp, tmp to img]).  No cycle depends on what the image shows, so both steps
are timed once.  The sweep of partition sizes used an earlier scalar codelet whose code is not known: its vertices cost
what its one calibration row leaves for them (`OLDER_SLOTS_PER_PIXEL`).
Omitted: the host's own time around a run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ipusim import Engine, SystemSpec, target
from ipusim import program as prog
from ipusim.errors import BadInput
from ipusim.validate_data import Row
from ipusim_models.measured.blur_codelet import CHANNELS, TYPES, make_codelet
from ipusim_models.measured.blur_program import Partition, build, partition

#: Of the earlier scalar codelet, four channels.
#: [M0162, tests/data/measurements.csv] 519,712 cycles a sweep less exchange, sync and launch, / 6 / 845 pixels of the
#: busiest worker; the later scalar codelet is counted at 94.8
OLDER_SLOTS_PER_PIXEL = 102.2

LEAST = 6  # [reference program] least rows and columns of a tile's block where the row does not say

#: Step of a row -> phase of a superstep.
STEPS = {
    "sync": "sync",
    "exchange": "exchange",
    "globExchange": "link",
    "pre": "copy_before",
    "post": "copy_after",
    "compute": "compute",
}


class _Shape(NamedTuple):
    """What a program is built from."""

    device: SystemSpec
    datatype: str
    older: bool
    size: tuple[int, int]
    least: tuple[int, int]


def _shape(row: Row, *, older: bool = False, least: int = LEAST) -> _Shape:
    width, height, channels = row.extents("image", 3)
    if channels != CHANNELS:
        raise BadInput(f"image={row.text('image')} has {channels} channels; the codelet is written for {CHANNELS}")
    datatype = row.text("datatype", *(["float"] if older else TYPES))
    device = target(row.device(), ipus=row.whole("ipus", 1))
    smallest = row.whole("min_rows", least), row.whole("min_cols", least)
    return _Shape(device, datatype, older, (height, width), smallest)


def _phases(shape: _Shape) -> tuple[dict[str, int], dict[str, int]]:
    """Cycles by phase of the two steps, img to tmp and tmp to img.  Raises DoesNotFit."""
    chip = shape.device.chip
    cut = partition(
        shape.size, ipus=shape.device.ipus, tiles=chip.tiles, workers=chip.tile.workers, least=shape.least
    )
    key = shape[:4], cut.blocks.tobytes()  # many limits give one grid
    if key not in _KNOWN:
        _KNOWN[key] = _timed(shape, cut)
    return _KNOWN[key]


_KNOWN: dict[Any, tuple[dict[str, int], dict[str, int]]] = {}


def _timed(shape: _Shape, cut: Partition) -> tuple[dict[str, int], dict[str, int]]:
    dtype, width = TYPES[shape.datatype]
    graph, steps = build(cut, make_codelet(dtype, width, _older_slots if shape.older else None), dtype, shape.device)
    done = prog.WriteUndef(graph.tensor("tmp"))  # the host reads the image alone
    engine = Engine(graph, [[*steps, done]], timing_only=True)
    engine.run(0)
    first, second = (dict(engine.report(step).phases) for step in steps)
    return first, second


def _older_slots(width: int, height: int, **_: Any) -> int:
    return round(OLDER_SLOTS_PER_PIXEL * width * height)


def _time(row: Row, shape: _Shape) -> float:
    rounds = row.whole("outer_iterations")
    sweeps = row.whole("stencil_applications", 2 * rounds)
    if sweeps != 2 * rounds:
        raise BadInput(f"stencil_applications={sweeps}: outer_iterations={rounds} has {2 * rounds} steps")
    cycles = rounds * sum(sum(phases.values()) for phases in _phases(shape))
    return row.answer({("time", "s"): cycles / shape.device.clock_hz})


def timed(row: Row) -> float:
    """Time of a whole run: low-level stencil, weak and strong scaling."""
    return _time(row, _shape(row))


def older(row: Row) -> float:
    """Time of a whole run with the codelet of the partition-size sweep."""
    return _time(row, _shape(row, older=True))


def phase(row: Row) -> float:
    """Cycles of one phase of one step."""
    row.note("phase")
    found, _ = _phases(_shape(row, least=1))
    return row.answer({("cycles", "cycles"): found[STEPS[row.text("step", *STEPS)]]})
