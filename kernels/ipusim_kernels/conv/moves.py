"""What a plan has to rearrange: operands before the convolution, its result after it, and how fast.

A full rearrangement moves single elements, to other tiles and into another order; a regroup stays on the tile and
moves whole groups of channels.  Both take 5 / 4 of their bytes over the rate, 5 / 3 where channels are no whole
vectors.  What triggers them (poplibs lib/poplin/ConvModel.cpp, transform costs): channels made of kernel positions,
operands swapped against the kind of op, combined groups, padding; and operands that are not stored in the groups of
channels that the vertex reads.  A result in groups that the next layer would not read is regrouped at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

from ipusim_kernels.conv.methods import Method
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.conv.transform import Transform


@final
@dataclass(frozen=True, slots=True)
class Move:
    """One tensor: bytes per cycle (0: it stays as it is), whether it changes tiles, and quarters (4) or thirds (3)."""

    rate: int = 0
    travels: bool = False
    quarters: int = 4

    def numbers(self) -> tuple[int, int, int]:
        """The record as whole numbers, for compiled code."""
        return self.rate, int(self.travels), self.quarters


@final
@dataclass(frozen=True, slots=True)
class Moves:
    """Rearrangements of x and w, in the roles that the transformed shape gives them, and of the result.

    `source`: kernel, stride (rows, columns) and row length of a field whose kernel became channels, else zeros;
    `field`: the operand whose channels those are, 0 for x and 1 for w.
    """

    x: Move
    w: Move
    result: Move
    source: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    field: int = 0

    def numbers(self) -> tuple[int, ...]:
        """The record as whole numbers, for compiled code."""
        return (*self.x.numbers(), *self.w.numbers(), *self.result.numbers(), *self.source, self.field)

    def names(self) -> tuple[str, ...]:
        """What is rearranged, in words, for reports."""
        named = (("inputs", self.x), ("weights", self.w), ("result", self.result))
        return tuple(f"{'rearranging' if m.travels else 'regrouping'} {name}" for name, m in named if m.rate)


Sizes = tuple[int, int, int]


def moves(
    shape: ConvShape,
    t: Transform,
    method: Method,
    how: tuple[tuple[int, int], bool, int],
    sizes: tuple[Sizes, Sizes],
) -> Moves:
    """What a transform and a method make necessary.

    how: channels that operands are stored in groups of (0: as wanted), whether it is a matmul, bytes that a tile
    copies per cycle; sizes: (conv groups, in channels, out channels) before and after padding.
    """
    stored, matmul, copy_bytes = how
    (groups, ci, co), (padded_groups, padded_ci, padded_co) = sizes
    turned = t.swapped != matmul and t.flattened
    every = turned or t.combined > 1 or ci != padded_ci or groups != padded_groups
    # picking every second position of a 1x1 convolution leaves its weights as they are
    kernel = t.taps and (shape.kernel_height > 1 or shape.kernel_width > 1)
    x_too, w_too = (kernel, t.taps) if t.swapped else (t.taps, kernel)
    result = turned or t.combined > 1 or co != padded_co or groups != padded_groups
    flags = (every or x_too, every or w_too or co != padded_co, result)
    source = _source(shape, t)
    kept = (stored[1], stored[0]) if t.swapped else stored
    return _moves(flags, kept, ci, padded_ci, padded_co, matmul, method, copy_bytes, source, int(t.swapped))


@lru_cache(maxsize=8192)
def _moves(
    flags: tuple[bool, bool, bool],
    kept: tuple[int, int],
    ci: int,
    padded_ci: int,
    padded_co: int,
    matmul: bool,
    method: Method,
    copy_bytes: int,
    source: tuple[int, int, int, int, int],
    field: int,
) -> Moves:
    size = 2 if method.half else 4
    vector, wanted = 8 // size, 32 // size
    full = Move(min(copy_bytes, size), True, 4 if padded_ci % vector == 0 else 3)
    x = full if flags[0] else _stored(kept[0], ci, method, full, copy_bytes, size)
    w = full if flags[1] else _stored(kept[1], ci, method, full, copy_bytes, size)
    result = Move()
    if flags[2]:
        result = Move(min(copy_bytes, size), True, 4 if padded_co % vector == 0 else 3)
    elif not matmul and method.kind.startswith("AMP") and method.out_group != wanted and padded_co % wanted == 0:
        result = Move(min(copy_bytes, min(method.out_group, wanted) * size))
    return Moves(x, w, result, source, field)


def _stored(kept: int, channels: int, method: Method, full: Move, copy_bytes: int, size: int) -> Move:
    """How an operand whose channels are stored in groups of `kept` comes into the method's groups."""
    if kept == 0 or channels == 1 or kept == method.in_group:
        return Move()
    if not method.kind.startswith(("AMP", "SLIC")) and kept in (1, channels):
        return Move()
    if kept == 1 or method.in_group == 1:
        return full
    return Move(min(copy_bytes, min(kept, method.in_group) * size))


def _source(shape: ConvShape, t: Transform) -> tuple[int, int, int, int, int]:
    if not t.taps:
        return 0, 0, 0, 0, 0
    rows, columns = t.expanded
    kernel = shape.kernel_height if rows else 1, shape.kernel_width if columns else 1
    stride = shape.stride[0] if rows else 1, shape.stride[1] if columns else 1
    return (*kernel, *stride, shape.out_width if columns else shape.width)
