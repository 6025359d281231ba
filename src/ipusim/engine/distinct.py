"""Rows that are equal, found by hashing in one pass: kinds of vertices among a thousand, boxes that many tiles need."""

from __future__ import annotations

import numpy as np

from ipusim.jit import jit
from ipusim.program.mapping import I32, I64
from ipusim.program.wiring import WiredGroup

#: Multiply with carry: a factor of 31 bits on 31 bits of the key, so that no product leaves 64 bits.
_MASK, _PRIME = np.int64(2**31 - 1), np.int64(2**31 - 19)


@jit
def distinct_rows(rows: I32 | I64) -> tuple[I32, I64, int]:
    """Class of each row of (n, columns) integers, the first row of each class, and how many classes there are.

    Classes are numbered in the order in which they appear; only the first `count` entries of the second array mean
    anything.
    """
    count, width = rows.shape
    size = 16
    while size < 2 * count:
        size *= 2
    table = np.full(size, -1, np.int32)
    of_row = np.empty(count, np.int32)
    first = np.empty(count, np.int64)
    classes = 0
    for i in range(count):
        key = np.int64(0)
        for a in range(width):
            part = np.int64(rows[i, a])
            key = ((key ^ part) & _MASK) * _PRIME + (key >> np.int64(31)) + (part >> np.int64(31))
            key ^= key >> np.int64(29)
        slot = key & np.int64(size - 1)
        while True:
            found = table[slot]
            if found < 0:
                table[slot] = classes
                first[classes] = i
                of_row[i] = classes
                classes += 1
                break
            same = True
            for a in range(width):
                if rows[first[found], a] != rows[i, a]:
                    same = False
            if same:
                of_row[i] = found
                break
            slot = (slot + 1) & np.int64(size - 1)
    return of_row, first, classes


def vertex_kinds(group: WiredGroup) -> I64:
    """What cycles of a vertex can depend on but its data, a row for each: lengths of its fields, bits of its members.

    Returns: (vertices, columns) int64.
    """
    found: list[I64] = []
    for spec, column in zip(group.codelet.fields, group.fields, strict=True):
        lengths = column.lengths()
        if spec.depth < 2:
            found.append(lengths)
            continue
        count = np.diff(column.first)
        found += [count, _same_lists(lengths, column.first)]
    found += [np.ascontiguousarray(c).view(np.int64) for c in group.values.values()]
    return np.stack([*found, np.zeros(len(group), np.int64)], axis=1)


def _same_lists(lengths: I64, first: I64) -> I64:
    """A number for each vertex, equal where the lengths of its vectors are: the one length, or minus a class."""
    classes: dict[bytes, int] = {}
    out = np.zeros(len(first) - 1, np.int64)
    padded = np.append(lengths, 0)
    start, some = first[:-1], np.diff(first) > 0
    low = np.minimum.reduceat(padded, start) if len(start) else out
    high = np.maximum.reduceat(padded, start) if len(start) else out
    out[some] = low[some]
    for row in np.flatnonzero(some & (low != high)).tolist():
        key = lengths[first[row] : first[row + 1]].tobytes()
        out[row] = -1 - classes.setdefault(key, len(classes))
    return out
