"""Which variables of a tile program count as memory at a superstep, and the three moments of a compute set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim import Graph, InOut, Input, Output, Vector, codelet, float32, int32
from ipusim import program as prog

N = 1000  # elements of a variable
BYTES = 4 * N


@codelet
def move(x: Input[Vector[float32]], y: Output[Vector[float32]]) -> None:
    for i in range(len(y)):
        y[i] = x[i]


@codelet
def grow(x: InOut[Vector[float32]]) -> None:
    for i in range(len(x)):
        x[i] += 1.0


class Bench:
    """Variables of N elements on tile 0, and compute sets of one vertex there."""

    def __init__(self, names="abcd"):
        self.graph = Graph(ipusim.target("GC2", tiles=2))
        self.sets = 0
        for name in names:
            setattr(self, name, self.put(name))

    def put(self, name, tile=0):
        made = self.graph.add_variable(N, float32, name)
        self.graph.set_tile_mapping(made, tile)
        return made

    def run(self, vertex, name="", **fields):
        self.sets += 1
        cs = self.graph.add_compute_set(name or f"set{self.sets}")
        self.graph.add_vertex(cs, vertex, fields, tile=0)
        return prog.Execute(cs)

    def move(self, x, y, name=""):
        return self.run(move, name, x=x, y=y)

    def variables(self, program):
        """Variables that count at each superstep, in units of one."""
        engine = ipusim.Engine(self.graph, [program], timing_only=True)
        engine.run(0)
        memory = [step.tiles.memory[0] for step in engine.report().steps]
        empty = ipusim.Engine(self.graph, [program], timing_only=True)._memory.categories
        fixed = sum(int(v[0]) for k, v in empty.items() if k not in ("variables", "received data"))
        return [round((int(m) - fixed) / BYTES, 2) for m in memory]


def test_what_is_written_whole_was_not_there_before():
    b = Bench("abc")
    assert b.variables(prog.Sequence([b.move(b.a, b.b), b.move(b.a, b.c)])) == [2, 3]


def test_what_nobody_reads_again_before_it_is_written_is_gone():
    """a to b, b to c, c to a: a is not there in the middle, and all are at the end."""
    b = Bench("abc")
    steps = [b.move(b.a, b.b), b.move(b.b, b.c), b.move(b.c, b.a)]
    assert b.variables(prog.Sequence(steps)) == [2, 2, 3]


@pytest.mark.parametrize("part", ["half written", "grown", "read later"])
def test_what_is_needed_stays(part):
    b = Bench("abc")
    middle = b.move(b.b, b.c)
    last = {
        "half written": lambda: b.move(b.c[: N // 2], b.a[: N // 2]),
        "grown": lambda: b.run(grow, x=b.a),
        "read later": lambda: b.move(b.a, b.b),
    }[part]()
    assert b.variables(prog.Sequence([middle, last]))[0] == 3


def test_a_loop_comes_round():
    """Each is written whole in every round before it is read: none is there between its last reading and that."""
    b = Bench("abc")
    first, second, third = b.move(b.a, b.b), b.move(b.b, b.c), b.move(b.c, b.a)
    assert b.variables(prog.Repeat(3, [first, second, third])) == [2, 2, 3]  # after the last round all may be read
    undef = prog.Sequence([prog.WriteUndef(b.b), prog.WriteUndef(b.c)])
    assert b.variables(prog.Sequence([prog.Repeat(3, [first, second, third]), undef])) == [2, 2, 2]


def test_a_condition_that_is_read_stays():
    b = Bench("ab")
    flag = b.graph.add_variable(N, int32, "flag")
    b.graph.set_tile_mapping(flag, 0)
    steps = [b.move(b.a, b.b), prog.RepeatWhileTrue(prog.Sequence([]), flag[0], b.move(b.b, b.a))]
    found = ipusim.Engine(b.graph, [prog.Sequence(steps)])
    found.run(0)
    assert found.report().steps[0].tiles.memory[0] >= 3 * BYTES


def test_copies_fill_their_target():
    b = Bench("abc")
    steps = [b.move(b.a, b.b), prog.Copy(b.a, b.c)]
    assert b.variables(prog.Sequence(steps)) == [2, 3]
    b = Bench("abc")
    half = prog.Copy(b.a[: N // 2], b.c[: N // 2])
    assert b.variables(prog.Sequence([b.move(b.a, b.b), half])) == [3, 3]


# -- the moments of a compute set --------------------------------------------------------------------------------------


def gathered(undef):
    """x (N/2, 2) to y of the same shape, column by column: each is gathered and scattered.  In units of x."""
    b = Bench("")
    x, y = b.put("x").reshape((-1, 2)), b.put("y").reshape((-1, 2))
    cs = b.graph.add_compute_set("cs")
    for i in range(2):
        b.graph.add_vertex(cs, move, {"x": x[:, i], "y": y[:, i]}, tile=0)
    steps = [prog.Execute(cs)] + [prog.WriteUndef(t) for t in (x, y) if t.label in undef]
    return b.variables(prog.Sequence(steps))[0]


@pytest.mark.parametrize(
    ("undef", "units"),
    [
        ("", 3),  # while vertices run: x, both buffers; when scattered: x, y, the results' buffer
        ("x", 2),  # gathered: x and its buffer; running: both buffers; scattered: y and its buffer
        ("y", 3),
    ],
)
def test_gathering_running_and_scattering_come_one_after_another(undef, units):
    assert gathered(undef) == units


def test_what_is_read_in_place_stays_while_vertices_run():
    """x is read once whole, in place, and once column by column."""
    b = Bench("z")
    x, y = b.put("x"), b.put("y")
    cs = b.graph.add_compute_set("cs")
    columns = x.reshape((-1, 2))
    b.graph.add_vertex(cs, move, {"x": columns[:, 0], "y": y.reshape((-1, 2))[:, 0]}, tile=0)
    b.graph.add_vertex(cs, move, {"x": x, "y": b.z}, tile=0)
    # running: x and z in place, half of x gathered, half of y as results, y itself is written in part: it stays
    assert b.variables(prog.Sequence([prog.Execute(cs), prog.WriteUndef(x)]))[0] == 4


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
def test_never_more_than_everything_never_less_than_what_is_touched(moves):
    b = Bench()
    names, steps = "abcd", []
    for source, target, whole in moves:
        if source != target:
            part = slice(None) if whole else slice(0, N // 2)
            steps.append(b.move(getattr(b, names[source])[part], getattr(b, names[target])[part]))
    steps.append(b.move(b.a, b.b))
    found = b.variables(prog.Sequence(steps))
    assert all(2 <= units <= 4 for units in found)
    assert found[-1] == 4  # the host may read all


def test_tiles_count_for_themselves():
    b = Bench("ab")
    far = b.put("far", tile=1)
    engine = ipusim.Engine(b.graph, [[b.move(b.a, b.b), b.move(b.b, far)]], timing_only=True)
    engine.run(0)
    first, second = (step.tiles.memory for step in engine.report().steps)
    assert first[1] < BYTES  # far is written later
    assert second[1] >= BYTES
    assert np.all(second >= first)
