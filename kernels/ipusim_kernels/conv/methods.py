"""The ways a tile can convolve, when each may be used, and its cycles.

Source of the rules: poplibs lib/poplin/ConvVertexType.cpp and ConvModel.cpp at 7eac0f26.  Cycles are those of the
vertex formulas in this package, on the padded sizes that the vertex sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim_kernels.conv.amp_cycles import amp_1x1, nx1_calls, nx1_total
from ipusim_kernels.conv.mac_cycles import hmac_total, hmac_worker, vmac_total, vmac_worker
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.conv.slic_cycles import slic_balanced

KINDS = ("AMP 1x1", "AMP Nx1", "SLIC", "HMAC", "VMAC")
AMP_1X1, AMP_NX1, SLIC, HMAC = range(4)  # the vertical MAC is what is left


@final
@dataclass(frozen=True, slots=True)
class Method:
    """A vertex kind with its grouping: channels (and conv groups) that it handles together, types, and the chip's
    traits.
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

    def numbers(self) -> tuple[int, ...]:
        """The record as whole numbers, for compiled code."""
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
        )

    @property
    def pads_channels(self) -> bool:
        """Whether the vertex needs whole groups of input channels (AMP and SLIC do, the vector MACs do not)."""
        return self.kind in ("AMP 1x1", "AMP Nx1", "SLIC")


def eligible(s: ConvShape, half: bool, half_partials: bool, chip: ChipSpec) -> Iterator[Method]:
    """Every method that may compute a shape."""
    amp = chip.amp
    weights = amp.half_weights_per_unit if half else amp.float_weights_per_unit
    load = amp.half_load_elements if half else amp.float_load_elements
    mk1 = chip.generation == "mk1"
    traits = (half, half_partials, amp.units, amp.weight_load_bytes, mk1)
    outs = sorted({amp.units, max(amp.units, weights)})
    for out_group in outs:
        if s.pointwise:
            yield Method("AMP 1x1", weights, out_group, 1, 1, *traits)
        in_group = load
        while in_group <= weights:
            height = weights // in_group
            if height <= max(1, s.kernel_height):
                yield Method("AMP Nx1", in_group, out_group, 1, height, *traits)
            in_group *= 2
    yield from _vector_methods(s, half, half_partials, traits)


def _vector_methods(
    s: ConvShape, half: bool, half_partials: bool, traits: tuple[bool, bool, int, int, bool]
) -> Iterator[Method]:
    small = max(s.ci, s.co)
    if half and small <= 4 and s.stride[1] <= 2 and s.dilation == (1, 1):
        channels = 1 if small == 1 else (2 if small == 2 else 4)
        yield Method("SLIC", channels, channels, 4 // channels, 1, *traits)
    yield Method("HMAC", s.ci, min(s.co, 2) if half_partials else 1, 1, 1, *traits)
    if half and s.ci == s.co == 1:
        yield Method("VMAC", 1, 1, 4, 1, *traits)


@jit
def _ceil(a: int, b: int) -> int:
    return (a + b - 1) // b


@jit
def _hmac(half: bool, half_partials: bool, mk1: bool, m: tuple[int, ...], s: tuple[int, ...], planned: bool) -> int:
    batch, groups, co, ci, oh, ow, kh, kw = s
    share = _ceil(batch * oh * ow, 6)
    runs = _ceil(share, ow)
    out_groups = _ceil(co, m[2])
    worst = hmac_worker(share, runs, kh * kw, min(ci, m[1]), m[2], half, half_partials, mk1)
    zeros = batch * oh * ow * m[2]
    return hmac_total(worst, groups, _ceil(ci, m[1]), out_groups, zeros, half, half_partials, planned, mk1)


@jit
def method_cycles(m: tuple[int, ...], stride_x: int, s: tuple[int, ...], planned: bool) -> int:
    """Tile cycles of one vertex: method numbers, innermost stride, sizes (batch, groups, co, ci, oh, ow, kh, kw)."""
    batch, groups, co, ci, oh, ow, kh, kw = s
    kind, in_group, out_group, group_group, height = m[0], m[1], m[2], m[3], m[4]
    half, half_partials, units, load, mk1 = m[5] == 1, m[6] == 1, m[7], m[8], m[9] == 1
    if kind == AMP_1X1:
        return amp_1x1(
            batch * oh * ow,
            groups,
            _ceil(ci, in_group),
            _ceil(co, out_group),
            out_group,
            half,
            half_partials,
            units,
            load,
        )
    if kind == AMP_NX1:
        calls = nx1_calls(batch * oh, ow, half, half_partials, units, mk1)
        zeros = batch * oh * ow * out_group
        return nx1_total(
            calls,
            groups,
            _ceil(ci, in_group),
            _ceil(co, out_group),
            out_group,
            _ceil(kh, height),
            kw,
            height,
            zeros,
            half_partials,
            planned,
            units,
            load,
            mk1,
        )
    if kind == SLIC:
        chains = 4 if half_partials and units == 16 else 2
        blocks = kh * _ceil(kw, 4)
        return slic_balanced(
            batch * oh, ow, stride_x, _ceil(groups, group_group), blocks, group_group, in_group, chains, half_partials
        )
    if kind == HMAC:
        return _hmac(half, half_partials, mk1, m, s, planned)
    worst = vmac_worker(_ceil(batch * oh * ow * kh, 6), kw, group_group, half_partials)
    return vmac_total(
        worst, _ceil(groups, group_group), 1, group_group, batch * oh * ow * group_group, half_partials, mk1
    )


def vertex_cycles(method: Method, stride: tuple[int, int], sizes: tuple[int, ...]) -> int:
    """Tile cycles of one vertex of a program."""
    return int(method_cycles(method.numbers(), stride[1], sizes, False))
