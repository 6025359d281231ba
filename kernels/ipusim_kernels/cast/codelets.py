"""The cast vertex, its lowering rule, and the group that ends a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.dtype import DType
from ipusim.lower.placement import place_pointwise
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup, WholeOp
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node
from ipusim.workload.ops_shape import Cast
from ipusim_kernels.cast.cycles import cast_1d
from ipusim_kernels.halves import store, widen


@final
@dataclass(frozen=True, slots=True)
class CastAttrs:
    """Element types before and after."""

    source: DType
    target: DType


def convert(x: Array, out: Array) -> None:
    """x in out's element type: to nearest even between floats, towards zero to integers, non-zero is true."""
    values = widen(x)
    with np.errstate(all="ignore"):
        store(values if out.dtype == np.float16 and values.dtype == np.float32 else values.astype(out.dtype), out)


def cast_cycles(attrs: CastAttrs, elements: int) -> int:
    """Tile cycles of Cast1D."""
    return cast_1d(elements, attrs.source.name == "float16", attrs.target.name == "float16")


def no_flops(attrs: CastAttrs, elements: int) -> int:
    """A conversion is no arithmetic."""
    return 0


def cast_batched(attrs: CastAttrs, arrays: Sequence[Array]) -> None:
    """x and out of the same shape."""
    convert(*arrays)


def cast_compute(attrs: CastAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for x, out in zip(*boxes, strict=True):
        convert(x, out)


CAST = Codelet("popops::Cast1D", ("elements",), cast_cycles, cast_compute, cast_batched, no_flops, "multi", 320)


def cast_group(partials: Tensor, target: Tensor, mapping: Mapping, whole: WholeOp | None) -> VertexGroup:
    """Casts every tile's own partials, mapped by `mapping`, to `target`; `whole` makes the values of the entire op."""
    shares = mapping.shares()
    rows = mapping.memo("cast rows", lambda: Rows(shares.tiles, shares.elements.astype(np.int32)[:, None]))
    boxes = Boxes.shares(mapping)
    fields = (Field("in", "in", partials, boxes), Field("out", "out", target, boxes))
    return VertexGroup(CAST, CastAttrs(partials.dtype, target.dtype), rows, fields, whole, whole is None)


def cast(low: Lowering, x: Tensor, dtype: DType, name: str, *, deferred: bool = False) -> Tensor:
    """Adds a cast of x; the result."""
    return casts(low, [x], dtype, name, deferred=deferred)[0]


def casts(low: Lowering, tensors: Sequence[Tensor], dtype: DType, name: str, *, deferred: bool = False) -> list[Tensor]:
    """Adds casts of several tensors in one superstep; their results."""
    results, groups = [], []
    for x in tensors:
        placed = place_pointwise(low, [x], x.shape, dtype, name)
        fields = placed.fields()
        groups.append(VertexGroup(CAST, CastAttrs(x.dtype, dtype), placed.rows(), fields, deferred=deferred))
        results.append(placed.result)
    low.execute(name, groups)
    return results


def lower_cast(low: Lowering, op: Cast, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Cast; nothing to do where the type is the same."""
    low.note("cast")
    x = inputs[0]
    return [x] if x.dtype == op.dtype else [cast(low, x, op.dtype, "cast")]
