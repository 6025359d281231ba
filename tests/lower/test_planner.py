"""The convolution planner: its search against looking at everything, its estimate against the engine, its transforms
and serial splits against numpy."""

import random

import numpy as np
import programs
import pytest

from ipusim.dtype import float16, float32
from ipusim.hw.presets import GC2, GC200
from ipusim.lower.rules import Options
from ipusim.workload.builder import WorkloadBuilder
from ipusim_kernels.conv import cost, plan, rule, serial
from ipusim_kernels.conv.alone import time_alone
from ipusim_kernels.conv.shape import ConvShape, matmul_shape
from ipusim_kernels.elementwise.cycles import BINARY, binary_1d
from ipusim_kernels.gather.cycles import dynamic_slice_1d

#: (shape, whether it is a matmul): a sample of the distinct layers of ResNet-50, ResNeXt-101 and BERT-base.
LAYERS = {
    "resnet 1x1": (ConvShape(1, 1, 64, 64, 56, 56, 56, 56), False),
    "resnet 3x3": (ConvShape(1, 1, 64, 64, 56, 56, 56, 56, 3, 3, (1, 1), (1, 1), (1, 1)), False),
    "resnet 1x1 wide": (ConvShape(1, 1, 256, 128, 56, 56, 56, 56), False),
    "resnet 1x1 strided": (ConvShape(1, 1, 256, 512, 56, 56, 28, 28, 1, 1, (2, 2)), False),
    "resnet last": (ConvShape(1, 1, 512, 2048, 7, 7, 7, 7), False),
    "resnext group 4": (ConvShape(1, 32, 4, 4, 56, 56, 56, 56, 3, 3, (1, 1), (1, 1), (1, 1)), False),
    "resnext group 8": (ConvShape(1, 32, 8, 8, 28, 28, 28, 28, 3, 3, (1, 1), (1, 1), (1, 1)), False),
    "bert dense": (matmul_shape(1, 128, 768, 768), True),
    "bert scores": (matmul_shape(12, 128, 64, 128), True),
}
MORE = {
    "resnet stem": (ConvShape(1, 1, 3, 64, 224, 224, 112, 112, 7, 7, (2, 2), (1, 1), (3, 3)), False),
    "resnet 3x3 deep": (ConvShape(1, 1, 256, 256, 14, 14, 14, 14, 3, 3, (1, 1), (1, 1), (1, 1)), False),
    "resnet 3x3 strided": (ConvShape(1, 1, 128, 128, 56, 56, 28, 28, 3, 3, (2, 2), (1, 1), (1, 1)), False),
    "resnext group 16": (ConvShape(1, 32, 16, 16, 14, 14, 14, 14, 3, 3, (1, 1), (1, 1), (1, 1)), False),
    "bert feed": (matmul_shape(1, 128, 3072, 768), True),
}


def chosen_for(shape, matmul=False, chip=GC2, dtype=float16, **options):
    return plan.plan(shape, dtype, chip, Options(**options), stored=(0, 0), matmul=matmul)


def cycles_alone(chosen, chip=GC2):
    return sum(step.cycles for step in time_alone(chosen, chip).steps)


@pytest.mark.parametrize("name", LAYERS)
def test_items_add_up_and_the_runner_up_is_another_method(name):
    chosen = chosen_for(*LAYERS[name])
    second = plan.runner_up(chosen, GC2)
    note = chosen.note(second.note())
    assert sum(cycles for _, cycles in note.items) == note.estimate > 0
    assert {n for n, _ in note.items} <= set(cost.ITEMS)
    assert note.runner_up.method != note.method
    assert note.runner_up.estimate >= note.estimate
    assert note.temporary == chosen.temporary > 0


@pytest.mark.parametrize("name", LAYERS)
def test_the_engine_agrees_with_the_plan(name):
    chosen = chosen_for(*LAYERS[name])
    assert cycles_alone(chosen) == pytest.approx(chosen.estimate, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_the_engine_agrees_with_the_plan_on_more_layers(name):
    chosen = chosen_for(*MORE[name])
    assert cycles_alone(chosen) == pytest.approx(chosen.estimate, rel=0.05)


def _nothing_is_faster(shape, matmul, best, drawn):
    chosen = chosen_for(shape, matmul)
    bound = cycles_alone(chosen) / 1.03
    rivals = plan.ranked(chosen, GC2, best) + plan.ranked(chosen, GC2, 0, others=drawn, seed=1)
    assert len(rivals) == best + drawn
    assert min(cycles_alone(rival) for rival in rivals) >= bound


def test_no_other_plan_is_faster_in_the_engine():
    _nothing_is_faster(*LAYERS["resnet 1x1"], 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS | MORE)
def test_none_of_a_hundred_other_plans_is_faster_in_the_engine(name):
    _nothing_is_faster(*(LAYERS | MORE)[name], 50, 50)


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_what_looking_at_everything_finds(seed):
    rng = random.Random(seed)
    kernel, stride = rng.choice((1, 2, 3)), rng.choice((1, 2))
    h, w = rng.randint(kernel, 9), rng.randint(kernel, 9)
    out = (h - kernel) // stride + 1, (w - kernel) // stride + 1
    channels = rng.choice((1, 4, 20)), rng.choice((1, 4, 24))
    shape = ConvShape(2, rng.choice((1, 4)), *channels, h, w, *out, kernel, kernel, (stride, stride))
    chip = rng.choice((GC2, GC200)).with_fields({"tiles": 24})
    wanted = plan._request(shape, float16, Options(rng.choice((float16, float32))), (1, 0), False)
    rows = np.empty((200_000, 12), np.int64)
    checked = 0
    for candidate in plan._candidates(wanted, chip):
        for bound, in_series in ((int(cost.NEVER), False), (1500, True)):
            kept, best = plan._search(candidate, chip, bound, serial=in_series)
            count, _ = plan._search(candidate, chip, int(cost.NEVER), serial=in_series, rows=rows)
            assert count <= len(rows)
            inside = [tuple(row) for row in rows[:count, :3].tolist() if row[1] <= bound]
            assert bool(inside) == bool(kept)
            if inside:
                assert tuple(best[:3].tolist()) == min(inside)
                checked += 1
    assert checked > 5


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_never_more_than_there_is_and_items_never_less_than_nothing(seed):
    rng = random.Random(seed)
    for _ in range(200):
        elements, group, users = rng.randint(1, 300), rng.randint(1, 24), rng.randint(1, 20)
        least, most = cost.own_share(elements, group, users, 64)
        assert 0 <= least <= most <= elements <= most * users
    shape = ConvShape(3, 3, 24, 1, 12, 7, 18, 4, 1, 1, (1, 3), (1, 1), (3, 3))
    for candidate in plan.ranked(chosen_for(shape, chip=GC200), GC200, 0, others=40, seed=seed):
        assert min(cycles for _, cycles in candidate.items) > 0


def test_weights_whose_kernel_is_made_channels_are_received_tap_by_tap():
    """Shares of 32 channels over taps of 24: a box around both taps would hold up to 336."""
    shape = ConvShape(1, 1, 24, 33, 7, 11, 1, 9, 3, 7, (3, 1), (3, 1), (0, 3))
    chip = GC2.with_fields({"tiles": 33})
    chosen = plan.plan(shape, float32, chip, Options(), stored=(1, 1))
    assert chosen.transform.taps
    assert chosen.splits()["ci"] > 1
    assert cycles_alone(chosen, chip) == pytest.approx(chosen.estimate, rel=0.1)


def test_the_operands_of_a_batched_product_lie_where_its_plan_wants_them():
    b = WorkloadBuilder("scores")
    y = b.matmul(b.input("q", (2, 6, 64, 32)), b.input("k", (2, 6, 32, 64)))
    program = programs.compiled(b.build({"y": y}))
    note = program.notes[0]
    assert not any("rearranging" in done for done in note.transforms)
    assert sum(step.cycles for step in programs.trace(program).steps) == pytest.approx(note.estimate, rel=0.05)


# -- values ------------------------------------------------------------------------------------------------------------


def _conv(shape, w):
    b = WorkloadBuilder("layer")
    x = b.input("x", (shape.batch, shape.groups * shape.ci, shape.height, shape.width))
    y = b.conv(x, w, stride=shape.stride, padding=shape.pad[0], groups=shape.groups, name="layer")
    return b.build({"y": y})


def _reference(x, w, shape):
    pad = shape.pad[0]
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    x = x.reshape(shape.batch, shape.groups, shape.ci, *x.shape[2:])
    w = w.astype(np.float64).reshape(shape.groups, shape.co, *w.shape[1:])
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[3:], axis=(3, 4))
    windows = windows[:, :, :, :: shape.stride[0], :: shape.stride[1]]
    return np.einsum("ngcyxkl,gockl->ngoyx", windows, w).reshape(shape.batch, -1, shape.out_height, shape.out_width)


def _check_values(monkeypatch, shape, choose, chip):
    rng = np.random.default_rng(5)
    w = rng.normal(size=(shape.groups * shape.co, shape.ci, shape.kernel_height, shape.kernel_width)).astype(np.float16)
    x = rng.normal(size=(shape.batch, shape.groups * shape.ci, shape.height, shape.width)).astype(np.float16)
    found = []

    def chosen(shape, dtype, chip, options, **more):
        found.append(choose(plan._request(shape, dtype, options, more["stored"], more.get("matmul", False)), chip))
        return found[-1]

    monkeypatch.setattr(rule, "plan", chosen)
    program = programs.compiled(_conv(shape, w), chip=chip)
    expected = _reference(x, w, shape)
    for vertices in (False, True):
        made = programs.values(program, {"x": x}, vertices=vertices, chip=chip)[0]["y"]
        np.testing.assert_allclose(made.astype(np.float64), expected, rtol=0.01, atol=0.02)
    return program, found[0]


SMALL = ConvShape(2, 1, 3, 20, 9, 9, 5, 5, 3, 3, (2, 2), (1, 1), (1, 1))
DEPTHWISE = ConvShape(1, 6, 1, 1, 8, 8, 8, 8, 3, 3, (1, 1), (1, 1), (1, 1))
FORMS = {
    "rows": ((True, False), 1, False, SMALL),
    "columns": ((False, True), 1, False, SMALL),
    "both": ((True, True), 1, False, SMALL),
    "both swapped": ((True, True), 1, True, SMALL),
    "plain": ((False, False), 1, False, SMALL),
    "product": ((False, False), 1, False, ConvShape(2, 1, 20, 12, 5, 5, 5, 5)),
    "product swapped": ((False, False), 1, True, ConvShape(2, 1, 20, 12, 5, 5, 5, 5)),
    "combined": ((False, False), 4, False, DEPTHWISE),
    "combined rows": ((True, False), 4, False, DEPTHWISE),
    "combined columns": ((False, True), 4, False, DEPTHWISE),
    "combined both": ((True, True), 4, False, DEPTHWISE),
    "combined both swapped": ((True, True), 4, True, DEPTHWISE),
}


@pytest.mark.parametrize("form", FORMS)
def test_transforms_give_the_same_values(monkeypatch, form):
    expanded, combined, swapped, shape = FORMS[form]
    chip = GC2.with_fields({"tiles": 40})

    def choose(wanted, chip):
        for candidate in plan._matrix(wanted, chip):
            t = candidate.transform
            if (t.expanded, t.combined, t.swapped) == (expanded, combined, swapped) and "AMP" in candidate.method.kind:
                row = plan._search(candidate, chip, int(cost.NEVER))[1]
                return plan._made(wanted, candidate, row, chip, 10**9, 10**9)
        raise AssertionError("no such transform")

    program, chosen = _check_values(monkeypatch, shape, choose, chip)
    assert set(chosen.transform.names(shape)) <= set(program.notes[0].transforms)


@pytest.mark.parametrize("series", ["serial ci", "serial co"])
def test_serial_splits_give_the_same_values_and_are_supersteps(monkeypatch, series):
    shape = ConvShape(1, 1, 64, 64, 6, 6, 6, 6, 3, 3, (1, 1), (1, 1), (1, 1))
    chip = GC2.with_fields({"tiles": 16})

    def choose(wanted, chip):
        rows = np.empty((100_000, 12), np.int64)
        candidate = next(c for c in plan._matrix(wanted, chip) if c.method.kind == "AMP Nx1" and not c.transform.taps)
        count = plan._search(candidate, chip, int(cost.NEVER), serial=True, rows=rows)[0]
        column = 3 + cost.AXES.index(series)
        row = next(r for r in rows[:count] if r[column] == 4)
        return plan._made(wanted, candidate, row, chip, 10**9, 10**9)

    program, chosen = _check_values(monkeypatch, shape, choose, chip)
    assert chosen.splits()[series] == 4
    names = [step.name for step in program.graph.compute_sets()]
    last = "add" if series == "serial ci" else "update"
    for number in range(4):
        assert f"layer/step{number}/slice" in names
        assert (f"layer/step{number}/{last}" in names) == (series == "serial co" or number > 0)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_lower_proportion_takes_less_memory_and_more_time():
    shape = ConvShape(4, 1, 256, 256, 28, 28, 28, 28, 3, 3, (1, 1), (1, 1), (1, 1))
    plans = [chosen_for(shape, memory_proportion=p) for p in (0.95, 0.4, 0.1, 0.05)]
    assert all(p.within for p in plans)
    assert [p.temporary for p in plans] == sorted((p.temporary for p in plans), reverse=True)
    assert [p.estimate for p in plans] == sorted(p.estimate for p in plans)
    assert plans[-1].serial > 1
    assert plans[-1].estimate > plans[0].estimate
    none = chosen_for(shape, memory_proportion=0.001)
    assert not none.within
    assert none.allowed < none.temporary


def test_the_code_of_a_serial_loop_is_held_once():
    b = WorkloadBuilder("dense")
    w = np.zeros((512, 512), np.float16)
    made = b.build({"y": b.matmul(b.input("x", (512, 512)), w, name="dense")})
    chip = GC2.with_fields({"tiles": 64})
    held = []
    for proportion in (0.2, 0.05):
        program = programs.compiled(made, chip=chip, memory_proportion=proportion)
        steps = [cs for cs in program.graph.compute_sets() if not cs.again]
        rounds = max(1, sum(cs.name.endswith("/convolve") for cs in program.graph.compute_sets()))
        memory = programs.trace(program, chip).memory
        held.append((rounds, len(steps), memory.categories["control code"][0], int(memory.peak.max())))
    assert 1 < held[0][0] < held[1][0]
    assert held[0][1:3] == held[1][1:3]
    assert held[0][3] > held[1][3]


def test_slices_and_additions_take_what_their_vertices_take():
    for half in (False, True):
        for n in (1, 5, 24, 1000):
            for mk1 in (False, True):
                assert serial.slice_cycles(n, half, mk1) == dynamic_slice_1d(n, 1, half, mk1)
            assert serial.add_in_place_cycles(n, half) == binary_1d(BINARY["add"][half], n, not half, True)
