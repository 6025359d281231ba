"""Devices and engines: what the host sees of a tile program, and what it may not ask for."""

import re

import numpy as np
import pytest

from ipusim import (
    BadHardware,
    BadInput,
    Engine,
    Graph,
    InOut,
    Report,
    UnknownName,
    Vector,
    codelet,
    float32,
    half,
    int32,
    target,
)
from ipusim import program as prog

TILES = 3


@codelet
def double(x: InOut[Vector[float32]]):
    for i in range(len(x)):
        x[i] = x[i] * 2.0


@pytest.fixture
def bench():
    graph = Graph(target("GC2", tiles=TILES), name="bench")
    x = graph.add_variable((2, 3), float32, "x")
    graph.set_tile_mapping(x, 1)
    cs = graph.add_compute_set("double")
    graph.add_vertex(cs, double, {"x": x.flatten()}, tile=1)
    return graph, x, cs


def says(text, kind=BadInput):
    return pytest.raises(kind, match=re.escape(text))


# -- devices -----------------------------------------------------------------------------------------------------------


def test_targets():
    assert target().chip.tiles == 1216
    assert target("GC2", tiles=5).chip.tiles == 5
    assert target("GC2", tiles=5).name == "GC2 with 5 tiles"
    assert target("GC200").chip.generation == "mk2"
    assert target(target("GC2", tiles=7)).chip.tiles == 7
    with says("target(ipus=3): GC2 has 16 IPUs; a program runs on 1 or 2 or 4 or 8 or 16 of them"):
        target("GC2", ipus=3)
    with says("target(ipus=4): C2 has 2 IPUs; a program runs on 1 or 2 of them"):
        target("C2", ipus=4)
    with says("target(ipus=True)"):
        target("GC2", ipus=True)
    with pytest.raises(UnknownName, match="GC3"):
        target("GC3")
    with pytest.raises(BadHardware):
        target("GC2", tiles=0)


def test_a_number_of_tiles_is_a_small_gc2(bench):
    graph = Graph(2)
    x = graph.add_variable(4, float32, "x")
    graph.map_linearly(x)
    engine = Engine(graph, prog.Sync())
    engine.run()
    assert engine.report().profile.system.name == "GC2 with 2 tiles"


# -- reading and writing -----------------------------------------------------------------------------------------------


def test_host_reads_and_writes_by_name_and_by_view(bench):
    graph, x, cs = bench
    engine = Engine(graph, cs)
    engine.write_tensor("x", np.arange(6).reshape(2, 3))
    engine.write_tensor(x[:, 0], [10, 20])
    engine.run()
    assert engine.read_tensor("x").tolist() == [[20, 2, 4], [40, 8, 10]]
    assert engine.read_tensor(x.T[1]).tolist() == [2, 8]
    got = engine.read_tensor("x")
    got[:] = 0
    assert engine.read_tensor("x")[0, 0] == 20  # an array of its own


def test_mistakes_of_reading_and_writing(bench):
    graph, _x, cs = bench
    engine = Engine(graph, cs)
    n = graph.add_variable(2, int32, "later")
    with says("no variable named 'y' (known: x, later)", UnknownName):
        engine.read_tensor("y")
    with says("write_tensor: 'x' has shape (2, 3), the values have (3, 2)"):
        engine.write_tensor("x", np.zeros((3, 2)))
    with says("values of <U1 cannot be float32"):
        engine.write_tensor("x", [["a"] * 3] * 2)
    with says("variable 'later' is not in this engine: it belongs to another graph, or was added later"):
        engine.read_tensor(n)
    with says("variable 'x' is not in this engine"):
        engine.read_tensor(Graph(2).add_variable((2, 3), float32, "x"))
    with says("a tensor is a name or a view of a variable, not 3"):
        engine.read_tensor(3)


def test_integers_out_of_range_are_refused():
    graph = Graph(1)
    graph.set_tile_mapping(graph.add_variable(2, int32, "n"), 0)
    engine = Engine(graph, prog.Sync())
    with says("write_tensor 'n': values from 0 to 4294967296 do not fit int32"):
        engine.write_tensor("n", [0, 2**32])
    with says("write_tensor 'n': values of float64 cannot be int32"):
        engine.write_tensor("n", [0.0, 1.0])


def test_an_engine_keeps_its_values_when_the_graph_grows(bench):
    graph, x, cs = bench
    engine = Engine(graph, cs)
    engine.write_tensor("x", np.ones((2, 3)))
    graph.set_tile_mapping(graph.add_variable(2, half, "later"), 0)
    engine.run()
    assert engine.read_tensor(x).tolist() == [[2.0] * 3] * 2


# -- programs ----------------------------------------------------------------------------------------------------------


def test_programs_by_number(bench):
    graph, _x, cs = bench
    engine = Engine(graph, [cs, [cs, cs]])
    engine.write_tensor("x", np.ones((2, 3)))
    engine.run(1)
    assert engine.read_tensor("x")[0, 0] == 4
    both = engine.report(cs)
    assert engine.report().cycles == both.cycles
    assert [s.repeats for s in both.steps] == [1, 1]
    engine.run(0)
    assert 2 * engine.report(cs).cycles == both.cycles
    for wrong in (2, -1, True, "0", 1.0):
        with says(f"run({wrong!r}): the engine has programs 0 to 1"):
            engine.run(wrong)
    with says("an Engine needs at least one program"):
        Engine(graph, [])
    with says("Engine: needs a Graph, not 'x'"):
        Engine("x", cs)
    with says("a program is one of"):
        Engine(graph, [7])
    with says("a program is one of"):
        engine.report(7)


def test_steps_show_what_tiles_do(bench):
    graph, x, cs = bench
    engine = Engine(graph, [[cs, prog.Copy(x[0:1], x[1:2]), prog.Sync("wait"), prog.PrintTensor(x)]])
    steps = engine.step()
    first = next(steps)
    assert engine.read_tensor("x").tolist() == np.zeros((2, 3)).tolist()
    assert (first.name, first.compute.shape) == ("double", (TILES,))
    assert first.compute[1] == first.phases["compute"] > 0
    assert repr(first) == f"<Superstep double: {first.cycles} cycles (compute {first.phases['compute']}, sync 64)>"
    assert first.memory[1] - first.memory[0] >= 24
    assert [s.name for s in steps] == ["Copy", "wait"]


def test_a_report_is_a_report(bench):
    graph, _, cs = bench
    engine = Engine(graph, prog.Block(prog.Repeat(3, cs), "loop"))
    rehearsed = engine.report()
    engine.run()
    report = engine.report()
    assert isinstance(report, Report)
    assert rehearsed.cycles == report.cycles
    assert [(s.name, s.repeats, s.vertices) for s in report.steps] == [("loop/double", 3, 1)]
    assert report.latency == pytest.approx(report.cycles / 1.6e9)
    assert "bench on GC2 with 3 tiles" in str(report)
    assert report.to_pandas("steps")["cycles"].tolist() == [report.cycles]


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def streamed(bench):
    graph, x, cs = bench
    down = graph.add_host_to_device_fifo("down", float32, 6)
    up = graph.add_device_to_host_fifo("up", float32, 6)
    return Engine(graph, prog.Repeat(3, [prog.StreamCopy(down, x), cs, prog.StreamCopy(x, up)]))


def test_streams_from_and_to_arrays(streamed):
    packets = np.arange(12.0).reshape(2, 6)
    out = np.zeros((3, 6), np.float32)
    streamed.connect_stream("down", packets)
    streamed.connect_stream("up", out)
    streamed.run()
    assert np.array_equal(out, 2 * packets[[0, 1, 0]])  # over and over
    report = streamed.report()
    assert [s.name for s in report.steps] == ["StreamCopy down", "double", "StreamCopy up"]
    assert report.steps[0].phases["host"] == 3 * 5  # 24 bytes at 7.9 GB/s are 4.9 cycles of 1.6 GHz


def test_streams_from_and_to_functions(streamed):
    sent, got = iter(range(3)), []
    streamed.connect_stream("down", lambda: np.full(6, next(sent)))
    streamed.connect_stream("up", lambda packet: got.append(packet.copy()))
    streamed.run()
    assert [g.tolist() for g in got] == [[0.0] * 6, [2.0] * 6, [4.0] * 6]


def test_mistakes_of_streams(streamed):
    with says("stream 'down' is not connected: connect_stream('down', ...)"):
        streamed.run()
    with says("no stream named 'dwn'; did you mean 'down'?", UnknownName):
        streamed.connect_stream("dwn", np.zeros(6))
    with says("stream 'down': 7 elements are no whole number of packets of 6"):
        streamed.connect_stream("down", np.zeros(7))
    with says("stream 'up' goes to the host: connect a numpy array that can be written"):
        streamed.connect_stream("up", [0.0] * 6)
    streamed.connect_stream("down", lambda: np.zeros(5))
    with says("stream 'down': a packet has 6 elements, not 5"):
        streamed.run()
    with says("report of a program that did not run: StreamCopy"):
        Engine(streamed.graph, streamed.programs[0]).report()
