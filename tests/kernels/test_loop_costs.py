"""Device loops: what carrying values and asking conditions costs, the runs that values gave, and values without axes."""

import numpy as np
import programs
import pytest
import workload_numpy
from op_check import check

import ipusim
from ipusim import program as prog
from ipusim.engine.run import as_ran
from ipusim.workload.builder import WorkloadBuilder


def loop(count, body, *shapes, fixed=0):
    b = WorkloadBuilder("loop")
    given = [b.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    made = b.loop(count, body, given[: len(given) - fixed], given[len(given) - fixed :])
    return b.build({f"y{i}": v for i, v in enumerate(made)})


def numbered(shape, start=0):
    return np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape) / 16


def names(workload):
    return [s.name.split("/", 1)[1] for s in ipusim.simulate(workload, precision="float32").steps]


# -- carried values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "shapes", "steps"),
    [
        (lambda c, a: c.add(a, 1.0), [(40,)], ["first", "add/add"]),
        (lambda c, a: c.tanh(c.mul(a, 0.5)), [(40,)], ["first", "mul/mul", "tanh/tanh"]),
        (lambda c, a, k: (c.sub(a, k), c.add(k, 1.0)), [(40,), (40,)], ["first", "sub/sub", "add/add"]),
        (lambda c, a, k: (a, c.add(k, 1.0)), [(40,), (3,)], ["first", "add/add"]),
        # the old value is read after the new one is there, or by another op at its side: it is copied at the end
        (lambda c, a, k: (c.add(a, 1.0), c.add(k, a)), [(40,), (40,)], ["first", "add/add", "add.1/add", "carry"]),
        (lambda c, a, k: (c.tanh(k), c.tanh(a)), [(40,), (40,)], ["first", "tanh/tanh", "tanh.1/tanh", "aside", "carry"]),
        (lambda c, a: c.reshape(c.transpose(c.add(a, 1.0), (1, 0)), (4, 6)), [(4, 6)], ["first", "add/add", "aside", "carry"]),
    ],
)  # fmt: skip
def test_an_op_that_may_write_in_place_needs_no_copy(body, shapes, steps):
    workload = loop(3, body, *shapes)
    assert names(workload) == steps
    check(workload, {f"x{i}": numbered(s, 7 * i) for i, s in enumerate(shapes)}, 1e-5)


def test_an_update_in_place_copies_nothing():
    """A table filled row by row costs a row a run, not the table."""

    def body(c, table, at):
        return c.dynamic_update(table, c.constant(np.ones((1, 64), np.float32)), at), c.add(at, 1)

    b = WorkloadBuilder("table")
    made = b.loop(5, body, [b.input("x", (500, 64)), b.constant(np.zeros(1, np.int32))])
    workload = b.build({"y": made[0]})
    assert not any("copy" in n or "carry" in n for n in names(workload))
    check(workload, {"x": numbered((500, 64))})


def test_what_the_input_holds_stays():
    """The first value is a copy: what a loop overwrites is its own."""
    b = WorkloadBuilder("kept")
    x = b.input("x", (12,))
    (y,) = b.loop(3, lambda c, a: c.add(a, 1.0), [x])
    check(b.build({"y": y, "z": b.add(x, y)}), {"x": numbered((12,))})


@pytest.mark.parametrize("again", [False, True])
def test_a_first_value_that_nothing_else_needs_is_not_copied(again):
    b = WorkloadBuilder("made")
    x = b.input("x", (12,))
    first = b.tanh(x)
    (y,) = b.loop(3, lambda c, a: c.add(a, 1.0), [first])
    workload = b.build({"y": b.add(y, first) if again else y})
    assert [s.name for s in ipusim.simulate(workload).steps if "first" in s.name] == ["loop/first"] * again
    check(workload, {"x": numbered((12,))})


def test_one_value_carried_twice():
    b = WorkloadBuilder("twice")
    first = b.tanh(b.input("x", (12,)))
    made = b.loop(3, lambda c, a, k, w: (c.add(a, 1.0), c.sub(k, w)), [first, first], [first])
    check(b.build({"y": made[0], "z": made[1]}), {"x": numbered((12,))})


def test_fixed_values_are_not_overwritten():
    check(loop(3, lambda c, a, w: c.add(c.mul(w, 2.0), a), (12,), (12,), fixed=1), {"x0": numbered((12,)), "x1": numbered((12,), 5)})


def test_loops_in_loops_overwrite_their_own():
    def outer(c, a, k):
        (inner,) = c.loop(2, lambda d, v, w: d.add(d.mul(v, 0.5), w), [a], [k])
        return c.add(inner, a), c.add(k, 1.0)

    check(loop(3, outer, (12,), (12,)), {"x0": numbered((12,)), "x1": numbered((12,), 5)}, 1e-5)


# -- conditions --------------------------------------------------------------------------------------------------------


def while_workload(most=50, limit=3.0):
    b = WorkloadBuilder("while")
    x = b.input("x", (4,))
    (y,) = b.while_loop(
        lambda c, a: c.binary("less", c.reduce("max", a), limit), lambda c, a: c.add(a, 1.0), [x], most=most, name="w"
    )
    return b.build({"y": y})


def test_a_condition_costs_what_it_does_in_a_tile_program():
    g = ipusim.Graph(ipusim.target("GC2"))
    go = g.add_variable((1,), ipusim.bool_, "go")
    g.set_tile_mapping(go, 0)
    engine = ipusim.Engine(g, [prog.RepeatWhileTrue(prog.Sequence([]), go, prog.Sequence([]))])
    engine.run(0)
    (told,) = (s for s in engine.report().steps if "RepeatWhileTrue" in s.name)
    (mine,) = (s for s in ipusim.simulate(while_workload(1), precision="float32").steps if s.name.endswith("condition"))
    assert mine.phases == told.phases
    assert mine.phases["exchange"] > 100


@pytest.mark.parametrize("mode", [True, "vertices"])
@pytest.mark.parametrize(("limit", "most", "runs", "asked"), [(3.0, 1000, 3, 4), (-1.0, 1000, 0, 1), (9.0, 5, 5, 5)])
def test_a_report_with_values_has_the_runs_there_were(limit, most, runs, asked, mode):
    workload, given = while_workload(most, limit), {"x": np.zeros(4, np.float32)}
    bound = ipusim.simulate(workload, precision="float32")
    found = ipusim.simulate(workload, given, execute=mode, precision="float32")
    repeats = {s.name.split("/", 1)[1]: s.repeats for s in found.steps}
    assert (repeats["first"], repeats["condition"], repeats["add/add"]) == (1, asked, runs)
    each = {s.name: s.cycles // s.repeats for s in bound.steps}
    assert found.cycles == sum(each[s.name] * s.repeats for s in found.steps)
    assert {s.repeats for s in bound.steps} == {1, most}
    assert any("a bound" in r for r in bound.profile.remarks)
    assert any("as often as they ran" in r for r in found.profile.remarks)
    assert found.ops[0].flops < bound.ops[0].flops or runs == most
    assert "as often as they ran" in str(found)


def nested():
    """A while with a while in its condition, one in its body, and a counted loop in that."""

    def condition(c, a, n):
        (small,) = c.while_loop(lambda d, v: d.binary("greater", v, 1.0), lambda d, v: d.mul(v, 0.5), [a], most=9, name="halve")
        return c.binary("less", c.add(n, small), 4.5)

    def body(c, a, n):
        (a,) = c.while_loop(lambda d, v: d.binary("less", v, n3(d)), lambda d, v: d.loop(2, lambda e, u: e.add(u, 1.0), [v], name="twice")[0], [a], most=20, name="grow")
        return c.mul(a, 0.75), c.add(n, 1.0)

    def n3(d):
        return d.constant(np.full(1, 6, np.float32))

    b = WorkloadBuilder("nested")
    made = b.while_loop(condition, body, [b.input("x", (1,)), b.constant(np.zeros(1, np.float32))], most=30, name="outer")
    return b.build({"y": made[0], "n": made[1]})


@pytest.mark.parametrize("start", [0.0, 2.5, 40.0])
def test_a_compiled_loop_counts_runs_as_steps_do(start):
    workload, given = nested(), {"x": np.full(1, start, np.float32)}
    program = programs.compiled(workload, "float32")
    assert any(loop.whole for loop in programs.loops(program))
    ran = [programs.ran(program, given, vertices=v).runs.tolist() for v in (False, True)]
    assert ran[0] == ran[1]
    assert max(ran[0]) > min(ran[0][1:])
    wanted = workload_numpy.evaluate(workload, given)
    assert np.allclose(programs.values(program, given)[0]["n"], wanted["n"])
    trace = programs.trace(program)
    assert as_ran(trace, np.array([s.repeats for s in trace.steps])).cycles == trace.cycles


# -- values without axes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda b, x: b.add(x, 1.0),
        lambda b, x: b.tanh(x),
        lambda b, x: b.clip(x, 0.0, 0.5),
        lambda b, x: b.select(b.binary("less", x, 1.0), x, 2.0),
        lambda b, x: b.loop(3, lambda c, a: c.mul(c.tanh(a), c.add(a, 1.0)), [x])[0],
        lambda b, x: b.while_loop(lambda c, a: c.binary("less", a, 5.0), lambda c, a: c.add(a, 1.0), [x], most=9)[0],
        lambda b, x: b.reduce("sum", b.expand(x, (3, 4)), keepdims=False),
        lambda b, x: b.add(b.reshape(x, (1, 1)), 1.0),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_values_without_axes(build, precision):
    b = WorkloadBuilder("scalar")
    workload = b.build({"y": build(b, b.input("x", ()))})
    given = {"x": np.float32(0.75)}
    wanted = workload_numpy.evaluate(workload, given)["y"]
    for mode in (True, "vertices"):
        found = ipusim.simulate(workload, given, execute=mode, precision=precision).outputs["y"]
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted, rtol=2e-3 if precision == "float16" else 1e-6)
