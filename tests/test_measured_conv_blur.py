"""The blur by the library's convolution: measured rows, and what memory and a second IPU change."""

import csv
from pathlib import Path

import pytest

from ipusim.dtype import float16, float32
from ipusim.errors import BadInput, DoesNotFit
from ipusim.hw.presets import system
from ipusim.validate_data import parse_row, predict
from ipusim_models.measured import conv_blur

DATA = Path(__file__).parent / "data" / "measurements.csv"
WORKLOAD = "Gaussian blur by poplibs convolution"


def seconds(image="499x302x4", datatype="half", share=0.1, ipus=1, times=100):
    config = f"ipus={ipus};image={image};datatype={datatype};available_memory_proportion={share};outer_iterations={times}"
    cells = {"id": "T", "chip": "GC2", "workload": WORKLOAD, "config": config, "metric": "time", "unit": "s"}
    return predict(parse_row(cells))


@pytest.mark.validation
def test_measured_rows_are_within_12_percent():
    with DATA.open(newline="") as file:
        rows = [parse_row(cells) for cells in csv.DictReader(file) if cells["workload"] == WORKLOAD]
    assert len(rows) == 2
    for row in rows:
        assert predict(row) == pytest.approx(row.value, rel=0.12), row.id


def test_a_second_ipu_costs_more_than_it_saves_on_a_small_image_only():
    assert seconds(ipus=2) > 1.5 * seconds()
    assert seconds("2200x1122x4", share=0.4, ipus=2) < seconds("2200x1122x4", share=0.4)


def test_the_memory_proportion_rules_methods_out():
    found = [seconds("2200x1122x4", share=share) for share in (0.1, 0.2, 0.4)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 10 * found[-1]  # vector products need no padded channels, matrix units and SLIC do
    assert seconds(share=0.1) == seconds(share=0.6)  # a small image has room for any of them


def test_half_is_faster_than_float_and_time_is_proportional_to_sweeps():
    assert seconds() < seconds(datatype="float")
    assert seconds(times=200) == pytest.approx(2 * seconds(times=100))


def test_rows_that_cannot_be_built_say_why():
    with pytest.raises(BadInput, match="the blur has 4 channels, not 3"):
        seconds("64x64x3")
    with pytest.raises(DoesNotFit, match="the blur of 6000x6000x4 does not fit"):
        seconds("6000x6000x4", datatype="float", share=0.6)
    with pytest.raises(BadInput, match="ipus"):
        seconds(ipus=3)


@pytest.mark.parametrize(
    ("dtype", "steps"),
    [
        (float16, ["blur/zeros", "blur/convolve", "blur/cast", "copy back"]),
        (float32, ["blur/rearrange", "blur/zeros", "blur/convolve", "copy back"]),
    ],
)
def test_a_sweep_writes_zeros_first_and_moves_its_result_once(dtype, steps):
    program = conv_blur._program(system("GC2").chip, (302, 499), dtype, 0.6)
    assert [compute_set.name for compute_set in program.graph.compute_sets()] == steps
    assert program.blurred.shape == (1, 1, conv_blur.CHANNELS, 302, 499)


@pytest.mark.parametrize(
    ("elements", "run", "size", "found"),
    [
        (504, 504, 2, (1, 126)),  # all of a tile's share in one run of 64-bit words
        (504, 4, 4, (126, 252)),  # four of eight channels a pixel: two words each
        (504, 1, 2, (0, 504)),  # single halves: a word each, and no rows
    ],
)
def test_runs_and_words_of_a_copy(elements, run, size, found):
    assert conv_blur._runs_and_words(elements, run, size) == found
