"""The Gaussian blur: values against numpy, the partition of the measured program, and its phases as measured."""

import json
import subprocess
import sys
from pathlib import Path

import blur
import numpy as np
import pytest

import ipusim

SCRIPT = Path(blur.__file__)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, *arguments], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("datatype", list(blur.TYPES))
@pytest.mark.parametrize(
    ("size", "least", "tiles"),
    [
        ((1, 1), (1, 1), 3),
        ((1, 7), (1, 1), 2),
        ((5, 1), (1, 1), 1),
        ((7, 5), (1, 1), 35),  # a pixel per tile
        ((13, 9), (1, 1), 5),
        ((23, 31), (6, 6), 12),
        ((3, 29), (6, 6), 7),  # lower than min_rows
    ],
)
def test_values(size, least, tiles, datatype):
    graph, steps = blur.build(size, datatype, least, ipusim.target("GC2", tiles=tiles))
    engine = ipusim.Engine(graph, [steps])
    pixels = np.random.default_rng(3).normal(size=(*size, 4)).astype(blur.TYPES[datatype][0].numpy)
    engine.write_tensor("img", pixels)
    engine.run(0)
    once = blur.blurred(pixels)
    assert np.array_equal(engine.read_tensor("tmp"), once)
    assert np.array_equal(engine.read_tensor("img"), blur.blurred(once))


def test_ipus_share_an_image():
    """Equal to NumPy over the cut, and the halo between them goes by the links."""
    found = json.loads(run("--image", "60x40x4", "--ipus", "4", "--json").stdout)
    assert (found["correct"], found["ipus"]) == (True, 4)
    assert found["phases"]["globExchange"] > 0


def test_each_ipu_has_a_strip():
    device = ipusim.target("GC2", ipus=16)
    blocks = blur.place((1122, 2200), device, (1, 1))
    tops = sorted({rows.start for rows, _ in blocks.values()})
    assert len({tile // 1216 for tile in blocks}) == 16
    assert {len(columns) for _, columns in blocks.values()} == {11, 12}
    assert len(tops) == 16 * 6


def test_reference_is_a_weighted_mean():
    single = np.zeros((5, 5, 4), np.float32)
    single[2, 2] = 16
    assert np.array_equal(blur.blurred(single)[1:4, 1:4, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_partition_of_the_measured_image():
    blocks = blur.cut((1122, 2200), 1216, (1, 1))
    rows = sorted({len(r) for r, _ in blocks})
    columns = sorted({len(c) for _, c in blocks})
    assert (len(blocks), rows, columns) == (24 * 49, [46, 47], [44, 45])
    assert (len(blocks[0][0]), len(blocks[0][1])) == (47, 45)
    workers = blur.parts(range(47), range(45), 6)
    assert [(len(r), len(c)) for r, c in workers] == [(47, 8)] * 3 + [(47, 7)] * 3


@pytest.mark.parametrize("size", [(1, 1), (6, 200), (97, 3), (302, 499)])
@pytest.mark.parametrize("least", [(1, 1), (6, 6), (72, 64)])
def test_blocks_cover_the_image_once(size, least):
    blocks = blur.cut(size, 1216, least)
    seen = np.zeros(size, int)
    for rows, columns in blocks:
        for r, c in blur.parts(rows, columns, 6):
            seen[r.start : r.stop, c.start : c.stop] += 1
    assert (seen == 1).all()
    assert len(blocks) <= 1216


@pytest.mark.validation
def test_phases_as_measured():
    """[github thorbenlouw/lbm-graphcore, exchange-vs-compute.csv] one step of half4 on 2200 x 1122, one GC2."""
    found = json.loads(run("--image", "2200x1122x4", "--min-rows", "1", "--min-cols", "1", "--json").stdout)["phases"]
    measured = {"sync": 64, "exchange": 637, "pre": 5741, "post": 4826, "compute": 63531}
    assert found["globExchange"] == 0
    for phase, cycles in measured.items():
        assert found[phase] == pytest.approx(cycles, rel=0.25), phase
    assert found["total"] == pytest.approx(sum(measured.values()), rel=0.10)
    assert found["total"] == sum(v for k, v in found.items() if k != "total")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--image", "8x8x3"], 2, "3 channels"),
        (["--image", "8x0x4"], 2, "is not WxHxC"),
        (["--image", "8x8"], 2, "is not WxHxC"),
        (["--datatype", "double"], 2, "invalid choice: 'double'"),
        (["--min-rows", "0"], 2, "at least 1"),
        (["--ipus", "3"], 2, "target(ipus=3)"),
        (["--system", "TPU"], 2, "no system named 'TPU'"),
        (["--image", "128x72x4", "--datatype", "float", "--min-rows", "72", "--min-cols", "128"], 3, "does not fit"),
    ],
)
def test_errors_are_one_line(arguments, code, message):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_json():
    found = json.loads(run("--image", "17x13x4", "--datatype", "float", "--iterations", "3", "--json").stdout)
    assert (found["example"], found["image"], found["iterations"], found["correct"]) == ("blur", [17, 13, 4], 3, True)
    assert found["cycles"] == pytest.approx(6 * found["phases"]["total"], rel=0.01)
