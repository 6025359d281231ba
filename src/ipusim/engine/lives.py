"""When the variables of a tile program hold something, and what a tile needs for them and for buffers at each site.

A variable is live from where it is written to where it is last read: going backwards, what a site reads is live before
it, what a site writes as a whole is not.  At the end of a program all are live, for the host may read any.  A
`WriteUndef` of the whole of a variable says that it holds nothing until something touches it again.

A compute set has three moments: inputs arrive and are gathered; vertices run; results are scattered and leave.  A
variable whose elements are all gathered need not be there while the vertices run if it is not read later, and one that
is filled by scattering need not be there before.  Ideal: the allocation of a compiler that overlaps what is never live
together.  Omitted: gaps between overlapping variables; variables of which only a part is live.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from ipusim.engine.flow import Condition, Flow
from ipusim.engine.wired import Surroundings
from ipusim.program import elements
from ipusim.program.control import AbortOnCondition, Copy, Execute, PrintTensor, StreamCopy, WriteUndef
from ipusim.program.mapping import I64
from ipusim.program.tensor import Tensor, Variable
from ipusim.program.wiring import WiredGroup

if TYPE_CHECKING:
    from ipusim.engine.machine import Machine

Bits = int  # a set of variables: bit v is the variable of number v


@final
@dataclass(frozen=True, slots=True)
class Access:
    """What a site does: `reads`, `writes` (at least a part), `fills` (every element, none of them read).

    A WriteUndef fills with nothing and writes nothing.
    """

    reads: Bits
    writes: Bits
    fills: Bits


@final
@dataclass(frozen=True, eq=False, slots=True)
class Lives:
    """Sets of variables of every site: `before` and `after` it, and what it does to them."""

    before: list[Bits]
    after: list[Bits]
    access: list[Access]


def lives(machine: Machine) -> Lives:
    """Which variables hold something that is still needed, before and after each site."""
    flow, count = machine.flow, len(machine.graph.variables)
    access = [_access(machine, i) for i in range(len(flow.sites))]
    everything = (1 << count) - 1
    before, after = _backwards(flow, access, everything)
    undefined = _undefined(flow, access, everything)
    defined_after = [live & ~undefined[i][1] for i, live in enumerate(after)]
    defined_before = [live & ~undefined[i][0] for i, live in enumerate(before)]
    return Lives(defined_before, defined_after, access)


def _backwards(flow: Flow, access: list[Access], everything: Bits) -> tuple[list[Bits], list[Bits]]:
    """(live before, live after) each site, by walking the instructions backwards until nothing changes."""
    at: list[Bits] = [0] * len(flow.code)
    before, after = [0] * len(access), [0] * len(access)
    following, site = [flow.following(pc) for pc in range(len(at))], [flow.site_at(pc) for pc in range(len(at))]
    changed = True
    while changed:
        changed = False
        for pc in range(len(at) - 1, -1, -1):
            live = everything if not following[pc] else 0
            for to in following[pc]:
                live |= at[to]
            if site[pc] >= 0:
                after[site[pc]] = live
                own = access[site[pc]]
                live = before[site[pc]] = live & ~own.fills | own.reads
            changed = changed or live != at[pc]
            at[pc] = live
    return before, after


def _undefined(flow: Flow, access: list[Access], everything: Bits) -> list[tuple[Bits, Bits]]:
    """Variables that hold nothing (before, after) each site: on every way lies a WriteUndef, and no touch since."""
    undefines = [isinstance(site.what, WriteUndef) for site in flow.sites]
    kills = [own.fills if kills else 0 for own, kills in zip(access, undefines, strict=True)]
    out = [(0, 0)] * len(access)
    if not any(kills):
        return out
    arriving: dict[int, Bits] = dict.fromkeys(flow.starts, 0)
    waiting = list(flow.starts)
    while waiting:
        pc = waiting.pop()
        state, number = arriving[pc], flow.site_at(pc)
        if number >= 0:
            own = access[number]
            out[number] = (state, (state & ~(own.reads | own.writes)) | kills[number])
            state = out[number][1]
        for to in flow.following(pc):
            now = state & arriving.get(to, everything)
            if to not in arriving or now != arriving[to]:
                arriving[to] = now
                waiting.append(to)
    return out


# -- what a site does --------------------------------------------------------------------------------------------------


def _access(machine: Machine, number: int) -> Access:
    what = machine.flow.sites[number].what
    if isinstance(what, Execute):
        return _of_groups(machine, machine.leaves[int(machine.site_leaf[number])].groups)
    if isinstance(what, Copy):
        return _moved(what.source, what.target)
    if isinstance(what, StreamCopy):
        return _moved(None, what.tensor) if what.stream.to_device else _moved(what.tensor, None)
    if isinstance(what, Condition | PrintTensor):
        return _moved(what.tensor, None)
    if isinstance(what, AbortOnCondition):
        return _moved(what.predicate, None)
    return Access(0, 0, _whole(what.tensor) if isinstance(what, WriteUndef) else 0)


def _moved(source: Tensor | None, target: Tensor | None) -> Access:
    reads, writes = (0 if t is None else _bits(t.variables()) for t in (source, target))
    return Access(reads, writes, 0 if target is None else _whole(target) & ~reads)


def _bits(variables: tuple[Variable, ...]) -> Bits:
    found = 0
    for variable in variables:
        found |= 1 << variable.number
    return found


def _whole(tensor: Tensor) -> Bits:
    """Variables of which a tensor has every element."""
    runs = elements.runs([tensor])
    found = 0
    for variable in tensor.variables():
        mine = runs.variable == variable.number
        if _covered(runs.start[mine], runs.length[mine]) == variable.elements:
            found |= 1 << variable.number
    return found


def _covered(start: I64, length: I64) -> int:
    """Elements in at least one of some runs."""
    order = np.argsort(start, kind="stable")
    start, stop = start[order], (start + length)[order]
    reach = np.maximum.accumulate(np.concatenate([[0], stop]))[:-1]
    return int(np.maximum(stop - np.maximum(start, reach), 0).sum())


def _of_groups(machine: Machine, groups: Sequence[WiredGroup]) -> Access:
    """Of a compute set; no element is written twice (ipusim.program.conflicts), so lengths tell what is whole."""
    variables = machine.graph.variables
    written, reads, writes = np.zeros(len(variables), np.int64), 0, 0
    for group in groups:
        for spec, column in zip(group.codelet.fields, group.fields, strict=True):
            runs = column.runs
            used = _set(np.flatnonzero(np.bincount(runs.variable, minlength=1)))
            if spec.role != "out":
                reads |= used
            if spec.role != "in":
                writes |= used
                written += np.bincount(runs.variable, runs.length, len(variables)).astype(np.int64)
    whole = _set(np.flatnonzero(written == [v.elements for v in variables])) & writes
    return Access(reads, writes, whole & ~reads)


def _set(numbers: I64) -> Bits:
    found = 0
    for number in numbers.tolist():
        found |= 1 << number
    return found


# -- bytes -------------------------------------------------------------------------------------------------------------


@final
class _Sums:
    """Bytes of sets of variables on each tile, (tiles,) int64; equal sets are summed once."""

    def __init__(self, sizes: list[I64], tiles: int) -> None:
        self.sizes, self.everything = sizes, (1 << len(sizes)) - 1
        self._known: dict[Bits, I64] = {self.everything: np.sum([np.zeros(tiles, np.int64), *sizes], axis=0)}

    def of(self, chosen: Bits) -> I64:
        """Of a set."""
        if chosen not in self._known:
            missing = self.everything & ~chosen
            out = self._known[self.everything].copy()
            for number in range(missing.bit_length()):
                if missing >> number & 1:
                    out -= self.sizes[number]
            self._known[chosen] = out
        return self._known[chosen]


def held(machine: Machine, sizes: list[I64], received: Callable[[int], I64]) -> tuple[I64, I64]:
    """Bytes on each tile at each site at its fullest moment: (of variables, of buffers), each (sites, tiles) int64.

    `sizes`: bytes of each variable on each tile; `received(i)`: of buffers at a site that is no compute set.
    """
    tiles = machine.device.num_tiles
    found, sums = lives(machine), _Sums(sizes, tiles)
    count = len(machine.flow.sites)
    variables, buffers = np.zeros((max(1, count), tiles), np.int64), np.zeros((max(1, count), tiles), np.int64)
    if not count:
        variables += sums.of(sums.everything)
    for i in range(count):
        leaf = int(machine.site_leaf[i])
        around = machine.leaves[leaf].around if leaf >= 0 else None
        before, after, own = found.before[i], found.after[i], found.access[i]
        if isinstance(around, Surroundings):
            variables[i], buffers[i] = _fullest(around, sums, before, after, own)
        else:
            variables[i], buffers[i] = sums.of(before | after | own.reads | own.writes), received(i)
    return variables, buffers


def _fullest(around: Surroundings, sums: _Sums, before: Bits, after: Bits, own: Access) -> tuple[I64, I64]:
    """(variables, buffers) of a compute set at the fullest of its three moments, tile by tile."""
    during = before & after & ~own.fills
    there = sums.of(during).copy()
    for number, tile in zip(around.direct_variable.tolist(), around.direct_tile, strict=True):
        if not during >> number & 1:
            there[tile] += sums.sizes[number][tile]
    named = np.stack([sums.of(before | own.reads), there, sums.of(after | own.writes)])
    kept = np.stack([around.held_in, around.held, around.held_out])
    pick, at = (named + kept).argmax(axis=0), np.arange(named.shape[1])
    return named[pick, at], kept[pick, at]
