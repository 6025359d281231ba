"""The bands of mechanisms against the rows they name as evidence: what was measured lies within."""

import csv
import re
from pathlib import Path

import pytest

import ipusim
from ipusim.hw import cost, mechanisms
from ipusim.validate_data import DataPoint, generators, predict_cells

DATA = Path(__file__).parent / "data"
with (DATA / "measurements.csv").open(newline="") as file:
    ROWS = {row["id"]: row for row in csv.DictReader(file)}

EVERY = mechanisms.MECHANISMS | mechanisms.OF_TOTALS | mechanisms.OF_MEMORY
MEASURED = [(m.name, row) for m in EVERY.values() for row in m.evidence if re.fullmatch(r"M\d{4}", row)]
#: Rows that are no program of their own: (the chip's cycles) / (the model's), of what the row tells.
OF_NO_PROGRAM = {
    "M0308": lambda percent: 1 + percent / 100,  # latency of a loaded exchange, in percent above that of an idle one
    "M0565": lambda ms: ms / 1e3 / (cost.host_cycles(453_752_832, 1e9) / 1e9),  # an upload
}
#: Whole ops: planning them takes seconds.
SLOW = set(mechanisms.OF_TOTALS)


def test_evidence_exists():
    for mechanism in EVERY.values():
        for name in mechanism.evidence:
            assert not name.endswith(".csv") or (DATA / name).exists(), name
            assert not re.fullmatch(r"M\d+", name) or name in ROWS
    assert {row for _, row in MEASURED} >= set(OF_NO_PROGRAM)
    assert len(MEASURED) > 15


def chip_over_model(row):
    """Cycles of the chip over those predicted."""
    value = float(row["value"])
    if row["id"] in OF_NO_PROGRAM:
        return OF_NO_PROGRAM[row["id"]](value)
    found = predict_cells(row, generators())
    assert isinstance(found, DataPoint), found
    faster = found.metric in ("bandwidth", "throughput")
    return found.predicted / value if faster else value / found.predicted


@pytest.mark.validation
@pytest.mark.parametrize(
    ("name", "row"),
    [pytest.param(*pair, marks=[pytest.mark.slow] if pair[0] in SLOW else []) for pair in MEASURED],
)
def test_what_was_measured_lies_in_the_band(name, row):
    mechanism, ratio = EVERY[name], chip_over_model(ROWS[row])
    assert 1 + mechanism.low <= ratio <= 1 + mechanism.high


def test_a_prediction_outside_would_be_noticed():
    mechanism = mechanisms.MECHANISMS["on-tile copies"]
    row = ROWS["M0087"] | {"value": "6500"}
    assert chip_over_model(row) > 1 + mechanism.high


with (DATA / "networks.csv").open(newline="") as file:
    NETWORKS = [row for row in csv.DictReader(file) if row["quantity"] == "latency"]


@pytest.mark.validation
@pytest.mark.parametrize("row", NETWORKS, ids=lambda row: row["id"])
def test_derived_latencies_of_networks_overlap_the_band(row):
    """The derived figures are ranges of their own; where they include the host, the band covers that too."""
    report = ipusim.simulate(
        row["model"],
        batch=int(row["batch"]),
        system=row["system"],
        available_memory_proportion=float(row["available_memory_proportion"]),
    )
    low, high = report.latency_band
    assert low <= float(row["high"]) / 1e3
    assert high >= float(row["low"]) / 1e3
