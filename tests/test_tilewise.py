"""Tiles the numpy way: values against numpy, where rows are, what moves, and every mistake by its message."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim import (
    BadInput,
    DoesNotFit,
    InOut,
    Input,
    InvalidProgram,
    Output,
    TileArray,
    TileSession,
    UnknownName,
    Vector,
    codelet,
    float32,
    half,
    int32,
    target,
    tile_barrier,
    tile_constant_replicated,
    tile_constant_sharded,
    tile_cycle_count,
    tile_gather,
    tile_map,
    tile_put_replicated,
    tile_put_sharded,
)

TILES = 8


@codelet
def axpy(x: Input[Vector[float32]], y: InOut[Vector[float32]], a: float):
    for i in range(len(y)):
        y[i] = a * x[i] + y[i]


@codelet
def total(x: Input[Vector[float32]], s: Output[float32]):
    t = 0.0
    for i in range(len(x)):
        t += x[i]
    s[0] = t


@codelet
def both(x: Input[Vector[float32]], up: Output[Vector[float32]], down: Output[Vector[float32]], step: Input[float32]):
    for i in range(len(x)):
        up[i] = x[i] + step[0]
        down[i] = x[i] - step[0]


@codelet
def columns(m: Input[Vector[Vector[float32]]], s: Output[Vector[float32]]):
    for j in range(len(s)):
        t = 0.0
        for i in range(len(m)):
            t += m[i][j]
        s[j] = t


@codelet
def dilate(x: Input[Vector[float32]], k: Input[Vector[float32]], out: Output[Vector[float32]]):
    for i in range(len(out)):
        t = 0.0
        for j in range(len(k)):
            t += x[i] * k[j]
        out[i] = t


@codelet(multi=True)
def strided(x: Input[Vector[float32]], out: Output[Vector[float32]], worker_id: int):
    for i in range(len(x)):
        if i % 6 == worker_id:
            out[i] = x[i] + 1.0


@codelet
def halve(x: Input[Vector[half]], out: Output[Vector[half]]):
    for i in range(len(out)):
        out[i] = x[i] * half(0.5)


@pytest.fixture
def session():
    with TileSession(target("GC2", tiles=TILES)) as made:
        yield made


def rows(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# -- putting and reading -----------------------------------------------------------------------------------------------


def test_a_sharded_array_reads_back_and_lies_where_it_was_put(session):
    x = tile_put_sharded(rows(3, 4), [5, 0, 2], name="x")
    assert np.array_equal(x.numpy(), rows(3, 4))
    where = session.graph.get_tile_mapping(x.tensor)
    assert {t: w for t, w in enumerate(where) if w} == {5: [(0, 4)], 0: [(4, 8)], 2: [(8, 12)]}
    assert repr(x) == "TileArray('x', shape=(3, 4), dtype=float32, tiles=(5, 0, 2))"
    assert np.array_equal(np.asarray(x), rows(3, 4))


def test_a_replicated_array_gets_an_axis_of_tiles_and_is_sent_by_one_multicast(session):
    x = tile_put_replicated(rows(2, 5), range(TILES))
    assert x.shape == (TILES, 2, 5)
    assert np.array_equal(x.numpy(), np.broadcast_to(rows(2, 5), x.shape))
    sent = [int(s.tiles.sent.sum()) for s in session.report().steps]
    received = [int(s.tiles.received.sum()) for s in session.report().steps]
    assert sent == [0, 40]  # the host's stream, then tile 0 once for everybody
    assert received == [0, 40 * (TILES - 1)]


def test_constants_take_no_time(session):
    a = tile_constant_sharded(rows(2, 3), [1, 2])
    b = tile_constant_replicated(7.0, [1, 2])
    assert np.array_equal(a.numpy(), rows(2, 3))
    assert np.array_equal(b.numpy(), [7.0, 7.0])
    assert b.shape == (2,)
    assert session.report().cycles == 0


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.arange(4.0), "float32"),
        (np.arange(4), "int32"),
        ([True, False, True, True], "bool"),
        (np.arange(4, dtype=np.float16), "float16"),
        (np.arange(4, dtype=np.uint8), "uint8"),
    ],
)
def test_types_follow_numpy_with_64_bits_narrowed(session, values, dtype):
    x = tile_put_sharded(values, range(4))
    assert x.dtype.name == dtype
    assert np.array_equal(x.numpy(), values)
    assert x.numpy().dtype == np.dtype(dtype)


def test_a_type_may_be_asked_for(session):
    assert tile_put_sharded([1, 2], [0, 1], dtype=half).numpy().dtype == np.float16


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_slices_keep_the_right_tiles(data):
    """Row i of any slice lies wholly on tile i of its tuple."""
    tiles = data.draw(st.permutations(range(TILES)))
    index = data.draw(st.slices(TILES))
    with TileSession(TILES):
        x = tile_put_sharded(rows(TILES, 3, 2), tiles)
        part = x[index, ..., 1]
        assert part.tiles == tuple(tiles[index])
        where = part.session.graph.get_tile_mapping(part.tensor)
        assert [t for i in range(len(part)) for t, w in enumerate(where) if (3 * i, 3 * i + 3) in _split(w)] == list(
            part.tiles
        )
        assert np.array_equal(part.numpy(), rows(TILES, 3, 2)[index, ..., 1])


def _split(intervals):
    return [(a, a + 3) for begin, end in intervals for a in range(begin, end, 3)]


def test_views_of_rows_are_numpy_s(session):
    x = tile_put_sharded(rows(4, 2, 3), range(4))
    assert np.array_equal(x.reshape((4, -1)).numpy(), rows(4, 6))
    assert np.array_equal(x.transpose((0, 2, 1)).numpy(), rows(4, 2, 3).transpose(0, 2, 1))
    assert np.array_equal(x[1:3, None, ::-1].numpy(), rows(4, 2, 3)[1:3, None, ::-1])
    assert [r.tiles for r in x] == [(0,), (1,), (2,), (3,)]
    assert session.report().steps[0].name.startswith("StreamCopy")
    assert len(session.report().steps) == 1  # views cost nothing


# -- mapping -----------------------------------------------------------------------------------------------------------


def test_a_map_is_one_vertex_per_row_on_its_tile(session):
    x = tile_put_sharded(rows(3, 4), [1, 4, 6])
    s = tile_map(total, x)
    assert s.tiles == (1, 4, 6)
    assert np.array_equal(s.numpy(), rows(3, 4).sum(axis=1))
    step = session.report().steps[-1]
    assert (step.name, step.vertices) == ("total", 3)
    assert np.flatnonzero(step.tiles.compute).tolist() == [1, 4, 6]
    assert step.tiles.received.sum() == 0


def test_fields_by_order_and_by_name_are_the_same(session):
    x = tile_put_sharded(rows(4, 5), range(4))
    y, z = x + 0.0, x + 0.0
    tile_map(axpy, x, y, a=2.0)
    tile_map(axpy, y=z, x=x, a=2.0)
    assert np.array_equal(y.numpy(), 3 * rows(4, 5))
    assert np.array_equal(z.numpy(), 3 * rows(4, 5))


def test_an_inout_field_changes_its_array_in_place(session):
    x = tile_put_sharded(rows(4, 5), range(4))
    y = tile_put_sharded(np.ones((4, 5)), range(4))
    z = tile_map(axpy, x, y, a=1.0)
    assert np.array_equal(z.numpy(), rows(4, 5) + 1)
    assert np.array_equal(y.numpy(), z.numpy())
    assert np.array_equal(x.numpy(), rows(4, 5))


def test_several_outputs_come_as_a_tuple_and_numbers_are_constants(session):
    x = tile_put_sharded(rows(2, 3), [0, 1])
    up, down = tile_map(both, x, step=0.5)
    assert np.array_equal(up.numpy(), rows(2, 3) + 0.5)
    assert np.array_equal(down.numpy(), rows(2, 3) - 0.5)


def test_an_output_may_be_an_array_that_exists(session):
    x = tile_put_sharded(rows(2, 3), [0, 1])
    whole = tile_constant_sharded(np.zeros((2, 5)), [0, 1])
    part = tile_map(both, x, step=1.0, up=whole[:, 1:4])[0]
    assert np.array_equal(part.numpy(), rows(2, 3) + 1)
    assert np.array_equal(whole.numpy()[:, 1:4], rows(2, 3) + 1)
    assert not whole.numpy()[:, [0, 4]].any()


def test_matrices_and_given_shapes(session):
    m = tile_put_sharded(rows(3, 4, 2), range(3))
    s = tile_map(columns, m, out_shapes={"s": 2})
    assert np.array_equal(s.numpy(), rows(3, 4, 2).sum(axis=1))


def test_members_may_differ_from_tile_to_tile(session):
    x = tile_put_sharded(rows(3, 4), range(3))
    y = tile_map(axpy, x, x * 0.0, a=[1.0, 10.0, 100.0])
    assert np.array_equal(y.numpy(), rows(3, 4) * np.float32([[1], [10], [100]]))


@given(st.integers(1, 40), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_workers_cut_rows_and_change_no_value(length, workers):
    with TileSession(2) as s:
        x = tile_put_sharded(rows(2, length), [0, 1])
        k = np.float32([1, 2, 3])
        y = tile_map(dilate, x, k, out_shapes={"out": length}, workers=workers)
        assert np.array_equal(y.numpy(), rows(2, length) * 6)
        step = s.report().steps[-1]
        assert step.vertices <= 2 * workers


def test_six_workers_are_faster_than_one(session):
    x = tile_put_sharded(rows(4, 600), range(4))
    tile_map(axpy, x, x + 1.0, a=2.0)
    tile_map(axpy, x, x + 1.0, a=2.0, workers=6)
    one, six = (s for s in session.report().steps if s.name == "axpy")
    assert 5 < one.phases["compute"] / six.phases["compute"] < 6


def test_multivertices_and_halves(session):
    x = tile_put_sharded(rows(2, 13), [3, 4])
    assert np.array_equal(tile_map(strided, x).numpy(), rows(2, 13) + 1)
    h = tile_put_sharded(rows(2, 5), [0, 1], dtype=half)
    assert np.array_equal(tile_map(halve, h).numpy(), (rows(2, 5) * 0.5).astype(np.float16))


def test_a_tile_may_have_several_rows(session):
    x = tile_put_sharded(rows(12, 6), [2] * 12)
    assert np.array_equal(tile_map(total, x).numpy(), rows(12, 6).sum(axis=1))
    assert session.report().steps[-1].active_tiles == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint32", "int16", "uint8"])
def test_operators_are_numpy_s(session, dtype):
    a = np.arange(1, 22).reshape(3, 7).astype(dtype)
    b = (a[::-1] % 5).astype(dtype)
    x, y = tile_put_sharded(a, range(3)), tile_put_sharded(b, range(3))
    pairs = [(x + y, a + b), (x * y, a * b), (x - y, a - b), (x + 3, a + a.dtype.type(3)), (3 + x, a.dtype.type(3) + a)]
    pairs += [(x * 2, a * a.dtype.type(2)), (2 * x, a * a.dtype.type(2)), (x - 1, a - a.dtype.type(1))]
    pairs += [(30 - x, a.dtype.type(30) - a), (np.int64(30) - x, a.dtype.type(30) - a)]
    for mine, want in pairs:
        assert isinstance(mine, TileArray)
        assert mine.dtype.name == dtype
        assert np.array_equal(mine.numpy(), want)


# -- gathering ---------------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_a_gather_is_numpy_s_take_and_moves_what_is_elsewhere(data):
    indices = data.draw(st.lists(st.integers(0, TILES - 1), min_size=1, max_size=12))
    tiles = data.draw(st.lists(st.integers(0, TILES - 1), min_size=len(indices), max_size=len(indices)))
    with TileSession(TILES) as s:
        x = tile_constant_sharded(rows(TILES, 3), range(TILES))
        g = tile_gather(x, indices, tiles)
        assert g.tiles == tuple(tiles)
        assert np.array_equal(g.numpy(), rows(TILES, 3)[indices])
        needed = [i for t, i in zip(tiles, indices, strict=True) if t != i]  # as often as it is stored
        assert sum(int(step.tiles.received.sum()) for step in s.report().steps) == 12 * len(needed)


def test_resharding_and_replicating_arrays_on_tiles(session):
    x = tile_constant_sharded(rows(3, 2), [0, 1, 2])
    y = tile_put_sharded(x, [5, 1, 7])
    z = tile_put_replicated(x, [6, 7])
    assert np.array_equal(y.numpy(), rows(3, 2))
    assert np.array_equal(z.numpy(), [rows(3, 2)] * 2)
    assert z.shape == (2, 3, 2)
    assert [int(s.tiles.received.sum()) for s in session.report().steps] == [16, 48]


# -- running -----------------------------------------------------------------------------------------------------------


def test_what_ran_does_not_run_again(session):
    x = tile_put_sharded(np.zeros((2, 3)), [0, 1])
    one = tile_constant_replicated(np.ones(3), [0, 1])
    for turn in range(1, 4):
        tile_map(axpy, one, x, a=1.0)
        assert np.array_equal(x.numpy(), np.full((2, 3), turn))
        assert np.array_equal(x.numpy(), np.full((2, 3), turn))
    assert repr(session) == "<TileSession tilewise: 8 tiles, 4 steps run, 0 recorded>"


def test_the_report_is_that_of_the_whole_program_however_it_was_run(session):
    def record(look):
        with TileSession(target("GC2", tiles=4)) as s:
            x = tile_put_sharded(rows(4, 9), range(4))
            y = x * 2.0
            if look:
                y.numpy()
            tile_gather(tile_map(axpy, x, y, a=3.0), [3, 2, 1, 0], range(4))
        return s

    at_once, in_turn = record(False).report(), record(True).report()
    assert at_once.cycles == in_turn.cycles
    assert [s.name for s in at_once.steps] == [s.name for s in in_turn.steps]
    assert at_once.cycles == sum(s.cycles for s in record(False).engine().step())


def test_cycle_counts_time_what_lies_between(session):
    x = tile_put_sharded(rows(4, 64), range(4))
    begin = tile_cycle_count(x)
    y = tile_map(total, x)
    end = tile_cycle_count(y)
    tile_map(total, x)
    steps = session.report().steps
    assert int(end) - int(begin) == steps[1].cycles > 0
    assert (end.numpy() - begin.numpy()).tolist() == [steps[1].cycles] * 4
    assert int(begin) == steps[0].cycles


def test_a_barrier_is_a_step_and_gives_its_arguments_back(session):
    x = tile_constant_sharded(rows(2, 2), [0, 1])
    assert tile_barrier(x) is x
    assert tile_barrier(x, x) == (x, x)
    assert [s.phases["sync"] > 0 for s in session.report().steps] == [True, True]


def test_the_session_s_graph_takes_hand_written_programs(session):
    x = tile_put_sharded(np.zeros((2, 3)), [0, 1])
    one = tile_constant_replicated(np.ones(3), [0, 1])
    cs = session.graph.add_compute_set("by hand")
    for row in range(2):
        session.graph.add_vertex(cs, axpy, {"x": one.tensor[row], "y": x.tensor[row], "a": 1.0}, tile=row)
    session.program.add(ipusim.program.Repeat(10, cs))
    assert np.array_equal(x.numpy(), np.full((2, 3), 10))


def test_sessions_nest(session):
    with TileSession(2) as inner:
        x = tile_put_sharded(rows(2, 2), [0, 1])
    y = tile_put_sharded(rows(2, 2), [0, 1])
    assert x.session is inner
    assert y.session is session
    assert np.array_equal((x + 1.0).numpy(), rows(2, 2) + 1)  # an array knows its session


# -- mistakes ----------------------------------------------------------------------------------------------------------


def says(text, kind=BadInput):
    return pytest.raises(kind, match=re.escape(text))


def test_mistakes_of_putting(session):
    with says("tile_put_sharded: axis 0 of shape (3, 2) needs one tile per row, and 2 tiles are given: (0, 1)"):
        tile_put_sharded(rows(3, 2), [0, 1])
    with says("tile_put_sharded: an array without axes needs one tile per row"):
        tile_put_sharded(1.0, [0])
    with says("no tile 8; the device has tiles 0 to 7"):
        tile_put_replicated(1.0, [8])
    with says("no tile -1; the device"):
        tile_constant_replicated(1.0, [-1])
    with says("a tile is a whole number, not 1.5"):
        tile_put_sharded([1.0], [1.5])
    with says("tiles are a sequence of tile numbers, not 3"):
        tile_put_sharded([1.0], 3)
    with says("no tiles are given"):
        tile_put_replicated(1.0, [])
    with says("values of float64 cannot be int32"):
        tile_put_sharded([0.5], [0], dtype=int32)
    with says("values from 3000000000 to 3000000000 do not fit int32"):
        tile_put_sharded([3_000_000_000], [0])
    with says("values of <U1 cannot be float32"):
        tile_put_sharded(["a"], [0], dtype=float32)
    with says("no element type named 'complex128'", UnknownName):
        tile_put_sharded([1j], [0])


def test_mistakes_without_a_session():
    with says("tile_put_sharded: no session is open; write `with TileSession(target(...)):` around it"):
        tile_put_sharded([1.0], [0])
    with says("the device comes from ipusim.target(...), not 'GC2'"):
        TileSession("GC2")
    with TileSession(2):
        x = tile_put_sharded([1.0, 2.0], [0, 1])
    with TileSession(2):
        y = tile_put_sharded([1.0, 2.0], [0, 1])
    with says("the arrays belong to different sessions"):
        x + y


def test_mistakes_of_mapping_name_both_places(session):
    x, y = tile_put_sharded(rows(3, 2), [0, 1, 2]), tile_put_sharded(rows(3, 2), [3, 4, 6])
    with says("tile_map(axpy): 'x' is on tiles (0..2), 'y' on tiles (3, 4, 6); tile_gather or tile_put_sharded"):
        tile_map(axpy, x, y, a=1.0)
    with says("tile_map(add): 'a' is on tiles (0..2), 'b' on tiles (3, 4, 6)"):
        x + y


def test_mistakes_of_mapping(session):
    x = tile_put_sharded(rows(3, 2), range(3), name="x")
    with says("tile_map: needs a function made by @ipusim.codelet, not"):
        tile_map(sum, x)
    with says("tile_map(axpy): 3 arrays for 2 fields to read: x, y"):
        tile_map(axpy, x, x, x, a=1.0)
    with says("tile_map(axpy): 'x' is given twice"):
        tile_map(axpy, x, x=x, y=x, a=1.0)
    with says("tile_map(axpy): nothing is given for 'y', 'a'"):
        tile_map(axpy, x)
    with says("no field or member of codelet axpy named 'z' (known: x, y, a)", UnknownName):
        tile_map(axpy, x, x, a=1.0, z=x)
    with says("none of its fields is given a TileArray; tile_put_sharded makes one"):
        tile_map(axpy, 1.0, 2.0, a=1.0)
    with says("field 'y' is written, so it takes a TileArray, not 2.0"):
        tile_map(axpy, x, 2.0, a=1.0)
    with says("member 'a' takes a number, or 3 of them (one per row), not [1.0, 2.0]"):
        tile_map(axpy, x, x, a=[1.0, 2.0])
    with says("field 'x' holds float16, and 'x' is float32"):
        tile_map(halve, x)
    with says("field 'm' is a vector of vectors, and a row has shape (2,): two axes at least"):
        tile_map(columns, x, out_shapes={"s": 2})
    with says("field 'step' is one element, and a row has shape (2,)"):
        tile_map(both, x, step=x)
    with says("field 'step' is one element, and a row has shape (3,)"):
        tile_map(both, x, step=np.ones(3))
    with says("no Output to be made of codelet total named 'x'", UnknownName):
        tile_map(total, x, out_shapes={"x": 3})
    with says("Output 's': no input has such rows; give out_shapes={'s': (...)}, the shape on one tile"):
        tile_map(columns, tile_put_sharded(rows(3, 2, 2), range(3)))
    with says("Output 'out': the inputs have rows (2,) and (3,); give out_shapes={'out': (...)}"):
        tile_map(dilate, x, tile_put_sharded(rows(3, 3), range(3)))
    with says("Output 'up': a shape is whole numbers of at least 0, not -1"):
        tile_map(both, x, step=1.0, out_shapes={"up": -1})


def test_mistakes_of_cutting(session):
    x = tile_put_sharded(rows(3, 8), range(3))
    with says("tile_map(total, workers=6): field 's' is one element, which several vertices cannot write"):
        tile_map(total, x, workers=6)
    with says("workers=0): a whole number of at least 1; a tile has 6 workers"):
        tile_map(axpy, x, x, a=1.0, workers=0)
    with says("a MultiVertex has all workers already"):
        tile_map(strided, x, workers=2)
    with says("their rows must be as long as each other: 'x' 8, 'out' 4"):
        tile_map(dilate, x, np.ones(3), out_shapes={"out": 4}, workers=6)


def test_mistakes_of_arrays(session):
    x = tile_put_sharded(rows(3, 8), range(3), name="x")
    with says("axis 0 lies on tiles and takes a slice, not 1; write [1:2], or use tile_gather"):
        x[1]
    with says("axis 0 lies on tiles and takes a slice, not [0, 1]; use tile_gather"):
        x[[0, 1]]
    with says("x: slice bound 9 of axis 1, which has 8 elements"):
        x[:, 0:9]
    with says("reshape to (6, 4) would move rows between tiles; axis 0 stays"):
        x.reshape((6, 4))
    with says("reshape to (-1, 24) would move rows between tiles"):
        x.reshape((-1, 24))
    with says("transpose by (1, 0) would move rows between tiles"):
        x.transpose((1, 0))
    with says("shapes and types must agree"):
        x + x[:, :3]
    with says("shapes and types must agree"):
        x + tile_put_sharded(np.ones((3, 8), np.int32), range(3))
    with says("an array of the host: tile_put_sharded or tile_put_replicated moves it first"):
        np.ones((3, 8)) + x
    with says("no + for bool"):
        tile_put_sharded([True], [0]) + True
    with says("member 'number' is int32, not 0.5"):
        tile_put_sharded([1], [0]) * 0.5
    with pytest.raises(TypeError):
        x + "a"


def test_mistakes_of_gathering(session):
    x = tile_put_sharded(rows(3, 8), range(3), name="x")
    with says("tile_gather: no row 3 in TileArray('x'"):
        tile_gather(x, [0, 3], [0, 1])
    with says("axis 0 of shape (2, 8) needs one tile per row, and 3 tiles are given: (0..2)"):
        tile_gather(x, [0, 1], [0, 1, 2])
    with says("tile_gather: needs a TileArray, not ndarray"):
        tile_gather(rows(3, 8), [0], [0])
    with says("indices are a sequence of row numbers, not 1"):
        tile_gather(x, 1, [0])
    with says("tile_gather: no indices are given"):
        tile_gather(x, [], [])
    with says("tile_cycle_count: needs a TileArray, not ndarray"):
        tile_cycle_count(rows(1))


def test_a_race_is_the_verifier_s_to_find(session):
    x = tile_put_sharded(rows(2, 4), [0, 1], name="x")
    tile_map(both, x, step=1.0, up=x)
    with says("field 'x' and", InvalidProgram) as caught:
        x.numpy()
    assert "read and write 'x', elements [0:4]" in str(caught.value)
    assert "test_tilewise.py:" in str(caught.value)


def test_memory_is_the_tile_s(session):
    x = tile_put_sharded(np.zeros((2, 80_000)), [0, 1], name="huge")
    with says("tile 0 needs", DoesNotFit) as caught:
        x.numpy()
    assert "'huge' 320,000 bytes" in str(caught.value)
    report = session.report()
    assert not report.profile.memory.fits
    assert any("out of memory" in r for r in report.profile.remarks)
    with TileSession(2, allow_out_of_memory=True):
        assert tile_put_sharded(np.ones((2, 80_000)), [0, 1]).numpy().all()
