"""The builder's methods for ops that move elements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod

from ipusim.dtype import DType, as_dtype
from ipusim.errors import BadInput
from ipusim.workload import ops_shape
from ipusim.workload.graph import Value
from ipusim.workload.ops import Op


def from_front(axis: int, rank: int) -> int:
    """An axis counted from the front; one that is out of range stays so, for the op to refuse by name."""
    return axis + rank if -rank <= axis < 0 else axis


class MoveMethods(ABC):
    """Reshape, transpose, join, slice and the like; the builder adds the rest."""

    @abstractmethod
    def one(self, op: Op, inputs: Sequence[Value], name: str | None = None) -> Value:
        """A node with one output."""

    @abstractmethod
    def add_node(self, op: Op, inputs: Sequence[Value], name: str | None = None) -> tuple[Value, ...]:
        """A node for any op."""

    def cast(self, x: Value, dtype: DType | str, name: str | None = None) -> Value:
        """x in another element type."""
        return self.one(ops_shape.Cast(as_dtype(dtype)), [x], name)

    def reshape(self, x: Value, shape: Sequence[int], name: str | None = None) -> Value:
        """x under another shape; one size may be -1."""
        sizes = [int(n) for n in shape]
        if sizes.count(-1) == 1:
            rest = prod(n for n in sizes if n != -1)
            if rest == 0 or x.type.elements % rest:
                raise BadInput(f"reshape: {x.shape} does not fit {tuple(shape)}")
            sizes[sizes.index(-1)] = x.type.elements // rest
        return self.one(ops_shape.Reshape(tuple(sizes)), [x], name)

    def transpose(self, x: Value, perm: Sequence[int] | None = None, name: str | None = None) -> Value:
        """x with axes reordered (reversed if perm is None)."""
        order = tuple(reversed(range(len(x.shape)))) if perm is None else tuple(int(p) for p in perm)
        return self.one(ops_shape.Transpose(order), [x], name)

    def concat(self, xs: Sequence[Value], axis: int = 0, name: str | None = None) -> Value:
        """Values joined along an axis."""
        return self.one(ops_shape.Concat(from_front(axis, len(xs[0].shape)) if xs else 0), xs, name)

    def slice(
        self,
        x: Value,
        starts: Sequence[int],
        stops: Sequence[int],
        steps: Sequence[int] | None = None,
        name: str | None = None,
    ) -> Value:
        """x[start:stop:step] on every axis, in Python's reading of negative and oversized bounds."""
        chosen = (1,) * len(x.shape) if steps is None else steps
        if not len(starts) == len(stops) == len(chosen) == len(x.shape) or 0 in chosen:
            given = f"starts {starts}, stops {stops}, steps {chosen}"
            raise BadInput(f"node {name or 'slice'!r}: {given} want a number for each axis of x {x.shape}, steps not 0")
        bounds = [slice(a, b, c).indices(n) for a, b, c, n in zip(starts, stops, chosen, x.shape, strict=True)]
        return self.one(ops_shape.Slice(*(tuple(b[i] for b in bounds) for i in range(3))), [x], name)

    def pad(
        self,
        x: Value,
        padding: Sequence[tuple[int, int]],
        *,
        value: float = 0.0,
        mode: str = "constant",
        name: str | None = None,
    ) -> Value:
        """Elements added before and after each axis."""
        return self.one(ops_shape.Pad(tuple((int(a), int(b)) for a, b in padding), value, mode), [x], name)

    def split(self, x: Value, sizes: Sequence[int], axis: int = 0, name: str | None = None) -> tuple[Value, ...]:
        """Pieces of given sizes along an axis."""
        return self.add_node(ops_shape.Split(from_front(axis, len(x.shape)), tuple(int(n) for n in sizes)), [x], name)

    def expand(self, x: Value, shape: Sequence[int], name: str | None = None) -> Value:
        """x broadcast to a shape."""
        return self.one(ops_shape.Expand(tuple(int(n) for n in shape)), [x], name)

    def dynamic_slice(self, x: Value, index: Value, size: int, axis: int = 0, name: str | None = None) -> Value:
        """`size` elements along an axis from an index (one int32) on, moved into range if need be."""
        op = ops_shape.DynamicSlice(from_front(axis, len(x.shape)), int(size))
        return self.one(op, [x, index], name or "dynamic_slice")

    def dynamic_update(self, x: Value, value: Value, index: Value, axis: int = 0, name: str | None = None) -> Value:
        """x with `value` in place of its elements along an axis from an index (one int32) on."""
        op = ops_shape.DynamicUpdate(from_front(axis, len(x.shape)))
        return self.one(op, [x, value, index], name or "dynamic_update")
