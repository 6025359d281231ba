"""Corners of tile programs: nothing to do, the same part twice, who holds what, and what a host may get wrong."""

import re

import numpy as np
import pytest

from ipusim import (
    BadInput,
    Engine,
    Graph,
    InOut,
    Input,
    InvalidProgram,
    Output,
    Tensor,
    Vector,
    codelet,
    float32,
    half,
    int32,
    target,
    uint32,
)
from ipusim import program as prog
from ipusim.hw import cost

TILES = 4
SYNC = 64


@codelet
def copy(x: Input[Vector[float32]], y: Output[Vector[float32]]):
    for i in range(len(y)):
        y[i] = x[i]


@codelet
def add(x: InOut[Vector[float32]], k: int):
    for i in range(len(x)):
        x[i] = x[i] + k


@codelet
def total(rows: Input[Vector[Vector[float32]]], out: Output[float32]):
    t = 0.0
    for r in range(len(rows)):
        for i in range(len(rows[r])):
            t += rows[r][i]
    out[0] = t


@codelet(cycles=100)
def short(x: InOut[Vector[float32]]):
    for i in range(len(x)):
        x[i] = x[i] + 1.0


@codelet(cycles=1000)
def long(x: InOut[Vector[float32]]):
    for i in range(len(x)):
        x[i] = x[i] + 1.0


@codelet
def down(n: InOut[int32]):
    n[0] = n[0] - 1


def says(text, kind=BadInput):
    return pytest.raises(kind, match=re.escape(text))


class Bench:
    """A graph whose variables lie on given tiles, row by row."""

    def __init__(self, tiles=TILES):
        self.graph = Graph(target("GC2", tiles=tiles), name="bench")

    def put(self, shape, tile, dtype=float32, name=""):
        made = self.graph.add_variable(shape, dtype, name)
        for row, at in zip(made, tile, strict=True) if isinstance(tile, list) else [(made, tile)]:
            self.graph.set_tile_mapping(row, at)
        return made

    def run(self, code, tile, program=True, name="", **fields):
        cs = self.graph.add_compute_set(name or code.name)
        self.graph.add_vertex(cs, code, fields, tile=tile)
        return prog.Execute(cs) if program else cs

    def step(self, part):
        engine = Engine(self.graph, [part])
        engine.run()
        (step,) = engine.report().steps
        return step


# -- workers -----------------------------------------------------------------------------------------------------------


def test_workers_are_dealt_in_the_order_of_adding_whatever_the_codelet():
    """Two long vertices, first and seventh of the tile, meet on one worker, however many short ones lie between."""
    bench = Bench()
    rows = bench.put((12, 2), 0)
    cs = bench.graph.add_compute_set("mixed")
    for i, row in enumerate(rows):
        bench.graph.add_vertex(cs, long if i in (0, 6) else short, {"x": row})
    assert bench.step(cs).phases["compute"] == 6 * 2000 + cost.LAUNCH_CYCLES


# -- functions and parts -----------------------------------------------------------------------------------------------


def test_calls_of_a_function_are_told_apart():
    bench = Bench()
    x = bench.put(6, 0)
    inner = bench.graph.add_function([bench.run(add, 0, x=x, k=1)], "inner")
    outer = bench.graph.add_function([prog.Call(inner), prog.Call(inner)], "outer")
    first, second = prog.Repeat(3, prog.Call(outer)), prog.Sequence(prog.Call(inner), prog.Call(outer))
    engine = Engine(bench.graph, [[first, second]])
    engine.run()
    one = engine.report(first).cycles // 6
    assert (engine.read_tensor(x) == 9).all()
    assert engine.report(first).cycles == 6 * one
    assert engine.report(second).cycles == 3 * one
    assert engine.report([[first], [second]]).cycles == engine.report().cycles == 9 * one
    assert engine.report(inner).cycles == 9 * one
    assert engine.report(outer).cycles == 8 * one
    unused = bench.graph.add_function(prog.Sync())
    assert engine.report(unused).cycles == SYNC
    assert {s.name for s in engine.report().steps} == {"inner/add"}


def test_control_code_of_a_function_is_held_once():
    def bytes_of(calls, body):
        bench = Bench()
        function = bench.graph.add_function([prog.Sync()] * body)
        report = Engine(bench.graph, [[prog.Call(function)] * calls]).report()
        return int(report.profile.tile_categories["control code"][0])

    assert bytes_of(5, 20) - bytes_of(4, 20) == bytes_of(5, 3) - bytes_of(4, 3) > 0
    assert bytes_of(2, 21) - bytes_of(2, 20) == bytes_of(1, 21) - bytes_of(1, 20) > 0


def test_calls_in_calls_may_not_multiply_without_end():
    bench = Bench()
    at = bench.graph.add_function(prog.Sync(), "leaf")
    for i in range(30):
        at = bench.graph.add_function([prog.Call(at), prog.Call(at)], f"f{i}")
    with says("calls within calls come to over 100,000 steps", InvalidProgram):
        Engine(bench.graph, prog.Call(at))


def test_another_run_ends_a_stepping():
    bench = Bench()
    x = bench.put(6, 0)
    engine = Engine(bench.graph, prog.Repeat(4, bench.run(add, 0, x=x, k=1)))
    steps = engine.step()
    next(steps)
    engine.run()
    assert (engine.read_tensor(x) == 5).all()
    assert engine.report().steps[0].repeats == 4
    with says("step: another run has begun since"):
        next(steps)
    assert len(list(engine.step())) == 4


def test_running_and_stepping_agree_in_values_and_cycles():
    """Loops of copies and compute sets run in bursts when nobody looks."""
    bench = Bench()
    x, y, n = bench.put((3, 2), [0, 1, 2]), bench.put((3, 2), [1, 1, 3]), bench.put(1, 2, int32)
    body = [bench.run(add, 1, x=y[0], k=2), prog.Copy(y, x), prog.Sync(), prog.Copy(x[::-1], y)]
    loop = prog.Repeat(700, body)
    flow = prog.RepeatWhileTrue([], n[0], [loop, prog.Repeat(9, bench.run(down, 2, n=n))])
    fast, slow = Engine(bench.graph, flow), Engine(bench.graph, flow)
    for engine in (fast, slow):
        engine.write_tensor(n, [18])
    fast.run()
    stepped = list(slow.step())
    assert len(stepped) == sum(s.repeats for s in fast.report().steps) == 3 + 2 * (700 * 4 + 9)
    assert sum(s.cycles for s in stepped) == fast.report().cycles == slow.report().cycles
    for a, b in zip(fast.report().steps, slow.report().steps, strict=True):
        assert (a.name, a.phases, a.repeats) == (b.name, b.phases, b.repeats)
        assert np.array_equal(a.tiles.compute, b.tiles.compute)
    assert np.array_equal(fast.read_tensor(y), slow.read_tensor(y))
    assert fast.read_tensor(y)[2].tolist() == [1400.0] * 2


# -- nothing to do -----------------------------------------------------------------------------------------------------


def test_nothing_is_moved_computed_and_printed(capsys):
    bench = Bench(1)
    x, none = bench.put((2, 3), 0), bench.put((0, 3), 0)
    cs = bench.run(add, 0, program=False, x=none.flatten(), k=1)
    bench.graph.add_vertex(cs, add, {"x": x[1:1].flatten(), "k": 1})
    empty = bench.graph.add_compute_set("empty")
    parts = [cs, empty, prog.Copy(none, x[0:0]), prog.Copy(none, none), prog.PrintTensor(none), prog.WriteUndef(none)]
    engine = Engine(
        bench.graph, [[*parts, prog.Repeat(0, cs), prog.Block([], "b"), prog.If(bench.put(1, 0, int32), [])]]
    )
    engine.run()
    assert [s.name.split()[0] for s in engine.report().steps] == ["add", "empty", "Copy", "Copy", "If"]
    assert engine.report().steps[2].cycles == SYNC
    assert engine.read_tensor(none).shape == (0, 3)
    assert not engine.read_tensor(x).any()
    assert "[]" in capsys.readouterr().err


def test_loops_around_nothing_are_over_at_once():
    bench = Bench()
    x = bench.put(4, 0)
    most = 2**31 - 1
    engine = Engine(bench.graph, [[prog.Repeat(most, prog.Repeat(most, [])), prog.Repeat(np.int64(3), prog.Sync())]])
    engine.run()
    assert engine.report().cycles == 3 * SYNC
    Engine(bench.graph, prog.Repeat(100_000, prog.WriteUndef(x))).run()
    with says("Repeat: the count is a whole number from 0 to 2147483647, not 2147483648"):
        prog.Repeat(most + 1, [])


def test_programs_nested_too_deeply():
    part = prog.Sync()
    for _ in range(5000):
        part = prog.Repeat(1, part)
    with says("programs are nested too deeply", InvalidProgram):
        Engine(Graph(1), part)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "bool"])
def test_selectors_and_conditions_of_every_type(dtype):
    bench = Bench()
    at, x = bench.put(1, 3, dtype), bench.put(4, 0)
    values = [0, 1] if dtype == "bool" else sorted({np.iinfo(dtype).min, 0, 1, np.iinfo(dtype).max})
    cases = {int(v): bench.run(add, 0, x=x, k=i + 1) for i, v in enumerate(values)}
    nonzero = bench.run(add, 0, x=x, k=100)
    engine = Engine(bench.graph, [[prog.Switch(at, cases), prog.If(at[0], nonzero)]])
    for i, v in enumerate(values):
        engine.write_tensor(x, np.zeros(4))
        engine.write_tensor(at, np.array([v], dtype))
        engine.run()
        assert engine.read_tensor(x).tolist() == [i + 1 + 100 * bool(v)] * 4


# -- exchange and copies -----------------------------------------------------------------------------------------------


def test_a_copy_is_received_as_often_as_it_is_stored():
    bench = Bench()
    x, y = bench.put(1, 0), bench.put((2, 100), [1, 2])
    step = bench.step(prog.Copy(x.broadcast(200), y.flatten()))
    assert step.tiles.received.tolist() == [0, 400, 400, 0]
    assert step.tiles.sent.tolist() == [400, 0, 0, 0]  # both tiles need the same


def test_how_readers_cut_a_stretch_does_not_matter():
    """One tile reads seven halves at once, the other one by one: the same words, sent once."""

    @codelet
    def first(x: Input[Vector[half]], y: Output[half]):
        y[0] = x[0]

    bench = Bench()
    x, y = bench.put(7, 0, half), bench.put((8, 1), [1] + [2] * 7, half)
    cs = bench.graph.add_compute_set("read")
    bench.graph.add_vertex(cs, first, {"x": x, "y": y[0]}, tile=1)
    for i in range(7):
        bench.graph.add_vertex(cs, first, {"x": x[i : i + 1], "y": y[1 + i]}, tile=2)
    step = bench.step(cs)
    assert step.tiles.received.tolist() == [0, 16, 16, 0]
    assert step.tiles.sent.tolist() == [16, 0, 0, 0]


def test_an_on_tile_copy_pays_for_rows_at_either_end():
    bench = Bench()
    x, y = bench.put((24, 24), 0), bench.put((24, 24), 0)
    plain, there, back = (
        bench.step(prog.Copy(a, b)).phases["copy_before"]
        for a, b in ((x[0:12], y[0:12]), (x[:, 0:12], y[0:12]), (x[0:12], y[:, 0:12].reshape((12, 24))))
    )
    assert plain == 6 * (cost.COPY_SLOTS + cost.COPY_ROW_SLOTS + 144 // 6)
    assert there == back == 6 * (cost.COPY_SLOTS + 24 // 6 * cost.COPY_ROW_SLOTS + 144 // 6)


def test_a_field_of_many_strided_vectors_is_gathered_by_one_copy_vertex():
    bench = Bench()
    x, out = bench.put((6, 8), 0), bench.put((), 0)
    step = bench.step(bench.run(total, 0, rows=x[:, ::2], out=out))
    assert step.phases["copy_before"] == 6 * (cost.COPY_SLOTS + 6 * 4)  # rows of one word, six vectors of four


def test_results_for_other_tiles_are_held_where_they_are_made():
    bench = Bench()
    x, near, far = bench.put(512, 0), bench.put(512, 0), bench.put(512, 1)
    memory = [bench.step(bench.run(copy, 0, x=x, y=y)).tiles.memory for y in (near, far)]
    grown = memory[1] - memory[0]
    assert 2048 <= grown[0] < 2148  # the buffer and exchange code
    assert grown[1] < 100  # straight into the variable


def test_a_copy_in_one_stretch_needs_no_buffer_and_a_scattered_one_does():
    def memory(target):
        bench = Bench()
        x, y = bench.put(512, 0), bench.put((512, 2), 1)
        return bench.step(prog.Copy(x, target(y))).tiles.memory

    assert memory(lambda y: y[:, 0])[1] - memory(lambda y: y[0:256].flatten())[1] == 2048


# -- WriteUndef --------------------------------------------------------------------------------------------------------


def held(bench, program, name):
    """Bytes of tile 0 in the first superstep of a name."""
    engine = Engine(bench.graph, program)
    engine.run()
    return next(int(s.tiles.memory[0]) for s in engine.report().steps if s.name == name)


def test_memory_is_free_only_where_every_way_undefines_it():
    def program(bench, undef):
        x, y, flag = bench.put(1000, 0, name="x"), bench.put(4, 0), bench.put(1, 0, int32)
        use = bench.run(add, 0, x=x, k=1, name="use")
        function = bench.graph.add_function([use])
        other = bench.run(add, 0, x=y, k=1, name="other")
        return undef(x, flag, use, function, other)

    def bytes_of(undef):
        bench = Bench()
        return held(bench, program(bench, undef), "other")

    full = bytes_of(lambda x, flag, use, function, other: prog.Sequence(use, other))
    undef = prog.WriteUndef
    freed = {
        "plain": lambda x, flag, use, function, other: prog.Sequence(use, undef(x), other),
        "part": lambda x, flag, use, function, other: prog.Sequence(use, undef(x[1:]), other),
        "joined": lambda x, flag, use, function, other: prog.Sequence(
            use, undef(Tensor.concat([x[500:], x[:600]])), other
        ),
        "one way": lambda x, flag, use, function, other: prog.Sequence(use, prog.If(flag, undef(x), []), other),
        "both ways": lambda x, flag, use, function, other: prog.Sequence(use, prog.If(flag, undef(x), undef(x)), other),
        "called": lambda x, flag, use, function, other: prog.Sequence(use, undef(x), prog.Call(function), other),
        "before the first": lambda x, flag, use, function, other: prog.Sequence(use, prog.Repeat(2, [other, undef(x)])),
    }
    found = {name: full - bytes_of(make) > 3900 for name, make in freed.items()}
    free = ("plain", "joined", "both ways", "before the first")  # the last: nothing reads x before it is undefined
    assert found == dict.fromkeys(freed, False) | dict.fromkeys(free, True)


# -- what the host may get wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**31, -(2**31) - 1, 2**70, 1.5])
def test_members_that_their_type_cannot_hold(value):
    bench = Bench()
    with says(f"vertex add, member 'k': {value} is no int32", InvalidProgram):
        Engine(bench.graph, bench.run(add, 0, x=bench.put(4, 0), k=value))


def test_unsigned_members_reach_their_whole_range():
    @codelet
    def store(y: Output[uint32], k: uint32):
        y[0] = k

    bench = Bench()
    y = bench.put((), 0, uint32)
    engine = Engine(bench.graph, bench.run(store, 0, y=y, k=2**32 - 1))
    engine.run()
    assert engine.read_tensor(y) == 2**32 - 1
    with says("member 'k': -1 is no uint32", InvalidProgram):
        Engine(bench.graph, bench.run(store, 0, y=y, k=-1))


def test_arrays_that_cannot_hold_what_a_stream_brings():
    bench = Bench()
    x = bench.put(6, 0)
    up = bench.graph.add_device_to_host_fifo("up", float32, 6)
    engine = Engine(bench.graph, prog.StreamCopy(x, up))
    with says("stream 'up' brings float32: connect an array of one block of memory whose type holds that, not int64"):
        engine.connect_stream("up", np.zeros(6, int))
    with says("not float32 with strides (4, 24)"):
        engine.connect_stream("up", np.zeros((2, 6), np.float32).T)
    with says("stream 'up': no array"):
        engine.connect_stream("up", [[1.0], [1.0, 2.0]])
    wide = np.ones((1, 6))
    engine.connect_stream("up", wide)
    engine.run()
    assert not wide.any()


def test_functions_of_cycles_that_fail():
    @codelet(cycles=lambda n: n)
    def wrong(x: InOut[Vector[float32]]):
        x[0] = 1.0

    bench = Bench()
    with says("codelet wrong: its cycles function failed for {'x': 4}: TypeError"):
        Engine(bench.graph, bench.run(wrong, 0, x=bench.put(4, 0)))


def test_arguments_of_the_graph_that_make_no_sense():
    bench = Bench()
    graph, x = bench.graph, bench.put((2, 3), 0, name="x")
    cs = graph.add_compute_set("cs")
    with says("variable 'n': a shape is whole numbers of at least 0, not None"):
        graph.add_variable(None, float32, "n")
    with says("a name is a string, not 3"):
        graph.add_variable(3, float32, 3)
    with says("initial values of 'x': no array"):
        graph.set_initial_value(x, [[1], [1, 2]])
    with says("x: a mapping is a tile or, for each tile, intervals (begin, end), not True"):
        graph.set_tile_mapping(x, True)
    with says("get_tile_mapping: needs a tensor, not 'x'"):
        graph.get_tile_mapping("x")
    with says("get_tile_mapping: 'x' belongs to another graph"):
        Graph(2).get_tile_mapping(x)
    with says("x: grain 2.5 and min_bytes_per_tile 128 must be positive whole numbers"):
        graph.map_linearly(x, grain=2.5)
    with says("x: first_tile 0.5; the device has tiles 0 to 3"):
        graph.map_linearly(x, first_tile=0.5)
    with says("add_vertex: the fields are a dict from names to tensors, not 3"):
        graph.add_vertex(cs, add, 3)
    with says("write_tensor 'x': no array"):
        Engine(graph, prog.Sync()).write_tensor("x", [[1], [1, 2]])


def test_names_that_are_made_up_are_free():
    graph = Graph(2)
    for name in ("variable2", "constant3", "variable3"):
        graph.add_variable(1, float32, name)
    made = [graph.add_constant(1.0, float32, tile=0), graph.add_variable(1, float32)]
    assert len({v.name for v in graph.variables}) == 5
    assert [graph.tensor(t.label).shape for t in made] == [(), (1,)]


def test_views_of_many_runs_are_written_element_by_element():
    bench = Bench()
    x, y = bench.put((60, 50), 0, name="x"), bench.put((60, 50), 1, name="y")
    engine = Engine(bench.graph, prog.Sync())
    values = np.arange(6000).reshape(50, 120)
    engine.write_tensor(Tensor.concat([x.T, y.T], axis=-1), values)
    assert np.array_equal(engine.read_tensor("x"), values[:, :60].T)
    assert np.array_equal(engine.read_tensor("y"), values[:, 60:].T)
