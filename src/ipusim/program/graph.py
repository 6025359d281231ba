"""Vertices as columns, compute sets, and the graph that holds variables and compute sets.

A compute set holds vertex groups: one codelet, one row per vertex, rows ordered by tile.  The vertices of a lowered op
have boxes of tensors as fields, those that `Graph.add_vertex` adds any view (see ipusim.program.wiring); which elements
have to be exchanged follows from them and the tensors' mappings, and is nowhere stated twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingOf
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike

from ipusim.dtype import DType, as_array, as_dtype, converted
from ipusim.errors import BadInput, UnknownName
from ipusim.hw.spec import SystemSpec
from ipusim.lang.decorator import TileCodelet
from ipusim.program.blocks import Blocks, Vertices, as_tiles
from ipusim.program.codelet import Array
from ipusim.program.groups import Boxes as Boxes
from ipusim.program.groups import Field as Field
from ipusim.program.groups import Role as Role
from ipusim.program.groups import Rows as Rows
from ipusim.program.groups import VertexGroup as VertexGroup
from ipusim.program.groups import WholeOp as WholeOp
from ipusim.program.mapping import Mapping, Shape
from ipusim.program.placing import MIN_BYTES_PER_TILE, paint, paint_blocks, paint_linearly, tile_mapping
from ipusim.program.subscripts import as_shape, is_whole
from ipusim.program.tensor import Initial, Tensor, Variable
from ipusim.program.where import users_line
from ipusim.program.wiring import Vertex, VertexColumns

T = TypeVar("T")


@final
@dataclass(eq=False, slots=True)
class ComputeSet:
    """Vertices that run in the same superstep; `op` is the index of the workload node it comes from (-1: none).

    `groups` are the vertices of lowered ops, `added` those of a tile program, by codelet in the order of first use,
    and `together` those that it added many at once.  In loops of a lowered program it runs `repeats` times, at most.
    `again`: one more round of an unrolled loop, whose code and vertices an earlier compute set stands for.  `told`: no
    vertices run, every tile is told this condition (one bool) of a loop.
    """

    name: str
    op: int = -1
    repeats: int = 1
    groups: list[VertexGroup] = field(default_factory=list)
    added: dict[TileCodelet, VertexColumns] = field(default_factory=dict)
    together: list[Vertices] = field(default_factory=list)
    again: bool = False
    told: Tensor | None = None

    def size(self) -> int:
        """Vertices that a tile program added."""
        return sum(map(len, self.added.values())) + sum(map(len, self.together))


@final
@dataclass(frozen=True, eq=False, slots=True)
class Execute:
    """Run a compute set: exchange what its vertices read from other tiles, sync, compute."""

    compute_set: ComputeSet

    def __post_init__(self) -> None:
        if not isinstance(self.compute_set, ComputeSet):
            raise BadInput(f"Execute: needs a compute set of Graph.add_compute_set, not {self.compute_set!r}")


@final
@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """Steps of a lowered program that run `count` times; `first` is the number of its first compute set.

    `whole`, where there is one, makes the values of all runs at once.  `tests` are places in the steps and conditions:
    the loop ends early where the tensor, one bool, is false once the steps before that place have run.
    """

    name: str
    count: int
    first: int
    steps: list[Execute | Loop] = field(default_factory=list)
    whole: list[WholeOp] = field(default_factory=list)
    tests: list[tuple[int, Tensor]] = field(default_factory=list)


@final
class Graph:
    """Variables and compute sets of a device; tensors and vertices are made here and placed on its tiles.

    Args:
        target: the device, as `ipusim.target` gives it, or a number of tiles.
        name: of the program, for reports.

    A tensor is a view: slicing, joining and transposing it moves nothing.  What a vertex reads from other tiles is
    exchanged before its compute set runs.  Mistakes of placement and wiring are all reported together when an `Engine`
    is made.
    """

    def __init__(self, target: SystemSpec | int, name: str = "program") -> None:
        if isinstance(target, bool) or not isinstance(target, SystemSpec | int):
            raise BadInput(f"Graph: the device comes from ipusim.target(...), not {target!r}")
        self.system = target if isinstance(target, SystemSpec) else None
        self.tiles = target if isinstance(target, int) else target.num_tiles
        self.name = name
        self.variables: list[Variable] = []
        self._named: dict[str, Variable] = {}
        self.steps: list[Execute | Loop] = []
        self.sets: list[ComputeSet] = []
        self.loops: list[tuple[int, int]] = []
        self._open: list[Loop] = []
        self.added: list[ComputeSet] = []
        self.initial: list[tuple[Tensor, Array]] = []
        self.functions: list[Any] = []
        self.streams: dict[str, Any] = {}

    # -- lowered ops ---------------------------------------------------------------------------------------------------

    def add_storage(
        self,
        shape: Shape,
        dtype: DType,
        name: str,
        *,
        mapping: Mapping | None = None,
        initial: Initial | None = None,
        always_live: bool = False,
        channels: int = 1,
        channel_axis: int = -1,
    ) -> Variable:
        """A new variable; see `Variable` for the arguments."""
        variable = Variable(
            name,
            shape,
            dtype,
            mapping=mapping,
            initial=initial,
            always_live=always_live,
            channels=channels,
            channel_axis=channel_axis,
        )
        variable.number = len(self.variables)
        self.variables.append(variable)
        self._named.setdefault(name, variable)
        return variable

    def execute(
        self, name: str, op: int, groups: Sequence[VertexGroup], *, again: bool = False, told: Tensor | None = None
    ) -> ComputeSet:
        """A new compute set, run after everything so far (in the loop that is open, if one is); `again`, `told`: see
        `ComputeSet`.
        """
        repeats = prod(loop.count for loop in self._open)
        compute_set = ComputeSet(name, op, repeats, list(groups), again=again, told=told)
        self._append(Execute(compute_set))
        self.sets.append(compute_set)
        return compute_set

    def leave_unless(self, name: str, op: int, test: Tensor) -> None:
        """Tells every tile a bool; where it is false the loop that is open ends there."""
        self.execute(name, op, [], told=test)
        loop = self._open[-1]
        loop.tests.append((len(loop.steps), test))

    @contextmanager
    def loop(self, name: str, count: int) -> Iterator[Loop]:
        """What is executed inside runs `count` times."""
        made = Loop(name, count, len(self.sets))
        self._append(made)
        self._open.append(made)
        try:
            yield made
        finally:
            self._open.pop()
        if len(self.sets) > made.first:
            self.loops.append((made.first, len(self.sets) - 1))

    def _append(self, step: Execute | Loop) -> None:
        (self._open[-1].steps if self._open else self.steps).append(step)

    def compute_sets(self) -> Sequence[ComputeSet]:
        """Compute sets in the order they run first."""
        return self.sets

    @property
    def vertices(self) -> int:
        """Number of vertices in all compute sets."""
        return sum(len(g.rows) for cs in self.compute_sets() for g in cs.groups)

    @property
    def edges(self) -> int:
        """Number of connected element ranges in all compute sets."""
        return sum(len(f.boxes.lo) for cs in self.compute_sets() for g in cs.groups for f in g.fields)

    # -- tile programs -------------------------------------------------------------------------------------------------

    def add_variable(self, shape: int | Sequence[int], dtype: DType | str, name: str = "") -> Tensor:
        """A new variable, as a tensor.  Its elements need tiles: `set_tile_mapping` or `map_linearly`.

        Raises BadInput for a shape with negative sizes or a name that is taken, UnknownName for a type no tile has.
        """
        sizes = as_shape(f"variable {name!r}", shape)
        if not isinstance(name, str):
            raise BadInput(f"add_variable: a name is a string, not {name!r}")
        if name in self._named:
            raise BadInput(f"variable {name!r}: the name is taken; names tell host reads and reports apart")
        made = self.add_storage(sizes, as_dtype(dtype), name or self._free_name("variable"))
        made.line = users_line()
        return Tensor.of(made)

    def _free_name(self, kind: str) -> str:
        """A name that no variable has."""
        name, number = f"{kind}{len(self.variables)}", len(self.variables)
        while name in self._named:
            number += 1
            name = f"{kind}{number}"
        return name

    def add_constant(self, values: ArrayLike, dtype: DType | str, name: str = "", tile: int | None = None) -> Tensor:
        """A variable whose values are there when the program is loaded; on `tile` if one is given."""
        array = as_array(f"constant {name!r}" if name else "add_constant", values)
        made = self.add_variable(array.shape, dtype, name or self._free_name("constant"))
        self.set_initial_value(made, array)
        if tile is not None:
            self.set_tile_mapping(made, tile)
        return made

    def set_initial_value(self, tensor: Tensor, values: ArrayLike) -> None:
        """Values that a tensor's elements have when the program is loaded.

        Raises BadInput if the shape differs, or for values that the element type cannot hold.
        """
        self._check_own("set_initial_value", tensor)
        array = as_array(f"initial values of {tensor.label!r}", values)
        if array.shape not in ((), tensor.shape):
            raise BadInput(f"{tensor.label}: initial values of shape {array.shape} for a tensor of {tensor.shape}")
        made = converted(f"initial values of {tensor.label!r}", array, tensor.dtype)
        self.initial.append((tensor, np.array(np.broadcast_to(made, tensor.shape))))

    def set_tile_mapping(
        self, tensor: Tensor | Blocks, tile: int | ArrayLike | Sequence[Sequence[tuple[int, int]]]
    ) -> None:
        """Puts the elements of a view on a tile; an element placed twice is where it was placed last.

        `tile` may also be a mapping as `get_tile_mapping` returns it: for each tile, intervals of the flattened view.
        Of `Tensor.blocks`, block i goes to `tile`[i].
        """
        line = users_line()
        if isinstance(tensor, Blocks):
            self._check_own("set_tile_mapping", tensor.tensor)
            paint_blocks(tensor, as_tiles(f"{line}: {tensor.tensor.label}", tile, len(tensor)), line)
            return
        self._check_own("set_tile_mapping", tensor)
        if is_whole(tile):
            paint(tensor, int(tile), line)
            return
        per_tile: Any = tile
        flat = tensor.flatten()
        try:
            pieces = [(number, begin, end) for number, intervals in enumerate(per_tile) for begin, end in intervals]
        except (TypeError, ValueError):
            raise BadInput(
                f"{tensor.label}: a mapping is a tile or, for each tile, intervals (begin, end), not {tile!r}"
            ) from None
        for number, begin, end in pieces:
            paint(flat[begin:end], number, line)

    def _check_own(self, what: str, tensor: Any) -> None:
        """Raises BadInput for what is no tensor of this graph."""
        if not isinstance(tensor, Tensor):
            raise BadInput(f"{what}: needs a tensor, not {tensor!r}")
        for variable in tensor.variables():
            if not (0 <= variable.number < len(self.variables) and self.variables[variable.number] is variable):
                raise BadInput(f"{what}: {variable.name!r} belongs to another graph")

    def get_tile_mapping(self, tensor: Tensor) -> list[list[tuple[int, int]]]:
        """For each tile, the intervals (begin, end) of the flattened view that it holds."""
        self._check_own("get_tile_mapping", tensor)
        return tile_mapping(tensor, self.tiles)

    def map_linearly(
        self,
        tensor: Tensor,
        *,
        grain: int | None = None,
        min_bytes_per_tile: int = MIN_BYTES_PER_TILE,
        first_tile: int = 0,
    ) -> None:
        """Spreads a view over the tiles in even consecutive pieces, as poputil's mapTensorLinearly.

        Args:
            tensor: what to place.
            grain: a piece is a whole number of so many elements; left out: those of 8 bytes.
            min_bytes_per_tile: small tensors use fewer tiles.
            first_tile: where the first piece goes; the tiles after the last one follow from tile 0.
        """
        self._check_own("map_linearly", tensor)
        paint_linearly(tensor, self.tiles, grain, min_bytes_per_tile, first_tile, users_line())

    def add_compute_set(self, name: str = "") -> ComputeSet:
        """An empty compute set."""
        made = ComputeSet(name or f"compute_set{len(self.added)}")
        self.added.append(made)
        return made

    def add_vertex(
        self, compute_set: ComputeSet, codelet: TileCodelet, fields: MappingOf[str, Any] | None = None, tile: int = 0
    ) -> Vertex:
        """A vertex on a tile, its fields wired to tensors and its plain members set.

        What is left out can be connected later, before the `Engine` is made.  A number or an array for an Input field
        becomes a constant on the vertex's tile.  Raises BadInput or UnknownName for what is no codelet, no field, or
        no tensor.
        """
        line = users_line()
        _check_ends(f"{line}: add_vertex", compute_set, codelet)
        if not is_whole(tile):
            raise BadInput(f"{line}: add_vertex: a tile is a whole number, not {tile!r}")
        if not isinstance(fields or {}, MappingOf):
            raise BadInput(f"{line}: add_vertex: the fields are a dict from names to tensors, not {fields!r}")
        built = compute_set.added.get(codelet)
        if built is None:
            built = compute_set.added[codelet] = VertexColumns(codelet)
        vertex = Vertex(built, built.add(int(tile), line, compute_set.size()))
        roles = {f.name: f for f in codelet.fields}
        for name, to in (fields or {}).items():
            spec = roles.get(name)
            if spec is not None and spec.role == "in" and isinstance(to, int | float | np.ndarray | np.generic):
                to = self.add_constant(to, spec.dtype, tile=int(tile))
            vertex.connect(name, to)
        return vertex

    def add_vertices(
        self, compute_set: ComputeSet, codelet: TileCodelet, fields: MappingOf[str, Any], tiles: ArrayLike
    ) -> Vertices:
        """A vertex on each of `tiles`, wired alike: the same program as `add_vertex` for each in turn, made at once.

        A field takes `Tensor.blocks`, one for each vertex, a plain member a number or an array of them.  Fields that
        look at different tensors are connected later, rows by rows: `Vertices.connect`.  Raises BadInput, UnknownName.
        """
        line = users_line()
        _check_ends(f"{line}: add_vertices", compute_set, codelet)
        made = Vertices(codelet, as_tiles(f"{line}: add_vertices", tiles, None), line, compute_set.size())
        for name, to in fields.items():
            made.connect(name, to)
        compute_set.together.append(made)
        return made

    def connect(self, vertex: Vertex, name: str, to: Any) -> None:
        """Wires a field of a vertex, or sets a plain member."""
        vertex.connect(name, to)

    def add_function(self, body: Any, name: str = "") -> Any:
        """A program to be run by `Call`, its control code held once."""
        from ipusim.program.control import Function

        made = Function(body, name or f"function{len(self.functions)}")
        self.functions.append(made)
        return made

    def add_host_to_device_fifo(self, name: str, dtype: DType | str, elements: int) -> Any:
        """A stream from the host, of packets of `elements`."""
        return self._stream(name, dtype, elements, True)

    def add_device_to_host_fifo(self, name: str, dtype: DType | str, elements: int) -> Any:
        """A stream to the host, of packets of `elements`."""
        return self._stream(name, dtype, elements, False)

    def _stream(self, name: str, dtype: DType | str, elements: int, to_device: bool) -> Any:
        from ipusim.program.control import Stream

        if name in self.streams:
            raise BadInput(f"stream {name!r}: the name is taken")
        if not is_whole(elements) or elements < 1:
            raise BadInput(f"stream {name!r}: a packet has a whole number of elements, at least 1, not {elements!r}")
        made = self.streams[name] = Stream(name, as_dtype(dtype), int(elements), to_device)
        return made

    def tensor(self, name: str) -> Tensor:
        """The variable of a name, whole.  Raises UnknownName."""
        if name not in self._named:
            raise UnknownName("variable", name, self._named)
        return Tensor.of(self._named[name])


def _check_ends(where: str, compute_set: Any, codelet: Any) -> None:
    """Raises BadInput for what is no compute set or no codelet."""
    if not isinstance(compute_set, ComputeSet):
        raise BadInput(f"{where} needs a compute set of Graph.add_compute_set, not {compute_set!r}")
    if not isinstance(codelet, TileCodelet):
        raise BadInput(f"{where} needs a function made by @ipusim.codelet, not {codelet!r}")
