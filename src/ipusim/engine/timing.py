"""A tile program's cycles without its values: each codelet runs once per kind of vertex, on scratch memory.

Where slots depend on the sizes of fields and the plain members alone, vertices that agree in those take the same slots,
so one of each kind tells all.  Nothing of the program's size is allocated.  Ideal: the cycles of a run with values, to
the last one.  Omitted: codelets whose slots depend on data, and control flow that does, are refused, not guessed;
what a vertex would find wrong with its values is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ipusim.address import address_of, call
from ipusim.engine import loaded
from ipusim.engine.distinct import distinct_rows, vertex_kinds
from ipusim.engine.flow import Condition, Flow
from ipusim.engine.leaves import Leaf
from ipusim.engine.loaded import Storage
from ipusim.engine.tables import Tables, lanes
from ipusim.errors import BadInput, CodeletError
from ipusim.jit import jit
from ipusim.program.control import AbortOnCondition
from ipusim.program.elements import Runs
from ipusim.program.mapping import I64
from ipusim.program.wiring import FieldColumns, WiredGroup


def check_timing_only(flow: Flow, leaves: Sequence[Leaf]) -> None:
    """Raises BadInput for a program whose cycles depend on what its variables hold."""
    for site in flow.sites:
        if isinstance(site.what, Condition | AbortOnCondition):
            raise BadInput(f"{site.name}: what happens depends on values; timing_only=True has none")
    for leaf in leaves:
        for group in leaf.groups:
            if group.codelet.data_dependent and group.codelet.override is None:
                raise BadInput(
                    f"codelet {group.codelet.name}: its cycles depend on what its fields hold; make the engine without "
                    "timing_only=True, or give the codelet cycles=..."
                )


def timed_tables(leaves: Sequence[Leaf], generation: str) -> Tables:
    """Tables of a program that moves and computes nothing, with the slots of every vertex filled in."""
    groups = [g for leaf in leaves for g in leaf.groups]
    sizes = np.array([len(g) * lanes(g) for g in groups], np.int64)
    slot_first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    slots = np.zeros(max(1, int(slot_first[-1])), np.int64)
    for number, group in enumerate(groups):
        if group.codelet.override is None:
            slots[slot_first[number] : slot_first[number + 1]] = _slots(group, generation)
    return Tables(
        groups=groups,
        slots=slots,
        slot_first=slot_first,
        status=np.zeros(9, np.int64),
        parts=np.zeros((0, 7), np.int64),
        part_first=np.zeros(len(leaves) + 1, np.int64),
        moves=np.zeros((0, 3), np.int64),
        addresses=np.zeros(max(1, len(groups)), np.int64),
        functions=np.zeros(max(1, len(groups)), np.int64),
        made=[],
        keep=[],
    )


def _slots(group: WiredGroup, generation: str) -> I64:
    """Slots of every vertex, six a vertex of a MultiVertex.  Raises CodeletError for what a vertex may not do."""
    of_row, first, kinds = distinct_rows(vertex_kinds(group))
    sample, storage = _sample(group, first[:kinds])
    each, status = np.zeros(kinds * lanes(group), np.int64), np.zeros(9, np.int64)
    made = loaded.table(sample, storage, address_of(each), address_of(status))
    _run(group.codelet.compiled(counted=True, generation=generation), address_of(made.words), kinds)
    if status[0]:
        words = status.tolist()[:8]
        at = words[1]
        raise CodeletError(
            f"vertex on tile {sample.tile[at]} added at {sample.line[at]}: {group.codelet.failure(words)}"
        )
    return np.asarray(each.reshape(kinds, -1)[of_row].reshape(-1))


@jit
def _run(function: int, table: int, count: int) -> None:
    call(function, table, 0, count)


def _sample(group: WiredGroup, rows: I64) -> tuple[WiredGroup, Storage]:
    """Some vertices of a group with every vector in scratch memory, and that memory."""
    fields, sizes, largest = [], [], 0
    for number, (spec, column) in enumerate(zip(group.codelet.fields, group.fields, strict=True)):
        count = np.diff(column.first)[rows]
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        vector = np.repeat(column.first[rows] - first[:-1], count) + np.arange(first[-1])
        length = column.lengths()[vector]
        zeros = np.zeros(len(vector), np.int64)
        runs = Runs(np.arange(len(vector) + 1), zeros.astype(np.int32) + number, zeros, length)
        fields.append(FieldColumns(spec.name, runs, first))
        sizes.append(spec.dtype.bytes)
        largest = max(largest, int(length.max(initial=0)) * spec.dtype.bytes)
    sample = replace(
        group,
        tile=group.tile[rows],
        added=group.added[rows],
        line=tuple(group.line[r] for r in rows.tolist()),
        fields=tuple(fields),
        values={name: np.ascontiguousarray(column[rows]) for name, column in group.values.items()},
    )
    return sample, Storage.scratch(largest, sizes)
