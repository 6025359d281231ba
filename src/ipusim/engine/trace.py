"""What happened: arrays over (superstep, tile), appended by the engine and never changed.

A superstep is: sync, exchange, rearrangement of what arrived, compute.  Its phases last as long as the slowest tile's,
and the total is the sum over supersteps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.hw.mechanisms import LIBRARY
from ipusim.hw.spec import ChipSpec
from ipusim.program.mapping import I64

PHASES = ("compute", "copy_before", "copy_after", "exchange", "link", "sync", "host")


@final
@dataclass(frozen=True, eq=False, slots=True)
class StepTrace:
    """One superstep of a program, or all `repeats` runs of it: totals per tile, each (tiles,) int64, and of each phase.

    `compute`, `copies`: busy cycles; `sent`, `received`, `shared`: bytes (`shared` is the part of `received` that the
    bus partner receives too); `phases`: cycles of each phase that it has; `flops`, `vertices`: totals; `computes`: the
    mechanism (ipusim.hw.mechanisms) that timed its vertices.
    """

    name: str
    op: int
    compute: I64
    copies: I64
    sent: I64
    received: I64
    shared: I64
    phases: dict[str, int]
    flops: int
    vertices: int
    repeats: int = 1
    computes: str = LIBRARY

    @property
    def cycles(self) -> int:
        """Cycles of all its runs."""
        return sum(self.phases.values())


@final
@dataclass(frozen=True, eq=False, slots=True)
class Memory:
    """Bytes on each tile.

    `live` (steps, tiles): what a tile holds during each superstep, everything included; `categories`: (tiles,) arrays
    at the tile's own peak step; `limit`: bytes a tile has; `variables`: for the worst tile, (name, bytes, why)
    largest first.
    """

    live: NDArray[np.int64]
    categories: dict[str, I64]
    limit: int
    variables: tuple[tuple[str, int, str], ...]

    @property
    def peak(self) -> I64:
        """Largest need of each tile over all supersteps.  Returns: (tiles,) int64."""
        return np.asarray(self.live.max(axis=0))

    @property
    def worst_tile(self) -> int:
        """The tile that needs most (the first of them)."""
        return int(self.peak.argmax())

    @property
    def fits(self) -> bool:
        """No tile needs more than it has."""
        return int(self.peak.max()) <= self.limit


@final
@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """A run on one IPU: the chip it ran on, its supersteps in order, its memory; `program` is the hash of what ran."""

    chip: ChipSpec
    program: str
    steps: tuple[StepTrace, ...]
    memory: Memory
    counts: dict[str, int]

    @property
    def cycles(self) -> int:
        """Cycles from start to end."""
        return sum(step.cycles for step in self.steps)
