"""Copies as programs of lowered ops: the same cycles as a `Copy` of a tile program, and room only for what cannot land."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim import program as prog
from ipusim.dtype import float16, float32
from ipusim.engine import moves
from ipusim.engine.run import compute_values, measure_time
from ipusim.hw import cost
from ipusim.program.graph import Graph
from ipusim.program.mapping import linear
from ipusim.program.tensor import Tensor
from ipusim_kernels.copies import COPY, copy_group

TILES = 6
DEVICE = ipusim.target("GC2", tiles=TILES)


def view(tensor, kind):
    """A tensor of the same shape that looks at another: itself, turned, or from the other end."""
    return {"same": lambda: tensor, "turned": lambda: tensor.transpose((1, 0)), "reversed": lambda: tensor.reverse(0)}[kind]()


def lowered(shape, dtype, places, kind):
    """The step of a copy between variables at places (grain, least elements, first tile)."""
    graph = Graph(TILES)
    made = [graph.add_storage(shape, dtype, name, mapping=linear(shape, TILES, grain=g, min_elements=least, offset=at))
            for name, (g, least, at) in zip("xy", places, strict=True)]  # fmt: skip
    made[1].keep = True
    source, target = map(Tensor.of, made)
    compute_set = graph.execute("copy", -1, [copy_group(view(source, kind), target)])
    (step,) = measure_time(graph, [target], DEVICE.chip, "test").steps
    return step, compute_set, graph, source, target


def tile_program(shape, dtype, places, kind):
    graph = ipusim.Graph(DEVICE)
    made = [graph.add_variable(shape, dtype, name) for name in "xy"]
    for tensor, (g, least, at) in zip(made, places, strict=True):
        mapping = linear((tensor.elements,), TILES, grain=g, min_elements=least, offset=at)
        for begin, end, tile in zip(mapping.cuts[0][:-1], mapping.cuts[0][1:], mapping.tiles, strict=True):
            graph.set_tile_mapping(tensor.flatten()[int(begin) : int(end)], int(tile))
    report = ipusim.Engine(graph, [prog.Copy(view(made[0], kind), made[1])], timing_only=True)
    report.run(0)
    return report.report().steps[0]


PLACES = st.tuples(st.sampled_from([4, 8]), st.sampled_from([1, 16, 40]), st.integers(0, TILES - 1))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 12), source=PLACES, target=PLACES, dtype=st.sampled_from([float16, float32]))
def test_the_cycles_are_those_of_a_copy_in_a_tile_program(rows, source, target, dtype):
    shape, places = (rows * 4, 4), (source, target)
    mine, other = lowered(shape, dtype, places, "same")[0], tile_program(shape, dtype, places, "same")
    assert {k: mine.phases[k] for k in ("copy_before", "copy_after", "sync")} == {
        k: other.phases[k] for k in ("copy_before", "copy_after", "sync")
    }
    assert mine.phases["exchange"] == other.phases["exchange"]
    assert mine.phases["compute"] == 0


@pytest.mark.parametrize("dtype", [float16, float32])
@pytest.mark.parametrize("kind", ["turned", "reversed"])
def test_copies_of_other_orders(kind, dtype):
    """Elements come one by one from everywhere."""
    places = ((4, 1, 0), (4, 1, 0))
    mine, other = lowered((24, 24), dtype, places, kind)[0], tile_program((24, 24), dtype, places, kind)
    for phase in ("copy_before", "copy_after"):
        assert mine.phases[phase] == other.phases[phase], phase


def test_what_lands_in_one_stretch_needs_no_buffer():
    far = lowered((48, 4), float32, ((4, 1, 0), (4, 1, 3)), "same")[1]  # nothing stays
    mixed = lowered((24, 24), float32, ((4, 1, 0), (4, 1, 0)), "turned")[1]
    assert not moves.buffered(far, TILES).any()
    assert (moves.buffered(mixed, TILES) > 0).all()
    none, some = (sum(moves.move_cycles(s, DEVICE.chip)[1]) for s in (far, mixed))
    assert none == 0
    assert some > 0


def test_a_broadcast_fills_every_place():
    graph = Graph(TILES)
    zero = Tensor.of(graph.add_storage((1, 1), float32, "zero", mapping=linear((1, 1), TILES)))
    target = Tensor.of(graph.add_storage((60, 10), float32, "y", mapping=linear((60, 10), TILES)))
    graph.execute("fill", -1, [copy_group(zero.broadcast_to((60, 10)), target)])
    (step,) = measure_time(graph, [target], DEVICE.chip, "test").steps
    assert step.phases["copy_before"] == cost.copy_cycles(1, 50, 6)  # 100 floats a tile


@pytest.mark.parametrize("vertices", [False, True])
def test_values(vertices):
    _, _, graph, source, target = lowered((24, 24), float32, ((4, 1, 0), (8, 1, 2)), "turned")
    values = {source.variable: np.arange(576, dtype=np.float32).reshape(24, 24)}
    compute_values(graph, values, DEVICE.chip, vertices=vertices)
    assert np.array_equal(values[target.variable], np.arange(576).reshape(24, 24).T)
    assert COPY.cycles(None, 10) == 0
