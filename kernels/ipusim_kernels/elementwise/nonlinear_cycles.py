"""Cycles of popnn's non-linearities by rows, of their gradients, and of losses.

Ideal: one vector per pass of the unit that computes the function.  Source: poplibs
lib/popnn/popnnCycleEstimators.cpp and lib/popnn/PerformanceEstimation.hpp at 7eac0f26; relu, sigmoid and tanh are in
the text of the first chip only.
"""

from __future__ import annotations

from ipusim.units import ceil_div

Pair = tuple[int, int]

#: Cycles of a (scalar, vector) for float and half.
NONLINEARITY: dict[str, tuple[Pair, Pair]] = {
    "gelu": ((10, 10), (5, 5)),
    "swish": ((6, 11), (3, 5)),
}

#: The same of those that later became elementwise vertices.
EARLY: dict[str, tuple[Pair, Pair]] = {
    "relu": ((1, 1), (1, 1)),
    "sigmoid": ((5, 10), (2, 4)),
    "tanh": ((5, 10), (1, 2)),
}

#: Gradients: cycles of a (scalar, vector) for float and half.
GRADIENT: dict[str, tuple[Pair, Pair]] = {
    "relu": ((3, 3), (3, 3)),
    "sigmoid": ((3, 3), (3, 3)),
    "tanh": ((3, 3), (3, 3)),
    "gelu": ((10, 10), (5, 5)),
    "swish": ((10, 15), (7, 9)),
}


def nonlinearity_1d(kind: str, half: bool, n: int) -> int:
    """Tile cycles of NonLinearity1D."""
    scalar, vector = (NONLINEARITY | EARLY)[kind][1 if half else 0]
    width = 4 if half else 2
    share = ceil_div(n // width, 6)
    rest = n % width
    body = 3 + 2 * scalar + (share - 1) * vector if share else 0
    body += 4 if half else 3
    if half:
        body += (2 + scalar if rest & 2 else 0) + (3 + scalar if rest & 1 else 0)
    elif rest:
        body += 2 + scalar
    return 9 + 6 * (20 + body)


def nonlinearity_2d(kind: str, half: bool, regions: tuple[int, ...]) -> int:
    """Worker cycles of NonLinearity2D."""
    scalar, vector = (NONLINEARITY | EARLY)[kind][1 if half else 0]
    cycles = 5 + 9
    for n in regions:
        vectors, rest = divmod(n, 4 if half else 2)
        cycles += (12 if half else 9) + 1
        cycles += 3 + 2 * scalar + (vectors - 1) * vector if vectors else 0
        if half:
            cycles += 4 + (2 + scalar if rest & 2 else 0) + (3 + scalar if rest & 1 else 0)
        else:
            cycles += 2 + (2 + scalar if rest else 0)
    return cycles


def _gradient_rest(rest: int, half: bool, scalar: int) -> int:
    """Worker cycles for elements beyond whole vectors, and for asking whether there are any."""
    if not half:
        return 2 + (1 + scalar if rest else 0)
    return 4 + (2 + scalar if rest & 2 else 0) + (4 + scalar if rest & 1 else 0)


def gradient_1d(kind: str, half: bool, n: int) -> int:
    """Tile cycles of NonLinearityGrad1D."""
    scalar, vector = GRADIENT[kind][1 if half else 0]
    vectors, rest = divmod(n, 4 if half else 2)
    share = ceil_div(vectors, 6)
    body = 5 + (share - 1) * vector if share else 0
    return 9 + 6 * (20 + body + 2 + _gradient_rest(rest, half, scalar))


def gradient_2d(kind: str, half: bool, regions: tuple[int, ...]) -> int:
    """Worker cycles of NonLinearityGrad2D."""
    scalar, vector = GRADIENT[kind][1 if half else 0]
    cycles = 5 + 12
    for n in regions:
        vectors, rest = divmod(n, 4 if half else 2)
        cycles += 9 + (5 + (vectors - 1) * vector if vectors else 0) + _gradient_rest(rest, half, scalar) + 1
    return cycles


def loss(cross_entropy: bool, half: bool, n: int) -> int:
    """Worker cycles of LossCrossEntropyTransform or LossSumSquaredTransform over n elements."""
    each, odd, pointers = (9, 11, 6) if cross_entropy else (4, 6, 5)
    cycles = 5 + pointers + 5 + 2 + 1 + 1
    if not half:
        return cycles + each * n
    return cycles + 1 + each * (n // 2) + 2 + (odd if n % 2 else 0)
