"""Host transfers as steps of their own, and the two ways to time an exchange, over whole programs."""

import math

import numpy as np
import programs
import pytest

from ipusim.engine import exchange
from ipusim.engine.run import HostTransfers, measure_time
from ipusim.hw.cost import HOST_BYTES_PER_SECOND
from ipusim.hw.presets import GC2


@pytest.fixture(scope="module")
def program():
    return programs.compiled(programs.MODELS["convnet"]())


def timed(program, **options):
    return measure_time(program.graph, program.outputs.values(), GC2, "test", **options)


def test_the_host_adds_a_step_at_each_end_and_nothing_else(program):
    plain = timed(program)
    inputs, outputs = tuple(program.inputs.values()), tuple(program.outputs.values())
    found = timed(program, host=HostTransfers(inputs, outputs))
    assert [s.phases for s in found.steps[1:-1]] == [s.phases for s in plain.steps]
    for step, tensors in ((found.steps[0], inputs), (found.steps[-1], outputs)):
        nbytes = sum(t.elements * t.dtype.bytes for t in tensors)
        assert step.cycles == step.phases["host"] == math.ceil(nbytes * GC2.clock_hz / HOST_BYTES_PER_SECOND)
    assert len(found.memory.live) == len(found.steps)
    assert np.array_equal(found.memory.live[1:-1], plain.memory.live)
    assert found.cycles > plain.cycles


def test_the_closed_form_is_never_longer_and_changes_exchange_alone(program):
    placed, quick = timed(program), timed(program, how=exchange.CLOSED_FORM)
    for a, b in zip(placed.steps, quick.steps, strict=True):
        assert b.phases["exchange"] <= a.phases["exchange"]
        assert {**a.phases, "exchange": 0} == {**b.phases, "exchange": 0}
    assert quick.cycles < placed.cycles
