"""Walks a program superstep by superstep: `measure_time` for the cycles, `compute_values` for the results.

A superstep is a barrier, an exchange, copies on the tile, and vertices, one after another and each as long as its
slowest tile.  Control instructions between them have no time of their own: the phases of a stencil profiled on a GC2
sum to its timed total within 2 % (tests/data/measurements.csv, M0084 to M0089).

Both look at the same vertex groups.  Values live once per variable as whole arrays; with `vertices=True` every vertex
is called on its own boxes and its cycles are counted at that call, which is the slow and literal meaning of the
program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine import compute, copies, exchange, memory, moves
from ipusim.engine.exchange import How, Phase
from ipusim.engine.trace import PHASES, StepTrace, Trace
from ipusim.errors import InvalidProgram
from ipusim.hw import cost
from ipusim.hw.spec import ChipSpec
from ipusim.program.graph import ComputeSet, Execute, Graph, Loop, VertexGroup, WholeOp
from ipusim.program.groups import Rounds
from ipusim.program.liveness import lifetimes
from ipusim.program.mapping import I64
from ipusim.program.tensor import Replicated, Tensor, Variable

Array = NDArray[Any]
Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Ran:
    """What the values of a run showed.

    `cycles`: where every vertex was called on its own, per superstep the busy cycles of each tile in all its runs,
    (tiles,) int64, summed from the calls; else empty.  `runs`: of each compute set, (compute sets,) int64.
    """

    cycles: list[I64]
    runs: I64


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
        "compute sets": len(graph.sets),
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
    busy = compute.compute_cycles(compute_set, chip)
    here, landed = moves.move_cycles(compute_set, chip)
    copied = copies.copy_cycles(compute_set, chip) + here
    times = compute_set.repeats
    cycles = {
        "compute": int(busy.max()),
        "copy_before": int(copied.max()),
        "copy_after": int(landed.max()),
        "exchange": moved.cycles,
        "sync": cost.sync_cycles(chip.sync),
    }
    return StepTrace(
        name=compute_set.name,
        op=compute_set.op,
        compute=times * busy,
        copies=times * (copied + landed),
        sent=times * moved.sent,
        received=times * moved.received,
        shared=times * moved.shared,
        phases=dict.fromkeys(PHASES, 0) | {name: times * n for name, n in cycles.items()},
        flops=times * compute.flops(compute_set),
        vertices=sum(len(g.rows) for g in compute_set.groups),
        repeats=times,
    )


def initial_values(graph: Graph, given: dict[Variable, Array], replica: int = 0) -> dict[Variable, Array]:
    """Arrays of the variables that have a value before the program starts on a replica: inputs and weights."""
    values = dict(given)
    for variable in graph.variables:
        if variable.initial is not None and variable not in values:
            known = variable.initial
            first = known.of_replica(replica) if isinstance(known, Replicated) else known.array()
            values[variable] = first if variable.always_live else first.copy()
    return values


def compute_values(
    graph: Graph,
    values: dict[Variable, Array],
    chip: ChipSpec,
    *,
    vertices: bool = False,
    progress: Progress | None = None,
) -> Ran:
    """Runs the program on `values`, adding an array for every variable it writes.

    Arrays are freed after their last use.
    """
    work = _Run(graph, values, chip, vertices, progress)
    work.steps(graph.steps)
    return Ran(work.cycles, work.runs)


def as_ran(trace: Trace, runs: I64) -> Trace:
    """A trace whose loops that end on a condition took the runs that values gave them, not as many as they may.

    `runs`: of each compute set, (compute sets,).
    """
    moved = (len(trace.steps) - len(runs)) // 2  # transfers from and to the host
    counts = np.pad(runs, moved, constant_values=1).tolist()
    return replace(trace, steps=tuple(_as_often(s, n) for s, n in zip(trace.steps, counts, strict=True)))


def _as_often(step: StepTrace, runs: int) -> StepTrace:
    def all_runs(total: Any) -> Any:
        return total // step.repeats * runs

    arrays = {name: all_runs(getattr(step, name)) for name in ("compute", "copies", "sent", "received", "shared")}
    phases = {name: all_runs(cycles) for name, cycles in step.phases.items()}
    return replace(step, **arrays, phases=phases, flops=all_runs(step.flops), repeats=runs)


class _Run:
    """A program on its way: values so far, and with `vertices` the cycles of each compute set."""

    def __init__(
        self, graph: Graph, values: dict[Variable, Array], chip: ChipSpec, vertices: bool, progress: Progress | None
    ) -> None:
        self.graph, self.values, self.chip, self.vertices, self.progress = graph, values, chip, vertices, progress
        self.cycles: list[I64] = [np.zeros(chip.tiles, np.int64) for _ in graph.sets] if vertices else []
        self.runs: I64 = np.zeros(len(graph.sets), np.int64)
        self._number = {id(compute_set): number for number, compute_set in enumerate(graph.sets)}
        self._last = _last_uses(graph)
        self._kept = set(values)

    def steps(self, steps: Sequence[Execute | Loop], looped: bool = False) -> None:
        """Runs steps in order; inside a loop nothing is freed."""
        for step in steps:
            if isinstance(step, Loop):
                self._loop(step)
                done = self.graph.sets[step.first : step.first + _size(step)]
            else:
                self._execute(step.compute_set)
                done = [step.compute_set]
            if not looped:
                self._free(done)

    def _execute(self, compute_set: ComputeSet) -> None:
        number = self._number[id(compute_set)]
        self.runs[number] += 1
        if self.progress:
            self.progress(number, len(self.graph.sets))
        if self.vertices:
            self.cycles[number] += _each_vertex(compute_set, self.values, self.chip)
        else:
            for group in compute_set.groups:
                _whole_group(group, self.values)

    def _loop(self, loop: Loop) -> None:
        if loop.whole and not self.vertices:
            rounds = [pair for whole in loop.whole for pair in _whole_op(whole, self.values)]
            self._count([loop], 1, rounds)
        else:
            for _ in range(loop.count):
                if not self._once(loop):
                    break

    def _count(self, steps: Sequence[Execute | Loop], times: int, rounds: list[Rounds]) -> None:
        """Counts `times` runs of steps that a function made as a whole; takes what `rounds` says of loops in them."""
        for step in steps:
            if isinstance(step, Execute):
                self.runs[self._number[id(step.compute_set)]] += times
                continue
            done, now = 0, times * step.count
            for place, _ in step.tests:
                before = step.steps[done:place]
                asked, held = rounds.pop(sum(len(loop.tests) for loop in _loops(before)))
                self._count(before, asked, rounds)
                done, now = place, held
            self._count(step.steps[done:], now, rounds)

    def _once(self, loop: Loop) -> bool:
        """One run of a loop; False where one of its tests ended it."""
        done = 0
        for place, predicate in loop.tests:
            self.steps(loop.steps[done:place], looped=True)
            done = place
            if not predicate.read(self.values).reshape(-1)[0]:
                return False
        self.steps(loop.steps[done:], looped=True)
        return True

    def _free(self, done: Sequence[ComputeSet]) -> None:
        for compute_set in done:
            for variable in self._last.get(self._number[id(compute_set)], ()):
                if variable not in self._kept:
                    self.values.pop(variable, None)


def _size(loop: Loop) -> int:
    """Compute sets in a loop."""
    return sum(_size(step) if isinstance(step, Loop) else 1 for step in loop.steps)


def _last_uses(graph: Graph) -> dict[int, list[Variable]]:
    last: dict[Variable, int] = {}
    for number, compute_set in enumerate(graph.compute_sets()):
        for group in compute_set.groups:
            tensors = [f.tensor for f in group.fields] + list(group.whole.tensors if group.whole else ())
            last.update((variable, number) for tensor in tensors for variable in tensor.variables())
        if compute_set.told is not None:
            last.update((variable, number) for variable in compute_set.told.variables())
    for loop in _loops(graph.steps):
        for whole in loop.whole:
            for tensor in whole.tensors:
                for variable in tensor.variables():
                    last[variable] = max(last.get(variable, 0), loop.first + _size(loop) - 1)
    found: dict[int, list[Variable]] = {}
    for variable, number in last.items():
        if not variable.keep:
            found.setdefault(number, []).append(variable)
    return found


def _loops(steps: Sequence[Execute | Loop]) -> Iterator[Loop]:
    """All loops, also those inside loops."""
    for step in steps:
        if isinstance(step, Loop):
            yield step
            yield from _loops(step.steps)


def _array(tensor: Tensor, values: dict[Variable, Array]) -> Array:
    for variable in tensor.variables():
        if variable not in values:
            values[variable] = np.empty(variable.shape, variable.dtype.numpy)
    return tensor.read(values)


def _whole_group(group: VertexGroup, values: dict[Variable, Array]) -> None:
    if group.deferred:
        return
    if group.whole is not None:
        _whole_op(group.whole, values)
        return
    if group.codelet.batched is None:
        raise InvalidProgram([f"codelet {group.codelet.name!r} has no batched form and its group no whole-op function"])
    arrays = [_array(f.tensor, values) for f in group.fields]
    group.codelet.batched(group.attrs, arrays)
    _store(group, arrays, values)


def _whole_op(whole: WholeOp, values: dict[Variable, Array]) -> Sequence[Rounds]:
    arrays = [_array(t, values) for t in whole.tensors]
    rounds = whole.function(whole.attrs, arrays)
    for tensor, array in zip(whole.tensors[-whole.outputs :], arrays[-whole.outputs :], strict=True):
        tensor.write_back(array, values)
    return rounds or ()


def _store(group: VertexGroup, arrays: Sequence[Array], values: dict[Variable, Array]) -> None:
    for field, array in zip(group.fields, arrays, strict=True):
        if field.role != "in":
            field.tensor.write_back(array, values)


def _view(array: Array, index: tuple[slice, ...]) -> Array:
    """A box of an array to read and write, also of one without axes."""
    where: Any = (*index, ...)
    return np.asarray(array[where])


def _each_vertex(compute_set: ComputeSet, values: dict[Variable, Array], chip: ChipSpec) -> I64:
    """Calls every vertex on its own boxes.  Returns: busy cycles of each tile."""
    measured: list[tuple[VertexGroup, I64]] = []
    for group in compute_set.groups:
        arrays = [_array(f.tensor, values) for f in group.fields]
        cycles = np.zeros(len(group.rows), np.int64)
        for row in range(len(group.rows)):
            sizes = tuple(int(v) for v in group.rows.sizes[row])
            boxes = [
                [_view(array, index) for index in field.boxes.of_vertex(row)]
                for array, field in zip(arrays, group.fields, strict=True)
            ]
            group.codelet.compute(group.attrs, sizes, boxes)
            cycles[row] = group.codelet.cycles(group.attrs, *sizes)
        _store(group, arrays, values)
        measured.append((group, cycles))
    return compute.tile_cycles(measured, chip)
