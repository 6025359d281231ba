"""Monte Carlo in workloads: leapfrog integration, the choice of Metropolis, and chains of Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.graph import Value, Workload
from ipusim.workload.ops_mcmc import Finite, Leapfrog, Metropolis


def leapfrog(
    b: WorkloadBuilder,
    density: Workload,
    q: Value,
    p: Value,
    step: Value,
    *fixed: Value,
    steps: int,
    name: str | None = None,
) -> tuple[Value, Value, Value]:
    """Adds `steps` leapfrog steps; see `ops_mcmc.Leapfrog`.  Returns: position, momentum, log-density of each chain."""
    q, p, log = b.add_node(Leapfrog(density, steps), [q, p, step, *fixed], name or "leapfrog")
    return q, p, log


def metropolis(
    b: WorkloadBuilder, ratio: Value, u: Value, old: Sequence[Value], new: Sequence[Value], name: str | None = None
) -> tuple[Value, ...]:
    """Adds the choice between an old state and a proposed one; see `ops_mcmc.Metropolis`.

    Returns: the chosen state, and which chains accepted.
    """
    return b.add_node(Metropolis(len(old)), [ratio, u, *old, *new], name or "metropolis")


@final
@dataclass(frozen=True, slots=True)
class HMC:
    """Hamiltonian Monte Carlo of a log-density: `burn_in` transitions that adapt the step size, then `samples` that are
    kept, each of `steps` leapfrog steps; with `thin`, every so many transitions one is kept.

    In burn-in the step grows by `rate` where the mean acceptance probability of the chains is above `target`, and
    shrinks by it elsewhere (the simple step-size adaptation of TensorFlow Probability).  Momenta and choices come from
    the generators of `seed`.  A proposal whose log-density is not a number is rejected; at the start that is an error
    when the program runs with values.  Raises BadInput for sizes below 1 (burn_in: 0).
    """

    density: Workload
    samples: int
    steps: int
    step_size: float
    burn_in: int = 0
    target: float = 0.75
    rate: float = 0.01
    thin: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("steps", 1), ("thin", 1), ("burn_in", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"HMC: {name} {getattr(self, name)} must be at least {least}")
        if not (self.step_size > 0 and 0 < self.target < 1 and self.rate > 0):
            raise BadInput(
                f"HMC: step_size {self.step_size} and rate {self.rate} above 0, target {self.target} within 0..1"
            )

    def build(self, b: WorkloadBuilder, q: Value, *fixed: Value, name: str = "hmc") -> dict[str, Value]:
        """Adds the chains that start at q (chains, ...).

        Returns: "samples" (samples, *q.shape), "log density" (samples, chains), "accepted" (chains,) the share of
        transitions after burn-in that accepted, "step size" (1,).
        """
        chains = q.shape[0]
        log = next(iter(b.inline(self.density, self._inputs(q, fixed), f"{name}/first/").values()))
        (log,) = b.add_node(Finite(f"log-density {self.density.name!r} at the start"), [log], f"{name}/start")
        step = b.constant(np.full(1, self.step_size, np.float32), f"{name}/step_size")
        if self.burn_in:
            q, log, step = b.loop(self.burn_in, self._burn, [q, log, step], fixed, name=f"{name}/burn_in")
        zero = b.constant(np.zeros(1, np.float32), f"{name}/nothing")
        kept = [
            b.expand(b.reshape(zero, (1,) * len(shape)), shape, name=f"{name}/{title}")
            for shape, title in (((self.samples, *q.shape), "empty"), ((self.samples, chains), "no_densities"))
        ]
        count = b.expand(zero, (chains,), name=f"{name}/none")
        at = b.constant(np.zeros(1, np.int32), f"{name}/zero")
        made = b.loop(
            self.samples, self._sample, [q, log, count, at, *kept], [step, *fixed], name=f"{name}/sampling"
        )
        accepted = b.mul(made[2], 1.0 / (self.samples * self.thin), name=f"{name}/accepted")
        return {"samples": made[4], "log density": made[5], "accepted": accepted, "step size": step}

    def _inputs(self, q: Value, fixed: Sequence[Value]) -> dict[str, Value]:
        return dict(zip((v.name for v in self.density.inputs), (q, *fixed), strict=True))

    def _transition(
        self, b: WorkloadBuilder, q: Value, log: Value, step: Value, fixed: Sequence[Value]
    ) -> tuple[Value, Value, Value, Value]:
        """Next position and log-density, which chains accepted, and the log of the acceptance ratio."""
        p = b.normal(q.shape, seed=self.seed, name="momentum")
        new_q, new_p, new_log = leapfrog(b, self.density, q, p, step, *fixed, steps=self.steps)
        kinetic = [b.mul(b.reduce("sum_square", m, range(1, len(m.shape)), keepdims=False), 0.5) for m in (p, new_p)]
        ratio = b.sub(b.sub(new_log, kinetic[1]), b.sub(log, kinetic[0]), name="log_ratio")
        u = b.uniform(log.shape, seed=self.seed, name="choice")
        q, log, accepted = metropolis(b, ratio, u, [q, log], [new_q, new_log])
        return q, log, accepted, ratio

    def _burn(self, b: WorkloadBuilder, q: Value, log: Value, step: Value, *fixed: Value) -> list[Value]:
        q, log, _, ratio = self._transition(b, q, log, step, fixed)
        finite = b.select(b.binary("less_equal", ratio, 0.0), ratio, b.mul(ratio, 0.0))
        chance = b.select(b.binary("equal", ratio, ratio), b.unary("exp", finite), 0.0)
        mean = b.reduce("mean", chance, keepdims=True, name="chance")
        grown, shrunk = b.mul(step, 1.0 + self.rate), b.mul(step, 1.0 / (1.0 + self.rate))
        return [q, log, b.select(b.binary("greater", mean, self.target), grown, shrunk)]

    def _count(
        self, b: WorkloadBuilder, q: Value, log: Value, count: Value, step: Value, *fixed: Value
    ) -> tuple[Value, Value, Value]:
        q, log, accepted, _ = self._transition(b, q, log, step, fixed)
        return q, log, b.add(count, accepted)

    def _sample(
        self, b: WorkloadBuilder, q: Value, log: Value, count: Value, at: Value, kept: Value, logs: Value, step: Value,
        *fixed: Value,
    ) -> list[Value]:  # fmt: skip
        if self.thin > 1:
            q, log, count = b.loop(self.thin, self._count, [q, log, count], [step, *fixed], name="between")
        else:
            q, log, count = self._count(b, q, log, count, step, *fixed)
        kept = b.dynamic_update(kept, b.reshape(q, (1, *q.shape)), at)
        logs = b.dynamic_update(logs, b.reshape(log, (1, *log.shape)), at)
        return [q, log, count, b.add(at, 1), kept, logs]


__all__ = ["HMC", "leapfrog", "metropolis"]
