"""Vertices of a tile program as columns: one codelet, a row per vertex; what each field is wired to.

`add_vertex` one by one fills the lists; `columns` turns them into arrays.  The order in which the vertices of a tile
were added decides which of the six workers runs a vertex; the order of the rows is only that in which the host
computes their values, and follows its memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ipusim.dtype import DType
from ipusim.errors import BadInput, UnknownName
from ipusim.lang.decorator import TileCodelet
from ipusim.program.elements import Runs, boxes, runs_of_boxes
from ipusim.program.mapping import I32, I64
from ipusim.program.tensor import Tensor

Wire = Tensor | list[Tensor] | None


@final
class VertexColumns:
    """Vertices of one codelet in a compute set, in the order they were added."""

    __slots__ = ("codelet", "lines", "serial", "tiles", "values", "wires")

    def __init__(self, codelet: TileCodelet) -> None:
        self.codelet = codelet
        self.tiles: list[int] = []
        self.lines: list[str] = []
        self.serial: list[int] = []
        self.wires: dict[str, list[Wire]] = {f.name: [] for f in codelet.fields}
        self.values: dict[str, list[float | None]] = {v.name: [] for v in codelet.values}

    def __len__(self) -> int:
        return len(self.tiles)

    def add(self, tile: int, line: str, serial: int) -> int:
        """A row with nothing connected; `serial` vertices of the compute set were added before."""
        self.tiles.append(tile)
        self.lines.append(line)
        self.serial.append(serial)
        for wires in self.wires.values():
            wires.append(None)
        for values in self.values.values():
            values.append(None)
        return len(self.tiles) - 1

    def connect(self, row: int, name: str, to: Any) -> None:
        """Wires a field to a tensor (a vector of vectors also to a list of them), or gives a plain member a value."""
        where = f"{self.lines[row]}: vertex {self.codelet.name}"
        if name in self.values:
            self.values[name][row] = _number(f"{where}, member {name!r}", to)
        elif name not in self.wires:
            raise UnknownName(f"field of codelet {self.codelet.name}", name, (*self.wires, *self.values))
        elif isinstance(to, Tensor):
            self.wires[name][row] = to
        elif isinstance(to, Sequence) and to and all(isinstance(t, Tensor) for t in to):
            self.wires[name][row] = list(to)
        else:
            raise BadInput(f"{where}, field {name!r}: connect it to a tensor, not {to!r}")


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, int | float | np.integer | np.floating):
        return value.item() if isinstance(value, np.generic) else value
    raise BadInput(f"{where}: needs a number, not {value!r}")


def holds(dtype: DType, value: float) -> bool:
    """Whether a number is one of a type; floats are rounded to theirs."""
    if dtype.is_float:
        return True
    low, high = (0, 1) if dtype.kind == "bool" else (np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max)
    return bool(low <= value <= high) and int(value) == value


@final
@dataclass(frozen=True, eq=False, slots=True)
class Vertex:
    """A vertex that was added: connect its fields and set its members by name."""

    columns: VertexColumns
    row: int

    def connect(self, name: str, to: Any) -> None:
        """Wires a field or sets a plain member."""
        self.columns.connect(self.row, name, to)

    def connect_all(self, wires: Mapping[str, Any]) -> None:
        """Several of them."""
        for name, to in wires.items():
            self.columns.connect(self.row, name, to)


@final
@dataclass(frozen=True, eq=False, slots=True)
class FieldColumns:
    """One field of all vertices of a group.

    `runs`: of each vector (a field of depth 0 or 1 has one vector a vertex); the vectors of vertex r are
    `first`[r]..`first`[r + 1].
    """

    name: str
    runs: Runs
    first: I64

    def lengths(self) -> I64:
        """Elements of each vector."""
        return self.runs.elements()


@final
@dataclass(frozen=True, eq=False, slots=True)
class WiredGroup:
    """Vertices of one codelet as columns, each (n,): `tile`, `added` (how many vertices of any codelet the compute set
    had before), `line` (the user's); fields and members.
    """

    codelet: TileCodelet
    tile: I32
    added: I64
    line: tuple[str, ...]
    fields: tuple[FieldColumns, ...]
    values: dict[str, Any]

    def __len__(self) -> int:
        return len(self.tile)


def columns(built: VertexColumns) -> WiredGroup:
    """The arrays of a group.  Everything must be connected (see ipusim.program.verify)."""
    order = _host_order(built)
    rows = order.tolist()
    fields = []
    for spec in built.codelet.fields:
        wires = built.wires[spec.name]
        fields.append(_field(spec.name, spec.depth, [wires[r] for r in rows]))
    values = {}
    for member in built.codelet.values:
        kind = np.float64 if member.dtype.is_float else np.int64
        values[member.name] = np.array([built.values[member.name][r] for r in rows], kind)
    tile = np.asarray(built.tiles, np.int32)[order]
    added = np.asarray(built.serial, np.int64)[order]
    return WiredGroup(built.codelet, tile, added, tuple(built.lines[r] for r in rows), tuple(fields), values)


def _host_order(built: VertexColumns) -> I64:
    """Rows by where in the variables they write (or read): neighbours in the host's memory run after one another."""
    written = [f.name for f in built.codelet.fields if f.role != "in"] or list(built.wires)
    if not written:
        return np.arange(len(built), dtype=np.int64)
    place = np.zeros((len(built), 2), np.int64)
    for row, wire in enumerate(built.wires[written[0]]):
        first = wire[0] if isinstance(wire, list) and wire else wire
        found = boxes(first) if isinstance(first, Tensor) else []
        if found:
            place[row] = found[0][0].number, found[0][1]
    return np.lexsort((place[:, 1], place[:, 0])).astype(np.int64)


def _field(name: str, depth: int, wires: Sequence[Wire]) -> FieldColumns:
    every: list[Any] = []
    per_vector: list[int] = []
    vectors: list[int] = []
    for wire in wires:
        before = len(per_vector)
        for vector in vectors_of(wire, depth):
            if isinstance(vector, Tensor):
                found = boxes(vector)
                every += found
                per_vector.append(len(found))
            else:
                every.append(vector)
                per_vector.append(1)
        vectors.append(len(per_vector) - before)
    first = np.concatenate([[0], np.cumsum(np.asarray(vectors, np.int64))]).astype(np.int64)
    return FieldColumns(name, runs_of_boxes(every, per_vector), first)


def vectors_of(wire: Wire, depth: int) -> Sequence[Any]:
    """What stands for each vector of a field: tensors, or (for the rows of a matrix) strided boxes."""
    if isinstance(wire, list):
        return wire if depth == 2 else [Tensor.concat([t.flatten() for t in wire])]
    if wire is None:
        return []
    if depth < 2:
        return [wire]
    whole = boxes(wire)
    if len(whole) == 1 and whole[0][2] == wire.shape and len(wire.shape) > 1:
        variable, offset, lengths, strides = whole[0]
        return [(variable, offset + i * strides[0], lengths[1:], strides[1:]) for i in range(lengths[0])]
    return [wire[i] for i in range(len(wire))] if len(wire.shape) > 1 else [wire]
