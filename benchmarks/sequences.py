"""Recurrent and Monte Carlo models: cycles, what bounds them, and how fast the simulator runs them.

    python benchmarks/sequences.py [--execute] [--batches 1,16,1024]

LSTM: cycles of one step of one layer and sequences per second for batches up to where they stop fitting, and the share
of the time that matmuls, gates, moves between steps, exchange and sync take.  Monte Carlo: time of whole chains,
extrapolated from one transition.  With --execute, real values as well: an LSTM of batch 1, and ten transitions of a
chain.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

import ipusim
from ipusim_models import ZOO, mcmc

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MATMUL = ("convolve", "reduce", "cast", "product")
GATES = ("gates", "gate", "new c", "new h", "bias", "function", "hidden")


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


def lstm(batches: list[int]) -> None:
    """A table for each LSTM of the zoo."""
    for name, steps in (("lstm-2x256", 400), ("lstm-deepbench", 25)):
        print(f"\n{name}, float16, GC2: steps of one layer")
        columns = ("batch", "cycles/step", "sequences/s", "max KiB/tile", "fits", "bound by", "shares of time")
        print("{:>6} {:>12} {:>12} {:>13} {:>5}  {:<9} {}".format(*columns))
        for batch in batches:
            report = ipusim.simulate(ZOO[name].build(batch, 0), precision="float16")
            part = shares(report)
            text = " ".join(f"{k} {v:.0%}" for k, v in sorted(part.items(), key=lambda i: -i[1]))
            memory = report.memory
            looped = sum(s.cycles for s in report.steps if s.repeats > 1)
            print(
                f"{batch:6} {looped / steps:12.0f} {report.throughput:12.0f} {memory.max_tile_bytes / 1024:13.1f} "
                f"{'yes' if memory.fits else 'no':>5}  {max(part, key=lambda k: part[k]):<9} {text}"
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
    """Wall-clock of real values: the first run, which compiles, and the best of three more."""
    print("\nexecuted")
    ten = mcmc.build(mcmc.McmcConfig(samples=10, burn_in=0))
    cases = (
        ("lstm-2x256 batch 1", ZOO["lstm-2x256"].build(1, 0), {"x": np.ones((1, 200, 16), np.float32)}),
        ("mcmc-tfp, 10 transitions of 1000 steps", ten, {"start": np.full((1, 963), 0.01, np.float32)}),
    )
    for title, workload, given in cases:
        times = []
        for _ in range(4):
            report = ipusim.simulate(workload, given, execute=True, precision="float32")
            times.append(report.wall["execute"])
        print(f"{title}: {times[0] * 1e3:.1f} ms at first, {min(times[1:]) * 1e3:.1f} ms then")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--execute", action="store_true")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    options = parser.parse_args()
    lstm([int(n) for n in options.batches.split(",")])
    chains()
    if options.execute:
        executed()


if __name__ == "__main__":
    main()
