"""Leapfrog integration and Hamiltonian Monte Carlo: laws, moments, and a two-sample test against one in plain NumPy."""

from itertools import pairwise
from math import sqrt

import numpy as np
import programs
import pytest
import workload_numpy

import ipusim
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.mcmc import HMC, leapfrog

DIMENSIONS, CHAINS = 20, 8


def bent(chains=1, size=3):
    """A log-density that is neither harmonic nor separable: -sum log(1 + x^2 / 3) * 2 - (x0 x1)^2 / 4."""
    b = WorkloadBuilder("bent", 1)
    q = b.input("q", (chains, size))
    tails = b.mul(b.reduce("sum", b.unary("log", b.add(b.mul(b.unary("square", q), 1 / 3), 1.0)), 1, keepdims=False), -2.0)
    pair = b.mul(b.slice(q, (0, 0), (chains, 1)), b.slice(q, (0, 1), (chains, 2)))
    return b.build({"log": b.add(tails, b.mul(b.reshape(b.unary("square", pair), (chains,)), -0.25))})


def bent_numpy(q):
    """The same and its gradient, for (chains, size)."""
    log = -2 * np.log1p(q * q / 3).sum(1) - 0.25 * (q[:, 0] * q[:, 1]) ** 2
    slope = -4 * q / 3 / (1 + q * q / 3)
    slope[:, 0] -= 0.5 * q[:, 0] * q[:, 1] ** 2
    slope[:, 1] -= 0.5 * q[:, 1] * q[:, 0] ** 2
    return log, slope


def stepped(density, steps, size, chains=1):
    b = WorkloadBuilder("steps", 1)
    values = [b.input(n, s) for n, s in (("q", (chains, size)), ("p", (chains, size)), ("step", (1,)))]
    q, p, log = leapfrog(b, density, *values, steps=steps)
    return b.build({"q": q, "p": p, "log": log})


def moved(q, p, step, steps):
    """In double precision, by the independent evaluator."""
    chains, size = q.shape
    made = stepped(bent(chains, size), steps, size, chains)
    return workload_numpy.evaluate(made, {"q": q, "p": p, "step": np.full(1, step)})


def start(seed=0, chains=1, size=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((chains, size)), rng.standard_normal((chains, size))


def test_leapfrog_is_that_of_the_textbook():
    q, p = start(chains=2)
    made = moved(q, p, 0.1, 5)
    half = p + 0.05 * bent_numpy(q)[1]
    for n in range(5):
        q = q + 0.1 * half
        half = half + (0.1 if n < 4 else 0.05) * bent_numpy(q)[1]
    assert np.allclose(made["q"], q, rtol=1e-6)
    assert np.allclose(made["p"], half, rtol=1e-6)
    assert np.allclose(made["log"], bent_numpy(q)[0], rtol=1e-6)  # constants are float32


def test_time_reversal_in_double_precision():
    q, p = start()
    there = moved(q, p, 0.1, 50)
    back = moved(there["q"], -there["p"], 0.1, 50)
    assert np.allclose(back["q"], q, atol=1e-11)
    assert np.allclose(back["p"], -p, atol=1e-11)


@pytest.mark.parametrize("mode", [True, "vertices"])
def test_time_reversal_as_executed(mode):
    q, p = (a.astype(np.float32) for a in start(chains=2))
    workload = stepped(bent(2), 20, 3, 2)

    def run(q, p):
        given = {"q": q, "p": p, "step": np.full(1, 0.1, np.float32)}
        return ipusim.simulate(workload, given, execute=mode, precision="float32").outputs

    there = run(q, p)
    wanted = moved(q.astype(float), p.astype(float), np.float32(0.1), 20)
    assert np.allclose(there["q"], wanted["q"], atol=1e-5)
    back = run(there["q"], -there["p"])
    assert np.allclose(back["q"], q, atol=1e-5)
    assert np.allclose(back["p"], -p, atol=1e-5)


def energy(q, p):
    return 0.5 * (p * p).sum(1) - bent_numpy(q)[0]


@pytest.mark.parametrize("seed", range(4))
def test_energy_error_falls_with_the_square_of_the_step(seed):
    q, p = start(seed)
    errors = []
    for steps in (40, 80, 160):
        made = moved(q, p, 2.0 / steps, steps)
        errors.append(float(abs(energy(made["q"], made["p"]) - energy(q, p))[0]))
    for wide, narrow in pairwise(errors):
        assert 3.6 < wide / narrow < 4.4


def test_volume_is_preserved():
    q, p = start(1)
    z, size, jacobian = np.concatenate([q, p], axis=1)[0], 3, []
    for k in range(2 * size):
        ends = []
        for sign in (1, -1):
            at = z.copy()
            at[k] += sign * 1e-6
            made = moved(at[None, :size], at[None, size:], 0.2, 7)
            ends.append(np.concatenate([made["q"], made["p"]], axis=1)[0])
        jacobian.append((ends[0] - ends[1]) / 2e-6)
    assert abs(np.linalg.det(np.array(jacobian)) - 1) < 1e-7


def correlated(seed):
    """(log-density of a Gaussian for all chains, mean, covariance)."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((DIMENSIONS, DIMENSIONS))
    covariance, mean = a @ a.T / DIMENSIONS + 0.3 * np.eye(DIMENSIONS), rng.standard_normal(DIMENSIONS)
    b = WorkloadBuilder("gauss", 1)
    q = b.input("q", (CHAINS, DIMENSIONS))
    off = b.sub(q, mean.astype(np.float32))
    turned = b.matmul(off, b.constant(np.linalg.inv(covariance).astype(np.float32)))
    return b.build({"log": b.mul(b.reduce("sum", b.mul(off, turned), 1, keepdims=False), -0.5)}), mean, covariance


def chains_of(density, shape, seed, **options):
    b = WorkloadBuilder("hmc", 1)
    q = b.input("q", shape)
    workload = b.build(HMC(density, seed=seed, **options).build(b, q))
    return ipusim.simulate(workload, {"q": np.zeros(shape, np.float32)}, execute=True, precision="float32").outputs


def standard_errors(series):
    """Of the means of (samples, chains, moments), from the effective sample size: the autocorrelations of all chains
    summed up to the first pair of lags whose sum is not positive (Geyer 1992).
    """
    samples, chains, _ = series.shape
    centred = series - series.mean((0, 1))
    size = 2 * samples
    spectrum = np.abs(np.fft.rfft(centred, size, axis=0)) ** 2
    lags = np.fft.irfft(spectrum, size, axis=0)[:samples].mean(1) / samples
    found = np.empty(series.shape[2])
    for k, line in enumerate((lags / lags[0]).T):
        pairs = line[: samples // 2 * 2].reshape(-1, 2).sum(1)
        end = int(np.argmax(pairs <= 0)) or len(pairs)
        time = max(2 * pairs[:end].sum() - 1, 1 / samples)
        found[k] = sqrt(lags[0, k] * time / (samples * chains))
    return found


def far_moments(seed, limit=4.0):
    """(moments beyond `limit` standard errors, moments) of mean and covariance.

    The length of a trajectory, 1.2, is far from half a period of every direction (their deviations are 0.55 to 2), so
    that no moment is nearly periodic.
    """
    density, mean, covariance = correlated(seed)
    options = {"samples": 2000, "steps": 6, "step_size": 0.2, "burn_in": 200, "rate": 1e-4}
    made = chains_of(density, (CHAINS, DIMENSIONS), seed, **options)
    assert (made["accepted"] > 0.5).all()
    x = made["samples"].astype(np.float64) - mean
    upper = np.triu_indices(DIMENSIONS)
    products = (x[..., :, None] * x[..., None, :])[..., upper[0], upper[1]]
    series, wanted = np.concatenate([x, products], axis=2), np.concatenate([np.zeros(DIMENSIONS), covariance[upper]])
    away = np.abs(series.mean((0, 1)) - wanted) / standard_errors(series)
    return int((away > limit).sum()), len(wanted)


def test_a_correlated_gaussian():
    found, moments = far_moments(0)
    assert moments == 230
    assert found == 0


@pytest.mark.slow
def test_many_correlated_gaussians():
    found = [far_moments(seed) for seed in range(20)]
    assert sum(n for _, n in found) == 4600
    assert sum(n for n, _ in found) <= 1


def hmc_in_numpy(chains, samples, steps, step, seed):
    rng = np.random.default_rng(seed)
    q = np.zeros((chains, 3))
    log, kept = bent_numpy(q)[0], []
    for _ in range(samples):
        p = rng.standard_normal(q.shape)
        new, moving = q, p + 0.5 * step * bent_numpy(q)[1]
        for n in range(steps):
            new = new + step * moving
            new_log, slope = bent_numpy(new)
            moving = moving + (step if n < steps - 1 else 0.5 * step) * slope
        ratio = new_log - log - 0.5 * ((moving**2).sum(1) - (p**2).sum(1))
        take = np.log(rng.random(chains)) < ratio
        q, log = np.where(take[:, None], new, q), np.where(take, new_log, log)
        kept.append(q)
    return np.array(kept)


def test_two_samples():
    """Kolmogorov and Smirnov's distance of thinned chains, in each direction and some between, with chance 1e-4 in all."""
    chains, options = 16, {"steps": 8, "step_size": 0.35}
    made = chains_of(bent(chains), (chains, 3), 5, samples=2000, **options)["samples"].astype(np.float64)
    other = hmc_in_numpy(chains, 2000, 8, 0.35, 9)
    first, second = (a[100::8].reshape(-1, 3) for a in (made, other))
    directions = [*np.eye(3), *np.random.default_rng(0).standard_normal((5, 3))]
    count = len(first) * len(second) / (len(first) + len(second))
    limit = sqrt(-0.5 * np.log(1e-4 / len(directions) / 2) / count)
    for way in directions:
        for a, b in ((first @ way, second @ way), (np.abs(first @ way), np.abs(second @ way))):
            at = np.sort(np.concatenate([a, b]))
            shares = [np.searchsorted(np.sort(s), at, side="right") / len(s) for s in (a, b)]
            assert np.abs(shares[0] - shares[1]).max() < limit


def test_burn_in_adapts_the_step():
    b = WorkloadBuilder("line", 1)
    q = b.input("q", (4, 5))
    density = b.build({"log": b.mul(b.reduce("sum_square", q, 1, keepdims=False), -0.5)})
    small, large = (
        chains_of(density, (4, 5), 1, samples=2, steps=3, step_size=s, burn_in=60, rate=0.05)["step size"][0]
        for s in (0.01, 3.0)
    )
    assert small == pytest.approx(0.01 * 1.05**60, rel=1e-3)
    assert large < 3.0 / 1.05**5


def test_accepted_is_a_share_of_all_transitions():
    """Of steps this small all are accepted, also of those between kept samples."""
    made = chains_of(bent(2), (2, 3), 1, samples=4, steps=2, step_size=1e-3, thin=3)
    assert made["accepted"] == pytest.approx(np.ones(2))


def test_vertices_make_the_same_chain_in_the_same_cycles():
    b = WorkloadBuilder("hmc", 1)
    workload = b.build(HMC(bent(2), 3, 4, 0.3, burn_in=2, seed=3).build(b, b.input("q", (2, 3))))
    program, given = programs.compiled(workload, "float32"), {"q": np.zeros((2, 3), np.float32)}
    whole, _ = programs.values(program, given)
    single, cycles = programs.values(program, given, vertices=True)
    for step, counted in zip(programs.trace(program).steps, cycles, strict=True):
        assert np.array_equal(step.compute, counted), step.name
    assert np.allclose(whole["samples"], single["samples"], atol=1e-4)


def nan_density():
    b = WorkloadBuilder("logs", 1)
    q = b.input("q", (2, 3))
    return b.build({"log": b.reduce("sum", b.unary("log", q), 1, keepdims=False)})


@pytest.mark.parametrize("mode", [True, "vertices"])
def test_a_density_that_is_no_number_at_the_start(mode):
    b = WorkloadBuilder("hmc", 1)
    workload = b.build(HMC(nan_density(), 2, 2, 0.1).build(b, b.input("q", (2, 3)), name="mine"))
    with pytest.raises(BadInput, match="'mine/start': log-density 'logs' at the start is nan"):
        ipusim.simulate(workload, {"q": np.full((2, 3), -1, np.float32)}, execute=mode, precision="float32")


def test_a_proposal_that_is_no_number_is_rejected():
    b = WorkloadBuilder("hmc", 1)
    workload = b.build(HMC(nan_density(), 50, 3, 0.7, seed=2).build(b, b.input("q", (2, 3))))
    made = ipusim.simulate(workload, {"q": np.full((2, 3), 0.3, np.float32)}, execute=True, precision="float32").outputs
    assert np.isfinite(made["samples"]).all()
    assert (made["samples"] > 0).all()
    assert (made["accepted"] < 1).any()


def test_a_gradient_that_is_not_a_number_at_the_start_is_an_error():
    """|x| as sqrt(x^2): its gradient is 0/0 at 0."""
    density = density_of(lambda b, q: b.reduce("sum", b.unary("sqrt", b.unary("square", q)), 1, keepdims=False))
    b = WorkloadBuilder("hmc", 1)
    workload = b.build(HMC(density, 2, 2, 0.1).build(b, b.input("q", (2, 3)), name="mine"))
    with pytest.raises(BadInput, match="'mine/start': gradient of log-density 'mine' at the start is nan"):
        ipusim.simulate(workload, {"q": np.zeros((2, 3), np.float32)}, execute=True, precision="float32")


@pytest.mark.parametrize("execute", [True, "vertices"])
def test_leapfrog_of_a_density_that_is_not_a_number(execute):
    made = []
    for check in (True, False):
        b = WorkloadBuilder("steps", 1)
        q, step = b.input("q", (2, 3)), b.constant(np.full(1, 0.1, np.float32))
        made.append(b.build({"log": leapfrog(b, nan_density(), q, q, step, steps=2, name="mine", check=check)[2]}))
    given = {"q": np.full((2, 3), -1, np.float32)}
    with pytest.raises(BadInput, match="'mine/check': log-density 'logs' after 2 steps is nan, not a number"):
        ipusim.simulate(made[0], given, execute=execute, precision="float32")
    unchecked = ipusim.simulate(made[1], given, execute=execute, precision="float32")
    assert np.isnan(unchecked.outputs["log"]).all()


def test_bad_input_names_the_op():
    b = WorkloadBuilder("bad", 1)
    q, step = b.input("q", (2, 3)), b.constant(np.ones(1, np.float32))
    with pytest.raises(BadInput, match=r"'mine.*'.*steps 0"):
        leapfrog(b, bent(2), q, q, step, steps=0, name="mine")
    with pytest.raises(BadInput, match=r"'mine.*'.*momentum"):
        leapfrog(b, bent(2), q, b.input("p", (3, 2)), step, steps=2, name="mine")
    with pytest.raises(BadInput, match=r"'mine.*'.*log-density 'bent'.*input 'q' is"):
        leapfrog(b, bent(3), q, q, step, steps=2, name="mine")


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 0}, {"samples": 2.5}, {"steps": 0}, {"steps": -1}, {"steps": 1.5}, {"thin": 0}, {"burn_in": -1}, {"burn_in": True},
        {"step_size": 0.0}, {"step_size": -0.1}, {"step_size": float("nan")}, {"step_size": float("inf")}, {"step_size": "small"},
        {"target": 1.0}, {"target": float("nan")}, {"rate": 0.0}, {"rate": float("inf")},
    ],
)  # fmt: skip
def test_numbers_of_hmc(options):
    (name,) = options
    with pytest.raises(BadInput, match=f"HMC: {name} "):
        HMC(bent(2), **{"samples": 1, "steps": 1, "step_size": 0.1} | options)


def density_of(build):
    b = WorkloadBuilder("mine", 1)
    return b.build({"log": build(b, b.input("q", (2, 3)))})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b, q: b.reduce("sum", q, keepdims=False), r"mine: log-density 'mine' makes float32\[\], not float32\[2\]"),
        (lambda b, q: b.reduce("sum", q, 1), r"mine: log-density 'mine' makes float32\[2, 1\], not float32\[2\]"),
        (lambda b, q: b.reduce("sum", b.unary("asin", q, name="my asin"), 1, keepdims=False), "'my asin'.*no gradient"),
        (lambda b, q: b.cast(b.reduce("sum", q, 1, keepdims=False), "int32"), r"mine: log-density 'mine' makes int32\[2\], not float32"),
    ],
)
def test_densities_that_cannot_be_sampled(build, message):
    """With a gradient that is missing the program cannot be lowered; the rest is refused by the builder."""
    b = WorkloadBuilder("hmc", 1)
    with pytest.raises(BadInput, match=message):
        ipusim.simulate(b.build(HMC(density_of(build), 2, 2, 0.1).build(b, b.input("q", (2, 3)), name="mine")))


def test_what_is_no_density():
    b = WorkloadBuilder("two", 1)
    q = b.input("q", (2, 3))
    with pytest.raises(BadInput, match="log-density 'two' takes a position and makes one output, not a, c"):
        HMC(b.build({"a": q, "c": q}), 1, 1, 0.1)
    with pytest.raises(BadInput, match="mine: log-density 'bent' takes q; it gets 2 values"):
        HMC(bent(2), 1, 1, 0.1).build(b, q, q, name="mine")
    with pytest.raises(BadInput, match="mine: the start 'one' is one number"):
        HMC(bent(2), 1, 1, 0.1).build(b, b.input("one", ()), name="mine")
    with pytest.raises(BadInput, match="a log-density is a Workload, not function"):
        HMC(lambda q: q, 1, 1, 0.1)
    with pytest.raises(BadInput, match=r"'mine': a seed is a whole number, not 1\.5"):
        b.normal((3,), seed=1.5, name="mine")


def test_half_precision_reaches_the_density():
    """The same chain with every value in float16: run step by step, the samples near those in float32."""
    b = WorkloadBuilder("hmc", 1)
    workload = b.build(HMC(bent(2), 2, 3, 0.2).build(b, b.input("q", (2, 3))))
    given = {"q": np.full((2, 3), 0.5, np.float32)}
    half, single = (ipusim.simulate(workload, given, execute=True, precision=p).outputs for p in ("float16", "float32"))
    assert half["samples"].dtype == np.float16
    assert np.isfinite(half["samples"]).all()
    assert half["log density"].shape == single["log density"].shape
