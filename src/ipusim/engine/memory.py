"""Bytes on every tile at every superstep.

A tile holds: its share of each live variable; during a superstep, the data it received and rearranged copies of it;
always: vertex state and edge pointers, codelet code (once per tile that uses the codelet), stacks, control code and
exchange code.

Exchange code is counted with the schedule of each exchange (ipusim.engine.schedule).  Stacks take 3168 bytes a tile
(the vendor's profile of an adder).  Assumed: a vertex holds 8 bytes of state and 4 per connected range, a superstep 24
bytes of control code, and what a field receives lands in one piece.  Further rounds of a loop (`ComputeSet.again`)
hold no code or state of their own.  Omitted: gaps from alignment, and reuse of exchange code by equal exchanges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.copies import copied_bytes
from ipusim.engine.exchange import Phase
from ipusim.engine.moves import buffered, only_moves
from ipusim.engine.trace import Memory
from ipusim.hw.spec import ChipSpec
from ipusim.program.codelet import Codelet
from ipusim.program.graph import Graph
from ipusim.program.liveness import Life
from ipusim.program.mapping import I64
from ipusim.program.tensor import Variable

STACK_BYTES = 3168  # [vendor-profile] an adder on GC2 reports 3168 bytes of stack on each tile
CONTROL_BYTES_PER_STEP = 24  # [assumed] sync, exchange and run-all instructions with their operands
VERTEX_BYTES, EDGE_BYTES = 8, 4  # [assumed] plain pointers: one word per connected range, two words of state


def variable_bytes(variable: Variable, tiles: int) -> I64:
    """Bytes of a variable on each tile.  Returns: (tiles,) int64."""
    if variable.mapping is None:
        return np.zeros(tiles, np.int64)
    return variable.mapping.elements_per_tile(tiles) * variable.dtype.bytes


def measure(graph: Graph, lives: dict[Variable, Life], *, arrivals: Sequence[Phase], chip: ChipSpec) -> Memory:
    """Memory of a program whose supersteps receive `arrivals`."""
    tiles, steps = chip.tiles, max(1, len(graph.sets))
    fixed = _fixed(graph, arrivals, tiles)
    variables, always = _variables(lives, steps, tiles)
    arrived = _arrived(graph, arrivals, steps, tiles)
    fixed["weights and constants"] = always
    live = variables + arrived + sum(fixed.values())
    peak_step = live.argmax(axis=0)
    pick = np.arange(tiles)
    categories = fixed | {"variables": variables[peak_step, pick], "received data": arrived[peak_step, pick]}
    worst = int(live.max(axis=0).argmax())
    return Memory(
        live=live,
        categories=categories,
        limit=chip.tile.memory_bytes,
        variables=_largest(lives, worst=worst, step=int(peak_step[worst]), tiles=tiles),
    )


def _fixed(graph: Graph, arrivals: Sequence[Phase], tiles: int) -> dict[str, I64]:
    """What every tile holds throughout, by category."""
    state = np.zeros(tiles, np.int64)
    code = np.zeros(tiles, np.int64)
    exchange = np.zeros(tiles, np.int64)
    users: dict[str, tuple[Codelet, NDArray[np.bool_]]] = {}
    held = [pair for pair in zip(graph.compute_sets(), arrivals, strict=True) if not pair[0].again]
    for compute_set, moved in held:
        exchange += moved.code_bytes
        for group in compute_set.groups:
            edges = _edge_bytes(len(group.fields), tiles, group.rows.tile)
            state += edges
            used = users.setdefault(group.codelet.name, (group.codelet, np.zeros(tiles, bool)))[1]
            used[group.rows.tile] = True
    for codelet, used in users.values():
        code += used * codelet.code_bytes
    return {
        "stack": np.full(tiles, STACK_BYTES, np.int64),
        "control code": np.full(tiles, CONTROL_BYTES_PER_STEP * len(held), np.int64),
        "vertex state": state,
        "vertex code": code,
        "exchange code": exchange,
    }


def _edge_bytes(fields: int, tiles: int, tile: NDArray[np.int32]) -> I64:
    per_vertex = VERTEX_BYTES + EDGE_BYTES * fields
    return np.bincount(tile, minlength=tiles).astype(np.int64) * per_vertex


def _variables(lives: dict[Variable, Life], steps: int, tiles: int) -> tuple[NDArray[np.int64], I64]:
    """(bytes of variables that come and go (steps, tiles), bytes of always-live ones (tiles,))."""
    change = np.zeros((steps + 1, tiles), np.int64)
    always = np.zeros(tiles, np.int64)
    for variable, life in lives.items():
        size = variable_bytes(variable, tiles)
        if variable.always_live:
            always += size
        else:
            change[life.first] += size
            change[life.last + 1] -= size
    return np.cumsum(change[:-1], axis=0), always


def _arrived(graph: Graph, arrivals: Sequence[Phase], steps: int, tiles: int) -> NDArray[np.int64]:
    """Received and rearranged data that lives only during its superstep."""
    out = np.zeros((steps, tiles), np.int64)
    for step, (compute_set, moved) in enumerate(zip(graph.compute_sets(), arrivals, strict=True)):
        if only_moves(compute_set):
            out[step] += np.minimum(moved.received, buffered(compute_set, tiles))
        else:
            out[step] += moved.received
            out[step] += copied_bytes(compute_set, tiles)
    return out


def _largest(lives: dict[Variable, Life], *, worst: int, step: int, tiles: int) -> tuple[tuple[str, int, str], ...]:
    found = []
    for variable, life in lives.items():
        if life.first <= step <= life.last:
            size = int(variable_bytes(variable, tiles)[worst])
            if size:
                found.append((variable.name, size, "always live" if variable.always_live else "live at the peak"))
    return tuple(sorted(found, key=lambda item: -item[1])[:8])
