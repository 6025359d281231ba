"""Exhaustive search over partitions: every way to split an op over tiles, priced by a jitted cost function.

An axis of n grains split p ways gives its largest tile ceil(n / p) grains, so only the p that change this number are
tried; the product of the splits may not exceed the tiles.  The cost function returns cycles and temporary bytes of
the busiest tile; the cheapest plan within the memory bound wins, ties going to less memory, then to fewer tiles, then
to the first found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.jit import jit

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


def useful_splits(grains: int, limit: int) -> I32:
    """Split counts up to `limit` that change ceil(grains / p), ascending."""
    p = np.arange(1, min(grains, limit) + 1, dtype=np.int64)
    size = -(-grains // p)
    keep = np.append(True, size[1:] != size[:-1])
    return np.asarray(p[keep], np.int32)


@jit
def _count(options: I32, lengths: I32, limit: int, out: I32) -> int:
    """Writes every combination whose product is within `limit` (last axis fastest); returns how many there are."""
    axes = len(lengths)
    at = np.zeros(axes, np.int64)
    product = np.ones(axes + 1, np.int64)
    axis, found = 0, 0
    while axis >= 0:
        if at[axis] >= lengths[axis] or product[axis] * options[axis, at[axis]] > limit:
            at[axis] = 0
            axis -= 1
            if axis >= 0:
                at[axis] += 1
            continue
        product[axis + 1] = product[axis] * options[axis, at[axis]]
        if axis + 1 < axes:
            axis += 1
            continue
        if found < len(out):
            for a in range(axes):
                out[found, a] = options[a, at[a]]
        found += 1
        at[axis] += 1
    return found


@lru_cache(maxsize=4096)
def candidates(grains: tuple[int, ...], limit: int) -> I32:
    """All useful partitions of axes with `grains` grains over at most `limit` tiles.  Returns: (n, axes) int32, read-
    only.
    """
    per_axis = [useful_splits(g, limit) for g in grains]
    options = np.ones((len(grains), max(map(len, per_axis))), np.int32)
    for row, values in zip(options, per_axis, strict=True):
        row[: len(values)] = values
    lengths = np.array([len(v) for v in per_axis], np.int32)
    out = np.empty((_count(options, lengths, limit, np.empty((0, len(grains)), np.int32)), len(grains)), np.int32)
    _count(options, lengths, limit, out)
    out.setflags(write=False)
    return out


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """The winning row of a candidate table: its index, cycles and temporary bytes, and whether it keeps the bound."""

    index: int
    cycles: int
    temporary: int
    within: bool


def best(cycles: I64, temporary: I64, tiles_used: I64, bound: int) -> Choice | None:
    """The cheapest row whose temporary bytes are at most `bound`; failing that, the row with the least memory."""
    if not len(cycles):
        return None
    fits = temporary <= bound
    if fits.any():
        rows = np.flatnonzero(fits)
        rows = rows[cycles[rows] == cycles[rows].min()]
        rows = rows[temporary[rows] == temporary[rows].min()]
    else:
        rows = np.flatnonzero(temporary == temporary.min())
        rows = rows[cycles[rows] == cycles[rows].min()]
    index = int(rows[tiles_used[rows].argmin()])
    return Choice(index, int(cycles[index]), int(temporary[index]), bool(fits.any()))


def pick(choices: Sequence[tuple[str, Choice | None]]) -> int:
    """Position of the best choice over several methods: within the bound first, then fewest cycles, then least
    memory.
    """
    ranked = [
        (not c.within, c.cycles if c.within else c.temporary, c.temporary, i) for i, (_, c) in enumerate(choices) if c
    ]
    return min(ranked)[3]
