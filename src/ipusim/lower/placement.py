"""Vertices that follow the data: an elementwise op runs where its main operand lives.

The main operand is the first of full shape; the result takes its storage form and mapping, so that operand needs no
exchange. Other operands are seen in the same storage form (broadcast where they are smaller) and exchanged as far as
their mapping differs.  If the main operand is a slice or a join, the result is stored in plain row-major order with
the same mapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType
from ipusim.errors import BadInput
from ipusim.lower.rules import Lowering
from ipusim.program.graph import Boxes, Field, Rows
from ipusim.program.mapping import I32, I64, Mapping, Shape
from ipusim.program.tensor import Tensor, Variable


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """An elementwise op on tiles: vertex k runs on `tile`[k], which owns `elements`[k] elements of the result.

    `result` is the result as the op's consumers see it; `operands` and `stored` are the same data in the storage form
    of the result; `boxes` are what each vertex touches of any of them.
    """

    result: Tensor
    stored: Tensor
    operands: tuple[Tensor, ...]
    boxes: Boxes
    tile: I32
    elements: I64

    def fields(self, *, in_place: int | None = None) -> tuple[Field, ...]:
        """One field per operand in order, then the result; with `in_place`, that operand is written instead."""
        read = tuple(
            Field(f"in{i}", "inout" if i == in_place else "in", t, self.boxes) for i, t in enumerate(self.operands)
        )
        return read if in_place is not None else (*read, Field("out", "out", self.stored, self.boxes))

    def rows(self, *columns: NDArray[np.integer]) -> Rows:
        """Vertex rows with the given size columns (default: elements); remembered with the mapping."""
        key = ("rows", *(c.tobytes() for c in columns))
        chosen = columns or (self.elements,)
        mapping = self.boxes.of

        def make() -> Rows:
            return Rows(self.tile, np.stack(chosen, axis=1).astype(np.int32))

        return make() if mapping is None else mapping.memo(key, make)

    def extent(self, axes: Sequence[int]) -> I64:
        """Elements along storage axes `axes` in the first box of each vertex.  Returns: (vertices,) int64."""
        first = self.boxes.first[:-1]
        width = (self.boxes.hi[first] - self.boxes.lo[first]).astype(np.int64)
        return np.asarray(width[:, list(axes)].prod(axis=1))

    def varying(self, operand: int) -> tuple[int, ...]:
        """Storage axes along which an operand really changes (the others are broadcast)."""
        repeats = self.operands[operand].mapping.repeats
        shape = self.operands[operand].shape
        return tuple(a for a, (r, n) in enumerate(zip(repeats, shape, strict=True)) if not r and n > 1)


def storage_like(low: Lowering, tensor: Tensor, dtype: DType, name: str) -> tuple[Variable, Tensor]:
    """A new variable stored and mapped like `tensor`, and the tensor of `tensor`'s shape on it."""
    chain = low.mapped(tensor).chain()
    if chain is None:
        mapping = low.spread(tensor.shape, dtype) if any(tensor.mapping.repeats) else tensor.mapping
        variable = low.variable(tensor.shape, dtype, name, mapping)
        return variable, Tensor.of(variable)
    base = chain[0]
    variable = low.variable(
        base.shape, dtype, name, base.mapping, channels=base.channels, channel_axis=base.channel_axis
    )
    return variable, tensor.rebase(variable)


def place_pointwise(
    low: Lowering, operands: Sequence[Tensor], shape: Shape, dtype: DType, name: str, *, in_place: bool = False
) -> Placed:
    """Places an elementwise op over `operands`, all broadcastable to `shape`, giving a result of `dtype`.

    With `in_place` the result is the main operand's own storage (which must be operand 0, of full shape and of
    `dtype`).
    """
    lead = _lead(low, operands, shape)
    if in_place:
        result, stored_result = operands[0], operands[0]
        variable = None
    else:
        variable, result = storage_like(low, lead, dtype, name)
        stored_result = Tensor.of(variable)
    full = [low.mapped(t).broadcast_to(shape) for t in operands]
    stored = _in_storage(full, lead)
    if stored is None or (in_place and lead.chain() is None):
        stored, stored_result = full, result
    elif in_place:
        stored_result = stored[0]
    mapping: Mapping = stored_result.mapping
    shares = mapping.shares()
    return Placed(result, stored_result, tuple(stored), Boxes.shares(mapping), shares.tiles, shares.elements)


def _lead(low: Lowering, operands: Sequence[Tensor], shape: Shape) -> Tensor:
    """The operand that decides place: full shape first, already mapped before not yet mapped, one variable before
    joins.
    """
    full = [t for t in operands if t.shape == shape]
    if not full:
        mapping = low.spread(shape, operands[0].dtype)
        return Tensor.of(Variable("result", shape, operands[0].dtype, mapping=mapping))
    ready = [t for t in full if all(v.mapping is not None for v in t.variables())]
    stored = [t for t in ready if t.chain() is not None and not t.variables()[0].always_live]
    return (stored or ready or full)[0]


def _in_storage(full: Sequence[Tensor], lead: Tensor) -> list[Tensor] | None:
    """Operands in the storage form of `lead`, or None where a broadcast axis would have to merge with a real one."""
    if lead.chain() is None:
        return None
    try:
        stored = [t.as_base_of(lead) for t in full]
        for tensor in stored:
            tensor.mapping  # noqa: B018  (raises if the view cannot be mapped)
    except BadInput:
        return None
    return stored
