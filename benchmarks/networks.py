"""Whole networks against figures derived from published ones (tests/data/networks.csv), at the nominal clock.

    python benchmarks/networks.py [--breakdown]

The derived figures are ratios of the vendor's slides times figures of a GPU; no constant of the model is set by one.
`data` tells what they include: "synthetic" data is made on the chip; "host" data streams in and results out for every
batch, and on this generation nothing runs meanwhile, so the transfer (bytes at the nominal rate of the host link,
ipusim.hw.cost) is added; of a "pipeline" stage inputs come from the host and results go to the other IPU of the card
(ipusim.hw.links, spread over all tiles, and the barrier over both).  Omitted: the host's own time per transfer.

Where a network is over 1.4
times off, or with --breakdown, the cycles of its supersteps follow by what they are for.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

import ipusim
from ipusim.dtype import as_dtype
from ipusim.hw import links
from ipusim.hw.cost import COPY_WORD_BYTES, LAUNCH_CYCLES, copy_cycles, host_cycles, sync_cycles
from ipusim.hw.presets import system
from ipusim.report.profile import OpSummary, Step
from ipusim.workload.graph import Value
from ipusim.workload.ops_norm import BatchNorm
from ipusim.workload.ops_shape import Transpose

DATA = Path(__file__).parents[1] / "tests" / "data" / "networks.csv"
CARD = "C2"  # of two GC2; what runs on one of them is fed like one of the card
WELL_OFF = 1.4  # from here on the breakdown is printed
CALL_OF_2020 = 198  # [poplibs] lib/popops/PerformanceEstimation.cpp of April to August 2020: supervisor cycles a vertex
OTHER_CLOCK = 1.3e9  # Hz; C2 cards were seen at it while reporting 1.6 GHz

#: What a superstep of an op with a plan is for, by the first word of the last part of its name.
_STEPS = {
    "convolve": "matrix units",
    "zeros": "rearrangement",
    "reduce": "sums of partial results",
    "cast": "casts of sums",
    "bias": "bias",
    "rearrange": "rearrangement",
    "regroup": "rearrangement",
    "slice": "serial steps",
    "update": "serial steps",
    "add": "serial steps",
}
#: The same for other ops, by their type.
_TYPES = {
    "Unary": "elementwise",
    "Binary": "elementwise",
    "Select": "elementwise",
    "Clamp": "elementwise",
    "LayerNorm": "norms",
    "BatchNorm": "norms",
    "Softmax": "softmax",
    "Pool": "pooling",
    "Reduce": "reductions",
    "Gather": "lookups",
    "Cast": "casts",
}
_BY_ELEMENT = ("bias", "casts", "elementwise", "norms", "softmax")


@final
@dataclass(frozen=True, slots=True)
class Network:
    """A network against one derived figure: `low` to `high` in `unit`, what was predicted in it at the nominal clock
    and at 1.3 GHz, and the report behind it.  `transfer`: milliseconds of transfers, included.
    """

    id: str
    model: str
    name: str
    quantity: str
    unit: str
    low: float
    high: float
    predicted: float
    at_1_3_ghz: float
    transfer: float
    fits: bool
    report: Any

    @property
    def error(self) -> float:
        """Predicted over the nearer end of the derived range, less 1; 0 within it."""
        if self.low <= self.predicted <= self.high:
            return 0.0
        return self.predicted / (self.low if self.predicted < self.low else self.high) - 1

    @property
    def too_fast(self) -> float:
        """How many times too fast against the middle of the range (below 1: too slow)."""
        ratio = self.predicted / math.sqrt(self.low * self.high)
        return ratio if self.quantity == "throughput" else 1 / ratio

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows of it."""
        return (
            self.id,
            self.name,
            f"{self.quantity}, {self.unit}",
            f"{self.low:g}-{self.high:g}",
            _short(self.predicted),
            f"{self.error:+.0%}" if self.error else "within",
            f"{self.too_fast:.2f}",
            f"{self.transfer:.3f}",
            _short(self.at_1_3_ghz),
            "yes" if self.fits else "no",
        )


HEAD = ("row", "network", "figure", "derived", "predicted", "error", "too fast", "transfer, ms", "at 1.3 GHz", "fits")


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:,.0f}"


def rows() -> list[dict[str, str]]:
    """The derived figures."""
    with DATA.open(newline="") as file:
        return list(csv.DictReader(file))


def networks() -> Iterator[Network]:
    """Every derived figure with its prediction; rows of the same run share it."""
    runs: dict[tuple[str, ...], Any] = {}
    for row in rows():
        key = (row["model"], row["batch"], row["system"], row["available_memory_proportion"])
        if key not in runs:
            runs[key] = ipusim.simulate(
                key[0], batch=int(key[1]), system=key[2], available_memory_proportion=float(key[3])
            )
        yield _against(row, runs[key])


def _against(row: dict[str, str], report: Any) -> Network:
    batch, clock = int(row["batch"]), report.profile.system.chip.clock_hz
    moving = transfer_seconds(row["model"], batch, row["data"])

    def figure(hz: float) -> float:
        seconds: float = report.cycles / hz + moving
        return batch / seconds if row["quantity"] == "throughput" else 1e3 * seconds

    return Network(
        id=row["id"],
        model=row["model"],
        name=f"{row['model']} b{batch}",
        quantity=row["quantity"],
        unit=row["unit"],
        low=float(row["low"]),
        high=float(row["high"]),
        predicted=figure(clock),
        at_1_3_ghz=figure(OTHER_CLOCK),
        transfer=1e3 * moving,
        fits=report.memory.fits,
        report=report,
    )


def transfer_seconds(model: str, batch: int, data: str) -> float:
    """Time of what a batch moves to and from the chip, for a kind of `data`; nothing for synthetic data."""
    from ipusim_models import ZOO

    workload, card = ZOO[model].build(batch), system(CARD)
    clock = card.chip.clock_hz
    if data == "synthetic":
        return 0.0
    inputs, outputs = half_bytes(workload.inputs), half_bytes(workload.outputs.values())
    if data == "host":
        return host_cycles(inputs + outputs, clock) / clock
    tiles = np.zeros(card.num_tiles, np.int64)
    tiles[: card.tiles_per_ipu] = -(-outputs // card.tiles_per_ipu // card.links.payload_bytes)
    one, other, nbytes = (np.array([n], np.int64) for n in (0, 1, outputs))
    link = links.phase_cycles(links.Flows(one, other, nbytes), links.busiest_packets(tiles, card), card)
    return (host_cycles(inputs, clock) + link + links.sync_cycles(card, 2)) / clock


def half_bytes(values: Iterable[Value]) -> int:
    """Bytes of values of a workload, floating-point ones in half."""
    half = as_dtype("float16").bytes
    return sum(math.prod(v.shape) * (half if v.dtype.is_float else v.dtype.bytes) for v in values)


def breakdown(report: Any) -> list[tuple[str, int]]:
    """Cycles of a report by what they are for, most first; they add up to its cycles."""
    found: Counter[str] = Counter()
    for step in report.steps:
        op = report.ops[step.op] if step.op >= 0 else None
        purpose = _purpose(step, op)
        for phase, cycles in step.phases.items():
            found[_label(phase, purpose)] += cycles
    return [(name, cycles) for name, cycles in found.most_common() if cycles]


def _purpose(step: Step, op: OpSummary | None) -> str:
    """What a superstep is for."""
    last = step.name.rsplit("/", 1)[-1]
    if op is None:
        return "other"
    if op.type in ("Conv", "MatMul"):
        return _STEPS.get(last.split()[0].rstrip("0123456789"), "other")
    return _TYPES.get(op.type, "other")


def _label(phase: str, purpose: str) -> str:
    if phase == "compute":
        return purpose
    if phase == "exchange":
        return f"exchange for {purpose}"
    return {"copy_before": "copies on a tile", "copy_after": "copies on a tile", "sync": "barriers"}.get(phase, phase)


def unpriced(model: str, batch: int, report: Any) -> list[tuple[str, int]]:
    """Cycles, by formula, of what the software of the published runs is known or likely to do beside what is timed.

    PopART (its sources, willow/src/popx/op): a Transpose of what is computed is a copy on each tile followed by a view;
    a batch norm first combines its parameters, in three supersteps, each taken to be as long as the shortest of the
    network.  poplibs of mid-2020: its estimators charge `CALL_OF_2020` per elementwise vertex, a later one 11.
    """
    from ipusim_models import ZOO

    chip, workload = report.profile.system.chip, ZOO[model].build(batch)
    shortest = min(step.cycles for step in report.steps if step.cycles)
    copies = 0
    for node in workload.nodes:
        if isinstance(node.op, Transpose) and node.inputs[0].name not in workload.constants:
            words = -(-half_bytes(node.outputs) // chip.tiles // COPY_WORD_BYTES)
            copies += sync_cycles(chip.sync) + copy_cycles(0, words, chip.tile.workers)
    norms = sum(isinstance(node.op, BatchNorm) for node in workload.nodes)
    calls = sum(_purpose(step, report.ops[step.op]) in _BY_ELEMENT for step in report.steps if step.op >= 0)
    found = [
        ("transposes as copies", copies),
        ("parameters of batch norms combined", 3 * norms * shortest),
        ("calls of elementwise vertices as of mid-2020", calls * (CALL_OF_2020 - LAUNCH_CYCLES)),
    ]
    return [(what, cycles) for what, cycles in found if cycles]


def small_steps(report: Any) -> tuple[int, int, float]:
    """Supersteps, those under 1000 cycles, and the share of all cycles that the latter take."""
    small = [s.cycles for s in report.steps if s.cycles < 1000]
    return len(report.steps), len(small), sum(small) / max(1, report.cycles)


def _print_breakdown(network: Network) -> None:
    steps, small, share = small_steps(network.report)
    total = network.report.cycles
    print(f"\n{network.name}: {total:,} cycles in {steps} supersteps, {small} of them under 1000 ({share:.0%})")
    for name, cycles in breakdown(network.report):
        print(f"  {name:<40}{cycles:>12,}{cycles / total:>8.1%}")
    for name, cycles in unpriced(network.model, network.report.profile.batch, network.report):
        print(f"  not included: {name:<26}{cycles:>12,}{cycles / total:>8.1%}")


def main() -> int:
    """Prints the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--breakdown", action="store_true", help="of every network, not only of those far off")
    chosen = options.parse_args()
    found = list(networks())
    table = [HEAD, *(network.cells for network in found)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    shown: set[str] = set()
    for network in found:
        if network.name not in shown and (chosen.breakdown or network.too_fast > WELL_OFF):
            shown.add(network.name)
            _print_breakdown(network)
    return 0


if __name__ == "__main__":
    sys.exit(main())
