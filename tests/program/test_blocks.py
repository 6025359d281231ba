"""Vertices added together: the same program as one by one, and what they refuse."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim import Graph, Input, Output, Vector, codelet, float32, half
from ipusim import program as prog
from ipusim.errors import BadInput, InvalidProgram, UnknownName

DEVICE = ipusim.target("GC2", tiles=4)
ROW = np.array([1, 2])  # a row of two elements


@codelet
def scaled(x: Input[Vector[float32]], y: Output[Vector[float32]], scale: float, n: int) -> None:
    for i in range(n):
        y[i] = x[i] * scale


@codelet
def row_sums(x: Input[Vector[Vector[float32]]], y: Output[Vector[float32]], n: int) -> None:
    for r in range(len(x)):
        total = 0.0
        for i in range(n):
            total += x[r][i]
        y[r] = total


@codelet
def first(x: Input[float32], y: Output[Vector[float32]]) -> None:
    y[0] = x


def bounds(*boxes):
    """(lo, hi) of boxes given as (begin, end) by axis."""
    array = np.array(boxes)
    return array[:, :, 0], array[:, :, 1]


@st.composite
def grids(draw):
    """(shape of an image, a box of it for each of some vertices, their tiles); the boxes are rows of a partition."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    cuts = sorted(draw(st.sets(st.integers(1, width), max_size=3)) | {0, width})
    boxes = [((r, r + 1), (a, b)) for r in range(height) for a, b in pairwise(cuts)]
    tiles = draw(st.lists(st.integers(0, 3), min_size=len(boxes), max_size=len(boxes)))
    owners = draw(st.lists(st.integers(0, 3), min_size=height, max_size=height))
    return (height, width), boxes, tiles, owners


def made(grid, together, transposed):
    """y = scale x, boxes of x and y of a partition; the vertices added together or one by one."""
    shape, boxes, tiles, owners = grid
    graph = Graph(DEVICE)
    x, y = (graph.add_variable(shape, float32, name) for name in "xy")
    for variable in (x, y):
        if together:
            lo, hi = bounds(*(((r, r + 1), (0, shape[1])) for r in range(shape[0])))
            graph.set_tile_mapping(variable.blocks(lo, hi), owners)
        else:
            for r, tile in enumerate(owners):
                graph.set_tile_mapping(variable[r], tile)
    cs = graph.add_compute_set("cs")
    if transposed:
        x, y, boxes = x.T, y.T, [box[::-1] for box in boxes]
    sizes = [(b - a) * (d - c) for (a, b), (c, d) in boxes]
    scales = np.arange(1, len(boxes) + 1) / 2
    if together:
        lo, hi = bounds(*boxes)
        fields = {"x": x.blocks(lo, hi), "y": y.blocks(lo, hi), "n": sizes, "scale": scales}
        graph.add_vertices(cs, scaled, fields, tiles)
    else:
        for ((a, b), (c, d)), n, scale, tile in zip(boxes, sizes, scales, tiles, strict=True):
            graph.add_vertex(cs, scaled, {"x": x[a:b, c:d], "y": y[a:b, c:d], "n": n, "scale": scale}, tile=tile)
    engine = ipusim.Engine(graph, [prog.Execute(cs)])
    engine.write_tensor("x", np.arange(np.prod(shape)).reshape(shape))
    engine.run(0)
    return engine


@settings(max_examples=40)
@given(grids(), st.booleans())
def test_together_is_one_by_one(grid, transposed):
    one, many = (made(grid, together, transposed) for together in (False, True))
    assert np.array_equal(one.read_tensor("y"), many.read_tensor("y"))
    assert many.read_tensor("y").any() or grid[0] == (1, 1)
    (a,), (b,) = ([*engine.step(0)] for engine in (one, many))
    assert a.phases == b.phases
    for name in ("compute", "copies", "sent", "received", "memory"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("axes", [2, 3])
def test_a_vector_of_vectors_takes_the_rows_of_a_block(axes):
    shape = (2, 3, 5) if axes == 3 else (6, 5)
    graph = Graph(DEVICE)
    x, y = graph.add_variable(shape, float32, "x"), graph.add_variable((2, 12), float32, "y")
    graph.map_linearly(x)
    graph.map_linearly(y)
    cs = graph.add_compute_set("cs")
    lo, hi = np.zeros((2, axes), int), np.array([shape] * 2)
    hi[1, 0] -= 1  # the second vertex has fewer rows
    lo[0, -1], hi[1, -1] = 1, 4
    out = bounds(((0, 1), (0, 12)), ((1, 2), (0, 12)))
    graph.add_vertices(cs, row_sums, {"x": x.blocks(lo, hi), "y": y.blocks(*out), "n": hi[:, -1] - lo[:, -1]}, [1, 2])
    engine = ipusim.Engine(graph, [prog.Execute(cs)])
    values = np.arange(30.0).reshape(shape)
    engine.write_tensor("x", values)
    engine.run(0)
    found = engine.read_tensor("y")
    whole = values.reshape(-1, 5)
    fewer = values[: hi[1, 0]].reshape(-1, 5)
    assert np.array_equal(found[0, : len(whole)], whole[:, 1:].sum(axis=1))
    assert np.array_equal(found[1, : len(fewer)], fewer[:, :4].sum(axis=1))
    assert not found[1, len(fewer) :].any()


def test_rows_of_different_tensors():
    graph = Graph(DEVICE)
    x, y, z = (graph.add_variable((4, 2), float32, name) for name in "xyz")
    for tensor in (x, y, z):
        graph.set_tile_mapping(tensor, 0)
    rows = np.arange(4)
    block = np.stack([rows, rows * 0], axis=1)
    cs = graph.add_compute_set("cs")
    vertices = graph.add_vertices(cs, scaled, {"y": y.blocks(block, block + ROW), "n": 2}, [0] * 4)
    odd = rows % 2 == 1
    vertices.connect("x", x.blocks(block[~odd], block[~odd] + ROW), ~odd)
    vertices.connect("x", z.blocks(block[odd], block[odd] + ROW), [1, 3])
    vertices.connect("scale", [1.0, 2.0], ~odd)
    vertices.connect("scale", 3.0, odd)
    engine = ipusim.Engine(graph, [prog.Execute(cs)])
    engine.write_tensor("x", np.ones((4, 2)))
    engine.write_tensor("z", np.full((4, 2), 10))
    engine.run(0)
    assert engine.read_tensor("y")[:, 0].tolist() == [1, 30, 2, 30]


def test_workers_are_dealt_in_order_of_adding():
    """Vertices added together after two single ones go to the third context and on."""
    engines = []
    for together in (False, True):
        graph = Graph(DEVICE)
        x, y = (graph.add_variable((8, 64), float32, name) for name in "xy")
        graph.set_tile_mapping(x, 0)
        graph.set_tile_mapping(y, 0)
        cs = graph.add_compute_set("cs")
        sizes = [64, 1, 30, 2, 50, 3, 60, 64]
        for r in range(2 if together else 8):
            fields = {"x": x[r, : sizes[r]], "y": y[r, : sizes[r]], "n": sizes[r], "scale": 2.0}
            graph.add_vertex(cs, scaled, fields, tile=0)
        if together:
            rest = range(2, 8)
            lo, hi = bounds(*(((r, r + 1), (0, sizes[r])) for r in rest))
            fields = {"x": x.blocks(lo, hi), "y": y.blocks(lo, hi), "n": [sizes[r] for r in rest], "scale": 2}
            graph.add_vertices(cs, scaled, fields, [0] * 6)
        engines.append(ipusim.Engine(graph, [prog.Execute(cs)]))
        engines[-1].run(0)
    assert engines[0].report().phases["compute"] == engines[1].report().phases["compute"]


@pytest.fixture
def parts():
    """A graph with x, y (4, 2) and h (4, 2) of half, a compute set, and bounds of its rows."""
    graph = Graph(DEVICE)
    x, y, h = (graph.add_variable((4, 2), t, n) for t, n in ((float32, "x"), (float32, "y"), (half, "h")))
    for tensor in (x, y, h):
        graph.set_tile_mapping(tensor, 0)
    lo = np.stack([np.arange(4), np.zeros(4, int)], axis=1)
    return graph, graph.add_compute_set("cs"), {"x": x, "y": y, "h": h}, (lo, lo + ROW)


@pytest.mark.parametrize(
    ("lo", "hi", "message"),
    [
        ([[0, 0]], [[5, 2]], r"block 0 is \[0, 0\] to \[5, 2\] of a tensor of \(4, 2\)"),
        ([[0, 0], [-1, 0]], [[1, 1], [1, 1]], r"block 1 is \[-1, 0\]"),
        ([[2, 0]], [[1, 2]], "block 0"),
        ([[0, 0]], [[1, 1], [2, 2]], "1 lower and 2 upper"),
        ([0, 0], [1, 1], r"an array of whole numbers, \(blocks, 2\)"),
        ([[0.0, 0.0]], [[1.0, 1.0]], "not float64"),
    ],
)
def test_blocks_lie_inside_their_tensor(parts, lo, hi, message):
    with pytest.raises(BadInput, match=message):
        parts[2]["x"].blocks(lo, hi)


def test_a_joined_tensor_has_no_blocks(parts):
    graph, cs, t, (lo, hi) = parts
    joined = ipusim.Tensor.concat([t["x"], t["y"]]).blocks(lo, hi)
    with pytest.raises(BadInput, match="steps evenly through one variable"):
        graph.add_vertices(cs, scaled, {"x": joined}, [0] * 4)


@pytest.mark.parametrize(
    ("name", "to", "rows", "message"),
    [
        ("x", lambda t, b: t["x"], None, "connect it to blocks of a tensor"),
        ("x", lambda t, b: t["h"].blocks(*b), None, "holds float32, 'h' float16"),
        ("x", lambda t, b: t["x"].blocks(*b), [0], "4 blocks for 1 vertices"),
        ("x", lambda t, b: t["x"].blocks(*b), [0, 1, 2, 4], "rows are numbers from 0 to 3"),
        ("n", lambda t, b: 1.5, None, "1.5 is no int32"),
        ("n", lambda t, b: [1, 2], None, "needs a number or 4 of them"),
        ("n", lambda t, b: "2", None, "needs a number"),
        ("n", lambda t, b: [1, 2, 3, 2**40], None, "is no int32"),
    ],
)
def test_mistakes_of_wiring(parts, name, to, rows, message):
    graph, cs, t, blocks = parts
    vertices = graph.add_vertices(cs, scaled, {}, [0] * 4)
    with pytest.raises(BadInput, match=message):
        vertices.connect(name, to(t, blocks), rows)


def test_an_unknown_field_is_named(parts):
    graph, cs, t, blocks = parts
    with pytest.raises(UnknownName, match="no field of codelet scaled named 'xx'"):
        graph.add_vertices(cs, scaled, {"xx": t["x"].blocks(*blocks)}, [0] * 4)


@pytest.mark.parametrize("tiles", [0, [0.0] * 4, [[0, 1]], [2**40] * 4])
def test_tiles_are_an_array_of_numbers(parts, tiles):
    with pytest.raises(BadInput, match="add_vertices"):
        parts[0].add_vertices(parts[1], scaled, {}, tiles)


def test_what_is_not_connected_is_told_when_an_engine_is_made(parts):
    graph, cs, t, (lo, hi) = parts
    vertices = graph.add_vertices(cs, scaled, {"x": t["x"].blocks(lo, hi), "n": 2}, [0, 1, 9, 3])
    vertices.connect("y", t["y"].blocks(lo[1:], hi[1:]), [1, 2, 3])
    with pytest.raises(InvalidProgram) as raised:
        ipusim.Engine(graph, [prog.Execute(cs)])
    found = "\n".join(raised.value.problems)
    assert "vertex 2 of 4 scaled is on tile 9; the device has tiles 0 to 3" in found
    assert "vertex 0 of 4 scaled, field 'y': is not connected" in found
    assert "member 'scale' has no value (4 vertices)" in found
    assert "test_blocks.py:" in found


def test_scalars_are_one_element_and_tensors_of_the_graph(parts):
    graph, cs, t, (lo, hi) = parts
    other = Graph(DEVICE).add_variable((4, 2), float32, "other")
    graph.add_vertices(cs, first, {"x": other.blocks(lo, hi), "y": t["y"].blocks(lo, hi)}, [0] * 4)
    with pytest.raises(InvalidProgram) as raised:
        ipusim.Engine(graph, [prog.Execute(cs)])
    found = "\n".join(raised.value.problems)
    assert "'other' belongs to another graph" in found
    assert "field 'x': is one element, not 2" in found


def test_races_are_found(parts):
    graph, cs, t, (lo, hi) = parts
    twice = t["y"].blocks(np.zeros_like(lo), np.zeros_like(lo) + ROW)
    graph.add_vertices(cs, scaled, {"x": t["x"].blocks(lo, hi), "y": twice, "n": 2, "scale": 1}, [0] * 4)
    with pytest.raises(InvalidProgram, match="both write 'y'"):
        ipusim.Engine(graph, [prog.Execute(cs)])


def test_placing_blocks_needs_a_tile_each(parts):
    graph, _, t, (lo, hi) = parts
    with pytest.raises(BadInput, match="needs an array of 4 tiles, one for each block"):
        graph.set_tile_mapping(t["x"].blocks(lo, hi), [0, 1])
    graph.set_tile_mapping(t["x"].blocks(lo, hi), [0, 1, 1, 7])
    with pytest.raises(InvalidProgram, match="'x' is put on tile 7"):
        ipusim.Engine(graph, [prog.Sequence([])])
