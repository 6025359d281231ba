"""Scripts of the course: measured figures, laws that their texts state, sizes at the edge, and how they refuse."""

import importlib
import json
import math
import sys

import numpy as np
import pytest
from _sizes import finish

import ipusim

SMALL = {
    "pi": ["--tiles", "3", "--points-per-tile", "50"],
    "triad": ["--tiles", "2", "--elements", "1000"],
    "reduction": ["--tiles", "5", "--elements", "333"],
    "mandelbrot": ["--tiles", "3", "--image", "9x7", "--iterations", "20"],
    "odd_even_sort": ["--tiles", "4", "--keys-per-tile", "3"],
    "work_loop": ["--tiles", "3", "--items", "40"],
    "mistakes": ["--tiles", "2"],
}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script in this process: (exit code, what it printed, what it said on stderr)."""

    def script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            finish(importlib.import_module(name).main)
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return script


@pytest.fixture
def facts(run):
    """The object that a script prints with `--json`."""

    def script(name, *arguments):
        code, out, err = run(name, "--json", *arguments)
        assert code == 0, err
        return json.loads(out)

    return script


@pytest.mark.parametrize("name", SMALL)
def test_one_object(facts, name):
    found = facts(name, *SMALL[name])
    assert found["example"] == name
    assert found["system"] == ("Bow" if name == "pi" else "GC2")
    assert found["cycles"] == sum(found["phases"].values()) > 0


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("pi", ["--points-per-tile", "0"], "whole number of at least 1"),
        ("pi", ["--points-per-tile", "9", "--unroll", "2"], "must be at most 8 and divide the 9 points"),
        ("pi", ["--points-per-tile", "3000000"], "more than 2**32 points"),
        ("pi", ["--system", "GC3"], "no system named 'GC3'"),
        ("triad", ["--impl", "fast"], "invalid choice: 'fast'"),
        ("triad", ["--elements", "1e6"], "whole number"),
        ("triad", ["--elements", "99999999999"], "far more than"),
        ("reduction", ["--fan-in", "1"], "whole number of at least 2"),
        ("mandelbrot", ["--image", "9"], "'9' is not WxH"),
        ("odd_even_sort", ["--order", "shuffled"], "invalid choice"),
        ("work_loop", ["--tiles", "1"], "whole number of at least 2"),
        ("work_loop", ["--items", "100001"], "where values leave 32 bits"),
        ("mistakes", ["--kib", "10"], "10 KiB fit a tile"),
        ("mistakes", ["--kib", "9999999"], "more than"),
    ],
)
def test_sizes_that_make_no_sense(run, name, arguments, said):
    code, out, err = run(name, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize(
    ("name", "arguments", "variable"),
    [
        ("triad", ["--tiles", "2", "--elements", "60000"], "'a'"),
        ("odd_even_sort", ["--tiles", "2", "--keys-per-tile", "40000"], "'keys'"),
        ("work_loop", ["--tiles", "2", "--items", "70000"], "'queue'"),
        ("reduction", ["--tiles", "2", "--elements", "90000"], "'values'"),
    ],
)
def test_programs_that_do_not_fit(run, name, arguments, variable):
    code, out, err = run(name, *arguments)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "does not fit" in err
    assert variable in err


# -- pi ----------------------------------------------------------------------------------------------------------------


@pytest.mark.validation
@pytest.mark.parametrize("measured", [90_084 / 1000, 245_093_526 / 2_917_776])  # UCL-RITS/pi_examples: C++, Julia
def test_pi_cycles_per_point(facts, measured):
    found = facts("pi", "--tiles", "2", "--points-per-tile", "1000")
    assert found["cycles_per_point"] == pytest.approx(measured, rel=0.07)


def test_pi_time_is_that_of_one_tile(facts):
    one, many = (facts("pi", "--tiles", tiles, "--points-per-tile", "64") for tiles in ("1", "9"))
    assert one["phases"] == many["phases"]
    assert abs(many["error"]) < abs(one["error"])  # the same time buys more points


def test_pi_unrolled_saves_loop_overhead(facts):
    plain, eight = (facts("pi", "--tiles", "2", "--points-per-tile", "800", "--unroll", k) for k in ("1", "8"))
    assert plain["pi"] == eight["pi"]
    assert 0.85 < eight["compute_cycles"] / plain["compute_cycles"] < 1


def test_pi_counts_points_above_31_bits():
    import pi

    tiles, points, tile = 1472, 2_917_776, 1471
    graph = ipusim.Graph(ipusim.target("Bow", tiles=1))
    out = graph.add_variable((), ipusim.float32, "out")
    graph.set_tile_mapping(out, 0)
    step = graph.add_compute_set("step")
    members = {"first": tile * points, "points": points, "step": 1.0 / (tiles * points)}
    graph.add_vertex(step, pi.make_codelet(1), {"out": out, **members})
    engine = ipusim.Engine(graph, step)
    engine.run()
    assert engine.read_tensor("out") == pi.sum_of_tile(tile, points, tiles)


# -- triad -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bandwidth(facts):
    """GB/s of a whole GC2, from four tiles of it: nothing moves between tiles."""
    return lambda impl: facts("triad", "--tiles", "4", "--impl", impl)["bandwidth"] * 1216 / 4


@pytest.mark.validation
def test_triad_bandwidth(bandwidth):
    """Louw and McIntosh-Smith, EasyChair 4896, Table I."""
    assert bandwidth("naive") == pytest.approx(3726, rel=0.15)
    assert bandwidth("vectorised") < 12_420 < bandwidth("assembly")


def test_triad_fills_the_tiles(facts):
    found = facts("triad", "--tiles", "2")
    assert ipusim.target("GC2").chip.tile.memory_bytes - 64 < found["memory"] <= 262_144


@pytest.mark.parametrize("elements", ["1", "5", "97"])
@pytest.mark.parametrize("datatype", ["float", "half"])
def test_triad_with_odd_sizes(facts, elements, datatype):
    assert facts("triad", "--tiles", "3", "--elements", elements, "--datatype", datatype, "--impl", "vectorised")


# -- reduction ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tiles", "elements"), [(1, 1), (3, 2), (2, 13), (7, 1000), (16, 999)])
@pytest.mark.parametrize("fan_in", [2, 5])
def test_reduction_takes_as_many_steps_as_its_trees(facts, tiles, elements, fan_in):
    found = facts("reduction", *(f"--tiles {tiles} --elements {elements} --fan-in {fan_in}".split()))
    used = min(tiles, elements)
    levels, left = 0, used
    while left > 1:
        levels, left = levels + 1, -(-left // fan_in)
    assert len(found["steps"]) == 2 + levels
    assert len(found["prefix_steps"]) == 2 + math.ceil(math.log2(used)) + 1


# -- mandelbrot --------------------------------------------------------------------------------------------------------


def test_mandelbrot_interleaved_rows_balance(facts):
    found = facts("mandelbrot", "--image", "40x96", "--iterations", "100", "--tiles", "4")["mappings"]
    blocks, dealt = found["blocks"], found["interleaved"]
    assert sum(blocks["cycles_of_tiles"]) > 0
    assert dealt["balance"] > 0.9 > blocks["balance"]
    assert dealt["cycles"] < 0.8 * blocks["cycles"]


def test_mandelbrot_one_row_per_worker_is_as_slow_as_the_slowest_row(facts):
    found = facts("mandelbrot", "--image", "24x24", "--iterations", "100", "--tiles", "4")["mappings"]
    assert found["blocks"]["cycles"] == found["interleaved"]["cycles"]


# -- odd-even sort -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["random", "reversed", "sorted"])
@pytest.mark.parametrize(("tiles", "keys"), [(1, 4), (2, 1), (5, 3), (8, 16)])
def test_sort_rounds(facts, tiles, keys, order):
    found = facts("odd_even_sort", "--tiles", str(tiles), "--keys-per-tile", str(keys), "--order", order)
    most = -(-tiles // 2) + 1  # `tiles` phases sort anything, and a round more finds nothing to swap
    assert 1 <= found["rounds"] <= most
    if order == "sorted":
        assert found["rounds"] == 1
    if order == "reversed" and tiles > 1:
        assert found["rounds"] > 1


def test_sort_of_equal_keys():
    import odd_even_sort

    engine = ipusim.Engine(*odd_even_sort.build(ipusim.target("GC2", tiles=3), 4))
    engine.write_tensor("keys", np.full((3, 4), 7))
    engine.run()
    assert (engine.read_tensor("keys") == 7).all()


# -- work loop ---------------------------------------------------------------------------------------------------------


def test_work_loop_rounds(facts):
    found = facts("work_loop", "--tiles", "4", "--items", "101", "--batch", "3")["runs"]
    alone, shared = found["alone"], found["shared"]
    assert alone["rounds"] == -(-101 // 3)
    assert alone["finished"] == [101, 0, 0, 0]
    assert -(-101 // 12) <= shared["rounds"] < alone["rounds"]
    assert sum(shared["finished"]) == 101
    assert min(shared["finished"]) > 0
    check = {s["name"]: s["repeats"] for s in shared["steps"]}
    assert check["all done?"] == check["work"] + 1  # the condition is found once more than the body runs


def test_work_loop_with_a_small_window(facts):
    found = facts("work_loop", "--tiles", "3", "--items", "50", "--batch", "2", "--window", "1")
    assert sum(found["runs"]["shared"]["finished"]) == 50


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("race", ["both write 'y', elements [3:5]", "read and write 'x', elements [7:8]", "mistakes.py:"]),
        ("unmapped", ["variable 'x' (8, 10): 20 of 80 elements have no tile, [30:50]", "set_tile_mapping"]),
        ("wiring", ["is on tile 4; the device has tiles 0 to 3", "holds float32, and 'x' (8,) is float16", "'out'"]),
        ("lengths", ["source 'x' (8,) has 8 elements, target 'y' (7,) has 7"]),
        ("index", ["tile 1", "field 'x'", "index 8", "has 8 elements", "mistakes.py:"]),
        ("codelet", ["codelet search", "`[i for i in range(len(x)) if x[i] > 0.0]`", "lists"]),
        ("memory", ["tile 0 needs", "'x' 307,200 bytes", "allow_out_of_memory=True"]),
    ],
)
def test_mistakes_are_named(facts, name, parts):
    message = facts("mistakes")["messages"][name]
    assert not [part for part in parts if part not in message], message


def test_mistakes_out_of_memory_is_reported(facts):
    found = facts("mistakes")
    assert not found["memory"]["fits"]
    assert found["memory"]["max_tile_bytes"] > 300 * 1024
    assert "DOES NOT FIT" in "\n".join(found["report"])
    assert "out of memory" in "\n".join(found["report"])
