"""Products of all steps with the input, before the loop or in each step: the same values, and the faster of the two."""

from dataclasses import replace

import numpy as np
import pytest
from op_check import check
from recurrent_layers import layer

import ipusim
from ipusim.workload.ops_recurrent import CELLS
from ipusim_kernels.recurrent import projection, rule
from ipusim_models import lstm


@pytest.fixture
def forced(monkeypatch):
    """Makes every layer take the products before the loop, or in each step."""
    real = projection.estimate

    def choose(before):
        def estimate(*given):
            found = real(*given)
            return replace(found, needed=0, room=1, once=0, inside=found.outside + (1 if before else -1))

        monkeypatch.setattr(rule, "estimate", estimate)

    return choose


@pytest.mark.parametrize(
    ("cell", "optional", "options"),
    [
        ("rnn", ("bias", "h"), {"clip": 0.3}),
        ("rnn", ("lengths",), {"direction": "bidirectional"}),
        ("lstm", ("bias", "h", "c", "peepholes"), {"direction": "reverse"}),
        ("lstm", ("bias", "lengths"), {"direction": "bidirectional", "clip": 0.4}),
        ("lstm", (), {"input_forget": True}),
        ("gru", ("bias", "lengths"), {}),
        ("gru", ("bias", "h"), {"linear_before_reset": True, "direction": "bidirectional"}),
        ("gru", (), {"linear_before_reset": True, "clip": 0.2}),
    ],
)
def test_before_the_loop(forced, cell, optional, options):
    forced(True)
    check(*layer(cell, optional, **options), tolerance=1e-5, half=5e-3)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("cell", CELLS)
def test_values_do_not_depend_on_the_choice(forced, cell, precision):
    workload, arrays = layer(cell, ("bias", "h"), steps=7)
    found = []
    for before in (True, False):
        forced(before)
        report = ipusim.simulate(workload, arrays, execute=True, precision=precision)
        found.append(report.outputs)
        assert _choices(report) == ["input products " + ("before the loop" if before else "in each step")]
        assert any("/input/" in s.name for s in report.steps) == before
    assert all(np.array_equal(found[0][k], found[1][k]) for k in found[0])


def test_constant_weights_of_both_directions(forced):
    """Each direction has its own part of the weights, before the loop and in it."""
    b = ipusim.WorkloadBuilder("both")
    rng = np.random.default_rng(0)
    arrays = {n: rng.uniform(-0.6, 0.6, s).astype(np.float32) for n, s in (("w", (2, 18, 5)), ("r", (2, 18, 6)))}
    bias = rng.uniform(-0.6, 0.6, (2, 36)).astype(np.float32)
    w, r, bias = (b.constant(v) for v in (*arrays.values(), bias))
    made = b.recurrent("gru", b.input("x", (4, 3, 5)), w, r, bias=bias, direction="bidirectional")
    workload = b.build({"y": made[0]})
    x = {"x": rng.standard_normal((4, 3, 5)).astype(np.float32)}
    for before in (True, False):
        forced(before)
        check(workload, x, tolerance=1e-5, half=5e-3)


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
def test_the_choice_is_the_faster_one(forced, monkeypatch, batch):
    workload = lstm.build(lstm.LstmConfig(layers=1, hidden=128, features=128, steps=60, classes=0, batch=batch))
    cycles = [ipusim.simulate(workload).cycles]
    for before in (True, False):
        forced(before)
        cycles.append(ipusim.simulate(workload).cycles)
    assert cycles[0] in cycles[1:]
    assert cycles[0] <= 1.03 * min(cycles[1:])


def test_memory_decides_as_well():
    workload = lstm.build(lstm.LstmConfig(layers=1, hidden=256, features=256, steps=100, classes=0, batch=64))
    loose, tight = (ipusim.simulate(workload, available_memory_proportion=p) for p in (0.9, 0.2))
    assert _choices(loose) == ["input products before the loop"]
    assert _choices(tight) == ["input products in each step for lack of memory"]
    assert tight.memory.max_tile_bytes < loose.memory.max_tile_bytes
    assert loose.memory.fits


def _choices(report):
    return [t for plan in report.plans for t in plan.transforms if t.startswith("input products")]
