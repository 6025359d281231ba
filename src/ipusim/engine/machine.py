"""A loaded tile program: runs it on the arrays of its variables and keeps count of what it did.

What depends on nothing but the program (exchange schedules, copies, memory) is worked out when it is loaded; cycles of
vertices are counted as they run (see ipusim.engine.drive).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine import drive
from ipusim.engine.flow import Condition, Flow, Site, flatten
from ipusim.engine.leaves import Wired, find_leaves, predicates
from ipusim.engine.loaded import Storage
from ipusim.engine.tables import build_tables
from ipusim.engine.times import build_times
from ipusim.engine.timing import check_timing_only, timed_tables
from ipusim.errors import Aborted, BadInput, CodeletError
from ipusim.hw import cost
from ipusim.hw.spec import SystemSpec
from ipusim.program import elements
from ipusim.program.control import AbortOnCondition, Program
from ipusim.program.graph import Graph
from ipusim.program.mapping import I64
from ipusim.program.painting import Intervals
from ipusim.program.placing import intervals_of
from ipusim.program.tensor import Tensor

Array = NDArray[Any]
MANY_RUNS = 1000  # of a view: writing them one by one takes longer than writing by element
SLICE_SECONDS = 0.05  # of running between two looks for Ctrl-C


@final
class Machine:
    """A program in memory; with `timing_only`, its cycles alone (see ipusim.engine.timing)."""

    def __init__(
        self,
        graph: Graph,
        programs: Sequence[Program],
        device: SystemSpec,
        wired: Wired,
        *,
        timing_only: bool = False,
    ) -> None:
        self.graph, self.device, self.timing_only = graph, device, timing_only
        self.storage = Storage(() if timing_only else graph.variables)
        self.flow: Flow = flatten(list(programs))
        self.where: dict[int, Intervals] = {v.number: intervals_of(v) for v in graph.variables}
        self.leaves, self.site_leaf = find_leaves(self.flow, graph, wired, self.where, device)
        self.conditions = predicates(self.flow, self.where, device)
        if timing_only:
            check_timing_only(self.flow, self.leaves)
            self.tables = timed_tables(self.leaves, device.chip.generation)
        else:
            self.tables = build_tables(self.leaves, self.storage, device.chip.generation)
        self.times = build_times(self.leaves, self.tables, device)
        if timing_only:
            self.times.weight[:], self.times.patience[:] = 1, 1
        self._turn = 0
        self.reset()
        for tensor, values in graph.initial if not timing_only else ():
            self.write(tensor, values)

    # -- running -------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forgets counts of earlier runs; values stay."""
        sites = max(1, len(self.flow.sites))
        self.site_count = np.zeros(sites, np.int64)
        self.site_phases = np.zeros((sites, 3), np.int64)
        dynamic = [
            i
            for i in range(len(self.flow.sites))
            if self.site_leaf[i] >= 0 and self.times.state[self.site_leaf[i]] == drive.TIMED_EACH_TIME
        ]
        self.site_row = np.full(sites, -1, np.int64)
        self.site_row[dynamic] = np.arange(len(dynamic))
        self.site_busy = np.zeros((max(1, len(dynamic)), self.device.num_tiles), np.int64)

    def run(self, program: int, serve: Callable[[Site], None]) -> None:
        """Runs a program to its end.  `serve` does what needs the host.  Raises CodeletError, Aborted."""
        for _ in self._advance(program, serve, step=False):
            pass

    def steps(self, program: int, serve: Callable[[Site], None]) -> Iterator[int]:
        """Runs a program site by site; yields the number of each site after it ran."""
        yield from self._advance(program, serve, step=True)

    def _advance(self, program: int, serve: Callable[[Site], None], *, step: bool) -> Iterator[int]:
        self._turn += 1
        turn = self._turn
        self.reset()
        registers = np.zeros(4, np.int64)
        registers[drive.PC] = self.flow.starts[program]
        arguments = self._arguments(registers)
        budget = 1
        while True:
            if turn != self._turn:
                raise BadInput("step: another run has begun since; ask step() for a new iterator")
            registers[drive.BUDGET] = 1 if step else budget
            begun = time.perf_counter()
            why = drive.run(*arguments)
            took = time.perf_counter() - begun
            if took < SLICE_SECONDS:
                budget *= 2
            elif took > 4 * SLICE_SECONDS:
                budget = max(1, budget // 8)
            site = int(registers[drive.SITE])
            match why:
                case drive.DONE:
                    return
                case drive.PAUSED if step:
                    yield site
                case drive.HOST_NEEDED:
                    self._host(self.flow.sites[site], serve)
                    if step:
                        yield site
                case drive.WANTS_CODE:
                    self._quicken(int(self.site_leaf[site]))
                    if step:
                        yield site
                case drive.FAILED:
                    raise self._failure(self.flow.sites[site])

    def _arguments(self, registers: I64) -> tuple[Any, ...]:
        sites = self.flow.sites
        address, kind = np.zeros(max(1, len(sites)), np.int64), np.zeros(max(1, len(sites)), np.int64)
        for i, site in enumerate(sites):
            if isinstance(site.what, Condition):
                tensor = site.what.tensor
                address[i] = self.storage.addresses(elements.runs([tensor]))[0]
                kind[i] = tensor.dtype.bytes * (-1 if tensor.dtype.kind == "int" else 1)
        return (
            self.flow.array(),
            registers,
            np.zeros(max(1, self.flow.slots), np.int64),
            self.site_leaf,
            address,
            kind,
            self.site_count,
            self.site_phases,
            self.site_row,
            self.site_busy,
            self.times.state,
            self.times.runs,
            self.times.patience,
            self.times.quick,
            self.times.weight,
            self.times.now,
            self.tables.part_first,
            self.tables.parts,
            self.tables.moves,
            self.tables.functions,
            self.tables.addresses,
            self.tables.status,
            self.times.entry_first,
            self.times.entry_tile,
            self.times.entry_worker,
            self.times.entry_slot,
            self.tables.slots,
            self.times.fixed,
            self.times.before,
            self.times.busy,
            self.times.after,
            cost.LAUNCH_CYCLES,
        )

    def _host(self, site: Site, serve: Callable[[Site], None]) -> None:
        if isinstance(site.what, AbortOnCondition):
            raise Aborted(f"{site.name}: {site.what.message} ({site.what.predicate.label} is not zero)")
        serve(site)

    def _quicken(self, leaf: int) -> None:
        """From now on a compute set whose cycles are known runs without counting them."""
        if self.times.state[leaf] != drive.FIXED:
            return
        self.times.quick[leaf] = 1
        if self.timing_only:
            return
        for k, group in enumerate(self.leaves[leaf].groups):
            if group.codelet.data_dependent:
                self.times.quick[leaf] = 0
            else:
                number = self.leaves[leaf].first_group + k
                generation = self.device.chip.generation
                self.tables.functions[number] = group.codelet.compiled(counted=False, generation=generation)
                self.tables.lengthen(leaf, number)

    def _failure(self, site: Site) -> CodeletError:
        *words, number = self.tables.status.tolist()
        self.tables.status[:] = 0
        group, vertex = self.tables.groups[number], words[1]
        return CodeletError(
            f"{site.name}: vertex on tile {group.tile[vertex]} added at {group.line[vertex]}: "
            f"{group.codelet.failure(words)}"
        )

    # -- values --------------------------------------------------------------------------------------------------------

    def write(self, tensor: Tensor, values: Array) -> None:
        """Stores an array (of the tensor's shape and type) in a tensor's elements."""
        flat = np.ascontiguousarray(values).reshape(-1)
        found = elements.runs([tensor])
        if len(found) > MANY_RUNS:
            self._write_elements(tensor, flat)
            return
        at = 0
        for number, start, length in zip(
            found.variable.tolist(), found.start.tolist(), found.length.tolist(), strict=True
        ):
            self.storage.arrays[number][start : start + length] = flat[at : at + length]
            at += length

    def _write_elements(self, tensor: Tensor, flat: Array) -> None:
        numbers, at = (found.reshape(-1) for found in elements.positions(tensor))
        for variable in tensor.variables():
            mine = numbers == variable.number
            self.storage.arrays[variable.number][at[mine]] = flat[mine]

    def read(self, tensor: Tensor) -> Array:
        """The elements of a tensor, as an array of its own."""
        return np.array(tensor.read(self.storage.values(tensor.variables())))
