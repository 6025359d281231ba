"""Tensors as views: which elements they look at, and where those are, against numpy."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_views import chains, identities, numbers

from ipusim import BadInput, Graph, Tensor, UnknownName, float32, half, int8
from ipusim.program import elements

TILES = 5


def law(*strategies, examples=100):
    return lambda test: settings(deadline=None, max_examples=examples)(given(*strategies)(test))


shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
some_shapes = st.lists(shapes, min_size=1, max_size=3)


def graph_with(shapes):
    graph = Graph(TILES)
    for i, shape in enumerate(shapes):
        graph.add_variable(shape, float32, f"v{i}")
    return graph


# -- elements ----------------------------------------------------------------------------------------------------------


@law(some_shapes, st.data(), examples=300)
def test_a_chain_of_views_looks_at_what_numpy_s_looks_at(shapes, data):
    variables = graph_with(shapes).variables
    tensor, array = data.draw(chains(variables))
    assert tensor.shape == array.shape
    assert tensor.elements == array.size
    assert np.array_equal(identities(variables, elements.runs([tensor])), array.ravel())
    assert np.array_equal(tensor.read(numbers(variables)), array)
    number, at = elements.positions(tensor)
    base = np.cumsum([0] + [v.elements for v in variables])
    assert np.array_equal(base[number] + at, array)


@law(some_shapes, st.data())
def test_runs_of_many_views_are_those_of_each_and_as_few_as_can_be(shapes, data):
    variables = graph_with(shapes).variables
    views = [data.draw(chains(variables)) for _ in range(data.draw(st.integers(1, 4)))]
    found = elements.runs([t for t, _ in views])
    want = np.concatenate([a.ravel() for _, a in views])
    assert np.array_equal(identities(variables, found), want)
    assert found.elements().tolist() == [a.size for _, a in views]
    for begin, end in zip(found.first, found.first[1:], strict=False):
        for i in range(begin, end - 1):
            joined = (
                found.variable[i] == found.variable[i + 1] and found.start[i] + found.length[i] == found.start[i + 1]
            )
            assert not joined
    assert (found.length > 0).all()


@law(st.data())
def test_cutting_runs_changes_nothing_but_their_ends(data):
    variables = graph_with([(4, 5), (3, 2, 2)]).variables
    tensor, array = data.draw(chains(variables).filter(lambda pair: pair[1].size > 1))
    found = elements.runs([tensor])
    inner = data.draw(st.sets(st.integers(1, array.size - 1), max_size=5))
    ends = np.cumsum(found.length)
    edges = np.union1d(ends, np.array(sorted(inner), np.int64))
    made = elements.cut(found, edges)
    assert np.array_equal(identities(variables, made), array.ravel())
    assert np.array_equal(np.cumsum(made.length), edges)


def test_views_of_views_fold():
    x = Graph(TILES).add_variable((4, 6), float32, "x")
    assert x.reshape((4, 6)) is x
    assert x[:] is x
    assert x.transpose((1, 0)).transpose((1, 0)).kind == "variable"
    assert x.reshape((24,)).reshape((3, 8)).sources[0] is x


def test_a_tensor_is_a_sequence_of_its_rows():
    x = Graph(TILES).add_variable((3, 2), half, "x")
    assert len(x) == 3
    assert [t.shape for t in x] == [(2,)] * 3
    assert repr(x[1:]) == "Tensor('x', (2, 2), float16)"


# -- placement ---------------------------------------------------------------------------------------------------------


@law(some_shapes, st.data(), examples=150)
def test_a_mapping_is_what_was_painted_last(shapes, data):
    """Against an array of owners; and what get_tile_mapping gives, set_tile_mapping takes."""
    graph = graph_with(shapes)
    variables = graph.variables
    owner = np.full(sum(v.elements for v in variables), -1)
    for _ in range(data.draw(st.integers(0, 6))):
        tensor, array = data.draw(chains(variables, most=4))
        tile = data.draw(st.integers(0, TILES - 1))
        graph.set_tile_mapping(tensor, tile)
        owner[array] = tile
    tensor, array = data.draw(chains(variables, most=4))
    mapping = graph.get_tile_mapping(tensor)
    assert mapping == intervals(owner[array.ravel()])

    other = Graph(TILES)
    copy = other.add_variable(tensor.shape, float32, "copy")
    other.set_tile_mapping(copy, mapping)
    assert other.get_tile_mapping(copy) == mapping


def intervals(owner):
    """Per tile the stretches of an array of owners."""
    out = [[] for _ in range(TILES)]
    begin = 0
    for end in range(1, len(owner) + 1):
        if end == len(owner) or owner[end] != owner[begin]:
            if owner[begin] >= 0:
                out[owner[begin]].append((begin, end))
            begin = end
    return out


@law(
    st.integers(0, 300),
    st.sampled_from([float32, half, int8]),
    st.none() | st.integers(1, 20),
    st.integers(0, 200),
    st.integers(0, TILES - 1),
)
def test_linear_mapping(size, dtype, grain, least, first):
    """Consecutive even pieces of whole grains, none below the least size but the last, from the first tile on."""
    graph = Graph(TILES)
    x = graph.add_variable(size, dtype, "x")
    graph.map_linearly(x, grain=grain, min_bytes_per_tile=least, first_tile=first)
    pieces = sorted((interval, tile) for tile, all_ in enumerate(graph.get_tile_mapping(x)) for interval in all_)
    lengths = [end - begin for (begin, end), _ in pieces]
    assert sum(lengths) == size
    width = grain or max(1, 8 // dtype.bytes)
    if pieces:
        assert [p[0][0] for p in pieces] == np.cumsum([0, *lengths[:-1]]).tolist()
        assert [t for _, t in pieces] == [(first + i) % TILES for i in range(len(pieces))]
        assert len(set(lengths[:-1])) <= 1
        assert lengths[-1] <= lengths[0]
        assert all(n % width == 0 and n * dtype.bytes >= least for n in lengths[:-1])
        # no smaller piece would do: one grain less leaves elements over, or falls below the least size
        smaller = lengths[0] - width
        assert len(pieces) == 1 or smaller * TILES < size or smaller * dtype.bytes < least


def test_linear_mapping_as_poputil_does_it():
    graph = Graph(4)
    x, y, z = (graph.add_variable(n, float32, k) for n, k in ((1000, "x"), (10, "y"), (1000, "z")))
    graph.map_linearly(x)
    graph.map_linearly(y)
    graph.map_linearly(z[::2], grain=100, first_tile=3)
    assert graph.get_tile_mapping(x) == [[(0, 250)], [(250, 500)], [(500, 750)], [(750, 1000)]]
    assert graph.get_tile_mapping(y) == [[(0, 10)], [], [], []]
    assert graph.get_tile_mapping(z[::2]) == [[(200, 400)], [(400, 500)], [], [(0, 200)]]
    assert graph.get_tile_mapping(z[1::2]) == [[], [], [], []]


# -- mistakes ----------------------------------------------------------------------------------------------------------


def matrix():
    return Graph(TILES).add_variable((4, 6), float32, "img")


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (lambda t: t[4], "img: index 4 of axis 0, which has 4 elements"),
        (lambda t: t[-5], "img: index -5 of axis 0, which has 4 elements"),
        (lambda t: t[0:5], "img: slice bound 5 of axis 0, which has 4 elements"),
        (lambda t: t[:, 2:7], "img: slice bound 7 of axis 1, which has 6 elements"),
        (lambda t: t[:, -7:], "img: slice bound -7 of axis 1, which has 6 elements"),
        (lambda t: t[:, ::0], "img: a slice of step 0"),
        (lambda t: t[1, 2, 3], "img: 3 indices for shape (4, 6)"),
        (lambda t: t[..., ...], "img: 2 indices for shape (4, 6)"),
        (lambda t: t[1.5], "img: an index is a whole number or a slice, not 1.5"),
        (lambda t: t[True], "img: an index is a whole number or a slice, not True"),
        (lambda t: t[[0, 1]], "img: an index is a whole number or a slice, not [0, 1]"),
        (lambda t: t.T[5, 4:5], "img: slice bound 5 of axis 1, which has 4 elements"),
        (lambda t: t.slice(0, 2, 1), "img: slice 2:1 of axis 0, which has 4 elements"),
        (lambda t: t.reshape((5, 5)), "img: cannot view shape (4, 6) as (5, 5)"),
        (lambda t: t.transpose((0, 0)), "img: (0, 0) is not an order of the 2 axes"),
        (lambda t: t.reverse(2), "img: no axis 2 in shape (4, 6)"),
        (lambda t: t.broadcast(0), "img: cannot broadcast 0 times"),
        (lambda t: len(t[0, 0]), "img: a tensor of one element has no length"),
        (lambda t: Tensor.concat([t, t[:, 1:]]), "cannot join img (4, 6) and img (4, 5) along axis 0"),
        (lambda t: Tensor.concat([t, t], 2), "img: no axis 2 in shape (4, 6)"),
        (lambda t: Tensor.concat([]), "concat of no tensors"),
        (lambda t: Tensor.concat([t, 3]), "concat joins tensors, not 3"),
        (lambda t: Tensor.concat([t[0, 0], t[0, 0]]), "img: no axis 0 in shape ()"),
        (lambda t: t.reshape((-4, -6)), "img: a shape is whole numbers of at least 0, not [-4, -6]"),
        (lambda t: t.reshape((-1, 5)), "img: cannot view shape (4, 6) as (-1, 5)"),
        (lambda t: t.reshape("ab"), "img: a shape is whole numbers of at least 0, not ['a', 'b']"),
        (lambda t: t[0:1].broadcast_to((-3, 6)), "img: a shape is whole numbers of at least 0, not (-3, 6)"),
        (lambda t: t.broadcast(1.5), "img: cannot broadcast 1.5 times"),
        (lambda t: t.slice(0, 0.0, 2), "img: slice 0.0:2 of axis 0, which has 4 elements"),
        (lambda t: t.reverse("a"), "img: no axis 'a' in shape (4, 6)"),
        (lambda t: t[np.arange(2)], "img: an index is a whole number or a slice, not array([0, 1])"),
    ],
)
def test_a_view_outside_is_an_error_with_the_variable_s_name(view, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        view(matrix())


@pytest.mark.parametrize("view", [lambda t: t[0:4.0], lambda t: t[:, "a":], lambda t: t[::1.5]])
def test_a_bound_that_is_no_number_is_an_error_with_the_variable_s_name(view):
    with pytest.raises(BadInput, match="img"):
        view(matrix())


@pytest.mark.parametrize(
    "make", [lambda t: t.stride(0, 0, 3, 2), lambda t: t.stride(0, -1, 2, 1), lambda t: t.slice(2, 0, 1)]
)
def test_views_by_hand_outside_are_errors_too(make):
    with pytest.raises(BadInput, match="img"):
        make(matrix())


def test_joins_of_two_types():
    graph = Graph(TILES)
    a, b = graph.add_variable(2, float32, "a"), graph.add_variable(2, half, "b")
    with pytest.raises(BadInput, match=re.escape("cannot join a (float32) and b (float16)")):
        Tensor.concat([a, b])


def test_broadcasts_that_numpy_refuses():
    with pytest.raises(BadInput, match="img"):
        matrix().broadcast_to((3, 6))
    with pytest.raises(BadInput, match="img"):
        matrix().broadcast_to((6,))


def test_mistakes_of_variables():
    graph = Graph(TILES)
    graph.add_variable(3, float32, "x")
    with pytest.raises(BadInput, match="variable 'x': the name is taken"):
        graph.add_variable(3, float32, "x")
    with pytest.raises(BadInput, match=re.escape("variable 'y': a shape is whole numbers of at least 0, not (2, -1)")):
        graph.add_variable((2, -1), float32, "y")
    with pytest.raises(UnknownName, match="no element type named 'float64'"):
        graph.add_variable(3, "float64", "y")
    with pytest.raises(BadInput, match=re.escape("x: initial values of shape (2,) for a tensor of (3,)")):
        graph.set_initial_value(graph.tensor("x"), [1, 2])
    with pytest.raises(UnknownName, match="no variable named 'X'"):
        graph.tensor("X")
    with pytest.raises(BadInput, match="x: grain 0 and min_bytes_per_tile 0 must be positive"):
        graph.map_linearly(graph.tensor("x"), grain=0, min_bytes_per_tile=0)
    with pytest.raises(BadInput, match="x: slice bound 9 of axis 0"):
        graph.set_tile_mapping(graph.tensor("x"), [[(0, 9)]])


def test_sizes_and_axes_may_be_counted_from_the_end():
    image = Graph(1).add_variable((4, 6), float32, "img")
    assert image.reshape((-1, 3)).shape == (8, 3)
    assert image.reshape(-1).shape == image.reshape(24).shape == (24,)
    assert image.transpose((-1, 0)).shape == (6, 4)
    assert Tensor.concat([image, image], -1).shape == (4, 12)
