"""A loaded tile program: runs it on the arrays of its variables and keeps count of what it did.

What depends on nothing but the program (exchange schedules, copies, memory) is worked out when it is loaded; cycles of
vertices are counted as they run (see ipusim.engine.drive).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.address import address_of
from ipusim.engine import drive, loaded
from ipusim.engine.flow import Condition, Flow, Site, flatten
from ipusim.engine.loaded import Storage
from ipusim.engine.messages import everyone
from ipusim.engine.schedule import Schedule
from ipusim.engine.wired import CopyCosts, Surroundings, copy_costs, surroundings
from ipusim.errors import Aborted, CodeletError, InvalidProgram
from ipusim.hw import cost
from ipusim.hw.spec import ChipSpec
from ipusim.program import elements
from ipusim.program.control import AbortOnCondition, Copy, Execute, Program
from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.mapping import I64
from ipusim.program.painting import Intervals
from ipusim.program.placing import intervals_of, owners
from ipusim.program.tensor import Tensor
from ipusim.program.wiring import WiredGroup

Array = NDArray[Any]
Wired = dict[ComputeSet, list[WiredGroup]]
SLICE_SECONDS = 0.05  # of running between two looks for Ctrl-C
LARGE_ELEMENTS = 20_000  # wired to a compute set: worth compiling without counting after two runs
PATIENCE = 500  # runs after which a small one is

_ERRORS = {1: "index {index} out of range for length {length}", 2: "integer division by zero"}
_RUNAWAY = "ran for more than 4,000,000,000 issue slots: a loop that does not end?"


@final
@dataclass(frozen=True, eq=False, slots=True)
class Leaf:
    """A compute set or a copy: its vertices, its costs beside them, and where its groups stand in the tables."""

    groups: Sequence[WiredGroup]
    around: Surroundings | CopyCosts
    first_group: int


@final
class Machine:
    """A program in memory.  `hooks` serves what needs the host: (site) -> None."""

    def __init__(self, graph: Graph, programs: Sequence[Program], chip: ChipSpec, wired: Wired) -> None:
        self.graph, self.chip = graph, chip
        self.storage = Storage(graph.variables)
        self.flow: Flow = flatten(list(programs))
        self.where: dict[int, Intervals] = {v.number: intervals_of(v) for v in graph.variables}
        self.leaves: list[Leaf] = []
        self.site_leaf = self._leaves(wired)
        self.conditions = {
            i: self._predicate(s) for i, s in enumerate(self.flow.sites) if isinstance(s.what, Condition)
        }
        self._tables()
        self._times()
        self.reset()
        for tensor, values in graph.initial:
            self.write(tensor, values)

    # -- loading -------------------------------------------------------------------------------------------------------

    def _leaves(self, wired: Wired) -> I64:
        known: dict[Any, int] = {}
        out = np.full(max(1, len(self.flow.sites)), -1, np.int64)
        groups = 0
        for i, site in enumerate(self.flow.sites):
            what = site.what
            if not isinstance(what, Execute | Copy):
                continue
            key = what.compute_set if isinstance(what, Execute) else what
            if key not in known:
                known[key] = len(self.leaves)
                mine = wired[what.compute_set] if isinstance(what, Execute) else []
                around = (
                    surroundings(mine, self.graph.variables, self.where, self.chip)
                    if isinstance(what, Execute)
                    else self._copy(what)
                )
                self.leaves.append(Leaf(mine, around, groups))
                groups += len(mine)
            out[i] = known[key]
        return out

    def _copy(self, copy: Copy) -> CopyCosts:
        source, target = elements.runs([copy.source]), elements.runs([copy.target])
        edges = np.union1d(np.cumsum(source.length), np.cumsum(target.length))
        a, b = (elements.cut(r, edges) for r in (source, target))
        from_, to = owners(a, self.where), owners(b, self.where)
        edges = np.union1d(np.cumsum(from_.length), np.cumsum(to.length))
        a, b = elements.cut(a, edges), elements.cut(b, edges)
        base = np.concatenate([[0], np.cumsum([v.elements for v in self.graph.variables])]).astype(np.int64)
        return copy_costs(
            owners(a, self.where),
            owners(b, self.where),
            base=base,
            variable=a.variable.astype(np.int64),
            size=copy.source.dtype.bytes,
            chip=self.chip,
        )

    def _predicate(self, site: Site) -> Schedule:
        """The exchange that tells every tile a condition."""
        condition = site.what
        assert isinstance(condition, Condition)
        at = owners(elements.runs([condition.tensor]), self.where)
        return everyone(int(at.tile[0]), cost.PREDICATE_BYTES, self.chip)

    def _tables(self) -> None:
        groups = [g for leaf in self.leaves for g in leaf.groups]
        self.groups = groups
        lanes = [6 if g.codelet.kind == "multi" else 1 for g in groups]
        self.slot_first = np.concatenate([[0], np.cumsum([len(g) * n for g, n in zip(groups, lanes, strict=True)])])
        self.slots = np.zeros(max(1, int(self.slot_first[-1])), np.int64)
        self.unused = np.zeros(max([1, *(len(g) * n for g, n in zip(groups, lanes, strict=True))]), np.int64)
        self.status = np.zeros(8, np.int64)
        status = address_of(self.status)
        self._kept: list[Any] = []
        words, parts, moves, first, moved = [], [], [np.zeros((0, 3), np.int64)], [0], 0
        for leaf in self.leaves:
            made = [
                (leaf.first_group + k, loaded.table(g, self.storage, self._slots_of(leaf.first_group + k), status))
                for k, g in enumerate(leaf.groups)
            ]
            listed = [(number, part) for number, table in made for part in table.parts]
            listed += [(-1, part) for part in self._copy_parts(leaf)]
            for number, part in listed:
                middle, end = moved + len(part.gather), moved + len(part.gather) + len(part.scatter)
                parts.append((moved, middle, number, part.low, part.high, middle, end))
                moves += [part.gather, part.scatter]
                moved = end
            for _, table in made:
                words.append(table.words)
                self._kept.append(table)
            first.append(len(parts))
        self.words = words
        self.parts = np.array(parts, np.int64).reshape(-1, 7)
        self.moves = np.concatenate(moves)
        self.part_first = np.array(first, np.int64)
        self.tables = np.array([address_of(w) for w in words] or [0], np.int64)
        generation = self.chip.generation
        self.functions = np.array(
            [g.codelet.compiled(counted=True, generation=generation) for g in groups] or [0], np.int64
        )

    def _slots_of(self, group: int) -> int:
        """Where a group's code writes its slots: nowhere of use if the user gave its cycles."""
        if self.groups[group].codelet.override is not None:
            return address_of(self.unused)
        return address_of(self.slots) + 8 * int(self.slot_first[group])

    def _copy_parts(self, leaf: Leaf) -> list[loaded.Part]:
        copy = next((k for k, n in self._copies().items() if self.leaves[n] is leaf), None)
        if copy is None:
            return []
        source, target = elements.runs([copy.source]), elements.runs([copy.target])
        rows = loaded.aligned_moves(source, target, self.storage)
        if not set(copy.source.variables()) & set(copy.target.variables()):
            return [loaded.Part(rows, 0, 0, rows[:0])]
        buffer = np.zeros(int(rows[:, 2].sum()) + 1, np.uint8)
        self._kept.append(buffer)
        between = address_of(buffer) + np.cumsum(rows[:, 2]) - rows[:, 2]
        gather = np.stack([between, rows[:, 1], rows[:, 2]], axis=1)
        return [loaded.Part(gather, 0, 0, np.stack([rows[:, 0], between, rows[:, 2]], axis=1))]

    def _copies(self) -> dict[Copy, int]:
        return {s.what: int(self.site_leaf[i]) for i, s in enumerate(self.flow.sites) if isinstance(s.what, Copy)}

    def _times(self) -> None:
        """Tables for the cycles of compute sets: entries by tile, given cycles, copies before and after."""
        tiles, count = self.chip.tiles, max(1, len(self.leaves))
        self.fixed, self.busy = np.zeros((count, tiles), np.int64), np.zeros((count, tiles), np.int64)
        self.before, self.after = np.zeros((count, tiles), np.int64), np.zeros((count, tiles), np.int64)
        self.leaf_state = np.zeros(count, np.int64)
        first, entries = [0], [np.zeros((0, 3), np.int64)]
        patience = []
        for number, leaf in enumerate(self.leaves):
            found = self._entries(number, leaf)
            entries.append(found)
            first.append(first[-1] + len(found))
            dependent = any(g.codelet.data_dependent and g.codelet.override is None for g in leaf.groups)
            self.leaf_state[number] = drive.TIMED_EACH_TIME if dependent else drive.UNTIMED
            size = sum(int(f.runs.length.sum()) for g in leaf.groups for f in g.fields)
            patience.append(2 if size > LARGE_ELEMENTS else PATIENCE)
        every = np.concatenate(entries)
        self.entry_tile, self.entry_worker, self.entry_slot = (np.ascontiguousarray(every[:, k]) for k in range(3))
        self.entry_first = np.array(first, np.int64)
        self.patience = np.array(patience or [0], np.int64)
        self.quick = np.array([isinstance(leaf.around, CopyCosts) for leaf in self.leaves] or [0], np.int64)

    def _entries(self, number: int, leaf: Leaf) -> NDArray[np.int64]:
        """(tile, worker, slot) of every vertex of a compute set, by tile; fills the given and the copies' cycles."""
        if isinstance(leaf.around, CopyCosts):
            self.before[number], self.after[number] = leaf.around.before, leaf.around.after
            return np.zeros((0, 3), np.int64)
        tile = np.concatenate([np.zeros(0, np.int64), *(g.tile.astype(np.int64) for g in leaf.groups)])
        multi = np.repeat([g.codelet.kind == "multi" for g in leaf.groups], [len(g) for g in leaf.groups]).astype(bool)
        order = np.argsort(tile, kind="stable")
        worker = np.full(len(tile), -1, np.int64)
        worker[order] = _round_robin(tile[order], multi[order], self.chip.tile.workers)
        slot = np.concatenate(
            [np.zeros(0, np.int64)]
            + [
                self.slot_first[leaf.first_group + k] + np.arange(len(g)) * (6 if g.codelet.kind == "multi" else 1)
                for k, g in enumerate(leaf.groups)
            ]
        )
        for copies, out in ((leaf.around.before, self.before), (leaf.around.after, self.after)):
            out[number] = _longest(tile, np.maximum(worker, 0), copies, self.chip)
        counted = self._given(number, leaf, tile)
        keep = order[counted[order]]
        return np.stack([tile[keep], worker[keep], slot[keep].astype(np.int64)], axis=1)

    def _given(self, number: int, leaf: Leaf, tile: I64) -> NDArray[np.bool_]:
        """Writes cycles that the user gave.  Returns: which vertices are to be counted still."""
        counted, at = np.ones(len(tile), bool), 0
        for k, group in enumerate(leaf.groups):
            if group.codelet.override is not None:
                cycles = given_cycles(group)
                if group.codelet.kind == "multi":
                    np.add.at(self.fixed[number], group.tile, cycles + cost.LAUNCH_CYCLES)
                    counted[at : at + len(group)] = False
                else:
                    low = int(self.slot_first[leaf.first_group + k])
                    self.slots[low : low + len(group)] = cycles
            at += len(group)
        return counted

    # -- running -------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forgets counts of earlier runs; values stay."""
        sites = max(1, len(self.flow.sites))
        self.site_count = np.zeros(sites, np.int64)
        self.site_phases = np.zeros((sites, 3), np.int64)
        dynamic = [
            i for i in range(len(self.flow.sites)) if self.site_leaf[i] >= 0 and self.leaf_state[self.site_leaf[i]] == 2
        ]
        self.site_row = np.full(sites, -1, np.int64)
        self.site_row[dynamic] = np.arange(len(dynamic))
        self.site_busy = np.zeros((max(1, len(dynamic)), self.chip.tiles), np.int64)

    def run(self, program: int, serve: Callable[[Site], None]) -> None:
        """Runs a program to its end.  `serve` does what needs the host.  Raises CodeletError, Aborted."""
        for _ in self._advance(program, serve, step=False):
            pass

    def steps(self, program: int, serve: Callable[[Site], None]) -> Iterator[int]:
        """Runs a program site by site; yields the number of each site after it ran."""
        yield from self._advance(program, serve, step=True)

    def _advance(self, program: int, serve: Callable[[Site], None], *, step: bool) -> Iterator[int]:
        self.reset()
        leaves = max(1, len(self.leaves))
        self.leaf_now = getattr(self, "leaf_now", np.zeros((leaves, 3), np.int64))
        self.leaf_runs = getattr(self, "leaf_runs", np.zeros(leaves, np.int64))
        registers = np.zeros(5, np.int64)
        registers[drive.PC] = self.flow.starts[program]
        arguments = self._arguments(registers)
        budget = 1
        while True:
            registers[drive.BUDGET] = 1 if step else budget
            begun = time.perf_counter()
            why = drive.run(*arguments)
            if time.perf_counter() - begun < SLICE_SECONDS:
                budget *= 2
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
                case drive.TOO_DEEP:
                    raise InvalidProgram(["a function calls itself"])

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
            np.zeros(max(1, len(self.graph.functions) + 1), np.int64),
            self.site_leaf,
            address,
            kind,
            self.site_count,
            self.site_phases,
            self.site_row,
            self.site_busy,
            self.leaf_state,
            self.leaf_runs,
            self.patience,
            self.quick,
            self.leaf_now,
            self.part_first,
            self.parts,
            self.moves,
            self.functions,
            self.tables,
            self.status,
            self.entry_first,
            self.entry_tile,
            self.entry_worker,
            self.entry_slot,
            self.slots,
            self.fixed,
            self.before,
            self.busy,
            self.after,
            cost.LAUNCH_CYCLES,
        )

    def _host(self, site: Site, serve: Callable[[Site], None]) -> None:
        if isinstance(site.what, AbortOnCondition):
            raise Aborted(f"{site.name}: {site.what.message} ({site.what.predicate.label} is not zero)")
        serve(site)

    def _quicken(self, leaf: int) -> None:
        """From now on a compute set whose cycles are known runs without counting them."""
        if self.leaf_state[leaf] != drive.FIXED:
            return
        self.quick[leaf] = 1
        for k, group in enumerate(self.leaves[leaf].groups):
            if group.codelet.data_dependent:
                self.quick[leaf] = 0
            else:
                self.functions[self.leaves[leaf].first_group + k] = group.codelet.compiled(
                    counted=False, generation=self.chip.generation
                )

    def _failure(self, site: Site) -> CodeletError:
        code, vertex, field, index, length, line, worker, number = self.status.tolist()
        self.status[:] = 0
        group = self.groups[number]
        codelet = group.codelet
        text = _ERRORS.get(code, _RUNAWAY).format(index=index, length=length)
        name = f", field {codelet.fields[field].name!r}" if code == 1 else ""
        who = f", worker {worker}" if codelet.kind == "multi" else ""
        return CodeletError(
            f"{site.name}: vertex {codelet.name} on tile {group.tile[vertex]}{who} (added at {group.line[vertex]}), "
            f"line {line} of {codelet.function.file}{name}: {text}"
        )

    # -- values --------------------------------------------------------------------------------------------------------

    def write(self, tensor: Tensor, values: Array) -> None:
        """Stores an array (of the tensor's shape and type) in a tensor's elements."""
        flat = np.ascontiguousarray(values).reshape(-1)
        found = elements.runs([tensor])
        at = 0
        for number, start, length in zip(
            found.variable.tolist(), found.start.tolist(), found.length.tolist(), strict=True
        ):
            self.storage.arrays[number][start : start + length] = flat[at : at + length]
            at += length

    def read(self, tensor: Tensor) -> Array:
        """The elements of a tensor, as an array of its own."""
        return np.array(tensor.read(self.storage.values(tensor.variables())))


def given_cycles(group: WiredGroup) -> I64:
    """Cycles of each vertex by the number or function that the user gave.  Returns: (vertices,) int64."""
    override = group.codelet.override
    if not callable(override):
        return np.full(len(group), int(override or 0), np.int64)
    out = np.empty(len(group), np.int64)
    lengths = {f.name: f.lengths().tolist() for f in group.fields}
    depth = {s.name: s.depth for s in group.codelet.fields}
    seen: dict[Any, int] = {}
    for row in range(len(group)):
        sizes: dict[str, Any] = {}
        for f in group.fields:
            mine = lengths[f.name][int(f.first[row]) : int(f.first[row + 1])]
            sizes[f.name] = tuple(mine) if depth[f.name] == 2 else mine[0]
        sizes |= {name: column[row].item() for name, column in group.values.items()}
        key = tuple(sizes.values())
        if key not in seen:
            seen[key] = int(override(**sizes))
        out[row] = seen[key]
    return out


def _round_robin(tile: I64, multi: NDArray[np.bool_], workers: int) -> I64:
    """Worker of each vertex, in order within its tile; -1 for a MultiVertex."""
    ones = (~multi).astype(np.int64)
    count = np.cumsum(ones) - ones
    new = np.append(True, tile[1:] != tile[:-1]) if len(tile) else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(new, np.arange(len(tile)), 0)) if len(tile) else np.zeros(0, np.int64)
    return np.where(multi, -1, (count - count[start]) % workers) if len(tile) else np.zeros(0, np.int64)


def _longest(tile: I64, worker: I64, slots: I64, chip: ChipSpec) -> I64:
    """Cycles in which the slowest worker of each tile is through with its slots.  Returns: (tiles,) int64."""
    each = np.bincount(tile * chip.tile.workers + worker, weights=slots, minlength=chip.tiles * chip.tile.workers)
    return np.asarray(chip.tile.workers * each.reshape(chip.tiles, -1).max(axis=1), np.int64)
