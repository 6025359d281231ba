"""Derived numbers of a run: per op, per superstep, per phase, and of memory.

Cycles are integers and are the truth; seconds are cycles over the clock of the chip, which every profile names.  The
sum over supersteps equals the total, and so does the sum over phases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.trace import PHASES, StepTrace, Trace
from ipusim.hw.mechanisms import LIBRARY
from ipusim.hw.spec import SystemSpec
from ipusim.units import to_seconds

if TYPE_CHECKING:
    from ipusim.report.plans import Plan

I64 = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False, slots=True)
class StepTiles:
    """One superstep on every tile, each (tiles,) int64: busy cycles of compute and of copies, bytes sent, received
    and held.
    """

    compute: I64
    copies: I64
    sent: I64
    received: I64
    memory: I64


@final
@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One superstep: its name, the op it belongs to (-1: none), cycles per phase, totals, and every tile's share.

    In a loop it ran `repeats` times, and cycles, bytes and flops are those of all its runs.  `computes` is the
    mechanism that timed its vertices (ipusim.hw.mechanisms).
    """

    name: str
    op: int
    phases: dict[str, int]
    flops: int
    vertices: int
    tiles: StepTiles
    repeats: int = 1
    computes: str = LIBRARY

    @property
    def cycles(self) -> int:
        """Cycles of all its runs."""
        return sum(self.phases.values())

    @property
    def active_tiles(self) -> int:
        """Tiles that compute something."""
        return int(np.count_nonzero(self.tiles.compute))

    @property
    def wait(self) -> I64:
        """Cycles that each tile waits for the slowest one, through with its copies and vertices; no part of `sync`."""
        own = self.tiles.compute + self.tiles.copies
        return np.asarray(own.max() - own)

    @property
    def balance(self) -> float:
        """Mean busy cycles of all tiles over those of the slowest: 1 is perfect, 0 for a superstep without compute."""
        slowest = int(self.tiles.compute.max())
        return float(self.tiles.compute.mean() / slowest) if slowest else 0.0


@final
@dataclass(frozen=True, slots=True)
class OpSummary:
    """One node of the workload: cycles of all its supersteps, its arithmetic, how it was lowered and what bounds it.

    `flops` are the workload's own; `bound` is the phase with most cycles ("none" for a view); `splits` says how many
    ways the plan cut which axis.
    """

    name: str
    type: str
    cycles: int
    flops: int
    macs: int
    method: str
    bound: str
    splits: dict[str, int]
    phases: dict[str, int]


@final
@dataclass(frozen=True, slots=True)
class MemorySummary:
    """Memory of the fullest tile and in all; `largest` are its largest variables as (name, bytes, why)."""

    max_tile_bytes: int
    worst_tile: int
    total_bytes: int
    tile_limit_bytes: int
    fits: bool
    tiles_over: int
    categories: dict[str, int]
    largest: tuple[tuple[str, int, str], ...]
    lever: str


@final
@dataclass(frozen=True, eq=False, slots=True)
class Profile:
    """Everything a report shows of one run on a system."""

    model: str
    system: SystemSpec
    replicas: int
    batch: int
    precision: str
    partials: str
    program: str
    steps: tuple[Step, ...]
    ops: tuple[OpSummary, ...]
    memory: MemorySummary
    tile_memory: I64
    tile_categories: dict[str, I64]
    counts: dict[str, int]
    remarks: tuple[str, ...] = ()
    plans: tuple[Plan, ...] = ()

    @property
    def lowered(self) -> bool:
        """The profile of a model, lowered by ipusim; else of a tile program."""
        return bool(self.precision)

    @property
    def ipus_in_use(self) -> int:
        """IPUs that the program (of one replica) runs on."""
        return max(1, len(self.tile_memory) // self.system.chip.tiles)

    @property
    def cycles(self) -> int:
        """Cycles of one run."""
        return sum(step.cycles for step in self.steps)

    @property
    def phases(self) -> dict[str, int]:
        """Cycles per phase, over all supersteps."""
        return _sum_phases(step.phases for step in self.steps)

    @property
    def latency(self) -> float:
        """Seconds of one run at the chip's nominal clock; that of a card is one IPU's batch time."""
        return to_seconds(self.cycles, self.system.chip.clock_hz)

    @property
    def throughput(self) -> float:
        """Samples per second, all replicas together."""
        return self.batch / self.latency if self.cycles else 0.0

    def at_clock(self, clock_hz: float) -> Profile:
        """The same run at another clock: cycles on the chip stay, those that the host takes are of its own time.

        Cycles of links between IPUs stay too, which is right for their latency; their rate is of its own clock, so
        where much data goes over links a program built for a target at that clock is exacter.
        Raises BadHardware for a clock that is not a finite number above 0.
        """
        system = self.system.with_fields({"chip.clock_hz": float(clock_hz)})
        before, after = self.system.chip.clock_hz, system.chip.clock_hz
        steps = tuple(
            replace(step, phases=step.phases | {"host": math.ceil(step.phases["host"] * after / before)})
            if step.phases.get("host")
            else step
            for step in self.steps
        )
        return replace(self, system=system, steps=steps)


def _sum_phases(parts: Any) -> dict[str, int]:
    total = dict.fromkeys(PHASES, 0)
    for part in parts:
        for name, cycles in part.items():
            total[name] += cycles
    return total


@final
@dataclass(frozen=True, slots=True)
class OpFacts:
    """What the compiler says of an op: name, type, arithmetic, method and splits."""

    name: str
    type: str
    flops: int
    macs: int
    method: str
    splits: dict[str, int]


def derive(
    trace: Trace, facts: Sequence[OpFacts], *, lever: str
) -> tuple[tuple[Step, ...], tuple[OpSummary, ...], MemorySummary]:
    """Steps, op summaries and memory of a trace; `lever` is what to change if it does not fit."""
    steps = tuple(_step(s, trace.memory.live[i]) for i, s in enumerate(trace.steps))
    return steps, _ops(steps, facts), _memory(trace, lever)


def _step(step: StepTrace, live: I64) -> Step:
    tiles = StepTiles(step.compute, step.copies, step.sent, step.received, live)
    return Step(step.name, step.op, step.phases, step.flops, step.vertices, tiles, step.repeats, step.computes)


def _ops(steps: Sequence[Step], facts: Sequence[OpFacts]) -> tuple[OpSummary, ...]:
    mine: dict[int, list[Step]] = {}
    for step in steps:
        mine.setdefault(step.op, []).append(step)
    out = []
    for number, fact in enumerate(facts):
        phases = _sum_phases(s.phases for s in mine.get(number, []))
        cycles = sum(phases.values())
        bound = max(phases, key=lambda p: phases[p]) if cycles else "none"
        out.append(
            OpSummary(fact.name, fact.type, cycles, fact.flops, fact.macs, fact.method, bound, fact.splits, phases)
        )
    return tuple(out)


def _memory(trace: Trace, lever: str) -> MemorySummary:
    memory = trace.memory
    peak, worst = memory.peak, memory.worst_tile
    return MemorySummary(
        max_tile_bytes=int(peak[worst]),
        worst_tile=worst,
        total_bytes=int(peak.sum()),
        tile_limit_bytes=memory.limit,
        fits=memory.fits,
        tiles_over=int(np.count_nonzero(peak > memory.limit)),
        categories={k: int(v[worst]) for k, v in memory.categories.items()},
        largest=memory.variables,
        lever="" if memory.fits else lever,
    )
