"""Sizes of a model's inputs: the batch, axes that the file leaves open, and what the user gives for them.

The first axis is the batch.  Where the file leaves it open it is the batch asked for, and so is every other axis with
the same symbol; where no input leaves it open, the first input's is the model's batch.  A symbol that stands first in
one input and later in another is taken for the batch only if no other could be: it is rather a length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any, final

from ipusim.errors import BadInput, UnknownName
from ipusim.importers.onnx_file import Graph

Axis = int | str | None
Shape = tuple[int, ...]


def input_shapes(graph: Graph, batch: int | None, dims: Mapping[str, int] | None) -> tuple[dict[str, Shape], int]:
    """(shape of each input by name, samples in one run).

    `dims` gives open axes by symbol, or by place as in "x[1]".  Raises BadInput naming the axes that stay open, and
    for a batch that the model does not have.
    """
    asked = None if batch is None else _size("batch", batch)
    axes = _axes(graph)
    sizes = _Sizes(str(graph.path), axes, _given(graph, axes, dims or {}), asked, _batch_symbols(axes))
    shapes = {name: tuple(sizes.size(name, a) for a in range(len(shape))) for name, shape in axes.items()}
    still = [(name, a) for name, shape in shapes.items() for a, n in enumerate(shape) if n == 0]
    if still:
        raise BadInput(sizes.remedy(still))
    return shapes, sizes.samples(shapes)


@final
@dataclass(frozen=True, slots=True)
class _Sizes:
    """What is known of the axes of a model's inputs; 0 is the size of one that stays open."""

    path: str
    axes: dict[str, tuple[Axis, ...]]
    given: dict[str, int]
    batch: int | None
    batch_symbols: frozenset[str]

    def size(self, name: str, a: int) -> int:
        """The size of an axis.  Raises BadInput if `dims` and `batch` contradict each other."""
        axis = self.axes[name][a]
        if isinstance(axis, int):
            return axis
        told = self.given.get(f"{name}[{a}]", self.given.get(axis) if axis else None)
        if not self.is_batch(name, a):
            return told or 0
        if told is not None and self.batch not in (None, told):
            raise BadInput(f"{self.path}: dims gives {told} for the batch of input {name!r}, batch is {self.batch}")
        return told or self.batch or 1

    def is_batch(self, name: str, a: int) -> bool:
        """Whether an axis is an open batch."""
        axis = self.axes[name][a]
        return axis in self.batch_symbols if isinstance(axis, str) else axis is None and a == 0

    def samples(self, shapes: Mapping[str, Shape]) -> int:
        """The batch of the model.  Raises BadInput if it is fixed and not the one asked for."""
        for name, shape in shapes.items():
            if shape and self.is_batch(name, 0):
                return shape[0]
        first = next((name for name, shape in shapes.items() if shape), None)
        fixed = 1 if first is None else shapes[first][0]
        if self.batch not in (None, fixed):
            where = f"input {first!r}" if first else "a model without inputs"
            raise BadInput(f"{self.path}: the batch of {where} is fixed at {fixed}, not {self.batch}")
        return fixed

    def remedy(self, still: list[tuple[str, int]]) -> str:
        """The axes that stay open, and how to give them."""
        places = [f"axis {a} of input {name!r} is open ({self.axes[name][a] or 'no symbol'})" for name, a in still]
        keys = dict.fromkeys(str(self.axes[name][a] or f"{name}[{a}]") for name, a in still)
        asked = ", ".join(f"{key!r}: N" for key in keys)
        return (
            f"{self.path}: {', '.join(places)}; fix in the file, or ipusim.importers.onnx.load(path, dims={{{asked}}})"
        )


def _axes(graph: Graph) -> dict[str, tuple[Axis, ...]]:
    out: dict[str, tuple[Axis, ...]] = {}
    for name, (_, axes) in graph.inputs.items():
        if axes is None:
            raise BadInput(f"{graph.path}: input {name!r} has no shape; give it one in the file (its rank at least)")
        out[name] = axes
    return out


def _batch_symbols(axes: Mapping[str, tuple[Axis, ...]]) -> frozenset[str]:
    first = [shape[0] for shape in axes.values() if shape and isinstance(shape[0], str)]
    later = {axis for shape in axes.values() for axis in shape[1:]}
    return frozenset([s for s in first if s not in later] or first[:1])


def _given(graph: Graph, axes: Mapping[str, tuple[Axis, ...]], dims: Mapping[str, int]) -> dict[str, int]:
    """`dims`, checked against the open axes there are."""
    known = dict.fromkeys(_keys(axes))
    for key in dims:
        if key not in known:
            raise UnknownName(f"open axis of {graph.path}", str(key), known)
    return {key: _size(f"dims[{key!r}]", value) for key, value in dims.items()}


def _keys(axes: Mapping[str, tuple[Axis, ...]]) -> Iterator[str]:
    """Symbols and places of open axes."""
    for name, shape in axes.items():
        for a, axis in enumerate(shape):
            if isinstance(axis, str):
                yield axis
            if not isinstance(axis, int):
                yield f"{name}[{a}]"


def _size(what: str, value: Any) -> int:
    try:
        size = 0 if isinstance(value, bool) else index(value)
    except TypeError:
        size = 0
    if size < 1:
        raise BadInput(f"{what} must be a whole number of at least 1, not {value!r}")
    return size
