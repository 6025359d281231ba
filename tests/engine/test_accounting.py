"""Every figure of a trace, recomputed by plain loops over the vertex columns."""

import math
from collections import defaultdict

import numpy as np
import programs
import pytest

from ipusim.engine.copies import copied_bytes
from ipusim.hw.presets import GC2
from ipusim.program.graph import Rows, VertexGroup
from ipusim_kernels.conv.codelets import ConvAttrs

FARTHEST = 166  # cycles between two tiles: a multicast lands late at the far ones


@pytest.fixture(scope="module", params=sorted(programs.MODELS))
def run(request):
    program = programs.compiled(programs.MODELS[request.param]())
    return program, programs.trace(program)


def owner_tiles(tensor):
    """Tile of every element, by writing each cell of the mapping into an array of the tensor's shape."""
    mapping = tensor.mapping
    out = np.full(tensor.shape, -1, np.int64)
    for cell in np.ndindex(*mapping.tiles.shape):
        box = tuple(slice(c[i], c[i + 1]) for c, i in zip(mapping.cuts, cell, strict=True))
        out[box] = mapping.tiles[cell]
    return out


def element_numbers(tensor):
    """A number per distinct element: broadcast axes repeat it."""
    small = tuple(1 if r else n for n, r in zip(tensor.shape, tensor.mapping.repeats, strict=True))
    return np.broadcast_to(np.arange(math.prod(small)).reshape(small), tensor.shape)


def received_by_loops(compute_set, tiles):
    """Bytes each tile receives: distinct elements of each vertex field box that another tile owns, equal fields once."""
    out = np.zeros(tiles, np.int64)
    read = set()
    for group in compute_set.groups:
        for field in group.fields:
            key = (group.rows, field.boxes, field.tensor.mapping, field.tensor.variables())
            if field.role == "out" or key in read:
                continue
            read.add(key)
            owners, numbers = owner_tiles(field.tensor), element_numbers(field.tensor)
            seen = defaultdict(set)
            for row, tile in enumerate(group.rows.tile.tolist()):
                for box in field.boxes.of_vertex(row):
                    key = (tile, tuple((s.start, s.stop) for s in clamped(box, field.tensor)))
                    remote = numbers[box][owners[box] != tile]
                    seen[key].update(remote.ravel().tolist())
            for (tile, _), elements in seen.items():
                out[tile] += len(elements) * field.tensor.dtype.bytes
    return out


def clamped(box, tensor):
    return [slice(0, 1) if r else s for s, r in zip(box, tensor.mapping.repeats, strict=True)]


def compute_by_loops(compute_set, tiles, workers=6):
    """Busy cycles of each tile: MultiVertices in a row, worker vertices dealt to six contexts."""
    out = [0] * tiles
    contexts = defaultdict(lambda: [0] * workers)
    for group in compute_set.groups:
        for row, tile in enumerate(group.rows.tile.tolist()):
            cycles = group.codelet.cycles(group.attrs, *group.rows.sizes[row].tolist())
            if group.codelet.kind == "multi":
                out[tile] += cycles
            else:
                slots = contexts[tile]
                slots[slots.index(min(slots))] += cycles
    for tile, slots in contexts.items():
        out[tile] += workers * max(slots)
    return np.array(out)


def test_compute_of_a_superstep_is_its_slowest_tile(run):
    program, trace = run
    for compute_set, step in zip(program.graph.compute_sets(), trace.steps, strict=True):
        expected = compute_by_loops(compute_set, GC2.tiles)
        assert np.array_equal(step.compute, expected), compute_set.name
        assert step.phases["compute"] == expected.max()


def test_bytes_received_are_the_elements_that_others_own(run):
    program, trace = run
    moved = 0
    for compute_set, step in zip(program.graph.compute_sets(), trace.steps, strict=True):
        assert np.array_equal(step.received, received_by_loops(compute_set, GC2.tiles)), compute_set.name
        moved += int(step.received.sum())
    assert moved > 0


def test_what_is_received_was_sent_and_a_multicast_counts_once(run):
    _, trace = run
    for step in trace.steps:
        assert (step.sent.sum() > 0) == (step.received.sum() > 0)
        assert step.sent.max(initial=0) <= step.received.sum()
        assert (step.shared <= step.received).all()


def test_phases_sum_to_the_total(run):
    _, trace = run
    assert trace.cycles == sum(sum(step.phases.values()) for step in trace.steps)
    for step in trace.steps:
        assert step.phases["copy_before"] == step.copies.max()


def test_no_plan_uses_a_tile_that_does_not_exist(run):
    program, _ = run
    for compute_set in program.graph.compute_sets():
        for group in compute_set.groups:
            assert group.rows.tile.min() >= 0
            assert group.rows.tile.max() < GC2.tiles
            assert (np.diff(group.rows.tile) >= 0).all()


def test_macs_on_tiles_add_up_to_those_of_the_model(run):
    """To more where a plan pads channels or combines conv groups: such products are with zeros."""
    program, _ = run
    placed = dict.fromkeys(range(len(program.workload.nodes)), 0)
    for compute_set in program.graph.compute_sets():
        for group in compute_set.groups:
            if isinstance(group.attrs, ConvAttrs):
                for batch, groups, co, ci, oh, ow, kh, kw, *_ in group.rows.sizes.tolist():
                    placed[compute_set.op] += batch * groups * co * ci * oh * ow * kh * kw
    exact = 0
    for number, node in enumerate(program.workload.nodes):
        done = program.notes[number].transforms if number in program.notes else ()
        if any(name.startswith(("padding", "combining")) for name in done):
            assert placed[number] > node.macs
        elif placed[number]:
            assert placed[number] == node.macs
            exact += 1
    assert exact > 0


def test_every_output_element_is_written_by_one_vertex_on_its_own_tile(run):
    program, _ = run
    for compute_set in program.graph.compute_sets():
        for group in compute_set.groups:
            for field in group.fields:
                if field.role == "in":
                    continue
                owners = owner_tiles(field.tensor)
                writes = np.zeros(field.tensor.shape, np.int64)
                for row, tile in enumerate(group.rows.tile.tolist()):
                    for box in field.boxes.of_vertex(row):
                        assert (owners[box] == tile).all(), compute_set.name
                        writes[box] += 1
                assert (writes == 1).all(), compute_set.name


def test_exchange_lasts_at_least_as_long_as_its_busiest_tile(run):
    _, trace = run
    exchange = GC2.exchange
    for step in trace.steps:
        if not step.received.any():
            assert step.phases["exchange"] == 0
            continue
        arriving = max(math.ceil((r - s / 2) / 4) for r, s in zip(step.received, step.shared, strict=True))
        leaving = math.ceil(step.sent.max() / 8)
        least = max(exchange.lead_in_cycles + arriving, exchange.least_latency_cycles + leaving)
        assert least <= step.phases["exchange"] < 2 * least + 2 * FARTHEST


def test_nothing_beats_the_chip(run):
    _, trace = run
    for step in trace.steps:
        assert step.flops <= 2 * GC2.tiles * GC2.amp.half_macs_per_cycle * max(step.cycles, 1)
        for received, shared in zip(step.received, step.shared, strict=True):
            width = 8 if shared else 4
            assert received <= width * max(step.phases["exchange"], 0)


def test_some_layers_leave_tiles_idle_and_some_load_them_unequally(run):
    _, trace = run
    used = [int(np.count_nonzero(s.compute)) for s in trace.steps]
    assert min(used) < GC2.tiles
    assert any(len(set((s.compute + s.copies)[s.compute > 0].tolist())) > 1 for s in trace.steps)


def test_memory_holds_variables_while_they_live(run):
    """Bytes of variables at each step, by a loop over first and last use."""
    program, trace = run
    graph = program.graph
    sets = list(graph.compute_sets())
    uses = defaultdict(list)
    for number, compute_set in enumerate(sets):
        for group in compute_set.groups:
            for field in group.fields:
                for variable in field.tensor.variables():
                    uses[variable].append((number, field.role))
    fixed = sum(v for k, v in trace.memory.categories.items() if k not in ("variables", "received data"))
    for number, (compute_set, step) in enumerate(zip(sets, trace.steps, strict=True)):
        held = np.zeros(GC2.tiles, np.int64)
        for variable, found in uses.items():
            first, last = found[0][0], found[-1][0]
            if found[0][1] != "out":
                first = 0
            if variable.keep:
                last = len(sets) - 1
            if not variable.always_live and first <= number <= last:
                np.add.at(held, variable_owner(variable), variable.dtype.bytes)
        held += step.received + copied_bytes(compute_set, GC2.tiles)
        assert np.array_equal(trace.memory.live[number], held + fixed), compute_set.name


def variable_owner(variable):
    from ipusim.program.tensor import Tensor

    return owner_tiles(Tensor.of(variable)).ravel()


def test_moving_one_vertex_changes_two_tiles(run):
    from ipusim.engine.compute import compute_cycles

    program, _ = run
    compute_set = next(cs for cs in program.graph.compute_sets() if len(cs.groups[0].rows) < GC2.tiles)
    group = compute_set.groups[0]
    before = compute_cycles(compute_set, GC2)
    free = int(np.flatnonzero(before == 0)[0])
    moved = group.rows.tile.copy()
    source = int(moved[0])
    moved[0] = free
    order = np.argsort(moved, kind="stable")
    rows = Rows(moved[order], group.rows.sizes[order])
    fields = group.fields
    compute_set.groups[0] = VertexGroup(group.codelet, group.attrs, rows, fields, group.whole, group.deferred)
    after = compute_cycles(compute_set, GC2)
    compute_set.groups[0] = group
    assert sorted(np.flatnonzero(before != after).tolist()) == sorted([source, free])
    assert before.sum() == after.sum()
