"""Recurrent and Monte Carlo models: cycles, what bounds them, and how fast the simulator runs them.

    python benchmarks/sequences.py [--execute] [--batches 1,16,1024]

LSTM: cycles of one step of one layer and sequences per second for batches up to where they stop fitting, the share of
the time that matmuls, gates, moves between steps, exchange and sync take, how many layers multiply their input before
the loop, and what all steps take if that is left out (cycles of the whole run over those with it).  DeepBench: forward
passes of the shapes of the published training script.  Monte Carlo: time of whole chains, extrapolated from one
transition.  With --execute, real values as well: an LSTM of batch 1, in turn with PyTorch on one thread where that is
installed, and ten transitions of a chain.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from statistics import median

import numpy as np
from numpy.typing import NDArray

import ipusim
from ipusim.workload.graph import Workload
from ipusim_kernels.recurrent import projection
from ipusim_models import ZOO, mcmc
from ipusim_models import lstm as lstm_model

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MATMUL = ("convolve", "reduce", "cast", "product")
GATES = ("gates", "gate", "new c", "new h", "bias", "add", "function", "hidden")
#: Hidden units (and features), batch, steps of a DeepBench shape.
DEEPBENCH = ((512, 64, 25), (1024, 256, 25), (1536, 128, 50), (2048, 64, 25), (256, 1024, 150))
ROUNDS = 30


def kind(step: ipusim.report.profile.Step) -> str:
    """What the compute of a superstep is for."""
    last = step.name.rsplit("/", 1)[-1]
    if any(last.startswith(name) for name in MATMUL):
        return "matmul"
    return "gates" if any(last.startswith(name) for name in GATES) or "bias" in step.name else "moves"


def shares(report: ipusim.Report) -> dict[str, float]:
    """Parts of the cycles that are compute by kind, exchange with its copies, and sync."""
    found: Counter[str] = Counter()
    for step in report.steps:
        found[kind(step)] += step.phases["compute"]
        found["exchange"] += sum(step.phases[p] for p in ("exchange", "copy_before", "copy_after"))
        found["sync"] += step.phases["sync"]
    return {name: n / report.cycles for name, n in found.items()}


def without_projection(workload: Workload) -> int:
    """Cycles if every step multiplies its input."""
    real = projection.Estimate.pays
    projection.Estimate.pays = property(lambda _: False)  # type: ignore[method-assign, assignment]
    try:
        return ipusim.simulate(workload, precision="float16").cycles
    finally:
        projection.Estimate.pays = real  # type: ignore[method-assign]


def lstm(batches: list[int]) -> None:
    """A table for each LSTM of the zoo."""
    for name, steps in (("lstm-2x256", 400), ("lstm-deepbench", 25)):
        print(f"\n{name}, float16, GC2: steps of one layer")
        columns = (
            "batch",
            "cycles/step",
            "sequences/s",
            "max KiB/tile",
            "fits",
            "bound by",
            "before",
            "gain",
            "shares",
        )
        print("{:>6} {:>12} {:>12} {:>13} {:>5}  {:<9} {:>6} {:>6}  {}".format(*columns))
        for batch in batches:
            workload = ZOO[name].build(batch, 0)
            report = ipusim.simulate(workload, precision="float16")
            part = shares(report)
            text = " ".join(f"{k} {v:.0%}" for k, v in sorted(part.items(), key=lambda i: -i[1]))
            memory = report.memory
            gain = without_projection(workload) / report.cycles
            before = sum("before the loop" in t for plan in report.plans for t in plan.transforms)
            print(
                f"{batch:6} {report.cycles / steps:12.0f} {report.throughput:12.0f} "
                f"{memory.max_tile_bytes / 1024:13.1f} {'yes' if memory.fits else 'no':>5}  "
                f"{max(part, key=lambda k: part[k]):<9} {before:6} {gain:6.3f}  {text}"
            )


def deepbench() -> None:
    """A line for each shape."""
    print("\nDeepBench LSTM, forward, float16, GC2")
    for hidden, batch, steps in DEEPBENCH:
        config = lstm_model.LstmConfig(1, hidden, hidden, steps, classes=0, batch=batch)
        report = ipusim.simulate(lstm_model.build(config), precision="float16")
        fits = "fits" if report.memory.fits else "does not fit"
        print(
            f"{hidden:5} units, batch {batch:4}, {steps:3} steps: {report.latency * 1e3:8.3f} ms, "
            f"{report.throughput:8.0f} sequences/s, {report.memory.max_tile_bytes / 1024:6.1f} KiB a tile, {fits}"
        )


def chains() -> None:
    """A line for each Monte Carlo model."""
    print("\nMonte Carlo, float32, GC2")
    for name, config in (
        ("mcmc-tfp", mcmc.McmcConfig()),
        ("mcmc-customer", mcmc.McmcConfig(thin=mcmc.customer_thin())),
    ):
        start = time.perf_counter()
        report = ipusim.simulate(name, precision="float32")
        took = time.perf_counter() - start
        gradients = config.transitions * (config.steps + 1)
        part = " ".join(f"{k} {v:.0%}" for k, v in sorted(shares(report).items(), key=lambda i: -i[1]))
        print(
            f"{name}: {config.transitions} transitions, {report.latency:.2f} s, "
            f"{report.cycles / config.transitions:,.0f} cycles a transition, "
            f"{report.cycles / gradients:,.0f} a gradient; "
            f"{config.samples / report.latency:.1f} samples/s; "
            f"max {report.memory.max_tile_bytes / 1024:.0f} KiB a tile; found in {took:.2f} s; {part}"
        )


def executed() -> None:
    """Wall-clock of real values: the first run, which compiles, and medians of more."""
    print("\nexecuted")
    workload, x = ZOO["lstm-2x256"].build(1, 0), np.ones((1, 200, 16), np.float32)
    theirs = torch_lstm(x)
    for precision in ("float32", "float16"):
        times, other = [], []
        for _ in range(ROUNDS + 1):
            other.append(theirs())
            report = ipusim.simulate(workload, {"x": x}, execute=True, precision=precision)
            times.append(report.wall["execute"])
        ratio = f", {median(times[1:]) / median(other[1:]):.2f} of PyTorch's" if other[0] else ""
        first, rest = times[0] * 1e3, median(times[1:]) * 1e3
        print(f"lstm-2x256 batch 1, {precision}: {first:.1f} ms at first, {rest:.1f} ms then{ratio}")
    ten = mcmc.build(mcmc.McmcConfig(samples=10, burn_in=0))
    runs = [
        ipusim.simulate(ten, {"start": np.full((1, 963), 0.01, np.float32)}, execute=True, precision="float32")
        for _ in range(4)
    ]
    start, *later = (report.wall["execute"] for report in runs)
    print(f"mcmc-tfp, 10 transitions of 1000 steps: {start * 1e3:.1f} ms at first, {min(later) * 1e3:.1f} ms then")


def torch_lstm(x: NDArray[np.float32]) -> Callable[[], float]:
    """A function that runs the same layers in PyTorch on one thread and gives the seconds; 0 without PyTorch."""
    try:
        torch = import_module("torch")
    except ImportError:
        return lambda: 0.0
    torch.set_num_threads(1)
    layers, given = torch.nn.LSTM(x.shape[2], 256, 2, batch_first=True), torch.from_numpy(x)

    def run() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            layers(given)
        return time.perf_counter() - start

    return run


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--execute", action="store_true")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    options = parser.parse_args()
    lstm([int(n) for n in options.batches.split(",")])
    deepbench()
    chains()
    if options.execute:
        executed()


if __name__ == "__main__":
    main()
