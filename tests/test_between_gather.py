"""Lookups: the split that is planned against what the engine says of it."""

import numpy as np
import programs
import pytest

from ipusim.dtype import int32
from ipusim.engine import exchange
from ipusim.engine.run import measure_time
from ipusim.hw.presets import GC2
from ipusim.workload.builder import WorkloadBuilder
from ipusim_kernels.gather.plan import splits

CASES = [(30522, 768, 128), (2, 768, 128), (512, 768, 512), (1000, 4, 3000), (64, 64, 1), (3, 1, 5)]


def program(rows, columns, lookups):
    b = WorkloadBuilder("lookup")
    table = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    return programs.compiled(b.build({"y": b.gather(table, b.input("i", (lookups,), int32))}))


@pytest.mark.parametrize("case", CASES)
def test_the_engine_agrees_with_the_plan(case):
    made = program(*case)
    trace = measure_time(made.graph, made.outputs.values(), GC2, "test", how=exchange.CLOSED_FORM)
    expected = splits(*case, 2, GC2).cycles
    at_hand = sum(s.phases["copy_before"] for s in trace.steps)  # pieces that were on their tile: not in the plan
    assert trace.cycles - at_hand <= 1.15 * expected
    if len(made.graph.sets) > 1 or trace.steps[0].phases["exchange"]:  # else one tile has all and nothing moves
        assert trace.cycles - at_hand >= 0.85 * expected


@pytest.mark.parametrize("case", CASES)
def test_a_split_uses_the_tiles_there_are(case):
    found = splits(*case, 2, GC2)
    assert found.columns * found.rows * found.lookups <= GC2.tiles
    assert found.rows <= max(1, case[0] // 2)


def test_a_table_of_two_rows_splits_its_lookups():
    found = splits(2, 768, 128, 2, GC2)
    assert found.rows == 1
    assert found.lookups > 1
