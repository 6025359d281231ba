"""`ipusim validate --vertices`: the table it reads, the object and the text it prints, and what it refuses."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.cli import main
from ipusim.errors import BadInput
from ipusim.validate import Point, VertexValidation, vertices

GOLDEN = Path(__file__).parent / "data" / "vertex_cycles.csv"
HEADER = "vertex,chip,params,cycles,source_path\n"
EXP = "popops::UnaryOp1D,mk2,op=exp;type=float;n=1000;unit=tile,3242,here\n"


@pytest.fixture
def table(tmp_path):
    """Writes a file of rows below the usual header and returns its path."""

    def write(*rows, header=HEADER):
        path = tmp_path / "rows.csv"
        path.write_text(header + "".join(rows))
        return path

    return write


def test_the_golden_file_is_exact_and_nothing_is_skipped():
    found = vertices(GOLDEN)
    with GOLDEN.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert found.skipped == ()
    assert [(p.id, p.kind, p.measured) for p in found.points] == [
        (str(i), row["vertex"], int(row["cycles"])) for i, row in enumerate(rows, 1)
    ]
    summary = found.to_dict()["summary"]
    assert summary["exact"] >= 0.99 * summary["n"] == 0.99 * len(rows)
    assert sum(kind["n"] for kind in summary["kinds"].values()) == len(rows)


def test_json_is_one_object_with_what_tools_rely_on(table):
    path = table(EXP, EXP.replace("3242", "3000"), EXP.replace("3242", ""), EXP.replace("UnaryOp1D", "Nothing"))
    done = subprocess.run(
        [sys.executable, "-m", "ipusim", "validate", "--vertices", str(path), "--json"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
    kind = "popops::UnaryOp1D"
    assert json.loads(done.stdout) == {
        "schema": "ipusim.validate",
        "version": 1,
        "points": [
            {"id": "1", "kind": kind, "measured": 3242, "predicted": 3242, "error": 0.0},
            {"id": "2", "kind": kind, "measured": 3000, "predicted": 3242, "error": pytest.approx(0.080667, abs=1e-6)},
            {"id": "3", "kind": kind, "measured": None, "predicted": 3242, "error": None},
        ],
        "summary": {
            "n": 2,
            "exact": 1,
            "exact_share": 0.5,
            "predicted_only": 1,
            "skipped": 1,
            "kinds": {kind: {"n": 2, "exact": 1}},
        },
        "skipped": [{"id": "4", "reason": "no formula for vertex 'popops::Nothing'"}],
    }


def test_the_text_puts_the_worst_first(table, capsys):
    rows = [EXP.replace("3242", cycles) for cycles in ("3000", "1000", "3242", "9000")]
    assert main(["validate", "--vertices", str(table(*rows, EXP.replace("3242", ""), "a,b,c,1,d\n"))]) == 0
    assert (
        capsys.readouterr().out
        == """\
1 of 4 rows exact (25.0%), 1 without a count, 1 skipped

Row          Measured    Predicted     Error  Kind
2                1000         3242  +224.20%  popops::UnaryOp1D
4                9000         3242   -63.98%  popops::UnaryOp1D
1                3000         3242    +8.07%  popops::UnaryOp1D

Row         Predicted  Kind (no count in the file)
5                3242  popops::UnaryOp1D

Kind                Rows  Exact   Share
popops::UnaryOp1D      4      1   25.0%

Skipped  Reason
6        no formula for vertex 'a'
"""
    )


def test_rows_may_have_names_and_columns_any_order(table):
    header = "id,cycles,extra,params,chip,vertex\n"
    found = vertices(table("E7,3242,x, op = exp ; type=float;n=1000, MK2 ,popops::UnaryOp1D\n", header=header))
    assert found == VertexValidation((Point("E7", "popops::UnaryOp1D", 3242, 3242),), ())


@pytest.mark.parametrize("header", [HEADER, HEADER.strip(), "\ufeff" + HEADER + "\n\n"])
def test_a_table_without_rows(header, table, capsys):
    path = table(header=header)
    assert main(["validate", "--vertices", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["n"] == 0
    assert found["summary"]["exact_share"] is None
    assert main(["validate", "--vertices", str(path)]) == 0
    assert capsys.readouterr().out == "0 of 0 rows exact, 0 without a count, 0 skipped\n"


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("UnaryOp1D", "UnaryOp1d", "no formula for vertex 'popops::UnaryOp1d'; did you mean 'popops::UnaryOp1D'?"),
    ("mk2", "mk9", "no chip named 'mk9' (known: mk1, mk2)"),
    ("3242", "fast", "cycles=fast is not a whole number of at least 1"),
    ("3242", "0", "cycles=0 is not a whole number of at least 1"),
    ("3242", "9" * 5000, "is not a whole number of at least 1"),
    (";n=1000", "", "parameter n is missing"),
    ("n=1000", "n=1.5", "parameter n=1.5 is not a whole number of at least 0"),
    ("n=1000", "n=" + "9" * 5000, "no vertex has these parameters"),
    ("n=1000", "n=1;n=2", "parameter n is there twice"),
    ("op=exp", "op", "parameter 'op' is not name=value"),
    ("op=exp", "op=exq", "no function with a price named 'exq'; did you mean"),
    ("type=float", "type=double", "parameter type=double"),
    (",op=exp;type=float;n=1000;unit=tile,3242,here", "", "parameter type is missing"),
    ("popops::UnaryOp1D,mk2,op=exp", "poplin::OuterProduct,mk2,width=1;channels=4;chansPerGroup=0", "no vertex has these parameters (ZeroDivisionError"),
    ("popops::UnaryOp1D,mk2,op=exp", "popnn::MaxPooling,mk2,initInfo=1;chansPerGroupD=1;chanGroups=1;workItemsPerRow=1;elemsMinus1PerItem=1;rowsPerWorker=", "no vertex has these parameters (ValueError"),
    (
        "popops::UnaryOp1D,mk2,op=exp;type=float;n=1000;unit=tile",
        "poplin::ConvPartial1x1Out,mk1,acts=half;partials=float;convUnits=0;fieldElems=1;convGroups=1;inGroups=1;outGroups=1;outChansPerGroup=8;load128=0;unit=tile",
        "convUnits=0: a vertex uses 8 or 16",
    ),
    ("popops::UnaryOp1D,mk2,op=exp", f"planner:exchange,mk2,bytes={10**30};bytesPerCycle=4", "no vertex has these parameters (OverflowError"),
])  # fmt: skip
def test_a_row_that_cannot_be_priced_is_skipped_with_the_reason(old, new, reason, table):
    found = vertices(table(EXP.replace(old, new), EXP))
    assert [p.id for p in found.points] == ["2"]
    ((name, said),) = found.skipped
    assert name == "1"
    assert reason in said


@pytest.mark.parametrize(("content", "message"), [
    (None, "no file"),
    (b"", "lacks the columns vertex, chip, params, cycles"),
    (b"vertex,chip,cycles\n", "lacks the column params"),
    (b"\x89PNG\r\n\x1a\n\xff\xfe", "is not a CSV file in UTF-8"),
    (HEADER.encode() + b'"never closed,mk2,,\n', "is not a CSV file in UTF-8"),
    (b"vertex,chip,params,cycles\nv,mk2,n=1,2,3\n", "line 2: more cells than the 4 columns"),
])  # fmt: skip
def test_a_file_that_is_no_such_table_is_one_line_and_exit_2(content, message, tmp_path, capsys):
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_bytes(content)
    assert main(["validate", "--vertices", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err
    assert str(path) in err


def test_other_bad_usage(tmp_path, capsys):
    assert main(["validate", "--vertices", str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert main(["validate"]) == 2
    assert "--vertices" in capsys.readouterr().err
    with pytest.raises(BadInput, match="no file"):
        vertices("nosuch.csv")


@given(st.lists(st.tuples(st.integers(1, 9), st.one_of(st.none(), st.integers(1, 9)))))
def test_counts_add_up(pairs):
    points = tuple(
        Point(str(i), f"kind {predicted % 3}", measured, predicted) for i, (predicted, measured) in enumerate(pairs)
    )
    summary = VertexValidation(points, ()).to_dict()["summary"]
    assert summary["n"] + summary["predicted_only"] == len(points)
    assert summary["exact"] == sum(predicted == measured for predicted, measured in pairs)
    assert summary["n"] == sum(kind["n"] for kind in summary["kinds"].values())
    assert summary["exact"] == sum(kind["exact"] for kind in summary["kinds"].values())
