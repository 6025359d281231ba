"""The one form in which convolutions and matmuls are planned.

x (batch, groups, in channels, height, width) with w (groups, out channels, in channels, kernel height, kernel width)
gives (batch, groups, out channels, height, width).  A 1x1 convolution is flattened: batch and field become one row of
positions.  A matmul [G, M, K] x [G, K, N] has M as positions and N as out channels, or, swapped, the other way round
(poplibs lib/poplin/MatMul.cpp and ConvModel.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class ConvShape:
    """Sizes of one convolution; `ci` and `co` are channels per group, padding is what lies before the first row and
    column.
    """

    batch: int
    groups: int
    ci: int
    co: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel_height: int = 1
    kernel_width: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)

    @property
    def macs(self) -> int:
        """Multiply-adds, taps on padding included."""
        positions = self.batch * self.out_height * self.out_width
        return positions * self.groups * self.co * self.ci * self.kernel_height * self.kernel_width

    @property
    def pointwise(self) -> bool:
        """A 1x1 kernel that reads each position once: positions may be flattened and AMP 1x1 may be used."""
        same = (self.height, self.width) == (self.out_height, self.out_width)
        return same and self.kernel_height == self.kernel_width == 1 and self.stride == (1, 1) and self.pad == (0, 0)

    def flattened(self) -> ConvShape:
        """The same 1x1 convolution over one row of positions."""
        positions = self.batch * self.out_height * self.out_width
        return ConvShape(1, self.groups, self.ci, self.co, 1, positions, 1, positions)


def matmul_shape(groups: int, m: int, k: int, n: int) -> ConvShape:
    """[groups, m, k] x [groups, k, n] with m as positions and n as out channels."""
    return ConvShape(1, groups, k, n, 1, m, 1, m)
