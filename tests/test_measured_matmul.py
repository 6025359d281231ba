"""Matrix products that were measured: rows of the calibration set within their bars, and laws of what is predicted."""

import csv
import itertools
from pathlib import Path

import pytest

from ipusim.dtype import float32
from ipusim.errors import BadInput, DoesNotFit, UnknownName
from ipusim.hw.presets import BOW, GC2, system
from ipusim.lower.rules import Options
from ipusim.validate_data import parse_row, predict
from ipusim_kernels.conv.plan import plan
from ipusim_kernels.conv.shape import matmul_shape
from ipusim_models.measured import amp, matmul

DATA = Path(__file__).parent / "data" / "measurements.csv"
DENSE = "dense matmul poplin, best configuration"
BLOCK = "on-tile matmul [N,16]x[16,16] ConvPartial1x1 vertex on all tiles"
CEILING = "large dense matmul ceiling (Jia et al. benchmark)"


def measured(workload):
    with DATA.open(newline="") as file:
        return [parse_row(cells) for cells in csv.DictReader(file) if cells["workload"] == workload]


def row(workload, config, metric="throughput", unit="TFLOP/s", chip="Bow (inferred)"):
    cells = {"id": "T", "chip": chip, "workload": workload, "config": config, "metric": metric, "unit": unit}
    return parse_row(cells)


def errors(rows):
    return [predict(r) / r.value - 1 for r in rows]


@pytest.mark.validation
def test_matrix_vertices_are_within_3_percent():
    rows = measured(BLOCK)
    assert len(rows) == 4
    assert max(map(abs, errors(rows))) < 0.03


@pytest.mark.validation
def test_dense_products_are_within_20_percent_and_half_of_them_within_12():
    rows = measured(DENSE)
    assert len(rows) == 19
    found = sorted(map(abs, errors(rows)))
    assert found[-1] < 0.20
    assert found[len(found) // 2] < 0.12


@pytest.mark.validation
def test_the_ceiling_of_a_gc2():
    (found,) = errors(measured(CEILING))
    assert abs(found) < 0.10


def test_the_plan_of_least_memory_is_within_the_backoff():
    chip, sizes = system("GC2").chip, (1024, 1024, 1024)

    def planned(share):
        options = Options(partials=float32, memory_proportion=share)
        return plan(matmul_shape(1, *sizes), float32, chip, options, stored=(0, 0), matmul=True)

    share = matmul.sparing_share(chip, sizes, float32, float32)
    fastest, sparing, less = (planned(s) for s in (matmul.MOST_SHARE, share, share - 1 / matmul.SHARES))
    assert fastest.estimate < sparing.estimate <= matmul.BACKOFF * fastest.estimate
    assert sparing.temporary < fastest.temporary
    assert not less.within or less.estimate > matmul.BACKOFF * fastest.estimate


def test_a_vertex_takes_four_cycles_per_position_and_six_workers_share_them():
    def cycles(n):
        return predict(row(BLOCK, f"N={n};K=16;M=16;dtype=fp16;accum=fp16;tiles=1472", "cycles", "cycles", "Bow"))

    found = [cycles(n) for n in range(48, 2049, 48)]
    steps = {b - a for a, b in itertools.pairwise(found)}
    assert steps == {4 * 48}
    one = predict(row(BLOCK, "N=96;K=16;M=16;dtype=fp16;accum=fp16;tiles=1", "cycles", "cycles", "Bow"))
    assert one == cycles(96)  # tiles do not wait for each other


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("N=16;K=24;M=16;dtype=fp16;accum=fp16", "K=24;M=16"),
        ("N=16;K=16;M=16;dtype=fp16;accum=fp16;tiles=1473", "a Bow has 1472"),
        ("N=16;K=16;M=16;dtype=fp8;accum=fp16", "no dtype of"),
        ("N=16;K=16;M=16;dtype=fp16;accum=fp16;banks=2", "does not know banks=2"),
    ],
)
def test_blocks_that_cannot_be_built_say_why(config, says):
    with pytest.raises(BadInput, match=says):
        predict(row(BLOCK, config, "cycles", "cycles", "Bow"))


def test_no_rate_is_above_the_peak_and_large_products_are_nearer_to_it():
    rates = [predict(row(DENSE, f"m=1024;k=1024;n={n};dtype=FP16;ipus=1")) for n in (4, 64, 1024, 4096)]
    assert rates == sorted(rates)
    assert rates[-1] * 1e12 < BOW.peak_half_flops
    single = predict(row(DENSE, "m=1024;k=1024;n=1024;dtype=FP32;ipus=1"))
    assert single * 1e12 < BOW.peak_float_flops


def test_the_clock_scales_the_rate():
    config = "m=1024;k=1024;n=64;dtype=FP16;ipus=1"
    assert predict(row(DENSE, config + ";clock=1.5GHz")) == pytest.approx(predict(row(DENSE, config)) * 1.5 / 1.85)


def test_the_best_of_all_proportions_is_no_slower_than_any():
    from ipusim import simulate

    sizes = (1024, 1024, 256)
    best = matmul.best(system("Bow"), sizes, "float32")
    for share in (0.1, 0.6):
        other = simulate(matmul.product(sizes), system="Bow", precision="float32", available_memory_proportion=share)
        assert best.cycles <= other.cycles


def test_a_product_that_fits_no_ipu_says_so():
    with pytest.raises(DoesNotFit, match=r"\[8192, 8192\] x \[8192, 16384\] does not fit: tile \d+ needs .* bytes"):
        predict(row(DENSE, "m=8192;k=8192;n=16384;dtype=FP32;ipus=1"))


def test_other_numbers_of_ipus_are_refused():
    with pytest.raises(UnknownName, match="ipus"):
        predict(row(DENSE, "m=64;k=64;n=64;dtype=FP16;ipus=2"))


def test_generators_never_see_the_value():
    config = "m=1024;k=1024;n=64;dtype=FP16;ipus=1"
    assert matmul.dense(row(DENSE, config)) == predict(row(DENSE, config))
    assert amp.block(row(BLOCK, "N=16;K=16;M=16;dtype=fp16;accum=fp32", "cycles", "cycles", "GC2")) > 0
    assert GC2.amp.units == 8
