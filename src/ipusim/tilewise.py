"""Tiles the numpy way: arrays whose first axis lies on tiles, and functions mapped over those tiles.

>>> with ipusim.TileSession(ipusim.target("GC2", tiles=8)) as s:
...     x = ipusim.tile_put_sharded(np.arange(32.0).reshape(8, 4), range(8))
...     y = ipusim.tile_map(saxpy, x=x, y=x + 1.0, a=2.0)
>>> y.numpy(); print(s.report())

Every call records programs in the session's graph, the same that `Graph` and `Engine` know, and nothing runs until
values are asked for.  A put is a stream from the host; replicated arrays are sent once and spread by the exchange; a
map is one vertex per row, on the tile of the row; a gather is a copy.  Constants are in memory when the program is
loaded and cost no time.  No copy is made that was not asked for: an InOut field changes the array it is given, and a
slice of an array shares its elements.

Ideal: the recorded program is one straight sequence of supersteps.  Omitted: loops (use ipusim.program on `s.graph`),
and the overlap of host transfers with compute.  After the model of github graphcore-research/tessellate-ipu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim import tilewise_map as rules
from ipusim.errors import BadInput
from ipusim.program.control import Copy, Sync
from ipusim.program.tensor import Tensor
from ipusim.tilewise_array import TileArray, TileSession, constant, mapped, session_of


def tile_put_sharded(
    array: ArrayLike | TileArray, tiles: Sequence[int], *, dtype: Any = None, name: str = ""
) -> TileArray:
    """Row i of an array on `tiles[i]`: from the host by a stream, or an array that is on tiles by the exchange.

    Args:
        array: (rows, ...), a number of rows equal to the number of tiles.
        tiles: tile numbers; a tile may have several rows.
        dtype: element type; left out: the array's, 64-bit numbers as 32-bit ones.
        name: of the variable, for messages and reports.

    Raises BadInput if rows and tiles differ in number, or for tiles the device does not have.
    """
    what = "tile_put_sharded"
    session = session_of(what, [array])
    if isinstance(array, TileArray):
        made = session.place(what, array.shape, array.dtype, tiles, name)
        session.program.add(Copy(array.tensor, made.tensor, f"{what} {made.tensor.label}"))
        return made
    values, kind = rules.values_of(what, array, dtype)
    made = session.place(what, values.shape, kind, tiles, name)
    session.send(values, made.tensor, f"{what} {made.tensor.label}")
    return made


def tile_put_replicated(
    array: ArrayLike | TileArray, tiles: Sequence[int], *, dtype: Any = None, name: str = ""
) -> TileArray:
    """An array on every one of `tiles`: shape (tiles, *array.shape).  Arguments as of `tile_put_sharded`.

    From the host it is sent to the first tile, and from there to the others by one multicast of the exchange.
    """
    what = "tile_put_replicated"
    session = session_of(what, [array])
    where = rules.listed_tiles(what, tiles, session.graph.tiles)
    if isinstance(array, TileArray):
        made = session.place(what, (len(where), *array.shape), array.dtype, where, name)
        source = array.tensor[None].broadcast_to(made.shape)
        session.program.add(Copy(source, made.tensor, f"{what} {made.tensor.label}"))
        return made
    values, kind = rules.values_of(what, array, dtype)
    made = session.place(what, (len(where), *values.shape), kind, where, name)
    label = f"{what} {made.tensor.label}"
    session.send(values, made.tensor[0], label)
    if len(where) > 1 and values.size:
        others = made.tensor[1:]
        session.program.add(Copy(made.tensor[0:1].broadcast_to(others.shape), others, label))
    return made


def tile_constant_sharded(array: ArrayLike, tiles: Sequence[int], *, dtype: Any = None, name: str = "") -> TileArray:
    """As `tile_put_sharded`, in memory when the program is loaded: no time, no exchange."""
    what = "tile_constant_sharded"
    session = session_of(what)
    values, kind = rules.values_of(what, array, dtype)
    made = session.place(what, values.shape, kind, tiles, name)
    session.graph.set_initial_value(made.tensor, values)
    return made


def tile_constant_replicated(array: ArrayLike, tiles: Sequence[int], *, dtype: Any = None, name: str = "") -> TileArray:
    """As `tile_put_replicated`, in memory when the program is loaded: no time, but a copy on every tile."""
    what = "tile_constant_replicated"
    session = session_of(what)
    values, kind = rules.values_of(what, array, dtype)
    return constant(session, what, values, kind, rules.listed_tiles(what, tiles, session.graph.tiles), name)


def tile_map(
    codelet: Any,
    /,
    *arrays: Any,
    out_shapes: Mapping[str, int | Sequence[int]] | None = None,
    workers: int = 1,
    name: str = "",
    **named: Any,
) -> Any:
    """Runs a codelet on every row of arrays, a vertex per row on the row's tile.

    Args:
        codelet: made by `ipusim.codelet`.
        arrays: for the Input and InOut fields in the order of the signature; or give them by name.
        named: fields and plain members.  A field takes a `TileArray`; an Input also a number or an array, which every
            tile then has as a constant.  A member takes a number, or a sequence with one for each row.
        out_shapes: shape of an Output for one row.  Left out: that of the rows of the inputs of the same depth.
        workers: vertices per row: all fields are cut into so many pieces along the axis after that of tiles, so this
            suits codelets that treat elements (rows, for a vector of vectors) alike.  Constants are not cut.
        name: of the compute set, for reports; left out: the codelet's.

    Returns: what the codelet writes, InOut and Output fields in the order of the signature: a `TileArray`, or a tuple
    of them.  An InOut field changes the array given for it; an Output that is given an array is written there.
    Raises BadInput for arrays on different tiles, of another type or shape than a field takes, and for what is missing;
    UnknownName for a field that the codelet does not have.
    """
    return mapped(codelet, arrays, named, out_shapes=out_shapes or {}, workers=workers, name=name)


def tile_gather(array: TileArray, indices: Sequence[int], tiles: Sequence[int], *, name: str = "") -> TileArray:
    """Row i of the result is row `indices[i]` of an array, on `tiles[i]`: rows move by one exchange.

    Raises BadInput for a row the array does not have, or if indices and tiles differ in number.
    """
    what = "tile_gather"
    if not isinstance(array, TileArray):
        raise BadInput(f"{what}: needs a TileArray, not {type(array).__name__}; tile_put_sharded makes one")
    try:
        rows = [int(i) for i in indices]
    except (TypeError, ValueError):
        raise BadInput(f"{what}: indices are a sequence of row numbers, not {indices!r}") from None
    if not rows:
        raise BadInput(f"{what}: no indices are given")
    for row in rows:
        if not 0 <= row < len(array):
            raise BadInput(f"{what}: no row {row} in {array!r}")
    made = array.session.place(what, (len(rows), *array.shape[1:]), array.dtype, tiles, name)
    source = Tensor.concat([array.tensor[r : r + 1] for r in rows], 0)
    array.session.program.add(Copy(source, made.tensor, f"{what} {made.tensor.label}"))
    return made


def tile_barrier(*arrays: TileArray) -> Any:
    """A barrier of all tiles after what was recorded so far.  Returns: its arguments (one alone as it is)."""
    session = session_of("tile_barrier", arrays)
    session.program.add(Sync("tile_barrier"))
    return arrays[0] if len(arrays) == 1 else arrays


@final
class CycleCount:
    """A place in the recorded program: `int(count)` is the cycles from the program's start to there."""

    __slots__ = ("part", "session", "tiles")

    def __init__(self, session: TileSession, tiles: tuple[int, ...], part: int) -> None:
        self.session, self.tiles, self.part = session, tiles, part

    def __int__(self) -> int:
        return self.session.cycles_before(self.part)

    def numpy(self) -> NDArray[np.int64]:
        """The counter of each tile, (tiles,) int64: all equal, since tiles leave a superstep together."""
        return np.full(len(self.tiles), int(self), np.int64)

    def __repr__(self) -> str:
        return f"<CycleCount after {self.part} steps>"


def tile_cycle_count(array: TileArray) -> CycleCount:
    """The cycle counters of an array's tiles after what was recorded so far; differences time what lies between."""
    if not isinstance(array, TileArray):
        raise BadInput(f"tile_cycle_count: needs a TileArray, not {type(array).__name__}")
    return CycleCount(array.session, array.tiles, len(array.session.program.parts))


__all__ = [
    "CycleCount",
    "TileArray",
    "TileSession",
    "tile_barrier",
    "tile_constant_replicated",
    "tile_constant_sharded",
    "tile_cycle_count",
    "tile_gather",
    "tile_map",
    "tile_put_replicated",
    "tile_put_sharded",
]
