"""What makes a tile program illegal: every kind of problem by its message, all of them at once."""

import inspect
import re

import numpy as np
import pytest

from ipusim import (
    BadInput,
    DoesNotFit,
    Engine,
    Graph,
    InOut,
    Input,
    InvalidProgram,
    Output,
    UnknownName,
    Vector,
    codelet,
    float32,
    half,
    int32,
    target,
)
from ipusim import program as prog

TILES = 4


@codelet
def scale(x: Input[Vector[float32]], y: Output[Vector[float32]], k: Input[float32], n: int):
    for i in range(n):
        y[i] = k * x[i]


@codelet
def rows(m: Input[Vector[Vector[float32]]], s: Output[float32]):
    t = 0.0
    for i in range(len(m)):
        for j in range(len(m[i])):
            t += m[i][j]
    s[0] = t


@codelet
def bump(x: InOut[Vector[float32]]):
    for i in range(len(x)):
        x[i] = x[i] + 1.0


class Bench:
    """A graph with placed variables of 12 floats: x, y, z, a scalar k, and a compute set."""

    def __init__(self, *, place=True):
        self.graph = Graph(target("GC2", tiles=TILES), name="bench")
        for name in "xyz":
            setattr(self, name, self.graph.add_variable(12, float32, name))
        self.k = self.graph.add_variable((), float32, "k")
        self.flag = self.graph.add_variable(1, int32, "flag")
        if place:
            for t in (self.x, self.y, self.z, self.k, self.flag):
                self.graph.map_linearly(t)
        self.cs = self.graph.add_compute_set("step")

    def add(self, tile=0, **fields):
        vertex = self.graph.add_vertex(self.cs, scale, fields, tile=tile)
        self.line = f"test_verify.py:{inspect.currentframe().f_lineno - 1}"
        return vertex

    def good(self, **changes):
        return self.add(**self.fields(**changes))

    def fields(self, **changes):
        return {"x": self.x, "y": self.y, "k": self.k, "n": 12} | changes

    def problems(self, *programs):
        with pytest.raises(InvalidProgram) as caught:
            Engine(self.graph, list(programs) or [self.cs])
        return caught.value.problems

    def only(self, *programs):
        (found,) = self.problems(*programs)
        return found


def test_a_legal_program_has_no_problem():
    bench = Bench()
    bench.good()
    Engine(bench.graph, bench.cs)


# -- placement ---------------------------------------------------------------------------------------------------------


def test_unmapped_elements_are_named_with_their_ranges():
    graph = Graph(TILES)
    img = graph.add_variable((4, 6), float32, "img")
    line = inspect.currentframe().f_lineno - 1
    graph.set_tile_mapping(img[1:3, 2:4], 0)
    with pytest.raises(InvalidProgram) as caught:
        Engine(graph, prog.Sync())
    assert caught.value.problems == (
        f"test_verify.py:{line}: variable 'img' (4, 6): 20 of 24 elements have no tile, [0:8], [10:14], [16:24] of the "
        "flattened variable; use set_tile_mapping or map_linearly",
    )


def test_many_holes_are_counted():
    graph = Graph(TILES)
    img = graph.add_variable(20, float32, "img")
    graph.set_tile_mapping(img[::2], 0)
    with pytest.raises(
        InvalidProgram,
        match=re.escape("10 of 20 elements have no tile, [1:2], [3:4], [5:6], [7:8], [9:10] and 5 more ranges"),
    ):
        Engine(graph, prog.Sync())


@pytest.mark.parametrize("tile", [TILES, -1])
def test_a_mapping_outside_the_device(tile):
    bench = Bench()
    bench.graph.set_tile_mapping(bench.x[3:5], tile)
    line = inspect.currentframe().f_lineno - 1
    found = bench.problems(prog.Sync())
    assert f"test_verify.py:{line}: 'x' is put on tile {tile}; the device has tiles 0 to 3" in found


def test_a_vertex_outside_the_device():
    bench = Bench()
    bench.add(tile=9, x=bench.x, y=bench.y, k=bench.k, n=12)
    assert bench.only() == f"compute set 'step', {bench.line}: vertex scale is on tile 9; the device has tiles 0 to 3"


# -- wiring ------------------------------------------------------------------------------------------------------------


def test_what_is_not_connected():
    bench = Bench()
    bench.add(x=bench.x)
    where = f"compute set 'step', {bench.line}: vertex scale"
    assert bench.problems() == (
        f"{where}, field 'y': is not connected",
        f"{where}, field 'k': is not connected",
        f"{where}, member 'n' has no value",
    )


def test_connecting_later_is_as_good():
    bench = Bench()
    vertex = bench.add(x=bench.x)
    bench.graph.connect(vertex, "y", bench.y)
    vertex.connect_all({"k": bench.k, "n": 12})
    Engine(bench.graph, bench.cs)


def test_wrong_types_and_lengths():
    bench = Bench()
    narrow = bench.graph.add_variable(12, half, "narrow")
    bench.graph.map_linearly(narrow)
    bench.good(x=narrow, k=bench.z[0:2], n=2.5)
    where = f"compute set 'step', {bench.line}: vertex scale"
    assert bench.problems() == (
        f"{where}, field 'x': holds float32, and 'narrow' (12,) is float16",
        f"{where}, field 'k': is one element, and 'z' (2,) has 2",
        f"{where}, member 'n': 2.5 is no int32",
    )


def test_a_vector_of_vectors_takes_a_matrix_or_a_list():
    bench = Bench()
    bench.graph.add_vertex(bench.cs, rows, {"m": bench.x, "s": bench.y[0]})
    line = inspect.currentframe().f_lineno - 1
    assert bench.only() == (
        f"compute set 'step', test_verify.py:{line}: vertex rows, field 'm': is a vector of vectors: connect a matrix "
        "or a list of tensors, not 'x' (12,)"
    )
    for good in (bench.x.reshape((3, 4)), [bench.x[0:2], bench.z]):
        other = bench.graph.add_compute_set()
        bench.graph.add_vertex(other, rows, {"m": good, "s": bench.y[0]})
        Engine(bench.graph, other)


def test_tensors_of_another_graph():
    bench, other = Bench(), Bench()
    bench.good(x=other.x)
    assert bench.only() == f"compute set 'step', {bench.line}: vertex scale, field 'x': 'x' belongs to another graph"
    for part, name in (
        (prog.Copy(other.x, bench.y), "Copy"),
        (prog.If(other.flag, []), "If"),
        (prog.PrintTensor(other.x), "PrintTensor"),
        (prog.WriteUndef(other.x), "WriteUndef"),
        (prog.AbortOnCondition(other.flag), "AbortOnCondition"),
        (prog.Switch(other.flag, {}), "Switch"),
        (prog.RepeatWhileTrue([], other.flag, []), "RepeatWhileTrue"),
    ):
        label = "flag" if hasattr(part, "predicate") or hasattr(part, "selector") else "x"
        assert Bench.only(bench, part) == f"{name}: {label!r} belongs to another graph"


def test_many_alike_are_counted():
    bench = Bench()
    for _ in range(12):
        bench.good(x=bench.flag, y=bench.z)
    found = bench.problems()
    assert len(found) == 6
    assert found[-1] == "compute set 'step', vertex scale: 7 more about field 'x'"


def test_wiring_at_once():
    bench = Bench()
    with pytest.raises(UnknownName, match="no field of codelet scale named 'Y'"):
        bench.good(Y=bench.y)
    with pytest.raises(BadInput, match=r"test_verify.py:\d+: vertex scale, field 'y': connect it to a tensor, not 'y'"):
        bench.good(y="y")
    with pytest.raises(BadInput, match=r"test_verify.py:\d+: vertex scale, member 'n': needs a number, not 'many'"):
        bench.good(n="many")
    with pytest.raises(BadInput, match=r"test_verify.py:\d+: add_vertex needs a function made by @ipusim.codelet, not"):
        bench.graph.add_vertex(bench.cs, len, {})
    with pytest.raises(BadInput, match=r"test_verify.py:\d+: add_vertex needs a compute set of Graph.add_compute_set"):
        bench.graph.add_vertex("step", scale, {})
    with pytest.raises(BadInput, match=r"test_verify.py:\d+: add_vertex: a tile is a whole number, not 0.5"):
        bench.graph.add_vertex(bench.cs, scale, {}, tile=0.5)


# -- races -------------------------------------------------------------------------------------------------------------


def test_two_writers_are_named_with_field_variable_range_and_line():
    bench = Bench()
    line = inspect.currentframe().f_lineno
    bench.graph.add_vertex(bench.cs, scale, bench.fields(y=bench.y[0:8]))
    bench.graph.add_vertex(bench.cs, scale, bench.fields(y=bench.y[5:12]))
    first, second = (f"test_verify.py:{line + n}" for n in (1, 2))
    assert bench.only() == (
        f"compute set 'step': {first} vertex scale on tile 0, field 'y' and {second} vertex scale on tile 0, field 'y' "
        "both write 'y', elements [5:8] of the flattened variable; vertices of one compute set run in no order"
    )


def test_reading_what_another_writes():
    bench = Bench()
    bench.good(y=bench.y[0:6])
    bench.good(x=bench.y[4:10], y=bench.z)
    (found,) = bench.problems()
    assert "field 'x' and" in found
    assert "read and write 'y', elements [4:6] of the flattened variable" in found


@pytest.mark.parametrize(
    ("one", "other", "racing"),
    [
        (lambda t: t[0::2], lambda t: t[1::2], False),
        (lambda t: t[0::2], lambda t: t[0::3], True),
        (lambda t: t.reshape((3, 4))[:, 0], lambda t: t.reshape((3, 4))[:, 1], False),
        (lambda t: t.reshape((3, 4))[:, 0], lambda t: t.reshape((3, 4))[2], True),
        (lambda t: t.reverse()[0:6], lambda t: t[0:6], False),
        (lambda t: t.reverse()[0:7], lambda t: t[0:6], True),
        (lambda t: t[3:3], lambda t: t, False),
    ],
)
@pytest.mark.parametrize("kind", ["write", "read"])
def test_races_of_views(one, other, racing, kind):
    bench = Bench()
    bench.graph.add_vertex(bench.cs, bump, {"x": one(bench.x)})
    if kind == "write":
        bench.graph.add_vertex(bench.cs, bump, {"x": other(bench.x)})
    else:
        bench.good(x=other(bench.x))
    if racing:
        verb = "both write" if kind == "write" else "read and write"
        assert all(f"{verb} 'x'" in p for p in bench.problems())
    else:
        Engine(bench.graph, bench.cs)


def test_a_field_that_writes_an_element_twice():
    bench = Bench()
    bench.graph.add_vertex(bench.cs, bump, {"x": bench.x[0:1].broadcast(3)})
    assert all("both write 'x', elements [0:1]" in p for p in bench.problems())


def test_races_beyond_a_handful_are_counted():
    bench = Bench()
    for _ in range(10):
        bench.graph.add_vertex(bench.cs, bump, {"x": bench.x})
    found = bench.problems()
    assert len(found) == 6
    assert found[-1] == "compute set 'step': 4 more races"


def test_compute_sets_that_do_not_run_are_not_looked_at():
    bench = Bench()
    bench.add()
    Engine(bench.graph, prog.Sync())


def test_different_compute_sets_do_not_race():
    bench = Bench()
    sets = [bench.graph.add_compute_set() for _ in range(2)]
    for cs in sets:
        bench.graph.add_vertex(cs, bump, {"x": bench.x})
    Engine(bench.graph, [[*sets]])


# -- programs ----------------------------------------------------------------------------------------------------------


def test_copies_whose_ends_differ():
    bench = Bench()
    copy = prog.Copy(bench.x[0:3], bench.y)
    line = inspect.currentframe().f_lineno - 1
    assert bench.only(copy) == (f"test_verify.py:{line}: Copy: source 'x' (3,) has 3 elements, target 'y' (12,) has 12")
    found = bench.problems(prog.Copy(bench.x[0:1], bench.flag))
    assert re.fullmatch(r"test_verify.py:\d+: Copy: source 'x' \(1,\) is float32, target 'flag' \(1,\) int32", found[0])
    assert "target 'y' (12,) has an element twice" in bench.only(prog.Copy(bench.x, bench.y[0:1].broadcast(12)))
    Engine(bench.graph, prog.Copy(bench.x[0:1].broadcast(12), bench.y.reshape((3, 4)).T))


def test_streams_whose_ends_differ():
    bench = Bench()
    down = bench.graph.add_host_to_device_fifo("down", float32, 12)
    up = bench.graph.add_device_to_host_fifo("up", half, 12)
    found = bench.problems([prog.StreamCopy(down, bench.x[1:]), prog.StreamCopy(bench.y, up)])
    assert re.fullmatch(
        r"test_verify.py:\d+: StreamCopy: a packet of 'down' is 12 of float32, 'x' \(11,\) is 11 of float32", found[0]
    )
    assert re.fullmatch(
        r"test_verify.py:\d+: StreamCopy: a packet of 'up' is 12 of float16, 'y' \(12,\) is 12 of float32", found[1]
    )
    assert "StreamCopy: target 'x' (12,) has an element twice" in bench.only(
        prog.StreamCopy(down, bench.x[0:1].broadcast(12))
    )
    with pytest.raises(BadInput, match="StreamCopy: stream 'down' goes to the device"):
        prog.StreamCopy(bench.x, down)
    with pytest.raises(BadInput, match="StreamCopy: stream 'up' goes to the host"):
        prog.StreamCopy(up, bench.x)
    with pytest.raises(BadInput, match="StreamCopy joins one stream and one tensor"):
        prog.StreamCopy(bench.x, bench.y)
    with pytest.raises(BadInput, match="stream 'up': the name is taken"):
        bench.graph.add_device_to_host_fifo("up", half, 12)
    with pytest.raises(BadInput, match="stream 's': a packet has a whole number of elements, at least 1, not 0"):
        bench.graph.add_device_to_host_fifo("s", half, 0)


def test_programs_that_contain_themselves():
    bench = Bench()
    loop = prog.Sequence()
    loop.add(prog.Repeat(2, loop))
    assert bench.only(loop) == "a Sequence contains itself"
    body = prog.Sequence()
    function = bench.graph.add_function(body, "again")
    body.add(prog.If(bench.flag, prog.Call(function)))
    assert bench.only(prog.Call(function)) == "function 'again' calls itself"


BAD_PROGRAMS = [
    (lambda b: prog.Sequence(3), "a program is one of Sequence, Execute, Copy"),
    (lambda b: prog.Sequence(scale), "or a list of them, not <codelet scale("),
    (lambda b: prog.Execute(scale), "Execute: needs a compute set of Graph.add_compute_set, not <codelet scale("),
    (lambda b: prog.Copy("x", b.y), "Copy: needs a tensor, not 'x'"),
    (lambda b: prog.Copy(b.y, np.zeros(12)), "Copy: needs a tensor, not array("),
    (lambda b: prog.PrintTensor("x"), "PrintTensor: needs a tensor, not 'x'"),
    (lambda b: prog.WriteUndef("x"), "WriteUndef: needs a tensor, not 'x'"),
    (lambda b: prog.Repeat(-1, b.cs), "Repeat: the count is a whole number from 0 to 2147483647, not -1"),
    (lambda b: prog.Repeat(True, b.cs), "Repeat: the count is a whole number from 0 to 2147483647, not True"),
    (lambda b: prog.Repeat(2.0, b.cs), "Repeat: the count is a whole number from 0 to 2147483647, not 2.0"),
    (lambda b: prog.If(b.x[0], b.cs), "If: the condition is one element of an integer or bool type, not x () float32"),
    (lambda b: prog.If(1, b.cs), "If: the condition is a tensor of one element, not 1"),
    (lambda b: prog.Switch(b.flag, [b.cs]), "Switch: the cases are a dict from whole numbers to programs, not ["),
    (lambda b: prog.Switch(b.flag, {"1": b.cs}), "Switch: the cases are a dict from whole numbers to programs, not {"),
    (lambda b: prog.Switch(b.x, {}), "Switch: the condition is one element"),
    (lambda b: prog.RepeatWhileTrue(b.cs, b.x, b.cs), "RepeatWhileTrue: the condition is one element"),
    (lambda b: prog.RepeatWhileFalse(b.cs, b.k, b.cs), "RepeatWhileFalse: the condition is one element"),
    (lambda b: prog.AbortOnCondition(b.k), "AbortOnCondition: the condition is one element"),
    (lambda b: prog.Call(b.cs), "Call: the function comes from Graph.add_function, not"),
]


@pytest.mark.parametrize(("make", "message"), BAD_PROGRAMS)
def test_programs_that_cannot_be_made(make, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        make(Bench())


def test_graphs_that_cannot_be_made():
    for wrong in ("GC2", True, None):
        with pytest.raises(BadInput, match="Graph: the device comes from"):
            Graph(wrong)
    bench, other = Bench(), Bench()
    for call in (
        lambda: bench.graph.set_tile_mapping(other.x, 0),
        lambda: bench.graph.map_linearly(other.x),
        lambda: bench.graph.set_initial_value(other.x, 0),
    ):
        with pytest.raises(BadInput, match="'x' belongs to another graph"):
            call()
    with pytest.raises(BadInput, match="set_tile_mapping: needs a tensor, not 'x'"):
        bench.graph.set_tile_mapping("x", 0)
    with pytest.raises(BadInput, match=re.escape("x: a mapping is a tile or, for each tile, intervals (begin, end)")):
        bench.graph.set_tile_mapping(bench.x, [0, 1])
    with pytest.raises(BadInput, match="x: first_tile 4; the device has tiles 0 to 3"):
        bench.graph.map_linearly(bench.x, first_tile=4)
    with pytest.raises(BadInput, match="initial values of 'flag': values of float64 cannot be int32"):
        bench.graph.set_initial_value(bench.flag, [0.5])


# -- all at once -------------------------------------------------------------------------------------------------------


def test_every_problem_is_reported_together():
    bench = Bench(place=False)
    bench.good(x=bench.flag, y=bench.y)
    race = bench.graph.add_compute_set("race")
    for _ in range(2):
        bench.graph.add_vertex(race, bump, {"x": bench.z})
    found = bench.problems([bench.cs, race, prog.Copy(bench.x[1:], bench.y)])
    kinds = (
        "variable 'x'",
        "variable 'y'",
        "variable 'z'",
        "variable 'k'",
        "variable 'flag'",
        "Copy",
        "field 'x': holds",
        "both write 'z'",
    )
    assert len(found) == len(kinds)
    assert all(kind in problem for kind, problem in zip(kinds, found, strict=True))
    with pytest.raises(InvalidProgram) as caught:
        Engine(bench.graph, bench.cs)
    assert str(caught.value) == "; ".join(caught.value.problems)


# -- memory ------------------------------------------------------------------------------------------------------------


def heavy():
    bench = Bench()
    big = bench.graph.add_variable(75 * 1024, float32, "big")  # 300 KiB
    bench.graph.set_tile_mapping(big, 2)
    bench.graph.add_vertex(bench.cs, bump, {"x": big}, tile=2)
    return bench


def test_a_tensor_too_large_for_a_tile_is_reported():
    bench = heavy()
    engine = Engine(bench.graph, bench.cs)
    assert not engine.fits
    memory = engine.report().profile.memory
    assert (memory.fits, memory.worst_tile, memory.tiles_over) == (False, 2, 1)
    assert memory.largest[0][:2] == ("big", 300 * 1024)
    assert "WriteUndef" in memory.lever
    text = str(engine.report())
    assert "1 tile(s) out of memory" in text
    assert "out of memory: the chip could not run this" in text


def test_running_it_names_the_variable_and_the_levers():
    bench = heavy()
    engine = Engine(bench.graph, bench.cs)
    for call in (engine.run, lambda: next(engine.step())):
        with pytest.raises(DoesNotFit) as caught:
            call()
        error = caught.value
        assert (error.tile, error.have) == (2, 256 * 1024)
        assert error.need > 300 * 1024
        assert error.variables[0][:2] == ("big", 300 * 1024)
        for words in (
            "bench does not fit: tile 2 needs",
            "'big' 307,200 bytes",
            "map_linearly",
            "smaller type",
            "allow_out_of_memory=True",
        ):
            assert words in str(error)


def test_allow_out_of_memory_runs_and_marks_the_report():
    bench = heavy()
    engine = Engine(bench.graph, bench.cs, allow_out_of_memory=True)
    engine.run()
    assert engine.read_tensor("big").tolist() == [1.0] * 75 * 1024
    report = engine.report()
    assert report.cycles > 0
    assert report.profile.remarks == ("out of memory: the chip could not run this",)
    assert not report.profile.memory.fits


def test_spreading_it_fits():
    bench = heavy()
    bench.graph.map_linearly(bench.graph.tensor("big"))
    engine = Engine(bench.graph, prog.Sync())
    engine.run()
    assert engine.fits
    assert engine.report().profile.remarks == ()
