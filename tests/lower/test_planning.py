"""The search and the convolution planner: exhaustive, within the chip, and true to what the engine counts."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim.dtype import float16, float32
from ipusim.hw.presets import GC2, GC200
from ipusim.lower import search
from ipusim.lower.rules import NoRule, Options, Rules
from ipusim.workload import ops
from ipusim_kernels.conv import geometry
from ipusim_kernels.conv.methods import eligible
from ipusim_kernels.conv.plan import plan
from ipusim_kernels.conv.shape import ConvShape, matmul_shape
from ipusim_kernels.reduce.cycles import conv_reduce_stages

LAYERS = {
    "stem": ConvShape(1, 1, 3, 64, 224, 224, 112, 112, 7, 7, (2, 2), (1, 1), (3, 3)),
    "3x3": ConvShape(1, 1, 64, 64, 56, 56, 56, 56, 3, 3, (1, 1), (1, 1), (1, 1)),
    "1x1": ConvShape(1, 1, 64, 256, 56, 56, 56, 56),
    "groups of 4": ConvShape(1, 32, 4, 4, 56, 56, 56, 56, 3, 3, (1, 1), (1, 1), (1, 1)),
    "depthwise": ConvShape(1, 256, 1, 1, 28, 28, 28, 28, 3, 3, (1, 1), (1, 1), (1, 1)),
    "strided": ConvShape(1, 1, 256, 512, 56, 56, 28, 28, 1, 1, (2, 2)),
    "dense": matmul_shape(1, 1, 2048, 1000),
    "attention": matmul_shape(12, 128, 64, 128),
}


@given(st.integers(1, 300), st.integers(1, 300))
def test_only_splits_that_change_the_largest_part(grains, limit):
    found = search.useful_splits(grains, limit).tolist()
    sizes = [math.ceil(grains / p) for p in found]
    assert len(set(sizes)) == len(sizes)
    assert set(sizes) == {math.ceil(grains / p) for p in range(1, min(grains, limit) + 1)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 40))
def test_candidates_are_all_products_within_the_tiles(grains, limit):
    table = search.candidates(tuple(grains), limit)
    options = [search.useful_splits(g, limit).tolist() for g in grains]
    expected = {c for c in itertools.product(*options) if math.prod(c) <= limit}
    assert {tuple(row) for row in table.tolist()} == expected
    assert len(table) == len(expected)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=30),
    st.integers(1, 50),
)
def test_the_best_is_cheapest_within_the_bound(rows, bound):
    cycles, memory, tiles = (np.array(c, np.int64) for c in zip(*rows, strict=True))
    found = search.best(cycles, memory, tiles, bound)
    inside = [r for r in rows if r[1] <= bound]
    expected = min(inside) if inside else min((m, c, t) for c, m, t in rows)
    chosen = rows[found.index]
    assert found.within == bool(inside)
    assert chosen == (expected if inside else (expected[1], expected[0], expected[2]))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("chip", [GC2, GC200], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", [float16, float32], ids=str)
def test_plans_cover_the_work_once_on_tiles_that_exist(name, chip, dtype):
    shape = LAYERS[name]
    chosen = plan(shape, dtype, chip, Options())
    s = chosen.shape
    step = replace(s, ci=s.ci // chosen.serial_ci, co=s.co // chosen.serial_co)
    geo = geometry.geometry(step, chosen.partition)
    assert geo.rows.tile.max() < chip.tiles
    assert len(set(geo.rows.tile.tolist())) == len(geo.rows.tile)
    macs = geo.rows.sizes[:, :8].astype(np.int64).prod(axis=1).sum()
    assert macs * chosen.serial == s.macs >= shape.macs
    assert s.macs == shape.macs or chosen.transform.padded or chosen.transform.combined > 1
    assert (
        geo.partial_map.size == len(geo.pieces) * step.batch * step.groups * step.co * step.out_height * step.out_width
    )
    assert chosen.temporary <= 0.6 * chip.tile.memory_bytes


def test_methods_fit_the_shape():
    def kinds(name, half=True):
        return {m.kind for m in eligible(LAYERS[name], half, False, GC2)}

    assert kinds("1x1") == {"AMP 1x1", "AMP Nx1", "SLIC", "VMAC", "HMAC"}
    assert kinds("3x3") == {"AMP Nx1", "SLIC", "VMAC", "HMAC"}
    assert kinds("3x3", half=False) == {"AMP Nx1", "HMAC"}
    assert kinds("depthwise", half=False) == {"AMP Nx1", "HMAC"}
    assert "outer product" in {m.kind for m in eligible(matmul_shape(1, 64, 1, 64), True, False, GC2)}


def test_small_groups_take_slic_and_dense_layers_amp():
    def method(name):
        return plan(LAYERS[name], float16, GC2, Options()).method.kind

    assert method("groups of 4") == method("depthwise") == "SLIC"
    assert method("1x1") == "AMP 1x1"
    assert method("3x3") == "AMP Nx1"


@pytest.mark.parametrize(
    ("depth", "left"),
    [(1, ()), (15, ()), (16, (4,)), (24, (5,)), (64, (8,)), (125, (25, 5)), (512, (64, 8)), (1216, (114, 11))],
)
def test_stages_of_reductions(depth, left):
    assert conv_reduce_stages(depth) == left


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_splitting_a_cell_evenly_uses_its_own_tiles(data):
    draw = data.draw
    widths = tuple(draw(st.lists(st.integers(1, 12), min_size=2, max_size=4)))
    parts = draw(st.integers(1, 20))
    factors = geometry.best_factors(widths, parts, 1)
    assert math.prod(factors) <= parts
    assert factors[0] == 1
    largest = math.prod(-(-w // f) for w, f in zip(widths, factors, strict=True))
    every = itertools.product(*(range(1, w + 1) for w in widths[1:]))
    best = min(
        math.prod(-(-w // f) for w, f in zip(widths, (1, *f), strict=True)) for f in every if math.prod(f) <= parts
    )
    assert largest == best


def test_two_rules_for_an_op_are_refused_and_none_is_named():
    rules = Rules()
    rules.add(ops.Unary, lambda *a: [], "mine")
    with pytest.raises(ValueError, match="theirs: Unary already has a lowering rule"):
        rules.add(ops.Unary, lambda *a: [], "theirs")
    with pytest.raises(NoRule, match="node 'act': no kernel lowers Clip"):
        rules.of(ops.Clip(0.0, 1.0), "act")
