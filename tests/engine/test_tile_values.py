"""Values of tile programs: random wiring on random mappings against numpy, control flow against Python."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_programs import apply, programs
from tile_views import chains, numbers

from ipusim import (
    Aborted,
    CodeletError,
    Engine,
    Graph,
    InOut,
    Input,
    Output,
    Vector,
    bool_,
    codelet,
    float32,
    half,
    int8,
    int16,
    int32,
    target,
    uint8,
    uint16,
    uint32,
)
from ipusim import program as prog

I32 = np.iinfo(np.int32)


def law(*strategies, examples=60):
    return lambda test: settings(deadline=None, max_examples=examples)(given(*strategies)(test))


@codelet
def bump(x: InOut[Vector[int32]], k: int):
    for i in range(len(x)):
        x[i] = x[i] * 3 + k


@codelet
def less(a: Input[int32], limit: int, out: Output[bool_]):
    out[0] = a[0] < limit


@codelet
def pick(data: Input[Vector[float32]], at: Input[int32], out: Output[float32]):
    out[0] = data[at[0]]


@codelet
def divide(a: Input[int32], b: Input[int32], out: Output[int32]):
    out[0] = a[0] // b[0]


@codelet(multi=True)
def shares(x: Input[Vector[float32]], sums: Output[Vector[float32]], worker_id: int):
    t = 0.0
    i = worker_id
    while i < len(x):
        t += x[i]
        i += 6
    sums[worker_id] = t


@codelet
def tower(rows: InOut[Vector[Vector[half]]], bias: Input[half]):
    for i in range(len(rows)):
        for j in range(len(rows[i])):
            rows[i][j] = rows[i][j] + bias[0]


# -- wiring ------------------------------------------------------------------------------------------------------------


@law(programs(), st.randoms(use_true_random=False), examples=60)
def test_random_wiring_is_numpy(drawn, random):
    """Strided, transposed, reversed, repeated and joined fields; placement changes no value; two engines agree."""
    size = sum(v.elements for v in drawn.graph.variables)
    values = np.array([random.randint(-50, 50) for _ in range(size)], np.int32)
    want = values
    for effects in drawn.effects:
        want = apply(effects, want)
    for _ in range(2):
        engine = Engine(drawn.graph, [drawn.sets])
        drawn.write(engine, values)
        engine.run()
        assert np.array_equal(drawn.flat(engine.read_tensor), want)


@law(programs(), examples=30)
def test_repeats_and_steps_give_the_values_of_running(drawn):
    whole = prog.Repeat(3, drawn.sets)
    size = sum(v.elements for v in drawn.graph.variables)
    values = (np.arange(size) % 7 - 3).astype(np.int32)
    want = values
    for _ in range(3):
        for effects in drawn.effects:
            want = apply(effects, want)
    run, stepped = Engine(drawn.graph, whole), Engine(drawn.graph, whole)
    for engine in (run, stepped):
        drawn.write(engine, values)
    run.run()
    assert len(list(stepped.step())) == 3 * len(drawn.sets)
    for engine in (run, stepped):
        assert np.array_equal(drawn.flat(engine.read_tensor), want)


@law(st.data())
def test_what_is_written_through_a_view_is_read_through_it(data):
    graph = Graph(3)
    for i, shape in enumerate([(3, 4), (2, 3, 2)]):
        graph.map_linearly(graph.add_variable(shape, int32, f"v{i}"))
    tensor, ids = data.draw(chains(graph.variables))
    engine = Engine(graph, prog.Sync())
    whole = np.arange(24, dtype=np.int32) + 100
    for i, v in enumerate(graph.variables):
        engine.write_tensor(v.name, whole[12 * i : 12 * i + 12].reshape(v.shape))
    assert np.array_equal(engine.read_tensor(tensor), whole[ids])
    if len(np.unique(ids)) == ids.size:
        new = np.arange(ids.size, dtype=np.int32).reshape(ids.shape)
        engine.write_tensor(tensor, new)
        assert np.array_equal(engine.read_tensor(tensor), new)
        whole[ids] = new
        for v, at in numbers(graph.variables).items():
            assert np.array_equal(engine.read_tensor(v.name), whole[at])


@law(st.data())
def test_copies_are_numpy_assignments(data):
    """Also between parts of one variable that overlap: as if everything were read before anything is written."""
    graph = Graph(3)
    for i, shape in enumerate([(3, 4), (12,)]):
        x = graph.add_variable(shape, int32, f"v{i}")
        graph.map_linearly(x, first_tile=i, min_bytes_per_tile=0)
    source, from_ids = data.draw(chains(graph.variables).filter(lambda p: p[1].size))
    target_, to_ids = data.draw(chains(graph.variables).filter(lambda p: p[1].size == np.unique(p[1]).size > 0))
    count = min(from_ids.size, to_ids.size)
    copy = prog.Copy(source.flatten()[:count], target_.flatten()[:count])
    engine = Engine(graph, copy)
    whole = np.arange(24, dtype=np.int32)
    for i, v in enumerate(graph.variables):
        engine.write_tensor(v.name, whole[12 * i : 12 * i + 12].reshape(v.shape))
    engine.run()
    want = whole.copy()
    want[to_ids.ravel()[:count]] = whole[from_ids.ravel()[:count]]
    assert np.array_equal(np.concatenate([engine.read_tensor(v.name).ravel() for v in graph.variables]), want)


@pytest.mark.parametrize("dtype", [float32, half, int32, uint32, int16, uint16, int8, uint8, bool_], ids=str)
def test_every_type_moves_and_computes(dtype):
    @codelet
    def flip(x: Input[Vector[dtype]], y: Output[Vector[dtype]]):
        for i in range(len(y)):
            y[len(y) - 1 - i] = x[i]

    graph = Graph(2)
    x, y = (graph.add_variable((3, 5), dtype, n) for n in "xy")
    for i, t in enumerate((x, y)):
        graph.map_linearly(t, first_tile=i, min_bytes_per_tile=0, grain=1)
    cs = graph.add_compute_set()
    graph.add_vertex(cs, flip, {"x": x[:, 1:4].flatten(), "y": y.T[1:4].flatten()}, tile=1)
    engine = Engine(graph, [[cs, prog.Copy(y[:, 1:2], y[:, 0:1])]])
    values = np.arange(15).reshape(3, 5).astype(dtype.numpy)
    engine.write_tensor("x", values)
    engine.run()
    want = np.zeros((3, 5), dtype.numpy)
    want.T[1:4] = values[:, 1:4].ravel()[::-1].reshape(3, 3)
    want[:, 0] = want[:, 1]
    assert np.array_equal(engine.read_tensor("y"), want)


def test_rows_of_different_lengths_from_different_places():
    graph = Graph(3)
    x = graph.add_variable((4, 5), half, "x")
    z = graph.add_variable(9, half, "z")
    for i, t in enumerate((x, z)):
        graph.map_linearly(t, first_tile=i, min_bytes_per_tile=0)
    cs = graph.add_compute_set()
    graph.add_vertex(cs, tower, {"rows": [x[1], z[::4], x[2:, 0], z[1:3]], "bias": 2.0}, tile=2)
    engine = Engine(graph, cs)
    engine.run()
    want_x, want_z = np.zeros((4, 5)), np.zeros(9)
    want_x[1] = want_x[2:, 0] = want_z[::4] = want_z[1:3] = 2
    assert np.array_equal(engine.read_tensor("x"), want_x)
    assert np.array_equal(engine.read_tensor("z"), want_z)


def test_a_multivertex_runs_all_six_workers():
    graph = Graph(2)
    x = graph.add_constant(np.arange(20), float32, "x", tile=1)
    sums = graph.add_variable(6, float32, "sums")
    graph.set_tile_mapping(sums, 0)
    cs = graph.add_compute_set()
    graph.add_vertex(cs, shares, {"x": x, "sums": sums}, tile=0)
    engine = Engine(graph, cs)
    engine.run()
    assert engine.read_tensor("sums").tolist() == [sum(range(w, 20, 6)) for w in range(6)]


def test_initial_values_are_there_once_and_constants_for_numbers_and_arrays():
    graph = Graph(2)
    x = graph.add_variable(4, int32, "x")
    graph.map_linearly(x)
    graph.set_initial_value(x[1:3], [5, 6])
    graph.set_initial_value(x[3], 7)
    cs = graph.add_compute_set()
    graph.add_vertex(cs, bump, {"x": x, "k": 1})
    engine = Engine(graph, cs)
    assert engine.read_tensor("x").tolist() == [0, 5, 6, 7]
    engine.run()
    engine.run()
    assert engine.read_tensor("x").tolist() == [9 * n + 4 for n in (0, 5, 6, 7)]


# -- control flow ------------------------------------------------------------------------------------------------------


class Counter:
    """x (one int32) and compute sets `by(k)` that make it 3 x + k."""

    def __init__(self, start=0):
        self.graph = Graph(target("GC2", tiles=3), name="counter")
        self.x = self.graph.add_variable(1, int32, "x")
        self.flag = self.graph.add_variable((), bool_, "flag")
        self.graph.set_tile_mapping(self.x, 1)
        self.graph.set_tile_mapping(self.flag, 2)
        self.start = start

    def by(self, k):
        cs = self.graph.add_compute_set(f"by {k}")
        self.graph.add_vertex(cs, bump, {"x": self.x, "k": k}, tile=1)
        return prog.Execute(cs)

    def below(self, limit):
        cs = self.graph.add_compute_set(f"below {limit}")
        self.graph.add_vertex(cs, less, {"a": self.x[0], "limit": limit, "out": self.flag}, tile=2)
        return prog.Execute(cs)

    def after(self, *parts):
        engine = Engine(self.graph, list(parts))
        engine.write_tensor("x", [self.start])
        engine.run()
        return int(engine.read_tensor("x")[0])


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_repeat(count):
    c, want = Counter(1), 1
    for _ in range(count):
        want = 3 * want + 2
    assert c.after(prog.Repeat(count, c.by(2))) == want


def test_repeats_nest():
    c, want = Counter(1), 1
    for _ in range(2):
        for _ in range(2):
            for _ in range(2):
                want = 3 * want + 1
            want = 3 * want + 2
        want = 3 * want - 1
    inner = prog.Repeat(2, [prog.Repeat(2, c.by(1)), c.by(2)])
    assert c.after(prog.Repeat(2, [inner, c.by(-1)])) == want


def test_repeat_while_true_looks_before_each_turn():
    c, want = Counter(1), 1
    while want < 1000:
        want = 3 * want + 1
    assert c.after(prog.RepeatWhileTrue(c.below(1000), c.flag, c.by(1))) == want
    c = Counter(2000)
    assert c.after(prog.RepeatWhileTrue(c.below(1000), c.flag, c.by(1))) == 2000


def test_repeat_while_false():
    c = Counter(-1)
    assert c.after(prog.RepeatWhileFalse(c.below(-1000), c.flag, c.by(0))) == -(3**7)


@pytest.mark.parametrize("start", [0, 10])
def test_if(start):
    c = Counter(start)
    assert c.after([c.below(5), prog.If(c.flag, c.by(1), c.by(2))]) == 3 * start + (1 if start < 5 else 2)
    c = Counter(start)
    assert c.after([c.below(5), prog.If(c.flag, c.by(1))]) == (3 * start + 1 if start < 5 else start)


@pytest.mark.parametrize("value", [-3, 0, 1, 7, 8, I32.max, I32.min])
def test_switch(value):
    c = Counter(value)
    cases = {-3: c.by(30), 1: [c.by(10), c.by(11)], 7: [], I32.min: c.by(0)}
    x = value
    if value == -3:
        x = 3 * x + 30
    elif value == 1:
        x = 3 * (3 * x + 10) + 11
    elif value == I32.min:
        x = 3 * x
    elif value != 7:
        x = 3 * x + 99
    wrapped = int(np.int64(x).astype(np.int32))
    assert c.after(prog.Switch(c.x, cases, c.by(99))) == wrapped


@pytest.mark.parametrize(
    ("dtype", "value"), [(int8, -1), (uint8, 255), (int16, -2), (uint16, 65535), (uint32, 2**32 - 1)]
)
def test_conditions_of_every_integer_type(dtype, value):
    graph = Graph(2)
    x = graph.add_variable(1, dtype, "x")
    y = graph.add_variable(1, int32, "y")
    for t in (x, y):
        graph.set_tile_mapping(t, 1)
    cs = [graph.add_compute_set() for _ in range(2)]
    for k, one in enumerate(cs):
        graph.add_vertex(one, bump, {"x": y, "k": k + 1}, tile=1)
    engine = Engine(graph, [[prog.If(x, cs[0], []), prog.Switch(x, {value: cs[1]})]])
    engine.write_tensor("x", [value])
    engine.run()
    assert engine.read_tensor("y").tolist() == [3 * 1 + 2]


def test_calls_run_a_function_each_time():
    c = Counter(1)
    f = c.graph.add_function([c.by(1)], "f")
    g = c.graph.add_function([prog.Call(f), c.by(2), prog.Call(f)])
    x = 1
    for k in (1, 1, 2, 1, 1, 2, 1):
        x = 3 * x + k
    assert c.after([prog.Call(f), prog.Repeat(2, prog.Call(g))]) == x


def test_several_programs_share_variables():
    c = Counter()
    engine = Engine(c.graph, [c.by(1), [c.by(2), c.by(3)]])
    engine.run(0)
    engine.run(1)
    engine.run(0)
    assert engine.read_tensor("x").tolist() == [((1 * 3 + 2) * 3 + 3) * 3 + 1]


def test_abort_ends_the_run_where_it_stands():
    c = Counter(1)
    stop = prog.AbortOnCondition(c.flag, "too small")
    with pytest.raises(Aborted, match=r"AbortOnCondition: too small \(flag is not zero\)"):
        c.after([c.by(1), c.below(5), stop, c.by(1)])
    c = Counter(10)
    assert c.after([c.below(5), prog.AbortOnCondition(c.flag), c.by(1)]) == 31


def test_print_shows_values_on_standard_error(capsys):
    c = Counter(4)
    c.after(prog.Repeat(2, [prog.PrintTensor(c.x, "x is"), c.by(0), prog.PrintTensor(c.x)]))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["x is [4]", "x [12]", "x is [12]", "x [36]"]


def test_write_undef_frees_memory_until_the_next_write():
    graph = Graph(target("GC2", tiles=1))
    a, b = (graph.add_variable(1000, int32, n) for n in "ab")
    for t in (a, b):
        graph.set_tile_mapping(t, 0)
    cs = [graph.add_compute_set(n) for n in ("one", "two", "three")]
    for one, x in zip(cs, (a, b, a), strict=True):
        graph.add_vertex(one, bump, {"x": x, "k": 1})
    engine = Engine(graph, [[cs[0], prog.WriteUndef(a), cs[1], cs[2]]])
    engine.run()
    one, two, three = (int(s.tiles.memory[0]) for s in engine.report().steps)
    assert one == three == two + 4000
    assert engine.report().profile.memory.max_tile_bytes == one


def test_values_after_many_repeats_do_not_depend_on_how_the_code_is_compiled():
    """After some hundred runs the plain code without counting and checks takes over."""
    c = Counter()
    engine = Engine(c.graph, prog.Repeat(1300, c.by(7)))
    engine.run()
    x = 0
    for _ in range(1300):
        x = (3 * x + 7) & 0xFFFFFFFF
    assert engine.read_tensor("x").astype(np.uint32).tolist() == [x]


# -- what a vertex may not do ------------------------------------------------------------------------------------------


def test_an_index_out_of_range_says_where():
    graph = Graph(3)
    data = graph.add_constant(np.arange(5), float32, "data", tile=0)
    at = graph.add_variable((), int32, "at")
    out = graph.add_variable((), float32, "out")
    for t in (at, out):
        graph.set_tile_mapping(t, 2)
    cs = graph.add_compute_set("pick")
    graph.add_vertex(cs, pick, {"data": data, "at": at, "out": out}, tile=2)
    engine = Engine(graph, cs)
    for index in (5, -1):
        engine.write_tensor("at", index)
        with pytest.raises(CodeletError) as caught:
            engine.run()
        for words in (
            "pick: vertex on tile 2 added at test_tile_values.py:",
            f"index {index} of field 'data', which has 5 elements",
        ):
            assert words in str(caught.value)
    engine.write_tensor("at", 4)
    engine.run()  # a failure leaves nothing behind
    assert engine.read_tensor("out") == 4.0


def test_division_by_zero():
    graph = Graph(1)
    out = graph.add_variable((), int32, "out")
    graph.set_tile_mapping(out, 0)
    cs = graph.add_compute_set("divide")
    graph.add_vertex(cs, divide, {"a": 7, "b": 0, "out": out})
    with pytest.raises(
        CodeletError, match=r"divide: vertex on tile 0 added at .*: codelet divide: an integer is divided by zero"
    ):
        Engine(graph, cs).run()


# -- without compiling -------------------------------------------------------------------------------------------------

SMALL = """
    import numpy as np
    from ipusim import Engine, Graph, InOut, Input, Vector, codelet, float32, int32, target
    from ipusim import program as prog

    @codelet
    def axpy(x: Input[Vector[float32]], y: InOut[Vector[float32]], n: InOut[int32], a: float):
        for i in range(len(y)):
            if y[i] < 20.0:
                y[i] = a * x[i] + y[i]
        n[0] = n[0] + 1

    g = Graph(target("GC2", tiles=3))
    x, y = (g.add_variable((4, 6), float32, k) for k in "xy")
    n = g.add_variable(3, int32, "n")
    for i, t in enumerate((x, y, n)):
        g.map_linearly(t, first_tile=i, min_bytes_per_tile=0)
    cs = g.add_compute_set("axpy")
    for i in range(3):
        g.add_vertex(cs, axpy, {"x": x.T[2 * i], "y": y[:, 2 * i], "n": n[i], "a": 1.5}, tile=i)
    engine = Engine(g, [[prog.Repeat(3, [cs, prog.Copy(y[0], x[1])]), prog.If(n[0], cs)]])
    engine.write_tensor("x", np.arange(24.0).reshape(4, 6))
    engine.run()
    print(engine.read_tensor("y").tolist(), engine.read_tensor("n").tolist(), engine.report().cycles)
"""


def test_plain_python_gives_the_same_values_and_cycles(tmp_path):
    script = tmp_path / "small.py"
    script.write_text(textwrap.dedent(SMALL))
    said = []
    for disabled in ("0", "1"):
        env = os.environ | {"NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    assert "[4, 4, 4]" in said[0]
