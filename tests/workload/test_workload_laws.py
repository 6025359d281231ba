"""Laws of the op IR on random ops: shapes and types as numpy finds them, counts as loops find them, rewrites keep meaning."""

import itertools

import numpy as np
import workload_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim.dtype import bool_, float16, float32
from ipusim.workload import ops, ops_norm, ops_shape
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.ops import TensorType
from ipusim.workload.passes import drop_dead, fold_batch_norm, with_precision
from ipusim.workload.text import text

SIZES = st.integers(1, 5)
SHAPES = st.lists(SIZES, min_size=1, max_size=4).map(tuple)
SEEDS = st.integers(0, 2**32)


@st.composite
def windows(draw, dims):
    """Attributes of a window that fits, and a spatial shape it fits into."""
    kernel, stride, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(dims)) for _ in range(3))
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(dims))
    least = [max(1, (k - 1) * d + 1 - lo - hi) for k, d, (lo, hi) in zip(kernel, dilation, padding, strict=True)]
    spatial = tuple(n + draw(st.integers(0, 4)) for n in least)
    return kernel, stride, dilation, padding, spatial


@st.composite
def convolutions(draw):
    """(op, input types) of a convolution of rank 1 or 2, with or without bias."""
    kernel, stride, dilation, padding, spatial = draw(windows(draw(st.integers(1, 2))))
    groups, per_in, per_out, batch = (draw(st.integers(1, 3)) for _ in range(4))
    shapes = [(batch, groups * per_in, *spatial), (groups * per_out, per_in, *kernel), (groups * per_out,)]
    return ops.Conv(stride, dilation, padding, groups), shapes[: draw(st.integers(2, 3))]


@st.composite
def broadcasts(draw, count):
    """Shapes that broadcast with one another."""
    whole = draw(SHAPES)
    cut = [draw(st.integers(0, len(whole))) for _ in range(count)]
    return [tuple(n if draw(st.booleans()) else 1 for n in whole[c:]) for c in cut]


@st.composite
def products(draw):
    """Operand shapes of a matrix product: batches that broadcast, or vectors."""
    m, k, n = (draw(SIZES) for _ in range(3))
    lead = draw(broadcasts(2))
    a = draw(st.sampled_from([(k,), (*lead[0], m, k)]))
    b = draw(st.sampled_from([(k,), (*lead[1], k, n)]))
    return ops.MatMul(), [a, b]


@st.composite
def norms(draw):
    """An op that normalises, and its operands."""
    batch, channels = draw(SIZES), 2 * draw(st.integers(1, 3))
    x = (batch, channels, *draw(st.lists(SIZES, max_size=2)))
    vector, epsilon = (channels,), draw(st.sampled_from([1e-5, 1e-3]))
    axis = draw(st.integers(0, len(x) - 1))
    return draw(
        st.sampled_from(
            [
                (ops_norm.BatchNorm(epsilon), [x, *[vector] * 4]),
                (ops_norm.LayerNorm(axis, epsilon), [x, x[axis:], x[axis:]]),
                (ops_norm.LayerNorm(axis, epsilon), [x, x[-1:]]),
                (ops_norm.LayerNorm(axis, epsilon), [x]),
                (ops_norm.GroupNorm(draw(st.sampled_from([1, 2, channels])), epsilon), [x, vector, vector]),
                (ops_norm.LRN(draw(st.integers(1, 5)), 1e-2, 0.75, 1.0), [x]),
                (ops_norm.Softmax(axis, draw(st.booleans())), [x]),
            ]
        )
    )


@st.composite
def reductions(draw):
    """A reduction over any set of axes, or the index of an extreme."""
    x, keepdims = draw(SHAPES), draw(st.booleans())
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(x) - 1)))))
    index = ops.ArgReduce(draw(st.sampled_from(ops.ARG_REDUCE)), draw(st.integers(0, len(x) - 1)), keepdims)
    return draw(st.sampled_from([ops.Reduce(draw(st.sampled_from(ops.REDUCE)), axes, keepdims), index])), [x]


@st.composite
def moves(draw):
    """An op that moves elements."""
    x = draw(SHAPES)
    rank, axis = len(x), draw(st.integers(0, len(x) - 1))
    cut = draw(st.integers(0, x[axis]))
    backward = ops_shape.Slice(tuple(n - 1 for n in x), (-1,) * rank, tuple(-draw(st.integers(1, 3)) for _ in x))
    return draw(
        st.sampled_from(
            [
                (ops_shape.Split(axis, (cut, x[axis] - cut)), [x]),
                (ops_shape.Concat(axis), [x] * draw(st.integers(1, 3))),
                (ops_shape.Expand((2, *x)), [tuple(1 if draw(st.booleans()) else n for n in x)]),
                (ops_shape.Transpose(tuple(draw(st.permutations(range(rank))))), [x]),
                (ops_shape.Pad(tuple((n - 1, n - 1) for n in x), mode="reflect"), [x]),
                (ops_shape.Pad(((2, 1),) * rank, mode="edge"), [x]),
                (ops_shape.Pad(((0, 3),) * rank, value=-1.0), [x]),
                (ops_shape.Reshape((3, x[axis], 2)), [(x[axis], 6)]),
                (backward, [x]),
            ]
        )
    )


@st.composite
def pools(draw):
    """A max or average pool, with ceil mode's extra padding or without."""
    kernel, stride, dilation, padding, spatial = draw(windows(draw(st.integers(1, 2))))
    extra = tuple(draw(st.integers(0, 1)) for _ in kernel)
    kind, counted = draw(st.sampled_from(ops.POOL)), draw(st.booleans())
    return ops.Pool(kind, kernel, stride, dilation, padding, counted, extra), [(draw(SIZES), draw(SIZES), *spatial)]


@st.composite
def elementwise(draw):
    """A function of one, two or three elements with broadcasting."""
    unary = ops.Unary(draw(st.sampled_from([k for k in ops.UNARY if k != "not"])), 0.5, 0.25)
    logic = ("and", "or", "xor")
    binary = ops.Binary(draw(st.sampled_from([k for k in ops.BINARY if k not in logic])))
    limits = [draw(st.sampled_from([None, -0.5])), draw(st.sampled_from([None, 0.5]))]
    return draw(
        st.sampled_from([(unary, [draw(SHAPES)]), (binary, draw(broadcasts(2))), (ops.Clip(*limits), [draw(SHAPES)])])
    )


ANY = st.one_of(convolutions(), products(), norms(), reductions(), moves(), pools(), elementwise())


@settings(max_examples=400, deadline=None)
@given(ANY, SEEDS)
def test_inferred_types_are_those_of_the_arrays(case, seed):
    op, shapes = case
    rng = np.random.default_rng(seed)
    arrays = [np.abs(rng.normal(size=shape)) + 0.1 for shape in shapes]
    made = workload_numpy.compute(op, arrays)
    found = [(a.shape, a.dtype.kind) for a in (made if isinstance(made, list) else [made])]
    kinds = {"float": "f", "int": "i", "bool": "b"}
    inferred = op.infer(*(TensorType(shape, float32) for shape in shapes))
    assert [(t.shape, kinds[t.dtype.kind]) for t in inferred] == found


@settings(max_examples=100, deadline=None)
@given(broadcasts(3), SEEDS)
def test_select_picks_by_condition(shapes, seed):
    rng = np.random.default_rng(seed)
    condition, a, b = rng.random(shapes[0]) < 0.5, rng.normal(size=shapes[1]), rng.normal(size=shapes[2])
    types = [TensorType(shapes[0], bool_), *(TensorType(s, float32) for s in shapes[1:])]
    found = workload_numpy.compute(ops.Select(), [condition, a, b])
    assert ops.Select().infer(*types) == (TensorType(found.shape, float32),)
    assert np.array_equal(found, condition * a + ~condition * b)


@settings(max_examples=100, deadline=None)
@given(convolutions())
def test_macs_of_a_convolution_are_its_taps(case):
    """Counted one by one on ones: an output is the number of its taps once padding is part of the input."""
    op, shapes = case
    spatial = [n + lo + hi for n, (lo, hi) in zip(shapes[0][2:], op.padding, strict=True)]
    bare = ops.Conv(op.stride, op.dilation, ((0, 0),) * len(spatial), op.groups)
    taps = workload_numpy.compute(bare, [np.ones((*shapes[0][:2], *spatial)), np.ones(shapes[1])])
    types = [TensorType(s, float32) for s in shapes]
    assert op.macs(types, op.infer(*types)) == taps.sum()
    assert op.flops(types, op.infer(*types)) == 2 * taps.sum()


@settings(max_examples=100, deadline=None)
@given(products())
def test_macs_of_a_product_are_its_terms(case):
    op, shapes = case
    types = [TensorType(s, float32) for s in shapes]
    assert op.macs(types, op.infer(*types)) == np.sum(np.ones(shapes[0]) @ np.ones(shapes[1]))


@settings(max_examples=100, deadline=None)
@given(elementwise())
def test_elementwise_ops_count_one_per_element(case):
    op, shapes = case
    types = [TensorType(s, float32) for s in shapes]
    assert op.macs(types, op.infer(*types)) == 0
    assert op.flops(types, op.infer(*types)) == np.prod(np.broadcast_shapes(*shapes))


@settings(max_examples=100, deadline=None)
@given(windows(1), st.sampled_from(ops.POOL), st.booleans())
def test_ceil_mode_reaches_every_element_and_starts_no_window_beyond(window, kind, counted):
    """The last window of ceil mode starts inside the input or its leading padding, and no later one could."""
    (kernel,), (stride,), (dilation,), ((low, high),), (size,) = window
    b = WorkloadBuilder("pool")
    options = {"stride": stride, "padding": [(low, high)], "dilation": dilation, "count_include_pad": counted}
    x = b.input("x", (1, 1, size))
    floor, ceil = (b.pool(kind, x, kernel, ceil_mode=mode, **options).shape[2] for mode in (False, True))
    span = (kernel - 1) * dilation + 1
    starts = [s for s in range(0, size + low, stride) if s - stride + span < size + low + high or s == 0]
    assert ceil == max(floor, len(starts))


@st.composite
def normalised_convolutions(draw):
    """A workload of a convolution and a batch norm, and its input."""
    op, shapes = draw(convolutions())
    rng = np.random.default_rng(draw(SEEDS))
    b = WorkloadBuilder("conv and norm")
    x = b.input("x", shapes[0])
    parts = [b.constant(rng.normal(size=s).astype(np.float32)) for s in shapes[1:]]
    channels = (shapes[1][0],)
    scale, shift, mean = (rng.normal(size=channels) for _ in range(3))
    y = b.batch_norm(b.one(op, [x, *parts], "conv"), scale, shift, mean, rng.random(channels) + 0.5, name="norm")
    return b.build({"y": b.relu(y)}), {"x": rng.normal(size=shapes[0])}


@settings(max_examples=100, deadline=None)
@given(normalised_convolutions())
def test_folding_keeps_the_meaning_and_is_done_once(case):
    workload, inputs = case
    folded = fold_batch_norm(workload)
    assert [type(n.op).__name__ for n in folded.nodes] == ["Conv", "Unary"]
    assert not any(c._array is not None for c in folded.constants.values())
    assert text(fold_batch_norm(folded)) == text(folded)
    before, after = (workload_numpy.evaluate(w, inputs)["y"] for w in (workload, folded))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(before).max()))


@settings(max_examples=100, deadline=None)
@given(normalised_convolutions())
def test_precision_there_and_back_changes_no_text_but_the_constants(case):
    workload, _ = case
    once = with_precision(workload, float16)
    assert text(with_precision(once, float16)) == text(once)
    assert once.macs == workload.macs
    assert once.parameters == workload.parameters
    back = with_precision(once, float32)
    assert [(v.shape, v.dtype) for n in back.nodes for v in n.outputs] == [
        (v.shape, v.dtype) for n in workload.nodes for v in n.outputs
    ]


def test_precision_leaves_casts_to_integers():
    b = WorkloadBuilder("casts")
    x = b.input("x", (3,))
    y = b.cast(b.add(b.cast(b.cast(x, "int32"), "float32"), x), "bool")
    turned = with_precision(b.build({"y": y}), float16)
    assert [v.dtype.name for n in turned.nodes for v in n.outputs] == ["int32", "float16", "float16", "bool"]
    assert [n.op.dtype.name for n in turned.nodes if isinstance(n.op, ops_shape.Cast)] == ["int32", "float16", "bool"]


def test_folding_in_half_computes_in_float32():
    """2048 - 0.5 is not a half: a bias minus a mean that was rounded on the way would leave 1."""
    b = WorkloadBuilder("half")
    x = b.input("x", (1, 1, 1, 1), "float16")
    y = b.conv(x, np.zeros((1, 1, 1, 1)), np.array([2048.0]))
    y = b.batch_norm(y, np.ones(1), np.array([-2047.0]), np.array([0.5]), np.ones(1), epsilon=0.0)
    folded = fold_batch_norm(b.build({"y": y}))
    (bias,) = (c for n, c in folded.constants.items() if n.endswith("folded_bias"))
    assert bias.array().tolist() == [0.5]


@st.composite
def chains(draw):
    """A workload of random unary and binary nodes, only some of which an output needs."""
    b = WorkloadBuilder("chain")
    values = [b.input("x", (3,)), b.constant(np.full(3, 0.5, np.float32), "c")]
    for _ in range(draw(st.integers(1, 12))):
        a, c = (draw(st.sampled_from(values)) for _ in range(2))
        values.append(b.add(a, c) if draw(st.booleans()) else b.tanh(a))
    return b.build({"y": draw(st.sampled_from(values[2:]))})


@settings(max_examples=100, deadline=None)
@given(chains())
def test_what_is_dropped_was_dead(workload):
    kept = drop_dead(workload)
    x = {"x": np.array([-1.0, 0.0, 2.0])}
    assert np.array_equal(workload_numpy.evaluate(kept, x)["y"], workload_numpy.evaluate(workload, x)["y"])
    assert text(drop_dead(kept)) == text(kept)
    read = {v.name for n in kept.nodes for v in n.inputs} | {v.name for v in kept.outputs.values()}
    assert all(any(v.name in read for v in n.outputs) for n in kept.nodes)
    assert set(kept.constants) <= read


@settings(max_examples=60, deadline=None)
@given(chains(), chains())
def test_fingerprints_agree_exactly_when_texts_do(one, other):
    assert (one.fingerprint == other.fingerprint) == (text(one) == text(other))


@settings(max_examples=60, deadline=None)
@given(chains())
def test_the_network_has_an_edge_for_each_value_read(workload):
    graph = workload.to_networkx()
    assert graph.number_of_nodes() == len(workload.nodes) + len(workload.inputs)
    read = {(n.name, v.name) for n in workload.nodes for v in n.inputs if v.name not in workload.constants}
    assert {(reader, edge["name"]) for _, reader, edge in graph.edges(data=True)} == read
    order = {n.name: i for i, n in enumerate(workload.nodes)}
    assert all(order.get(a, -1) < order[b] for a, b in graph.edges)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SEEDS, SHAPES), min_size=2, max_size=4, unique=True), st.randoms())
def test_random_constants_do_not_depend_on_the_order_they_are_made_in(recipes, random):
    first = [Constant.normal(shape, float32, seed, 2.0, 1.0) for seed, shape in recipes]
    wanted = [c.array() for c in first]
    again = [Constant.normal(shape, float32, seed, 2.0, 1.0) for seed, shape in recipes]
    order = list(range(len(again)))
    random.shuffle(order)
    for i in order:
        assert np.array_equal(again[i].array(), wanted[i])
    assert [c.fingerprint for c in again] == [c.fingerprint for c in first]


def test_a_seed_means_the_same_values_everywhere():
    """As drawn by numpy 2.4 on x86; published values of zoo models rest on them."""
    normal, uniform = (
        make((3,), float32, 7, *rest).array()
        for make, rest in ((Constant.normal, (1.0,)), (Constant.uniform, (0.0, 1.0)))
    )
    np.testing.assert_allclose(normal, [2.1293516, 0.063505247, 0.016247315], rtol=1e-6)
    np.testing.assert_allclose(uniform, [0.9777888, 0.043860555, 0.0082050562], rtol=1e-6)
    neighbour = Constant.normal((3,), float32, 6, 1.0).array()
    assert not np.array_equal(neighbour, normal)


@settings(max_examples=100, deadline=None)
@given(st.floats(2**-20, 2**20, width=32))
def test_a_recipe_that_differs_in_the_last_bit_has_another_fingerprint(std):
    other = float(np.nextafter(np.float32(std), np.float32(np.inf)))
    one, same, next_ = (Constant.normal((1,), float32, 7, n).fingerprint for n in (std, std, other))
    assert one == same != next_


def test_every_kind_of_every_family_has_a_reference():
    x = np.array([0.3, 0.6])
    for kind in ops.UNARY:
        workload_numpy.compute(ops.Unary(kind, 0.5, 0.5), [x > 0.5 if kind == "not" else x])
    for kind in ops.BINARY:
        operand = x > 0.5 if kind in ("and", "or", "xor") else x
        workload_numpy.compute(ops.Binary(kind), [operand, operand])
    for kind, keepdims in itertools.product(ops.REDUCE, (True, False)):
        assert workload_numpy.compute(ops.Reduce(kind, (0,), keepdims), [x]).ndim == int(keepdims)
