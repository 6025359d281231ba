"""Lattice Boltzmann: average velocities of numpy runs, distributions, conservation, and the periodic halo."""

import json
import subprocess
import sys
from pathlib import Path

import lbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim.program.tensor import Tensor, Variable


def simulated(shape, tiles, steps):
    solid = lbm.channel(*shape)
    graph, (forth, back) = lbm.build(solid, ipusim.target("GC2", tiles=tiles), steps)
    engine = ipusim.Engine(graph, [[forth, back] * (steps // 2) + [forth] * (steps % 2)])
    engine.write_tensor("f", lbm.at_start(solid, np.float32))
    engine.run()
    return solid, engine.read_tensor("average"), engine.read_tensor("fg"[steps % 2])


def test_average_velocity_of_128_x_128_in_100_steps():
    solid, found, _ = simulated((128, 128), 64, 100)
    for dtype in (np.float32, np.float64):
        expected, _ = lbm.averages(solid, 100, dtype)
        for step in (1, 2, 3, 100):
            assert found[step - 1] == pytest.approx(expected[step - 1], rel=1e-5), (dtype, step)
    assert found[0] != pytest.approx(found[99], rel=0.05)  # the stream is slowed by the obstacles


@pytest.mark.parametrize(("shape", "tiles"), [((9, 8), 1), ((16, 11), 6), ((24, 40), 40)])
def test_distributions(shape, tiles):
    solid, found, distributions = simulated(shape, tiles, 7)
    expected, exact = lbm.averages(solid, 7, np.float64)
    assert np.allclose(found, expected, rtol=1e-5, atol=0)
    assert np.abs(distributions - exact).max() < 2e-7


def test_mass_is_conserved():
    solid, _, distributions = simulated((20, 20), 8, 10)
    assert abs(distributions.sum(dtype=np.float64) - lbm.at_start(solid, np.float64).sum()) < 1e-5


def test_directions():
    for i, back in enumerate(lbm.BACK):
        assert (lbm.TO_X[i], lbm.TO_Y[i]) == (-lbm.TO_X[back], -lbm.TO_Y[back])
    weights, x, y = (np.array(v) for v in (lbm.WEIGHTS, lbm.TO_X, lbm.TO_Y))
    assert weights.sum() == pytest.approx(1)
    assert (weights * x * x).sum() == pytest.approx(1 / 3)
    assert (weights * x * y).sum() == pytest.approx(0)


@given(st.integers(1, 7), st.integers(-3, 3), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_ring(size, begin, count):
    variable = Variable("v", (2, size), ipusim.int32)
    view = lbm.ring(Tensor.of(variable), 1, begin, begin + count)
    values = np.arange(2 * size).reshape(2, size)
    expected = np.take(values, np.arange(begin, begin + count), axis=1, mode="wrap")
    assert np.array_equal(view.read({variable: values}), expected)


def test_command():
    command = [sys.executable, "-W", "error", Path(lbm.__file__)]
    done = subprocess.run(
        [*command, "--grid", "17x12", "--steps", "5", "--tiles", "9", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert (found["grid"], found["steps"]) == ([17, 12], 5)
    assert list(found["average_velocity"]) == ["1", "2", "3", "5"]
    assert found["cycles"] == sum(found["phases"].values())
    bad = subprocess.run([*command, "--grid", "4x4"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)
    large = subprocess.run([*command, "--tiles", "1"], capture_output=True, text=True, check=False)
    assert (large.returncode, large.stderr.count("\n")) == (3, 1)
