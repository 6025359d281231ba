"""Hamiltonian Monte Carlo of a small Bayesian network, as TensorFlow Probability runs it.

The network: tanh(x W1 + b1) with 22 -> 40, a linear layer 40 -> 1, then a scale and a shift: 963 parameters.  The
log-posterior: independent normal priors of scale 200, and a Student t likelihood (2.2 degrees of freedom, scale 100) of
the targets, summed over the rows; features are multiplied by 0.001.  1000 leapfrog steps a transition, 100 transitions
that adapt the step size (target 0.2), 400 kept, one chain on each IPU (github graphcore/examples@23fbf9e,
code_examples/tensorflow/mcmc/mcmc_tfp.py, of April 2020).  The data is not public: rows are drawn from a seed, targets
by a network of the same form.

`mcmc-customer` stands for a proprietary model of which only its time is known, 4.5 minutes on one GC2 (Graphcore
benchmark slides, 2020): the same network, with as many transitions between kept ones as that time allows on the
simulated chip.  Its time is an assumption, not a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.api import simulate
from ipusim.dtype import float32
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Workload
from ipusim.workload.mcmc import HMC

PRIOR_SCALE, LIKELIHOOD_SCALE, DEGREES = 200.0, 100.0, 2.2
CUSTOMER_SECONDS = 270.0


@final
@dataclass(frozen=True, slots=True)
class McmcConfig:
    """Rows and features of the data, hidden units; kept samples, burn-in, leapfrog steps, first step size; transitions
    for each kept sample; chains on the IPU (`batch`), seed of data and random numbers.
    """

    rows: int = 200
    features: int = 22
    hidden: int = 40
    samples: int = 400
    burn_in: int = 100
    steps: int = 1000
    step_size: float = 0.01
    thin: int = 1
    batch: int = 1
    seed: int = 0
    name: str = "mcmc-tfp"

    def __post_init__(self) -> None:
        if min(self.rows, self.features, self.hidden, self.samples, self.steps, self.thin, self.batch) < 1:
            raise BadInput(f"{self}: every size must be at least 1")
        if min(self.burn_in, self.seed) < 0 or not self.step_size > 0:
            raise BadInput(f"{self}: burn_in and seed at least 0, step_size above 0")

    @property
    def parameters(self) -> int:
        """Parameters of the network."""
        return self.hidden * (self.features + 2) + 3

    @property
    def transitions(self) -> int:
        """Transitions of a chain, with burn-in."""
        return self.burn_in + self.samples * self.thin


def data(config: McmcConfig) -> tuple[Constant, Constant]:
    """Features (rows, features), already scaled, and targets (rows,), float32."""
    seed = config.seed * 100_003
    x = Constant.normal((config.rows, config.features), float32, seed, 1.0)
    noise = Constant.normal((config.rows,), float32, seed + 1, LIKELIHOOD_SCALE)

    def targets(features: NDArray[np.float32], off: NDArray[np.float32]) -> NDArray[np.float32]:
        draw = np.random.Generator(np.random.SFC64(seed + 2))
        w = draw.standard_normal((config.features, config.hidden), np.float32) / np.float32(np.sqrt(config.features))
        v = draw.standard_normal(config.hidden, np.float32) * np.float32(PRIOR_SCALE / np.sqrt(config.hidden))
        return np.asarray(np.tanh(features @ w) @ v + off, np.float32)

    return x, x.map(targets, "targets", noise, shape=(config.rows,))


def density(config: McmcConfig) -> Workload:
    """Log-posterior (batch,) of the parameters of each chain (batch, parameters), without its constant part."""
    b = WorkloadBuilder("log posterior", 1)
    n, f, h, rows = config.batch, config.features, config.hidden, config.rows
    q = b.input("parameters", (n, config.parameters), float32)
    features, targets = (b.constant(c, name) for c, name in zip(data(config), ("features", "targets"), strict=True))
    shapes = ((n, f, h), (n, 1, h), (n, h, 1), (n, 1, 1), (n, 1, 1), (n, 1, 1))
    sizes = [shape[1] * shape[2] for shape in shapes]
    w, bias, v, out_bias, scale, shift = (
        b.reshape(part, shape) for part, shape in zip(b.split(q, sizes, 1, name="parts"), shapes, strict=True)
    )
    hidden = b.tanh(b.add(b.matmul(features, w), bias, name="hidden/bias"), name="hidden")
    out = b.add(b.matmul(hidden, v, name="output"), out_bias, name="output/bias")
    made = b.add(b.mul(out, scale, name="scale"), shift, name="shift")
    off = b.sub(b.reshape(targets, (rows, 1)), made, name="off")
    ratio = b.mul(b.unary("square", off), 1.0 / (DEGREES * LIKELIHOOD_SCALE**2), name="ratio")
    likelihood = b.reduce("sum", b.unary("log", b.add(ratio, 1.0)), (1, 2), keepdims=False, name="likelihood")
    prior = b.reduce("sum_square", q, 1, keepdims=False, name="prior")
    total = b.add(b.mul(likelihood, -(DEGREES + 1) / 2), b.mul(prior, -0.5 / PRIOR_SCALE**2), name="total")
    return b.build({"log posterior": total})


def build(config: McmcConfig) -> Workload:
    """Input "start" (batch, parameters).

    Outputs: "samples" (batch, samples, parameters), "log density" (batch, samples), "accepted", "step size" (batch,).
    """
    b = WorkloadBuilder(config.name, batch=config.batch)
    start = b.input("start", (config.batch, config.parameters), float32)
    chain = HMC(
        density(config),
        config.samples,
        config.steps,
        config.step_size,
        burn_in=config.burn_in,
        target=0.2,
        thin=config.thin,
        seed=config.seed,
    )
    made = chain.build(b, start)
    made["samples"] = b.transpose(made["samples"], (1, 0, 2), name="by_chain")
    made["log density"] = b.transpose(made["log density"], (1, 0), name="densities_by_chain")
    made["step size"] = b.expand(made["step size"], (config.batch,), name="step_of_chain")
    return b.build(made)


@lru_cache(maxsize=1)
def customer_thin() -> int:
    """Transitions for each of 400 kept samples in `CUSTOMER_SECONDS`, as one GC2 is simulated (float32)."""
    times = [simulate(build(McmcConfig(samples=n, burn_in=0)), precision="float32").latency for n in (1, 2)]
    config = McmcConfig()
    count = CUSTOMER_SECONDS / (times[1] - times[0]) - config.burn_in
    return max(1, round(count / config.samples))


def zoo(batch: int, seed: int) -> Workload:
    """500 transitions of 1000 leapfrog steps."""
    return build(McmcConfig(batch=batch, seed=seed))


def customer(batch: int, seed: int) -> Workload:
    """The same with longer chains."""
    return build(McmcConfig(thin=customer_thin(), batch=batch, seed=seed, name="mcmc-customer"))
