"""`ipusim validate --data`: what a row says to a generator, what is predicted, skipped and refused, and how it prints."""

import csv
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim import validate_data
from ipusim.cli import main
from ipusim.errors import BadInput, UnknownName
from ipusim.validate_data import DataPoint, DataValidation, Row, data, parse_row, predict, predict_cells

CALIBRATION = Path(__file__).parent / "data" / "measurements.csv"
HEADER = "id,chip,category,workload,config,metric,value,unit\n"


def row(config="", *, workload="double", chip="GC2", metric="time", unit="s"):
    cells = {"id": "1", "chip": chip, "workload": workload, "config": config, "metric": metric, "unit": unit}
    return parse_row(cells | {"value": "3"})


def double(given):
    given.note("sdk")
    return given.answer({("time", "s"): 2 * given.number("x"), ("time", "ms"): 2000 * given.number("x")})


def seen_value(given):
    return 1.0 if given.value is None else 2.0


def broken(given):
    return {}["nothing"]


KNOWN = {"double": double, "seen": seen_value, "broken": broken, "nan": lambda given: float("nan")}


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a file of rows below the usual header and returns its path; the generators above are installed."""
    monkeypatch.setattr(validate_data, "generators", lambda: KNOWN)

    def write(*rows, header=HEADER):
        path = tmp_path / "rows.csv"
        path.write_text(header + "".join(rows))
        return str(path)

    return write


def test_a_row_reads():
    given = row("n=12;clock=1.3GHz;image=4x5x6;lang=C++;f=0.5")
    assert (given.whole("n"), given.number("clock"), given.number("f")) == (12, 1.3e9, 0.5)
    assert (given.extents("image", 3), given.text("lang", "C++", "Julia")) == ((4, 5, 6), "C++")
    assert (given.whole("m", 7), given.number("g", 2.5), given.text("h", default="z")) == (7, 2.5, "z")
    assert given.unasked() == ()
    assert given.value == 3


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: r.whole("m"), "the configuration lacks m="),
        (lambda r: r.whole("f"), "f=0.5 is not a whole number of at least 1"),
        (lambda r: r.whole("n", least=13), "n=12 is not a whole number of at least 13"),
        (lambda r: r.number("lang"), "lang=C is not a positive number"),
        (lambda r: r.number("zero"), "zero=0 is not a positive number"),
        (lambda r: r.number("inf"), "inf=inf is not a positive number"),
        (lambda r: r.extents("image", 2), "image=4x5x6 is not 2 whole numbers"),
        (lambda r: r.extents("lang", 1), "lang=C is not 1 whole numbers"),
        (lambda r: r.answer({("cycles", "cycles"): 1}), "time in s is not predicted (known: cycles in cycles)"),
    ],
)
def test_what_a_row_does_not_say(ask, message):
    with pytest.raises(BadInput) as raised:
        ask(row("n=12;f=0.5;lang=C;image=4x5x6;zero=0;inf=inf"))
    assert message in str(raised.value)


def test_choices_are_named():
    with pytest.raises(UnknownName, match=r"lang of 'double' named 'C'.*C\+\+, Julia"):
        row("lang=C").text("lang", "C++", "Julia")


@pytest.mark.parametrize(
    ("chip", "config", "name", "clock"),
    [("GC2", "", "GC2", 1.6e9), ("Bow (inferred)", "", "Bow", 1.85e9), ("gc200", "clock=1GHz", "GC200", 1e9)],
)
def test_the_device_of_a_row(chip, config, name, clock):
    device = row(config, chip=chip).device()
    assert (device.name, device.clock_hz) == (name, clock)


def test_an_unknown_chip_is_named():
    with pytest.raises(UnknownName, match="no system named 'GC3'"):
        row(chip="GC3").device()


def test_keys_that_nobody_asked_for_are_an_error():
    assert predict(row("x=3;sdk=2"), KNOWN) == 6
    with pytest.raises(BadInput, match="'double' does not know y=4, z=5"):
        predict(row("x=3;y=4;sdk=2;z=5"), KNOWN)


def test_a_generator_does_not_see_what_was_measured():
    assert predict(row(workload="seen"), KNOWN) == 1


def test_a_prediction_is_a_finite_number():
    with pytest.raises(BadInput, match="gave nan"):
        predict(row(workload="nan"), KNOWN)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_error_is_relative(measured, predicted):
    error = DataPoint("1", "w", "m", "u", measured, predicted).error
    assert error == pytest.approx((predicted - measured) / measured)


@pytest.mark.parametrize(("measured", "predicted", "error"), [(None, 1.0, None), (0.0, 0.0, 0.0), (0.0, 1.0, None)])
def test_error_where_there_is_none(measured, predicted, error):
    assert DataPoint("1", "w", "m", "u", measured, predicted).error == error


def test_summary_by_workload():
    values = [("a", 1.0, 1.1), ("a", 1.0, 0.5), ("a", 0.0, 2.0), ("b", None, 3.0), ("a", 2.0, 2.0)]
    points = tuple(DataPoint(str(i), w, "m", "u", m, p) for i, (w, m, p) in enumerate(values))
    assert DataValidation(points, ()).summary() == {
        "a": {
            "n": 4,
            "median_abs_error": pytest.approx(0.1),
            "worst_abs_error": pytest.approx(0.5),
            "within_25pct": 0.5,  # a prediction where 0 was measured is not within
            "predicted_only": 0,
        },
        "b": {"n": 0, "median_abs_error": None, "worst_abs_error": None, "within_25pct": None, "predicted_only": 1},
    }


ROWS = (
    "M1,GC2,c,double,x=3,time,5,s\n",
    "M2,GC2,c,double,x=3;sdk=1,time,,ms\n",
    "M3,GC2,c,nobody,x=3,time,5,s\n",
    "M4,GC2,c,broken,,time,5,s\n",
    "M5,GC2,c,double,x=3;what,time,5,s\n",
    "M6,GC2,c,double,x=3,time,many,s\n",
)


def test_json(table, capsys):
    assert main(["validate", "--data", table(*ROWS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["version"]) == ("ipusim.validate", 1)
    first = {"id": "M1", "workload": "double", "metric": "time", "measured": 5.0, "predicted": 6.0, "unit": "s"}
    assert found["points"] == [
        first | {"error": pytest.approx(0.2)},
        first | {"id": "M2", "measured": None, "predicted": 6000.0, "unit": "ms", "error": None},
    ]
    assert found["summary"]["double"]["n"] == 1
    reasons = {r["id"]: r["reason"] for r in found["skipped"]}
    assert list(reasons) == ["M3", "M4", "M5", "M6"]
    assert "no installed model package builds the workload 'nobody'" in reasons["M3"]
    assert "unexpected KeyError: 'nothing' (test_validate_data.py, line" in reasons["M4"]
    assert "'what' is not name=value" in reasons["M5"]
    assert "value=many is not a number" in reasons["M6"]


def test_text(table, capsys):
    assert main(["validate", "--data", table(*ROWS[:4])]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "1 points compared, 1 predicted without a value, 2 skipped"
    assert "     1    20.0%    20.0%    100%  double" in out
    assert "M1                  5            6   +20.0%  s        double" in out
    assert "M2               6000  ms       double" in out
    assert max(map(len, out[:-2])) <= 120


def test_a_file_without_values(table):
    found = data(table("M1,GC2,c,double,x=3,time,s\n", header=HEADER.replace("value,", "")))
    assert [(p.measured, p.predicted) for p in found.points] == [(None, 6.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,chip,workload,config\n", "lacks the columns metric, unit"),
        ("", "lacks the columns id"),
        ('a,"b\n', "not a CSV file"),
    ],
)
def test_malformed_files_are_one_line(tmp_path, capsys, text, message):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    assert main(["validate", "--data", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "columns"),
    [("--data", "id,chip,workload,config,metric,unit"), ("--vertices", "id,vertex,chip,params,cycles")],
)
def test_two_rows_of_one_id_are_refused_and_rows_without_one_are_numbered(tmp_path, capsys, option, columns):
    path, blanks = tmp_path / "rows.csv", "," * columns.count(",")
    path.write_text(f"{columns}\nA{blanks}\nB{blanks}\nA{blanks}\n")
    assert main(["validate", option, str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "rows 1 and 3 both have the id A" in printed.err
    path.write_text(f"{columns}\n{blanks}\n{blanks}\nA{blanks}\n")
    assert main(["validate", option, str(path), "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)["skipped"]] == ["1", "2", "A"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.csv"], "no file nowhere.csv"),
        ([], "one of the arguments --data --vertices is required"),
        (["--data", "a.csv", "--vertices", "b.csv"], "not allowed with"),
        (["--vertices", "b.csv", "--jobs", "2"], "--jobs is for --data"),
    ],
)
def test_usage(capsys, arguments, message):
    assert main(["validate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_ends_it(table, monkeypatch, capsys):
    def interrupted(given):
        raise KeyboardInterrupt

    monkeypatch.setattr(validate_data, "generators", lambda: {"double": interrupted})
    assert main(["validate", "--data", table(*ROWS)]) == 130
    assert capsys.readouterr().out == ""


def test_progress_counts_rows(table):
    told = []
    data(table(*ROWS), lambda stage, done, total: told.append((stage, done, total)))
    assert told == [("row", i, 6) for i in range(6)]


def test_every_calibration_row_has_a_generator_or_a_reason():
    """A workload that is not a program says why; one that nobody has heard of is a mistake in the registry."""
    with CALIBRATION.open(newline="") as file:
        workloads = {cells["workload"] for cells in csv.DictReader(file)}
    assert workloads <= set(validate_data.generators())


def test_unexpected_errors_name_their_place():
    cells = {"id": "1", "chip": "GC2", "workload": "broken", "config": "", "metric": "m", "unit": "u"}
    assert predict_cells(cells, KNOWN).startswith("unexpected KeyError")


def test_rows_are_values():
    assert row("n=1") == row("n=1")
    assert Row("1", "GC2", "w", {}, "m", "u") != row("n=1")


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5])
def test_jobs_is_a_number_of_processes(table, jobs):
    with pytest.raises(BadInput, match="at least 1"):
        data(table(*ROWS), jobs=jobs)


SHARED = (
    "Gaussian blur weak scaling,ipus=1;image=30x20x4;datatype=half4;outer_iterations=2",
    "Gaussian blur weak scaling,ipus=1;image=30x21x4;datatype=half4;outer_iterations=2",
    "cycle-counter read pair overhead,clock=1GHz",
    "Gaussian blur weak scaling,ipus=1;image=30x22x4;datatype=half4;outer_iterations=2",
)


def test_processes_share_the_rows(tmp_path):
    """The same answer in the same order, and every row told of."""
    path, told = tmp_path / "rows.csv", []
    path.write_text(HEADER + "".join(f"M{i},GC2,c,{SHARED[i % 4]},time,,s\n" for i in range(20)))
    alone, shared = data(path), data(path, lambda _, done, total: told.append((done, total)), jobs=2)
    assert shared == alone
    assert [len(shared.points), len(shared.skipped)] == [15, 5]
    assert told[0] == (0, 20)
    assert all(done < 20 for done, _ in told)


class DyingPool(ProcessPoolExecutor):
    """A pool whose processes die of everything they are given."""

    def submit(self, *_):
        broken = Future()
        broken.set_exception(BrokenProcessPool("killed"))
        return broken


def test_a_process_that_dies_loses_no_row(table, monkeypatch):
    monkeypatch.setattr(validate_data, "ProcessPoolExecutor", DyingPool)
    found = data(table(*(f"A{n}{row}" for n in range(4) for row in ROWS[:2])), jobs=2)
    assert [point.id for point in found.points] == [f"A{n}M{m}" for n in range(4) for m in (1, 2)]


def test_processes_end_with_an_interrupt(tmp_path):
    """SIGINT to the command alone: it ends at once with 130, and so do the processes that share the rows."""
    path = tmp_path / "rows.csv"
    config = "ipus=1;image=2200x1122x4;datatype=half4;outer_iterations=2;min_rows=1;min_cols="
    path.write_text(HEADER + "".join(f"M{i},GC2,c,Gaussian blur weak scaling,{config}{i},time,,s\n" for i in range(1, 99)))
    command = [sys.executable, "-m", "ipusim", "validate", "--data", str(path), "--jobs", "2"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(3)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
