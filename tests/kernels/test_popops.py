"""Library calls for tile programs: values against numpy on odd sizes and any mapping, cycles against golden counts, laws."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim import BadInput, Engine, Graph, UnknownName, bool_, float32, half, int32, target, uint32
from ipusim import program as prog
from ipusim.hw.cost import MULTI_STUB_CYCLES
from ipusim_kernels import popops
from ipusim_kernels.popops import expr, work
from ipusim_kernels.popops.cycles import scaled_add
from ipusim_kernels.popops.expr import Const, _1, _2

FEW = settings(max_examples=8, deadline=None)
TILES = 5


class Bench:
    """A small device with tensors that hold given arrays."""

    def __init__(self, tiles=TILES, chip="GC2"):
        self.graph, self.program = Graph(target(chip, tiles=tiles)), prog.Sequence()
        self.values = []

    def put(self, array, name, cuts=None, tiles=None):
        """A tensor; `cuts` are where its elements go from one of `tiles` to the next."""
        array = np.asarray(array)
        tensor = self.graph.add_variable(array.shape, array.dtype, name)
        if cuts is None:
            self.graph.map_linearly(tensor, min_bytes_per_tile=8)
        else:
            edges = [0, *(c * array.size // 100 for c in cuts), array.size]
            for tile, begin, end in zip(tiles, edges[:-1], edges[1:], strict=False):
                self.graph.set_tile_mapping(tensor.flatten()[begin:end], tile)
        self.values.append((tensor, array))
        return tensor

    def run(self):
        engine = Engine(self.graph, self.program)
        for tensor, array in self.values:
            engine.write_tensor(tensor, array)
        engine.run(0)
        return engine


def check(engine, pairs, rtol=0.0):
    for name, (tensor, wanted) in pairs.items():
        found = engine.read_tensor(tensor)
        assert found.shape == np.shape(wanted), name
        np.testing.assert_allclose(found.astype(np.float64), np.asarray(wanted, np.float64), rtol=rtol, err_msg=name)


def cycles_of(engine, name):
    return next(s.phases["compute"] for s in engine.report().steps if s.name == name)


@st.composite
def mappings(draw):
    """Cuts in percent of the elements, and the tile of each piece."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=4, max_size=4)))
    return cuts, draw(st.lists(st.integers(0, TILES - 1), min_size=5, max_size=5))


rng = np.random.default_rng(3)


# -- elementwise -------------------------------------------------------------------------------------------------------

UNARY = {
    "neg": np.negative, "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "inv": lambda x: 1 / x, "square": np.square, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0), "floor": np.floor, "ceil": np.ceil, "sign": np.sign, "round": np.rint,
}  # fmt: skip
POSITIVE = {"log", "sqrt", "rsqrt", "inv"}


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-6), (np.float16, 2e-3)])
def test_functions_of_one_tensor(dtype, rtol):
    bench = Bench()
    signed = rng.normal(size=(3, 7)).astype(dtype)
    x, y = bench.put(signed, "x"), bench.put(np.abs(signed) + dtype(0.5), "y")
    pairs = {}
    for name, function in UNARY.items():
        given_, array = (y, np.abs(signed) + dtype(0.5)) if name in POSITIVE else (x, signed)
        made = getattr(popops, name)(bench.graph, given_, bench.program)
        assert made.dtype == given_.dtype
        pairs[name] = made, function(array.astype(np.float32)).astype(dtype)
    check(bench.run(), pairs, rtol)


def test_functions_of_two_tensors():
    bench = Bench()
    a, b = rng.normal(size=(4, 9)).astype(np.float32), (rng.normal(size=(4, 9)) + 3).astype(np.float32)
    x, y = bench.put(a, "a"), bench.put(b, "b")
    table = {
        "add": a + b, "sub": a - b, "mul": a * b, "div": a / b, "min": np.minimum(a, b), "max": np.maximum(a, b),
        "less": a < b, "less_equal": a <= b, "greater": a > b, "greater_equal": a >= b, "equal": a == b,
        "not_equal": a != b,
    }  # fmt: skip
    pairs = {name: (getattr(popops, name)(bench.graph, x, y, bench.program), w) for name, w in table.items()}
    pairs["pow"] = popops.pow(bench.graph, y, x, bench.program), b**a
    assert pairs["less"][0].dtype == bool_
    check(bench.run(), pairs, 2e-6)


def test_integers_and_bools():
    bench = Bench()
    i, u = rng.integers(-9, 9, 23).astype(np.int32), np.full(23, 2**32 - 1, np.uint32)
    x, y = bench.put(i, "i"), bench.put(u, "u")
    g, p = bench.graph, bench.program
    positive, odd = popops.greater(g, x, 0, p), popops.equal(g, popops.map(g, _1 & 1, [x], p), 1, p)
    pairs = {
        "wraps": (popops.add(g, y, y, p), u + u),
        "sign": (popops.sign(g, x, p), np.sign(i)),
        "div": (popops.div(g, x, 4, p), i / 4),
        "and": (popops.logical_and(g, positive, odd, p), (i > 0) & (i % 2 == 1)),
        "or": (popops.logical_or(g, positive, odd, p), (i > 0) | (i % 2 == 1)),
        "not": (popops.logical_not(g, positive, p), i <= 0),
        "bits": (popops.bitwise_not(g, x, p), ~i),
        "select": (popops.select(g, positive, x, popops.neg(g, x, p), p), np.abs(i)),
    }
    assert pairs["div"][0].dtype == float32
    check(bench.run(), pairs)


@FEW
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 15), st.integers(0, 15), mappings(), mappings()
)
def test_operands_broadcast_as_numpys(shape, drop_a, drop_b, one, other):
    shapes = [[1 if drop >> k & 1 else n for k, n in enumerate(shape)] for drop in (drop_a, drop_b)]
    a, b = (rng.integers(-9, 9, s).astype(np.int32) for s in shapes)
    bench = Bench()
    x, y = bench.put(a, "a", *one), bench.put(b, "b", *other)
    made = popops.sub(bench.graph, x, y, bench.program)
    mapped = popops.map(bench.graph, _1 * 2 - _2, [x, y], bench.program)
    check(bench.run(), {"named": (made, a - b), "expression": (mapped, a * 2 - b)})


@FEW
@given(st.integers(1, 6), st.integers(1, 9), mappings(), mappings())
def test_views_and_any_mapping(rows, columns, one, other):
    a, b = rng.integers(-9, 9, (rows, columns)).astype(np.int32), rng.integers(-9, 9, (columns, rows)).astype(np.int32)
    bench = Bench()
    x, y = bench.put(a, "a", *one), bench.put(b, "b", *other)
    pairs = {"transposed": (popops.add(bench.graph, x.T, y, bench.program), a.T + b)}
    pairs["reversed"] = (popops.add(bench.graph, x.reverse(1), y.T, bench.program), a[:, ::-1] + b.T)
    popops.add_in_place(bench.graph, x[: rows // 2 + 1, ::2], 1, bench.program)
    after = a.copy()
    after[: rows // 2 + 1, ::2] += 1
    check(bench.run(), {**pairs, "in place": (x, after)})


def test_the_result_lies_where_the_operand_lies():
    bench = Bench()
    x = bench.put(np.zeros((6, 4), np.float32), "x", [10, 20, 60, 90], [4, 0, 3, 3, 1])
    made = popops.exp(bench.graph, x.T, bench.program, "net")
    assert bench.graph.get_tile_mapping(made) == bench.graph.get_tile_mapping(x.T)
    assert made.label == "net/exp"
    engine = bench.run()
    assert {s.name for s in engine.report().steps} == {"net/exp"}
    assert engine.report().phases["exchange"] == 0
    assert engine.report().phases["copy_before"] == 0


def test_expressions_are_one_vertex_per_tile():
    bench = Bench()
    a, b = rng.normal(size=(5, 8)).astype(np.float16), rng.normal(size=8).astype(np.float16)
    x, y = bench.put(a, "a"), bench.put(b, "b")
    tree = expr.clamp(expr.select(_1 > _2, expr.exp(_1), _2 * Const(0.5)), 0.0, 2.0)
    made = popops.map(bench.graph, tree, [x, y], bench.program)
    popops.map_in_place(bench.graph, _1 * _1 + 1, [y], bench.program)
    wide = np.where(a > b, np.exp(a.astype(np.float32)).astype(np.float16), b * np.float16(0.5))
    engine = bench.run()
    check(engine, {"map": (made, np.clip(wide, 0, 2)), "in place": (y, b * b + np.float16(1))}, 2e-3)
    assert len(engine.report().steps) == 2


def test_a_repeated_call_makes_no_second_codelet():
    bench = Bench()
    x = bench.put(np.zeros(40, np.float32), "x")
    for _ in range(2):
        popops.map(bench.graph, expr.tanh(_1) * 3.0, [x], bench.program)
    first, second = bench.graph.added
    assert list(first.added) == list(second.added)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda g, p, x, h, i: popops.add(g, x, h, p), ["popops.add", "'x' (6,) float32", "'h' (6,) float16"]),
        (lambda g, p, x, h, i: popops.add(g, x, i, p), ["popops.add", "'i' (2, 4) int32"]),
        (lambda g, p, x, h, i: popops.mul(g, i, i.T, p), ["popops.mul", "do not broadcast"]),
        (lambda g, p, x, h, i: popops.exp(g, i, p), ["popops.exp", "needs float32 or half", "'i'"]),
        (lambda g, p, x, h, i: popops.logical_and(g, i, i, p), ["popops.logical_and", "needs bool"]),
        (lambda g, p, x, h, i: popops.add_in_place(g, x[0:1], x, p), ["popops.add", "cannot hold"]),
        (lambda g, p, x, h, i: popops.add(g, 1, 2, p), ["popops.add", "has to be a tensor"]),
        (lambda g, p, x, h, i: popops.add(g, x, x, [p]), ["popops.add", "Sequence"]),
        (lambda g, p, x, h, i: popops.map(g, _1 + _2, [x], p), ["popops.map", "tensor 2"]),
        (lambda g, p, x, h, i: popops.map(g, _1 + _2, [x, h], p), ["popops.map", "float32 and float16"]),
        (lambda g, p, x, h, i: popops.map(g, 3, [x], p), ["popops.map", "holds no tensor"]),
        (lambda g, p, x, h, i: bool(_1 < 2), ["no truth value"]),
        (lambda g, p, x, h, i: popops.fill(g, i, 0.5, p), ["popops.fill", "cannot hold 0.5"]),
        (lambda g, p, x, h, i: popops.scaled_add_to(g, x, i, 1.0, p), ["popops.scaled_add_to", "'i'"]),
        (lambda g, p, x, h, i: popops.reduce(g, i, 2, "add", p), ["popops.reduce", "axes"]),
        (lambda g, p, x, h, i: popops.reduce(g, i, 0, "and", p), ["popops.reduce('and')", "takes bool"]),
        (lambda g, p, x, h, i: popops.prefix_sum(g, i, p), ["popops.prefix_sum", "vector"]),
        (lambda g, p, x, h, i: popops.gather(g, i, x, 0, p), ["popops.gather", "int32 or uint32", "'x'"]),
        (lambda g, p, x, h, i: popops.gather(g, x, i, 1, p), ["popops.gather", "axis 1"]),
        (lambda g, p, x, h, i: popops.scatter_add(g, i, i[0], i, p), ["popops.scatter_add", "(4, 4) int32"]),
        (lambda g, p, x, h, i: popops.top_k(g, i, 5, True, p), ["popops.top_k", "1 to 4"]),
        (lambda g, p, x, h, i: popops.sort(g, x, 1, p), ["popops.sort", "axis 1"]),
    ],
)  # fmt: skip
def test_errors_name_call_and_tensors(make, words):
    bench = Bench()
    x, h = bench.put(np.zeros(6, np.float32), "x"), bench.put(np.zeros(6, np.float16), "h")
    i = bench.put(np.zeros((2, 4), np.int32), "i")
    with pytest.raises(BadInput) as caught:
        make(bench.graph, bench.program, x, h, i)
    for word in words:
        assert word in str(caught.value)


def test_unmapped_and_foreign_tensors_are_refused():
    bench, other = Bench(), Bench()
    x = bench.graph.add_variable(4, float32, "bare")
    with pytest.raises(BadInput, match=r"'bare'.*without a tile"):
        popops.exp(bench.graph, x, bench.program)
    with pytest.raises(BadInput, match="belongs to another graph"):
        popops.exp(bench.graph, other.put(np.zeros(4, np.float32), "theirs"), bench.program)
    with pytest.raises(UnknownName, match="kind of reduction"):
        popops.reduce(bench.graph, x, 0, "sum", bench.program)


# -- cycles ------------------------------------------------------------------------------------------------------------


def golden(vertex):
    path = Path(__file__).parents[1] / "data" / "vertex_cycles.csv"
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["vertex"] == vertex]
    assert rows
    return [(dict(i.split("=", 1) for i in r["params"].split(";")), r["chip"], int(r["cycles"])) for r in rows]


def test_scaled_add_golden_counts():
    found = [g for g in golden("popops::ScaledAddSupervisor") if g[0]["memConstrained"] == "0"]
    assert len(found) > 5
    for parameters, chip, cycles in found:
        a, b = parameters["A"] == "half", parameters["B"] == "half"
        assert scaled_add(int(parameters["n"]), a, b, chip == "mk1") == cycles, parameters


NAMES = {"inverse": "inv", "lt": "less"}


@pytest.mark.parametrize(
    ("vertex", "op", "kind"),
    [
        ("UnaryOp1D", "exp", "float"), ("UnaryOp1D", "tanh", "half"), ("UnaryOp1D", "relu", "float"),
        ("UnaryOp1D", "inverse", "half"), ("BinaryOp1D", "add", "float"), ("BinaryOp1D", "div", "half"),
        ("BinaryOp1D", "lt", "float"), ("BroadcastScalar1D", "mul", "half"), ("BroadcastScalar1D", "div", "float"),
    ],
)  # fmt: skip
def test_a_call_costs_what_its_vertex_costs(vertex, op, kind):
    rows = [g for g in golden(f"popops::{vertex}") if (g[0]["op"], g[0]["type"]) == (op, kind)]
    parameters, chip, cycles = rows[0]
    bench = Bench(2, "GC2" if chip == "mk1" else "GC200")
    dtype = np.float16 if kind == "half" else np.float32
    x = bench.put(np.ones(int(parameters["n"]), dtype), "x", [100] * 4, [0] * 5)
    name = NAMES.get(op, op)
    operands = {"UnaryOp1D": (x,), "BinaryOp1D": (x, x), "BroadcastScalar1D": (x, 2.0)}[vertex]
    getattr(popops, name)(bench.graph, *operands, bench.program)
    assert cycles_of(bench.run(), name) == cycles + MULTI_STUB_CYCLES


def test_cycles_do_not_depend_on_how_many_tiles_do_the_same():
    found = set()
    for tiles in (1, 3, 8):
        bench = Bench(tiles)
        x = bench.put(np.ones((tiles, 50), np.float32), "x", None)
        for tile in range(tiles):
            bench.graph.set_tile_mapping(x[tile], tile)
        g, p = bench.graph, bench.program
        popops.exp(g, x, p)
        popops.map(g, _1 * 2 + 1, [x], p)
        popops.reduce(g, x, 1, "add", p)
        popops.fill(g, x, 1.0, p)
        found.add(tuple((s.name, s.phases["compute"]) for s in bench.run().report().steps))
    assert len(found) == 1


# -- casts and fills ---------------------------------------------------------------------------------------------------


def test_cast_fill_and_scaled_add():
    bench = Bench()
    a, b = rng.normal(size=(7, 5)).astype(np.float32) * 9, rng.normal(size=(7, 5)).astype(np.float16)
    x, y, f = bench.put(a, "a"), bench.put(b, "b"), bench.put(a, "f")
    g, p = bench.graph, bench.program
    pairs = {kind.name: (popops.cast(g, x, kind, p), a.astype(kind.numpy)) for kind in (half, int32)}
    pairs["wide"] = popops.cast(g, y, float32, p), b.astype(np.float32)
    scale = g.add_constant(0.5, float32, "scale", tile=0)
    popops.scaled_add_to(g, x, popops.cast(g, y, float32, p), scale, p)
    popops.scaled_add_to(g, y, f, 2.0, p)
    popops.fill(g, f, 3.5, p)
    popops.zero(g, f[1:4, 2:5], p)
    filled = np.full((7, 5), 3.5)
    filled[1:4, 2:5] = 0
    pairs["scaled"] = x, a + np.float32(0.5) * b.astype(np.float32)
    pairs["mixed"] = y, (b.astype(np.float32) + 2 * a).astype(np.float16)
    check(bench.run(), {**pairs, "filled": (f, filled)}, 1e-6)


def test_fill_takes_every_type_that_holds_the_number():
    bench = Bench()
    u, t = bench.put(np.zeros(5, np.uint32), "u"), bench.put(np.zeros(5, bool), "t")
    popops.fill(bench.graph, u, 2**32 - 2, bench.program)
    popops.fill(bench.graph, t, True, bench.program)
    check(bench.run(), {"u": (u, np.full(5, 2**32 - 2)), "t": (t, np.ones(5))})
    assert u.dtype == uint32


# -- reductions --------------------------------------------------------------------------------------------------------

KINDS = {"add": np.sum, "mul": np.prod, "max": np.max, "min": np.min, "square_add": lambda x, axis: (x * x).sum(axis)}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 7), st.sampled_from(sorted(KINDS)), mappings()
)
def test_reductions_equal_numpys(shape, which, kind, mapping):
    axes = tuple(a for a in range(len(shape)) if which >> a & 1) or (0,)
    a = rng.integers(-2, 3, shape).astype(np.int32)
    bench = Bench()
    made = popops.reduce(bench.graph, bench.put(a, "a", *mapping), axes, kind, bench.program)
    check(bench.run(), {kind: (made, KINDS[kind](a, axis=axes))})


@pytest.mark.parametrize("axis", [0, 1, -1, None, (0, 2)])
def test_halves_are_summed_in_float32(axis):
    a = rng.normal(size=(9, 40, 5)).astype(np.float16)
    bench = Bench()
    made = popops.reduce(bench.graph, bench.put(a, "a"), axis, "add", bench.program)
    assert made.dtype == half
    check(bench.run(), {"sum": (made, a.astype(np.float64).sum(axis=axis))}, 1e-3)


def test_many_partials_meet_in_stages_and_the_order_is_fixed():
    a = rng.normal(size=5000).astype(np.float32)
    sums = []
    for _ in range(2):
        bench = Bench(40)
        made = popops.reduce(bench.graph, bench.put(a, "a"), None, "add", bench.program)
        engine = bench.run()
        sums.append(engine.read_tensor(made)[()])
        assert len(engine.report().steps) == 4  # 240 partials: their own, and three stages
        assert max(s.tiles.received.max() for s in engine.report().steps) <= 4 * 60
    assert sums[0] == sums[1] == pytest.approx(a.astype(np.float64).sum(), rel=1e-5)


def test_a_loop_runs_until_all_are_true():
    bench = Bench()
    x = bench.put(np.array([3, 1, 4, 1, 5], np.int32), "x")
    count = bench.put(np.zeros((), np.int32), "count")
    test, body, g = prog.Sequence(), prog.Sequence(), bench.graph
    done = popops.all_true(g, popops.less_equal(g, x, 0, test), test)
    some = popops.any_true(g, popops.greater(g, x, 0, test), test)
    popops.sub_in_place(g, x, 1, body)
    popops.add_in_place(g, count, 1, body)
    bench.program.add(prog.RepeatWhileFalse(test, done, body))
    engine = bench.run()
    check(engine, {"count": (count, 5), "x": (x, np.array([-2, -4, -1, -4, 0])), "some": (some, False)})
    assert done.shape == ()


# -- prefix sums -------------------------------------------------------------------------------------------------------


@FEW
@given(st.integers(1, 200), st.booleans(), mappings())
def test_prefix_sums(n, exclusive, mapping):
    a = rng.integers(-9, 9, n).astype(np.int32)
    bench = Bench()
    made = popops.prefix_sum(bench.graph, bench.put(a, "a", *mapping), bench.program, exclusive)
    check(bench.run(), {"scan": (made, np.cumsum(a) - a * exclusive)})


def test_prefix_sums_of_many_stretches_and_of_halves():
    a, h = rng.integers(-9, 9, 3000).astype(np.int32), (rng.integers(0, 8, 200) / 8).astype(np.float16)
    bench = Bench(30)
    pairs = {"many": (popops.prefix_sum(bench.graph, bench.put(a, "a"), bench.program), np.cumsum(a))}
    pairs["half"] = popops.prefix_sum(bench.graph, bench.put(h, "h"), bench.program), np.cumsum(h.astype(np.float32))
    check(bench.run(), pairs)


# -- gather and scatter ------------------------------------------------------------------------------------------------


@FEW
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6), st.integers(0, 1), mappings())
def test_gather_and_scatter(rows, columns, lookups, axis, mapping):
    a, n = rng.integers(-9, 9, (rows, columns)).astype(np.int32), (rows, columns)[axis]
    at = rng.integers(0, n, lookups).astype(np.int32)
    values = rng.integers(-9, 9, (lookups, columns) if axis == 0 else (rows, lookups)).astype(np.int32)
    bench = Bench()
    g, p = bench.graph, bench.program
    x, y, z = (bench.put(a, name, *mapping) for name in "xyz")
    k, v = bench.put(at, "k"), bench.put(values, "v")
    pairs = {"gather": (popops.gather(g, x, k, axis, p), np.take(a, at, axis))}
    popops.scatter_add(g, y, k, v, p, axis)
    popops.scatter_update(g, z, k, v, p, axis)
    added, stored = a.copy(), a.copy()
    place = (at,) if axis == 0 else (slice(None), at)
    np.add.at(added, place, values)
    for j, i in enumerate(at):
        stored[i if axis == 0 else (slice(None), i)] = values[j] if axis == 0 else values[:, j]
    check(bench.run(), {**pairs, "add": (y, added), "update": (z, stored)})


def test_gather_from_a_table_cut_into_blocks_of_rows():
    a, at = rng.normal(size=30000).astype(np.float32), np.array([29999, 0, -1, 17, 30000, 8192, 8191], np.int32)
    bench = Bench(8)
    made = popops.gather(bench.graph, bench.put(a, "a"), bench.put(at, "at"), 0, bench.program)
    inside = (at >= 0) & (at < 30000)
    check(bench.run(), {"gather": (made, np.where(inside, a[at % 30000], 0))})


def test_slices_from_a_run_time_offset_and_a_table_in_its_own_mapping():
    a = rng.normal(size=(12, 33)).astype(np.float16)
    bench = Bench()
    table = popops.create_sliceable(bench.graph, (12, 33), half)
    bench.values.append((table, a))
    k = bench.put(np.array([[2, 11], [2, 0]], np.uint32), "k")
    pairs = {"gather": (popops.multi_slice(bench.graph, table, k, bench.program), a[[[2, 11], [2, 0]]])}
    offset = bench.put(np.array([7], np.int32), "offset")
    pairs["slice"] = popops.dynamic_slice(bench.graph, table, offset, 1, 4, bench.program), a[:, 7:11]
    engine = bench.run()
    check(engine, pairs)
    step = next(s for s in engine.report().steps if s.name == "multi_slice/gather")
    assert step.tiles.received.max() <= 16  # the indices and nothing of the table


# -- sort --------------------------------------------------------------------------------------------------------------


@FEW
@given(st.integers(1, 150), st.integers(1, 3), st.booleans(), mappings())
def test_sort_and_the_k_best(n, lists, descending, mapping):
    a = rng.integers(-9, 9, (lists, n)).astype(np.int32)
    bench = Bench(2 if lists == 1 else TILES)
    mapping = (mapping[0], [t % 2 for t in mapping[1]])
    x, g, p = bench.put(a, "a", *mapping), bench.graph, bench.program
    order = np.argsort(-a if descending else a, axis=1, kind="stable")
    keys, places = popops.sort_pairs(g, x, 1, p, descending)
    k = 1 + n // 3
    best, where = popops.top_k(g, x, k, descending, p)
    check(bench.run(), {
        "keys": (keys, np.take_along_axis(a, order, 1)), "places": (places, order),
        "best": (best, np.take_along_axis(a, order, 1)[:, :k]), "where": (where, order[:, :k]),
    })  # fmt: skip


def test_sort_of_floats_along_the_first_axis():
    a = rng.normal(size=(90, 3)).astype(np.float32)
    bench = Bench()
    x, g, p = bench.put(a, "a"), bench.graph, bench.program
    pairs = {"sort": (popops.sort(g, x, 0, p), np.sort(a, 0)), "max": (popops.arg_max(g, x, 0, p), a.argmax(0))}
    pairs["min"] = popops.arg_min(g, x, -1, p), a.argmin(1)
    check(bench.run(), pairs)


# -- placing -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([1, 2, 4]), st.integers(1, 6))
def test_pieces_keep_order_and_are_even(lengths, grain, most):
    ends = np.cumsum(lengths)
    rows = [(int(e - n), int(e)) for e, n in zip(ends, lengths, strict=True)]
    parts = work.pieces(rows, grain, most)
    assert len(parts) <= most
    assert [i for part in parts for b, e in part for i in range(b, e)] == list(range(int(ends[-1])))
    sizes = [sum(e - b for b, e in part) for part in parts]
    assert all(n % grain == 0 for n in sizes[:-1])
    assert max(sizes) - min(sizes) <= 2 * grain
