"""Chains over several IPUs: each replica has its own, with streams of its own."""

import os
import subprocess
import sys

import numpy as np
import programs
import pytest

import ipusim
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.mcmc import HMC
from ipusim_kernels.poprand.generator import states

SYSTEMS = {"C2": 2, "DSS8440": 16}


def bell(chains, size=3, samples=4, seed=7, steps=4, **options):
    """Chains of a standard normal distribution; samples with the chains in front."""
    b = WorkloadBuilder("bell", 1)
    q = b.input("q", (chains, size))
    density = b.build({"log": b.mul(b.reduce("sum_square", q, 1, keepdims=False), -0.5)})
    b = WorkloadBuilder("chains", chains)
    made = HMC(density, samples, steps, 0.4, seed=seed, **options).build(b, b.input("q", (chains, size)))
    return b.build({"samples": b.transpose(made["samples"], (1, 0, 2)), "accepted": made["accepted"]})


def run(workload, chains, size=3, **options):
    given = {"q": np.zeros((chains, size), np.float32)}
    return ipusim.simulate(workload, given, execute=True, precision="float32", **options)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("each", [1, 3])
def test_every_ipu_has_chains_of_its_own(system, each):
    """The first IPU's are those of one IPU alone; all start at the same place, and no two are alike."""
    ipus, workload = SYSTEMS[system], bell(each)
    alone, together = run(workload, each), run(workload, each * ipus, system=system, batch=each * ipus)
    made = together.outputs["samples"]
    assert made.shape == (each * ipus, 4, 3)
    assert together.outputs["accepted"].shape == (each * ipus,)
    assert np.array_equal(made[:each], alone.outputs["samples"])
    assert len(np.unique(made[:, -1, 0])) == each * ipus
    assert together.cycles == alone.cycles
    assert together.throughput == pytest.approx(ipus * alone.throughput)


def test_vertices_draw_the_same_on_every_ipu():
    b = WorkloadBuilder("draw", 2)
    workload = b.build({"y": b.add(b.input("q", (2, 3)), b.normal((2, 3), seed=3))})
    made = [run(workload, 4, system="C2", batch=4).outputs["y"]]
    given = {"q": np.zeros((4, 3), np.float32)}
    made.append(ipusim.simulate(workload, given, system="C2", batch=4, execute="vertices", precision="float32").outputs["y"])
    assert np.array_equal(*made)
    assert len(np.unique(made[0])) == made[0].size


def test_each_ipu_adapts_its_own_step():
    b = WorkloadBuilder("bell", 1)
    q = b.input("q", (1, 40))
    density = b.build({"log": b.mul(b.reduce("sum_square", q, 1, keepdims=False), -0.5)})
    b = WorkloadBuilder("chains", 1)
    made = HMC(density, 1, 3, 1.0, burn_in=40, rate=0.1, seed=1).build(b, b.input("q", (1, 40)))
    steps = run(b.build({"step size": made["step size"]}), 16, 40, system="DSS8440", batch=16).outputs["step size"]
    assert steps.shape == (16,)
    assert len(np.unique(steps)) > 1


def test_moments_over_all_chains():
    """Mean and variance of 16 x 4 independent chains, within 4 standard errors of the chains' own spread."""
    made = run(bell(4, samples=200, burn_in=20), 64, system="DSS8440", batch=64).outputs["samples"].astype(float)
    for values, wanted in ((made, 0.0), (made**2, 1.0)):
        means = values.mean(1)
        error = means.std(0, ddof=1) / np.sqrt(len(means))
        assert (np.abs(means.mean(0) - wanted) < 4 * error).all()


def test_the_zoos_chain_runs_on_a_card():
    alone, card = (
        ipusim.simulate("mcmc-tfp", system=s, batch=b, precision="float32") for s, b in (("GC2", 1), ("C2", 2))
    )
    assert card.cycles == alone.cycles
    assert card.throughput == pytest.approx(2 * alone.throughput)


@pytest.mark.parametrize(("samples", "steps", "burn_in"), [(1, 1, 0), (3, 10, 2), (7, 2, 1), (1, 100, 0)])
def test_cycles_as_they_run_are_those_of_the_loop(samples, steps, burn_in):
    """Counted vertex by vertex in every transition, with and without adaptation, against the body timed once."""
    program = programs.compiled(bell(2, samples=samples, steps=steps, burn_in=burn_in), "float32")
    counted = programs.values(program, {"q": np.zeros((2, 3), np.float32)}, vertices=True)[1]
    for step, cycles in zip(programs.trace(program).steps, counted, strict=True):
        assert np.array_equal(step.compute, cycles), step.name


def test_cycles_grow_with_steps_and_transitions():
    def cycles(samples, steps):
        return ipusim.simulate(bell(2, samples=samples, steps=steps), precision="float32").cycles

    one, ten, hundred = (cycles(1, n) for n in (1, 10, 100))
    assert hundred - ten == 10 * (ten - one)
    first, third, seventh = one, cycles(3, 1), cycles(7, 1)
    assert (seventh - third) / 4 == pytest.approx((third - first) / 2, rel=0.02)  # a longer record takes a little more


DRAWS = """
import numpy as np
import ipusim
from ipusim.workload.builder import WorkloadBuilder
b = WorkloadBuilder("draws", 1)
start = b.input("x", (5, 31))
kinds = ("uniform", "normal", "truncated_normal", "bernoulli")
made = [b.random(kind, (7, 13), 0.25, 0.75, seed=9) for kind in kinds]
made += b.loop(2, lambda c, a: c.add(c.dropout(a, 0.5, seed=9), c.normal((5, 31), seed=9)), [start])
workload = b.build({str(i): v for i, v in enumerate(made)})
given = {"x": np.ones((5, 31), np.float32)}
found = ipusim.simulate(workload, given, execute=True, precision="float32").outputs
print(b"".join(a.tobytes() for a in found.values()).hex())
"""


def test_streams_are_the_same_on_every_host():
    """With one host thread or two, and as plain Python."""

    def run_with(**options):
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | options
        made = subprocess.run([sys.executable, "-c", DRAWS], env=env, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        return made.stdout

    one = run_with(NUMBA_NUM_THREADS="1")
    assert len(one) > 100
    assert run_with(NUMBA_NUM_THREADS="2") == one
    assert run_with(NUMBA_DISABLE_JIT="1") == one


def test_an_ipu_goes_on_where_the_one_before_ends():
    whole = states(5, 12)
    assert np.array_equal(np.concatenate([states(5, 4, ipu) for ipu in range(3)]), whole)
    assert len(np.unique(whole.reshape(-1, 4), axis=0)) == 12 * 6


def test_an_odd_batch_is_not_told_to_take_one_that_is_refused():
    with pytest.raises(BadInput, match="cannot be split over 2 IPUs: simulate it with batch=6 for that batch on each"):
        ipusim.simulate(bell(3), system="C2")


def test_axes_that_only_look_like_the_batch_are_not_joined():
    b = WorkloadBuilder("turned", 2)
    workload = b.build({"y": b.transpose(b.input("x", (2, 4)), (1, 0))})
    with pytest.raises(BadInput, match=r"output 'y' of a replica has shape \(4, 2\).*must be the batch of 2"):
        ipusim.simulate(workload, system="C2", batch=4, execute=True)
    steps = WorkloadBuilder("steps", 2)
    same = steps.build({"y": steps.reduce("sum", steps.input("x", (4, 2, 8)), 0, keepdims=False)})
    assert "every replica gets the same inputs" in str(ipusim.simulate(same, system="C2", batch=4))


def test_what_cannot_be_spread_or_joined():
    with pytest.raises(BadInput, match=r"'chains' is built for batch 2, not 3 .batch 4 puts a replica on each IPU"):
        ipusim.simulate(bell(2), system="C2", batch=3)
    with pytest.raises(BadInput, match="cannot be split over 2 IPUs: build it for batch 1, and simulate it with batch=2"):
        ipusim.simulate(bell(2), system="C2")
    b = WorkloadBuilder("sum", 2)
    workload = b.build({"total": b.reduce("sum", b.input("q", (2, 3)), keepdims=False)})
    with pytest.raises(BadInput, match=r"output 'total' of a replica has shape \(\).*batch of 2"):
        run(workload, 4, system="C2", batch=4)
