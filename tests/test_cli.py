"""The command as a user meets it: in a process of its own, with what it prints and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ipusim


def run(*arguments, **options):
    """The finished process of `ipusim` with arguments."""
    command = [sys.executable, "-m", "ipusim", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def one_line(process, code=2):
    """The single line on stderr of a command that failed as it should."""
    assert process.returncode == code, process.stderr
    assert process.stdout == ""
    lines = process.stderr.strip().splitlines()
    assert len(lines) == 1, process.stderr
    assert "Traceback" not in process.stderr
    return lines[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small classifier with an open batch."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(8, 3, 3, 3)), "f": rng.normal(size=(8, 5))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("ReduceMean", ["b"], ["c"], name="mean", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["c", "f"], ["y"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items()],
    )
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_report(small):
    done = run("run", small, "--batch", 2)
    assert done.returncode == 0
    for heading in ("Target:", "Graph:", "Memory Usage:", "By Tile:", "Execution:", "Total cycles:", "Slowest ops:"):
        assert heading in done.stdout
    assert "small on GC2, batch 2, float16 (partials float32)" in done.stdout


def test_json_is_one_object_with_what_tools_rely_on(small):
    done = run("run", small, "--json")
    found = json.loads(done.stdout)
    assert found["schema"] == "ipusim.run"
    assert {
        "model",
        "system",
        "batch",
        "latency_s",
        "throughput",
        "cycles",
        "phases",
        "memory",
        "ops",
        "wall_s",
    } <= set(found)
    assert set(found["memory"]) == {"max_tile_bytes", "worst_tile", "total_bytes", "tile_limit_bytes", "fits"}
    assert sum(found["phases"].values()) == found["cycles"] == sum(op["cycles"] for op in found["ops"])
    assert found["latency_s"] == pytest.approx(found["cycles"] / 1.6e9)
    assert {"name", "type", "cycles", "flops", "method", "bound"} == set(found["ops"][0])
    assert done.stderr == ""


def test_plans_in_place_of_the_report(small):
    done = run("run", small, "--plans")
    assert done.returncode == 0
    assert "small on GC2" in done.stdout
    assert "Memory Usage:" not in done.stdout
    assert re.search(r"^conv \(Conv\)\n  \S", done.stdout, re.MULTILINE)
    assert re.search(r"^    estimate [\d,]+ cycles; simulated [\d,]+", done.stdout, re.MULTILINE)
    found = json.loads(run("run", small, "--plans", "--json").stdout)
    assert [plan["name"] for plan in found["plans"]] == ["conv", "fc"]


def test_plans_of_what_does_not_fit_are_printed_too(small, tmp_path):
    done = run(
        "run", small, "--plans", "--set", "chip.tile.memory_bytes=16384", "--set", "chip.tiles=2", "--batch", 64,
        "--available-memory-proportion", 0.01, "--save", tmp_path / "report",
    )  # fmt: skip
    assert done.returncode == 3
    assert "DOES NOT FIT" in done.stdout
    assert "conv (Conv)" in done.stdout
    assert "does not fit: tile" in done.stderr
    assert [plan.name for plan in ipusim.load_report(tmp_path / "report").plans] == ["conv", "fc"]


def test_host_transfers_and_the_closed_form(small):
    found = {}
    for name, settings in {"plain": (), "host": ("--host",), "bound": ("--exchange", "closed-form")}.items():
        found[name] = json.loads(run("run", small, "--json", *settings).stdout)["phases"]
    assert found["plain"]["host"] == 0 < found["host"]["host"]
    assert found["bound"]["exchange"] <= found["plain"]["exchange"] == found["host"]["exchange"]


def test_a_clock_is_a_scenario(small):
    nominal, slow = (
        json.loads(run("run", small, "--json", *settings).stdout)
        for settings in ((), ("--set", "chip.clock_hz=1.3e9"))
    )
    assert nominal["cycles"] == slow["cycles"]
    assert [c["latency_s"] for c in nominal["clocks"]] == [pytest.approx(slow["latency_s"])]
    assert [c["clock_hz"] for c in slow["clocks"]] == [1.6e9]


def test_a_card_splits_the_batch(small):
    card = json.loads(run("run", small, "--system", "C2", "--batch", 4, "--json").stdout)
    chip = json.loads(run("run", small, "--batch", 2, "--json").stdout)
    assert card["replicas"] == 2
    assert card["cycles"] == chip["cycles"]
    assert card["throughput"] == pytest.approx(2 * chip["throughput"])
    alone = run("run", small, "--system", "C2", "--batch", 1)
    assert "batch 1 uses one of the 2 IPUs" in alone.stdout


def test_outputs_from_given_inputs(small, tmp_path):
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    results = {}
    for system in ("GC2", "C2"):
        out = tmp_path / f"{system}.npz"
        done = run(
            "run", small, "--execute", "--batch", 2, "--system", system, "--inputs", tmp_path / "in.npz", "--outputs", out,
            "--precision", "float32",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results[system] = np.load(out)["y"]
    assert results["GC2"].shape == (2, 5)
    np.testing.assert_allclose(results["C2"], results["GC2"], rtol=1e-5, atol=1e-6)


def test_saved_reports_load(small, tmp_path):
    path = tmp_path / "report.ipu"
    assert run("run", small, "--save", path).returncode == 0
    report = ipusim.load_report(path)
    assert str(report) == run("run", small).stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.ipu"]


def test_what_if(small):
    before, after = (
        json.loads(run("run", small, "--json", *settings).stdout)["phases"]["exchange"]
        for settings in ((), ("--set", "chip.exchange.lead_in_cycles=0"))
    )
    assert after < before


def test_listings():
    systems, models = run("systems").stdout, run("models").stdout
    for name, spec in ipusim.systems().items():
        assert re.search(rf"^{name} +{spec.ipus} +{spec.chip.tiles} ", systems, re.MULTILINE)
    for name, summary in ipusim.models().items():
        assert re.search(rf"^{name} +{re.escape(summary)}$", models, re.MULTILINE)
    assert {"GC2", "C2", "DSS8440", "GC200", "Bow"} <= set(ipusim.systems())
    assert {"resnet50", "bert-base"} <= set(ipusim.models())
    assert json.loads(run("systems", "--json").stdout)["schema"] == "ipusim.systems"
    assert json.loads(run("models", "--json").stdout)["schema"] == "ipusim.models"


@pytest.mark.parametrize(("arguments", "message"), [
    (["run", "nosuch.onnx"], "no file nosuch.onnx"),
    (["run", "resnet5"], "no model named 'resnet5'; did you mean 'resnet50'?"),
    (["run", "resnet50", "--batch", "0"], "batch must be a whole number of at least 1, not 0"),
    (["run", "resnet50", "--batch", "two"], "invalid int value: 'two'"),
    (["run", "resnet50", "--system", "X9"], "no system named 'X9'"),
    (["run", "resnet50", "--system", "C2", "--batch", "3"], "batch 3 does not divide over the 2 IPUs of C2 (it divides over 1, 3)"),
    (["run", "resnet50", "--precision", "float64"], "no element type named 'float64'"),
    (["run", "resnet50", "--precision", "int8"], "precision must be float16 or float32, not int8"),
    (["run", "resnet50", "--partials", "int8"], "partials must be float16 or float32"),
    (["run", "resnet50", "--threads", "0"], "threads must be at least 1"),
    (["run", "resnet50", "--available-memory-proportion", "1.5"], "available_memory_proportion must be above 0"),
    (["run", "resnet50", "--set", "chip.tiles=0"], "tiles = 0: must be at least 1"),
    (["run", "resnet50", "--set", "chip.tils=3"], "did you mean 'chip.tiles'?"),
    (["run", "resnet50", "--outputs", "y.npz"], "--inputs and --outputs need --execute"),
    (["run", "resnet50", "--save", "no/such/folder/x"], "its folder does not exist"),
    (["run", "resnet50", "--execute", "--inputs", "nosuch.npz"], "no file nosuch.npz"),
    (["run", "resnet50", "--plans", "--steps"], "argument --steps: not allowed with argument --plans"),
    (["run"], "the following arguments are required: model"),
    (["fly"], "invalid choice: 'fly'"),
    (["run", "resnet50", "--colour"], "unrecognized arguments: --colour"),
])  # fmt: skip
def test_bad_usage_is_one_line_and_exit_2(arguments, message):
    assert message in one_line(run(*arguments))


def test_files_that_are_no_models(tmp_path, small):
    picture = tmp_path / "picture.onnx"
    picture.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00" + bytes(range(256)) * 20)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(small.read_bytes()[:-200])
    for path in (picture, cut):
        assert f"{path} is not an ONNX file, or is cut off" in one_line(run("run", path))
    assert "cannot read" in one_line(run("run", tmp_path))


def test_unknown_operators_are_listed(tmp_path):
    nodes = [helper.make_node("STFT", ["x"], ["a"], name="spectrum"), helper.make_node("Det", ["a"], ["y"], name="det")]
    graph = helper.make_graph(
        nodes,
        "strange",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    path = tmp_path / "strange.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    assert "2 unsupported operators: STFT (node spectrum); Det (node det)" in one_line(run("run", path))


@pytest.mark.parametrize(("arrays", "message"), [
    ({"z": np.zeros((1, 3, 8, 8), np.float32)}, "no input named 'z'"),
    ({}, "input 'x' is missing (inputs: x)"),
    ({"x": np.zeros((1, 3, 8, 9), np.float32)}, "input 'x' has shape (1, 3, 8, 9), the model takes (1, 3, 8, 8)"),
    ({"x": np.zeros((1, 3, 8, 8), np.int32)}, "input 'x' has element type int32, the model takes float32"),
    ({"x": np.full((1, 3, 8, 8), "a")}, "input 'x' has element type <U1"),
])  # fmt: skip
def test_wrong_inputs(arrays, message, small, tmp_path):
    np.savez(tmp_path / "in.npz", **arrays)
    done = run("run", small, "--execute", "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "y.npz")
    assert message in one_line(done)
    assert not (tmp_path / "y.npz").exists()


def test_inputs_that_are_no_archive(small, tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    assert "holds one array without a name" in one_line(
        run("run", small, "--execute", "--inputs", tmp_path / "one.npy")
    )
    assert "is not a file that numpy.savez wrote" in one_line(
        run("run", small, "--execute", "--inputs", tmp_path / "text.npz")
    )


def test_what_does_not_fit_is_reported_and_still_computed(small, tmp_path):
    out = tmp_path / "y.npz"
    done = run(
        "run", small, "--set", "chip.tile.memory_bytes=16384", "--set", "chip.tiles=2", "--batch", 64, "--execute",
        "--outputs", out, "--save", tmp_path / "report",
    )  # fmt: skip
    assert done.returncode == 3
    assert "DOES NOT FIT" in done.stdout
    line = done.stderr.strip()
    assert "does not fit: tile" in line
    assert "bytes and has 16,384" in line
    assert re.search(r"; most is \w[\w ]* \([\d,]+\), ", line)
    assert "its largest variables are" in line
    assert "what would help: a smaller batch" in line
    assert np.load(out)["y"].shape == (64, 5)
    assert not ipusim.load_report(tmp_path / "report").memory.fits


def wait_for_the_interpreter(pid):
    """Until Python itself takes SIGINT (where /proc tells); before that no program could."""
    status = Path(f"/proc/{pid}/status")
    for _ in range(1000 if status.exists() else 0):
        caught = int(re.search(r"SigCgt:\s+(\w+)", status.read_text())[1], 16)
        if caught >> (signal.SIGINT - 1) & 1:
            return
        time.sleep(0.005)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("delay", [0.2, 0.6, 1.5, 3.0])
def test_interrupt_is_exit_130_without_traceback_or_partial_file(delay, tmp_path):
    command = [sys.executable, "-m", "ipusim", "run", "bert-base", "--execute", "--save", str(tmp_path / "report")]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}  # cold kernels keep it busy
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for_the_interpreter(process.pid)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said
    assert not (tmp_path / "report").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_an_interrupt_within_an_exec_of_text_is_exit_130_too(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "import sys\nfrom ipusim import cli\n"
        "cli._command = lambda arguments: exec('raise KeyboardInterrupt')\nsys.exit(cli.main([]))\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, "ipusim: interrupted")


def test_importing_is_cheap():
    code = "import sys, ipusim; print('numba' in sys.modules, 'onnx' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


@pytest.mark.parametrize("words", [("run", "resnet50", "--save", ""), ("validate", "--data", "")])
def test_an_empty_file_name_is_refused(words):
    done = run(*words)
    assert done.returncode == 2
    assert "no file name" in done.stderr
    with pytest.raises(ipusim.BadInput, match="a file name"):
        ipusim.load_report("")
