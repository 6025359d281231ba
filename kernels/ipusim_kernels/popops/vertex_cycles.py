"""Cycles of scaled additions, sorting and transposing, whose vertices only library calls place.

Ideal: a vector of 64 bits per pass of a loop that loads twice and stores once.  Source: poplibs
lib/popops/PerformanceEstimation.cpp and lib/popops/popopsCycleEstimators.cpp at 7eac0f26 and a9352552 (Mk1; transposes
are in that text only).  A quirk kept: where vectors do not divide over workers, the extra vector is not priced except
for halves to which floats are added.
"""

from __future__ import annotations

CONSTRAINED_RUN = 16  # [poplibs] vectors of a worker from which the loop over operands in separate memory elements pays


def scaled_add(n: int, to_half: bool, from_half: bool, mk1: bool, constrained: bool = False, fields: int = 0) -> int:
    """Tile cycles of ScaledAddSupervisor: n elements times a scale added to n others.

    `constrained`: the operands are known to lie in separate memory elements; `fields`: cycles to unpack the pointers.
    """
    width = 4 if to_half else 2
    vectors, rest = divmod(n, width)
    each, more = divmod(vectors, 6)
    supervisor = 21 + 11 + (13 if rest else 7) + 12 + 6 + fields
    if to_half and not from_half:
        return supervisor + 6 * _mixed_worker(each, more, rest, mk1)
    if constrained:
        loop = 1 if not mk1 and each >= CONSTRAINED_RUN else 2
    else:
        loop = 3 if to_half == from_half else 4
    worker = 15 + (6 + loop * (each - 1) if each else 0) + 2 + 1 + 1
    if rest:
        worker += (5, 12, 18)[rest - 1] if to_half else 8
    return supervisor + 6 * worker


def _mixed_worker(each: int, more: int, rest: int, mk1: bool) -> int:
    """Worker cycles of adding floats to halves: `more` workers have a vector beyond `each`, another one the rest."""
    start, step = (8, 4) if mk1 else (9, 5)

    def vectors(count: int) -> int:
        return 16 + (start + step * (count - 1) if count else 0) + 2 + 1

    tail = 1 + ((4 + (5 if rest >= 2 else 0) + (7 if rest % 2 else 0)) if rest else 0)
    return max(vectors(each + 1) if more else 0, vectors(each) + tail)


def scaled_add_integers(n: int) -> int:
    """Tile cycles of ScaledAddSupervisor for 32-bit integers, three at a time by the supervisor."""
    return 53 + 26 * (n // 3) + 6 + 26 * (n % 3) + 8 + 6


def sum_of_scaled(n: int, half: bool, mk1: bool, constrained: bool = False, fields: int = 0) -> int:
    """Tile cycles of aXPlusbYSupervisor with scales of the type of the data."""
    if half:
        return scaled_add(n, True, True, mk1, constrained, fields) + 12
    vectors, rest = divmod(n, 2)
    each = vectors // 6
    worker = 16 + (6 + 3 * (each - 1) if each else 0) + 1 + (5 if rest else 0) + 1
    return 21 + 11 + (13 if rest else 7) + 12 + 6 + 12 + fields + 6 * worker


def heap_sort(n: int, with_values: bool) -> int:
    """Worker cycles of HeapSortVertex, or HeapSortVertexKV if `with_values`: the worst case."""
    levels = max(n, 1).bit_length() - 1
    return (16 if with_values else 8) * (19 * n * levels + 6 * n + 2)


def transpose_worker(rows: int, columns: int, matrices: int) -> int:
    """Worker cycles of Transpose: `matrices` of halves of `rows` times `columns` blocks of 4 by 4."""
    if rows == columns == 1:
        return 29 if matrices == 1 else 37 + 4 * (matrices - 2)
    if columns == 1:
        return 27 + matrices * (35 + 4 * (rows - 2))
    return 29 + matrices * (18 + rows * (12 + 4 * (columns - 2)))


def transpose_1d(rows: int, columns: int, matrices: int, fields: int = 0) -> int:
    """Tile cycles of Transpose1D, whose busiest worker has `matrices`."""
    return 7 + 6 * (transpose_worker(rows, columns, matrices) + 2 * fields - 7)


def transpose_2d(rows: int, columns: int, matrices: int, half: bool) -> int:
    """Worker cycles of Transpose2D.  Whole blocks take fast loops as long as strides fit their fields of 9 bits."""
    return (_transpose_halves if half else _transpose_words)(rows, columns, matrices)


def _transpose_words(rows: int, columns: int, matrices: int) -> int:
    strides = rows * (columns - 2) // 2 < 512 and rows < 512
    if rows % 2 == 0 and columns % 2 == 0 and columns // 2 < 4096 and strides:
        return 27 + matrices * (11 + rows // 2 * (6 + 3 * (columns // 2 - 1)))
    return 13 + matrices * (8 + columns * (5 + 2 * rows))


def _transpose_halves(rows: int, columns: int, matrices: int) -> int:
    if rows % 4 == 0 and columns % 4 == 0 and columns >= 8 and 1 + 3 * (columns // 4) < 512:
        return 39 + matrices * (12 + rows // 4 * (15 + 4 * (columns // 4 - 2)))
    if rows % 4 == 0 and columns == 4 and 1 + 3 * (rows // 4) < 512:
        if rows == 4:
            return 34 + 15 * matrices
        return 30 + matrices * (37 + 4 * (rows // 4 - 2))
    return 15 + matrices * (8 + columns * (5 + 5 * rows // 2))
