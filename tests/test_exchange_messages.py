"""Messages of an exchange against a model that looks at single elements, and how the two lengths of a phase compare."""

from collections import defaultdict

import numpy as np
import programs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.engine import exchange
from ipusim.engine.multicast import box_messages, halved, merged
from ipusim.engine.schedule import Messages, closed_form_cycles, schedule
from ipusim.hw.presets import GC2
from ipusim.program.graph import Boxes, Rows
from ipusim.program.mapping import Mapping

TILES = 12
FARTHEST = 166  # cycles between two tiles: a multicast lands late at the far ones


@st.composite
def cuts(draw, size):
    inner = draw(st.sets(st.integers(1, size - 1), max_size=4)) if size > 1 else set()
    return np.array([0, *sorted(inner), size], np.int32)


@st.composite
def reads(draw):
    """A mapping of a small array, some of its axes broadcast, and boxes that vertices on some tiles read of it."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
    repeats = tuple(draw(st.booleans()) for _ in shape)
    edges = [np.array([0, n], np.int32) if r else draw(cuts(n)) for n, r in zip(shape, repeats, strict=True)]
    cells = tuple(len(e) - 1 for e in edges)
    owners = draw(st.lists(st.integers(0, TILES - 1), min_size=int(np.prod(cells)), max_size=int(np.prod(cells))))
    mapping = Mapping(shape, tuple(edges), np.array(owners, np.int32).reshape(cells), repeats)
    tile = sorted(draw(st.lists(st.integers(0, TILES - 1), min_size=1, max_size=8)))
    lo, hi, first = [], [], [0]
    for _ in tile:
        for _ in range(draw(st.integers(0, 2))):
            bounds = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
            lo.append([b[0] for b in bounds])
            hi.append([b[1] for b in bounds])
        first.append(len(lo))
    columns = (np.array(c, np.int32).reshape(-1, len(shape)) for c in (lo, hi))
    return Rows(np.array(tile, np.int32), np.zeros((len(tile), 1), np.int32)), Boxes(
        *columns, np.array(first, np.int32)
    ), mapping


def needs(rows, boxes, mapping):
    """{element: (owner, tiles that need it)}, element by element."""
    small = tuple(1 if r else n for n, r in zip(mapping.shape, mapping.repeats, strict=True))
    owner = np.empty(mapping.shape, np.int64)
    for cell in np.ndindex(*mapping.tiles.shape):
        owner[tuple(slice(c[i], c[i + 1]) for c, i in zip(mapping.cuts, cell, strict=True))] = mapping.tiles[cell]
    number = np.broadcast_to(np.arange(int(np.prod(small))).reshape(small), mapping.shape)
    out = defaultdict(set)
    for row, tile in enumerate(rows.tile.tolist()):
        for box in boxes.of_vertex(row):
            for element, who in zip(number[box].ravel().tolist(), owner[box].ravel().tolist(), strict=True):
                out[element, who].add(tile)
    return out


def made(rows, boxes, mapping, size=2):
    return merged([box_messages(rows, boxes, mapping, tiles=TILES, element_bytes=size)])


def receivers(m, i):
    return tuple(m.receivers[m.first[i] : m.first[i + 1]].tolist())


@given(reads())
def test_every_element_leaves_its_tile_once_to_all_that_need_it(case):
    expected = defaultdict(int)
    for (_, owner), tiles in needs(*case).items():
        if others := tuple(sorted(tiles - {owner})):
            expected[owner, others] += 2
    m = made(*case)
    found = {(int(m.source[i]), receivers(m, i)): int(m.bytes[i]) for i in range(len(m))}
    assert found == expected
    assert len(found) == len(m)


@given(reads())
def test_pairs_served_apart_get_the_same(case):
    m = made(*case)
    apart = halved(m)
    for t in range(TILES):
        arriving = [sum(int(x.bytes[i]) for i in range(len(x)) if t in receivers(x, i)) for x in (m, apart)]
        assert arriving[0] == arriving[1]
    for i in range(len(apart)):
        paired = {t ^ 1 in receivers(apart, i) for t in receivers(apart, i)}
        assert len(paired) == 1
    assert len(m) <= len(apart) <= 2 * len(m)


@given(reads(), st.integers(1, 40))
def test_the_better_form_is_no_worse_and_a_bound_of_its_schedule(case, size):
    m = made(*case, size=4 * size)
    if not len(m):
        return
    chosen, bound = exchange.best_form(m, TILES, GC2.exchange)
    assert bound == closed_form_cycles(chosen, tiles=TILES, spec=GC2.exchange)
    assert bound <= closed_form_cycles(m, tiles=TILES, spec=GC2.exchange)
    assert bound <= schedule(chosen, tiles=TILES, spec=GC2.exchange).cycles


def test_fields_with_the_same_ends_travel_together():
    rows = Rows(np.array([0, 1], np.int32), np.zeros((2, 1), np.int32))
    mapping = Mapping((4,), (np.array([0, 2, 4], np.int32),), np.array([2, 3], np.int32))
    whole = Boxes.one_each(np.array([[0], [0]], np.int32), np.array([[4], [4]], np.int32))
    one = box_messages(rows, whole, mapping, tiles=4, element_bytes=2)
    both = merged([one, one])
    assert [(int(both.source[i]), int(both.bytes[i]), receivers(both, i)) for i in range(2)] == [
        (2, 8, (0, 1)),
        (3, 8, (0, 1)),
    ]


def test_an_odd_receiver_does_not_slow_the_pairs():
    """One tile to 4 pairs and its own partner: 4 pairs at double rate and the partner alone, where senders are idle."""
    words = 1000
    senders = range(8)
    rows = [(t, tuple(x for x in range(8) if x != t)) for t in senders]
    first = np.cumsum([0, *(len(r) for _, r in rows)]).astype(np.int32)
    to = np.concatenate([r for _, r in rows]).astype(np.int32)
    m = Messages(np.array(senders, np.int32), np.full(8, 4 * words, np.int64), first, to)
    chosen, bound = exchange.best_form(m, 8, GC2.exchange)
    lead = GC2.exchange.lead_in_cycles
    assert closed_form_cycles(m, tiles=8, spec=GC2.exchange) == lead + 7 * words
    assert bound == lead + words + 6 * words // 2
    assert len(chosen) == 16


@pytest.fixture(scope="module")
def program():
    return programs.compiled(programs.MODELS["convnet"]())


def test_a_phase_is_remembered_and_both_lengths_count_the_same_bytes(program):
    seen = 0
    for compute_set in program.graph.compute_sets():
        quick = exchange.phase(compute_set, GC2, exchange.CLOSED_FORM)
        placed = exchange.phase(compute_set, GC2)
        assert exchange.phase(compute_set, GC2) is placed or not placed.cycles
        assert quick.cycles <= placed.cycles <= 2 * quick.cycles + 2 * FARTHEST
        for name in ("sent", "received", "shared"):
            assert np.array_equal(getattr(quick, name), getattr(placed, name)), name
        assert (placed.code_bytes <= quick.code_bytes).all()
        seen += quick.cycles > 0
    assert seen > 10
