"""Grouped convolutions: narrower groups are slower, and small groups do not go to the matrix unit."""

import sys
from pathlib import Path

import pytest

from ipusim.hw.presets import BOW, GC2

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import grouped_conv


@pytest.mark.parametrize("chip", [GC2, BOW], ids=lambda c: c.name)
def test_rates_fall_with_the_group_width_and_methods_change_where_channels_are_few(chip):
    found = grouped_conv.table(chip)
    rates = [row.rate for row in found]
    assert [row.width for row in found] == sorted((row.width for row in found), reverse=True)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] * 1e12 < chip.peak_half_flops
    for row in found:
        method = row.plan.method
        if row.width >= 8:
            assert method.kind.startswith("AMP")
        else:
            assert (method.kind, method.in_group) == ("SLIC", row.width)


@pytest.mark.parametrize("chip", [GC2, BOW], ids=lambda c: c.name)
@pytest.mark.parametrize(("field", "batch"), [(7, 32), (28, 8), (56, 8)])
def test_depthwise_by_slic_beats_block_diagonal_matrices(chip, field, batch):
    """Combined groups of 16 use a sixteenth of the matrix unit, SLIC a quarter of its own, less what surrounds both."""
    found = grouped_conv.row(1, chip, field, batch)
    assert found.plan.method.kind == "SLIC"
    assert found.combined is not None
    assert 1.4 < found.rate / found.combined < 6


def test_a_group_that_fills_the_matrix_unit_is_not_combined():
    for found in grouped_conv.table(GC2):
        assert (found.combined is None) == (found.width >= grouped_conv.BLOCK)


def test_the_table_prints(capsys):
    assert grouped_conv.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("GC2, peak 124.5 TFLOP/s")
    assert len(lines) == 2 + len(grouped_conv.WIDTHS)
