"""Triad, pi, the add vertex and stencils: measured rows, and what their programs compute."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipusim import BadInput, Engine, float32, half, target
from ipusim.validate_data import parse_row, predict
from ipusim_models.measured import pi, programs, triad

TABLE = (Path(__file__).parent / "data" / "measurements.csv").read_text()
ROWS = {row["id"]: row for row in csv.DictReader(TABLE.splitlines())}
PREDICTED = {
    "M0001": 0.08, "M0003": 0.08, "M0005": 0.08, "M0478": 0.02, "M0484": 0.08, "M0486": 0.001, "M0492": 0.01,
    "M0493": 0.03, "M0494": 0.03, "M0495": 0.03,
}  # fmt: skip


@pytest.mark.parametrize("row", PREDICTED)
def test_measured_rows(row: str) -> None:
    found = predict(parse_row(ROWS[row]), programs())
    assert found == pytest.approx(float(ROWS[row]["value"]), rel=PREDICTED[row])


def changed(row: str, **cells: str) -> Any:
    return parse_row(ROWS[row] | cells)


@pytest.mark.parametrize(
    ("row", "config", "what"),
    [
        ("M0001", "ipus=2;precision=fp32;impl=cpp_naive", "one IPU"),
        ("M0001", "precision=fp32;impl=fortran", "fortran"),
        ("M0484", "tiles=4;lang=Perl;n_per_tile=10", "Perl"),
        ("M0484", "tiles=4;lang=C++;n_per_tile=10;unroll=11", "unroll=11"),
        ("M0484", "tiles=4;lang=C++;n_per_tile=10;colour=red", "colour=red"),
        ("M0493", "mesh=8x8;steps=10;dtype=fp32", "cannot be cut"),
        ("M0493", "mesh=8x8;steps=10;dtype=fp16", "fp16"),
    ],
)
def test_what_cannot_be_built_says_why(row: str, config: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        predict(changed(row, config=config), programs())


# -- triad


@pytest.mark.parametrize("dtype", [float32, half])
def test_triad_is_the_triad(dtype: Any) -> None:
    device = target("GC2", tiles=3)
    elements = 1003
    graph, step = triad.build(device, elements, dtype, "popc", wide=True)
    engine = Engine(graph, step)
    b, c = (np.arange(elements) % 13 + n for n in (1, 5))
    engine.write_tensor("b", b.astype(dtype.numpy))
    engine.write_tensor("c", c.astype(dtype.numpy))
    engine.run()
    assert np.array_equal(engine.read_tensor("a"), (b + 0.5 * c).astype(dtype.numpy))


def test_triad_fills_the_tiles_and_no_more() -> None:
    device = target("GC2", tiles=5)
    most = triad.most_elements(device, float32, "popc", wide=True)
    assert Engine(*triad.build(device, most, float32, "popc", wide=True), timing_only=True).fits
    assert not Engine(*triad.build(device, most + 5 * 2, float32, "popc", wide=True), timing_only=True).fits


def test_triad_implementations_in_order() -> None:
    device = target("GC2", tiles=4)
    rates = [
        elements / seconds
        for elements, seconds in (
            triad.timed(device, float32, *how)
            for how in (("popc", False), ("popc", True), ("rpt", True), ("asm", True), ("pace", True))
        )
    ]
    assert rates == sorted(rates)
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.01)


# -- pi


@pytest.mark.parametrize("unroll", [1, 2, 12])
def test_pi(unroll: int) -> None:
    graph, step = pi.build(target("Bow", tiles=6), 500, unroll)
    engine = Engine(graph, step)
    engine.run()
    assert engine.read_tensor("sums").astype(float).sum() == pytest.approx(np.pi, rel=1e-5)


def test_pi_slots_are_those_of_the_loop() -> None:
    device = target("Bow", tiles=2)
    few, many = (pi.timed(device, n, 1) for n in (1000, 3000))
    assert many - few == 6 * 14 * 2000
    one, two, twelve = (pi.timed(device, 12000, n) for n in (1, 2, 12))
    assert twelve < two < one
