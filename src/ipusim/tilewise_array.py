"""Arrays over tiles, and the session that holds the graph and the program they are part of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from math import prod
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim import tilewise_map as rules
from ipusim.api import Report
from ipusim.device import Engine
from ipusim.dtype import DType
from ipusim.errors import BadInput
from ipusim.hw.spec import SystemSpec
from ipusim.program.control import Sequence as Steps
from ipusim.program.control import StreamCopy
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor

Array = NDArray[Any]
_OPEN: ContextVar[tuple[TileSession, ...]] = ContextVar("open tile sessions", default=())


@final
class TileSession:
    """A graph and the program recorded so far; in a `with` block it is where arrays are put.

    Args:
        target: the device, as `ipusim.target` gives it, or a number of tiles.
        name: of the program, for reports.
        allow_out_of_memory: run even if a tile needs more memory than it has.

    `graph` and `program` may be added to by hand; `TileArray.tensor` is what an array is there.
    """

    def __init__(self, target: SystemSpec | int, *, name: str = "tilewise", allow_out_of_memory: bool = False) -> None:
        if isinstance(target, bool) or not isinstance(target, SystemSpec | int):
            raise BadInput(f"TileSession: the device comes from ipusim.target(...), not {target!r}")
        self.graph, self.program = Graph(target, name), Steps()
        self.allow_out_of_memory = allow_out_of_memory
        self._feeds: dict[str, Callable[[], Array]] = {}
        self._engine: Engine | None = None  # holds the values of now
        self._whole: tuple[int, Engine] | None = None  # ran the whole program of so many parts
        self._done = self._known = 0  # parts that ran, variables that have values

    def __enter__(self) -> TileSession:
        _OPEN.set((*_OPEN.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _OPEN.set(_OPEN.get()[:-1])

    def __repr__(self) -> str:
        waiting = len(self.program.parts) - self._done
        return f"<TileSession {self.graph.name}: {self.graph.tiles} tiles, {self._done} steps run, {waiting} recorded>"

    def run(self) -> Engine:
        """Runs what was recorded since the last run; the engine that holds the values.

        Raises as `Engine` and `Engine.run` do; what did not run is tried again the next time.
        """
        parts, variables = len(self.program.parts), len(self.graph.variables)
        if self._engine is not None and (parts, variables) == (self._done, self._known):
            return self._engine
        made = self._load(self.program.parts[self._done :], self.allow_out_of_memory)
        if self._engine is not None:
            for variable in self.graph.variables[: self._known]:
                whole = Tensor.of(variable)
                made.write_tensor(whole, self._engine.read_tensor(whole))
        made.run()
        if self._done == 0:
            self._whole = parts, made
        self._engine, self._done, self._known = made, parts, variables
        return made

    def engine(self) -> Engine:
        """An engine of the whole program from its start, its puts connected: to run, to step, to ask for reports."""
        return self._load(self.program.parts, self.allow_out_of_memory)

    def _load(self, parts: Sequence[Any], allow_out_of_memory: bool) -> Engine:
        made = Engine(self.graph, [Steps(*parts)], allow_out_of_memory=allow_out_of_memory)
        for name, feed in self._feeds.items():
            made.connect_stream(name, feed)
        return made

    def report(self) -> Report:
        """What all that was recorded costs: cycles by phase, and the bytes that each step exchanges.

        If `numpy` was asked for on the way, the program runs once more from its start, on variables of its own.
        A program that does not fit is run as well; its report says so.
        """
        return self._ran_whole().report()

    def _ran_whole(self) -> Engine:
        if self._whole is None or self._whole[0] != len(self.program.parts):
            made = self._load(self.program.parts, allow_out_of_memory=True)
            made.run()
            self._whole = len(self.program.parts), made
        return self._whole[1]

    def cycles_before(self, part: int) -> int:
        """Cycles of the first `part` steps of the program."""
        return self._ran_whole().report(Steps(*self.program.parts[:part])).cycles if part else 0

    # -- what arrays are made of ---------------------------------------------------------------------------------------

    def place(self, what: str, shape: Sequence[int], dtype: DType, tiles: Any, name: str) -> TileArray:
        """An array with nothing in it yet: row i on `tiles[i]`."""
        where = rules.listed_tiles(what, tiles, self.graph.tiles)
        if len(shape) == 0 or shape[0] != len(where):
            rows = f"axis 0 of shape {tuple(shape)}" if len(shape) else "an array without axes"
            raise BadInput(
                f"{what}: {rows} needs one tile per row, and {len(where)} tiles are given: {rules.show(where)}"
            )
        tensor = self.graph.add_variable(shape, dtype, name)
        for row, tile in enumerate(where):
            self.graph.set_tile_mapping(tensor[row], tile)
        return TileArray(self, tensor, where)

    def send(self, values: Array, tensor: Tensor, label: str) -> None:
        """Records a stream from the host into a tensor."""
        if not values.size:
            return
        name = f"{label} {len(self._feeds)}"
        stream = self.graph.add_host_to_device_fifo(name, tensor.dtype, values.size)
        self._feeds[name] = lambda: values
        self.program.add(StreamCopy(stream, tensor))


@final
class TileArray:
    """Row i of an array (rows, ...) on tile `tiles[i]`: a view of a tensor of the session's graph.

    `numpy` gives its values; slices of axis 0 keep the right tiles, the other axes are indexed as in numpy.
    + - * work on arrays of one shape, type and place, and with numbers, on all six workers.
    """

    __slots__ = ("session", "tensor", "tiles")
    __array_ufunc__ = None  # numpy leaves operators to this class

    def __init__(self, session: TileSession, tensor: Tensor, tiles: tuple[int, ...]) -> None:
        self.session, self.tensor, self.tiles = session, tensor, tiles

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, the axis of tiles first."""
        return self.tensor.shape

    @property
    def ndim(self) -> int:
        """Number of axes, that of tiles included."""
        return self.tensor.ndim

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.tensor.dtype

    def __len__(self) -> int:
        return len(self.tiles)

    def __repr__(self) -> str:
        return (
            f"TileArray({self.tensor.label!r}, shape={self.shape}, dtype={self.dtype}, tiles={rules.show(self.tiles)})"
        )

    def numpy(self) -> Array:
        """The values, half as float16; runs what was recorded and has not run yet."""
        return self.session.run().read_tensor(self.tensor)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.numpy().astype(dtype or self.dtype.numpy, copy=False)

    def __iter__(self) -> Iterator[TileArray]:
        return (self[i : i + 1] for i in range(len(self)))

    def __getitem__(self, index: Any) -> TileArray:
        """A view.  Axis 0 takes a slice; `tile_gather` picks rows in any order."""
        items = index if isinstance(index, tuple) else (index,)
        first = items[0] if items else slice(None)
        if first is Ellipsis and sum(i is not None for i in items[1:]) < self.ndim:
            first = slice(None)
        if not isinstance(first, slice):
            slices = f"write [{first}:{first + 1}], or " if isinstance(first, int) else ""
            raise BadInput(f"{self!r}: axis 0 lies on tiles and takes a slice, not {first!r}; {slices}use tile_gather")
        return TileArray(self.session, self.tensor[index], self.tiles[first])

    def reshape(self, shape: Sequence[int]) -> TileArray:
        """The rows under another shape; axis 0 stays.  One size may be -1."""
        sizes = tuple(shape)
        if sizes.count(-1) == 1 and -1 not in sizes[:1]:
            rest = prod(n for n in sizes if n != -1)
            sizes = tuple(self.tensor.elements // max(1, rest) if n == -1 else n for n in sizes)
        if not sizes or sizes[0] != len(self):
            raise BadInput(f"{self!r}: reshape to {tuple(shape)} would move rows between tiles; axis 0 stays")
        return TileArray(self.session, self.tensor.reshape(sizes), self.tiles)

    def transpose(self, axes: Sequence[int]) -> TileArray:
        """The axes of the rows in another order; axis 0 stays first."""
        order = tuple(axes)
        if order[:1] != (0,):
            raise BadInput(f"{self!r}: transpose by {order} would move rows between tiles; axis 0 stays first")
        return TileArray(self.session, self.tensor.transpose(order), self.tiles)

    def __add__(self, other: Any) -> Any:
        return _operator("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _operator("+", self, other)

    def __sub__(self, other: Any) -> Any:
        return _operator("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _operator("number -", self, other)

    def __mul__(self, other: Any) -> Any:
        return _operator("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _operator("*", self, other)


def session_of(what: str, arrays: Sequence[Any] = ()) -> TileSession:
    """The session of arrays that have one, else the innermost that is open."""
    found = dict.fromkeys(a.session for a in arrays if isinstance(a, TileArray))
    if len(found) > 1:
        raise BadInput(f"{what}: the arrays belong to different sessions")
    if found:
        return next(iter(found))
    if not _OPEN.get():
        raise BadInput(f"{what}: no session is open; write `with TileSession(target(...)):` around it")
    return _OPEN.get()[-1]


# -- maps --------------------------------------------------------------------------------------------------------------


def mapped(
    codelet: Any,
    arrays: Sequence[Any],
    named: Mapping[str, Any],
    *,
    out_shapes: Mapping[str, int | Sequence[int]],
    workers: int,
    name: str,
) -> Any:
    """Records a codelet mapped over arrays; see `ipusim.tile_map`."""
    given = rules.bind(codelet, arrays, named)
    what = f"tile_map({codelet.name})"
    roles = {f.name: f.role for f in codelet.fields}
    fields = {n: v for n, v in given.items() if n in roles and isinstance(v, TileArray)}
    if not fields:
        raise BadInput(f"{what}: none of its fields is given a TileArray; tile_put_sharded makes one")
    session, tiles = session_of(what, list(fields.values())), _one_place(what, fields)
    numbers = rules.members(codelet, given, len(tiles))
    fixed = rules.constants(codelet, {n: v for n, v in given.items() if n in roles and n not in fields})
    for field, array in fields.items():
        rules.check_tensor(codelet, field, array.tensor)
    fresh = rules.output_shapes(codelet, {n: a.shape[1:] for n, a in fields.items()}, out_shapes)
    cuts = rules.cuts(codelet, {n: a.shape[1:] for n, a in fields.items()} | fresh, workers)
    label = f"{codelet.name}{len(session.graph.added)}"
    for field, (values, kind) in fixed.items():
        fields[field] = constant(session, what, values, kind, tiles, f"{label}.{field}")
    for field, row in fresh.items():
        kind = next(f.dtype for f in codelet.fields if f.name == field)
        fields[field] = session.place(what, (len(tiles), *row), kind, tiles, f"{label}.{field}")
    made = rules.add_vertices(
        session.graph,
        codelet,
        {n: a.tensor for n, a in fields.items()},
        numbers=numbers,
        tiles=tiles,
        cuts=cuts,
        uncut=frozenset(fixed),
        name=name or codelet.name,
    )
    session.program.add(made)
    out = tuple(fields[n] for n, role in roles.items() if role != "in")
    return out[0] if len(out) == 1 else out


def _one_place(what: str, fields: Mapping[str, TileArray]) -> tuple[int, ...]:
    (first, array), *others = fields.items()
    for name, other in others:
        if other.tiles != array.tiles:
            raise BadInput(
                f"{what}: {first!r} is on tiles {rules.show(array.tiles)}, {name!r} on tiles "
                f"{rules.show(other.tiles)}; tile_gather or tile_put_sharded moves rows"
            )
    return array.tiles


def constant(
    session: TileSession, what: str, values: Array, dtype: DType, tiles: tuple[int, ...], name: str
) -> TileArray:
    """Values that every tile has from the start."""
    made = session.place(what, (len(tiles), *values.shape), dtype, tiles, name)
    session.graph.set_initial_value(made.tensor, np.broadcast_to(values, made.shape))
    return made


def _operator(sign: str, array: TileArray, other: Any) -> Any:
    """An elementwise result of two arrays, or of an array and a number."""
    named: dict[str, Any]
    if isinstance(other, TileArray):
        what = f"{array!r} {sign} {other!r}"
        if array.shape[1:] != other.shape[1:] or array.dtype != other.dtype:
            raise BadInput(f"{what}: shapes and types must agree")
        function, named = rules.PAIRS[sign], {"a": array, "b": other}
    elif isinstance(other, int | float | np.integer | np.floating):
        function, named = rules.NUMBERS[sign], {"a": array, "number": other}
    elif isinstance(other, np.ndarray | list | tuple):
        raise BadInput(f"{array!r} {sign} an array of the host: tile_put_sharded or tile_put_replicated moves it first")
    else:
        return NotImplemented
    if array.dtype.kind == "bool":
        raise BadInput(f"{array!r}: no {sign} for bool")
    codelet = rules.arithmetic(function, array.dtype)
    return mapped(codelet, (), named, out_shapes={}, workers=rules.MOST_WORKERS, name="")
