"""Vertex groups: the vertices of a lowered op as columns, with boxes of tensors as fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from ipusim.program.codelet import Array, Codelet
from ipusim.program.mapping import I32, Mapping
from ipusim.program.tensor import Tensor

T = TypeVar("T")
Role = Literal["in", "out", "inout"]
#: How often the condition of a loop was asked, and how often it held, in all.
Rounds = tuple[int, int]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Boxes:
    """Element ranges of one field: box i is [`lo`[i], `hi`[i]) on the tensor's axes, both (boxes, axes) int32.

    Vertex r has the boxes `first`[r]:`first`[r + 1].  `of` names the mapping whose cells these are, if they are: such
    a field needs no exchange from a tensor mapped by the same object.
    """

    lo: I32
    hi: I32
    first: I32
    of: Mapping | None = None

    @staticmethod
    def one_each(lo: I32, hi: I32) -> Boxes:
        """One box per vertex."""
        return Boxes(lo, hi, np.arange(len(lo) + 1, dtype=np.int32))

    @staticmethod
    def shares(mapping: Mapping) -> Boxes:
        """What each tile owns of a mapping, one vertex per tile."""
        return mapping.memo(
            "boxes", lambda: Boxes(mapping.shares().lo, mapping.shares().hi, mapping.shares().first, mapping)
        )

    def elements(self) -> NDArray[np.int64]:
        """Elements of each vertex's field.  Returns: (vertices,) int64."""
        volume = np.prod(self.hi - self.lo, axis=1, dtype=np.int64)
        return np.add.reduceat(np.append(volume, 0), self.first[:-1]) * (np.diff(self.first) > 0)

    def of_vertex(self, row: int) -> list[tuple[slice, ...]]:
        """Index expressions of the boxes of one vertex."""
        rows = range(int(self.first[row]), int(self.first[row + 1]))
        return [tuple(slice(int(a), int(b)) for a, b in zip(self.lo[i], self.hi[i], strict=True)) for i in rows]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Vertices of a group: `tile` (n,) ascending, `sizes` (n, k) int32, the codelet's size columns."""

    tile: I32
    sizes: I32
    _memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def memo(self, key: Any, make: Callable[[], T]) -> T:
        """`make()` the first time a key is asked for, the same object afterwards."""
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = make()
        made: T = found
        return made

    def __len__(self) -> int:
        return len(self.tile)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Field:
    """One field of all vertices of a group.

    `rate` is the speed in bytes per cycle at which the tile rearranges the field before the vertex runs, because it
    is not stored in the order the codelet reads; 0 where no rearrangement is needed.
    """

    name: str
    role: Role
    tensor: Tensor
    boxes: Boxes
    rate: int = 0


@final
@dataclass(frozen=True, eq=False, slots=True)
class WholeOp:
    """Values of several groups of an op computed together: `function(attrs, inputs + outputs)`, the outputs last.

    It gives the `Rounds` of each loop in it that ends on a condition, in the order in which the conditions are lowered.
    """

    function: Callable[[Any, Sequence[Array]], Sequence[Rounds] | None]
    attrs: Any
    tensors: tuple[Tensor, ...]
    outputs: int = 1


@final
@dataclass(frozen=True, eq=False, slots=True)
class VertexGroup:
    """All vertices of one codelet with the same attributes in a compute set.

    Values: by default `codelet.batched` on the fields' tensors.  `whole` replaces it by a function over other tensors
    of the op; `deferred` says that a later group's `whole` makes this group's values as well (its outputs then hold
    nothing).
    """

    codelet: Codelet
    attrs: Any
    rows: Rows
    fields: tuple[Field, ...]
    whole: WholeOp | None = None
    deferred: bool = False
