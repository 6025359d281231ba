"""How far the closed form of an exchange is from its schedule over every superstep of two networks."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import exchange as benchmark

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=benchmark.MODELS)
def found(request):
    return benchmark.rows(request.param)


def test_the_closed_form_is_a_bound_that_planners_can_use(found):
    assert all(row.closed <= row.scheduled for row in found)
    closed, scheduled = benchmark.totals(found)
    assert scheduled < 1.35 * closed
    assert np.median([row.gap for row in found]) < 0.25


def test_the_closed_form_of_a_superstep_takes_a_millisecond(found):
    """Of the whole chip, 1216 tiles; half of the supersteps, since a host has other things to do."""
    assert np.median([row.seconds[1] for row in found]) < 1e-3


def test_a_halo_of_nine_thousand_messages_is_scheduled_in_time():
    messages = benchmark.halo()
    assert 9000 < len(messages) < 10_000
    runs = [
        benchmark.timed(lambda: benchmark.schedule(messages, tiles=1216, spec=benchmark.GC2.exchange))[1]
        for _ in range(3)
    ]
    assert min(runs) < 0.3
