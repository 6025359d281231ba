"""How the slots of vertices become cycles of tiles: which worker runs which vertex, and what is known beforehand.

Worker vertices of a tile are dealt to its six contexts in turn, in the order in which they were added.  A MultiVertex
has all six to itself; several run one after another.  A number or a function that the user gave instead of counting is
thread cycles of a worker vertex, tile cycles of a MultiVertex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.engine import drive
from ipusim.engine.distinct import distinct_rows, vertex_kinds
from ipusim.engine.leaves import Leaf
from ipusim.engine.tables import Tables, lanes
from ipusim.engine.wired import CopyCosts
from ipusim.errors import BadInput
from ipusim.hw.spec import SystemSpec
from ipusim.program.mapping import I64
from ipusim.program.wiring import WiredGroup

LARGE_ELEMENTS = 20_000  # wired to a compute set: worth compiling without counting after two runs
PATIENCE = 500  # runs after which a small one is
ELEMENTS_PER_WEIGHT = 16  # that a host works on while it would look at a site
Grid = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Times:
    """Tables of times, read and written by ipusim.engine.drive.

    Per leaf and tile: `fixed` (cycles that were given), `busy` (of the last run), `before`, `after` (copies).  Per
    leaf: `state`, `now` (phases of its slowest tile), `runs`, `patience`, `quick`, `weight` (work of the host, in sites
    that do nothing).  Entries of leaf l are at
    `entry_first`[l].., by tile: `entry_tile`, `entry_worker` (-1: all six), `entry_slot`.
    """

    fixed: Grid
    busy: Grid
    before: Grid
    after: Grid
    state: I64
    now: Grid
    runs: I64
    patience: I64
    quick: I64
    weight: I64
    entry_first: I64
    entry_tile: I64
    entry_worker: I64
    entry_slot: I64


def build_times(leaves: Sequence[Leaf], tables: Tables, device: SystemSpec) -> Times:
    """Times of a program that has not run; writes the cycles that were given."""
    count = max(1, len(leaves))
    fixed, busy, before, after = (np.zeros((count, device.num_tiles), np.int64) for _ in range(4))
    entries = [np.zeros((0, 3), np.int64)]
    for number, leaf in enumerate(leaves):
        if isinstance(leaf.around, CopyCosts):
            before[number], after[number] = leaf.around.before, leaf.around.after
            entries.append(entries[0])
        else:
            entries.append(_entries(leaf, tables, device, before[number], after[number], fixed[number]))
    every = np.ascontiguousarray(np.concatenate(entries).T)
    return Times(
        fixed=fixed,
        busy=busy,
        before=before,
        after=after,
        state=np.array([_state(leaf) for leaf in leaves] or [0], np.int64),
        now=np.zeros((count, 3), np.int64),
        runs=np.zeros(count, np.int64),
        patience=np.array([_patience(leaf) for leaf in leaves] or [0], np.int64),
        weight=np.array([1 + _elements(leaf) // ELEMENTS_PER_WEIGHT for leaf in leaves] or [1], np.int64),
        quick=np.array([int(leaf.copy is not None) for leaf in leaves] or [0], np.int64),
        entry_first=np.cumsum([len(e) for e in entries]).astype(np.int64),
        entry_tile=every[0],
        entry_worker=every[1],
        entry_slot=every[2],
    )


def _state(leaf: Leaf) -> int:
    dependent = any(g.codelet.data_dependent and g.codelet.override is None for g in leaf.groups)
    return drive.TIMED_EACH_TIME if dependent else drive.UNTIMED


def _patience(leaf: Leaf) -> int:
    return 2 if _elements(leaf) > LARGE_ELEMENTS else PATIENCE


def _elements(leaf: Leaf) -> int:
    """Elements that a compute set is wired to, or that a copy moves."""
    moved = leaf.copy.source.elements if leaf.copy is not None else 0
    return moved + sum(int(f.runs.length.sum()) for g in leaf.groups for f in g.fields)


def _entries(leaf: Leaf, tables: Tables, device: SystemSpec, before: I64, after: I64, fixed: I64) -> Grid:
    """(tile, worker, slot) of every vertex of a compute set that is counted, by tile.

    The launch of a compute set is added to these; tile cycles that were given for a MultiVertex contain its own, as
    those of the vendor's estimators do.
    """
    if not leaf.groups or isinstance(leaf.around, CopyCosts):
        return np.zeros((0, 3), np.int64)
    tile = np.concatenate([g.tile.astype(np.int64) for g in leaf.groups])
    multi = np.repeat([g.codelet.kind == "multi" for g in leaf.groups], [len(g) for g in leaf.groups])
    first = tables.slot_first[leaf.first_group :]
    slot = np.concatenate([first[k] + np.arange(len(g)) * lanes(g) for k, g in enumerate(leaf.groups)])
    order = np.lexsort((np.concatenate([g.added for g in leaf.groups]), tile))
    worker = np.empty(len(tile), np.int64)
    worker[order] = _round_robin(tile[order], multi[order], device.workers_per_tile)
    before += _longest(tile, np.maximum(worker, 0), leaf.around.before, device)
    after += _longest(tile, np.maximum(worker, 0), leaf.around.after, device)
    counted = np.concatenate([_given(g, tables, int(first[k]), fixed) for k, g in enumerate(leaf.groups)])
    keep = order[counted[order]]
    return np.stack([tile[keep], worker[keep], slot[keep]], axis=1)


def _given(group: WiredGroup, tables: Tables, first: int, fixed: I64) -> NDArray[np.bool_]:
    """Writes cycles that the user gave.  Returns: which vertices have entries still."""
    if group.codelet.override is None:
        return np.ones(len(group), bool)
    cycles = given_cycles(group)
    if group.codelet.kind == "multi":
        np.add.at(fixed, group.tile, cycles)
        return np.zeros(len(group), bool)
    tables.slots[first : first + len(group)] = cycles
    return np.ones(len(group), bool)


def given_cycles(group: WiredGroup) -> I64:
    """Cycles of each vertex by the number or function that the user gave.  Returns: (vertices,) int64."""
    override = group.codelet.override
    if not callable(override):
        return np.full(len(group), int(override or 0), np.int64)
    of_row, first, kinds = distinct_rows(vertex_kinds(group))
    lengths = {f.name: f.lengths() for f in group.fields}
    depth = {s.name: s.depth for s in group.codelet.fields}
    answers = np.empty(kinds, np.int64)
    for kind, row in enumerate(first[:kinds].tolist()):
        sizes: dict[str, Any] = {}
        for f in group.fields:
            mine = lengths[f.name][int(f.first[row]) : int(f.first[row + 1])].tolist()
            sizes[f.name] = tuple(mine) if depth[f.name] == 2 else mine[0]
        sizes |= {name: column[row].item() for name, column in group.values.items()}
        answers[kind] = _asked(group, override, sizes)
    return np.asarray(answers[of_row])


def _asked(group: WiredGroup, override: Any, sizes: dict[str, Any]) -> int:
    """What the user's function answers.  Raises BadInput if that is no number of cycles."""
    try:
        answer = override(**sizes)
    except Exception as error:
        raise BadInput(
            f"codelet {group.codelet.name}: its cycles function failed for {sizes}: {type(error).__name__}: {error}"
        ) from error
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.number) or not 0 <= answer < 2**62:
        raise BadInput(f"codelet {group.codelet.name}: its cycles function answered {answer!r} for {sizes}")
    return int(answer)


def _round_robin(tile: I64, multi: NDArray[np.bool_], workers: int) -> I64:
    """Worker of each vertex, in order within its tile; -1 for a MultiVertex."""
    ones = (~multi).astype(np.int64)
    count = np.cumsum(ones) - ones
    new = np.append(True, tile[1:] != tile[:-1]) if len(tile) else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(new, np.arange(len(tile)), 0)) if len(tile) else np.zeros(0, np.int64)
    return np.where(multi, -1, (count - count[start]) % workers) if len(tile) else np.zeros(0, np.int64)


def _longest(tile: I64, worker: I64, slots: I64, device: SystemSpec) -> I64:
    """Cycles in which the slowest worker of each tile is through with its slots.  Returns: (tiles,) int64."""
    workers, tiles = device.workers_per_tile, device.num_tiles
    each = np.bincount(tile * workers + worker, weights=slots, minlength=tiles * workers)
    return np.asarray(workers * each.reshape(tiles, -1).max(axis=1), np.int64)
