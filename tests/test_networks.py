"""Whole networks against derived figures: the figures' own arithmetic, the accounting, and how far off they may be."""

import math
import sys
from pathlib import Path

import pytest

import ipusim
from ipusim_models import ZOO
from ipusim_models.bert import BertConfig, build

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import networks

ROWS = {row["id"]: row for row in networks.rows()}
#: What the derived figures are made of, from the sources named in the file: (low, high) in the row's unit.
ARITHMETIC = {
    "N01": (1e3 / 1150 / 2.2, 1.09 / 2.2),
    "N02": (4.7 * 917 / 2, 4.7 * 1150 / 2),
    "N03": (22.8 / 22, 24.05 / 22),
    "N04": (1830 / 2, 1980 / 2),
    "N05": (35.71 / 10, 12e3 / (3.7 * 884.91)),
    "N06": (1e3 / (2 * 813), 1e3 / (2 * 813)),
}
ARITHMETIC |= {"N07": ARITHMETIC["N03"], "N08": ARITHMETIC["N05"]}
FAR = 1.6  # as many times too fast or too slow as no network may be


@pytest.mark.parametrize("name", ROWS)
def test_derived_figures_follow_from_their_sources(name):
    row = ROWS[name]
    low, high = sorted(ARITHMETIC[name])
    assert float(row["low"]) == pytest.approx(low, rel=0.015)
    assert float(row["high"]) == pytest.approx(high, rel=0.015)
    assert row["model"] in ZOO
    assert row["source"]
    assert row["derivation"]


def test_what_is_moved():
    """Bytes over rates: PCIe for images, links of the card for what goes to the next stage."""
    nbytes = 6 * (3 * 224 * 224 * 2 + 1000 * 2)
    assert networks.half_bytes(ZOO["resnext101"].build(6).inputs) == 6 * 3 * 224 * 224 * 2
    assert networks.transfer_seconds("resnext101", 6, "host") == pytest.approx(nbytes / 7.9e9, rel=1e-4)
    assert networks.transfer_seconds("resnet50", 1, "synthetic") == 0
    links = 128 * 768 * 2 / (4 * 17.18e9 * 0.85)
    stage = networks.transfer_seconds("bert-base-stage", 1, "pipeline")
    assert links < stage < links + 2e-6  # and latency, a barrier and 1.5 kB from the host


def test_the_breakdown_adds_up():
    small = BertConfig(
        layers=1, hidden=64, heads=4, feed_forward=96, vocabulary=50, positions=20, sequence=14, name="small"
    )
    report = ipusim.simulate(build(small))
    parts = networks.breakdown(report)
    assert sum(cycles for _, cycles in parts) == report.cycles
    assert [cycles for _, cycles in parts] == sorted((cycles for _, cycles in parts), reverse=True)
    names = {name for name, _ in parts}
    assert {"matrix units", "norms", "softmax", "barriers", "elementwise"} <= names
    assert "other" not in names
    supersteps, small_ones, share = networks.small_steps(report)
    assert supersteps == len(report.steps)
    assert 0 < small_ones <= supersteps
    assert 0 < share <= 1


def test_what_is_left_out_is_counted():
    """Transposes of a layer of BERT: q, k, v, the columns of k, and back; a bias and a relu of ResNet are calls."""
    found = dict(networks.unpriced("bert-base-stage", 1, ipusim.simulate("bert-base-stage")))
    words = -(-128 * 768 * 2 // 1216 // 8)
    assert found["transposes as copies"] == 6 * 5 * (64 + 6 * (40 + -(-words // 6)))
    found = dict(networks.unpriced("resnet50", 1, ipusim.simulate("resnet50")))
    assert found == {"calls of elementwise vertices as of mid-2020": (53 + 49 + 16 + 1) * (198 - 11)}


@pytest.mark.parametrize(
    ("quantity", "predicted", "error", "too_fast"),
    [
        ("latency", 1.0, -0.5, 2 * math.sqrt(2)),
        ("throughput", 8.0, 1.0, 2 * math.sqrt(2)),
        ("latency", 3.0, 0.0, 0.943),
    ],
)
def test_errors_count_from_the_nearer_end(quantity, predicted, error, too_fast):
    one = networks.Network("N", "net", "net b1", quantity, "", 2.0, 4.0, predicted, predicted, 0.0, True, None)
    assert one.error == pytest.approx(error)
    assert one.too_fast == pytest.approx(too_fast, rel=1e-3)


@pytest.mark.validation
def test_no_network_is_far_off():
    found = list(networks.networks())
    assert [network.id for network in found] == list(ROWS)
    for network in found:
        print(*network.cells)
        assert 1 / FAR < network.too_fast < FAR, network.name
        assert bool(network.transfer) == (ROWS[network.id]["data"] != "synthetic")
        assert sum(cycles for _, cycles in networks.breakdown(network.report)) == network.report.cycles
