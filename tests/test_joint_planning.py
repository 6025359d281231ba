"""Matmuls planned together with their training passes: constraints of the joint plan and when it is taken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipusim
from ipusim.dtype import float16, float32
from ipusim.errors import BadInput
from ipusim.hw.presets import BOW, GC2
from ipusim.lower.rules import Options
from ipusim.units import ceil_div
from ipusim.workload.builder import WorkloadBuilder
from ipusim_kernels.conv import joint, rule
from ipusim_kernels.conv.alone import time_alone
from ipusim_kernels.conv.joint import plan_joint
from ipusim_kernels.conv.plan import plan
from ipusim_kernels.conv.shape import matmul_shape

CASES = [
    (GC2, float16, (1, 16, 4096, 4096)),
    (GC2, float32, (1, 16, 2048, 1024)),
    (BOW, float16, (1, 32, 1024, 1024)),
    (BOW, float16, (1, 256, 768, 3072)),
    (BOW, float32, (1, 8, 1, 64)),
    (GC2, float16, (12, 128, 64, 128)),
]
NAMES = [f"{chip.name} {dtype} {sizes}" for chip, dtype, sizes in CASES]


def together(sizes, dtype, chip, **options):
    """The joint plan, whether or not the separate ones are cheaper."""
    o = Options(partials=dtype, **options)
    half = dtype == float16
    return joint._joint(joint._Work(sizes, half, half, (0, 0), o.memory_proportion), chip)


def ways(p):
    q = p.partition
    return q.groups, q.ci, q.ky, q.co, q.batch, q.oy, q.ox


@pytest.mark.parametrize(("chip", "dtype", "sizes"), CASES, ids=NAMES)
def test_the_three_passes_keep_the_weights_where_they_are(chip, dtype, sizes):
    found = together(sizes, dtype, chip)
    forward, backward, update = found.plans
    groups, ci, _, co, *_, ox = ways(forward)
    assert co == 1
    assert forward.serial_ci == 1
    assert ways(backward) == (groups, ox, 1, 1, 1, 1, ci)
    assert ways(update) == (groups, 1, 1, ci, 1, 1, ox)
    assert (backward.serial_ci, backward.serial_co) == (1, forward.serial_co)
    assert (update.serial_ci, update.serial_co) == (forward.serial_co, 1)
    for p in found.plans:
        assert p.transform.swapped
        assert p.method.kind != "SLIC"
        assert np.prod(ways(p)) <= chip.tiles
    grain = forward.method.in_group
    _, _, k, n = sizes
    for size, split in ((k, ci), (n, ox)):
        assert split == 1 or ceil_div(size, split) % grain == 0


@pytest.mark.parametrize(("chip", "dtype", "sizes"), CASES, ids=NAMES)
def test_cost_is_the_sum_and_memory_the_largest(chip, dtype, sizes):
    found = plan_joint(sizes, dtype, chip, Options(partials=dtype))
    assert found.estimate == sum(p.estimate for p in found.plans)
    assert found.temporary == max(p.temporary for p in found.plans)
    for p in found.plans:
        assert p.estimate == sum(cycles for _, cycles in p.items)
    allowed = int(0.6 * chip.tile.memory_bytes)
    assert found.other is not None
    assert found.estimate <= found.other or found.temporary <= allowed


@pytest.mark.parametrize(("chip", "dtype", "sizes"), CASES[:4], ids=NAMES[:4])
def test_a_joint_plan_is_no_better_in_any_pass_than_the_best_for_that_pass(chip, dtype, sizes):
    found = together(sizes, dtype, chip)
    groups, m, k, n = sizes
    alone = plan(matmul_shape(groups, m, k, n), dtype, chip, Options(partials=dtype), stored=(0, 0), matmul=True)
    assert found.forward.estimate >= alone.estimate


@pytest.mark.parametrize(("chip", "dtype", "sizes"), CASES[:4], ids=NAMES[:4])
def test_the_engine_agrees_with_each_pass(chip, dtype, sizes):
    for p in together(sizes, dtype, chip).plans:
        counted = sum(step.cycles for step in time_alone(p, chip).steps)
        assert counted == pytest.approx(p.estimate, rel=0.05)


def test_large_weights_and_few_samples_are_planned_jointly_and_square_products_apart():
    assert plan_joint((1, 16, 4096, 4096), float16, BOW, Options(partials=float16)).joint
    assert not plan_joint((1, 1024, 1024, 1024), float16, BOW, Options(partials=float16)).joint


def test_apart_the_backward_pass_rearranges_the_weights_and_the_update_its_result():
    sizes = (1, 16, 4096, 4096)
    half = joint._Work(sizes, True, True, (0, 0), 0.6)
    apart = joint.planned_apart(half.requests(False), GC2)
    both = together(sizes, float16, GC2)
    assert dict(apart.update.items)[joint.RESULT] > 0
    assert joint.RESULT not in dict(both.update.items)
    assert "rearrange operands" in dict(apart.backward.items)
    assert "rearrange operands" not in dict(both.backward.items)
    assert apart.estimate > both.estimate


def test_methods_change_as_the_passes_do():
    requests = joint._Work((1, 1, 1, 64), False, False, (0, 0), 0.6).requests(True)
    shape = joint.SWAPPED.apply(requests[0].shape)
    outer = next(m for m in joint.matrix_methods(shape, False, False, BOW) if m.kind == "outer product")
    assert [m.kind for m in joint.mirrored(outer, requests, BOW)] == ["outer product", "HMAC", "outer product"]
    amp = next(m for m in joint.matrix_methods(shape, True, True, GC2) if m.kind == "AMP 1x1" and m.out_group == 16)
    _, backward, update = joint.mirrored(amp, requests, GC2)
    assert backward == amp
    assert (update.in_group, update.out_group) == (amp.out_group, amp.in_group)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 64), st.integers(1, 40), st.integers(1, 40), st.sampled_from([float16, float32]))
def test_any_product_can_be_planned_for_training(m, k, n, dtype):
    found = plan_joint((1, m, 8 * k, 8 * n), dtype, GC2, Options(partials=dtype))
    assert len(found.plans) == 3
    assert found.estimate > 0


def product(m, k, n):
    b = WorkloadBuilder("product")
    return b.build({"y": b.matmul(b.input("x", (m, k)), b.input("w", (k, n)), name="product")})


@pytest.mark.parametrize(("sizes", "joint_wins"), [((16, 1024, 1024), True), ((16, 256, 512), False)])
def test_simulate_plans_for_training_and_the_values_stay_the_same(sizes, joint_wins):
    m, k, n = sizes
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(m, k)), "w": rng.normal(size=(k, n))}
    found = {
        kind: ipusim.simulate(product(*sizes), arrays, precision="float32", matmul_pass=kind, execute=True)
        for kind in ("inference", "training")
    }
    expected = plan_joint((1, *sizes), float32, GC2, Options())
    assert expected.joint == joint_wins
    assert dict(found["training"].ops[0].splits) == expected.forward.splits()
    assert found["training"].cycles >= found["inference"].cycles
    for kind, wanted in (("training", joint_wins), ("inference", False)):
        (note,) = found[kind].profile.plans
        assert (rule.JOINT[0] in note.transforms) == wanted
    product_values = arrays["x"].astype(np.float32) @ arrays["w"].astype(np.float32)
    np.testing.assert_allclose(found["training"].outputs["y"], product_values, rtol=1e-4, atol=1e-3)


def test_unknown_passes_are_refused():
    with pytest.raises(BadInput, match="matmul_pass must be inference or training, not backwards"):
        ipusim.simulate(product(2, 8, 8), matmul_pass="backwards")


def test_less_memory_is_never_faster():
    proportions = (0.95, 0.6, 0.3, 0.1, 0.05, 0.02)
    plans = [plan_joint((1, 1024, 1024, 1024), float16, GC2, Options(memory_proportion=p)) for p in proportions]
    assert [p.estimate for p in plans] == sorted(p.estimate for p in plans)
    assert plans[0].estimate < plans[-1].estimate
