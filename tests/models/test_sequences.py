"""LSTM and Monte Carlo models: sizes, values, and times that are those of the parts."""

import numpy as np
import programs
import pytest
import workload_numpy

import ipusim
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.mcmc import leapfrog
from ipusim_models import ZOO, lstm, mcmc

SMALL_LSTM = lstm.LstmConfig(layers=2, hidden=8, features=5, steps=6, classes=2, batch=3, name="small")
SMALL_MCMC = mcmc.McmcConfig(rows=9, features=4, hidden=5, samples=3, burn_in=2, steps=4, batch=2, name="small")


def test_lstm_has_the_published_size():
    workload = ZOO["lstm-2x256"].build()
    assert 2 * workload.macs / 1e6 == pytest.approx(321.1, abs=1.0)


def test_mcmc_has_the_published_size():
    config = mcmc.McmcConfig()
    assert config.parameters == 963
    assert config.transitions == 500
    forward = mcmc.density(config).macs
    assert forward == 200 * (22 * 40 + 40)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_small_lstm(precision):
    workload = lstm.build(SMALL_LSTM)
    x = np.random.default_rng(0).standard_normal((3, 6, 5)).astype(np.float32)
    wanted = workload_numpy.evaluate(workload, {"x": x})["y"]
    for mode in (True, "vertices"):
        found = ipusim.simulate(workload, {"x": x}, execute=mode, precision=precision).outputs["y"]
        assert np.abs(found - wanted).max() < (1e-5 if precision == "float32" else 5e-3)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_lstm_2x256_is_that_of_torch(precision):
    torch = pytest.importorskip("torch")
    workload = ZOO["lstm-2x256"].build(2, 0)
    model = torch.nn.LSTM(16, 256, 2, batch_first=True)
    with torch.no_grad():
        for layer, (w, r, b) in enumerate(_weights(workload)):
            for name, value in (("weight_ih", w), ("weight_hh", r), ("bias_ih", b[:1024]), ("bias_hh", b[1024:])):
                getattr(model, f"{name}_l{layer}").copy_(torch.from_numpy(_torch_order(value)))
        x = np.random.default_rng(0).standard_normal((2, 200, 16)).astype(np.float32)
        last = model(torch.from_numpy(x))[0][:, -1].numpy()
    dense = [workload.constants[f"dense/{n}"].array() for n in ("weight", "bias")]
    found = ipusim.simulate(workload, {"x": x}, execute=True, precision=precision).outputs["y"]
    assert np.abs(found - (last @ dense[0].T + dense[1])).max() < (1e-5 if precision == "float32" else 5e-3)


def _weights(workload):
    for layer in ("layer1", "layer2"):
        yield [workload.constants[f"{layer}/{n}"].array()[0] for n in ("w", "r", "bias")]


def _torch_order(value):
    i, o, f, c = np.split(value, 4)
    return np.concatenate([i, f, c, o])


def test_the_density_and_its_gradient():
    """Against the network written out, and finite differences of it."""
    config = SMALL_MCMC
    workload = mcmc.density(config)
    features, targets = (c.array().astype(float) for c in mcmc.data(config))
    q = np.random.default_rng(1).standard_normal((2, config.parameters))

    def log(one):
        w, b1, v, b2, scale, shift = np.split(one, np.cumsum([20, 5, 5, 1, 1]))
        made = (np.tanh(features @ w.reshape(4, 5) + b1) @ v + b2) * scale + shift
        ratio = (targets - made) ** 2 / (mcmc.DEGREES * mcmc.LIKELIHOOD_SCALE**2)
        return -(mcmc.DEGREES + 1) / 2 * np.log1p(ratio).sum() - 0.5 * (one**2).sum() / mcmc.PRIOR_SCALE**2

    found = workload_numpy.evaluate(workload, {"parameters": q})["log posterior"]
    assert np.allclose(found, [log(one) for one in q], rtol=1e-6)
    half = ends_of_a_step(workload, q)
    for chain, one in enumerate(q):
        steps = 1e-4 * np.eye(config.parameters)
        wanted = [(log(one + s) - log(one - s)) / 2e-4 for s in steps]
        assert np.allclose(half[chain], wanted, rtol=1e-3, atol=1e-6 * np.abs(wanted).max())


def ends_of_a_step(density, q):
    """The density's gradient at q: what one leapfrog step without length adds to the momentum, half of it twice."""
    b = WorkloadBuilder("slope", 1)
    values = [b.input(n, s) for n, s in (("q", q.shape), ("p", q.shape), ("step", (1,)))]
    workload = b.build({"p": leapfrog(b, density, *values, steps=1)[1]})
    step = 1e-9
    return workload_numpy.evaluate(workload, {"q": q, "p": 0 * q, "step": np.full(1, step)})["p"] / step


@pytest.mark.parametrize("thin", [1, 3])
def test_executed_and_extrapolated_cycles_agree(thin):
    """Vertices counted as they run, transition by transition, take what the loop is timed at; longer chains as well."""
    workloads = [mcmc.build(mcmc.McmcConfig(9, 4, 5, n, 2, 4, thin=thin, batch=2, name="small")) for n in (2, 3)]
    given = {"start": np.full((2, SMALL_MCMC.parameters), 0.1, np.float32)}
    timed = [ipusim.simulate(w, precision="float32") for w in workloads]
    for workload in workloads:
        program = programs.compiled(workload, "float32")
        counted = programs.values(program, given, vertices=True)[1]
        for step, cycles in zip(programs.trace(program).steps, counted, strict=True):
            assert np.array_equal(step.compute, cycles), step.name
    per_sample = timed[1].cycles - timed[0].cycles
    assert ipusim.simulate(
        mcmc.build(mcmc.McmcConfig(9, 4, 5, 40, 2, 4, thin=thin, batch=2, name="small")), precision="float32"
    ).cycles == pytest.approx(timed[0].cycles + 38 * per_sample, rel=0.02)  # a longer record takes a little more


def test_a_real_chain_of_the_full_model():
    """The posterior density rises from the start, chains accept, and are the same each time."""
    workload = mcmc.build(mcmc.McmcConfig(samples=3, burn_in=0, steps=20, step_size=0.01))
    given = {"start": np.full((1, 963), 0.01, np.float32)}
    first, again = (ipusim.simulate(workload, given, execute=True, precision="float32") for _ in range(2))
    made = first.outputs
    assert made["samples"].shape == (1, 3, 963)
    assert made["accepted"] > 0
    assert np.isfinite(made["log density"]).all()
    assert np.array_equal(made["samples"], again.outputs["samples"])
    assert first.memory.fits


def test_the_customers_chain_is_the_other_one_made_longer():
    """Each of its transitions takes as long as one of mcmc-tfp; its report says that its time is no prediction."""
    longer, shorter = (ipusim.simulate(n, precision="float32") for n in ("mcmc-customer", "mcmc-tfp"))
    config = mcmc.McmcConfig(thin=mcmc.customer_thin())
    wanted = shorter.cycles / mcmc.McmcConfig().transitions * config.transitions
    assert longer.cycles == pytest.approx(wanted, rel=0.01)
    assert longer.memory.fits
    assert any("derived, not predicted" in remark for remark in longer.profile.remarks)
    assert "sample of the batch, and of the throughput, is a chain" in str(shorter)


@pytest.mark.parametrize("bad", [{"rows": 0}, {"burn_in": -1}, {"step_size": 0.0}, {"thin": 0}, {"batch": 0}])
def test_sizes_of_a_chain(bad):
    with pytest.raises(BadInput, match="McmcConfig"):
        mcmc.McmcConfig(**bad)


@pytest.mark.parametrize("bad", [{"hidden": 0}, {"classes": -1}, {"seed": -1}])
def test_sizes_of_an_lstm(bad):
    with pytest.raises(BadInput, match="LstmConfig"):
        lstm.LstmConfig(**bad)
