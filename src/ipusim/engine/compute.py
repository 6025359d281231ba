"""Compute phase: cycles of every vertex, tile by tile.

Ideal (cost-model of poplibs): MultiVertices of a tile run one after another, each with all six contexts; worker
vertices are dealt to the contexts in order, each to the one that is free first, and one thread cycle is six tile
cycles:

    tile cycles = sum of MultiVertices + 6 x makespan of the worker vertices

A tile without vertices is idle.  Vertices of equal sizes take equal time, so the estimator is called once per
distinct row. Omitted: memory conflicts between contexts, launch cost beyond what the vertex formulas hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.engine.distinct import distinct_rows
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.program.codelet import evaluate_rows
from ipusim.program.graph import ComputeSet, Rows, VertexGroup
from ipusim.program.mapping import I32, I64


def classes(rows: Rows) -> tuple[I32, I64]:
    """(class of each row, first row of each class): rows with equal sizes form a class."""

    def make() -> tuple[I32, I64]:
        of_row, first, count = distinct_rows(rows.sizes)
        return of_row, first[:count]

    return rows.memo("classes", make)


def per_vertex(group: VertexGroup, what: str = "cycles") -> I64:
    """Cycles (or "flops") of each vertex of a group, in the codelet's unit.  Returns: (vertices,) int64."""
    function = getattr(group.codelet, what)
    key = (what, group.codelet.name, group.attrs)

    def make() -> I64:
        of_row, first = classes(group.rows)
        values = evaluate_rows(function, group.attrs, group.rows.sizes, first)
        return np.array(values, np.int64)[of_row]

    return group.rows.memo(key, make)


@jit
def _makespans(tile: I32, cycles: I64, workers: int, out: I64) -> None:
    """Adds to `out` the time at which the last of `workers` contexts of each tile is done; rows are ordered by tile."""
    busy = np.zeros(workers, np.int64)
    count = len(tile)
    for i in range(count):
        slot = 0
        for w in range(1, workers):
            if busy[w] < busy[slot]:
                slot = w
        busy[slot] += cycles[i]
        if i + 1 == count or tile[i + 1] != tile[i]:
            longest = np.int64(0)
            for w in range(workers):
                longest = max(longest, busy[w])
                busy[w] = 0
            out[tile[i]] += longest


def tile_cycles(groups: list[tuple[VertexGroup, I64]], chip: ChipSpec) -> I64:
    """Busy cycles of each tile for (group, cycles per vertex) pairs of one compute set.  Returns: (tiles,) int64."""
    out = np.zeros(chip.tiles, np.int64)
    worker_tiles: list[I32] = []
    worker_cycles: list[I64] = []
    for group, cycles in groups:
        if group.codelet.kind == "multi":
            np.add.at(out, group.rows.tile, cycles)
        else:
            worker_tiles.append(group.rows.tile)
            worker_cycles.append(cycles)
    if worker_tiles:
        tile = np.concatenate(worker_tiles)
        order = np.argsort(tile, kind="stable")
        spans = np.zeros(chip.tiles, np.int64)
        _makespans(tile[order], np.concatenate(worker_cycles)[order], chip.tile.workers, spans)
        out += chip.tile.workers * spans
    return out


def compute_cycles(compute_set: ComputeSet, chip: ChipSpec) -> I64:
    """Busy cycles of each tile in a compute set.  Returns: (tiles,) int64, zero for a tile without vertices."""
    return tile_cycles([(g, per_vertex(g)) for g in compute_set.groups], chip)


def flops(compute_set: ComputeSet) -> int:
    """Floating-point operations of all vertices; a multiply-add is two."""
    return int(sum(per_vertex(g, "flops").sum() for g in compute_set.groups))


def worst(values: NDArray[Any]) -> int:
    """The slowest tile's figure."""
    return int(values.max()) if len(values) else 0
