"""The heat example: bits of numpy on any mesh, a near-square partition, and the laws of its cycles."""

import json
import subprocess
import sys
from pathlib import Path

import heat
import numpy as np
import pytest
from _sizes import grid

import ipusim


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", Path(heat.__file__), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(("mesh", "tiles"), [((3, 3), 1), ((3, 40), 5), ((9, 4), 50), ((31, 23), 6), ((64, 50), 16)])
def test_values(mesh, tiles):
    graph, steps = heat.build(*mesh, ipusim.target("GC2", tiles=tiles))
    engine = ipusim.Engine(graph, [steps, steps[0]])
    plate = heat.plate_at_start(*mesh)
    for name in "ab":
        engine.write_tensor(name, plate)
    engine.run(0)
    assert np.array_equal(engine.read_tensor("b"), heat.marched(plate, 1))
    assert np.array_equal(engine.read_tensor("a"), heat.marched(plate, 2))


def test_heat_flows():
    plate = np.zeros((5, 5), np.float32)
    plate[2, 2] = 1
    after = heat.marched(plate, 1)
    assert after[2, 2] == np.float32(1 - 4 * np.float32(heat.ALPHA))
    assert after[1, 2] == after[2, 1] == after[3, 2] == after[2, 3] == np.float32(heat.ALPHA)
    assert np.isclose(after.sum(), 1)


@pytest.mark.parametrize(
    ("height", "width", "tiles"), [(4998, 4998, 1216), (1, 100, 7), (100, 1, 7), (30, 60, 8), (2, 2, 9)]
)
def test_grid(height, width, tiles):
    rows, columns = grid(height, width, tiles)
    assert 1 <= rows <= height
    assert 1 <= columns <= width
    assert rows * columns <= tiles
    held = [(-(-height // r) + 2) * (-(-width // min(width, tiles // r)) + 2) for r in range(1, min(tiles, height) + 1)]
    assert (-(-height // rows) + 2) * (-(-width // columns) + 2) == min(held)


def test_grid_is_near_square():
    rows, columns = grid(4998, 4998, 1216)
    assert 0.5 < rows / columns < 2


def test_time_grows_with_steps_and_not_with_tiles_of_equal_blocks():
    cycles = {}
    for steps, mesh, tiles in ((10, "26x26", "16"), (20, "26x26", "16"), (10, "50x50", "64")):
        found = json.loads(run("--mesh", mesh, "--steps", str(steps), "--tiles", tiles, "--json").stdout)
        assert found["tiles"] == int(tiles)
        cycles[steps, mesh] = found
    assert cycles[20, "26x26"]["cycles"] == 2 * cycles[10, "26x26"]["cycles"]
    assert cycles[10, "50x50"]["phases"]["compute"] == cycles[10, "26x26"]["phases"]["compute"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--mesh", "2x9"], 2, "at least 3"),
        (["--mesh", "9"], 2, "not HxW"),
        (["--steps", "-1"], 2, "at least 1"),
        (["--mesh", "400x400", "--tiles", "4"], 3, "does not fit"),
    ],
)
def test_errors_are_one_line(arguments, code, message):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
