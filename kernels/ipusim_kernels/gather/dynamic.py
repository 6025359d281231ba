"""Lowering of slices and updates at an index that is known only when the program runs.

Vertices run where the small tensor lies; it is spread so that each tile holds the same other elements of both, as the
library does (poplibs lib/popops/DynamicSlice.cpp), if the large one allows that: then only the index travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.dtype import DType
from ipusim.lower.placement import storage_like
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, Field, Role, Rows, VertexGroup
from ipusim.program.mapping import Mapping, linear
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.ops_shape import DynamicSlice, DynamicUpdate
from ipusim_kernels.copies import copy_group
from ipusim_kernels.gather.cycles import dynamic_slice_1d
from ipusim_kernels.reduce.codelets import no_flops


@final
@dataclass(frozen=True, slots=True)
class DynamicAttrs:
    """Axis, element type, chip generation."""

    axis: int
    dtype: DType
    mk1: bool


def dynamic_cycles(attrs: DynamicAttrs, elements: int, slices: int) -> int:
    """Tile cycles of DynamicSlice1D for elements in `slices` slices."""
    return dynamic_slice_1d(-(-elements // slices), slices, attrs.dtype.bytes == 2, attrs.mk1)


def _range(attrs: DynamicAttrs, whole: Array, part: Array, index: Array) -> tuple[slice, ...]:
    size = part.shape[attrs.axis]
    at = min(max(int(index.reshape(-1)[0]), 0), whole.shape[attrs.axis] - size)
    return (slice(None),) * attrs.axis + (slice(at, at + size),)


def slice_compute(attrs: DynamicAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """x, index, out, box by box."""
    for x, index, out in zip(*boxes, strict=True):
        out[...] = x[_range(attrs, x, out, index)]


def slice_batched(attrs: DynamicAttrs, arrays: Sequence[Array]) -> None:
    """x, index, out."""
    slice_compute(attrs, (), [[a] for a in arrays])


def update_compute(attrs: DynamicAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """value, index, x (overwritten), box by box."""
    for value, index, x in zip(*boxes, strict=True):
        x[_range(attrs, x, value, index)] = value


def update_batched(attrs: DynamicAttrs, arrays: Sequence[Array]) -> None:
    """value, index, x."""
    update_compute(attrs, (), [[a] for a in arrays])


SIZES = ("elements", "slices")
SLICE = Codelet(
    "popops::DynamicSlice1D", SIZES, dynamic_cycles, slice_compute, slice_batched, no_flops, "multi", 192
)
UPDATE = Codelet(
    "popops::DynamicUpdateSlice1D", SIZES, dynamic_cycles, update_compute, update_batched, no_flops, "multi", 192
)


def along(mapping: Mapping, axis: int, size: int) -> Mapping:
    """A mapping with `size` elements along an axis, all where its first element lies."""

    def make() -> Mapping:
        one = mapping.slice(axis, 0, 1)
        cuts = (*one.cuts[:axis], np.array([0, size], np.int32), *one.cuts[axis + 1 :])
        return Mapping((*one.shape[:axis], size, *one.shape[axis + 1 :]), cuts, one.tiles)

    return mapping.memo(("along", axis, size), make)


def _even(low: Lowering, x: Tensor, axis: int) -> Mapping:
    """Where a tensor should lie to be sliced along an axis."""
    shape = tuple(1 if a == axis else n for a, n in enumerate(x.shape))
    return along(linear(shape, low.chip.tiles), axis, x.shape[axis])


def wanted_place(low: Lowering, x: Tensor, body: Workload, value: Value) -> Mapping | None:
    """Where the first dynamic op of a loop's body that takes x as `value` wants it; None if there is none."""
    for node in body.nodes:
        if isinstance(node.op, DynamicSlice | DynamicUpdate) and node.inputs[0].name == value.name:
            return _even(low, x, node.op.axis)
    return None


def _group(
    codelet: Codelet,
    low: Lowering,
    axis: int,
    part: Tensor,
    fields: Sequence[tuple[str, Role, Tensor, int]],
    index: Tensor,
) -> VertexGroup:
    """A vertex on each tile that holds some of `part`; fields reach as far along the axis as given."""
    mapping = part.mapping
    shares = mapping.shares()
    boxes = Boxes.shares(mapping)
    attrs = DynamicAttrs(axis, part.dtype, low.chip.generation == "mk1")
    one = Boxes(np.zeros((len(boxes.lo), 1), np.int32), np.ones((len(boxes.lo), 1), np.int32), boxes.first)
    made = []
    for name, role, tensor, size in fields:
        lo, hi = boxes.lo.copy(), boxes.hi.copy()
        lo[:, axis], hi[:, axis] = 0, size
        made.append(Field(name, role, tensor, Boxes(lo, hi, boxes.first)))
    rows = np.stack([shares.elements, np.full(len(shares.tiles), part.shape[axis])], axis=1).astype(np.int32)
    middle = Field("index", "in", low.mapped(index).reshape((1,)), one)
    return VertexGroup(codelet, attrs, Rows(shares.tiles, rows), (made[0], middle, *made[1:]))


def lower_dynamic_slice(low: Lowering, op: DynamicSlice, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """DynamicSlice."""
    low.note("dynamic slice")
    x, index = inputs
    low.place(x, _even(low, x, op.axis))
    shape = node.outputs[0].shape
    made = Tensor.of(low.variable(shape, x.dtype, "out", along(x.mapping, op.axis, op.size)))
    fields: list[tuple[str, Role, Tensor, int]] = [("x", "in", x, x.shape[op.axis]), ("out", "out", made, op.size)]
    low.execute("slice", [_group(SLICE, low, op.axis, made, fields, index)])
    return [made]


def lower_dynamic_update(low: Lowering, op: DynamicUpdate, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """DynamicUpdate: on a copy of x unless x may be overwritten."""
    low.note("dynamic update")
    x, value, index = inputs
    low.place(x, _even(low, x, op.axis))
    target = x
    if not low.reusable[0] or x.chain() is None:
        target = storage_like(low, x, x.dtype, "out")[1]
        low.execute("copy", [copy_group(x, target)])
    place = along(target.mapping, op.axis, value.shape[op.axis])
    part = Tensor.of(low.variable(value.shape, x.dtype, "where", place))
    fields: list[tuple[str, Role, Tensor, int]] = [
        ("value", "in", low.mapped(value), value.shape[op.axis]),
        ("x", "inout", target, x.shape[op.axis]),
    ]
    low.execute("update", [_group(UPDATE, low, op.axis, part, fields, index)])
    return [target]
