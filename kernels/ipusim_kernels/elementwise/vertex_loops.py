"""Inner loops of elementwise vertices that no op is lowered to: rarer functions, integers, and variants in place.

Entries and source as in `cycles`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ipusim.errors import UnknownName
from ipusim_kernels.elementwise import cycles
from ipusim_kernels.elementwise.cycles import Loop

#: Names of functions in poplibs (popops/Expr.hpp, abbreviated or not), to ours.
NAMES = {
    "absolute": "abs",
    "exponent": "exp",
    "exponent_minus_one": "expm1",
    "logarithm": "log",
    "logarithm_one_plus": "log1p",
    "log_one_plus": "log1p",
    "negate": "neg",
    "inv": "reciprocal",
    "inverse": "reciprocal",
    "signum": "sign",
    "nearbyint": "round",
    "nearby_int": "round",
    "is_nan": "isnan",
    "is_inf": "isinf",
    "is_finite": "isfinite",
    "gelu_erf": "gelu",
    "gelu-erf": "gelu",
    "sqr": "square",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "maximum": "max",
    "minimum": "min",
    "power": "pow",
    "rem": "mod",
    "remainder": "mod",
    "eq": "equal",
    "ne": "not_equal",
    "neq": "not_equal",
    "lt": "less",
    "less_than": "less",
    "le": "less_equal",
    "lte": "less_equal",
    "less_than_equal": "less_equal",
    "gt": "greater",
    "greater_than": "greater",
    "ge": "greater_equal",
    "gte": "greater_equal",
    "greater_than_equal": "greater_equal",
    "v2i": "variance_to_rsqrt",
    "variance_to_inv_std_dev": "variance_to_rsqrt",
    "i2v": "rsqrt_to_variance",
    "inv_std_dev_to_variance": "rsqrt_to_variance",
}

#: Functions of one element: (float, half).
UNARY: dict[str, tuple[Loop, Loop]] = {
    "exp2": ((6, 2), (4, 4)),
    "expm1": ((8, 1), (9, 4, True)),
    "log1p": ((22, 2, True), (22, 4, True)),
    "trunc": ((3, 2), (11, 4)),
    "cbrt": ((31, 2, True), (21, 4, True)),
    "isfinite": ((9, 2, True), (9, 4, True)),
}
UNARY_IN_PLACE: dict[str, tuple[Loop, Loop]] = {
    "log1p": ((22, 2, True), (21, 4, True)),
    "trunc": ((4, 2), (11, 4)),
}

#: Of one 32-bit integer.
INTEGER_UNARY: dict[str, Loop] = {"abs": (6, 1), "neg": (6, 1), "sign": (9, 1), "sqrt": (114, 1), "popcount": (5, 1)}

#: Of two elements: (float, half), both tensors or one of them broadcast.
BINARY: dict[str, tuple[Loop, Loop]] = {"atan2": ((272, 2), (578, 4))}
BROADCAST: dict[str, tuple[Loop, Loop]] = {"atan2": ((272, 2), (578, 4)), "rsqrt_to_variance": ((11, 2), (10, 2))}

#: Of two signed 32-bit integers: (both tensors, one broadcast).  Additions, bits and shifts are alike.
INTEGER_BINARY: dict[str, tuple[Loop, Loop]] = {
    "div": ((277, 1), (277, 1)),
    "mod": ((292, 1), (280, 1)),
    "equal": ((22, 4), (16, 4)),
    "not_equal": ((22, 4), (16, 4)),
    "less": ((22, 4), (16, 4)),
    "greater": ((22, 4), (16, 4)),
    "less_equal": ((26, 4), (20, 4)),
    "greater_equal": ((26, 4), (20, 4)),
    **dict.fromkeys(
        ("add", "sub", "mul", "max", "min", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_xnor"),
        ((7, 1), (6, 1)),
    ),
    **dict.fromkeys(("shift_left", "shift_right", "shift_right_sign_extend"), ((7, 1), (6, 1))),
}

#: The assembly of these three handles whole vectors; loops of other functions count elements beside them.
ASSEMBLY = ("add", "sub", "mul")


def named(op: str) -> str:
    """Our name of a function."""
    return NAMES.get(op.lower(), op.lower())


def _find(table: Mapping[str, Loop], kind: str) -> Loop:
    if kind not in table:
        raise UnknownName("function with a price", kind, sorted(table))
    return table[kind]


def _of_type(table: Mapping[str, tuple[Loop, Loop]], kind: str, second: bool) -> Loop:
    return _find({name: pair[second] for name, pair in table.items()}, kind)


def unary(kind: str, half: bool, in_place: bool, mk1: bool) -> Loop:
    """Loop of a function of one half or float."""
    if kind in cycles.UNARY:
        return cycles.unary_entry(kind, half, in_place, mk1)
    return _of_type(cycles.UNARY | UNARY | (UNARY_IN_PLACE if in_place else {}), kind, half)


def binary(kind: str, half: bool, in_place: bool, mk1: bool) -> Loop:
    """Loop of a function of two halves or floats."""
    if kind in cycles.BINARY:
        return cycles.binary_entry(kind, half, in_place, mk1)
    return _of_type(cycles.BINARY | BINARY, kind, half)


def broadcast(kind: str, half: bool) -> Loop:
    """Loop with one operand a single value; the same in place."""
    return _of_type(cycles.BROADCAST | BROADCAST, kind, half)


def outer(kind: str, half: bool) -> Loop:
    """Loop with one value per row: a cycle more than the function per vector, or per element outside assembly."""
    entry = broadcast(kind, half)
    return entry if kind in ASSEMBLY else (entry[0] + 1, 1)


def integer_unary(kind: str) -> Loop:
    """Loop of a function of one integer."""
    return _find(INTEGER_UNARY, kind)


def integer_binary(kind: str, broadcast_operand: bool) -> Loop:
    """Loop of a function of two integers."""
    return _of_type(INTEGER_BINARY, kind, broadcast_operand)
