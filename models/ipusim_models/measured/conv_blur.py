"""A Gaussian blur by the library's convolution: 4 to 4 channels, 3 x 3, over and over, on one GC2 or two.

One sweep is a convolution with padding 1 (forward inference, weights loaded 16 bytes a cycle), planned under
`available_memory_proportion`, and a copy of its output back to its input.  Both are exchanges and vertices like those
of any workload.  The copy: what another tile computed arrives where it belongs, what the tile computed itself is copied
by its workers, each variable being one run of a tile's memory.

On two IPUs the convolution is planned over the tiles of both, as one device.  What crosses is split off as in tile
programs (ipusim.engine.links): each message is cut into packets of at most a link's payload, since rows of a block
follow one another in memory, and a barrier over both IPUs precedes a superstep that crosses.

Omitted: the loop around the sweeps.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ipusim.device import target
from ipusim.dtype import DType, float16, float32
from ipusim.engine import exchange, links
from ipusim.engine.run import measure_time
from ipusim.errors import BadInput, DoesNotFit
from ipusim.hw.cost import copy_cycles
from ipusim.hw.links import sync_cycles
from ipusim.lower.compile import Compiled, lower
from ipusim.lower.rules import Options, Rules
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, ComputeSet, Field, Rows, VertexGroup
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.passes import with_precision
from ipusim_kernels import rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipusim.hw.spec import ChipSpec, SystemSpec
    from ipusim.validate_data import Row

CHANNELS, KERNEL = 4, 3
_TYPES = {"half": float16, "float": float32}


def sweeps(row: Row) -> float:
    """Seconds of 2 x outer_iterations sweeps: keys image, datatype, available_memory_proportion, ipus.

    Raises DoesNotFit where the program does not fit its tiles.
    """
    width, height, channels = row.extents("image", 3)
    if channels != CHANNELS:
        raise BadInput(f"image={row.text('image')}: the blur has {CHANNELS} channels, not {channels}")
    one = row.device()
    chip = replace(one.chip, amp=replace(one.chip.amp, weight_load_bytes=16))
    device = target(replace(one, chip=chip), ipus=row.whole("ipus", default=1))
    dtype = _TYPES[row.text("datatype", *_TYPES)]
    share = row.number("available_memory_proportion", 0.6)
    times = 2 * row.whole("outer_iterations")
    cycles = times * _sweep(device, (height, width), dtype, share)
    return row.answer({("time", "s"): cycles / device.chip.clock_hz})


@lru_cache(maxsize=64)
def _sweep(device: SystemSpec, size: tuple[int, int], dtype: DType, share: float) -> int:
    """Cycles of one sweep."""
    whole = replace(device.chip, tiles=device.num_tiles)
    compiled = _compiled(whole, size, dtype, share)
    trace = measure_time(compiled.graph, compiled.outputs.values(), whole, "blur by convolution")
    fullest = int(trace.memory.live.max(axis=0).argmax())
    need = int(trace.memory.live[:, fullest].max())
    if need > trace.memory.limit:
        raise DoesNotFit(
            f"the blur of {size[1]}x{size[0]}x{CHANNELS}",
            tile=fullest,
            need=need,
            have=trace.memory.limit,
            variables=trace.memory.variables,
            lever="take more IPUs or a smaller available_memory_proportion",
        )
    if device.ipus == 1:
        return sum(step.cycles for step in trace.steps)
    moved = [_between(step, device) for step in compiled.graph.compute_sets()]
    return sum(moved) + sum(step.phases["compute"] + step.phases["copy_before"] for step in trace.steps)


def _between(compute_set: ComputeSet, device: SystemSpec) -> int:
    """Cycles of sync and exchange before a compute set whose tiles are on several IPUs."""
    tiles = device.num_tiles
    if not list(exchange.arriving(compute_set)):
        return sync_cycles(device, 1)
    sent, _ = exchange.best_form(exchange.messages(compute_set, tiles), tiles, device.chip.exchange)
    packets = -(-sent.bytes // device.links.payload_bytes)
    found = links.exchange(sent, packets, device)
    return found.sync_cycles(device) + found.cycles + found.link_cycles


def _compiled(chip: ChipSpec, size: tuple[int, int], dtype: DType, share: float) -> Compiled:
    """The program of one sweep."""
    builder = WorkloadBuilder("blur by convolution")
    image = builder.input("image", (1, CHANNELS, *size))
    weights = np.zeros((CHANNELS, CHANNELS, KERNEL, KERNEL), np.float32)
    blurred = builder.conv(image, weights, padding=1, name="blur")
    workload = with_precision(builder.build({"blurred": blurred}), dtype)
    known = Rules()
    for op, rule in rules().items():
        known.add(op, rule, "ipusim_kernels")
    compiled = lower(workload, chip, Options(memory_proportion=share), known)
    _add_copy(compiled)
    return compiled


# -- the copy back -----------------------------------------------------------------------------------------------------


def _add_copy(compiled: Compiled) -> None:
    """Copies the output to the input, each tile filling what it has of the input."""
    image, blurred = compiled.inputs["image"], compiled.outputs["blurred"]
    boxes = Boxes.shares(image.mapping)
    shares = image.mapping.shares()
    nbytes = shares.elements * image.dtype.bytes
    rows = Rows(shares.tiles, nbytes[:, None].astype(np.int32))
    fields = (Field("from", "in", blurred, boxes), Field("to", "out", image, boxes))
    compiled.graph.execute("copy back", -1, [VertexGroup(COPY, None, rows, fields)])


def _copied(attrs: None, nbytes: int) -> int:
    """Tile cycles of copying one run: 64-bit words dealt to the workers."""
    return int(copy_cycles(1, -(-nbytes // 8), 6))


def _move(attrs: None, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    for source, to in zip(*boxes, strict=True):
        to[...] = source


def _move_all(attrs: None, arrays: Sequence[Array]) -> None:
    arrays[1][...] = arrays[0]


def _no_flops(attrs: None, nbytes: int) -> int:
    return 0


COPY = Codelet("poplar::Copy", ("bytes",), _copied, _move, _move_all, _no_flops, "multi", 128, ("from",))
