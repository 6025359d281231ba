"""The algebra of mappings against arrays that hold the tile of every element."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim.dtype import float16
from ipusim.errors import BadInput, InvalidProgram
from ipusim.program import mapping as maps
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor, Variable


def dense(mapping):
    """Tile of every element."""
    out = np.full(mapping.shape, -1)
    for cell in np.ndindex(*mapping.tiles.shape):
        out[tuple(slice(c[i], c[i + 1]) for c, i in zip(mapping.cuts, cell, strict=True))] = mapping.tiles[cell]
    return out


@st.composite
def mappings(draw, rank=None):
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=rank or 1, max_size=rank or 4)))
    cuts = []
    for n in shape:
        inner = draw(st.sets(st.integers(1, n - 1), max_size=3)) if n > 1 else set()
        cuts.append(np.array(sorted({0, n} | inner), np.int32))
    count = int(np.prod([len(c) - 1 for c in cuts]))
    tiles = np.array(draw(st.lists(st.integers(0, 7), min_size=count, max_size=count)), np.int32)
    return Mapping(shape, tuple(cuts), tiles.reshape([len(c) - 1 for c in cuts]))


@given(mappings(), st.data())
def test_permute(mapping, data):
    axes = data.draw(st.permutations(range(len(mapping.shape))))
    assert np.array_equal(dense(mapping.permute(axes)), dense(mapping).transpose(axes))


@given(mappings(), st.data())
@settings(max_examples=300)
def test_reshape(mapping, data):
    size = int(np.prod(mapping.shape))
    shape, left = [], size
    while left > 1:
        factor = data.draw(st.sampled_from([f for f in range(1, left + 1) if left % f == 0]))
        shape.append(factor)
        left //= factor
        if len(shape) > 6:
            shape.append(left)
            break
    shape = tuple(shape)
    if int(np.prod(shape)) == size:
        assert np.array_equal(dense(mapping.reshape(shape)), dense(mapping).reshape(shape))
        assert np.array_equal(dense(mapping.reshape(shape).reshape(mapping.shape)), dense(mapping))


@given(mappings(), st.data())
def test_slice_and_take(mapping, data):
    axis = data.draw(st.integers(0, len(mapping.shape) - 1))
    start = data.draw(st.integers(0, mapping.shape[axis] - 1))
    stop = data.draw(st.integers(start + 1, mapping.shape[axis]))
    index = (slice(None),) * axis
    assert np.array_equal(dense(mapping.slice(axis, start, stop)), dense(mapping)[(*index, slice(start, stop))])
    picked = data.draw(st.lists(st.integers(0, mapping.shape[axis] - 1), min_size=1, max_size=6))
    assert np.array_equal(dense(mapping.take(axis, picked)), dense(mapping)[(*index, picked)])


@given(mappings(rank=3), st.data())
def test_concat(mapping, data):
    axis = data.draw(st.integers(0, 2))
    other = (
        data.draw(mappings(rank=3).filter(lambda m: _joins(m, mapping, axis))) if data.draw(st.booleans()) else mapping
    )
    joined = maps.concat([mapping, other, mapping], axis)
    assert np.array_equal(dense(joined), np.concatenate([dense(mapping), dense(other), dense(mapping)], axis))


def _joins(a, b, axis):
    return all(m == n for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if i != axis)


test_concat = settings(suppress_health_check=list(__import__("hypothesis").HealthCheck))(test_concat)


@given(mappings())
def test_shares_hold_every_element_once(mapping):
    shares = mapping.shares()
    seen = np.zeros(mapping.shape, int)
    for k, tile in enumerate(shares.tiles):
        count = 0
        for i in range(shares.first[k], shares.first[k + 1]):
            box = tuple(slice(a, b) for a, b in zip(shares.lo[i], shares.hi[i], strict=True))
            assert (dense(mapping)[box] == tile).all()
            seen[box] += 1
            count += seen[box].size
        assert count == shares.elements[k]
    assert (seen == 1).all()
    assert np.array_equal(mapping.elements_per_tile(8), np.bincount(dense(mapping).ravel(), minlength=8))


@given(mappings(rank=2), st.integers(2, 5))
def test_a_broadcast_holds_each_element_once(mapping, times):
    one = mapping.slice(0, 0, 1)
    wide = one.broadcast_to((times, mapping.shape[1]))
    assert np.array_equal(dense(wide), np.broadcast_to(dense(one), wide.shape))
    assert np.array_equal(wide.elements_per_tile(8), one.elements_per_tile(8))
    assert wide.size == one.size


@given(st.integers(1, 500), st.integers(1, 40), st.sampled_from([1, 2, 4]), st.integers(1, 64))
def test_linear_keeps_grains_together(size, tiles, grain, least):
    mapping = maps.linear((size,), tiles, grain=grain, min_elements=least)
    per_tile = mapping.elements_per_tile(tiles)
    assert per_tile.sum() == size
    assert per_tile.max() - grain < max(size / tiles + grain, least + grain)
    assert all(cut % grain == 0 for cut in mapping.cuts[0][:-1])


def variable(shape, mapping=None):
    return Variable("weights", shape, float16, mapping=mapping)


@given(mappings(rank=3))
def test_views_look_at_data_and_place_alike(mapping):
    made = variable(mapping.shape, mapping)
    values = {made: np.arange(made.elements).reshape(made.shape)}
    view = Tensor.of(made).transpose((2, 0, 1)).reshape((mapping.shape[2], -1 * -mapping.shape[0] * mapping.shape[1]))
    tiles = dense(mapping).transpose((2, 0, 1)).reshape(view.shape)
    assert np.array_equal(dense(view.mapping), tiles)
    assert np.array_equal(view.read(values), values[made].transpose((2, 0, 1)).reshape(view.shape))
    undone = view.as_base_of(view)
    assert undone.variable is made


def test_a_view_without_mapping_names_the_variable():
    with pytest.raises(InvalidProgram, match="variable 'weights'"):
        Tensor.of(variable((2, 3))).reshape((6,)).mapping  # noqa: B018


def test_impossible_views_say_what_does_not_fit():
    tensor = Tensor.of(variable((2, 3)))
    with pytest.raises(BadInput, match=r"weights: cannot view shape \(2, 3\) as \(4,\)"):
        tensor.reshape((4,))
    with pytest.raises(BadInput, match="slice 1:9 of axis 1, which has 3 elements"):
        tensor.slice(1, 1, 9)
