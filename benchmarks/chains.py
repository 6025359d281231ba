"""Monte Carlo chains: real values against a loop written by hand, and the time of whole chains on the chip.

    python benchmarks/chains.py [--transitions 10] [--steps 1000]

The loop by hand is one numba function for this one network: float32, rows of the data one after another in arrays
that stay in the first cache, nothing allocated, no fastmath, random values drawn beforehand; once with NumPy's tanh and
once with a vectorised one (that of `ipusim_kernels.recurrent.functions`).  Both run the same chain from the same start.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

import ipusim
from ipusim_kernels.recurrent.functions import tanh
from ipusim_models import mcmc

F32 = NDArray[np.float32]
F = np.float32
ROUNDS = 5


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def plain_tanh(x: F32, bits: NDArray[np.int32]) -> None:
    """x <- tanh x by the library's function."""
    for i in range(len(x)):
        x[i] = np.tanh(x[i])


def by_hand(function: Callable[..., Any]) -> Callable[..., float]:
    """chain(x (rows, f), targets, q (parameters,), steps, step, noise (transitions, parameters), u (transitions,)): q
    moves on; returns the log-posterior at its end.
    """

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def slope(x: F32, targets: F32, q: F32, g: F32, hid: F32, bits: NDArray[np.int32], d: F32) -> float:
        """Gradient (into g) and log-posterior; hid and d: (hidden,) scratch, a row at a time."""
        rows, f = x.shape
        h = len(d)
        w, bias, v = q[: f * h].reshape((f, h)), q[f * h : f * h + h], q[f * h + h : f * h + 2 * h]
        b2, scale, shift = q[f * h + 2 * h], q[f * h + 2 * h + 1], q[f * h + 2 * h + 2]
        gw, gb, gv = g[: f * h].reshape((f, h)), g[f * h : f * h + h], g[f * h + h : f * h + 2 * h]
        over = F(1 / (mcmc.DEGREES * mcmc.LIKELIHOOD_SCALE**2))
        near, total, prior = F(1 / mcmc.PRIOR_SCALE**2), F(0), F(0)
        for k in range(len(q)):
            prior += q[k] * q[k]
            g[k] = -q[k] * near
        for r in range(rows):
            for j in range(h):
                hid[j] = bias[j]
            for k in range(f):
                a = x[r, k]
                for j in range(h):
                    hid[j] += a * w[k, j]
            function(hid, bits)
            out = b2
            for j in range(h):
                out += hid[j] * v[j]
            off = targets[r] - (out * scale + shift)
            ratio = off * off * over
            total += np.log(F(1) + ratio)
            of_made = F(mcmc.DEGREES + 1) * off * over / (F(1) + ratio)
            of_out = of_made * scale
            g[f * h + 2 * h] += of_out
            g[f * h + 2 * h + 1] += of_made * out
            g[f * h + 2 * h + 2] += of_made
            for j in range(h):
                gv[j] += of_out * hid[j]
                d[j] = of_out * v[j] * (F(1) - hid[j] * hid[j])
                gb[j] += d[j]
            for k in range(f):
                a = x[r, k]
                for j in range(h):
                    gw[k, j] += a * d[j]
        return F(-(mcmc.DEGREES + 1) / 2) * total - F(0.5) * near * prior

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def chain(x: F32, targets: F32, q: F32, steps: int, step: np.float32, noise: F32, u: F32) -> float:
        g, p, new = np.empty_like(q), np.empty_like(q), np.empty_like(q)
        h = (len(q) - 3) // (x.shape[1] + 2)
        hid, bits, d = np.empty(h, np.float32), np.empty(h, np.int32), np.empty(h, np.float32)
        log = slope(x, targets, q, g, hid, bits, d)
        for t in range(len(u)):
            kinetic = F(0)
            for k in range(len(q)):
                p[k] = noise[t, k]
                new[k] = q[k]
                kinetic -= F(0.5) * p[k] * p[k]
            slope(x, targets, new, g, hid, bits, d)
            p += F(0.5) * step * g
            made = log
            for _ in range(steps):
                for k in range(len(q)):
                    new[k] += step * p[k]
                made = slope(x, targets, new, g, hid, bits, d)
                for k in range(len(q)):
                    p[k] += step * g[k]
            for k in range(len(q)):
                last = p[k] - F(0.5) * step * g[k]
                kinetic += F(0.5) * last * last
            if np.log(u[t]) < made - log - kinetic:
                q[:] = new
                log = made
        return log

    return chain  # type: ignore[no-any-return]


def seconds(run: Callable[[], Any]) -> float:
    """Of the fastest of some runs."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def executed(transitions: int, steps: int) -> None:
    """Seconds of both, and their ratio."""
    config = mcmc.McmcConfig(samples=transitions, burn_in=0, steps=steps)
    workload, given = mcmc.build(config), np.full((1, config.parameters), 0.01, np.float32)
    x, targets = (np.ascontiguousarray(c.array()) for c in mcmc.data(config))
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((transitions, config.parameters), np.float32)
    u = draw.random(transitions, np.float32)
    walls = []
    for _ in range(ROUNDS + 1):
        report = ipusim.simulate(workload, {"start": given}, execute=True, precision="float32")
        walls.append(report.wall["execute"])
    best = min(walls[1:])
    print(f"{transitions} transitions of {steps} leapfrog steps: {walls[0]:.2f} s at first, then {best:.3f} s")
    for title, function in (("numpy's tanh", plain_tanh), ("a vectorised tanh", tanh)):
        chain = by_hand(function)
        chain(x, targets, given[0].copy(), 1, F(config.step_size), noise[:1], u[:1])
        took = seconds(partial(chain, x, targets, given[0].copy(), steps, F(config.step_size), noise, u))
        print(f"  by hand with {title}: {took:.3f} s; ratio {best / took:.2f}")


def extrapolated() -> None:
    """Time of whole chains, from one body of the loop."""
    for ipus, system in ((1, "GC2"), (2, "C2")):
        config = mcmc.McmcConfig()
        start = time.perf_counter()
        report = ipusim.simulate("mcmc-tfp", system=system, batch=ipus, precision="float32")
        print(
            f"{config.samples * ipus} samples on {system} ({config.transitions} transitions a chain): "
            f"{report.latency:.3f} s, {report.cycles / config.transitions:,.0f} cycles a transition; "
            f"found in {time.perf_counter() - start:.2f} s"
        )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transitions", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    executed(options.transitions, options.steps)
    extrapolated()


if __name__ == "__main__":
    main()
