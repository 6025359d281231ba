"""A Gaussian blur by the library's convolution: 4 to 4 channels, 3 x 3, over and over, on one GC2 or two.

One sweep is a convolution with padding 1 (forward inference, weights loaded 16 bytes a cycle), planned under
`available_memory_proportion`, and a copy of its output back to its input.  Both are exchanges and vertices like those
of any workload.  Out channels that a plan adds are left out of the result by a view (poplibs Convolution.cpp,
convolutionPostprocess): nothing is moved for that, although the planner prices what a next layer would have to move.
The copy: what another tile computed arrives where it belongs, what the tile computed itself is copied by its workers,
in runs of the channels that both variables store together; a tile's all is one run where both store four and no more.

On two IPUs the convolution is planned over the tiles of both, as one device.  What crosses is split off as in tile
programs (ipusim.engine.links): each message is cut into packets of at most a link's payload, since rows of a block
follow one another in memory, and a barrier over both IPUs precedes a superstep that crosses.

Omitted: the loop around the sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, final

import numpy as np

from ipusim.device import target
from ipusim.dtype import DType, float16, float32
from ipusim.engine import exchange, links
from ipusim.engine.run import measure_time
from ipusim.errors import BadInput, DoesNotFit
from ipusim.hw.cost import COPY_WORD_BYTES, copy_cycles
from ipusim.hw.links import sync_cycles
from ipusim.lower.rules import Lowering, Options
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, ComputeSet, Field, Graph, Rows, VertexGroup, WholeOp
from ipusim.program.tensor import Tensor
from ipusim_kernels.conv.lowering import Pass, canonical, convolve
from ipusim_kernels.conv.moves import Move
from ipusim_kernels.conv.plan import plan
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.layout import stored_channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipusim.hw.spec import ChipSpec, SystemSpec
    from ipusim.validate_data import Row

CHANNELS, KERNEL = 4, 3
_TYPES = {"half": float16, "float": float32}
_BLUR = ConvShape(
    batch=1, groups=1, ci=CHANNELS, co=CHANNELS, height=1, width=1, out_height=1, out_width=1,
    kernel_height=KERNEL, kernel_width=KERNEL, stride=(1, 1), dilation=(1, 1), pad=(1, 1),
)  # fmt: skip


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
    program = _program(whole, size, dtype, share)
    trace = measure_time(program.graph, [program.blurred], whole, "blur by convolution")
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
    moved = [_between(step, device) for step in program.graph.compute_sets()]
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


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Program:
    """One sweep: its graph, and the blurred image before it is copied back."""

    graph: Graph
    blurred: Tensor


def _program(chip: ChipSpec, size: tuple[int, int], dtype: DType, share: float) -> _Program:
    """The program of one sweep."""
    height, width = size
    field = replace(_BLUR, height=height, width=width, out_height=height, out_width=width)
    options = Options(memory_proportion=share)
    chosen = plan(field, dtype, chip, options, stored=(0, 0))
    chosen = replace(chosen, moves=replace(chosen.moves, result=Move()))
    low = Lowering(Graph(chip.tiles), chip, options, prefix="blur")
    image = low.graph.add_storage((1, 1, CHANNELS, height, width), dtype, "image", always_live=True)
    kernel = (1, CHANNELS, CHANNELS, KERNEL, KERNEL)
    weights = low.graph.add_storage(kernel, dtype, "weights", always_live=True)
    operands = Tensor.of(image), Tensor.of(weights)
    work = Pass(low, chosen, *operands, dtype)
    blurred = canonical(convolve(work), chosen).slice(2, 0, CHANNELS)
    work.finish(WholeOp(_timed_only, None, (*operands, blurred)))
    _add_copy(low.graph, low.mapped(operands[0]), blurred)
    return _Program(low.graph, blurred)


def _timed_only(attrs: object, arrays: Sequence[Array]) -> None:
    raise NotImplementedError("the blur by convolution is timed, not run")


# -- the copy back -----------------------------------------------------------------------------------------------------


def _add_copy(graph: Graph, image: Tensor, blurred: Tensor) -> None:
    """Copies the result to the image, each tile filling what it has of the image."""
    mapping = image.mapping
    boxes = Boxes.shares(mapping)
    shares = mapping.shares()
    stored = [stored_channels(tensor, 2) for tensor in (image, blurred)]
    run = min(CHANNELS, *stored)
    whole = stored == [CHANNELS, CHANNELS]
    counts = [_runs_and_words(int(n), int(n) if whole else run, image.dtype.bytes) for n in shares.elements]
    rows = Rows(shares.tiles, np.array(counts, np.int32))
    fields = (Field("from", "in", blurred, boxes), Field("to", "out", image, boxes))
    graph.execute("copy back", -1, [VertexGroup(COPY, None, rows, fields)])


def _runs_and_words(elements: int, run: int, size: int) -> tuple[int, int]:
    """(runs of more than a word, words) of a share of `elements` of `size` bytes in runs of `run` elements."""
    word = COPY_WORD_BYTES if run * size % COPY_WORD_BYTES == 0 else COPY_WORD_BYTES // 2
    words = -(-run * size // word)
    return elements // run if words > 1 else 0, elements // run * words


def _copied(attrs: None, runs: int, words: int) -> int:
    """Tile cycles of copying, runs and words dealt to the workers."""
    return int(copy_cycles(runs, words, 6))


def _move(attrs: None, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    for source, to in zip(*boxes, strict=True):
        to[...] = source


def _move_all(attrs: None, arrays: Sequence[Array]) -> None:
    arrays[1][...] = arrays[0]


def _no_flops(attrs: None, runs: int, words: int) -> int:
    return 0


COPY = Codelet("poplar::Copy", ("runs", "words"), _copied, _move, _move_all, _no_flops, "multi", 128, ("from",))
