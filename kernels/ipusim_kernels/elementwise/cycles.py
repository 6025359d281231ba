"""Cycles of elementwise vertices.

Ideal: one 64-bit vector (two floats, four halves) per load, compute and store.  What it really takes per vector
stands in the tables, from poplibs lib/popops/popopsCycleEstimators.hpp at 7eac0f26 (Mk1 differences from a9352552).
A table entry is (cycles, elements) of the inner loop: n elements take cycles * ceil(n / elements); a third
entry marks loops over whole vectors, which the source prices as floor(cycles * (n + elements - 1) / elements).
"""

from __future__ import annotations

from ipusim.units import ceil_div

Loop = tuple[int, int] | tuple[int, int, bool]

#: Out of place, by function: (float, half).
UNARY: dict[str, tuple[Loop, Loop]] = {
    "exp": ((6, 2), (4, 4)),
    "log": ((12, 2), (4, 4)),
    "tanh": ((12, 2), (4, 4)),
    "sigmoid": ((12, 2), (6, 4)),
    "sqrt": ((10, 2), (23, 4)),
    "rsqrt": ((8, 2), (19, 4)),
    "reciprocal": ((6, 2), (15, 4)),
    "square": ((2, 2), (2, 4)),
    "neg": ((2, 2), (2, 4)),
    "relu": ((3, 2), (3, 4)),
    "abs": ((5, 1), (5, 1)),
    "ceil": ((6, 2, True), (6, 4, True)),
    "floor": ((6, 2, True), (6, 4, True)),
    "round": ((6, 2, True), (6, 4, True)),
    "sign": ((9, 2, True), (9, 4, True)),
    "erf": ((41, 1), (13, 1)),
    "gelu": ((22, 1), (16, 1)),
    "sin": ((2304, 1), (25, 1)),
    "cos": ((2304, 1), (25, 1)),
    "tan": ((5100, 1), (5700, 1)),
    "asin": ((106, 1), (106, 1)),
    "isnan": ((7, 2, True), (7, 4, True)),
    "isinf": ((7, 2, True), (9, 4, True)),
}

#: In place, where it differs.
UNARY_IN_PLACE: dict[str, tuple[Loop, Loop]] = {
    "log": ((14, 2), (6, 4)),
    "tanh": ((10, 2), (2, 4)),
    "sigmoid": ((10, 2), (4, 4)),
    "neg": ((3, 2), (3, 4)),
    "relu": ((2, 2), (2, 4)),
    "abs": ((5, 2, True), (5, 4, True)),
}

#: Mk1 text, where it differs.
UNARY_MK1: dict[str, tuple[Loop, Loop]] = {
    "gelu": ((22, 1), (18, 1)),
    "sin": ((2304, 1), (26, 1)),
    "cos": ((2304, 1), (26, 1)),
}

#: Both operands tensors: (float, half).
BINARY: dict[str, tuple[Loop, Loop]] = {
    "add": ((3, 2), (3, 4)),
    "sub": ((3, 2), (3, 4)),
    "mul": ((3, 2), (3, 4)),
    "div": ((10, 2), (21, 4)),
    "max": ((3, 2), (4, 4)),
    "min": ((3, 2), (4, 4)),
    "pow": ((312, 1), (325, 1)),
    "mod": ((133, 2), (300, 4)),
    "equal": ((14, 4), (9, 4)),
    "less": ((14, 4), (9, 4)),
    "less_equal": ((14, 4), (9, 4)),
    "greater": ((14, 4), (9, 4)),
    "greater_equal": ((14, 4), (9, 4)),
    "not_equal": ((20, 4), (11, 4)),
}

#: One operand a scalar or a vector.
BROADCAST: dict[str, tuple[Loop, Loop]] = {
    "add": ((2, 2), (2, 4)),
    "sub": ((2, 2), (2, 4)),
    "mul": ((2, 2), (2, 4)),
    "div": ((6, 2), (8, 2)),
    "max": ((3, 2), (3, 4)),
    "min": ((3, 2), (3, 4)),
    "pow": ((312, 1), (325, 1)),
    "mod": ((93, 2), (225, 4)),
    "equal": ((12, 4), (8, 4)),
    "less": ((12, 4), (8, 4)),
    "less_equal": ((12, 4), (8, 4)),
    "greater": ((12, 4), (8, 4)),
    "greater_equal": ((12, 4), (8, 4)),
    "not_equal": ((18, 4), (10, 4)),
    "variance_to_rsqrt": ((12, 2), (24, 4)),
}

INTEGER_LOOP: Loop = (7, 1)  # [poplibs] 32-bit integer addition; taken for every integer and bool operation


def loop(entry: Loop, n: int) -> int:
    """Worker cycles of an inner loop over n elements."""
    if len(entry) == 3:
        return entry[0] * (n + entry[1] - 1) // entry[1]
    return entry[0] * ceil_div(n, entry[1])


def unary_entry(kind: str, half: bool, in_place: bool, mk1: bool) -> Loop:
    """The table entry of a function."""
    table = UNARY[kind]
    if mk1:
        table = UNARY_MK1.get(kind, table)
    if in_place:
        table = UNARY_IN_PLACE.get(kind, table)
    return table[1 if half else 0]


def binary_entry(kind: str, half: bool, in_place: bool, mk1: bool) -> Loop:
    """The table entry of a function of two tensors; maxima of floats take a cycle more in place and on Mk1."""
    if kind in ("max", "min") and not half and (in_place or mk1):
        return (4, 2)
    return BINARY[kind][1 if half else 0]


def unary_1d(entry: Loop, n: int, in_place: bool, exponent: bool = False) -> int:
    """Tile cycles of UnaryOp1D."""
    start = 55 if in_place else (33 if exponent else 17)
    return 6 * (start + loop(entry, ceil_div(n, 6))) + 20


def unary_2d(entry: Loop, regions: tuple[int, ...]) -> int:
    """Worker cycles of UnaryOp2D."""
    return 20 + sum(loop(entry, n) for n in regions)


def binary_1d(entry: Loop, n: int, is_float: bool, in_place: bool) -> int:
    """Tile cycles of BinaryOp1D; `is_float`: float32 data."""
    start = 58 if in_place else (29 if is_float else 26)
    return 6 * (start + loop(entry, ceil_div(n, 6))) + 11


def binary_2d(entry: Loop, regions: tuple[int, ...], in_place: bool) -> int:
    """Worker cycles of BinaryOp2D."""
    return (20 if in_place else 5) + sum(loop(entry, n) for n in regions)


def broadcast_scalar_1d(entry: Loop, n: int) -> int:
    """Tile cycles of BroadcastScalar1D."""
    return 6 * (20 + loop(entry, ceil_div(n, 6))) + 11


def vector_outer_by_row(entry: Loop, rows: int, columns: int, aligned: bool = True) -> int:
    """Tile cycles of BroadcastVectorOuterByRow1D: one value per row, rows dealt to workers."""
    each = (7 if aligned else 25) + entry[0] * (columns + entry[1] - 1) // entry[1]
    return 6 * (15 + ceil_div(rows, 6) * each) + 11


def vector_outer_by_column(entry: Loop, rows: int, columns: int, aligned: bool = True) -> int:
    """Tile cycles of BroadcastVectorOuterByColumn1D: one value per row, columns split between workers."""
    each = (7 if aligned else 25) + entry[0] * (ceil_div(columns, 6) + entry[1] - 1) // entry[1]
    return 6 * (15 + rows * each) + 11


def vector_inner_1d(kind: str, half: bool, length: int, repeats: int, slices: int, in_place: bool) -> int:
    """Tile cycles of BroadcastVectorInner1D: a vector of `length` on each of `repeats` rows, for `slices` vectors.

    Odd vectors of halves cost a worker 7 to round its rows to words, 8 where some workers have none.
    """
    blocks = ceil_div(repeats, 6)
    core = _inner_mul(half, length, blocks, in_place) if kind == "mul" else _inner_add(half, length, blocks)
    worker = (19 if half else 17) + ((8 if repeats < 6 else 7) if half and length % 2 else 0)
    if slices > 1:
        core = slices * (core + 17)
    if kind == "mul":
        extra = 6 * (24 if half else 17) + (24 if in_place else 12)
    else:
        extra = 12 if in_place and kind == "add" else 24
    return 13 + 6 * (worker + core) + extra


def _inner_add(half: bool, length: int, blocks: int) -> int:
    if not half:
        return 7 + length * (8 + 2 * blocks)
    if length % 8 == 0 and length <= 2048:
        steps = length // 8
        return 7 + (4 + 7 * steps if blocks == 1 else 5 + steps * (15 + 2 * (blocks - 1)))
    if length % 4 == 0 and blocks >= 2 and length <= 2048:
        return 9 + 6 + length // 4 * (13 + 2 * (blocks // 2 - 1) + blocks % 2)
    checks = 3 if length > 2048 else (7 if blocks < 2 else 9)
    return 6 + length * (5 + 9 * blocks) + checks


def _inner_mul(half: bool, length: int, blocks: int, in_place: bool) -> int:
    if not half:
        return 7 + length * (8 + 2 * blocks)
    if length % 4 == 0:
        if in_place or blocks == 1 or length > 2044:
            return length // 4 * (7 + 2 * blocks) + (9 if in_place else (11 if length > 2044 else 13))
        return 9 + 4 + length // 4 * (9 + blocks)
    return 3 + 5 + length * (5 + 9 * blocks)


def select_1d(n: int) -> int:
    """Tile cycles of Select as one 1D vertex: 5 per element and worker."""
    return 6 * (6 + 5 * ceil_div(n, 6) + 5)


def clamp_1d(n: int, half: bool) -> int:
    """Tile cycles of Clamp as one 1D vertex: 2 per vector and worker."""
    width = 4 if half else 2
    return 6 * (6 + 5 + 2 * (ceil_div(n, 6) + width - 1) // width)


def fill(n: int, element_bytes: int) -> int:
    """Worker cycles of Fill."""
    if element_bytes == 8:
        return 5 + n
    if element_bytes == 2:
        return 15 if n == 1 else (21 if n == 2 else 26 + n // 4)
    if element_bytes == 1:
        return 28 + n // 4 if n < 64 else 39 + n // 8
    return 23 + n // 2 + n % 2


def fill_2d(regions: tuple[int, ...], element_bytes: int) -> int:
    """Worker cycles of Fill2d, which loads the fields of its regions for less."""
    saved, start = (2, 5) if element_bytes in (2, 8) else (3, 6)
    return start + sum(fill(n, element_bytes) - saved for n in regions)
