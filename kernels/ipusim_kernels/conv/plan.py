"""The convolution planner: every method, every partition, the cheapest that fits.

Cost of a plan on its busiest tile (poplibs lib/poplin/ConvModel.cpp, plus what a superstep costs on this chip):

    inputs + weights received + rearranging them + vertex + per reduction stage (partials received + ReduceAdd) + cast

each superstep with its sync, each exchange with its lead-in, all of it once per serial step.  Memory: received inputs
and weights and the partials, or twice the largest rearranged tensor.  A plan may use the tile's memory times the
memory proportion; if none does, output channels are split serially, and at last the plan with the least memory is
taken.

Omitted: transforms of the convolution itself (expanded kernel dimensions, combined groups), joint planning of
training passes, serial splits of input channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType, float16
from ipusim.hw.cost import transfer_cycles
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.lower import search
from ipusim.lower.rules import Options
from ipusim.units import ceil_div
from ipusim_kernels.cast.cycles import planner_cast
from ipusim_kernels.conv.geometry import Partition
from ipusim_kernels.conv.methods import Method, eligible, method_cycles
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.reduce.cycles import conv_reduce_add, conv_reduce_stages

AXES = ("groups", "ci", "ky", "batch", "oy", "ox", "co")


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen method and partition; `serial` steps over output channels, estimated cycles and temporary bytes."""

    method: Method
    partition: Partition
    serial: int
    flattened: bool
    swapped: bool
    estimate: int
    temporary: int

    def shape(self, s: ConvShape, swapped: ConvShape | None = None) -> ConvShape:
        """The shape of one serial step in the plan's orientation."""
        base = swapped if self.swapped and swapped else s
        base = base.flattened() if self.flattened else base
        return _with_co(base, base.co // self.serial)

    def splits(self) -> dict[str, int]:
        """Ways each axis is split, those that are split."""
        p = self.partition
        found = {a: n for a in AXES if (n := getattr(p, a)) > 1}
        return found | ({"serial co": self.serial} if self.serial > 1 else {})


def _with_co(s: ConvShape, co: int) -> ConvShape:
    return s if co == s.co else replace(s, co=co)


@jit
def _share(size: int, ways: int, grain: int) -> int:
    """Elements of the largest of `ways` parts of whole grains."""
    grains = (size + grain - 1) // grain
    return min(size, (grains + ways - 1) // ways * grain)


@jit
def _price(
    candidates: NDArray[np.int32],
    shape: tuple[int, ...],
    method: tuple[int, ...],
    chip: tuple[int, ...],
    rates: tuple[int, int],
    stages: NDArray[np.int32],
    cycles: NDArray[np.int64],
    memory: NDArray[np.int64],
) -> None:
    """Cycles and temporary bytes of each candidate partition (columns `AXES`)."""
    batch, groups, ci, co, height, width, oh, ow, kh, kw, sy, sx, dy, dx = shape
    in_group, out_group, group_group, amp_height = method[1], method[2], method[3], method[4]
    size = 2 if method[5] == 1 else 4
    partial_size = 2 if method[6] == 1 else 4
    sync, lead, bytes_per_cycle, paired = chip
    for i in range(len(candidates)):
        pg, pci, pky, pb, py, px, pco = candidates[i]
        g = _share(groups, pg, group_group)
        c = _share(ci, pci, in_group)
        o = _share(co, pco, out_group)
        k = _share(kh, pky, amp_height)
        b, y, x = -(-batch // pb), -(-oh // py), -(-ow // px)
        in_y = min(height, (y - 1) * sy + (k - 1) * dy + 1)
        in_x = min(width, (x - 1) * sx + (kw - 1) * dx + 1)
        inputs = b * g * c * in_y * in_x * size
        weights = g * o * c * k * kw * size
        outputs = b * g * o * y * x
        arriving = inputs - inputs // pco
        shared = arriving if paired and pco % 2 == 0 else 0
        moving = transfer_cycles(arriving, shared, bytes_per_cycle)
        moving += -(-(weights - weights // (pb * py * px)) // bytes_per_cycle)
        total = sync + (lead + moving if moving else 0)
        if rates[0]:
            total += -(-5 * inputs // (4 * rates[0]))
        if rates[1]:
            total += -(-5 * weights // (4 * rates[1]))
        total += method_cycles(method, sx, (b, g, o, c, y, x, k, kw), True)
        left = pci * pky
        n = outputs
        depth = left
        while depth > 1:
            to = stages[depth - 1]
            members = -(-depth // to)
            n = -(-n // members)
            total += sync + lead + -(-n * (members - 1) * partial_size // bytes_per_cycle)
            total += conv_reduce_add(n, members, to == 1 and size == 2, partial_size == 2)
            depth = to
        if left == 1 and size != partial_size:
            total += sync + planner_cast(outputs, 8 // partial_size, 8 // size)
        cycles[i] = total
        conv = inputs + weights + outputs * partial_size
        moved = max(inputs if rates[0] else 0, weights if rates[1] else 0)
        memory[i] = max(2 * moved, conv + (inputs if rates[0] else 0))


@lru_cache(maxsize=1)
def _stage_table(limit: int = 2048) -> NDArray[np.int32]:
    """Partials left after the next reduction stage, by depth."""
    return np.array([(*conv_reduce_stages(d), 1)[0] for d in range(1, limit + 1)], np.int32)


@final
@dataclass(frozen=True, slots=True)
class Request:
    """What is to be planned: shape (and its swapped form), types, how the operands are stored, the user's options."""

    shape: ConvShape
    swapped: ConvShape | None
    half: bool
    half_partials: bool
    stored: tuple[int, int]
    proportion: float


def plan(
    shape: ConvShape,
    dtype: DType,
    chip: ChipSpec,
    options: Options,
    *,
    stored: tuple[int, int] = (1, 0),
    swapped: ConvShape | None = None,
) -> Plan:
    """The plan for a shape.  `stored`: channels stored together in activations and in weights (0: as wanted)."""
    half = dtype == float16
    wanted = Request(shape, swapped, half, half and options.partials == float16, stored, options.memory_proportion)
    return _plan(wanted, chip)


@lru_cache(maxsize=4096)
def _plan(wanted: Request, chip: ChipSpec) -> Plan:
    serial = 1
    best: Plan | None = None
    bound = int(wanted.proportion * chip.tile.memory_bytes)
    while True:
        found = _plan_step(wanted, chip, serial, bound)
        if found and (best is None or found.temporary < best.temporary):
            best = found
        if best and best.temporary <= bound:
            return best
        serial *= 2
        if best and (wanted.shape.co % serial or serial > 64):
            return best


def _plan_step(wanted: Request, chip: ChipSpec, serial: int, bound: int) -> Plan | None:
    options: list[tuple[ConvShape, bool]] = [(wanted.shape, False)]
    if wanted.swapped:
        options.append((wanted.swapped, True))
    plans: list[Plan] = []
    choices: list[tuple[str, search.Choice | None]] = []
    for base, swapped in options:
        if base.co % serial:
            continue
        for method in eligible(base, wanted.half, wanted.half_partials, chip):
            flat = base.pointwise and base.stride == (1, 1)
            s = _with_co(base.flattened() if flat else base, base.co // serial)
            stored = (wanted.stored[1], wanted.stored[0]) if swapped else wanted.stored
            choice, partition = _best_partition(s, method, chip, stored, bound)
            choices.append((method.kind, choice))
            if choice:
                plans.append(Plan(method, partition, serial, flat, swapped, choice.cycles * serial, choice.temporary))
    return plans[search.pick(choices)] if plans else None


def _best_partition(
    s: ConvShape, method: Method, chip: ChipSpec, stored: tuple[int, int], bound: int
) -> tuple[search.Choice | None, Partition]:
    grains = (
        ceil_div(s.groups, method.group_group),
        ceil_div(s.ci, method.in_group),
        ceil_div(s.kernel_height, method.amp_height),
        s.batch,
        s.out_height,
        s.out_width,
        ceil_div(s.co, method.out_group),
    )
    table = _splits(grains, chip.tiles, s.groups > 1 and method.group_group == 1)
    cycles, memory = np.empty(len(table), np.int64), np.empty(len(table), np.int64)
    exchange = chip.exchange
    _price(
        table,
        _numbers(s),
        method.numbers(),
        (
            chip.sync.on_chip_cycles,
            exchange.lead_in_cycles + exchange.latency_cycles,
            exchange.bytes_per_cycle,
            int(exchange.paired_receive),
        ),
        (_rate(stored[0], s, method, chip), _rate(stored[1], s, method, chip)),
        _stage_table(),
        cycles,
        memory,
    )
    choice = search.best(cycles, memory, table.prod(axis=1, dtype=np.int64), bound)
    if choice is None:
        return None, Partition()
    groups, ci, ky, batch, oy, ox, co = (int(v) for v in table[choice.index])
    grain = (method.group_group, method.out_group, method.in_group, method.amp_height)
    return choice, Partition(batch, groups, co, ci, ky, oy, ox, *grain)


@lru_cache(maxsize=4096)
def _splits(grains: tuple[int, ...], tiles: int, grouped: bool) -> NDArray[np.int32]:
    """Candidate partitions; with several conv groups on a tile their channels stay together, so that a box holds
    them.
    """
    table = search.candidates(grains, tiles)
    if not grouped:
        return table
    whole = -(-grains[0] // table[:, 0]) > 1
    return np.ascontiguousarray(table[~(whole & ((table[:, 1] > 1) | (table[:, 6] > 1)))])


def _numbers(s: ConvShape) -> tuple[int, ...]:
    sizes = (s.batch, s.groups, s.ci, s.co, s.height, s.width, s.out_height, s.out_width)
    return (*sizes, s.kernel_height, s.kernel_width, *s.stride, *s.dilation)


def _rate(stored: int, s: ConvShape, method: Method, chip: ChipSpec) -> int:
    """Speed of bringing an operand into the method's channel groups; 0 if it is stored so."""
    return operand_rate(stored, s.ci, method, chip.tile.copy_bytes_per_cycle)


def operand_rate(stored: int, channels: int, method: Method, copy_bytes: int) -> int:
    """Bytes per cycle at which a tile rearranges an operand whose channels are stored in groups of `stored` (0: as
    wanted).

    Full rearrangements move single elements, regroups whole groups up to the copy rate; channels that the method must
    pad are copied in full (poplibs ConvModel.cpp, transform costs).
    """
    size = 2 if method.half else 4
    if stored == 0 or channels == 1:
        return 0
    if method.pads_channels and channels % method.in_group:
        return min(copy_bytes, size)
    if stored == method.in_group or (not method.pads_channels and stored in (1, channels)):
        return 0
    if stored == 1 or method.in_group == 1:
        return min(copy_bytes, size)
    return min(copy_bytes, min(stored, method.in_group) * size)
