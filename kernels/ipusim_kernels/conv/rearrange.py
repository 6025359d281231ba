"""Rearrangement of an operand before a convolution, or of its result, as vertices: exchange, then a copy on the tile.

A vertex makes a box of the wanted tensor from one box of the tensor that is there: channels made of kernel positions,
block-diagonal weights of combined groups, padding with zeros, another order of elements.  The box it reads is the
smallest that holds what it needs, so an element that several kernel positions want is received once.

Coordinates.  Activations (n, g, c, y, x), weights (g, o, c, ky, kx).  A channel of a transformed convolution is
(member of the combined group, kernel position, channel), an out channel (member, out channel).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, Rows
from ipusim.program.mapping import I32, I64, Mapping
from ipusim_kernels.conv.cost import copy_cycles
from ipusim_kernels.conv.moves import Move
from ipusim_kernels.conv.serial import move_batched, move_compute, no_flops
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.conv.transform import Transform

Operand = Literal["field", "weights", "result"]
Range = tuple[I64, I64]


@final
@dataclass(frozen=True, slots=True)
class RearrangeAttrs:
    """What is made of what: the original shape and its transform, the operand, and the speed of the copy.

    `turned`: the operand is made for the other role (a field as weights, weights as a field).
    """

    shape: ConvShape
    transform: Transform
    operand: Operand
    turned: bool
    move: Move
    element_bytes: int


def rearrange_cycles(attrs: RearrangeAttrs, elements: int, *corners: int) -> int:
    """Tile cycles of a copy that makes `elements`."""
    return copy_cycles(elements * attrs.element_bytes, attrs.move.rate, attrs.move.quarters)


def rearrange_compute(attrs: RearrangeAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex: sizes are (elements, corner of the result, corner of the source)."""
    source, target = boxes[0][0], boxes[1][0]
    corner, origin = sizes[1:6], sizes[6:11]
    index = np.ogrid[tuple(slice(lo, lo + n) for lo, n in zip(corner, target.shape, strict=True))]
    valid, at = _trace(attrs, index)
    inside = np.broadcast_to(valid, target.shape)
    target[...] = 0
    if inside.any():
        picked = tuple(np.broadcast_to(a, target.shape)[inside] - o for a, o in zip(at, origin, strict=True))
        target[inside] = source[picked]


REARRANGE = Codelet(
    "poplin::Rearrange",
    ("elements", *(f"to{i}" for i in range(5)), *(f"from{i}" for i in range(5))),
    rearrange_cycles,
    rearrange_compute,
    None,
    no_flops,
    "multi",
    384,
    ("in",),
)


@final
@dataclass(frozen=True, slots=True)
class RegroupAttrs:
    """Speed of a copy that stays on its tile."""

    move: Move
    element_bytes: int


def regroup_cycles(attrs: RegroupAttrs, elements: int) -> int:
    """Tile cycles of a copy of `elements`."""
    return copy_cycles(elements * attrs.element_bytes, attrs.move.rate, attrs.move.quarters)


REGROUP = Codelet(
    "poplin::Regroup",
    ("elements",),
    regroup_cycles,
    move_compute,
    move_batched,
    no_flops,
    "multi",
    256,
    ("in",),
)


def _trace(attrs: RearrangeAttrs, index: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
    """(which elements exist, where they come from) of the elements of the wanted tensor at `index`."""
    s, t = attrs.shape, attrs.transform
    if attrs.operand == "result":
        n, g, o, y, x = index
        return np.bool_(True), (n, g // t.combined, g % t.combined * s.co + o, y, x)
    if attrs.operand == "weights":
        (_, g, c, _, o), ky, kx = (index, 0, 0) if attrs.turned else ((0, index[0], index[2], 0, index[1]), *index[3:])
        member, out = o // s.co, o % s.co
        other, ky, kx, channel = _channel(s, t, c, ky, kx)
        group = g * t.combined + member
        return (member == other) & (group < s.groups) & (member < t.combined), (group, out, channel, ky, kx)
    n, g, c, y, x = _positions(attrs, index)
    member, ky, kx, channel = _channel(s, t, c, 0, 0)
    group = g * t.combined + member
    valid = (member < t.combined) & (group < s.groups)
    rows, columns = t.expanded
    if rows:
        y = y * s.stride[0] - s.pad[0] + ky * s.dilation[0]
    if columns:
        x = x * s.stride[1] - s.pad[1] + kx * s.dilation[1]
    height, width = _field(attrs)
    valid = valid & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    if t.taps:
        valid = valid & (n < s.batch)
    return valid, (n, group, channel, y, x)


def _field(attrs: RearrangeAttrs) -> tuple[int, int]:
    """Rows and columns of the field that is read: the original one, or positions in one row where it is only moved."""
    s, t = attrs.shape, attrs.transform
    if t.flattened and not t.taps:
        return 1, s.batch * s.out_height * s.out_width
    return s.height, s.width


def _positions(attrs: RearrangeAttrs, index: Sequence[Any]) -> tuple[Any, ...]:
    s, t = attrs.shape, attrs.transform
    if attrs.turned:
        g, p, c = index[:3]
        n, y = 0, 0
    else:
        n, g, c, y, p = index
    if t.flattened and t.taps:
        row, x = p // s.out_width, p % s.out_width
        return row // s.out_height, g, c, row % s.out_height, x
    return n, g, c, y, p


def _channel(s: ConvShape, t: Transform, c: Any, ky: Any, kx: Any) -> tuple[Any, Any, Any, Any]:
    """(member of a combined group, kernel row, kernel column, channel) of a transformed channel."""
    rows, columns = t.expanded
    taps = (s.kernel_height if rows else 1) * (s.kernel_width if columns else 1)
    member, rest = c // (taps * s.ci), c % (taps * s.ci)
    tap, channel = rest // s.ci, rest % s.ci
    if rows and columns:
        return member, tap // s.kernel_width, tap % s.kernel_width, channel
    return member, tap if rows else ky, tap if columns else kx, channel


# -- boxes -------------------------------------------------------------------------------------------------------------


def rearrangement(attrs: RearrangeAttrs, mapping: Mapping) -> tuple[Rows, Boxes, Boxes]:
    """Vertices that make a tensor mapped by `mapping`: rows, boxes of what they read and of what they make."""
    return mapping.memo(("rearrangement", attrs), lambda: _vertices(attrs, mapping))


def _vertices(attrs: RearrangeAttrs, mapping: Mapping) -> tuple[Rows, Boxes, Boxes]:
    shares = mapping.shares()
    tile = np.repeat(shares.tiles, np.diff(shares.first))
    lo, hi = shares.lo, shares.hi
    if attrs.operand == "field" and attrs.transform.flattened and attrs.transform.taps:
        tile, lo, hi = _by_rows(attrs, tile, lo, hi)
    from_lo, from_hi = _source(attrs, lo.astype(np.int64), hi.astype(np.int64))
    if attrs.operand != "result" and attrs.transform.taps:
        one = _by_taps(attrs, tile, lo, hi)
        one_lo, one_hi = _source(attrs, one[1].astype(np.int64), one[2].astype(np.int64))
        if _volume(one_lo, one_hi) < _volume(from_lo, from_hi):
            (tile, lo, hi), from_lo, from_hi = one, one_lo, one_hi
    elements = (hi - lo).astype(np.int64).prod(axis=1)
    sizes = np.concatenate([elements[:, None], lo, from_lo], axis=1).astype(np.int32)
    return Rows(tile, sizes), Boxes.one_each(from_lo, from_hi), Boxes.one_each(lo.astype(np.int32), hi.astype(np.int32))


def _volume(lo: I32, hi: I32) -> int:
    return int((hi - lo).astype(np.int64).prod(axis=1).sum())


def _by_taps(attrs: RearrangeAttrs, tile: I32, lo: I32, hi: I32) -> tuple[I32, I32, I32]:
    """Boxes cut between kernel positions."""
    inner = attrs.shape.ci
    first, last = lo[:, 2] // inner, np.maximum(hi[:, 2] - 1, lo[:, 2]) // inner
    of = np.repeat(np.arange(len(lo)), last - first + 1)
    number = np.arange(len(of)) - np.repeat(np.cumsum(last - first + 1) - (last - first + 1), last - first + 1)
    low, high = lo[of].copy(), hi[of].copy()
    low[:, 2] = np.maximum(low[:, 2], (first[of] + number) * inner)
    high[:, 2] = np.minimum(high[:, 2], (first[of] + number + 1) * inner)
    return tile[of], low, high


def _by_rows(attrs: RearrangeAttrs, tile: I32, lo: I32, hi: I32) -> tuple[I32, I32, I32]:
    """Boxes cut where rows of positions end, so that each comes from part of one row or from whole rows of an image."""
    axis = 1 if attrs.turned else 4
    width, image = attrs.shape.out_width, attrs.shape.out_width * attrs.shape.out_height
    tiles, lows, highs = [], [], []
    for k in range(len(lo)):
        at, end = int(lo[k, axis]), int(hi[k, axis])
        while at < end:
            stop = min(end, (at // width + 1) * width)
            if at % width == 0 and end - at > width:
                stop = min((at // image + 1) * image, at + (end - at) // width * width)
            tiles.append(tile[k])
            lows.append(lo[k].copy())
            highs.append(hi[k].copy())
            lows[-1][axis], highs[-1][axis] = at, stop
            at = stop
    return np.array(tiles, np.int32), np.array(lows, np.int32), np.array(highs, np.int32)


def _source(attrs: RearrangeAttrs, lo: I64, hi: I64) -> tuple[I32, I32]:
    """The smallest boxes that hold what boxes of the wanted tensor need; empty where that is all padding."""
    ranges = {"field": _field_ranges, "weights": _weight_ranges, "result": _result_ranges}[attrs.operand](attrs, lo, hi)
    low = np.stack([a for a, _ in ranges], axis=1)
    high = np.maximum(np.stack([b for _, b in ranges], axis=1), low)
    return low.astype(np.int32), high.astype(np.int32)


def _clip(lo: I64, hi: I64, size: int) -> Range:
    return np.clip(lo, 0, size), np.clip(hi, 0, size)


def _nested(lo: I64, hi: I64, inner: int) -> tuple[Range, Range]:
    """(outer, inner) ranges of indices outer * `inner` + rest from lo to hi; the inner one is whole over several."""
    first, last = lo // inner, np.maximum(hi - 1, lo) // inner
    one = first == last
    return (first, last + 1), (np.where(one, lo % inner, 0), np.where(one, (hi - 1) % inner + 1, inner))


def _channel_ranges(attrs: RearrangeAttrs, lo: I64, hi: I64) -> tuple[Range, Range, Range, Range]:
    """(members, kernel rows, kernel columns, channels) of transformed channels; kernel axes that are none as (0, 1)."""
    s, t = attrs.shape, attrs.transform
    rows, columns = t.expanded
    taps = (s.kernel_height if rows else 1) * (s.kernel_width if columns else 1)
    lo, hi = _clip(lo, hi, t.combined * taps * s.ci)
    members, rest = _nested(lo, hi, taps * s.ci)
    tap, channels = _nested(*rest, s.ci)
    one = (np.zeros_like(lo), np.ones_like(lo))
    if rows and columns:
        return members, *_nested(*tap, s.kernel_width), _empty_if(lo >= hi, channels)
    return members, tap if rows else one, tap if columns else one, _empty_if(lo >= hi, channels)


def _empty_if(where: Any, found: Range) -> Range:
    return found[0], np.where(where, found[0], found[1])


def _groups(s: ConvShape, t: Transform, groups: Range, members: Range) -> Range:
    several = groups[1] - groups[0] > 1
    first = groups[0] * t.combined + np.where(several, 0, members[0])
    end = np.where(several, groups[1] * t.combined, groups[0] * t.combined + members[1])
    return _clip(first, end, s.groups)


def _field_ranges(attrs: RearrangeAttrs, lo: I64, hi: I64) -> list[Range]:
    s, t = attrs.shape, attrs.transform
    order = (None, 0, 2, None, 1) if attrs.turned else (0, 1, 2, 3, 4)
    zero = (np.zeros(len(lo), np.int64), np.ones(len(lo), np.int64))
    n, g, c, y, p = (zero if a is None else (lo[:, a], hi[:, a]) for a in order)
    x = p
    if t.flattened and t.taps:
        images, inside = _nested(*p, s.out_width * s.out_height)
        n = _clip(*images, s.batch)
        y, x = _nested(*inside, s.out_width)
    members, ky, kx, channels = _channel_ranges(attrs, *c)
    rows, columns = t.expanded
    height, width = _field(attrs)
    if rows:
        y = _reached(y, ky, s, 0)
    if columns:
        x = _reached(x, kx, s, 1)
    return [n, _groups(s, t, g, members), channels, _clip(*y, height), _clip(*x, width)]


def _reached(out: Range, taps: Range, s: ConvShape, axis: int) -> Range:
    stride, pad, dilation = s.stride[axis], s.pad[axis], s.dilation[axis]
    end = (out[1] - 1) * stride - pad + (taps[1] - 1) * dilation + 1
    return out[0] * stride - pad + taps[0] * dilation, end


def _weight_ranges(attrs: RearrangeAttrs, lo: I64, hi: I64) -> list[Range]:
    s, t = attrs.shape, attrs.transform
    order = (1, 4, 2, None, None) if attrs.turned else (0, 1, 2, 3, 4)
    one = (np.zeros(len(lo), np.int64), np.ones(len(lo), np.int64))
    g, o, c, ky, kx = (one if a is None else (lo[:, a], hi[:, a]) for a in order)
    members, made_ky, made_kx, channels = _channel_ranges(attrs, *c)
    out_members, outs = _nested(*_clip(*o, t.combined * s.co), s.co)
    both = np.maximum(members[0], out_members[0]), np.minimum(members[1], out_members[1])
    nothing = (both[0] >= both[1]) | (o[0] >= t.combined * s.co)
    rows, columns = t.expanded
    found = [_groups(s, t, g, both), _empty_if(nothing, outs), channels]
    return [*found, made_ky if rows else ky, made_kx if columns else kx]


def _result_ranges(attrs: RearrangeAttrs, lo: I64, hi: I64) -> list[Range]:
    s, t = attrs.shape, attrs.transform
    n, g, o, y, x = ((lo[:, a], hi[:, a]) for a in range(5))
    groups, members = _nested(*g, t.combined)
    one = members[1] - members[0] == 1
    first, end = members[0] * s.co + o[0], members[0] * s.co + o[1]
    channels = np.where(one, first, members[0] * s.co), np.where(one, end, members[1] * s.co)
    return [n, groups, channels, y, x]
