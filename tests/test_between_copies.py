"""On-tile copies before the vertices of lowered ops, against runs of addresses found element by element."""

import numpy as np
import programs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.dtype import float16, float32
from ipusim.engine import copies
from ipusim.hw import cost
from ipusim.hw.presets import GC2
from ipusim.program.graph import Boxes, Field, Rows
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor, Variable


@st.composite
def one_block(draw):
    """Tile 0 owns the first cell of a grid over a small array, tile 1 the rest; a vertex on tile 0 reads a box."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    edges, cells = [], []
    for n in shape:
        at = draw(st.integers(1, n))
        edges.append(np.array([0, at] if at == n else [0, at, n], np.int32))
        cells.append(len(edges[-1]) - 1)
    tiles = np.ones(cells, np.int32)
    tiles[(0,) * len(shape)] = 0
    lo, hi = [], []
    for n in shape:
        a, b = sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        lo.append(a)
        hi.append(b)
    return Mapping(shape, tuple(edges), tiles), lo, hi


def addresses(mapping, lo, hi, order=None):
    """Where on tile 0 the elements of a box lie, in the vertex's order (-1: on tile 1)."""
    first = [int(c[1]) for c in mapping.cuts]
    where = np.full(mapping.shape, -1, np.int64)
    where[tuple(slice(0, n) for n in first)] = np.arange(int(np.prod(first))).reshape(first)
    box = where[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))]
    return (box if order is None else box.transpose(order)).ravel().tolist()


def runs(places):
    """Lengths of runs of addresses that follow one another."""
    out, before = [], None
    for place in places:
        if place >= 0 and before is not None and place == before + 1:
            out[-1] += 1
        elif place >= 0:
            out.append(1)
        before = place if place >= 0 else None
    return out


def field_of(mapping, lo, hi, dtype=float32, order=None):
    tensor = Tensor.of(Variable("x", mapping.shape, dtype, mapping=mapping))
    if order is not None:
        tensor = tensor.transpose(order)
        lo, hi = ([b[a] for a in order] for b in (lo, hi))
    box = Boxes.one_each(np.array([lo], np.int32), np.array([hi], np.int32))
    return Rows(np.zeros(1, np.int32), np.zeros((1, 1), np.int32)), Field("x", "in", tensor, box)


def gathered(rows, field):
    """(rows of more than a word, words, bytes) of tile 0."""
    found = copies.gathered(rows, field, 2)
    return tuple(int(f[0]) for f in found[0]) if found else (0, 0, 0)


@given(one_block(), st.sampled_from([float16, float32]))
def test_local_elements_are_copied_row_by_row_unless_they_are_one_run_alone(case, dtype):
    places = addresses(*case)
    lengths = runs(places)
    if len(lengths) == 0 or (len(lengths) == 1 and -1 not in places):
        assert gathered(*field_of(*case, dtype)) == (0, 0, 0)
        return
    long_rows, words, nbytes = gathered(*field_of(*case, dtype))
    size = dtype.bytes
    assert nbytes == sum(lengths) * size
    each = [-(-n * size // (8 if n * size % 8 == 0 else 4)) for n in lengths]
    assert words == sum(each)
    assert long_rows == sum(w > 1 for w in each)


@given(one_block())
def test_a_transposed_view_costs_no_less_than_the_plain_one(case):
    mapping, lo, hi = case
    order = tuple(reversed(range(len(mapping.shape))))
    plain, turned = gathered(*field_of(*case)), gathered(*field_of(mapping, lo, hi, order=order))
    places = addresses(mapping, lo, hi, order)
    if len(runs(places)) > 1 or -1 in places:
        assert turned[2] == sum(p >= 0 for p in places) * 4
    assert turned[1] >= plain[1] or turned[1] == 0


def test_channels_in_groups_are_rows_of_a_group():
    """(C, W) in groups of 4 channels: a box of all channels and part of the width is a row per group."""
    mapping = Mapping((8, 6), (np.array([0, 8]), np.array([0, 6])), np.zeros((1, 1), np.int32))
    variable = Variable("x", (8, 6), float16, mapping=mapping, channels=4, channel_axis=0)
    box = Boxes.one_each(np.array([[0, 1]], np.int32), np.array([[8, 4]], np.int32))
    rows = Rows(np.zeros(1, np.int32), np.zeros((1, 1), np.int32))
    ((long_rows, words, nbytes),) = copies.gathered(rows, Field("x", "in", Tensor.of(variable), box), 1)
    assert (long_rows[0], words[0], nbytes[0]) == (2, 2 * 4 * 3 * 2 // 8, 48)


def test_a_cell_of_one_group_of_channels_is_read_group_by_group():
    """(C, W) with 4 of 8 channels on the tile: as many rows as groups, not as elements."""
    mapping = Mapping((8, 6), (np.array([0, 4, 8]), np.array([0, 6])), np.array([[0], [1]], np.int32))
    variable = Variable("x", (8, 6), float16, mapping=mapping, channels=4, channel_axis=0)
    box = Boxes.one_each(np.array([[0, 1]], np.int32), np.array([[8, 4]], np.int32))
    rows = Rows(np.zeros(1, np.int32), np.zeros((1, 1), np.int32))
    assert gathered(rows, Field("x", "in", Tensor.of(variable), box)) == (1, 4 * 3 * 2 // 8, 24)


@pytest.mark.parametrize(
    ("shape", "view", "expected"),
    [
        ((4, 6), lambda t: t, (1, 6)),
        ((4, 6), lambda t: t.transpose((1, 0)), (0, 6)),
        ((4, 6), lambda t: t.reshape((2, 2, 6)), (2, 6)),
        ((4, 6), lambda t: t.reshape((4, 2, 3)), (2, 3)),
        ((4, 6), lambda t: t.slice(1, 0, 3), (1, 6)),
        ((4, 6), lambda t: t.stride(1, 0, 3, 2), copies.NOWHERE[:2]),
        ((6,), lambda t: t.reshape((1, 6)).broadcast_to((3, 4, 6)), (2, 6)),
        ((4, 6), lambda t: Tensor.concat([t, t], 0), (1, 6)),
        ((), lambda t: t.reshape((1, 1)), copies.NOWHERE[:2]),
    ],
)
def test_the_innermost_axis_of_a_view(shape, view, expected):
    assert copies.innermost(view(Tensor.of(Variable("x", shape, float32))))[:2] == expected


def test_cost_of_copies_deals_rows_and_words_to_all_workers():
    assert cost.copy_cycles(0, 0, 6) == 0
    assert cost.copy_cycles(0, 1, 6) == 6 * (40 + 1)
    assert cost.copy_cycles(7, 120, 6) == 6 * (40 + 2 * 8 + 20)


def test_what_is_listed_or_at_home_is_not_copied():
    program = programs.compiled(programs.MODELS["convnet"]())
    for compute_set in program.graph.compute_sets():
        wanted, held = copies.copied_bytes(compute_set, GC2.tiles), copies.copy_cycles(compute_set, GC2)
        ready = [
            f.role == "out" or f.boxes.of is f.tensor.mapping or f.name in g.codelet.listed
            for g in compute_set.groups
            for f in g.fields
        ]
        if all(ready):
            assert not wanted.any()
        assert ((held > 0) == (wanted > 0)).all()
