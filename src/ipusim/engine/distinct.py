"""Rows that are equal, found by hashing in one pass: kinds of vertices among a thousand, boxes that many tiles need."""

from __future__ import annotations

import numpy as np

from ipusim.jit import jit
from ipusim.program.mapping import I32, I64


@jit
def distinct_rows(rows: I32) -> tuple[I32, I64, int]:
    """Class of each row of (n, columns), the first row of each class, and how many classes there are.

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
        key = np.int64(1469598103)
        for a in range(width):
            key = (key ^ np.int64(rows[i, a])) * np.int64(1099511628211)
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
