"""Hamiltonian Monte Carlo on the chip: chains of a correlated Gaussian, their moments, and what a long run takes.

The log-density is a workload; its gradient is derived from it.  Momenta and choices come from the generators of the
workers, so a seed gives the same chains on every host.  All transitions are one loop on the device: nothing returns to
the host in between, and a longer run takes as much longer as it has transitions.

    python examples/mcmc.py --system C2 --chains 16 --samples 2000
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, finish, show
from numpy.typing import NDArray

import ipusim
from ipusim.workload.graph import Workload
from ipusim.workload.mcmc import HMC

COVARIANCE = np.array([[1.0, 0.8, 0.2], [0.8, 1.5, 0.4], [0.2, 0.4, 0.5]], np.float32)
MEAN = np.array([1.0, -2.0, 0.5], np.float32)
STEPS, STEP_SIZE, BURN_IN = 8, 0.2, 100
LONG = 100_000  # transitions of the long run, which is timed and not executed


def gaussian(chains: int) -> Workload:
    """Log-density (chains,) of positions (chains, 3), without its constant part."""
    b = ipusim.WorkloadBuilder("gaussian")
    off = b.sub(b.input("position", (chains, len(MEAN))), MEAN)
    turned = b.matmul(off, np.linalg.inv(COVARIANCE))
    return b.build({"log": b.mul(b.reduce("sum", b.mul(off, turned), 1, keepdims=False), -0.5)})


def chains_of(chains: int, samples: int, seed: int) -> Workload:
    """Outputs: samples (chains, samples, 3) and the share of proposals that each chain accepted."""
    b = ipusim.WorkloadBuilder("chains", batch=chains)
    start = b.input("start", (chains, len(MEAN)))
    sampler = HMC(gaussian(chains), samples, STEPS, STEP_SIZE, burn_in=BURN_IN, seed=seed)
    made = sampler.build(b, start)
    return b.build({"samples": b.transpose(made["samples"], (1, 0, 2)), "accepted": made["accepted"]})


def moments(samples: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance over all chains."""
    values = samples.reshape(-1, samples.shape[-1]).astype(np.float64)
    return values.mean(0), np.cov(values.T)


def main() -> None:
    parser = Parser(__doc__, system="GC2")
    parser.add_argument("--chains", type=count(), default=8, help="chains on each IPU (default 8)")
    parser.add_argument("--samples", type=count(), default=2000, help="samples of each chain (default 2000)")
    parser.add_argument("--seed", type=int, default=1, help="of all random values (default 1)")
    chosen = parser.parse_args()
    if chosen.system not in ipusim.systems():
        parser.error(f"argument --system: {chosen.system!r} is none of {', '.join(ipusim.systems())}")
    all_chains = chosen.chains * ipusim.systems()[chosen.system].ipus
    workload = chains_of(chosen.chains, chosen.samples, chosen.seed)
    start = np.zeros((all_chains, len(MEAN)), np.float32)
    options: dict[str, Any] = {"system": chosen.system, "batch": all_chains, "precision": "float32"}
    report = ipusim.simulate(workload, {"start": start}, execute=True, **options)
    shorter, longer = (ipusim.simulate(chains_of(chosen.chains, n, chosen.seed), **options) for n in (1, 2))
    transition = longer.cycles - shorter.cycles
    mean, covariance = moments(report.outputs["samples"])
    facts = {
        "example": "mcmc",
        "system": chosen.system,
        "chains": all_chains,
        "samples": chosen.samples,
        "accepted": float(report.outputs["accepted"].mean()),
        "mean": mean.tolist(),
        "covariance": covariance.tolist(),
        "cycles": report.cycles,
        "time": report.latency,
        "cycles_per_transition": transition,
        "time_of_long_run": (shorter.cycles + (LONG - 1) * transition) * report.latency / report.cycles,
    }
    show(chosen.json, facts, text(facts))


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""

    def row(values: Any) -> str:
        return " ".join(f"{v:6.2f}" for v in values)

    return "\n".join(
        [
            f"{facts['chains']} chains on {facts['system']}: {BURN_IN} transitions of {STEPS} leapfrog steps that "
            f"adapt the step size, {facts['samples']:,} that are kept",
            f"  accepted: {facts['accepted']:.0%} of the proposals",
            f"  mean:       {row(facts['mean'])}    the Gaussian's: {row(MEAN)}",
            *(
                f"  {'covariance:' if not i else '           '} {row(found)}                     {row(wanted)}"
                for i, (found, wanted) in enumerate(zip(facts["covariance"], COVARIANCE, strict=True))
            ),
            f"  {facts['cycles']:,} cycles, {facts['time'] * 1e3:.1f} ms; "
            f"{facts['cycles_per_transition']:,} cycles a transition",
            f"  {LONG:,} transitions would take {facts['time_of_long_run']:.2f} s",
        ]
    )


if __name__ == "__main__":
    finish(main)
