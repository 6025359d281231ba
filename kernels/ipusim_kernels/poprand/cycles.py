"""Cycles of random vertices: whole tile, n elements.

Source: poplibs lib/poprand/poprandCycleEstimators.cpp at 7eac0f26 and a9352552 (alike).  There a uniform or Bernoulli
vertex makes 64 / 2 or 64 / 4 elements per step, bits taken for bytes by the look of it; a step stores one vector of
2 floats or 4 halves, as the normal vertex of the same file has it, so calls are priced with that width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

Draw = Literal["uniform", "normal", "truncated_normal", "bernoulli", "dropout"]

SOURCE_WIDTHS = (32, 16)  # [poplibs] elements per step of Uniform and Bernoulli in the source, float and half
WIDTHS = (2, 4)  # [poplibs] the same of the other vertices: one 64-bit vector


def uniform(n: int, half: bool, widths: tuple[int, int] = WIDTHS) -> int:
    """Tile cycles of Uniform."""
    width = widths[half]
    return 4 + 4 * (n + width - 1) // width + (144 if half else 132) + (n % width > 0) * (12 if half else 4)


def normal(n: int, half: bool) -> int:
    """Tile cycles of Normal."""
    width = WIDTHS[half]
    return 4 + 4 * (n + width - 1) // width + (144 if half else 132) + (n % width > 0) * (12 if half else 3)


def truncated_normal(n: int, half: bool, iterations: int) -> int:
    """Tile cycles of TruncatedNormal, which draws `iterations` times for every vector."""
    width = WIDTHS[half]
    each = (12 if half else 11) * iterations + 5
    tail = (12 * iterations + 10 if half else 13 * iterations + 2) if n % width else 0
    return 4 + (168 if half else 156) + each * (n + width - 1) // width + tail


def bernoulli(n: int, half: bool, widths: tuple[int, int] = WIDTHS) -> int:
    """Tile cycles of Bernoulli."""
    width = widths[half]
    return 4 + (n + width - 1) // width + (126 if half else 138) + (n % width > 0) * (9 if half else 1)


def dropout(n: int, half: bool) -> int:
    """Tile cycles of Dropout."""
    width = WIDTHS[half]
    return 6 + 144 + 2 * (n + width - 1) // width + (n % width > 0) * (9 if half else 1)


def set_seed(workers: int) -> int:
    """Tile cycles of SetSeed."""
    return 14 + 27 * workers


@final
@dataclass(frozen=True, slots=True)
class RandomTiming:
    """Cycles of a vertex from the sizes of its fields."""

    draw: Draw
    half: bool
    iterations: int = 0

    def __call__(self, *, out: int, **_: Any) -> int:
        """Cycles from field sizes."""
        match self.draw:
            case "uniform":
                return uniform(out, self.half)
            case "normal":
                return normal(out, self.half)
            case "truncated_normal":
                return truncated_normal(out, self.half, self.iterations)
            case "bernoulli":
                return bernoulli(out, self.half)
            case _:
                return dropout(out, self.half)
