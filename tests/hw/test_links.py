"""Links between IPUs: routes of the ladder, the phase formula by loops, barriers, and the numbers against their rows."""

import csv
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.errors import BadHardware
from ipusim.hw import links
from ipusim.hw.presets import LINK_NUMBERS, SYSTEMS
from ipusim.hw.spec import LinkSpec

SERVER = SYSTEMS["DSS8440"]
DATA = Path(__file__).parents[1] / "data"
with (DATA / "hardware.csv").open(newline="") as file:
    ROWS = {(row["chip"], row["parameter"]): row for row in csv.DictReader(file)}
ipus = st.integers(0, 15)


@given(ipus, ipus)
def test_a_route_is_a_walk_on_the_ladder(a, b):
    at = a
    for one, other in links.route(a, b):
        assert one == at
        assert other == one ^ 1 or (other - one in (-2, 2))
        at = other
    assert at == b
    assert len(links.route(a, b)) == abs(a // 2 - b // 2) + (a % 2 != b % 2)


def test_the_rung_comes_first():
    assert links.route(1, 6) == ((1, 0), (0, 2), (2, 4), (4, 6))
    assert links.route(6, 1) == ((6, 7), (7, 5), (5, 3), (3, 1))


flows = st.lists(st.tuples(ipus, ipus, st.integers(1, 10**6)).filter(lambda f: f[0] != f[1]), min_size=1, max_size=20)


@given(flows, st.floats(0, 1000))
def test_a_phase_by_loops(rows, packets):
    load, hops = Counter(), 0
    for a, b, nbytes in rows:
        way = links.route(a, b)
        hops = max(hops, len(way))
        for link in way:
            load[link] += nbytes
    busiest = max(n / (4 if a // 2 == b // 2 else 2) for (a, b), n in load.items())
    moving = max(math.ceil(busiest / (17.18e9 * 0.85 / 1.6e9)), math.ceil(packets * SERVER.links.packet_cycles))
    columns = (np.array(c, np.int64) for c in zip(*rows, strict=True))
    found = links.phase_cycles(links.Flows(*columns), packets, SERVER)
    assert abs(found - (SERVER.links.latency_cycles + hops * 24 + moving)) <= 1


def test_packets_of_a_tile_follow_one_another_and_tiles_share_the_contexts():
    tile = np.zeros(SERVER.num_tiles, np.int64)
    tile[:64] = 1
    assert links.busiest_packets(tile, SERVER) == 2
    tile[5000] = 10
    assert links.busiest_packets(tile, SERVER) == 10 + 10 / 64


def test_barriers_by_scope():
    """M0084 and M0102: 64 cycles on one GC2 and 501 on sixteen; the vendor's model: 15 ns a hop there and back."""
    assert links.sync_cycles(SERVER, 1) == 64
    assert links.sync_cycles(SERVER, 16) == 501
    found = [links.sync_cycles(SERVER, n) for n in (2, 4, 8, 16)]
    assert np.diff(found).tolist() == [48, 48, 96]
    assert links.sync_cycles(SYSTEMS["M2000"], 4) == 600  # Target::getGlobalSyncCycles


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("ipu_link_model_bandwidth_per_link", lambda s: s.bytes_per_second / 1e9),
        ("ipu_link_efficiency_model", lambda s: s.efficiency),
        ("external_exchange_max_payload", lambda s: s.payload_bytes),
        ("sync_inter_chip_per_hop", lambda s: s.hop_seconds),
    ],
)
def test_numbers_of_the_ladder_are_those_of_their_rows(parameter, value):
    assert value(SERVER.links) == float(ROWS["GC2", parameter]["value"])


def test_contexts_are_those_of_all_exchange_blocks():
    blocks, each = (ROWS["GC2", f"external_exchange_{n}"]["value"] for n in ("blocks", "contexts_per_block"))
    assert SERVER.links.contexts == int(blocks) * int(each)


@pytest.mark.parametrize(("kind", "system"), [("GC2", "DSS8440"), ("GC200", "POD16")])
def test_every_link_number_has_a_source(kind, system):
    for path in SYSTEMS[system].links.paths():
        number = LINK_NUMBERS[kind][path]
        assert SYSTEMS[system].links.get(path) == number.value
        assert number.source
        assert number.confidence in ("primary", "quoted", "derived", "assumed")


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [("rung_links", 0, "at least 1"), ("efficiency", 1.5, "at most 1"), ("hop_seconds", -1.0, "above 0")],
)
def test_links_that_no_machine_has(field, value, rule):
    with pytest.raises(BadHardware, match=f"links.{field} = {value}: must be .*{rule}"):
        LinkSpec(**{field: value})
