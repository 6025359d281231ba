"""Runs one codelet over vertices given as numpy arrays: builds the table that compiled group functions read."""

from __future__ import annotations

import ctypes

import numpy as np

from ipusim import address
from ipusim.jit import DISABLED


class Group:
    """Vertices of one codelet: a dict per vertex from field or member to an array, a list of rows, or a number."""

    def __init__(self, codelet, vertices):
        self.codelet, self.vertices, self.kept = codelet, vertices, []
        per_vertex = 6 if codelet.kind == "multi" else 1
        self.slots = np.zeros(per_vertex * len(vertices), np.int64)
        self.status = np.zeros(8, np.int64)
        words = [self._at(self.slots), self._at(self.status)]
        for spec in codelet.fields:
            words += (self._scalars, self._vectors, self._rows)[spec.depth](spec.name)
        for value in codelet.values:
            column = np.array([v[value.name] for v in vertices], np.float64 if value.dtype.is_float else np.int64)
            words.append(self._at(column))
        self.table = np.array(words, np.int64)

    def _at(self, array):
        self.kept.append(array)
        return address.address_of(array)

    def _scalars(self, name):
        return [self._at(np.array([self._at(v[name]) for v in self.vertices], np.int64))]

    def _vectors(self, name):
        lengths = np.array([len(v[name]) for v in self.vertices], np.int64)
        return [*self._scalars(name), self._at(lengths)]

    def _rows(self, name):
        rows = [row for v in self.vertices for row in v[name]]
        counts = np.array([len(v[name]) for v in self.vertices], np.int64)
        first = np.cumsum(counts) - counts
        tables = [
            np.array([self._at(r) for r in rows] or [0], np.int64),
            np.array([len(r) for r in rows] or [0], np.int64),
        ]
        return [self._at(a) for a in (first, counts, *tables)]

    def run(self, *, counted=True, lo=0, hi=None):
        """Runs the vertices and returns the slots."""
        self.status[:] = 0
        where = self.codelet.compiled(counted=counted)
        arguments = (address.address_of(self.table), lo, len(self.vertices) if hi is None else hi)
        if DISABLED:
            address.call(where, *arguments)
        else:
            ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(where)(*arguments)
        return self.slots


def run(codelet, *, counted=True, **fields):
    """Runs one vertex; a failure is an AssertionError with its text."""
    group = Group(codelet, [fields])
    slots = group.run(counted=counted)
    assert group.status[0] == 0, codelet.failure(group.status)
    return slots
