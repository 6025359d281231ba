"""docs/validation.md is what the code says today, section by section, and the figures on it keep to their bars."""

import statistics
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import make_validation  # noqa: E402

PAGE = (ROOT / "docs" / "validation.md").read_text()
SLOW = ("measurements",)  # a minute: programs of a hundred thousand vertices

#: Largest error of a point, as a share, by workload.
BARS = {
    "BabelStream Triad": 0.15,
    "Gaussian blur one stencil step, cycles by BSP phase": 0.25,
    "Gaussian blur weak scaling": 0.25,
    "on-tile matmul [N,16]x[16,16] ConvPartial1x1 vertex on all tiles": 0.03,
    "pi by midpoint rule, one worker per tile, fp32 divide": 0.07,
    "popops add vertex per tile": 0.05,
}


@pytest.mark.validation
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in make_validation.SECTIONS]
)
def test_the_page_is_up_to_date(name):
    assert make_validation.SECTIONS[name]() in PAGE


@pytest.mark.validation
@pytest.mark.slow
def test_measured_points_keep_their_bars():
    found = make_validation.measured()
    assert set(BARS) <= {point.workload for point in found.points}
    for point in found.points:
        print(f"{point.id} {point.workload}: {point.measured:g} measured, {point.predicted:g} predicted")
        if point.workload in BARS and point.measured:
            assert point.predicted == pytest.approx(point.measured, rel=BARS[point.workload]), point.id
    sweep = [point for point in found.points if "M0084" <= point.id <= "M0089"]  # the phases of one sweep
    assert len(sweep) == 6
    assert sum(p.predicted for p in sweep) == pytest.approx(sum(p.measured for p in sweep), rel=0.10)
    errors = [abs(point.error) for point in found.points if point.error is not None]
    assert statistics.median(errors) < 0.25


def test_sections_make_the_page():
    heads = [line for line in PAGE.splitlines() if line.startswith("#")]
    assert heads[0] == "# Validation"
    assert len(heads) == 1 + len(make_validation.SECTIONS)


def test_rows_that_constants_were_set_from_are_known():
    """Those of the constants' comments and of fitted mechanisms; and each is a row."""
    marks = make_validation.calibrated()
    assert {"M0084", "M0087", "M0484"} <= set(marks)
    text = (ROOT / "tests" / "data" / "measurements.csv").read_text()
    assert all(f"\n{row}," in text for row in marks)


def test_a_table_aligns_figures():
    assert make_validation.table(("a", "b"), [("x", "1,000"), ("y", "-2.5 %")]).splitlines()[1] == "| --- | ---: |"


@pytest.mark.validation
def test_every_count_of_a_library_vertex_is_met():
    assert "Not met" not in make_validation.vertices()
