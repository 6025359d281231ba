"""Many vertices at once: a block of a tensor for each of them, and the columns such blocks fill.

A program of a regular grid wires the same fields of every vertex to blocks of the same few tensors.  `Blocks` are those
as two arrays of bounds; `Vertices` are the vertices of one codelet that were added together.  Nothing of Python is made
per vertex, so a hundred thousand of them take milliseconds; the program is the same as with `Graph.add_vertex`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim.errors import BadInput, UnknownName
from ipusim.lang.decorator import TileCodelet
from ipusim.program.elements import boxes, runs_of_columns
from ipusim.program.mapping import I32, I64
from ipusim.program.tensor import Tensor, Variable
from ipusim.program.wiring import FieldColumns, WiredGroup, holds

UNCONNECTED = -1  # in place of a variable's number
Bool = NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Blocks:
    """Block i holds the elements `lo`[i]..`hi`[i] of each axis of `tensor`; both (blocks, axes) int64.

    Made by `Tensor.blocks`.
    """

    tensor: Tensor
    lo: I64
    hi: I64

    @staticmethod
    def of(tensor: Tensor, lo: ArrayLike, hi: ArrayLike) -> Blocks:
        """Bounds checked and made arrays.  Raises BadInput for bounds outside the tensor or of another form."""
        low, high = (_bounds(tensor, name, values) for name, values in (("lo", lo), ("hi", hi)))
        if low.shape != high.shape:
            raise BadInput(f"{tensor.label}: blocks from {len(low)} lower and {len(high)} upper bounds")
        wrong = np.flatnonzero(((low < 0) | (low > high) | (high > np.array(tensor.shape, np.int64))).any(axis=1))
        if len(wrong):
            i = int(wrong[0])
            raise BadInput(
                f"{tensor.label}: block {i} is {low[i].tolist()} to {high[i].tolist()} of a tensor of {tensor.shape}"
                + (f" ({len(wrong)} blocks do not lie inside)" if len(wrong) > 1 else "")
            )
        return Blocks(tensor, low, high)

    def __len__(self) -> int:
        return len(self.lo)

    def columns(self) -> tuple[int, I64, I64, I64]:
        """(number of the variable, offsets (blocks,), lengths (blocks, axes), strides (axes,)).

        Raises BadInput for a tensor that joins variables or does not step evenly through one.
        """
        found = boxes(self.tensor)
        if len(found) != 1 or found[0][2] != self.tensor.shape:
            if not self.tensor.elements:
                return self.tensor.variables()[0].number, self.lo[:, 0] * 0, self.hi - self.lo, self.lo[0] * 0
            raise BadInput(
                f"{self.tensor.label}: blocks need a tensor that steps evenly through one variable (slices, transposes)"
            )
        variable, offset, _, strides = found[0]
        step = np.array(strides, np.int64)
        return variable.number, offset + self.lo @ step, self.hi - self.lo, step


def _bounds(tensor: Tensor, name: str, values: ArrayLike) -> I64:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != len(tensor.shape) or array.dtype.kind not in "iu" or not tensor.shape:
        raise BadInput(
            f"{tensor.label}: {name} of blocks is an array of whole numbers, (blocks, {len(tensor.shape)}), not "
            f"{array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)


@final
class Vertices:
    """Vertices of one codelet, added together: connect their fields and set their members by name."""

    __slots__ = ("_boxes", "_used", "_values", "codelet", "first", "line", "tiles")

    def __init__(self, codelet: TileCodelet, tiles: I32, line: str, first: int) -> None:
        self.codelet, self.tiles, self.line, self.first = codelet, tiles, line, first
        self._boxes: dict[str, _Boxes] = {f.name: _Boxes.empty(len(tiles)) for f in codelet.fields}
        self._values: dict[str, tuple[NDArray[Any], Bool]] = {
            v.name: (np.zeros(len(tiles), np.float64 if v.dtype.is_float else np.int64), np.zeros(len(tiles), bool))
            for v in codelet.values
        }
        self._used: set[Variable] = set()

    def __len__(self) -> int:
        return len(self.tiles)

    def connect(self, name: str, to: Any, rows: ArrayLike | None = None) -> None:
        """Wires a field to `Blocks`, or gives a plain member a number for all or an array of them.

        `rows` (an array of row numbers, or a mask) are the vertices that are meant; left out: all.  Blocks and arrays
        have an entry for each of them.  A vector of vectors takes the rows of a block: its last axis.
        Raises BadInput, UnknownName.
        """
        where = f"{self.line}: {len(self)} vertices {self.codelet.name}"
        chosen = _rows(where, rows, len(self))
        if name in self._values:
            self._set(f"{where}, member {name!r}", name, to, chosen)
        elif name not in self._boxes:
            raise UnknownName(f"field of codelet {self.codelet.name}", name, (*self._boxes, *self._values))
        elif not isinstance(to, Blocks):
            raise BadInput(f"{where}, field {name!r}: connect it to blocks of a tensor (Tensor.blocks), not {to!r}")
        elif len(to) != len(chosen):
            raise BadInput(f"{where}, field {name!r}: {len(to)} blocks for {len(chosen)} vertices")
        else:
            spec = next(f for f in self.codelet.fields if f.name == name)
            if to.tensor.dtype != spec.dtype:
                raise BadInput(f"{where}, field {name!r}: holds {spec.dtype}, {to.tensor.label!r} {to.tensor.dtype}")
            self._boxes[name].put(chosen, to)
            self._used.update(to.tensor.variables())

    def _set(self, where: str, name: str, to: Any, chosen: I64) -> None:
        array = np.asarray(to)
        if array.dtype.kind not in "iufb" or array.shape not in ((), chosen.shape):
            raise BadInput(f"{where}: needs a number or {len(chosen)} of them, not {to!r}")
        dtype = next(v.dtype for v in self.codelet.values if v.name == name)
        for value in (array.min(), array.max()) if array.size else ():
            if not holds(dtype, value):
                raise BadInput(f"{where}: {value} is no {dtype}")
        values, given = self._values[name]
        if (array != array.astype(values.dtype)).any():
            raise BadInput(f"{where}: {to!r} are not all {dtype}")
        values[chosen], given[chosen] = array, True

    # -- rules ---------------------------------------------------------------------------------------------------------

    def problems(self, tiles: int, variables: Sequence[Variable]) -> Iterator[tuple[int, str]]:
        """(row, what is wrong) of the first vertex with each mistake; `tiles` and `variables` are the graph's."""
        strange = [v for v in self._used if not (0 <= v.number < len(variables) and variables[v.number] is v)]
        yield from ((0, f": {v.name!r} belongs to another graph") for v in strange)
        for row, more in _first((self.tiles < 0) | (self.tiles >= tiles)):
            yield row, f" is on tile {self.tiles[row]}; the device has tiles 0 to {tiles - 1}{more}"
        for spec in self.codelet.fields:
            found = self._boxes[spec.name]
            for row, more in _first(found.number == UNCONNECTED):
                yield row, f", field {spec.name!r}: is not connected{more}"
            if spec.depth == 0:
                for row, more in _first((found.number >= 0) & (found.lengths.prod(axis=1) != 1)):
                    yield row, f", field {spec.name!r}: is one element, not {found.volume(row)}{more}"
        for name, (_, given) in self._values.items():
            for row, more in _first(~given):
                yield row, f", member {name!r} has no value{more}"

    # -- columns -------------------------------------------------------------------------------------------------------

    def wired(self) -> WiredGroup:
        """The columns of the group, in the order of the memory that the vertices write."""
        order = self._host_order()
        fields = tuple(
            FieldColumns(spec.name, *self._boxes[spec.name].runs(order, spec.depth)) for spec in self.codelet.fields
        )
        values = {name: column[order] for name, (column, _) in self._values.items()}
        added = self.first + np.arange(len(self), dtype=np.int64)[order]
        return WiredGroup(self.codelet, self.tiles[order], added, (self.line,) * len(self), fields, values)

    def _host_order(self) -> I64:
        written = [f.name for f in self.codelet.fields if f.role != "in"] or list(self._boxes)
        if not written:
            return np.arange(len(self), dtype=np.int64)
        found = self._boxes[written[0]]
        return np.lexsort((found.offset, found.number)).astype(np.int64)


@final
@dataclass(eq=False, slots=True)
class _Boxes:
    """Strided boxes of a field: `number` (n,) of variables, `offset` (n,), `lengths`, `strides` (n, axes)."""

    number: I32
    offset: I64
    lengths: I64
    strides: I64

    @staticmethod
    def empty(count: int) -> _Boxes:
        number = np.full(count, UNCONNECTED, np.int32)
        return _Boxes(number, np.zeros(count, np.int64), np.ones((count, 1), np.int64), np.zeros((count, 1), np.int64))

    def put(self, rows: I64, blocks: Blocks) -> None:
        """Writes boxes to some rows; axes of size one are put in front where the number of axes differs."""
        number, offset, lengths, strides = blocks.columns()
        more = len(strides) - self.lengths.shape[1]
        if more > 0:
            self.lengths = np.pad(self.lengths, ((0, 0), (more, 0)), constant_values=1)
            self.strides = np.pad(self.strides, ((0, 0), (more, 0)))
        at = self.lengths.shape[1] - len(strides)
        self.number[rows], self.offset[rows] = number, offset
        self.lengths[rows, :at], self.strides[rows, :at] = 1, 0
        self.lengths[rows, at:], self.strides[rows, at:] = lengths, strides

    def volume(self, row: int) -> int:
        """Elements of a box."""
        return int(self.lengths[row].prod())

    def runs(self, order: I64, depth: int) -> tuple[Any, I64]:
        """(runs of every vector, the first vector of every vertex and the end), vertices in an order."""
        number, offset = self.number[order], self.offset[order]
        lengths, strides = self.lengths[order], self.strides[order]
        first = np.arange(len(order) + 1, dtype=np.int64)
        if depth < 2:
            return runs_of_columns(number, offset, lengths, strides, first), first
        per_vertex = lengths[:, :-1].prod(axis=1)
        first = np.concatenate([[0], np.cumsum(per_vertex)]).astype(np.int64)
        of = np.repeat(np.arange(len(order)), per_vertex)
        left, at = np.arange(len(of)) - first[of], offset[of]
        for axis in range(lengths.shape[1] - 2, -1, -1):
            at += left % lengths[of, axis] * strides[of, axis]
            left //= lengths[of, axis]
        views = np.arange(len(of) + 1, dtype=np.int64)
        return runs_of_columns(number[of], at, lengths[of, -1:], strides[of, -1:], views), first


def _first(wrong: Bool) -> list[tuple[int, str]]:
    """The first row that is wrong and how many more are, if there is one."""
    rows = np.flatnonzero(wrong)
    more = f" ({len(rows)} vertices)" if len(rows) > 1 else ""
    return [(int(row), more) for row in rows[:1]]


def _rows(where: str, rows: ArrayLike | None, count: int) -> I64:
    if rows is None:
        return np.arange(count, dtype=np.int64)
    array = np.asarray(rows)
    if array.dtype.kind == "b" and array.shape == (count,):
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu" or array.ndim != 1 or (array.size and not 0 <= array.min() <= array.max() < count):
        raise BadInput(f"{where}: rows are numbers from 0 to {count - 1} or a mask of {count}")
    return array.astype(np.int64)


def as_tiles(where: str, tiles: ArrayLike, count: int | None) -> I32:
    """Numbers of tiles as an array (of `count` if given).  Raises BadInput for anything else."""
    array = np.asarray(tiles)
    if array.ndim != 1 or array.dtype.kind not in "iu" or (count is not None and len(array) != count):
        wanted = "tiles" if count is None else f"{count} tiles, one for each block"
        raise BadInput(f"{where}: needs an array of {wanted}, not {tiles!r}")
    if array.size and not -(2**31) <= array.min() <= array.max() < 2**31:
        raise BadInput(f"{where}: tile {array.max()}")
    return array.astype(np.int32)
