"""Monte Carlo in workloads: leapfrog integration, the choice of Metropolis, and chains of Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import final

import numpy as np

from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.graph import Value, Workload
from ipusim.workload.ops import TensorType
from ipusim.workload.ops_mcmc import Evaluate, Finite, Leapfrog, Metropolis, with_gradient


def leapfrog(
    b: WorkloadBuilder,
    density: Workload,
    q: Value,
    p: Value,
    step: Value,
    *fixed: Value,
    steps: int,
    name: str | None = None,
    check: bool = True,
) -> tuple[Value, Value, Value]:
    """Adds `steps` leapfrog steps; see `ops_mcmc.Leapfrog`.  Returns: position, momentum, log-density of each chain.

    A log-density that is NaN at the end is an error, where the program runs with values; not without `check`, for a
    loop that rejects such proposals (`metropolis` does) and is to run as compiled code.
    """
    name = name or "leapfrog"
    q, p, log = b.add_node(Leapfrog(density, steps), [q, p, step, *fixed], name)
    if check:
        what = f"log-density {density.name!r} after {steps} steps"
        (log,) = b.add_node(Finite((what,), infinite=True), [log], f"{name}/check")
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
    when the program runs with values, and so is a gradient that is not finite.  Raises BadInput for sizes below 1
    (burn_in: 0), for other numbers out of range, and for a density that does not make one value; `build` for one that
    is not a number for each chain, or has an op without a gradient, naming it.
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
        if not isinstance(self.density, Workload):
            raise BadInput(f"HMC: a log-density is a Workload, not {type(self.density).__name__}")
        if not self.density.inputs or len(self.density.outputs) != 1:
            made = ", ".join(self.density.outputs)
            raise BadInput(f"HMC: log-density {self.density.name!r} takes a position and makes one output, not {made}")
        for name, least in (("samples", 1), ("steps", 1), ("thin", 1), ("burn_in", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise BadInput(f"HMC: {name} {value!r} must be a whole number of at least {least}")
        for name, most in (("step_size", inf), ("rate", inf), ("target", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not 0 < value < most:
                limit = "a finite number above 0" if most == inf else f"above 0 and below {most:g}"
                raise BadInput(f"HMC: {name} {value!r} must be {limit}")

    def build(self, b: WorkloadBuilder, q: Value, *fixed: Value, name: str = "hmc") -> dict[str, Value]:
        """Adds the chains that start at q (chains, ...).

        Raises BadInput naming the node.

        Returns: "samples" (samples, *q.shape), "log density" (samples, chains), "accepted" (chains,) the share of
        transitions after burn-in that accepted, "step size" (1,).
        """
        if not q.shape:
            raise BadInput(f"{name}: the start {q.name!r} is one number; its first axis must be the chains")
        taken = [v.name for v in self.density.inputs]
        if len(taken) != 1 + len(fixed):
            raise BadInput(
                f"{name}: log-density {self.density.name!r} takes {', '.join(taken)}; it gets {1 + len(fixed)} values"
            )
        (log_density,), wanted = self.density.outputs.values(), TensorType(q.shape[:1], q.dtype)
        if log_density.type != wanted:
            raise BadInput(f"{name}: log-density {self.density.name!r} makes {log_density.type}, not {wanted}")
        log, slope = b.add_node(Evaluate(with_gradient(self.density)), [q, *fixed], f"{name}/first")
        where = f"log-density {self.density.name!r} at the start"
        log, _ = b.add_node(Finite((where, f"gradient of {where}")), [log, slope], f"{name}/start")
        step = b.constant(np.full(1, self.step_size, np.float32), f"{name}/step_size")
        if self.burn_in:
            q, log, step = b.loop(self.burn_in, self._burn, [q, log, step], fixed, name=f"{name}/burn_in")
        zero = b.constant(np.zeros(1, np.float32), f"{name}/nothing")
        kept = [
            b.expand(b.reshape(zero, (1,) * len(shape)), shape, name=f"{name}/{title}")
            for shape, title in (((self.samples, *q.shape), "empty"), ((self.samples, *wanted.shape), "no_densities"))
        ]
        count = b.expand(zero, wanted.shape, name=f"{name}/none")
        at = b.constant(np.zeros(1, np.int32), f"{name}/zero")
        made = b.loop(
            self.samples, self._sample, [q, log, count, at, *kept], [step, *fixed], name=f"{name}/sampling"
        )
        accepted = b.mul(made[2], 1.0 / (self.samples * self.thin), name=f"{name}/accepted")
        return {"samples": made[4], "log density": made[5], "accepted": accepted, "step size": step}

    def _transition(
        self, b: WorkloadBuilder, q: Value, log: Value, step: Value, fixed: Sequence[Value]
    ) -> tuple[Value, Value, Value, Value]:
        """Next position and log-density, which chains accepted, and the log of the acceptance ratio."""
        p = b.normal(q.shape, seed=self.seed, name="momentum")
        new_q, new_p, new_log = leapfrog(b, self.density, q, p, step, *fixed, steps=self.steps, check=False)
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
