"""The memory proportion: less of it never gives a faster plan or one that needs more; and the pieces this stands on."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.dtype import float16
from ipusim.hw.presets import GC2
from ipusim.lower.rules import Options
from ipusim_kernels.conv import cost, geometry, plan
from ipusim_kernels.conv.alone import time_alone
from ipusim_kernels.conv.amp_cycles import nx1_calls, nx1_run, nx1_start, runs_of_worker
from ipusim_kernels.conv.shape import ConvShape, matmul_shape

PROPORTIONS = (0.95, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.01)
LAYERS = {
    "product": (matmul_shape(1, 512, 512, 512), True),
    "3x3 of 16 samples": (ConvShape(16, 1, 64, 64, 28, 28, 28, 28, 3, 3, (1, 1), (1, 1), (1, 1)), False),
    "strided": (ConvShape(4, 1, 128, 256, 28, 28, 14, 14, 1, 1, (2, 2)), False),
    "grouped": (ConvShape(16, 32, 4, 4, 28, 28, 28, 28, 3, 3, (1, 1), (1, 1), (1, 1)), False),
    "depthwise": (ConvShape(16, 128, 1, 1, 28, 28, 28, 28, 3, 3, (1, 1), (1, 1), (1, 1)), False),
}


@pytest.mark.parametrize("name", LAYERS)
def test_less_memory_is_never_faster_and_never_needs_more(name):
    shape, matmul = LAYERS[name]
    chip = GC2.with_fields({"tiles": 304})
    plans = [
        plan.plan(shape, float16, chip, Options(memory_proportion=p), stored=(0, 0), matmul=matmul) for p in PROPORTIONS
    ]
    assert [p.estimate for p in plans] == sorted(p.estimate for p in plans)
    assert [p.temporary for p in plans] == sorted((p.temporary for p in plans), reverse=True)
    assert plans[0].estimate < plans[-1].estimate
    broken = [p for p in plans if not p.within]
    assert len({(p.estimate, p.temporary) for p in broken}) <= 1  # what needs least does not depend on the bound


def test_the_fullest_tile_of_a_serial_product_holds_less():
    """Weights of all serial steps lie on the same tiles: pieces get smaller with more steps."""
    chip = GC2.with_fields({"tiles": 304})
    peaks, steps = [], []
    for proportion in (0.95, 0.3, 0.1, 0.05):
        options = Options(memory_proportion=proportion)
        chosen = plan.plan(matmul_shape(1, 1024, 1024, 1024), float16, chip, options, stored=(0, 0), matmul=True)
        peaks.append(int(time_alone(chosen, chip).memory.peak.max()))
        steps.append(chosen.serial)
    assert peaks == sorted(peaks, reverse=True)
    assert steps[0] < steps[-1]


@given(st.integers(1, 64), st.sampled_from((2, 4)))
def test_pieces_of_all_steps_together_are_no_smaller_than_the_least(steps, size):
    least = geometry.least_piece(geometry.MIN_WEIGHT_BYTES, size, steps)
    assert least >= 1
    assert least == 1 or least * size * steps <= geometry.MIN_WEIGHT_BYTES < (least + 1) * size * steps


@given(st.integers(1, 40), st.integers(1, 40))
def test_workers_share_rows_as_if_cut_one_by_one(rows, length):
    most, least = 0, 1 << 60
    for worker in range(6):
        at, end = worker * rows * length // 6, (worker + 1) * rows * length // 6
        runs = []
        while at < end:
            stop = min(end, (at // length + 1) * length)
            runs.append(stop - at)
            at = stop
        head, whole, tail = runs_of_worker(worker, rows * length, length)
        assert sorted(n for n in [head, *[length] * whole, tail] if n) == sorted(runs)
        cycles = sum(nx1_run(n, True, False, 8, True) for n in runs) + (nx1_start(False, True) if runs else 0)
        most, least = max(most, cycles), min(least, cycles)
    assert nx1_calls(rows, length, True, False, 8, True) == max(6 * most, 6 * least + 9)


@pytest.mark.parametrize("seed", range(3))
def test_no_bound_leaves_out_the_cheapest_of_few_positions_and_many_weights(seed):
    """Few positions share many weights: a tile is then cheapest with all of them."""
    rng = random.Random(seed)
    shape = matmul_shape(rng.choice((1, 3)), rng.randint(1, 6), rng.choice((64, 300)), rng.choice((32, 129)))
    chip = GC2.with_fields({"tiles": rng.choice((40, 97))})
    wanted = plan._request(shape, float16, Options(), (1, 0), bool(seed % 2))
    rows = np.empty((200_000, 12), np.int64)
    for candidate in plan._candidates(wanted, chip):
        _, best = plan._search(candidate, chip, int(cost.NEVER))
        count, _ = plan._search(candidate, chip, int(cost.NEVER), rows=rows)
        assert count == 0 or tuple(best[:3].tolist()) == min(map(tuple, rows[:count, :3].tolist()))
