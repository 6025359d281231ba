"""Vertices side by side as one: fewer, longer calls where a codelet does the same to every element.

Only the values of executions whose cycles are known are computed this way; see ipusim.lang.elementwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.address import address_of
from ipusim.engine.loaded import Table
from ipusim.program.mapping import I64
from ipusim.program.wiring import WiredGroup

WORTH = 2  # vertices that have to become one on average


def fuse(table: Table, group: WiredGroup) -> tuple[I64, list[Any]] | None:
    """(table of the longer vertices, arrays to keep), or None where that is not possible or gains little."""
    whole = len(table.parts) == 1 and not len(table.parts[0].gather)
    if not group.codelet.elementwise or not whole or len(group) < WORTH:
        return None
    columns: list[NDArray[Any]] = table.keep[1:]
    alike = np.ones(len(group) - 1, bool)
    lengths: list[I64] = []
    at = 0
    for spec in group.codelet.fields:
        address = columns[at][: len(group)]
        at += 1
        step = np.zeros(len(group), np.int64)
        if spec.depth == 1:
            lengths.append(columns[at][: len(group)])
            step = lengths[-1] * spec.dtype.bytes
            at += 1
        alike &= address[1:] == (address + step)[:-1]
    for member in columns[at:]:
        alike &= member[1:] == member[:-1]
    equal = np.all([n == lengths[0] for n in lengths], axis=0)
    alike &= equal[1:] & equal[:-1]
    heads = np.flatnonzero(np.append(True, ~alike))
    if WORTH * len(heads) > len(group):
        return None
    return _longer(table, columns, group, heads)


def _longer(table: Table, columns: list[NDArray[Any]], group: WiredGroup, heads: I64) -> tuple[I64, list[Any]]:
    keep: list[Any] = []
    at = 0
    for spec in group.codelet.fields:
        keep.append(columns[at][heads])
        if spec.depth == 1:
            keep.append(np.add.reduceat(columns[at + 1][: len(group)], heads))
        at += 1 + spec.depth
    keep += [member[heads] for member in columns[at:]]
    words = np.array([*table.words[:2].tolist(), *(address_of(c) for c in keep)], np.int64)
    return words, [words, *keep]
