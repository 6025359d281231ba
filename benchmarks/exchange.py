"""How far the closed form of an exchange is from its static schedule, over all supersteps of whole networks.

    python benchmarks/exchange.py [MODEL ...]

For ResNet-50 and BERT-base (or the models named): supersteps with an exchange, distinct exchanges, the cycles of all
of them by the closed form (the busiest tile) and as scheduled, with the largest gaps; then the time of building
messages, of the closed form and of the schedule on this host, and a halo exchange of 9,000 messages.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipusim import api
from ipusim.dtype import float16
from ipusim.engine import exchange
from ipusim.engine.schedule import Messages, closed_form_cycles, schedule
from ipusim.hw.presets import GC2
from ipusim.hw.spec import ChipSpec
from ipusim.lower.compile import lower
from ipusim.lower.rules import Options
from ipusim.program.graph import ComputeSet
from ipusim.workload.passes import with_precision

MODELS = ("resnet50", "bert-base")
WORST = 5  # supersteps listed for a model


@dataclass
class Row:
    """A superstep with an exchange: cycles of both forms, and seconds that messages, closed form, schedule took."""

    name: str
    messages: int
    closed: int
    scheduled: int
    seconds: tuple[float, float, float]
    repeats: int = 1

    @property
    def gap(self) -> float:
        """Share by which the schedule is longer."""
        return self.scheduled / self.closed - 1


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    begun = time.perf_counter()
    found = run()
    return found, time.perf_counter() - begun


def measure(compute_set: ComputeSet, chip: ChipSpec) -> Row | None:
    """Both forms of the exchange before a compute set; None if nothing moves."""
    given, built = timed(lambda: exchange.messages(compute_set, chip.tiles))
    if not len(given):
        return None
    (chosen, closed), priced = timed(lambda: exchange.best_form(given, chip.tiles, chip.exchange))
    placed, placing = timed(lambda: schedule(chosen, tiles=chip.tiles, spec=chip.exchange))
    return Row(compute_set.name, len(chosen), closed, placed.cycles, (built, priced, placing))


def rows(model: str, chip: ChipSpec = GC2) -> list[Row]:
    """A row for each distinct exchange of a model, with the number of supersteps that have it."""
    workload = with_precision(api._zoo()[model].build(), float16)
    graph = lower(workload, chip, Options(), api._rules()).graph
    found: dict[tuple[int, ...], Row | None] = {}
    for compute_set in graph.compute_sets():
        key = tuple(i for r, f in exchange.arriving(compute_set) for i in (id(r), id(f.boxes), id(f.tensor.mapping)))
        if key in found:
            known = found[key]
            if known:
                known.repeats += 1
            continue
        found[key] = measure(compute_set, chip)
    return [row for row in found.values() if row]


def halo(side: int = 35, chip: ChipSpec = GC2) -> Messages:
    """The halo of a grid of side x side blocks, a message per pair of neighbours: two rows, two columns, corners."""

    def pairs() -> Iterator[tuple[int, int, int]]:
        for tile in range(min(side * side, chip.tiles)):
            for dy, dx in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)):
                y, x = tile // side + dy, tile % side + dx
                if y >= 0 and 0 <= x < side and y * side + x < chip.tiles:
                    yield y * side + x, tile, 8 if dy and dx else 8 * 64

    return Messages.unicast(*np.array(list(pairs())).T)


def totals(found: list[Row]) -> tuple[int, int]:
    """Cycles of all exchanges: closed form, schedule."""
    return sum(r.closed * r.repeats for r in found), sum(r.scheduled * r.repeats for r in found)


def table(models: tuple[str, ...] = MODELS) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows: each model's exchanges by the closed form and by the schedule."""
    head = ("network", "exchanges", "distinct", "closed form", "schedule", "apart", "furthest apart")
    lines = []
    for model in models:
        found = rows(model)
        closed, scheduled = totals(found)
        worst = max(found, key=lambda r: (r.scheduled - r.closed) * r.repeats)
        counts = (str(sum(r.repeats for r in found)), str(len(found)))
        apart = f"{scheduled / closed - 1:+.1%}"
        lines.append((model, *counts, f"{closed:,}", f"{scheduled:,}", apart, f"{worst.name} ({worst.gap:+.0%})"))
    return head, lines


def report(model: str) -> None:
    """Prints the comparison of a model."""
    found = rows(model)
    closed, scheduled = totals(found)
    print(
        f"{model}: {sum(r.repeats for r in found)} exchanges, {len(found)} distinct; closed form {closed:,} cycles, "
        f"schedule {scheduled:,} ({scheduled / closed - 1:+.1%}), median step {np.median([r.gap for r in found]):+.1%}"
    )
    for row in sorted(found, key=lambda r: r.closed - r.scheduled)[:WORST]:
        print(f"  {row.name:<40} {row.messages:6} messages {row.closed:7,} -> {row.scheduled:7,} ({row.gap:+.0%})")
    seconds = np.array([r.seconds for r in found]).T
    for name, taken in zip(("messages", "closed form", "schedule"), seconds, strict=True):
        print(f"  {name}: {taken.sum():.2f} s, at most {taken.max() * 1e3:.1f} ms")


def main(models: list[str]) -> None:
    """Prints everything."""
    for model in models:
        rows(model)  # compile what is timed
        report(model)
    messages = halo()
    schedule(messages, tiles=GC2.tiles, spec=GC2.exchange)
    placed, seconds = timed(lambda: schedule(messages, tiles=GC2.tiles, spec=GC2.exchange))
    ideal = closed_form_cycles(messages, tiles=GC2.tiles, spec=GC2.exchange)
    print(f"halo of blocks: {len(messages)} messages, {ideal} -> {placed.cycles} cycles, in {seconds * 1e3:.0f} ms")


if __name__ == "__main__":
    main(sys.argv[1:] or list(MODELS))
