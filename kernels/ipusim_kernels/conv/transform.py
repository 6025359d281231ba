"""Transforms of a convolution before it is split over tiles (poplibs lib/poplin/ConvPlan.cpp and ConvModel.cpp).

Ideal: the same sums, asked in a form that fills the vertices better.  In order:

    expand    a kernel axis becomes input channels: channel (tap, c), taps outermost; the field is then the output's.
              A strided axis of one tap is picked out the same way.
    combine   `combined` conv groups become one, with block-diagonal weights.
    flatten   a 1x1 convolution is a product: batch and field become one row of positions.
    swap      in a product, positions and out channels change roles: the weights stream, the activations are loaded.
    pad       conv groups and channels up to whole groups of the vertex.

Omitted: swapping a convolution that is no product (its kernel would be the whole field, its multiply-adds grow by the
field over the kernel, and no bound lets it win), out channels made of a field that is smaller than its kernel,
flattening of one field axis while the other has a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

from ipusim_kernels.conv.shape import ConvShape


@final
@dataclass(frozen=True, slots=True)
class Transform:
    """What is done to a convolution, in the order of the fields; `padded` is the final (groups, ci, co), if padded."""

    expanded: tuple[bool, bool] = (False, False)
    combined: int = 1
    flattened: bool = False
    swapped: bool = False
    padded: tuple[int, int, int] | None = None

    def apply(self, s: ConvShape) -> ConvShape:
        """The shape that is split over tiles."""
        s = _combine(_expand(s, self.expanded), self.combined)
        if self.flattened:
            s = s.flattened()
        if self.swapped:
            s = ConvShape(1, s.groups, s.ci, s.out_width, 1, s.co, 1, s.co)
        if self.padded:
            groups, ci, co = self.padded
            s = replace(s, groups=groups, ci=ci, co=co)
        return s

    def pad_to(self, s: ConvShape, grains: tuple[int, int, int]) -> Transform:
        """With padding to `grains` (conv groups, in and out channels) of the shape `s` that it gives so far."""
        sizes = (s.groups, s.ci, s.co)
        up = tuple(-(-n // grain) * grain for n, grain in zip(sizes, grains, strict=True))
        return self if up == sizes else replace(self, padded=(up[0], up[1], up[2]))

    def names(self, s: ConvShape) -> tuple[str, ...]:
        """What is done, in words, for reports."""
        found = [f"expanding kernel {axis}" for axis, e in zip(("rows", "columns"), self.expanded, strict=True) if e]
        if self.combined > 1:
            found.append(f"combining {self.combined} conv groups")
        if self.flattened:
            found.append("flattening")
        if self.swapped:
            found.append("swapping operands")
        if self.padded:
            before = self.unpadded.apply(s)
            sizes = zip(("conv groups", "in channels", "out channels"), _sizes(before), self.padded, strict=True)
            found += [f"padding {name} {a} to {b}" for name, a, b in sizes if a != b]
        return tuple(found)

    @property
    def unpadded(self) -> Transform:
        """The same without padding."""
        return replace(self, padded=None) if self.padded else self

    @property
    def taps(self) -> bool:
        """Whether kernel positions become channels."""
        return any(self.expanded)


def _sizes(s: ConvShape) -> tuple[int, int, int]:
    return s.groups, s.ci, s.co


def _expand(s: ConvShape, axes: tuple[bool, bool]) -> ConvShape:
    if axes[0]:
        s = replace(
            s,
            ci=s.ci * s.kernel_height,
            height=s.out_height,
            kernel_height=1,
            stride=(1, s.stride[1]),
            dilation=(1, s.dilation[1]),
            pad=(0, s.pad[1]),
        )
    if axes[1]:
        s = replace(
            s,
            ci=s.ci * s.kernel_width,
            width=s.out_width,
            kernel_width=1,
            stride=(s.stride[0], 1),
            dilation=(s.dilation[0], 1),
            pad=(s.pad[0], 0),
        )
    return s


def _combine(s: ConvShape, factor: int) -> ConvShape:
    return s if factor == 1 else replace(s, groups=-(-s.groups // factor), ci=s.ci * factor, co=s.co * factor)


def _expandable(s: ConvShape, axis: int) -> bool:
    """An axis may become channels if that changes the convolution and its kernel lies within the field."""
    size = (s.height, s.width)[axis]
    kernel = (s.kernel_height, s.kernel_width)[axis]
    out = (s.out_height, s.out_width)[axis]
    return size >= kernel and (kernel > 1 or s.stride[axis] > 1 or s.pad[axis] > 0 or out != size)


def _factors(s: ConvShape, half: bool) -> Iterator[int]:
    """How many conv groups may be combined: from a load of the matrix unit to all its weights, by doubling."""
    yield 1
    load, weights = (4, 16) if half else (2, 8)
    if s.groups > 1 and (s.ci == 1 or (s.ci == 2 and half)):
        factor = load // s.ci
        while factor <= weights // s.ci:
            if factor > 1:
                yield factor
            factor *= 2


def transforms(s: ConvShape, half: bool, matmul: bool) -> Iterator[Transform]:
    """Every transform to be tried, before padding; matmuls swapped first, convolutions as they are first."""
    rows = (False, True) if _expandable(s, 0) else (False,)
    columns = (False, True) if _expandable(s, 1) else (False,)
    found = []
    for expanded in [(r, c) for r in rows for c in columns]:
        for factor in _factors(s, half):
            made = Transform(expanded, factor)
            if made.apply(s).pointwise:
                flat = replace(made, flattened=True)
                found += [flat, replace(flat, swapped=True)]
            else:
                found.append(made)
    return iter(sorted(found, key=lambda t: t.swapped != matmul))
