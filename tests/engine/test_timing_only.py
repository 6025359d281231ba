"""Engines that time without values: the same cycles as a run with values, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim import Graph, InOut, Input, Output, Vector, codelet, float32, half, int32
from ipusim import program as prog
from ipusim.errors import BadInput, CodeletError, DoesNotFit

DEVICE = ipusim.target("GC2", tiles=3)


@codelet
def smooth(x: Input[Vector[float32]], y: Output[Vector[float32]], rounds: int) -> None:
    for _ in range(rounds):
        for i in range(1, len(x) - 1):
            y[i] = (x[i - 1] + x[i + 1]) * 0.5


@codelet(multi=True)
def shared(x: Input[Vector[half]], y: Output[Vector[half]], worker_id: int) -> None:
    for i in range(worker_id, len(x), 6):
        y[i] = x[i] + x[i]


@codelet
def ragged(rows: InOut[Vector[Vector[float32]]]) -> None:
    for r in range(len(rows)):
        for i in range(len(rows[r])):
            rows[r][i] += 1.0


@codelet(cycles=lambda x, y, rounds: 7 * x + rounds)
def given_cost(x: Input[Vector[float32]], y: Output[Vector[float32]], rounds: int) -> None:
    for i in range(len(x)):
        y[i] = x[i]


@codelet
def bisect(x: Input[Vector[float32]], y: Output[float32]) -> None:
    n = 0
    while x[n] > 0.0:
        n += 1
    y[0] = float(n)


@st.composite
def programs(draw):
    """(lengths, tiles, rounds) of vertices of `smooth`, and row lengths of those of `ragged`."""
    count = draw(st.integers(1, 12))
    lengths = draw(st.lists(st.integers(2, 9), min_size=count, max_size=count))
    tiles = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    rounds = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    rows = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=4))
    return lengths, tiles, rounds, rows


def built(drawn):
    lengths, tiles, rounds, rows = drawn
    graph = Graph(DEVICE)
    x, y = (graph.add_variable((len(lengths), 10), float32, name) for name in "xy")
    h, k = (graph.add_variable(40, half, name) for name in "hk")
    z = graph.add_variable((len(rows), 3, 4), float32, "z")
    for tensor in (x, y, h, k, z):
        graph.map_linearly(tensor)
    first, second = graph.add_compute_set("first"), graph.add_compute_set("second")
    for r, (n, tile, times) in enumerate(zip(lengths, tiles, rounds, strict=True)):
        vertex = given_cost if r % 5 == 4 else smooth
        graph.add_vertex(first, vertex, {"x": x[r, :n], "y": y[r, :n], "rounds": times}, tile=tile)
    for tile in range(3):
        fields = {"x": h[10 * tile : 10 * tile + 9 - tile], "y": k[10 * tile : 10 * tile + 9 - tile]}
        graph.add_vertex(second, shared, fields, tile=tile)
    for r, sizes in enumerate(rows):
        graph.add_vertex(second, ragged, {"rows": [z[r, i, :n] for i, n in enumerate(sizes)]}, tile=r % 3)
    body = [prog.Execute(first), prog.Copy(y, x), prog.Execute(second)]
    return graph, [prog.Repeat(3, body), prog.Execute(first)]


@settings(max_examples=25)
@given(programs())
def test_cycles_are_those_of_a_run_with_values(drawn):
    graph, program = built(drawn)
    full, timed = ipusim.Engine(graph, [program]), ipusim.Engine(graph, [program], timing_only=True)
    assert timed.report().phases == full.report().phases  # neither has run
    full.run(0)
    timed.run(0)
    a, b = full.report(), timed.report()
    assert (a.phases, a.cycles, a.memory.max_tile_bytes) == (b.phases, b.cycles, b.memory.max_tile_bytes)
    for one, other in zip(full.step(0), timed.step(0), strict=True):
        assert one.phases == other.phases
        assert np.array_equal(one.compute, other.compute)


def test_nothing_of_the_size_of_a_variable_is_allocated():
    """Two variables of 4 TB, on a device that could not hold them."""
    graph = Graph(ipusim.target("GC2"))
    x, y = (graph.add_variable((1216, 2**30), float32, name) for name in "xy")
    lo = np.stack([np.arange(1216), np.zeros(1216, int)], axis=1)
    hi = lo + np.array([1, 2**30])
    graph.set_tile_mapping(x.blocks(lo, hi), np.arange(1216))
    graph.set_tile_mapping(y.blocks(lo, hi), np.arange(1216))
    cs = graph.add_compute_set("cs")
    short = lo + np.array([1, 100])
    fields = {"x": x.blocks(lo, short), "y": y.blocks(lo, short), "rounds": 1}
    graph.add_vertices(cs, smooth, fields, np.arange(1216))
    engine = ipusim.Engine(graph, [prog.Repeat(10**6, prog.Execute(cs))], timing_only=True, allow_out_of_memory=True)
    engine.run(0)
    assert engine.report().cycles % 10**6 == 0
    assert not engine.fits
    with pytest.raises(DoesNotFit):
        ipusim.Engine(graph, [prog.Execute(cs)], timing_only=True).run(0)


@pytest.fixture
def small():
    """A graph with x (4,), y (1,) and n on tile 0."""
    graph = Graph(DEVICE)
    for name, n, dtype in (("x", 4, float32), ("y", 1, float32), ("n", 1, int32)):
        graph.set_tile_mapping(graph.add_variable(n, dtype, name), 0)
    return graph


def test_codelets_that_depend_on_data_are_refused(small):
    cs = small.add_compute_set("cs")
    small.add_vertex(cs, bisect, {"x": small.tensor("x"), "y": small.tensor("y")[0]}, tile=0)
    with pytest.raises(BadInput, match="codelet bisect: its cycles depend on what its fields hold"):
        ipusim.Engine(small, [prog.Execute(cs)], timing_only=True)


@pytest.mark.parametrize("kind", ["If", "RepeatWhileTrue", "Switch", "AbortOnCondition"])
def test_control_that_depends_on_data_is_refused(small, kind):
    flag = small.tensor("n")[0]
    made = {
        "If": lambda: prog.If(flag, prog.Sequence([]), prog.Sequence([])),
        "RepeatWhileTrue": lambda: prog.RepeatWhileTrue(prog.Sequence([]), flag, prog.Sequence([])),
        "Switch": lambda: prog.Switch(flag, {1: prog.Sequence([])}),
        "AbortOnCondition": lambda: prog.AbortOnCondition(flag, "no"),
    }[kind]()
    with pytest.raises(BadInput, match="depends on values; timing_only=True has none"):
        ipusim.Engine(small, [made], timing_only=True)


def test_values_are_not_there(small):
    stream = small.add_host_to_device_fifo("in", float32, 4)
    steps = [prog.StreamCopy(stream, small.tensor("x")), prog.PrintTensor(small.tensor("x"))]
    engine = ipusim.Engine(small, [steps], timing_only=True)
    engine.run(0)  # neither asks for a stream to be connected nor prints
    assert engine.report().phases["host"] > 0
    for use in (lambda: engine.read_tensor("x"), lambda: engine.write_tensor("x", np.zeros(4))):
        with pytest.raises(BadInput, match="timing_only=True holds no values"):
            use()


def test_an_index_outside_its_field_is_told_with_the_vertex(small):
    @codelet
    def beyond(x: Input[Vector[float32]], y: Output[Vector[float32]]) -> None:
        y[0] = x[4]

    cs = small.add_compute_set("cs")
    small.add_vertex(cs, beyond, {"x": small.tensor("x"), "y": small.tensor("y")}, tile=0)
    with pytest.raises(CodeletError, match=r"vertex on tile 0 added at test_timing_only.py:\d+.*'x'"):
        ipusim.Engine(small, [prog.Execute(cs)], timing_only=True)
