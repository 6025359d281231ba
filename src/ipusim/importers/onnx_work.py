"""A conversion under way: what each tensor of the file has become, and the reading of parameters."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import as_dtype
from ipusim.errors import BadInput, NotKnown
from ipusim.importers.onnx_file import Graph, OnnxNode
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Value

Array = NDArray[Any]


@final
class Import:
    """The builder, the file's graph, and what each of its tensors has become.

    `known` holds arrays of tensors that do not depend on inputs (a weight of one value everywhere is a view without
    memory), `values` holds workload values; a tensor may be in both.
    """

    def __init__(self, graph: Graph, builder: WorkloadBuilder) -> None:
        self.graph, self.builder, self.opset = graph, builder, graph.opset
        self.known: dict[str, Array] = {}
        self.values: dict[str, Value] = {}

    def value(self, name: str) -> Value:
        """A tensor as a value of the workload; constants are added when first asked for."""
        if name not in self.values:
            self.values[name] = self.builder.constant(_constant(name, self.known[name]), name)
        return self.values[name]

    def optional(self, node: OnnxNode, position: int) -> Value | None:
        """An input as a value, None if it is left out."""
        name = node.input(position)
        return self.value(name) if name else None

    def parameter(self, node: OnnxNode, position: int, name: str) -> Array | None:
        """An input that must be known ahead of time, None if it is left out.  Raises NotKnown."""
        tensor = node.input(position)
        if not tensor:
            return None
        if tensor not in self.known:
            raise NotKnown(f"{name} ({tensor!r}) must be known when the model is compiled", tensor)
        return self.known[tensor]


def ints(work: Import, node: OnnxNode, position: int, name: str) -> list[int] | None:
    """A list of numbers from an input (of newer opsets) or an attribute (of older ones); None if neither is there."""
    array = work.parameter(node, position, name)
    if array is not None:
        return [int(v) for v in array.reshape(-1)]
    found = node.attribute(name, None)
    if found is None:
        return None
    return [int(v) for v in found] if isinstance(found, list | tuple) else [int(found)]


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front.  Raises BadInput if the tensor does not have it."""
    if not -rank <= axis < rank:
        raise BadInput(f"axis {axis} of a tensor with {rank} axes")
    return axis % rank


def axes_of(axes: list[int], rank: int) -> list[int]:
    """Axes counted from the front.  Raises BadInput for one that does not exist or comes twice."""
    out = [axis_of(a, rank) for a in axes]
    if len(set(out)) != len(out):
        raise BadInput(f"axes {axes} of a tensor with {rank} axes: one comes twice")
    return out


def _constant(name: str, array: Array) -> Constant:
    """A constant of the workload: 64-bit types narrowed, one value everywhere as a recipe."""
    if array.size > 1 and not any(array.strides):
        single = _narrow(name, np.asarray(array[(0,) * array.ndim]))
        return Constant.full(array.shape, as_dtype(single.dtype), single.item())
    return Constant.of(_narrow(name, array))


def _narrow(name: str, array: Array) -> Array:
    """64-bit numbers in the types of the chip.  Raises BadInput for integers that do not fit."""
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        narrow = np.int32 if array.dtype.kind == "i" else np.uint32
        limits = np.iinfo(narrow)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise BadInput(f"constant {name!r} has 64-bit values that do not fit 32 bits")
        return array.astype(narrow)
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    return array
