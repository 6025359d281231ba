"""A codelet mapped over the rows of tensors: which shapes fit, who is wired to what; and the codelets of + - *.

Everything here works on tensors whose axis 0 is one row per vertex; `ipusim.tilewise` knows of sessions and arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import prod
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim.dtype import DType, as_dtype, converted
from ipusim.errors import BadInput, UnknownName
from ipusim.lang.decorator import TileCodelet
from ipusim.lang.decorator import codelet as make_codelet
from ipusim.lang.fields import Input, Output, Vector
from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.placing import GRAIN_BYTES
from ipusim.program.tensor import Tensor

Array = NDArray[Any]
Shape = tuple[int, ...]
MOST_SHOWN = 8  # tiles in a message
MOST_WORKERS = 6  # [isa] worker contexts of a tile
_NARROWED = {"float64": "float32", "int64": "int32", "uint64": "uint32"}


# -- arguments ---------------------------------------------------------------------------------------------------------


def show(tiles: Sequence[int]) -> str:
    """A tuple of tiles in a message, `0..7` for neighbours."""
    if len(tiles) > 2 and list(tiles) == list(range(tiles[0], tiles[0] + len(tiles))):
        return f"({tiles[0]}..{tiles[-1]})"
    listed = ", ".join(map(str, tiles[:MOST_SHOWN]))
    return f"({listed}{f', ... {len(tiles)} in all' if len(tiles) > MOST_SHOWN else ''})"


def listed_tiles(what: str, tiles: Any, count: int) -> tuple[int, ...]:
    """A tuple of tiles of a device with `count` of them.  Raises BadInput for anything else."""
    try:
        listed = tuple(tiles)
    except TypeError:
        raise BadInput(f"{what}: tiles are a sequence of tile numbers, not {tiles!r}") from None
    for tile in listed:
        if isinstance(tile, bool) or not isinstance(tile, int | np.integer):
            raise BadInput(f"{what}: a tile is a whole number, not {tile!r}")
        if not 0 <= tile < count:
            raise BadInput(f"{what}: no tile {tile}; the device has tiles 0 to {count - 1}")
    if not listed:
        raise BadInput(f"{what}: no tiles are given")
    return tuple(int(t) for t in listed)


def values_of(what: str, values: ArrayLike, dtype: Any = None) -> tuple[Array, DType]:
    """An array of a type that tiles have, of its own: float64 becomes float32, 64-bit integers their 32-bit form.

    Raises BadInput for integers that would not fit, UnknownName for other types.
    """
    array = np.asarray(values)
    kind = as_dtype(dtype if dtype is not None else _NARROWED.get(array.dtype.name, array.dtype))
    return converted(what, array, kind), kind


def bind(codelet: Any, arrays: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """What every field and member is given, by name, in the order of the signature (Outputs may be missing).

    Raises BadInput for what is missing or too much, UnknownName for a name that the codelet does not have.
    """
    if not isinstance(codelet, TileCodelet):
        raise BadInput(f"tile_map: needs a function made by @ipusim.codelet, not {codelet!r}")
    what = f"tile_map({codelet.name})"
    slots = [f.name for f in codelet.fields if f.role != "out"]
    if len(arrays) > len(slots):
        raise BadInput(f"{what}: {len(arrays)} arrays for {len(slots)} fields to read: {', '.join(slots) or 'none'}")
    given = dict(zip(slots, arrays, strict=False))
    known = [*(f.name for f in codelet.fields), *(v.name for v in codelet.values)]
    for name, value in named.items():
        if name not in known:
            raise UnknownName(f"field or member of codelet {codelet.name}", name, known)
        if name in given:
            raise BadInput(f"{what}: {name!r} is given twice")
        given[name] = value
    missing = [n for n in known if n not in given and n not in [f.name for f in codelet.fields if f.role == "out"]]
    if missing:
        raise BadInput(f"{what}: nothing is given for {', '.join(map(repr, missing))}")
    return {name: given[name] for name in known if name in given}


def members(codelet: TileCodelet, given: Mapping[str, Any], rows: int) -> dict[str, list[Any]]:
    """For each plain member one number per row: a number stands for all rows.  Raises BadInput."""
    out = {}
    for spec in codelet.values:
        value = given[spec.name]
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.shape not in ((), (rows,)):
            raise BadInput(
                f"tile_map({codelet.name}): member {spec.name!r} takes a number, or {rows} of them (one per row), "
                f"not {value!r}"
            )
        if array.dtype.kind == "f" and not spec.dtype.is_float:
            raise BadInput(f"tile_map({codelet.name}): member {spec.name!r} is {spec.dtype}, not {value!r}")
        out[spec.name] = np.broadcast_to(array, (rows,)).tolist()
    return out


# -- shapes ------------------------------------------------------------------------------------------------------------


def check_tensor(codelet: TileCodelet, name: str, tensor: Tensor) -> None:
    """Raises BadInput unless the rows of a tensor suit a field: element type, and a shape of its depth."""
    spec = next(f for f in codelet.fields if f.name == name)
    where = f"tile_map({codelet.name}): field {name!r}"
    if tensor.dtype != spec.dtype:
        raise BadInput(f"{where} holds {spec.dtype}, and {tensor.label!r} is {tensor.dtype}")
    _check_shape(where, spec.depth, tensor.shape[1:])


def _check_shape(where: str, depth: int, row: Shape) -> None:
    if depth == 0 and prod(row) != 1:
        raise BadInput(f"{where} is one element, and a row has shape {row}")
    if depth == 2 and len(row) < 2:
        raise BadInput(f"{where} is a vector of vectors, and a row has shape {row}: two axes at least")


def output_shapes(
    codelet: TileCodelet, rows: Mapping[str, Shape], out_shapes: Mapping[str, int | Sequence[int]]
) -> dict[str, Shape]:
    """Shape of one row of every Output that has no array: as asked for, else that of the inputs of the same depth.

    `rows`: shape of a row of every field that has an array.

    Raises BadInput where there is no such shape or several, UnknownName for a name that is no Output.
    """
    outs = [f for f in codelet.fields if f.role == "out" and f.name not in rows]
    for name in out_shapes:
        if name not in [f.name for f in outs]:
            raise UnknownName(f"Output to be made of codelet {codelet.name}", name, [f.name for f in outs])
    depth = {f.name: f.depth for f in codelet.fields if f.role != "out"}
    found: dict[str, Shape] = {}
    for spec in outs:
        where = f"tile_map({codelet.name}): Output {spec.name!r}"
        alike = list(dict.fromkeys(shape for name, shape in rows.items() if depth.get(name) == spec.depth))
        if spec.name in out_shapes:
            found[spec.name] = _shape(where, out_shapes[spec.name])
        elif spec.depth == 0:
            found[spec.name] = ()
        elif len(alike) == 1:
            found[spec.name] = alike[0]
        else:
            why = f"the inputs have rows {' and '.join(map(str, alike))}" if alike else "no input has such rows"
            raise BadInput(f"{where}: {why}; give out_shapes={{{spec.name!r}: (...)}}, the shape on one tile")
        _check_shape(where, spec.depth, found[spec.name])
    return found


def _shape(where: str, shape: Any) -> Shape:
    sizes = (shape,) if isinstance(shape, int | np.integer) else shape
    try:
        found = tuple(sizes)
    except TypeError:
        found = (None,)
    if any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0 for n in found):
        raise BadInput(f"{where}: a shape is whole numbers of at least 0, not {shape!r}")
    return tuple(int(n) for n in found)


Cuts = Sequence[tuple[int, int | None]]  # (begin, end) of the pieces of a row


def cuts(codelet: TileCodelet, rows: Mapping[str, Shape], workers: Any) -> Cuts:
    """Pieces of a row for `workers` vertices, whole 64-bit words each; [(0, None)] is the row as it is.

    `rows`: shape of a row of every field that is cut.  Raises BadInput where fields cannot be cut alike.
    """
    what = f"tile_map({codelet.name}, workers={workers!r})"
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise BadInput(f"{what}: a whole number of at least 1; a tile has {MOST_WORKERS} workers")
    if workers == 1:
        return [(0, None)]
    if codelet.kind == "multi":
        raise BadInput(f"{what}: a MultiVertex has all workers already")
    lengths: dict[str, int] = {}
    for spec in codelet.fields:
        if spec.depth == 0 and spec.role != "in":
            raise BadInput(f"{what}: field {spec.name!r} is one element, which several vertices cannot write")
        if spec.depth and spec.name in rows:
            lengths[spec.name] = prod(rows[spec.name]) if spec.depth == 1 else rows[spec.name][0]
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{n!r} {k}" for n, k in lengths.items()) or "no field has more than one element"
        raise BadInput(f"{what}: fields are cut alike, so their rows must be as long as each other: {listed}")
    length = next(iter(lengths.values()))
    grain = max([1, *(GRAIN_BYTES // f.dtype.bytes for f in codelet.fields if f.depth == 1 and f.name in rows)])
    step = max(1, -(-length // (grain * workers))) * grain
    return [(a, min(length, a + step)) for a in range(0, max(1, length), step)]


# -- vertices ----------------------------------------------------------------------------------------------------------


def constants(codelet: TileCodelet, given: Mapping[str, Any]) -> dict[str, tuple[Array, DType]]:
    """Values of Input fields that are given as numbers or arrays, alike on all tiles.  Raises BadInput."""
    out = {}
    for spec in codelet.fields:
        if spec.name not in given:
            continue
        where = f"tile_map({codelet.name}): field {spec.name!r}"
        if spec.role != "in":
            raise BadInput(f"{where} is written, so it takes a TileArray, not {given[spec.name]!r}")
        out[spec.name] = values_of(where, given[spec.name], spec.dtype)
        _check_shape(where, spec.depth, out[spec.name][0].shape)
    return out


def add_vertices(
    graph: Graph,
    codelet: TileCodelet,
    tensors: Mapping[str, Tensor],
    *,
    numbers: Mapping[str, Sequence[Any]],
    tiles: Sequence[int],
    cuts: Cuts,
    uncut: frozenset[str],
    name: str,
) -> ComputeSet:
    """A compute set with a vertex for every piece of every row.

    `tensors`: (rows, ...) by field; `numbers`: one per row by member; `uncut`: fields that every piece has whole.
    """
    made = graph.add_compute_set(name)
    depth = {f.name: f.depth for f in codelet.fields}
    for row, tile in enumerate(tiles):
        mine = {n: _field(t[row], depth[n]) for n, t in tensors.items()}
        values = {n: v[row] for n, v in numbers.items()}
        for begin, end in cuts:
            fields = {n: t if end is None or n in uncut or not depth[n] else t[begin:end] for n, t in mine.items()}
            graph.add_vertex(made, codelet, {**fields, **values}, tile=tile)
    return made


def _field(row: Tensor, depth: int) -> Tensor:
    return row if depth == 2 else row.reshape(() if depth == 0 else (row.elements,))


# -- arithmetic --------------------------------------------------------------------------------------------------------


def add(a: Any, b: Any, out: Any) -> None:
    """A + b."""
    for i in range(len(out)):
        out[i] = a[i] + b[i]


def subtract(a: Any, b: Any, out: Any) -> None:
    """A - b."""
    for i in range(len(out)):
        out[i] = a[i] - b[i]


def multiply(a: Any, b: Any, out: Any) -> None:
    """A * b."""
    for i in range(len(out)):
        out[i] = a[i] * b[i]


def add_number(a: Any, out: Any, number: Any) -> None:
    """A + number."""
    for i in range(len(out)):
        out[i] = a[i] + number


def subtract_number(a: Any, out: Any, number: Any) -> None:
    """A - number."""
    for i in range(len(out)):
        out[i] = a[i] - number


def number_minus(a: Any, out: Any, number: Any) -> None:
    """Number - a."""
    for i in range(len(out)):
        out[i] = number - a[i]


def multiply_number(a: Any, out: Any, number: Any) -> None:
    """A * number."""
    for i in range(len(out)):
        out[i] = a[i] * number


PAIRS: dict[str, Callable[..., None]] = {"+": add, "-": subtract, "*": multiply}
NUMBERS: dict[str, Callable[..., None]] = {
    "+": add_number,
    "-": subtract_number,
    "number -": number_minus,
    "*": multiply_number,
}


@lru_cache(maxsize=256)
def arithmetic(function: Callable[..., None], dtype: DType) -> TileCodelet:
    """One of the functions above as a codelet for an element type; floats are counted a 64-bit vector at a time."""
    assert isinstance(function, FunctionType)
    typed = FunctionType(function.__code__, function.__globals__, function.__name__)
    vector = Vector[dtype]
    member = dtype if dtype.bytes == 4 or dtype.is_float else as_dtype("int32")
    kinds = {"a": Input[vector], "b": Input[vector], "out": Output[vector], "number": member}
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    typed.__annotations__ = {n: kinds[n] for n in names}
    return make_codelet(vectorize=GRAIN_BYTES // dtype.bytes if dtype.is_float else 1)(typed)
