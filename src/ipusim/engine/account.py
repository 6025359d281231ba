"""What a machine did, as a trace: every site that took time, with what it cost each tile, and memory.

Memory of a tile: its share of each variable that is live (ipusim.engine.lives); during a superstep what it receives and
what it gathers; always vertex state, codelet code, stack, control and exchange code.  Omitted: gaps from alignment, and
sharing of exchange code between equal exchanges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.flow import Condition, Site
from ipusim.engine.leaves import Leaf
from ipusim.engine.links import Exchange
from ipusim.engine.lives import held
from ipusim.engine.machine import Machine
from ipusim.engine.memory import CONTROL_BYTES_PER_STEP, EDGE_BYTES, STACK_BYTES, VERTEX_BYTES
from ipusim.engine.trace import PHASES, Memory, StepTrace, Trace
from ipusim.engine.wired import CopyCosts, Surroundings
from ipusim.hw import cost, links, mechanisms
from ipusim.program.control import Copy, Execute, StreamCopy, Sync
from ipusim.program.mapping import I64
from ipusim.program.tensor import Variable
from ipusim.program.wiring import WiredGroup


def trace(machine: Machine, sites: Sequence[int], memory: Memory) -> Trace:
    """The runs of some sites since the last reset, a step each; sites that did not run are left out."""
    ran = [i for i in sites if machine.site_count[i]]
    steps = tuple(step for step in (_step(machine, i) for i in ran) if step is not None)
    kept = [i for i in ran if _takes_time(machine.flow.sites[i])]
    live = memory.live[kept] if kept else memory.live[:0]
    whole = Memory(
        live if len(live) else memory.live.max(axis=0, keepdims=True),
        memory.categories,
        memory.limit,
        memory.variables,
    )
    counts = {
        "vertices": sum(len(g) for leaf in machine.leaves for g in leaf.groups),
        "edges": sum(len(f.runs) for leaf in machine.leaves for g in leaf.groups for f in g.fields),
        "variables": len(machine.graph.variables),
        "compute sets": sum(isinstance(leaf.around, Surroundings) for leaf in machine.leaves),
    }
    return Trace(chip=machine.device.chip, program=machine.graph.name, steps=steps, memory=whole, counts=counts)


def _takes_time(site: Site) -> bool:
    return isinstance(site.what, Execute | Copy | Sync | StreamCopy | Condition)


def exchanges(machine: Machine, site: int) -> list[Exchange]:
    """The exchange phases of a site that move anything."""
    found = _exchanges(machine, site)
    return [s for s in found if s.moves]


def _exchanges(machine: Machine, site: int) -> list[Exchange]:
    if site in machine.conditions:
        return [machine.conditions[site]]
    leaf = machine.site_leaf[site]
    if leaf < 0:
        return []
    around = machine.leaves[leaf].around
    return [around.moving] if isinstance(around, CopyCosts) else [around.arriving, around.leaving]


def _step(machine: Machine, number: int) -> StepTrace | None:
    site, count = machine.flow.sites[number], int(machine.site_count[number])
    if not _takes_time(site):
        return None
    tiles, leaf = machine.device.num_tiles, int(machine.site_leaf[number])
    compute, copies = np.zeros(tiles, np.int64), np.zeros(tiles, np.int64)
    if leaf >= 0:
        row = int(machine.site_row[number])
        compute = machine.site_busy[row].copy() if row >= 0 else machine.times.busy[leaf] * count
        copies = (machine.times.before[leaf] + machine.times.after[leaf]) * count
    moved = exchanges(machine, number)
    groups = machine.leaves[leaf].groups if leaf >= 0 else []
    return StepTrace(
        name=site.name,
        op=-1,
        compute=compute,
        copies=copies,
        sent=count * _sum((s.sent for s in moved), tiles),
        received=count * _sum((s.received for s in moved), tiles),
        shared=np.zeros(tiles, np.int64),
        phases=phases(machine, number),
        flops=0,
        vertices=sum(len(g) for g in groups),
        repeats=count,
        computes=_computes(groups),
    )


def _computes(groups: Sequence[WiredGroup]) -> str:
    """The mechanism that times the vertices of a compute set: the one with the widest band, if there are several."""
    names = {mechanisms.of_codelet(g.codelet.profile, g.codelet.override) for g in groups}
    return max(sorted(names), key=mechanisms.width, default=mechanisms.LIBRARY)


def _sum(parts: Iterable[I64], tiles: int) -> I64:
    return np.asarray(sum(parts, np.zeros(tiles, np.int64)))


def phases(machine: Machine, number: int) -> dict[str, int]:
    """Cycles of each phase of a site over all its runs since the last reset."""
    site, count = machine.flow.sites[number], int(machine.site_count[number])
    before, compute, after = machine.site_phases[number].tolist()
    moved = exchanges(machine, number)
    found = dict.fromkeys(PHASES, 0)
    found["copy_before"], found["compute"], found["copy_after"] = before, compute, after
    found["exchange"] = count * sum(s.cycles for s in moved)
    found["link"] = count * sum(s.link_cycles for s in moved)
    found["sync"] = count * _barriers(machine, site, moved)
    if isinstance(site.what, StreamCopy):
        nbytes = site.what.tensor.elements * site.what.tensor.dtype.bytes
        found["host"] = count * cost.host_cycles(nbytes, machine.device.clock_hz)
    return found


def _barriers(machine: Machine, site: Site, moved: Sequence[Exchange]) -> int:
    """Cycles of the barriers of a site: one before each exchange, or one before its vertices; a `Sync` waits for all
    IPUs.
    """
    if moved:
        return sum(s.sync_cycles(machine.device) for s in moved)
    return links.sync_cycles(machine.device, machine.device.ipus if isinstance(site.what, Sync) else 1)


# -- memory ------------------------------------------------------------------------------------------------------------


def measure(machine: Machine) -> Memory:
    """Memory of all programs of a machine together; `live` has a row per site."""
    tiles = machine.device.num_tiles
    fixed = _fixed(machine)
    sizes = {v: machine.where[v.number].per_tile(tiles) * v.dtype.bytes for v in machine.graph.variables}
    variables, arrived = held(machine, list(sizes.values()), lambda site: _buffers(machine, site))
    live = variables + arrived + _sum(fixed.values(), tiles)
    peak, pick = live.argmax(axis=0), np.arange(tiles)
    worst = int(live.max(axis=0).argmax())
    return Memory(
        live=live,
        categories=fixed | {"variables": variables[peak, pick], "received data": arrived[peak, pick]},
        limit=machine.device.bytes_per_tile,
        variables=_largest(sizes, worst),
    )


def _buffers(machine: Machine, number: int) -> I64:
    """Bytes that tiles hold during a site that is no compute set, beside their variables; what a `Copy` lands in one
    stretch needs none."""
    leaf = int(machine.site_leaf[number])
    if leaf < 0:
        return _sum((s.received for s in exchanges(machine, number)), machine.device.num_tiles)
    around = machine.leaves[leaf].around
    lands = around.after > 0 if isinstance(around, CopyCosts) else np.ones(machine.device.num_tiles, bool)
    return _sum((s.received for s in exchanges(machine, number)), machine.device.num_tiles) * lands


def _largest(sizes: dict[Variable, I64], tile: int) -> tuple[tuple[str, int, str], ...]:
    found = [(v.name, int(n[tile]), "mapped here") for v, n in sizes.items() if n[tile]]
    return tuple(sorted(found, key=lambda item: -item[1])[:8])


def _fixed(machine: Machine) -> dict[str, I64]:
    tiles = machine.device.num_tiles
    state, code, exchange = (np.zeros(tiles, np.int64) for _ in range(3))
    users: dict[object, NDArray[np.bool_]] = {}
    for leaf in machine.leaves:
        _state(leaf, state, users, tiles)
    for i in range(len(machine.flow.sites)):
        first_use = i in machine.conditions or (
            machine.site_leaf[i] >= 0 and not np.any(machine.site_leaf[:i] == machine.site_leaf[i])
        )
        if first_use:
            exchange += _sum((s.code_bytes for s in exchanges(machine, i)), tiles)
    generation = machine.device.chip.generation
    for codelet, used in users.items():
        code += used * codelet.code_bytes(generation)  # type: ignore[attr-defined]
    return {
        "stack": np.full(tiles, STACK_BYTES, np.int64),
        "control code": np.full(tiles, CONTROL_BYTES_PER_STEP * (len(machine.flow.code) - machine.flow.free), np.int64),
        "vertex state": state,
        "vertex code": code,
        "exchange code": exchange,
    }


def _state(leaf: Leaf, state: I64, users: dict[object, NDArray[np.bool_]], tiles: int) -> None:
    for group in leaf.groups:
        users.setdefault(group.codelet, np.zeros(tiles, bool))[group.tile] = True
        np.add.at(state, group.tile, VERTEX_BYTES + 4 * len(group.values))
    if isinstance(leaf.around, Surroundings):
        state += EDGE_BYTES * leaf.around.edges


def takes_time(machine: Machine, number: int) -> bool:
    """Whether a site is a superstep (printing and the like are not)."""
    return _takes_time(machine.flow.sites[number])


def numbered(found: Trace) -> Trace:
    """The trace with every step as an op of its own, so that a report lists them."""
    steps = tuple(replace(s, op=i) for i, s in enumerate(found.steps))
    return replace(found, steps=steps)
