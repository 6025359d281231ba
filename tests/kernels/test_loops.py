"""Device loops: values against the independent evaluator, as one program and step by step, and cycles."""

import numpy as np
import programs
import pytest
import workload_numpy
from op_check import check

import ipusim
from ipusim.program.liveness import lifetimes
from ipusim.workload.builder import WorkloadBuilder

RNG = np.random.default_rng(3)


def simulated(workload, inputs, **options):
    return ipusim.simulate(workload, inputs, precision="float32", **options)


def test_loop():
    b = WorkloadBuilder("loop")
    x, w = b.input("x", (6, 9)), b.input("w", (9, 9))
    y, n = b.loop(5, lambda c, a, k, w: (c.tanh(c.matmul(a, w)), c.add(k, 1.0)), [x, b.constant(np.zeros(1, np.float32))], [w])
    check(b.build({"y": y, "n": n}), {"x": RNG.uniform(-1, 1, (6, 9)), "w": RNG.uniform(-1, 1, (9, 9))}, 1e-5)


@pytest.mark.parametrize("most", [3, 50])
def test_while(most):
    b = WorkloadBuilder("while")
    x, n = b.input("x", (30,)), b.constant(np.zeros(1, np.float32))
    y, k = b.while_loop(
        lambda c, a, k: c.binary("less", k, 7.0), lambda c, a, k: (c.mul(a, 0.5), c.add(k, 1.0)), [x, n], most=most
    )
    workload, given = b.build({"y": y, "k": k}), {"x": np.linspace(-1, 1, 30).astype(np.float32)}
    for mode in (True, "vertices"):
        found = simulated(workload, given, execute=mode).outputs
        assert found["k"] == min(most, 7)
        assert np.array_equal(found["y"], given["x"] / 2 ** min(most, 7))
    assert simulated(workload, None).cycles >= most * 100  # timed as if it ran as often as it may


def test_a_condition_that_is_false_from_the_start():
    b = WorkloadBuilder("never")
    (y,) = b.while_loop(lambda c, a: c.binary("less", a, 0.0), lambda c, a: c.add(a, 1.0), [b.input("x", (1,))], most=9)
    workload = b.build({"y": y})
    for mode in (True, "vertices"):
        assert simulated(workload, {"x": np.ones(1, np.float32)}, execute=mode).outputs["y"] == 1


def test_values_change_places():
    """The next value of one carried tensor is the old value of another, in part."""
    b = WorkloadBuilder("turn")
    a, c, d = b.input("a", (8,)), b.input("c", (8,)), b.input("d", (4,))
    made = b.loop(3, lambda s, a, c, d: (c, s.add(a, 1.0), s.slice(a, (4,), (8,))), [a, c, d])
    inputs = {"a": np.arange(8.0), "c": np.arange(10.0, 18), "d": np.zeros(4)}
    check(b.build({f"y{i}": v for i, v in enumerate(made)}), inputs)


def test_loops_in_loops():
    def inner(c, a):
        return c.add(c.mul(a, 0.5), 1.0)

    def outer(c, a, n):
        (a,) = c.loop(3, inner, [a])
        (a,) = c.while_loop(lambda d, v: d.binary("greater", d.reduce("max", v), 1.0), lambda d, v: d.mul(v, 0.7), [a], most=20)
        return a, c.add(n, 1.0)

    b = WorkloadBuilder("nested")
    made = b.loop(4, outer, [b.input("x", (7, 5)), b.constant(np.zeros(1, np.float32))])
    workload, given = b.build({"y": made[0], "n": made[1]}), {"x": RNG.uniform(-1, 1, (7, 5)).astype(np.float32)}
    wanted = workload_numpy.evaluate(workload, given)
    for mode in (True, "vertices"):
        found = simulated(workload, given, execute=mode).outputs
        assert found["n"] == 4
        assert np.allclose(found["y"], wanted["y"], rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_dynamic_slices_and_updates(size):
    def body(c, x, at):
        part = c.mul(c.dynamic_slice(x, at, size, axis=1), 2.0)
        return c.dynamic_update(x, part, at, axis=1), c.add(at, 2)

    b = WorkloadBuilder("dynamic")
    x, at = b.input("x", (4, 9, 3)), b.constant(np.full(1, -1, np.int32))
    made = b.loop(7, body, [x, at])  # from before the first place to beyond the last: both are limited
    check(b.build({"y": made[0]}), {"x": RNG.uniform(-1, 1, (4, 9, 3))}, half=0.01)


def test_a_body_is_timed_once():
    def build(count):
        b = WorkloadBuilder("count")
        return b.build({"y": b.loop(count, lambda c, a: c.tanh(a), [b.input("x", (100,))])[0]})

    one, many = (ipusim.simulate(build(n)) for n in (1, 1000))
    assert len(one.steps) == len(many.steps)
    body = sum(s.cycles for s in one.steps) - one.steps[0].cycles
    assert many.cycles - one.cycles == 999 * body
    assert {s.repeats for s in many.steps} == {1, 1000}


def test_what_lives_through_a_loop():
    """What a body reads in every run stays to the end, also if it is read early in a run; what is made and used within
    a run gives its room to the next.
    """
    b = WorkloadBuilder("memory")
    x, w = b.input("x", (1216, 100)), b.input("w", (1216, 100))
    (y,) = b.loop(5, lambda c, a, w: c.select(c.binary("less", a, c.tanh(w)), c.unary("exp", a), 0.5), [x], [w])
    program = programs.compiled(b.build({"y": y}), "float32")
    lives = lifetimes(program.graph, program.outputs.values())
    found = {v.name: (life.first, life.last) for v, life in lives.items() if v.elements == 121600}
    sets = [s.name for s in program.graph.sets]
    end = len(sets) - 1
    assert found.pop("x") == (0, 0)
    assert found.pop("w") == (0, end)
    assert found.pop("loop/carried0") == (0, end)
    assert found.pop("loop/tanh/tanh") == (sets.index("loop/tanh/tanh"), sets.index("loop/less/less"))
    memory = programs.trace(program).memory
    held = sum(v[1] for k, v in memory.categories.items() if k not in ("variables", "received data"))
    three, flags, two, number = 3 * 400, 100, 2 * 400, 4  # bytes on a tile: floats of three variables, of two, bools
    wanted = [three, three, three + flags, two + flags, three + flags + number, three]
    assert (memory.live[:, 1] - held).tolist() == wanted


def test_a_body_that_changes_shapes_names_the_node_and_value():
    b = WorkloadBuilder("bad")
    with pytest.raises(ipusim.BadInput, match=r"'mine'.*changes carried value 'x0' from float32\[3, 2\] to float32\[2, 3\]"):
        b.loop(3, lambda c, x: c.reshape(x, (2, 3)), [b.input("x", (3, 2))], name="mine")
