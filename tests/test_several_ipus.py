"""Tile programs over several IPUs: values as on one big chip, and what goes over links counted by loops."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim import Engine, Graph, InOut, Input, Output, Vector, codelet, float32, int32, target
from ipusim import program as prog
from ipusim.engine.links import exchange
from ipusim.engine.messages import collect, moved
from ipusim.engine.schedule import Messages, schedule
from ipusim.hw import links

CHIP_TILES = 3
DEVICE = target("GC2", ipus=4, tiles=CHIP_TILES)


@codelet
def add(a: Input[Vector[float32]], b: Input[Vector[float32]], out: Output[Vector[float32]]):
    for i in range(len(out)):
        out[i] = a[i] + 2.0 * b[i]


@codelet
def count_down(x: InOut[Vector[int32]]):
    x[0] = x[0] - 1


def built(device, reader, owner, size=8):
    """A vertex on each of two tiles, one of which reads what the other owns."""
    graph = Graph(device)
    a, b, out = (graph.add_variable((2, size), float32, name) for name in ("a", "b", "out"))
    for row in range(2):
        graph.set_tile_mapping(a[row], owner)
        graph.set_tile_mapping(b[row], reader)
        graph.set_tile_mapping(out[row], reader)
    step = graph.add_compute_set("add")
    for row in range(2):
        graph.add_vertex(step, add, {"a": a[row], "b": b[row], "out": out[row]}, tile=reader)
    return graph, prog.Execute(step)


def test_tiles_are_numbered_on_from_one_ipu_to_the_next():
    assert (DEVICE.num_tiles, DEVICE.tiles_per_ipu, DEVICE.ipus) == (12, 3, 4)
    assert DEVICE.name == "4 GC2 with 3 tiles"
    assert target("GC2", ipus=16).num_tiles == 19456
    assert target("M2000", ipus=4).chip.name == "GC200"


@pytest.mark.parametrize(("reader", "owner"), [(0, 1), (0, 3), (11, 2), (4, 4)])
def test_values_are_those_of_one_big_chip(reader, owner):
    found = []
    for device in (DEVICE, target("GC2", tiles=DEVICE.num_tiles)):
        graph, step = built(device, reader, owner)
        engine = Engine(graph, step)
        engine.write_tensor("a", np.arange(16.0).reshape(2, 8))
        engine.write_tensor("b", np.full((2, 8), 3.0))
        engine.run()
        found.append((engine.read_tensor("out"), engine.report()))
    (several, report), (one, other) = found
    assert np.array_equal(several, one)
    assert np.array_equal(several, np.arange(16.0).reshape(2, 8) + 6)
    crosses = reader // CHIP_TILES != owner // CHIP_TILES
    assert (report.phases["link"] > 0) == crosses
    assert report.phases["sync"] == (links.sync_cycles(DEVICE, 4) if crosses else 64)
    assert sum(report.phases.values()) == report.cycles
    assert other.phases["link"] == 0
    assert report.phases["compute"] == other.phases["compute"]
    assert report.profile.ipus_in_use == 4


def test_bytes_over_links_are_received_and_take_exchange_code():
    graph, step = built(DEVICE, 0, 3)
    engine = Engine(graph, step)
    engine.run()
    (one,) = engine.report().profile.steps
    assert one.tiles.received.tolist() == [64] + [0] * 11
    assert one.tiles.sent.tolist() == [0, 0, 0, 64] + [0] * 8
    assert [int(n) for n in engine.report().profile.tile_categories["exchange code"][:4]] == [12, 0, 0, 12]
    assert one.wait.tolist() == [0] + [int(one.tiles.compute[0] + one.tiles.copies[0])] * 11


def test_a_condition_reaches_every_ipu():
    graph = Graph(DEVICE)
    x = graph.add_variable(1, int32, "x")
    graph.set_tile_mapping(x, 5)
    graph.set_initial_value(x, 3)
    step = graph.add_compute_set("count down")
    graph.add_vertex(step, count_down, {"x": x}, tile=5)
    engine = Engine(graph, prog.RepeatWhileTrue(prog.Sequence([]), x, prog.Execute(step)))
    engine.run()
    assert engine.read_tensor("x").tolist() == [0]
    barrier, within = links.sync_cycles(DEVICE, 4), links.sync_cycles(DEVICE, 1)
    assert engine.report().phases["sync"] == 4 * barrier + 3 * within


def test_a_sync_waits_for_all_ipus():
    engine = Engine(Graph(DEVICE), prog.Sync())
    engine.run()
    assert engine.report().phases["sync"] == links.sync_cycles(DEVICE, 4)


@st.composite
def row(draw):
    source = draw(st.integers(0, DEVICE.num_tiles - 1))
    others = st.sampled_from([t for t in range(DEVICE.num_tiles) if t != source])
    size = draw(st.integers(1, 3000))
    return source, tuple(draw(st.lists(others, min_size=1, max_size=8, unique=True))), size, math.ceil(size / 1024)


@settings(deadline=None)
@given(st.lists(row(), min_size=1, max_size=12))
def test_messages_cross_once_for_each_ipu_that_listens(rows):
    first = np.cumsum([0] + [len(r) for _, r, _, _ in rows]).astype(np.int32)
    messages = Messages(
        np.array([s for s, *_ in rows], np.int32),
        np.array([b for _, _, b, _ in rows], np.int64),
        first,
        np.array([t for _, r, _, _ in rows for t in r], np.int32),
    )
    found = exchange(messages, np.array([p for *_, p in rows], np.int64), DEVICE)
    sent, over, flows = Counter(), Counter(), []
    packets_out, packets_in = Counter(), Counter()
    for source, receivers, size, packets in rows:
        for chip in {t // CHIP_TILES for t in receivers}:
            sent[source] += size
            if chip == source // CHIP_TILES:
                continue
            flows.append((source // CHIP_TILES, chip, size))
            packets_out[source] += packets
            for t in (t for t in receivers if t // CHIP_TILES == chip):
                over[t] += size
                packets_in[t] += packets
    tiles = range(DEVICE.num_tiles)
    assert found.sent.tolist() == [sent[t] for t in tiles]
    assert found.over_links.tolist() == [over[t] for t in tiles]
    assert found.received.tolist() == [sum(b for _, r, b, _ in rows if t in r) for t in tiles]
    assert found.ipus == (4 if flows else 1)
    if not flows:
        assert found.link_cycles == 0
        return
    most = max(
        links.busiest_packets(np.array([p[t] for t in tiles], np.int64), DEVICE) for p in (packets_out, packets_in)
    )
    columns = (np.array(c, np.int64) for c in zip(*flows, strict=True))
    assert found.link_cycles == links.phase_cycles(links.Flows(*columns), most, DEVICE)


@settings(deadline=None)
@given(st.lists(row(), min_size=1, max_size=12))
def test_what_stays_on_its_chip_is_scheduled_as_if_the_others_were_not_there(rows):
    near = [(s, r, b) for s, r, b, _ in rows for r in r if r // CHIP_TILES == s // CHIP_TILES]
    found = exchange(Messages.unicast(*zip(*near, strict=True)) if near else Messages.unicast([], [], []),
                     np.ones(len(near), np.int64), DEVICE)  # fmt: skip
    alone = []
    for chip in range(DEVICE.ipus):
        mine = [(s % CHIP_TILES, r % CHIP_TILES, b) for s, r, b in near if s // CHIP_TILES == chip]
        if mine:
            pattern = Messages.unicast(*zip(*mine, strict=True))
            alone.append(schedule(pattern, tiles=CHIP_TILES, spec=DEVICE.chip.exchange).cycles)
    assert found.cycles == max(alone, default=0)
    assert found.link_cycles == 0


def test_every_contiguous_run_is_a_packet_of_its_own():
    """(from, to, first element, elements, variable): 3 floats, a gap, 600 floats (3 packets of a KiB) to tile 9."""
    rows = np.array([[0, 9, 0, 3, 0], [0, 9, 5, 600, 0]])
    messages, packets = collect(rows, np.array([4]), payload=1024)
    assert (messages.bytes.tolist(), packets.tolist()) == ([12 + 2400], [1 + 3])
    one = moved(rows, np.array([4]), DEVICE)
    fewer = moved(np.array([[0, 9, 0, 603, 0]]), np.array([4]), DEVICE)
    assert one.link_cycles - fewer.link_cycles == round((1 + 1 / 64) * DEVICE.links.packet_cycles)


def test_more_ipus_take_a_longer_way():
    near, far = (moved(np.array([[0, t, 0, 4, 0]]), np.array([4]), DEVICE).link_cycles for t in (3, 9))
    assert far - near == links.hop_cycles(DEVICE)  # IPU 0 to 1 is a rung, 0 to 3 a rung and a step up
