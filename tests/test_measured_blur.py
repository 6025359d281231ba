"""The measured Gaussian blur: its partition, its values, its phases, and the calibration rows."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim import program as prog
from ipusim.errors import IpuSimError
from ipusim.validate_data import parse_row, predict
from ipusim_models.measured.blur_codelet import TYPES, make_codelet
from ipusim_models.measured.blur_program import build, even, partition

ROWS = Path(__file__).parent / "data" / "measurements.csv"


def row(workload, config, metric="time", unit="s"):
    cells = {"id": "1", "chip": "GC2", "workload": workload, "config": config, "metric": metric, "unit": unit}
    return parse_row(cells)


def calibration(number):
    with ROWS.open(newline="") as file:
        return parse_row(next(cells for cells in csv.DictReader(file) if cells["id"] == number))


# -- partition ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([1, 2, 4, 16]),
    st.integers(1, 40),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_every_pixel_has_one_tile_and_one_worker(size, ipus, tiles, least):
    try:
        cut = partition(size, ipus=ipus, tiles=tiles, workers=6, least=least)
    except IpuSimError:
        assert ipus > min(size)
        return
    for rectangles in (cut.blocks, cut.parts):
        seen = np.zeros(size, int)
        for top, bottom, left, right in rectangles:
            seen[top:bottom, left:right] += 1
        assert (seen == 1).all()
    assert len(np.unique(cut.tiles)) == len(cut.blocks)
    assert (np.bincount(cut.of) <= 6).all()
    inside = cut.blocks[cut.of]
    assert (cut.parts[:, [0, 2]] >= inside[:, [0, 2]]).all()
    assert (cut.parts[:, [1, 3]] <= inside[:, [1, 3]]).all()
    assert (np.bincount(cut.tiles // tiles) <= tiles).all()
    assert len(np.unique(cut.tiles // tiles)) == ipus


def test_the_partition_of_the_measured_image():
    cut = partition((1122, 2200), ipus=1, tiles=1216, workers=6, least=(1, 1))
    assert len(cut.blocks) == 24 * 49
    assert cut.blocks[0].tolist() == [0, 47, 0, 45]
    first = cut.parts[cut.of == 0]
    assert (first[:, 3] - first[:, 2]).tolist() == [8, 8, 8, 7, 7, 7]  # 45 columns divide with less rest than 47 rows


@pytest.mark.parametrize(
    ("size", "ipus", "strip"),
    [
        ((1122, 2200), 16, (71, 2200)),  # 2 of 1122 rows are left over, 8 of 2200 columns
        ((1000, 1000), 4, (1000, 250)),  # equal: columns
        ((1000, 8000), 16, (1000, 500)),
        ((302, 499), 2, (151, 499)),
    ],
)
def test_strips_of_the_image(size, ipus, strip):
    cut = partition(size, ipus=ipus, tiles=1216, workers=6, least=(6, 6))
    mine = cut.blocks[cut.tiles < 1216]
    assert (mine[:, 1].max(), mine[:, 3].max()) == strip


@given(st.integers(1, 200), st.integers(1, 200))
def test_even_pieces_differ_by_one_larger_first(size, pieces):
    lengths = np.diff(even(size, pieces))
    assert lengths.sum() == size
    assert len(lengths) == pieces
    assert lengths.max() - lengths.min() <= 1
    assert (np.diff(lengths) <= 0).all()


# -- program -----------------------------------------------------------------------------------------------------------


def blurred(image):
    """The definition: sixteenths of the corners, eighths of the edges, a quarter of the middle."""
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    height, width = image.shape[:2]
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    return sum(weights[y, x] * padded[y : y + height, x : x + width] for y in range(3) for x in range(3))


@pytest.mark.parametrize("datatype", list(TYPES))
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (9, 1), (2, 2), (7, 13), (30, 11)])
def test_values(size, datatype):
    """Small whole numbers, so that the sums are exact in half."""
    dtype, width = TYPES[datatype]
    cut = partition(size, ipus=1, tiles=5, workers=6, least=(2, 2))
    graph, steps = build(cut, make_codelet(dtype, width), dtype, ipusim.target("GC2", tiles=5))
    engine = ipusim.Engine(graph, [steps[0]])
    pixels = np.random.default_rng(2).integers(0, 16, (*size, 4)).astype(dtype.numpy)
    engine.write_tensor("img", pixels)
    engine.run(0)
    assert np.array_equal(engine.read_tensor("tmp"), blurred(pixels))


@pytest.mark.parametrize("datatype", list(TYPES))
def test_both_steps_cost_the_same(datatype):
    """The images have one mapping; this is why a run is a multiple of the two."""
    dtype, width = TYPES[datatype]
    cut = partition((40, 33), ipus=1, tiles=30, workers=6, least=(3, 3))
    graph, steps = build(cut, make_codelet(dtype, width), dtype, ipusim.target("GC2", tiles=30))
    engine = ipusim.Engine(graph, [prog.Repeat(3, steps)], timing_only=True)
    engine.run(0)
    first, second = (engine.report(step).cycles for step in steps)
    assert first == second
    assert engine.report().cycles == first + second


def test_border_blocks_read_zeros_of_their_own_tile():
    """One block per tile and no neighbours: nothing is exchanged."""
    dtype, width = TYPES["float"]
    cut = partition((5, 5), ipus=1, tiles=1, workers=6, least=(1, 1))
    graph, steps = build(cut, make_codelet(dtype, width), dtype, ipusim.target("GC2", tiles=1))
    engine = ipusim.Engine(graph, steps, timing_only=True)
    assert engine.report(steps[0]).phases["exchange"] == 0


# -- rows --------------------------------------------------------------------------------------------------------------

WEAK = "Gaussian blur weak scaling"
PHASES = "Gaussian blur one stencil step, cycles by BSP phase"
SWEEP = "Gaussian blur partition-size sweep (older codelet)"


def test_time_grows_with_the_rounds():
    config = "ipus=1;image=60x40x4;datatype=half4;outer_iterations={};min_rows=6;min_cols=6"
    one, many = (predict(row(WEAK, config.format(n))) for n in (1, 100))
    assert many == pytest.approx(100 * one)


def test_vectors_are_faster_than_scalars():
    config = "ipus=1;image=120x90x4;outer_iterations=1;datatype="
    times = [predict(row(WEAK, config + datatype)) for datatype in ("float", "float2", "half4")]
    assert times == sorted(times, reverse=True)
    assert times[0] > 2.5 * times[2]


def test_phases_of_a_step_sum_to_its_time():
    config = "ipus=1;image=120x90x4;datatype=half4;phase=any;step="
    steps = ("sync", "exchange", "globExchange", "pre", "post", "compute")
    phases = [predict(row(PHASES, config + step, "cycles", "cycles")) for step in steps]
    time = predict(row(WEAK, "ipus=1;image=120x90x4;datatype=half4;outer_iterations=1;min_rows=1;min_cols=1"))
    assert sum(phases) == pytest.approx(time * 1.6e9 / 2)
    assert phases[2] == 0  # one IPU


def test_larger_blocks_than_needed_take_longer():
    """What the sweep of partition sizes shows: least sizes leave tiles without work."""
    config = "ipus=1;image=200x160x4;datatype=float;outer_iterations=1;min_rows={0};min_cols={0}"
    times = [predict(row(SWEEP, config.format(n))) for n in (40, 20, 10, 5)]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("workload", "config", "message"),
    [
        (WEAK, "ipus=1;image=60x40x3;datatype=half4;outer_iterations=1", "3 channels"),
        (WEAK, "ipus=1;image=60x40;datatype=half4;outer_iterations=1", "not 3 whole numbers"),
        (WEAK, "ipus=1;image=60x40x4;datatype=half;outer_iterations=1", "datatype"),
        (WEAK, "ipus=1;image=60x40x4;datatype=half4", "lacks outer_iterations"),
        (WEAK, "ipus=1;image=60x40x4;datatype=half4;outer_iterations=2;stencil_applications=3", "has 4 steps"),
        (WEAK, "ipus=1;image=60x40x4;datatype=half4;outer_iterations=2;halo=2", "does not know halo=2"),
        (SWEEP, "ipus=1;image=60x40x4;datatype=half4;outer_iterations=2", "datatype"),
        (SWEEP, "ipus=1;image=2200x1122x4;min_rows=72;min_cols=128;outer_iterations=1;datatype=float", "does not fit"),
    ],
)
def test_rows_that_are_not_predicted(workload, config, message):
    with pytest.raises(IpuSimError) as raised:
        predict(row(workload, config))
    assert message in str(raised.value)


@pytest.mark.validation
@pytest.mark.parametrize(
    ("number", "band"),
    [
        ("M0069", 0.10),
        ("M0084", 0.0),
        ("M0085", 0.15),
        ("M0086", 0.0),
        ("M0087", 0.15),
        ("M0088", 0.15),
        ("M0089", 0.15),
        ("M0162", 0.02),  # its codelet's cost comes from this row
    ],
)
def test_one_ipu_rows(number, band):
    measured = calibration(number)
    assert predict(measured) == pytest.approx(measured.value, rel=band)


@pytest.mark.slow
@pytest.mark.validation
@pytest.mark.parametrize(
    ("number", "band"),
    [
        ("M0070", 0.20),
        ("M0071", 0.20),
        ("M0102", 0.0),
        ("M0103", 0.15),
        ("M0104", 0.15),
        ("M0105", 0.15),
        ("M0106", 0.15),
        ("M0107", 0.15),
    ],
)
def test_rows_of_several_ipus(number, band):
    measured = calibration(number)
    assert predict(measured) == pytest.approx(measured.value, rel=band)


def test_ipus_share_the_work_and_talk():
    config = "ipus={};image=600x400x4;datatype=float;phase=any;step={}"
    steps = ("sync", "exchange", "globExchange", "pre", "post", "compute")
    one, four = (
        {step: predict(row(PHASES, config.format(n, step), "cycles", "cycles")) for step in steps} for n in (1, 4)
    )
    assert four["compute"] < one["compute"] / 2
    assert four["globExchange"] > one["globExchange"] == 0
    assert four["sync"] > one["sync"]
