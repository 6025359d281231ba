"""Races within a compute set: elements that two fields write, or that one reads and another writes.

Elements of all variables are numbered through; the runs that fields write are sorted by where they begin, so that two
that overlap are neighbours, and every run that is read is looked up among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.jit import jit
from ipusim.program.mapping import I64
from ipusim.program.tensor import Variable
from ipusim.program.wiring import WiredGroup


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Accesses:
    """Runs of fields: `start`, `stop` among all elements, `owner`: number of the field of the vertex."""

    start: I64
    stop: I64
    owner: I64

    def sorted(self) -> _Accesses:
        order = np.lexsort((self.owner, self.start))
        return _Accesses(self.start[order], self.stop[order], self.owner[order])


def conflicts(name: str, groups: Sequence[WiredGroup], variables: Sequence[Variable], most: int) -> list[str]:
    """A message per race, at most `most` of a kind and a line about how many more."""
    base = np.concatenate([[0], np.cumsum([v.elements for v in variables])]).astype(np.int64)
    names = [(g, f) for g in range(len(groups)) for f in range(len(groups[g].fields))]
    written = _accesses(groups, base, ("out", "inout"), names).sorted()
    read = _accesses(groups, base, ("in",), names)
    a, b, count_w = _write_pairs(written.start, written.stop, most)
    c, d, count_r = _read_pairs(read.start, read.stop, written.start, written.stop, most)
    found = [
        _message(name, groups, names, variables, base, (written, int(i)), (written, int(j)), "both write")
        for i, j in zip(a, b, strict=True)
    ]
    found += [
        _message(name, groups, names, variables, base, (read, int(i)), (written, int(j)), "read and write")
        for i, j in zip(c, d, strict=True)
    ]
    more = count_w + count_r - len(found)
    return [*found, f"compute set {name!r}: {more} more races"] if more > 0 else found


def _accesses(
    groups: Sequence[WiredGroup], base: I64, roles: tuple[str, ...], names: Sequence[tuple[int, int]]
) -> _Accesses:
    starts, stops, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for key, (g, f) in enumerate(names):
        if groups[g].codelet.fields[f].role not in roles:
            continue
        column = groups[g].fields[f]
        runs = column.runs
        vertex_of_vector = np.repeat(np.arange(len(groups[g])), np.diff(column.first))
        start = base[runs.variable] + runs.start
        starts.append(start)
        stops.append(start + runs.length)
        owners.append(vertex_of_vector[runs.owner()] * len(names) + key)
    return _Accesses(np.concatenate(starts), np.concatenate(stops), np.concatenate(owners))


@jit
def _write_pairs(start: I64, stop: I64, most: int) -> tuple[I64, I64, int]:
    first, second = np.empty(most, np.int64), np.empty(most, np.int64)
    count, reach = 0, 0
    for i in range(1, len(start)):
        if stop[reach] > start[i] and stop[i] > start[i]:
            if count < most:
                first[count], second[count] = reach, i
            count += 1
        if stop[i] > stop[reach]:
            reach = i
    kept = min(count, most)
    return first[:kept], second[:kept], count


@jit
def _read_pairs(start: I64, stop: I64, w_start: I64, w_stop: I64, most: int) -> tuple[I64, I64, int]:
    first, second = np.empty(most, np.int64), np.empty(most, np.int64)
    count = 0
    if len(w_start) == 0:
        return first[:0], second[:0], 0
    for i in range(len(start)):
        if stop[i] == start[i]:
            continue
        j = np.searchsorted(w_start, start[i], "right") - 1
        if j < 0 or w_stop[j] <= start[i]:
            j += 1
        if j < len(w_start) and w_start[j] < stop[i]:
            if count < most:
                first[count], second[count] = i, j
            count += 1
    kept = min(count, most)
    return first[:kept], second[:kept], count


def _message(
    name: str,
    groups: Sequence[WiredGroup],
    names: Sequence[tuple[int, int]],
    variables: Sequence[Variable],
    base: I64,
    one: tuple[_Accesses, int],
    other: tuple[_Accesses, int],
    verb: str,
) -> str:
    begin = max(int(a.start[i]) for a, i in (one, other))
    end = min(int(a.stop[i]) for a, i in (one, other))
    variable = variables[int(np.searchsorted(base, begin, "right")) - 1]
    at = int(base[variable.number])
    first, second = (_field(groups, names, int(a.owner[i])) for a, i in (one, other))
    return (
        f"compute set {name!r}: {first} and {second} {verb} {variable.name!r}, elements [{begin - at}:{end - at}] of "
        "the flattened variable; vertices of one compute set run in no order"
    )


def _field(groups: Sequence[WiredGroup], names: Sequence[tuple[int, int]], owner: int) -> str:
    row, key = divmod(owner, len(names))
    g, f = names[key]
    group = groups[g]
    return f"{group.line[row]} vertex {group.codelet.name} on tile {group.tile[row]}, field {group.fields[f].name!r}"
