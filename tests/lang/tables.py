"""Runs codelets on numpy arrays: builds the tables that group functions read, and codelets from text."""

from __future__ import annotations

import ctypes
import itertools
import linecache
import textwrap

import numpy as np

from ipusim import address
from ipusim.jit import DISABLED
from ipusim.lang.decorator import codelet
from ipusim.lang.emit import group_source
from ipusim.lang.machine_python import __name__ as plain_words

_numbers = itertools.count(1)

PREAMBLE = """
import math
import numpy as np
from ipusim.dtype import bool_, float32, half, int8, int16, int32, uint8, uint16, uint32
from ipusim.lang.fields import InOut, Input, Output, Vector
from ipusim.lang.functions import clamp, rsqrt, sigmoid
"""


def function_of(text, name="f", **names):
    """The function `name` of a text, with a source that can be read."""
    text = textwrap.dedent(text).strip() + "\n"
    file = f"<codelet {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope = dict(names)
    exec(PREAMBLE, scope)
    exec(compile(text, file, "exec"), scope)
    return scope[name]


def codelet_of(text, name="f", options=None, **names):
    """A codelet from text."""
    return codelet(**(options or {}))(function_of(text, name, **names))


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
        places = np.array([self._at(r) for r in rows] or [0], np.int64)
        lengths = np.array([len(r) for r in rows] or [0], np.int64)
        return [self._at(a) for a in (np.cumsum(counts) - counts, counts, places, lengths)]

    def run(self, how="counted", lo=0, hi=None):
        """Runs the vertices, compiled ("counted", "plain") or as plain Python ("words"); returns the slots."""
        self.status[:] = 0
        arguments = (address.address_of(self.table), lo, len(self.vertices) if hi is None else hi)
        if how == "words":
            scope = {}
            exec(group_source(self.codelet.function, costs=self.codelet.costs(), words=plain_words), scope)
            with np.errstate(all="ignore"):
                scope["group"](*arguments)
            return self.slots
        where = self.codelet.compiled(counted=how == "counted")
        if DISABLED:
            address.call(where, *arguments)
        else:
            ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(where)(*arguments)
        return self.slots


def run(codelet, how="counted", **fields):
    """Runs one vertex; a failure is an AssertionError with its text.  Returns the slots."""
    group = Group(codelet, [fields])
    slots = group.run(how)
    assert group.status[0] == 0, codelet.failure(group.status)
    return slots


def fails(codelet, how="counted", **fields):
    """The text of the failure of one vertex."""
    group = Group(codelet, [fields])
    group.run(how)
    assert group.status[0] != 0, "nothing failed"
    return codelet.failure(group.status)


def same(found, expected):
    """Bitwise equal, but for which NaN it is."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype
    if found.dtype.kind != "f":
        return np.array_equal(found, expected)
    lost = np.isnan(expected)
    bits = f"u{found.dtype.itemsize}"
    return np.array_equal(np.isnan(found), lost) and np.array_equal(found.view(bits)[~lost], expected.view(bits)[~lost])
