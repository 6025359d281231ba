"""The start of elementwise vertices beyond their formulas, on the row it comes from; norms in few supersteps."""

import csv
from pathlib import Path

import numpy as np
import programs

from ipusim.dtype import float16, float32
from ipusim.hw.cost import MULTI_STUB_CYCLES
from ipusim.workload.builder import WorkloadBuilder
from ipusim_kernels.elementwise import cycles
from ipusim_kernels.elementwise.codelets import BinaryAttrs, UnaryAttrs, binary_cycles, unary_cycles

ROWS = Path(__file__).parent / "data" / "measurements.csv"
COUNTER = 45  # cycles of reading the counter, by the note of the row


def test_an_addition_of_ten_floats_takes_what_was_counted():
    with ROWS.open() as file:
        (row,) = [r for r in csv.DictReader(file) if r["id"] == "M0478"]
    assert "elements=10" in row["config"]
    made = binary_cycles(BinaryAttrs("add", float32, False, False), 10)
    assert made == float(row["value"]) - COUNTER


def test_in_place_formulas_stand_as_they_are():
    entry = cycles.unary_entry("relu", True, True, True)
    assert unary_cycles(UnaryAttrs("relu", float16, True, True), 100) == cycles.unary_1d(entry, 100, True)
    entry = cycles.unary_entry("relu", True, False, True)
    alone = cycles.unary_1d(entry, 100, False)
    assert unary_cycles(UnaryAttrs("relu", float16, False, True), 100) == alone + MULTI_STUB_CYCLES


def test_a_norm_reads_its_input_once_for_both_statistics():
    b = WorkloadBuilder("norm")
    rng = np.random.default_rng(0)
    scale, bias = (rng.normal(size=256).astype(np.float32) for _ in range(2))
    program = programs.compiled(b.build({"y": b.layer_norm(b.input("x", (64, 256)), scale, bias)}))
    steps = [c.name.rsplit("/", 1)[-1] for c in program.graph.compute_sets()]
    assert [s for s in steps if s != "combine"] == [
        "statistics", "deviation", "cast", "centre", "whiten", "gamma", "beta",
    ]  # fmt: skip
    statistics = next(c for c in program.graph.compute_sets() if c.name.endswith("statistics"))
    assert len(statistics.groups) == 2
    step = programs.trace(program).steps[steps.index("statistics")]
    assert step.received.sum() <= 64 * 256 * 2
