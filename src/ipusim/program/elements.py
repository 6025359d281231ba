"""Which elements of which variables a view looks at, in order, as runs.

A view of one variable made by slices, transposes, reversals, broadcasts and those reshapes that numpy could do without
a copy is a strided box: an offset, and a length and a stride per axis.  Everything else (joins, reshapes across a
stride) is a list of such boxes or, at worst, a list of elements.  A run is a stretch of consecutive elements of one
variable; runs that touch are one run.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np

from ipusim.jit import jit
from ipusim.program.mapping import I32, I64
from ipusim.program.tensor import Tensor, Variable

Box = tuple[Variable, int, tuple[int, ...], tuple[int, ...]]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Runs:
    """Runs of many views: those of view i are `first`[i]..`first`[i + 1].

    `variable` (r,) int32: the variable's number in its graph; `start`, `length` (r,) int64: elements.
    """

    first: I64
    variable: I32
    start: I64
    length: I64

    def __len__(self) -> int:
        return len(self.start)

    def counts(self) -> I64:
        """Runs of each view."""
        return np.diff(self.first)

    def owner(self) -> I64:
        """The view of each run."""
        return np.repeat(np.arange(len(self.first) - 1), self.counts())

    def elements(self) -> I64:
        """Elements of each view.  Returns: (views,) int64."""
        total = np.concatenate([[0], np.cumsum(self.length)])
        return np.asarray(total[self.first[1:]] - total[self.first[:-1]])


def boxes(tensor: Tensor) -> list[Box]:
    """Strided boxes (variable, offset, lengths, strides) whose elements, one box after the other, are the view's."""
    if tensor.place is None:
        tensor.place = _boxes(tensor)
    found: list[Box] = tensor.place
    return found


def _boxes(tensor: Tensor) -> list[Box]:
    if prod(tensor.shape) == 0:
        return []
    if tensor.variable is not None:
        return [(tensor.variable, 0, tensor.shape, _row_major(tensor.shape))]
    if tensor.kind == "reshape":
        return _reshaped(boxes(tensor.sources[0]), tensor.shape)
    if tensor.kind == "concat":
        if prod(tensor.shape[: tensor.args]) == 1:
            return [b for s in tensor.sources for b in boxes(s)]
        return _listed(tensor)
    base = boxes(tensor.sources[0])
    if len(base) != 1 or base[0][2] != tensor.sources[0].shape:
        return _listed(tensor)
    return [_moved(tensor, *base[0])]


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def _reshaped(base: list[Box], shape: tuple[int, ...]) -> list[Box]:
    """The order of elements stays; a single box takes the new shape if its strides allow that."""
    if len(base) != 1:
        return base
    variable, offset, lengths, strides = base[0]
    kept = [(n, s) for n, s in zip(lengths, strides, strict=True) if n != 1]
    groups: list[tuple[int, int]] = []  # merged axes: (length, stride)
    for n, s in kept:
        if groups and groups[-1][1] == n * s:
            groups[-1] = (groups[-1][0] * n, s)
        else:
            groups.append((n, s))
    out: list[int] = []
    at, left, step = 0, *(groups[0] if groups else (1, 1))
    for n in shape:
        if n == 1:
            out.append(0)
            continue
        if left == 1:
            at += 1
            left, step = groups[at]
        if left % n:
            return base
        left //= n
        out.append(left * step)
    return [(variable, offset, shape, tuple(out))]


def _moved(tensor: Tensor, variable: Variable, offset: int, lengths: Any, strides: Any) -> Box:
    """A slice, a stride, a transpose or a broadcast of a box."""
    match tensor.kind:
        case "slice":
            axis, start, _ = tensor.args
            return variable, offset + start * strides[axis], tensor.shape, strides
        case "stride":
            axis, start, _, step = tensor.args
            changed = (*strides[:axis], strides[axis] * step, *strides[axis + 1 :])
            return variable, offset + start * strides[axis], tensor.shape, changed
        case "permute":
            return variable, offset, tensor.shape, tuple(strides[a] for a in tensor.args)
        case "solid":
            return variable, offset, lengths, strides
        case _:
            extra = len(tensor.shape) - len(lengths)
            own = zip(tensor.shape[extra:], lengths, strides, strict=True)
            return variable, offset, tensor.shape, (0,) * extra + tuple(0 if n != m else s for n, m, s in own)


def _listed(tensor: Tensor) -> list[Box]:
    """Runs of a view that is no box, one box each."""
    numbers, at = positions(tensor)
    flat, where = numbers.ravel(), at.ravel()
    variables = {v.number: v for v in tensor.variables()}
    breaks = np.flatnonzero((np.diff(where) != 1) | (np.diff(flat) != 0)) + 1
    edges = np.concatenate([[0], breaks, [len(where)]]) if len(where) else np.zeros(1, np.int64)
    return [(variables[int(flat[a])], int(where[a]), (int(b - a),), (1,)) for a, b in itertools.pairwise(edges)]


def positions(tensor: Tensor) -> tuple[I32, I64]:
    """(number of the variable, element of it) of every element of a view, each of the view's shape."""
    if prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, np.int32), np.zeros(tensor.shape, np.int64)
    base = tensor.place if tensor.place is not None else (None if tensor.variable is None else _boxes(tensor))
    if base is not None and len(base) == 1 and base[0][2] == tensor.shape:
        variable, offset, lengths, strides = base[0]
        at = np.full(lengths, offset, np.int64)
        for axis, (n, step) in enumerate(zip(lengths, strides, strict=True)):
            at += (np.arange(n, dtype=np.int64) * step).reshape((-1,) + (1,) * (len(lengths) - axis - 1))
        return np.full(lengths, variable.number, np.int32), at
    parts = [positions(s) for s in tensor.sources]
    if tensor.kind == "concat":
        return tuple(np.concatenate(p, axis=tensor.args) for p in zip(*parts, strict=True))  # type: ignore[return-value]
    numbers, at = parts[0]
    return tensor.apply(numbers), tensor.apply(at)


def runs(views: Sequence[Tensor]) -> Runs:
    """Runs of every view, in order."""
    found = [boxes(v) for v in views]
    return runs_of_boxes([b for part in found for b in part], [len(part) for part in found])


def runs_of_boxes(every: list[Box], per_view: Sequence[int]) -> Runs:
    """Runs of views that have `per_view`[i] of the boxes each, in order."""
    count = len(every)
    number = np.fromiter((b[0].number for b in every), np.int32, count)
    offset = np.fromiter((b[1] for b in every), np.int64, count)
    axes = max([1, *(len(b[2]) for b in every)])
    lengths = np.ones((count, axes), np.int64)
    strides = np.zeros((count, axes), np.int64)
    for i, (_, _, n, s) in enumerate(every):
        if n:
            lengths[i, axes - len(n) :] = n
            strides[i, axes - len(n) :] = s
    view_first = np.concatenate([[0], np.cumsum(np.asarray(per_view, np.int64))]).astype(np.int64)
    return runs_of_columns(number, offset, lengths, strides, view_first)


def runs_of_columns(number: I32, offset: I64, lengths: I64, strides: I64, view_first: I64) -> Runs:
    """Runs of views made of strided boxes, those of view i `view_first`[i]..`view_first`[i + 1].

    Of each box: `number` of its variable and `offset` in it, both (boxes,); `lengths`, `strides`, both (boxes, axes).
    """
    solid = np.ascontiguousarray(offset), np.ascontiguousarray(lengths), np.ascontiguousarray(strides)
    return Runs(*_expand(np.ascontiguousarray(number), *solid, view_first))


def cut(found: Runs, edges: I64) -> Runs:
    """Runs of one view cut at positions `edges` (ascending, the last is the view's length) of its elements."""
    ends = np.cumsum(found.length)
    begin = np.concatenate([[0], edges])[:-1].astype(np.int64)
    run = np.searchsorted(ends, begin, "right")
    start = found.start[run] + begin - (ends - found.length)[run]
    first = np.array([0, len(edges)], np.int64)
    return Runs(first, found.variable[run], start, edges - begin)


@jit
def _most_runs(lengths: I64, strides: I64) -> int:
    total = 0
    axes = lengths.shape[1]
    for i in range(len(lengths)):
        outer = 1
        for a in range(axes - 1):
            outer *= lengths[i, a]
        inner = lengths[i, axes - 1]
        total += outer * (1 if strides[i, axes - 1] == 1 or inner == 1 else inner)
    return total


@jit
def _expand(number: I32, offset: I64, lengths: I64, strides: I64, view_first: I64) -> tuple[I64, I32, I64, I64]:
    most = _most_runs(lengths, strides)
    variable, start, length = np.empty(most, np.int32), np.empty(most, np.int64), np.empty(most, np.int64)
    first = np.zeros(len(view_first), np.int64)
    axes = lengths.shape[1]
    index = np.zeros(axes, np.int64)
    used = 0
    for view in range(len(view_first) - 1):
        begin = used
        for i in range(view_first[view], view_first[view + 1]):
            volume = 1
            for a in range(axes):
                volume *= lengths[i, a]
                index[a] = 0
            if volume == 0:
                continue
            solid = strides[i, axes - 1] == 1 or lengths[i, axes - 1] == 1
            piece = lengths[i, axes - 1] if solid else 1
            at = offset[i]
            while True:
                if used > begin and variable[used - 1] == number[i] and start[used - 1] + length[used - 1] == at:
                    length[used - 1] += piece
                else:
                    variable[used], start[used], length[used] = number[i], at, piece
                    used += 1
                a = axes - 2 if solid else axes - 1
                while a >= 0:
                    index[a] += 1
                    at += strides[i, a]
                    if index[a] < lengths[i, a]:
                        break
                    at -= index[a] * strides[i, a]
                    index[a] = 0
                    a -= 1
                if a < 0:
                    break
        first[view + 1] = used
    return first, variable[:used].copy(), start[:used].copy(), length[:used].copy()
