"""Cycles of cast vertices.  Ideal: four halves made or two read per worker cycle pair.

Source: poplibs lib/popops/PerformanceEstimation.cpp at 7eac0f26 (a9352552 is the same for half and float).
"""

from __future__ import annotations

from ipusim.jit import jit


@jit
def cast_worker(n: int, from_half: bool, to_half: bool) -> int:
    """Worker cycles for n elements between half and float; other types take two cycles an element."""
    if from_half == to_half:
        return 19 + 2 * n
    per_loop = 2 if from_half else 4
    cycles = 19 + n // per_loop * (1 if from_half else 2)
    rest = n % per_loop
    bit = 1
    while bit < per_loop:
        cycles += 1 + (2 if rest & bit else 0)
        bit *= 2
    return cycles


@jit
def cast_multi(worker: int) -> int:
    """Tile cycles of Cast1D whose slowest worker casts for `worker` cycles."""
    return 12 + 6 * (worker + 18)


@jit
def cast_single(worker: int) -> int:
    """Worker cycles of Cast1DSingleWorker, of which `worker` cast."""
    return 5 + worker


@jit
def cast_1d(n: int, from_half: bool, to_half: bool) -> int:
    """Tile cycles of Cast1D."""
    return cast_multi(cast_worker((n + 5) // 6, from_half, to_half))


@jit
def planner_cast(n: int, in_width: int, out_width: int, workers: int = 6) -> int:
    """Tile cycles the convolution planner assumes for casting n partials (vector widths of both types)."""
    share = (n + workers - 1) // workers
    return workers * (max((share + in_width - 1) // in_width, (share + out_width - 1) // out_width) + 26)
