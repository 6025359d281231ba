"""Variables, and tensors as views on them.

A variable owns elements and has a tile mapping.  A tensor is an expression over variables (reshape, transpose, slice,
join, broadcast) that never holds data of its own: `read` applies it to the variables' arrays (numpy views wherever
numpy can), and `mapping` applies it to the variables' mappings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from math import prod
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType
from ipusim.errors import BadInput, InvalidProgram
from ipusim.program import mapping as maps
from ipusim.program.mapping import Mapping, Shape
from ipusim.program.painting import Painting
from ipusim.program.subscripts import Index, as_axis, as_shape, check_join, inferred, is_whole, subscript

Array = NDArray[Any]


class Initial(Protocol):
    """A value known before the program runs; made when it is first needed."""

    def array(self) -> Array:
        """The value."""
        ...


@runtime_checkable
class Replicated(Protocol):
    """A value known before the program runs that each replica has its own of (states of random generators)."""

    def array(self) -> Array:
        """The value on the first replica."""
        ...

    def of_replica(self, number: int) -> Array:
        """The value on a replica, counted from 0."""
        ...


@final
class Variable:
    """Named storage of a shape and an element type, placed on tiles.

    `initial` is its value when the program is loaded (weights), `always_live` keeps it in memory for the whole
    program; `channels` is the number of neighbours along `channel_axis` that are stored together (1: plain
    row-major), which decides whether a consumer has to rearrange it; `keep` holds its array after the last use
    (results).  A tile program places it element by element instead: `painted`, with `number` its place in the graph
    and `line` where the user made it.
    """

    __slots__ = (
        "always_live",
        "channel_axis",
        "channels",
        "dtype",
        "initial",
        "keep",
        "line",
        "mapping",
        "name",
        "number",
        "painted",
        "shape",
    )

    def __init__(
        self,
        name: str,
        shape: Shape,
        dtype: DType,
        *,
        mapping: Mapping | None = None,
        initial: Initial | None = None,
        always_live: bool = False,
        channels: int = 1,
        channel_axis: int = -1,
    ) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self.mapping, self.initial, self.always_live, self.channels = mapping, initial, always_live, channels
        self.channel_axis, self.keep = channel_axis, False
        self.painted, self.number, self.line = Painting(prod(shape)), -1, ""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {self.shape}, {self.dtype})"


@final
class Tensor:
    """A view: one step (`kind`, `args`) applied to `sources`; kind "variable" is the leaf."""

    __slots__ = ("_mapping", "_variables", "args", "dtype", "kind", "place", "shape", "sources", "variable")

    def __init__(
        self,
        kind: str,
        shape: Shape,
        dtype: DType,
        sources: tuple[Tensor, ...],
        args: Any,
        variable: Variable | None = None,
    ) -> None:
        self.kind, self.shape, self.dtype, self.sources, self.args, self.variable = (
            kind,
            shape,
            dtype,
            sources,
            args,
            variable,
        )
        self._mapping: Mapping | None = None
        self._variables: tuple[Variable, ...] | None = None if variable is None else (variable,)
        self.place: Any = None  # see ipusim.program.elements

    @staticmethod
    def of(variable: Variable) -> Tensor:
        """The whole of a variable."""
        return Tensor("variable", variable.shape, variable.dtype, (), None, variable)

    # -- views ---------------------------------------------------------------------------------------------------------

    def reshape(self, shape: int | Sequence[int]) -> Tensor:
        """Row-major view under another shape; one size may be -1.  Raises BadInput if the elements do not fit it."""
        new = shape if type(shape) is tuple and shape == self.shape else inferred(self.label, self.shape, shape)
        if new == self.shape:
            return self
        return self.as_shape(new)

    def as_shape(self, shape: Shape) -> Tensor:
        """`reshape` to a shape that is known to fit and to differ."""
        if self.kind == "reshape":
            return self.sources[0] if self.sources[0].shape == shape else self.sources[0].as_shape(shape)
        return Tensor("reshape", shape, self.dtype, (self,), shape)

    def transpose(self, axes: Sequence[int]) -> Tensor:
        """Axes reordered.  Raises BadInput unless each is named once."""
        order = tuple(self._axis(a) for a in axes)
        if sorted(order) != list(range(len(self.shape))):
            raise BadInput(f"{self.label}: {tuple(axes)} is not an order of the {len(self.shape)} axes")
        if order == tuple(range(len(order))):
            return self
        if self.kind == "permute":
            return self.sources[0].transpose([self.args[a] for a in order])
        return Tensor("permute", tuple(self.shape[a] for a in order), self.dtype, (self,), order)

    def slice(self, axis: int, start: int, stop: int) -> Tensor:
        """Elements start..stop of an axis.  Raises BadInput outside the axis."""
        axis = self._axis(axis)
        if not (is_whole(start) and is_whole(stop) and 0 <= start <= stop <= self.shape[axis]):
            raise BadInput(f"{self.label}: slice {start}:{stop} of axis {axis}, which has {self.shape[axis]} elements")
        if (start, stop) == (0, self.shape[axis]):
            return self
        shape = (*self.shape[:axis], stop - start, *self.shape[axis + 1 :])
        return Tensor("slice", shape, self.dtype, (self,), (axis, start, stop))

    def stride(self, axis: int, start: int, count: int, step: int) -> Tensor:
        """`count` elements of an axis from `start` by `step` (negative steps reverse).  Raises BadInput outside it."""
        axis = self._axis(axis)
        last = start + (count - 1) * step
        if count < 0 or (count and not (0 <= start < self.shape[axis] and 0 <= last < self.shape[axis])):
            raise BadInput(
                f"{self.label}: {count} elements from {start} by {step} of axis {axis}, which has {self.shape[axis]}"
            )
        shape = (*self.shape[:axis], count, *self.shape[axis + 1 :])
        return Tensor("stride", shape, self.dtype, (self,), (axis, start, count, step))

    def broadcast_to(self, shape: Sequence[int]) -> Tensor:
        """Axes of size one repeated, leading axes added, as numpy does.  Raises BadInput where numpy could not."""
        new = as_shape(self.label, shape)
        own = new[len(new) - len(self.shape) :]
        if len(new) < len(self.shape) or any(n not in (1, m) for n, m in zip(self.shape, own, strict=True)):
            raise BadInput(f"{self.label}: cannot broadcast shape {self.shape} to {new}")
        return self if new == self.shape else Tensor("broadcast", new, self.dtype, (self,), new)

    def solid(self) -> Tensor:
        """The same elements, broadcast ones counted once per repeat, so that such axes may merge with others."""
        if not any(self.mapping.repeats):
            return self
        return Tensor("solid", self.shape, self.dtype, (self,), None)

    def __getitem__(self, index: Index) -> Tensor:
        """A view as numpy's basic indexing gives it: whole numbers, slices of any step, `...`, `None`.

        Raises BadInput for an index outside its axis: a slice that would be cut short is a mistake here.
        """
        return subscript(self, index)

    def blocks(self, lo: Any, hi: Any) -> Any:
        """A block for each of many vertices (`Graph.add_vertices`): elements `lo`[i]..`hi`[i] of each axis.

        Both are whole numbers, (blocks, axes).  Raises BadInput for blocks that do not lie inside the tensor.
        """
        from ipusim.program.blocks import Blocks

        return Blocks.of(self, lo, hi)

    def __len__(self) -> int:
        if not self.shape:
            raise BadInput(f"{self.label}: a tensor of one element has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def flatten(self) -> Tensor:
        """All elements in row-major order, as one axis."""
        return self.reshape((self.elements,))

    def reverse(self, axis: int = 0) -> Tensor:
        """An axis backwards."""
        axis = self._axis(axis)
        return self.stride(axis, self.shape[axis] - 1, self.shape[axis], -1)

    def broadcast(self, count: int, axis: int = 0) -> Tensor:
        """`count` repeats along an axis, as Poplar's broadcast: the axis grows by that factor."""
        axis = self._axis(axis)
        if not is_whole(count) or count < 1:
            raise BadInput(f"{self.label}: cannot broadcast {count!r} times")
        if self.shape[axis] == 1:
            return self.broadcast_to((*self.shape[:axis], count, *self.shape[axis + 1 :]))
        return Tensor.concat([self] * count, axis)

    def _axis(self, axis: int) -> int:
        return axis if type(axis) is int and 0 <= axis < len(self.shape) else as_axis(self.label, axis, self.shape)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def T(self) -> Tensor:  # noqa: N802  (numpy's name)
        """Axes in reverse order."""
        return self.transpose(range(len(self.shape) - 1, -1, -1))

    def __repr__(self) -> str:
        return f"Tensor({self.label!r}, {self.shape}, {self.dtype})"

    @staticmethod
    def concat(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
        """Tensors joined along an axis; their data stays where it is.  Raises BadInput where they do not match."""
        axis = check_join(parts, axis)
        if len(parts) == 1:
            return parts[0]
        shape = (*parts[0].shape[:axis], sum(p.shape[axis] for p in parts), *parts[0].shape[axis + 1 :])
        return Tensor("concat", shape, parts[0].dtype, tuple(parts), axis)

    # -- meaning -------------------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """Name of the variable behind the view, for messages."""
        return self.variable.name if self.variable else self.sources[0].label

    def variables(self) -> tuple[Variable, ...]:
        """The variables it looks at, each once, in order."""
        if self._variables is None:
            one = len(self.sources) == 1
            found = self.sources[0].variables() if one else tuple(v for s in self.sources for v in s.variables())
            self._variables = found if one else tuple(dict.fromkeys(found))
        return self._variables

    @property
    def mapping(self) -> Mapping:
        """Tile mapping of the view.  Raises InvalidProgram where a variable has none."""
        if self._mapping is None:
            self._mapping = self._map()
        return self._mapping

    def _map(self) -> Mapping:
        if self.variable is not None:
            if self.variable.mapping is None:
                raise InvalidProgram([f"variable {self.variable.name!r} {self.shape} has no tile mapping"])
            return self.variable.mapping
        base = self.sources[0].mapping
        match self.kind:
            case "reshape":
                return base.reshape(self.args)
            case "permute":
                return base.permute(self.args)
            case "slice":
                return base.slice(*self.args)
            case "stride":
                axis, start, count, step = self.args
                return base.take(axis, range(start, start + count * step, step))
            case "broadcast":
                return base.broadcast_to(self.args)
            case "solid":
                return base.memo("solid", lambda: Mapping(base.shape, base.cuts, base.tiles))
            case _:
                key = ("concat", self.args, *(id(s.mapping) for s in self.sources[1:]))
                parts = [s.mapping for s in self.sources]
                return base.memo(key, lambda: maps.concat(parts, self.args))

    def read(self, values: Dict[Variable, Array]) -> Array:
        """The elements: a numpy view of the variable's array unless the view joins variables."""
        if self.variable is not None:
            return values[self.variable]
        if self.kind == "concat":
            return np.concatenate([s.read(values) for s in self.sources], axis=self.args)
        return self.apply(self.sources[0].read(values))

    def write_back(self, array: Array, values: Dict[Variable, Array]) -> None:
        """Stores an array that was read from here and filled, if numpy could only read this view as a copy."""
        if self.variable is not None or any(np.may_share_memory(array, values[v]) for v in self.variables()):
            return
        filled, at = array, self
        while at.variable is None:
            source = at.sources[0]
            match at.kind:
                case "reshape":
                    filled = filled.reshape(source.shape)
                case "permute":
                    filled = filled.transpose(np.argsort(at.args))
                case _:
                    raise BadInput(f"{self.label}: cannot write through a view that joins or repeats elements")
            at = source
        values[at.variable][...] = filled

    def apply(self, base: Array) -> Array:
        """This view's own step on an array of its source's shape (a join is no such step)."""
        match self.kind:
            case "reshape":
                return base.reshape(self.args)
            case "permute":
                return base.transpose(self.args)
            case "slice":
                axis, start, stop = self.args
                return np.asarray(base[(slice(None),) * axis + (slice(start, stop),)])
            case "stride":
                axis, start, count, step = self.args
                stop = start + count * step
                index = slice(start, stop if stop >= 0 else None, step)
                return np.asarray(base[(slice(None),) * axis + (index,)])
            case "solid":
                return base
            case _:
                return np.broadcast_to(base, self.args)

    # -- storage form --------------------------------------------------------------------------------------------------

    def chain(self) -> tuple[Variable, tuple[tuple[str, Any], ...]] | None:
        """(variable, reshape and transpose steps from it to here), or None if the view does anything else."""
        steps: list[tuple[str, Any]] = []
        at = self
        while at.variable is None:
            if at.kind not in ("reshape", "permute"):
                return None
            steps.append((at.kind, at.args))
            at = at.sources[0]
        return at.variable, tuple(reversed(steps))

    def rebase(self, variable: Variable) -> Tensor:
        """The same reshapes and transposes on another variable of the base variable's shape."""
        found = self.chain()
        if found is None:
            raise BadInput(f"{self.label}: a slice or a join has no single base variable")
        out = Tensor.of(variable)
        for kind, args in found[1]:
            out = out.reshape(args) if kind == "reshape" else out.transpose(args)
        return out

    def as_base_of(self, other: Tensor) -> Tensor:
        """This tensor, of `other`'s shape, seen in the storage shape of `other`'s base variable: `other`'s steps
        undone.
        """
        found = other.chain()
        if found is None:
            raise BadInput(f"{other.label}: a slice or a join has no single base variable")
        shapes, at = [], other
        while at.variable is None:
            shapes.append(at.sources[0].shape)
            at = at.sources[0]
        out = self
        for (kind, args), shape in zip(reversed(found[1]), shapes, strict=True):
            out = out.reshape(shape) if kind == "reshape" else out.transpose(np.argsort(args).tolist())
        return out
