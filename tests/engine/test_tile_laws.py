"""Time of tile programs: laws that hold whatever a vertex costs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_programs import TILES, programs

from ipusim import Engine, Graph, InOut, Input, Output, Vector, codelet, float32, int32, target
from ipusim import program as prog
from ipusim.hw import cost

WORKERS = 6
SYNC = 64  # cycles of a barrier on one IPU, see docs/numbers.md


def law(*strategies, examples=40):
    return lambda test: settings(deadline=None, max_examples=examples)(given(*strategies)(test))


@codelet
def spin(trips: Input[int32], out: Output[int32]):
    t = 0
    for i in range(trips[0]):
        t = t ^ (i * 3)
    out[0] = t


@codelet
def steady(x: InOut[Vector[float32]]):
    for i in range(len(x)):
        x[i] = x[i] * 0.5 + 1.0


@codelet
def countdown(n: InOut[int32], out: InOut[int32]):
    if n[0] > 0:
        for i in range(n[0]):
            out[0] = out[0] + i
    n[0] = n[0] - 1


@codelet(multi=True)
def team(x: InOut[Vector[float32]], worker_id: int):
    for i in range(worker_id * 0, len(x)):
        if i % 6 == worker_id:
            x[i] = x[i] + 1.0


@codelet(cycles=100)
def given_number(x: InOut[Vector[float32]]):
    for i in range(len(x)):
        x[i] = x[i] + 1.0


@codelet(cycles=lambda x, k: 10 * x + k)
def given_function(x: InOut[Vector[float32]], k: int):
    for i in range(len(x)):
        x[i] = x[i] + 1.0


@codelet
def fetch(x: Input[Vector[float32]], y: Output[Vector[float32]]):
    for i in range(len(y)):
        y[i] = x[i]


class Bench:
    """A graph with one compute set; `spins` adds vertices of given trip counts, in order, by tile."""

    def __init__(self, tiles=4):
        self.graph = Graph(target("GC2", tiles=tiles), name="bench")
        self.cs = self.graph.add_compute_set("work")

    def spins(self, by_tile):
        for tile, trips in by_tile.items():
            for n in trips:
                name = f"t{len(self.graph.variables)}"
                out = self.graph.add_variable((), int32, name)
                self.graph.set_tile_mapping(out, tile)
                self.graph.add_vertex(self.cs, spin, {"trips": n, "out": out}, tile=tile)
        return self

    def vectors(self, code, by_tile, length=24, **members):
        for tile, count in by_tile.items():
            x = self.graph.add_variable((count, length), float32, f"x{tile}")
            self.graph.set_tile_mapping(x, tile)
            for row in x:
                self.graph.add_vertex(self.cs, code, {"x": row, **members}, tile=tile)
        return self

    def step(self):
        engine = Engine(self.graph, self.cs)
        engine.run()
        (step,) = engine.report().steps
        return step

    def compute(self):
        return self.step().phases["compute"]


def lone(trips):
    """Slots of a vertex of `spin`."""
    cycles = Bench().spins({0: [trips]}).compute() - cost.LAUNCH_CYCLES
    assert cycles % WORKERS == 0
    return cycles // WORKERS


_LONE = {}


def lone_slots(trips):
    """As `lone`, each once."""
    if trips not in _LONE:
        _LONE[trips] = lone(trips)
    return _LONE[trips]


# -- workers and tiles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 7))
def test_a_lone_worker_costs_as_much_as_six(count):
    assert Bench().vectors(steady, {1: count}).compute() == Bench().vectors(steady, {1: 1}).compute()


@pytest.mark.parametrize("count", [7, 11, 12, 13, 30])
def test_the_seventh_vertex_waits_for_a_worker(count):
    one, many = (Bench().vectors(steady, {1: n}).compute() - cost.LAUNCH_CYCLES for n in (1, count))
    assert many == one * -(-count // WORKERS)


@pytest.mark.parametrize("tiles", [1, 2, 3, 64, 1216])
def test_time_does_not_depend_on_how_many_tiles_do_the_same(tiles):
    step = Bench(1216).vectors(steady, dict.fromkeys(range(tiles), 3)).step()
    assert step.cycles == Bench(1216).vectors(steady, {0: 3}).step().cycles
    assert step.active_tiles == tiles
    assert step.balance == pytest.approx(tiles / 1216)
    assert len(set(step.tiles.compute[:tiles])) == 1


def test_longer_loops_cost_more_by_the_same_amount_each():
    steps = np.diff([lone_slots(n) for n in range(1, 12)])
    assert steps.min() > 0
    assert np.ptp(steps) <= 1  # the count of a whole vertex is rounded


@law(st.lists(st.lists(st.integers(0, 11), max_size=15), min_size=1, max_size=4))
def test_the_slowest_worker_of_the_slowest_tile_sets_the_time(by_tile):
    """Vertices are dealt to the six workers in the order in which they were added."""
    slots = [lone_slots(n) for n in range(12)]
    bench = Bench().spins(dict(enumerate(by_tile)))
    step = bench.step()
    for tile in range(4):
        trips = by_tile[tile] if tile < len(by_tile) else []
        worker = [sum(slots[n] for n in trips[w::WORKERS]) for w in range(WORKERS)]
        assert step.tiles.compute[tile] == (WORKERS * max(worker) + cost.LAUNCH_CYCLES if trips else 0)
    assert step.phases["compute"] == step.tiles.compute.max()


def test_multivertices_run_one_after_another():
    one, two, five = (Bench().vectors(team, {0: n}).compute() - cost.LAUNCH_CYCLES for n in (1, 2, 5))
    assert two == 2 * one
    assert five == 5 * one


def test_a_multivertex_takes_as_long_as_its_slowest_worker():
    """One element more for each worker in turn: time changes with the first only."""
    cycles = [Bench().vectors(team, {0: 1}, length=n).compute() for n in range(6, 19)]
    assert all(a <= b for a, b in pairwise(cycles))
    assert cycles[0] < cycles[6] < cycles[12]


def test_cycles_that_the_user_gives_are_thread_cycles():
    assert Bench().vectors(given_number, {0: 1}).compute() == 6 * 100 + cost.LAUNCH_CYCLES
    assert Bench().vectors(given_number, {0: 7}).compute() == 6 * 200 + cost.LAUNCH_CYCLES
    assert Bench().vectors(given_function, {0: 2}, length=8, k=5).compute() == 6 * 85 + cost.LAUNCH_CYCLES


def test_an_empty_compute_set_is_a_barrier():
    step = Bench().step()
    assert step.cycles == step.phases["sync"] == SYNC
    assert step.active_tiles == 0


# -- what reaches a tile -----------------------------------------------------------------------------------------------


@law(st.integers(1, 50), st.integers(1, 4), st.integers(1, 9))
def test_a_tile_receives_an_element_once_however_many_vertices_read_it(length, receivers, readers):
    graph = Graph(target("GC2", tiles=5))
    x = graph.add_variable(length, float32, "x")
    graph.set_tile_mapping(x, 4)
    cs = graph.add_compute_set("fetch")
    for tile in range(receivers):
        for r in range(readers):
            y = graph.add_variable(length, float32, f"y{tile}.{r}")
            graph.set_tile_mapping(y, tile)
            graph.add_vertex(cs, fetch, {"x": x, "y": y}, tile=tile)
    engine = Engine(graph, cs)
    engine.run()
    (step,) = engine.report().steps
    assert step.tiles.received.tolist() == [4 * length] * receivers + [0] * (5 - receivers)
    assert step.tiles.sent.tolist() == [0] * 4 + [4 * length]  # one multicast
    assert step.phases["sync"] == SYNC


def test_what_is_written_elsewhere_leaves_by_a_second_exchange_with_its_own_barrier():
    graph = Graph(target("GC2", tiles=3))
    x, y = (graph.add_variable(10, float32, n) for n in "xy")
    graph.set_tile_mapping(x, 0)
    graph.set_tile_mapping(y, 2)
    cs = graph.add_compute_set("pass on")
    graph.add_vertex(cs, fetch, {"x": x, "y": y}, tile=1)
    engine = Engine(graph, cs)
    engine.run()
    (step,) = engine.report().steps
    assert step.tiles.sent.tolist() == [40, 40, 0]
    assert step.tiles.received.tolist() == [0, 40, 40]
    assert step.phases["sync"] == 2 * SYNC


def test_local_data_takes_no_exchange():
    step = Bench().vectors(steady, {0: 3, 2: 1}).step()
    assert step.phases["exchange"] == step.tiles.sent.sum() == step.tiles.received.sum() == 0


def test_a_field_in_several_runs_is_copied_and_one_in_one_run_is_not():
    graph = Graph(target("GC2", tiles=1))
    x, y = (graph.add_variable((4, 6), float32, n) for n in "xy")
    for t in (x, y):
        graph.set_tile_mapping(t, 0)
    solid, strided = graph.add_compute_set("solid"), graph.add_compute_set("strided")
    graph.add_vertex(solid, fetch, {"x": x[1:3].flatten(), "y": y[1:3].flatten()})
    graph.add_vertex(strided, fetch, {"x": x[:, 1:4].flatten(), "y": y[:, 1:4].flatten()})
    engine = Engine(graph, [[solid, strided]])
    engine.run()
    one, two = engine.report().steps
    assert one.phases["copy_before"] == one.phases["copy_after"] == one.tiles.copies.sum() == 0
    assert two.phases["copy_before"] > 0
    assert two.phases["copy_after"] > 0
    assert two.tiles.copies.tolist() == [two.phases["copy_before"] + two.phases["copy_after"]]


# -- sums --------------------------------------------------------------------------------------------------------------


@law(programs(), st.integers(0, 3), examples=50)
def test_reports_add_up(drawn, count):
    """Of any program: phases to steps, steps to the whole, parts to the whole, stepping to running."""
    parts = [prog.Execute(cs) for cs in drawn.sets]
    loop = prog.Repeat(count, [drawn.sets[-1]])
    whole = prog.Sequence(*parts, loop)
    engine = Engine(drawn.graph, whole)
    engine.run()
    report = engine.report()
    assert report.cycles == sum(s.cycles for s in report.steps) == sum(report.phases.values())
    assert report.cycles == sum(engine.report(p).cycles for p in (*parts, loop) if p is not loop or count)
    for name, cycles in report.phases.items():
        assert cycles == sum(s.phases[name] for s in report.steps)
    stepped = list(Engine(drawn.graph, whole).step())
    assert len(stepped) == len(parts) + count
    assert sum(s.cycles for s in stepped) == report.cycles
    assert sum(s.sent.sum() for s in stepped) == sum(s.tiles.sent.sum() for s in report.steps)
    for step in stepped:
        _check_superstep(step.phases, step.compute, step.copies, step.sent, step.received)
    for step in report.steps[: len(parts)]:
        tiles = step.tiles
        _check_superstep(step.phases, tiles.compute, tiles.copies, tiles.sent, tiles.received)


def _check_superstep(phases, compute, copies, sent, received):
    """sync + exchange + copies and compute of the tile that is busy longest."""
    busy = compute + copies
    assert phases["compute"] + phases["copy_before"] + phases["copy_after"] == busy.max()
    assert (phases["exchange"] > 0) == (received.sum() > 0) == (sent.sum() > 0)
    assert phases["sync"] in (SYNC, 2 * SYNC)
    assert sent.sum() <= received.sum() <= (TILES - 1) * sent.sum()
    widest = max(sent.max(), received.max())
    assert phases["exchange"] >= widest / 8  # bus partners share 8 bytes a cycle at most
    assert phases["link"] == phases["host"] == 0


@law(programs(most_sets=2), st.integers(1, 5), st.integers(1, 3), examples=25)
def test_a_repeat_takes_so_many_times_as_long(drawn, outer, inner):
    once = Engine(drawn.graph, [drawn.sets])
    often = Engine(drawn.graph, prog.Repeat(outer, prog.Repeat(inner, drawn.sets)))
    once.run()
    often.run()
    one, many = once.report(), often.report()
    assert many.cycles == outer * inner * one.cycles
    for a, b in zip(one.steps, many.steps, strict=True):
        assert b.repeats == outer * inner
        assert {k: v * outer * inner for k, v in a.phases.items()} == b.phases
        for name in ("compute", "copies", "sent", "received"):
            assert np.array_equal(getattr(a.tiles, name) * outer * inner, getattr(b.tiles, name))


def test_many_repeats_cost_the_same_each_although_code_without_counting_takes_over():
    bench = Bench().vectors(steady, {0: 2, 3: 7})
    one = bench.step().cycles
    engine = Engine(bench.graph, prog.Repeat(1500, bench.cs))
    engine.run()
    assert engine.report().cycles == 1500 * one
    first = engine.read_tensor("x0")
    engine.run()
    assert engine.report().cycles == 1500 * one
    assert np.array_equal(first, engine.read_tensor("x0"))  # the fixed point of x / 2 + 1
    assert first.max() == first.min() == 2.0


@law(st.lists(st.integers(0, 11), min_size=1, max_size=8), examples=20)
def test_loops_that_depend_on_data_are_counted_as_they_run(trips):
    """Each execution takes the trips that its data say, in a Repeat as well as in a sequence."""
    graph = Graph(target("GC2", tiles=2))
    data = graph.add_constant(np.array(trips, np.int32), int32, "trips", tile=0)
    now, out = (graph.add_variable((), int32, n) for n in ("now", "out"))
    for t in (now, out):
        graph.set_tile_mapping(t, 0)
    cs = graph.add_compute_set("spin")
    graph.add_vertex(cs, spin, {"trips": now, "out": out})
    steps = [[prog.Copy(data[i], now), cs] for i in range(len(trips))]
    engine = Engine(graph, [steps])
    engine.run()
    found = [s.phases["compute"] for s in engine.report().steps if s.name == "spin"]
    assert found == [WORKERS * lone_slots(n) + cost.LAUNCH_CYCLES for n in trips]


def test_data_that_change_inside_a_repeat_change_its_time():
    graph = Graph(target("GC2", tiles=2))
    n, out = (graph.add_variable((), int32, k) for k in ("n", "out"))
    for t in (n, out):
        graph.set_tile_mapping(t, 1)
    cs = graph.add_compute_set("countdown")
    graph.add_vertex(cs, countdown, {"n": n, "out": out}, tile=1)
    engine = Engine(graph, prog.Repeat(10, cs))
    engine.write_tensor("n", 7)
    each = [s.phases["compute"] for s in engine.step()]
    assert engine.read_tensor("out") == sum(sum(range(k)) for k in range(8))
    assert all(a > b for a, b in pairwise(each[:8]))  # 7, 6, ... 1 trips, then none
    assert len(set(each[7:])) == 1
    assert np.ptp(np.diff(each[:7])) <= WORKERS  # slots of a vertex are rounded to whole ones
    engine.write_tensor("n", 7)
    engine.run()
    (step,) = engine.report().steps
    assert step.phases["compute"] == sum(each)
    assert step.tiles.compute.tolist() == [0, sum(each)]
    engine.run()  # now n is negative
    assert engine.report().steps[0].phases["compute"] == 10 * each[-1]


def test_time_does_not_depend_on_values_where_no_loop_does():
    bench = Bench().vectors(steady, {0: 3})
    engine = Engine(bench.graph, bench.cs)
    engine.run()
    one = engine.report().cycles
    engine.write_tensor("x0", np.full((3, 24), np.nan))
    engine.run()
    assert engine.report().cycles == one


def test_parts_of_a_program_are_timed_by_themselves():
    bench = Bench().vectors(steady, {0: 3})
    other = bench.graph.add_compute_set("other")
    bench.graph.add_vertex(other, steady, {"x": bench.graph.tensor("x0")[0]}, tile=2)
    a, b = prog.Execute(bench.cs), prog.Execute(other)
    inner = prog.Repeat(4, [a, b])
    function = bench.graph.add_function([b])
    whole = prog.Sequence(a, inner, prog.Call(function), prog.Block([b], "end"))
    engine = Engine(bench.graph, whole)
    before = engine.report(inner).cycles  # not run yet: rehearsed on copies
    assert not engine.read_tensor("x0").any()
    engine.run()
    assert engine.report(inner).cycles == before
    one, two = engine.report(a).steps[0].cycles, engine.report(b).steps[0].cycles // 4
    assert engine.report(a).cycles == 5 * one  # the same record stands at two places
    assert engine.report(b).cycles == 6 * two
    assert engine.report(inner).cycles == 4 * (one + two)
    assert engine.report().cycles == 5 * one + 6 * two
    assert engine.report([inner]).cycles == 4 * (one + two)
    assert [s.name for s in engine.report().steps] == ["work", "work", "other", "function0/other", "end/other"]


def test_conditions_are_read_by_all_tiles():
    graph = Graph(target("GC2", tiles=4))
    flag = graph.add_variable(1, int32, "flag")
    graph.set_tile_mapping(flag, 2)
    engine = Engine(graph, prog.If(flag, [], []))
    engine.run()
    (step,) = engine.report().steps
    assert step.tiles.sent.tolist() == [0, 0, 4, 0]
    assert step.tiles.received.tolist() == [4, 4, 0, 4]
    assert step.phases["exchange"] > 0
