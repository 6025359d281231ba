"""A tile program in the host's memory: arrays of its variables, and the tables of addresses that its vertices read.

A vector of a field that is one run of its variable is read where it is.  Any other is gathered into a buffer before the
vertex is called and scattered afterwards; a buffer holds the vectors of a few vertices at a time, so that it stays in
the host's caches.  Values live once per variable: what the chip would exchange or copy costs cycles only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.address import address_of
from ipusim.errors import BadInput
from ipusim.jit import jit
from ipusim.program.elements import Runs
from ipusim.program.mapping import I64
from ipusim.program.tensor import Variable
from ipusim.program.wiring import FieldColumns, WiredGroup

CHUNK_BYTES = 131072  # of gathered fields held at a time: fits the second-level cache of the host
ALIGNMENT = 64
LARGEST_CLEARED = 2**30  # bytes of a variable: more than all tiles of a chip hold together

Array = NDArray[Any]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Vertices `low`..`high` of a group with what to gather before and to scatter after: rows (to, from, bytes)."""

    gather: NDArray[np.int64]
    low: int
    high: int
    scatter: NDArray[np.int64]


@final
class Storage:
    """Arrays of all variables, flat; halves as float16.  New variables hold zeros."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        self.arrays: list[Array] = [_zeros(v) for v in variables]
        self.base = np.array([address_of(a) for a in self.arrays], np.int64)
        self.size = np.array([v.dtype.bytes for v in variables], np.int64)

    @classmethod
    def scratch(cls, nbytes: int, sizes: Sequence[int]) -> Storage:
        """One piece of memory that stands for as many variables as there are `sizes` of elements."""
        made = cls(())
        made.arrays = [np.zeros(nbytes + ALIGNMENT, np.uint8)]
        at = address_of(made.arrays[0])
        made.base = np.full(len(sizes), at + -at % ALIGNMENT, np.int64)
        made.size = np.array(sizes, np.int64)
        return made

    def values(self, variables: Sequence[Variable]) -> dict[Variable, Array]:
        """Arrays of some of the variables, each of its variable's shape."""
        return {v: self.arrays[v.number][: v.elements].reshape(v.shape) for v in variables}

    def addresses(self, runs: Runs) -> I64:
        """Address of each run."""
        return np.asarray(self.base[runs.variable] + runs.start * self.size[runs.variable])


def _zeros(variable: Variable) -> Array:
    """A flat array of zeros; written at once, for numpy asks for large pages where it does not ask for cleared ones.

    What no chip could hold is left to the operating system to clear when it is touched.
    """
    shape, dtype = max(1, variable.elements), variable.dtype.numpy
    try:
        if variable.elements * variable.dtype.bytes > LARGEST_CLEARED:
            return np.zeros(shape, dtype)
        array = np.empty(shape, dtype)
        array.fill(0)
    except (MemoryError, ValueError):
        need = f"{variable.elements * variable.dtype.bytes:,} bytes"
        raise BadInput(f"{variable.name}: the host has no memory for {need}; make the variable smaller") from None
    return array


@final
@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """What a vertex group is called with: `words` and the arrays whose addresses they are; parts in order."""

    words: I64
    keep: list[Array]
    parts: list[Part]


def table(group: WiredGroup, storage: Storage, slots: int, status: int) -> Table:
    """Lays out a group; `slots` and `status` are addresses that its code writes to.

    The words: slots, status, then per field the columns its depth has (address, length; of rows: first row, rows, and
    the tables of their addresses and lengths), then a column per plain member.
    """
    keep: list[Array] = []
    words = [slots, status]

    def column(array: Array) -> None:
        keep.append(array)
        words.append(address_of(array))

    chunk, buffer, places = _buffers(group)
    keep.append(buffer)
    at = address_of(buffer) + (-address_of(buffer)) % ALIGNMENT
    gathers, scatters = [], []
    for spec, field, offset in zip(group.codelet.fields, group.fields, places, strict=True):
        address, gather, scatter = _vectors(field, offset, at, storage, spec.role != "in")
        gathers.append(gather)
        scatters.append(scatter)
        for array in _columns(spec.depth, field, address):
            column(array)
    for name in group.values:
        column(np.ascontiguousarray(group.values[name]))
    return Table(np.array(words, np.int64), keep, _parts(chunk, gathers, scatters))


def _columns(depth: int, field: FieldColumns, address: I64) -> list[I64]:
    lengths = np.append(field.lengths(), 0)
    if depth == 0:
        return [np.append(address, 0)]
    if depth == 1:
        return [np.append(address, 0), lengths]
    return [field.first[:-1].copy(), np.diff(field.first), np.append(address, 0), lengths]


def _buffers(group: WiredGroup) -> tuple[I64, Array, list[I64]]:
    """(first vertex of each chunk and the end, the buffer, offset of each field's vectors in it; -1: read in place)."""
    need = []
    for spec, field in zip(group.codelet.fields, group.fields, strict=True):
        nbytes = -(-field.lengths() * spec.dtype.bytes // 8) * 8
        need.append(np.where(field.runs.counts() > 1, nbytes, 0))
    per_vertex = np.zeros(len(group), np.int64)
    for field, nbytes in zip(group.fields, need, strict=True):
        np.add.at(per_vertex, np.repeat(np.arange(len(group)), np.diff(field.first)), nbytes)
    if not per_vertex.any():
        offsets = [np.full(len(n), -1, np.int64) for n in need]
        return np.array([0, len(group)], np.int64), np.zeros(ALIGNMENT, np.uint8), offsets
    start, chunk = _chunks(per_vertex, CHUNK_BYTES)
    largest = int(np.add.reduceat(per_vertex, chunk[:-1]).max())
    offsets, used = [], start.copy()
    for field, nbytes in zip(group.fields, need, strict=True):
        vertex = np.repeat(np.arange(len(group)), np.diff(field.first))
        before = np.cumsum(nbytes) - nbytes
        first = before[field.first[:-1].clip(max=max(0, len(before) - 1))] if len(before) else np.zeros(len(group))
        within = before - first[vertex] if len(before) else before
        offsets.append(np.where(nbytes > 0, used[vertex] + within, -1).astype(np.int64))
        np.add.at(used, vertex, nbytes)
    return chunk, np.zeros(largest + ALIGNMENT, np.uint8), offsets


@jit
def _chunks(need: I64, limit: int) -> tuple[I64, I64]:
    """(offset of each vertex in its chunk's buffer, first vertex of each chunk and the end)."""
    start, edges = np.zeros(len(need), np.int64), np.zeros(len(need) + 1, np.int64)
    used, chunks = np.int64(0), 1
    for i in range(len(need)):
        if used > 0 and used + need[i] > limit:
            edges[chunks] = i
            chunks += 1
            used = np.int64(0)
        start[i] = used
        used += need[i]
    edges[chunks] = len(need)
    return start, edges[: chunks + 1].copy()


Moves = tuple[I64, NDArray[np.int64]]  # (vertex of each row, rows (to, from, bytes))


def _vectors(
    field: FieldColumns, offset: I64, buffer: int, storage: Storage, written: bool
) -> tuple[I64, Moves, Moves]:
    """(address of each vector, gather, scatter)."""
    runs = field.runs
    at = storage.addresses(runs)
    nbytes = runs.length * storage.size[runs.variable]
    counts = runs.counts()
    first = np.minimum(runs.first[:-1], max(0, len(at) - 1))
    direct = np.where(counts > 0, at[first], 0) if len(at) else np.zeros(len(counts), np.int64)
    address = np.where(offset >= 0, buffer + offset, direct)
    vector = runs.owner()
    inside = np.cumsum(nbytes) - nbytes
    inside -= inside[first[vector]] if len(inside) else 0
    chosen = offset[vector] >= 0
    there = (address[vector] + inside)[chosen]
    vertex_of_vector = np.repeat(np.arange(len(field.first) - 1), np.diff(field.first))
    vertex = vertex_of_vector[vector][chosen]
    here, size = at[chosen], nbytes[chosen]
    gather = np.stack([there, here, size], axis=1)
    scatter = np.stack([here, there, size], axis=1) if written else np.zeros((0, 3), np.int64)
    return address, (vertex, gather), (vertex if written else vertex[:0], scatter)


def _parts(chunk: I64, gathers: list[Moves], scatters: list[Moves]) -> list[Part]:
    out = []
    for low, high in zip(chunk[:-1].tolist(), chunk[1:].tolist(), strict=True):
        out.append(Part(_rows(gathers, low, high), low, high, _rows(scatters, low, high)))
    return out


def _rows(moves: list[Moves], low: int, high: int) -> NDArray[np.int64]:
    found = [np.zeros((0, 3), np.int64)]
    for vertex, rows in moves:
        a, b = np.searchsorted(vertex, [low, high])
        found.append(rows[a:b])
    return np.concatenate(found)


def aligned_moves(source: Runs, target: Runs, storage: Storage) -> NDArray[np.int64]:
    """Rows (to, from, bytes) that copy the elements of one view to those of another, in order."""
    edges = np.union1d(np.cumsum(source.length), np.cumsum(target.length))
    begin = np.concatenate([[0], edges])[:-1].astype(np.int64)
    size = edges - begin
    rows = [_at(runs, begin, storage) for runs in (target, source)]
    width = storage.size[source.variable[0]] if len(source) else 1
    return np.stack([*rows, size * width], axis=1).astype(np.int64).reshape(-1, 3)


def _at(runs: Runs, begin: I64, storage: Storage) -> I64:
    ends = np.cumsum(runs.length)
    run = np.searchsorted(ends, begin, "right")
    within = begin - (ends - runs.length)[run]
    return np.asarray(storage.addresses(runs)[run] + within * storage.size[runs.variable][run])
