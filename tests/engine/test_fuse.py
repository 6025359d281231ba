"""Loops run in bursts with plain code and vertices joined: the same values and counts as one by one."""

import numpy as np
import pytest

from ipusim import Engine, Graph, InOut, Input, Output, Vector, codelet, float32, int32, target
from ipusim import program as prog
from ipusim.engine import times


@codelet
def decay(x: Input[Vector[float32]], rate: Input[float32], y: Output[Vector[float32]], shift: float) -> None:
    for i in range(len(x)):
        t = x[i] * rate
        y[i] = t + shift


@codelet
def running(x: Input[Vector[float32]], rate: Input[float32], y: Output[Vector[float32]], shift: float) -> None:
    s = 0.0
    for i in range(len(x)):
        s += x[i] * rate
        y[i] = s + shift


@codelet
def numbered(x: Input[Vector[float32]], rate: Input[float32], y: Output[Vector[float32]], shift: float) -> None:
    for i in range(len(x)):
        y[i] = x[i] * rate + shift * i


@codelet
def backward(x: Input[Vector[float32]], rate: Input[float32], y: Output[Vector[float32]], shift: float) -> None:
    for i in range(len(x)):
        y[i] = x[len(x) - 1 - i] * rate + shift


@codelet
def kept(x: Input[Vector[float32]], rate: Input[float32], y: Output[Vector[float32]], shift: float) -> None:
    last = 0.0
    for i in range(len(x)):
        y[i] = last + x[i] * rate
        last = shift


@codelet
def partly(x: InOut[Vector[int32]], n: int) -> None:
    for i in range(n):
        x[i] = x[i] + 1


def test_only_codelets_that_treat_all_elements_alike_are_joined():
    assert decay.elementwise
    assert [c.name for c in (running, numbered, backward, kept, partly) if c.elementwise] == []


def built(function, pieces, shifts):
    graph = Graph(target("GC2", tiles=3))
    x, y = (graph.add_variable(sum(pieces), float32, n) for n in "xy")
    graph.map_linearly(x, grain=1, min_bytes_per_tile=4)
    graph.map_linearly(y, grain=1, min_bytes_per_tile=4)
    rate = graph.add_constant(0.5, float32, "rate", tile=1)
    there, back = graph.add_compute_set("there"), graph.add_compute_set("back")
    at = 0
    for i, (n, shift) in enumerate(zip(pieces, shifts, strict=True)):
        part = slice(at, at + n)
        graph.add_vertex(there, function, {"x": x[part], "rate": rate, "y": y[part], "shift": shift}, tile=i % 3)
        graph.add_vertex(back, function, {"x": y[part], "rate": rate, "y": x[part], "shift": shift}, tile=i % 3)
        at += n
    return graph, there, back


@pytest.mark.parametrize("function", [decay, running, numbered, backward, kept], ids=lambda c: c.name)
@pytest.mark.parametrize("shifts", [[1.0] * 6, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0]], ids=["equal", "mixed"])
def test_a_burst_computes_and_counts_what_single_steps_do(function, shifts, monkeypatch):
    monkeypatch.setattr(times, "PATIENCE", 3)
    graph, there, back = built(function, [5, 1, 8, 3, 3, 7], shifts)
    start = np.random.default_rng(1).normal(size=27).astype(np.float32)
    fast = Engine(graph, prog.Repeat(50, [prog.Execute(there), prog.Execute(back)]))
    fast.write_tensor("x", start)
    fast.run()
    monkeypatch.setattr(times, "PATIENCE", 10**9)
    slow = Engine(graph, prog.Repeat(50, [prog.Execute(there), prog.Execute(back)]))
    slow.write_tensor("x", start)
    slow.run()
    np.testing.assert_array_equal(fast.read_tensor("x"), slow.read_tensor("x"))
    np.testing.assert_array_equal(fast.read_tensor("y"), slow.read_tensor("y"))
    assert fast.report().phases == slow.report().phases
    assert [s.repeats for s in fast.report().steps] == [50, 50]


def test_vertices_side_by_side_are_joined_and_others_are_not(monkeypatch):
    monkeypatch.setattr(times, "PATIENCE", 3)
    graph, there, _ = built(decay, [4] * 6, [1.0] * 6)
    engine = Engine(graph, prog.Repeat(20, prog.Execute(there)))
    engine.run()
    assert engine._machine.tables.parts[:, 4].tolist() == [1]
    graph, there, _ = built(decay, [4] * 6, [1.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    engine = Engine(graph, prog.Repeat(20, prog.Execute(there)))
    engine.run()
    assert engine._machine.tables.parts[:, 4].tolist() == [3]
