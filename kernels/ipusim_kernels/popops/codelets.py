"""Codelets of the library calls that no expression describes: fill, reductions, scans, gathers, sorts.

Each is made by a factory over element types and kept.  A MultiVertex is told each worker's share, since a division
takes 160 slots on the tile.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ipusim.dtype import DType, half, int32
from ipusim.lang.decorator import TileCodelet, codelet
from ipusim.lang.fields import InOut, Input, Output, Vector
from ipusim_kernels.popops.cycles import ColumnsTiming, FillTiming, MultiSliceTiming, RowsTiming

# -- fill --------------------------------------------------------------------------------------------------------------


@cache
def fill_whole(dtype: DType) -> TileCodelet:
    """A number in every element of one stretch."""

    @codelet(multi=True, cycles=FillTiming(dtype.bytes, True))
    def popops_fill(out: Output[Vector[dtype]], value: dtype, share: int, worker_id: int) -> None:
        for i in range(worker_id * share, min(len(out), worker_id * share + share)):
            out[i] = value

    return popops_fill


@cache
def fill_rows(dtype: DType) -> TileCodelet:
    """A number in every element of several stretches."""

    @codelet(cycles=FillTiming(dtype.bytes, False))
    def popops_fill_rows(out: Output[Vector[Vector[dtype]]], value: dtype) -> None:
        for r in range(len(out)):
            for i in range(len(out[r])):
                out[r][i] = value

    return popops_fill_rows


# -- reduce ------------------------------------------------------------------------------------------------------------


def _add(a: Any, b: Any) -> Any:
    return a + b


def _mul(a: Any, b: Any) -> Any:
    return a * b


def _max(a: Any, b: Any) -> Any:
    return max(a, b)


def _min(a: Any, b: Any) -> Any:
    return min(a, b)


def _and(a: Any, b: Any) -> Any:
    return a and b


def _or(a: Any, b: Any) -> Any:
    return a or b


def _same(a: Any) -> Any:
    return a


def _square(a: Any) -> Any:
    return a * a


COMBINE = {"add": _add, "mul": _mul, "max": _max, "min": _min, "and": _and, "or": _or, "square_add": _add}


@cache
def reduce_rows(kind: str, given: DType, held: DType, result: DType) -> TileCodelet:
    """Each row to one element, computed in type `held`."""
    combine, lift = COMBINE[kind], _square if kind == "square_add" else _same
    timing = RowsTiming(given == half, result == half, combine is _add)

    @codelet(cycles=timing)
    def popops_reduce_rows(x: Input[Vector[Vector[given]]], out: Output[Vector[result]]) -> None:
        for r in range(len(x)):
            total = lift(held(x[r][0]))
            for i in range(1, len(x[r])):
                total = combine(total, lift(held(x[r][i])))
            out[r] = total

    return popops_reduce_rows


@cache
def reduce_columns(kind: str, given: DType, held: DType, result: DType) -> TileCodelet:
    """Rows of equal length to one row, computed in type `held`."""
    combine, lift = COMBINE[kind], _square if kind == "square_add" else _same
    timing = ColumnsTiming(given == half, result == half, combine is _add)

    @codelet(cycles=timing)
    def popops_reduce_columns(x: Input[Vector[Vector[given]]], out: Output[Vector[result]]) -> None:
        for j in range(len(out)):
            total = lift(held(x[0][j]))
            for r in range(1, len(x)):
                total = combine(total, lift(held(x[r][j])))
            out[j] = total

    return popops_reduce_columns


# -- prefix sums -------------------------------------------------------------------------------------------------------


@cache
def scan_part(given: DType, held: DType) -> TileCodelet:
    """The sum of a stretch."""

    @codelet(cycles=RowsTiming(given == half, False, True))
    def popops_scan_total(x: Input[Vector[Vector[given]]], total: Output[held]) -> None:
        summed = held(0)
        for i in range(len(x[0])):
            summed = summed + held(x[0][i])
        total[0] = summed

    return popops_scan_total


@cache
def scan_from(given: DType, held: DType, exclusive: bool) -> TileCodelet:
    """Prefix sums of a stretch that begin with what came before it."""
    before = 1 if exclusive else 0

    @codelet
    def popops_scan(x: Input[Vector[given]], start: Input[held], out: Output[Vector[given]]) -> None:
        summed = start[0]
        for i in range(len(x)):
            if before == 1:
                out[i] = summed
            summed = summed + held(x[i])
            if before == 0:
                out[i] = summed

    return popops_scan


@cache
def scan_alone(given: DType, result: DType, exclusive: bool) -> TileCodelet:
    """Prefix sums of a whole vector."""
    before = 1 if exclusive else 0

    @codelet
    def popops_scan_alone(x: Input[Vector[given]], out: Output[Vector[result]]) -> None:
        summed = result(0)
        for i in range(len(x)):
            if before == 1:
                out[i] = summed
            summed = summed + result(x[i])
            if before == 0:
                out[i] = summed

    return popops_scan_alone


# -- gather and scatter ------------------------------------------------------------------------------------------------


@cache
def gather_rows(dtype: DType, index: DType, alone: bool) -> TileCodelet:
    """Rows of a block that begins at row `first` of the table, by index; zeros for rows that it does not have.

    `alone`: the block is the whole height of the table.
    """
    timing = MultiSliceTiming(dtype == half) if alone else None

    @codelet(multi=True, cycles=timing, vectorize=4 if dtype == half else 1)
    def popops_multi_slice(
        x: Input[Vector[Vector[dtype]]],
        at: Input[Vector[index]],
        out: Output[Vector[Vector[dtype]]],
        first: int,
        share: int,
        worker_id: int,
    ) -> None:
        for k in range(worker_id * share, min(len(at), worker_id * share + share)):
            row = int32(at[k]) - first
            if row >= 0 and row < len(x):
                for j in range(len(x[row])):
                    out[k][j] = x[row][j]
            else:
                for j in range(len(out[k])):
                    out[k][j] = dtype(0)

    return popops_multi_slice


@cache
def gather_pick(dtype: DType, index: DType) -> TileCodelet:
    """Of the rows that every block gave for an index, the one of the block that has it."""

    @codelet(multi=True)
    def popops_multi_slice_pick(
        parts: Input[Vector[Vector[dtype]]],
        at: Input[Vector[index]],
        out: Output[Vector[Vector[dtype]]],
        height: int,
        share: int,
        worker_id: int,
    ) -> None:
        for k in range(worker_id * share, min(len(at), worker_id * share + share)):
            low = 0
            block = 0
            index_of = int32(at[k])
            while block * len(at) + k + len(at) < len(parts) and low + height <= index_of:
                low += height
                block += 1
            for j in range(len(out[k])):
                out[k][j] = parts[block * len(at) + k][j]

    return popops_multi_slice_pick


@cache
def scatter_rows(dtype: DType, index: DType, adds: bool) -> TileCodelet:
    """Rows stored in, or added to, a block that begins at row `first`; each worker sees to its share of the block."""
    add = 1 if adds else 0

    @codelet(multi=True)
    def popops_multi_update(
        x: InOut[Vector[Vector[dtype]]],
        at: Input[Vector[index]],
        values: Input[Vector[Vector[dtype]]],
        first: int,
        share: int,
        worker_id: int,
    ) -> None:
        low = worker_id * share
        high = min(len(x), low + share)
        for k in range(len(at)):
            row = int32(at[k]) - first
            if row >= low and row < high:
                for j in range(len(x[row])):
                    if add == 1:
                        x[row][j] = x[row][j] + values[k][j]
                    else:
                        x[row][j] = values[k][j]

    return popops_multi_update


@cache
def count_from(index: DType) -> TileCodelet:
    """start, start + 1, ..."""

    @codelet
    def popops_count(start: Input[index], out: Output[Vector[index]]) -> None:
        begin = start[0]
        for i in range(len(out)):
            out[i] = begin + index(i)

    return popops_count


# -- sort and top-k ----------------------------------------------------------------------------------------------------


@cache
def sort_block(dtype: DType, descending: bool) -> TileCodelet:
    """Sorts keys and their places in place, by key and then place: a heap sort."""
    way = 1 if descending else 0

    @codelet
    def popops_sort_block(keys: InOut[Vector[dtype]], places: InOut[Vector[int32]]) -> None:
        size = len(keys)
        root = size // 2
        end = size
        while end > 1:
            if root > 0:
                root -= 1
                key = keys[root]
                place = places[root]
            else:
                end -= 1
                key = keys[end]
                place = places[end]
                keys[end] = keys[0]
                places[end] = places[0]
            if end > 0:
                hole = root
                child = 2 * hole + 1
                while child < end:
                    if child + 1 < end and _before(keys[child], places[child], keys[child + 1], places[child + 1], way):
                        child += 1
                    if _before(key, place, keys[child], places[child], way):
                        keys[hole] = keys[child]
                        places[hole] = places[child]
                        hole = child
                        child = 2 * hole + 1
                    else:
                        child = end
                keys[hole] = key
                places[hole] = place

    return popops_sort_block


def _before(a: Any, i: Any, b: Any, j: Any, way: Any) -> Any:
    return ((a > b) if way == 1 else (a < b)) or (a == b and i < j)


@cache
def merge_low(dtype: DType, descending: bool) -> TileCodelet:
    """The first elements of two sorted blocks together, as many as `keys` holds."""
    way = 1 if descending else 0

    @codelet
    def popops_merge_low(
        a: Input[Vector[dtype]],
        a_places: Input[Vector[int32]],
        b: Input[Vector[dtype]],
        b_places: Input[Vector[int32]],
        keys: Output[Vector[dtype]],
        places: Output[Vector[int32]],
    ) -> None:
        i = 0
        j = 0
        for k in range(len(keys)):
            first = True
            if i >= len(a):
                first = False
            elif j < len(b):
                first = _before(a[i], a_places[i], b[j], b_places[j], way)
            if first:
                keys[k] = a[i]
                places[k] = a_places[i]
                i += 1
            else:
                keys[k] = b[j]
                places[k] = b_places[j]
                j += 1

    return popops_merge_low


@cache
def merge_high(dtype: DType, descending: bool) -> TileCodelet:
    """The last elements of two sorted blocks of one length, as many as `keys` holds."""
    way = 1 if descending else 0

    @codelet
    def popops_merge_high(
        a: Input[Vector[dtype]],
        a_places: Input[Vector[int32]],
        b: Input[Vector[dtype]],
        b_places: Input[Vector[int32]],
        keys: Output[Vector[dtype]],
        places: Output[Vector[int32]],
    ) -> None:
        i = len(a) - 1
        j = len(b) - 1
        for k in range(len(keys) - 1, -1, -1):
            last = True
            if i < 0:
                last = False
            elif j >= 0:
                last = _before(b[j], b_places[j], a[i], a_places[i], way)
            if last:
                keys[k] = a[i]
                places[k] = a_places[i]
                i -= 1
            else:
                keys[k] = b[j]
                places[k] = b_places[j]
                j -= 1

    return popops_merge_high


@cache
def best_of(dtype: DType, descending: bool) -> TileCodelet:
    """The first of a block by key and then place."""
    way = 1 if descending else 0

    @codelet
    def popops_best(
        x: Input[Vector[dtype]], key: Output[Vector[dtype]], place: Output[Vector[int32]], first: int
    ) -> None:
        best = x[0]
        at = 0
        for i in range(1, len(x)):
            if _better(x[i], best, way):
                best = x[i]
                at = i
        key[0] = best
        place[0] = first + at

    return popops_best


def _better(a: Any, b: Any, way: Any) -> Any:
    return (a > b) if way == 1 else (a < b)
