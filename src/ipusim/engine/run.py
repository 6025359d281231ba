"""Walks a program superstep by superstep: `measure_time` for the cycles, `compute_values` for the results.

A superstep is a barrier, an exchange, copies on the tile, and vertices, one after another and each as long as its
slowest tile.  Control instructions between them have no time of their own: the phases of a stencil profiled on a GC2
sum to its timed total within 2 % (tests/data/measurements.csv, M0084 to M0089).

Both look at the same vertex groups.  Values live once per variable as whole arrays; with `vertices=True` every vertex
is called on its own boxes and its cycles are counted at that call, which is the slow and literal meaning of the
program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine import compute, copies, exchange, memory
from ipusim.engine.exchange import How, Phase
from ipusim.engine.trace import PHASES, StepTrace, Trace
from ipusim.errors import InvalidProgram
from ipusim.hw import cost
from ipusim.hw.spec import ChipSpec
from ipusim.program.graph import ComputeSet, Graph, VertexGroup
from ipusim.program.liveness import lifetimes
from ipusim.program.mapping import I64
from ipusim.program.tensor import Tensor, Variable

Array = NDArray[Any]
Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, slots=True)
class HostTransfers:
    """What the host sends before a run and fetches after it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def measure_time(
    graph: Graph,
    results: Iterable[Tensor],
    chip: ChipSpec,
    program: str,
    how: How = exchange.SCHEDULE,
    host: HostTransfers | None = None,
) -> Trace:
    """Cycles and memory of a program on one IPU.

    `program` is a hash that the trace carries; `how` exchanges are timed: ipusim.engine.exchange.  With `host` a step
    before the first and one after the last move inputs and outputs over the host link and take time of their own;
    without, inputs are on the chip when the run starts and results stay there.
    """
    arrivals = [exchange.phase(cs, chip, how) for cs in graph.compute_sets()]
    steps = tuple(_step(cs, moved, chip) for cs, moved in zip(graph.compute_sets(), arrivals, strict=True))
    found = memory.measure(graph, lifetimes(graph, results), arrivals=arrivals, chip=chip)
    counts = {
        "vertices": graph.vertices,
        "edges": graph.edges,
        "variables": len(graph.variables),
        "compute sets": len(graph.steps),
    }
    if host:
        steps = (_transfer("host/inputs", host.inputs, chip), *steps, _transfer("host/outputs", host.outputs, chip))
        found = replace(found, live=np.concatenate([found.live[:1], found.live, found.live[-1:]]))
    return Trace(chip=chip, program=program, steps=steps, memory=found, counts=counts)


def _transfer(name: str, tensors: Sequence[Tensor], chip: ChipSpec) -> StepTrace:
    """A step in which the host link moves tensors.  Omitted: what starting a transfer costs the host."""
    nbytes = sum(t.elements * t.dtype.bytes for t in tensors)
    none = np.zeros(chip.tiles, np.int64)
    phases = dict.fromkeys(PHASES, 0) | {"host": cost.host_cycles(nbytes, chip.clock_hz)}
    return StepTrace(name, -1, none, none, none, none, none, phases, 0, 0)


def _step(compute_set: ComputeSet, moved: Phase, chip: ChipSpec) -> StepTrace:
    busy, copied = compute.compute_cycles(compute_set, chip), copies.copy_cycles(compute_set, chip)
    return StepTrace(
        name=compute_set.name,
        op=compute_set.op,
        compute=busy,
        copies=copied,
        sent=moved.sent,
        received=moved.received,
        shared=moved.shared,
        phases=dict.fromkeys(PHASES, 0)
        | {
            "compute": int(busy.max()),
            "copy_before": int(copied.max()),
            "exchange": moved.cycles,
            "sync": cost.sync_cycles(chip.sync),
        },
        flops=compute.flops(compute_set),
        vertices=sum(len(g.rows) for g in compute_set.groups),
    )


def initial_values(graph: Graph, given: dict[Variable, Array]) -> dict[Variable, Array]:
    """Arrays of the variables that have a value before the program starts: inputs and weights."""
    values = dict(given)
    for variable in graph.variables:
        if variable.initial is not None and variable not in values:
            values[variable] = variable.initial.array()
    return values


def compute_values(
    graph: Graph,
    values: dict[Variable, Array],
    chip: ChipSpec,
    *,
    vertices: bool = False,
    progress: Progress | None = None,
) -> list[I64]:
    """Runs the program on `values`, adding an array for every variable it writes.

    Returns: for `vertices=True`, per superstep the busy cycles of each tile, summed from the calls; else an empty list.
    Arrays are freed after their last use.
    """
    cycles: list[I64] = []
    last_use = _last_uses(graph)
    keep = set(values)
    for number, compute_set in enumerate(graph.compute_sets()):
        if progress:
            progress(number, len(graph.steps))
        if vertices:
            cycles.append(_each_vertex(compute_set, values, chip))
        else:
            for group in compute_set.groups:
                _whole_group(group, values)
        for variable in last_use.get(number, ()):
            if variable not in keep:
                values.pop(variable, None)
    return cycles


def _last_uses(graph: Graph) -> dict[int, list[Variable]]:
    last: dict[Variable, int] = {}
    for number, compute_set in enumerate(graph.compute_sets()):
        for group in compute_set.groups:
            tensors = [f.tensor for f in group.fields] + list(group.whole.tensors if group.whole else ())
            for tensor in tensors:
                for variable in tensor.variables():
                    last[variable] = number
    found: dict[int, list[Variable]] = {}
    for variable, number in last.items():
        if not variable.keep:
            found.setdefault(number, []).append(variable)
    return found


def _array(tensor: Tensor, values: dict[Variable, Array]) -> Array:
    for variable in tensor.variables():
        if variable not in values:
            values[variable] = np.empty(variable.shape, variable.dtype.numpy)
    return tensor.read(values)


def _whole_group(group: VertexGroup, values: dict[Variable, Array]) -> None:
    if group.deferred:
        return
    if group.whole is not None:
        arrays = [_array(t, values) for t in group.whole.tensors]
        group.whole.function(group.whole.attrs, arrays)
        group.whole.tensors[-1].write_back(arrays[-1], values)
        return
    if group.codelet.batched is None:
        raise InvalidProgram([f"codelet {group.codelet.name!r} has no batched form and its group no whole-op function"])
    arrays = [_array(f.tensor, values) for f in group.fields]
    group.codelet.batched(group.attrs, arrays)
    _store(group, arrays, values)


def _store(group: VertexGroup, arrays: Sequence[Array], values: dict[Variable, Array]) -> None:
    for field, array in zip(group.fields, arrays, strict=True):
        if field.role != "in":
            field.tensor.write_back(array, values)


def _each_vertex(compute_set: ComputeSet, values: dict[Variable, Array], chip: ChipSpec) -> I64:
    """Calls every vertex on its own boxes.  Returns: busy cycles of each tile."""
    measured: list[tuple[VertexGroup, I64]] = []
    for group in compute_set.groups:
        arrays = [_array(f.tensor, values) for f in group.fields]
        cycles = np.zeros(len(group.rows), np.int64)
        for row in range(len(group.rows)):
            sizes = tuple(int(v) for v in group.rows.sizes[row])
            boxes = [
                [array[index] for index in field.boxes.of_vertex(row)]
                for array, field in zip(arrays, group.fields, strict=True)
            ]
            group.codelet.compute(group.attrs, sizes, boxes)
            cycles[row] = group.codelet.cycles(group.attrs, *sizes)
        _store(group, arrays, values)
        measured.append((group, cycles))
    return compute.tile_cycles(measured, chip)
