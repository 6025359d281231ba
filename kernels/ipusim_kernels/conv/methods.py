"""The ways a tile can convolve, when each may be used, and its cycles.

Source of the rules: poplibs lib/poplin/ConvVertexType.cpp and ConvModel.cpp at 7eac0f26.  Cycles are those of the
vertex formulas in this package, on the padded sizes that the vertex sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import final

from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim_kernels.conv.amp_cycles import amp_1x1, nx1_calls, nx1_total
from ipusim_kernels.conv.mac_cycles import hmac_1x1, hmac_total, hmac_worker, outer_product, vmac_total, vmac_worker
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.conv.slic_cycles import slic_balanced

KINDS = ("AMP 1x1", "AMP Nx1", "SLIC", "HMAC", "VMAC", "outer product")
AMP_1X1, AMP_NX1, SLIC, HMAC, VMAC, OUTER_PRODUCT = range(6)
SLIC_WINDOW = 4  # [poplibs] ConvPartial1xNSLIC slides a window of 1 x 4 weights
# [poplibs] ConvVertexType.cpp: kinds without a loop over groups of in channels, and of out channels
ONE_GROUP_ON_TILE, ONE_OUT_GROUP_ON_TILE = (SLIC, OUTER_PRODUCT), (SLIC, VMAC)


@final
@dataclass(frozen=True, slots=True)
class Method:
    """A vertex kind with its grouping: channels (and conv groups) that it handles together, types, and the chip's
    traits.  `chains`: accumulator chains of SLIC.
    """

    kind: str
    in_group: int
    out_group: int
    group_group: int
    amp_height: int
    half: bool
    half_partials: bool
    units: int
    load_bytes: int
    mk1: bool
    chains: int = 2

    def numbers(self) -> tuple[int, ...]:
        """The record as whole numbers, for compiled code."""
        return _numbers(self)

    def _numbers(self) -> tuple[int, ...]:
        return (
            KINDS.index(self.kind),
            self.in_group,
            self.out_group,
            self.group_group,
            self.amp_height,
            int(self.half),
            int(self.half_partials),
            self.units,
            self.load_bytes,
            int(self.mk1),
            self.chains,
        )

    @property
    def grains(self) -> tuple[int, int, int]:
        """Conv groups, in channels and out channels that a tile's share is a multiple of."""
        return self.group_group, self.in_group, self.out_group

    @property
    def peak(self) -> int:
        """Multiply-adds per tile cycle that it cannot exceed."""
        vector = 4 if self.half else 2
        if self.kind in ("AMP 1x1", "AMP Nx1"):
            return self.units * (4 if self.half else 1)
        if self.kind == "SLIC":
            return self.group_group * self.in_group**2 * SLIC_WINDOW // (1 if self.chains == 4 else 2)
        return vector


_outer_product = jit(outer_product)


@lru_cache(maxsize=4096)
def _numbers(method: Method) -> tuple[int, ...]:
    return method._numbers()


def eligible(s: ConvShape, half: bool, half_partials: bool, chip: ChipSpec) -> Iterator[Method]:
    """Every method that may compute a shape."""
    yield from matrix_methods(s, half, half_partials, chip)
    yield from hmac_methods(s, half, half_partials, chip)


def matrix_methods(s: ConvShape, half: bool, half_partials: bool, chip: ChipSpec) -> tuple[Method, ...]:
    """Every method that may compute a shape, but for HMAC."""
    row = s.pointwise and s.batch == 1 and s.out_height == 1 and s.ci == 1
    few = s.pointwise and s.ci <= (chip.amp.half_weights_per_unit if half else chip.amp.float_weights_per_unit)
    plain = s.dilation == (1, 1)
    return _matrix_methods(s.pointwise, few, row, plain, plain and s.stride[1] <= 2, half, half_partials, chip)


@lru_cache(maxsize=1024)
def _matrix_methods(
    pointwise: bool,
    few: bool,
    row: bool,
    plain: bool,
    slides: bool,
    half: bool,
    half_partials: bool,
    chip: ChipSpec,
) -> tuple[Method, ...]:
    """pointwise: a product; few: its in channels are no more than a pass; row: of one channel; plain: no dilation;
    slides: nor a stride above 2.
    """
    mk1 = chip.generation == "mk1"
    traits = (half, half_partials, chip.amp.units, chip.amp.weight_load_bytes, mk1)
    found = list(_amp(pointwise, half, half_partials, chip))
    if few and half and not half_partials:
        found += _amp(pointwise, half, True, chip)  # no reduction: the result may be made in its own type
    if half and slides:
        found += _slic(half_partials, traits)
    if half and plain:
        found += [Method("VMAC", 1, 1, group, 1, *traits) for group in ((4, 8, 16) if half_partials else (4,))]
    if row:
        found.append(Method("outer product", 1, 4 if half else 2, 1, 1, half, half, *traits[2:]))
    return tuple(found)


def _amp(pointwise: bool, half: bool, half_partials: bool, chip: ChipSpec) -> Iterator[Method]:
    """With all units, and with 8 of 16; out channels by units, or by the group the next layer reads."""
    weights = chip.amp.half_weights_per_unit if half else chip.amp.float_weights_per_unit
    load = chip.amp.half_load_elements if half else chip.amp.float_load_elements
    for units in sorted({chip.amp.units, 8}, reverse=True):
        wider = units == chip.amp.units
        for out_group in sorted({units, max(units, weights)} if wider else {units}):
            shared = (half, half_partials, units, chip.amp.weight_load_bytes, chip.generation == "mk1")
            if pointwise:
                yield Method("AMP 1x1", weights, out_group, 1, 1, *shared)
            in_group = weights
            while in_group >= load:
                yield Method("AMP Nx1", in_group, out_group, 1, weights // in_group, *shared)
                in_group //= 2


def _slic(half_partials: bool, traits: tuple[bool, bool, int, int, bool]) -> Iterator[Method]:
    wide = half_partials and traits[2] == 16
    for chains in (4, 2) if wide else (2,):
        for channels, groups in ((4, 1), (2, 2), (1, 4)):
            yield Method("SLIC", channels, channels, groups, 1, *traits, chains)
        if wide:
            for groups in (8, 16):
                yield Method("SLIC", 1, 1, groups, 1, *traits, chains)


def hmac_methods(s: ConvShape, half: bool, half_partials: bool, chip: ChipSpec) -> Iterator[Method]:
    """Every size of in-channel group (even for halves) that makes fewer groups than the one before."""
    step = 2 if half and s.ci > 1 else 1
    out_group = min(s.co, 2) if half_partials else 1
    traits = (half, half_partials, chip.amp.units, chip.amp.weight_load_bytes, chip.generation == "mk1")
    steps = -(-s.ci // step)
    size = steps
    while size:
        count = -(-steps // size)
        size = -(-steps // count)
        yield Method("HMAC", size * step, out_group, 1, 1, *traits)
        size -= 1


@jit
def _ceil(a: int, b: int) -> int:
    return (a + b - 1) // b


@jit
def _hmac_cycles(m: tuple[int, ...], s: tuple[int, ...], planned: bool) -> int:
    half, half_partials, mk1 = m[5] == 1, m[6] == 1, m[9] == 1
    batch, groups, co, ci, oh, ow, kh, kw = s
    share = _ceil(batch * oh * ow, 6)
    runs = _ceil(share, ow)
    in_groups, out_groups = _ceil(ci, m[1]), _ceil(co, m[2])
    zeros = batch * oh * ow * m[2]
    if not mk1 and half and not half_partials and kh * kw == 1:
        return hmac_1x1(share, runs, groups, in_groups, out_groups, m[1], m[2], zeros)
    worst = hmac_worker(share, runs, kh * kw, m[1], m[2], half, half_partials, mk1)
    return hmac_total(worst, groups, in_groups, out_groups, zeros, half, half_partials, planned, mk1)


@jit
def _amp_cycles(m: tuple[int, ...], s: tuple[int, ...], planned: bool) -> int:
    in_group, out_group, height = m[1], m[2], m[4]
    half, half_partials, units, load, mk1 = m[5] == 1, m[6] == 1, m[7], m[8], m[9] == 1
    batch, groups, co, ci, oh, ow, kh, kw = s
    ins, outs = _ceil(ci, in_group), _ceil(co, out_group)
    if m[0] == AMP_1X1:
        return amp_1x1(batch * oh * ow, groups, ins, outs, out_group, half, half_partials, units, load)
    calls = nx1_calls(batch * oh, ow, half, half_partials, units, mk1)
    zeros = batch * oh * ow * out_group
    rows = _ceil(kh, height)
    return nx1_total(
        calls, groups, ins, outs, out_group, rows, kw, height, zeros, half_partials, planned, units, load, mk1
    )


@jit
def method_cycles(m: tuple[int, ...], stride_x: int, s: tuple[int, ...], planned: bool) -> int:
    """Tile cycles of one vertex: method numbers, innermost stride, sizes (batch, groups, co, ci, oh, ow, kh, kw)."""
    batch, groups, co, ci, oh, ow, kh, kw = s
    kind, in_group, group_group = m[0], m[1], m[3]
    half, half_partials, mk1, chains = m[5] == 1, m[6] == 1, m[9] == 1, m[10]
    if kind in (AMP_1X1, AMP_NX1):
        return _amp_cycles(m, s, planned)
    if kind == SLIC:
        blocks = kh * _ceil(kw, SLIC_WINDOW)
        group_groups = _ceil(groups, group_group)
        return slic_balanced(
            batch * oh, ow, stride_x, group_groups, blocks, group_group, in_group, chains, half_partials
        )
    if kind == HMAC:
        return _hmac_cycles(m, s, planned)
    if kind == OUTER_PRODUCT:
        return 6 * groups * _outer_product(_ceil(ow, 6), co, m[2], half)
    worst = vmac_worker(_ceil(batch * oh * ow * kh, 6), kw, group_group, half_partials)
    outputs = batch * oh * ow * group_group
    return vmac_total(worst, _ceil(groups, group_group), ci, group_group, outputs, half_partials, mk1)


def vertex_cycles(method: Method, stride: tuple[int, int], sizes: tuple[int, ...]) -> int:
    """Tile cycles of one vertex of a program."""
    return int(method_cycles(method.numbers(), stride[1], sizes, False))
