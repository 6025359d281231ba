"""Two variables as one: what a loop's body makes goes to the place of the value that it replaces, without a copy.

A copy `source` -> `target` at the end of a loop's steps can go if the vertices that make `source` can write to
`target`'s variable instead: both are stored alike on the same tiles, and nothing in the loop touches the target's old
value any more once the source is begun.  Where steps are in a loop of their own, "once" is the start of that loop.

Omitted: a vertex that reads exactly the elements of the old value that it then writes (ops that know how to work in
place do that themselves).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ipusim.program.graph import ComputeSet, Execute, Graph, Loop, VertexGroup, WholeOp
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor, Variable


def merge(graph: Graph, loop: Loop, source: Tensor, target: Tensor) -> bool:
    """Lets the steps of a loop, the last of the graph, write what they make for `source` where `target` lies; whether
    that was possible.  Other tensors on `source`'s variable than those of the steps must not be in use.
    """
    old, new = source.chain(), target.chain()
    if old is None or new is None or old[1] != new[1] or not _alike(old[0], new[0]):
        return False
    begun = _begun(graph, loop, old[0])
    if begun is None or any(new[0] in touched for _, touched in _touches(graph, loop, begun)):
        return False
    for compute_set in graph.sets[loop.first :]:
        compute_set.groups[:] = [_group(g, old[0], new[0]) for g in compute_set.groups]
        if compute_set.told is not None:
            compute_set.told = moved(compute_set.told, old[0], new[0])
    for inner in _loops(loop):
        inner.whole[:] = [_whole(w, old[0], new[0]) for w in inner.whole]
        inner.tests[:] = [(place, moved(t, old[0], new[0])) for place, t in inner.tests]
    graph.variables.remove(old[0])
    return True


def moved(tensor: Tensor, old: Variable, new: Variable) -> Tensor:
    """The same view with one variable in place of another."""
    if old not in tensor.variables():
        return tensor
    if tensor.variable is not None:
        return Tensor.of(new)
    sources = tuple(moved(s, old, new) for s in tensor.sources)
    return Tensor(tensor.kind, tensor.shape, tensor.dtype, sources, tensor.args)


def _alike(a: Variable, b: Variable) -> bool:
    """Whether two variables are stored alike on the same tiles, and `a` is made by the program and no result of it."""
    form = [(v.shape, v.dtype, v.channels, v.channel_axis) for v in (a, b)]
    if a is b or form[0] != form[1] or a.initial is not None or a.always_live or a.keep:
        return False
    return a.mapping is not None and b.mapping is not None and _same_places(a.mapping, b.mapping)


def _same_places(a: Mapping, b: Mapping) -> bool:
    if a is b:
        return True
    cuts = all(np.array_equal(x, y) for x, y in zip(a.cuts, b.cuts, strict=True))
    return a.shape == b.shape and cuts and a.repeats == b.repeats and np.array_equal(a.tiles, b.tiles)


def _begun(graph: Graph, loop: Loop, variable: Variable) -> int | None:
    """The number of the compute set from which on the loop makes a variable; None if it is not all the loop's own."""
    if any(variable in _of_set(s) for s in graph.sets[: loop.first]):
        return None
    for number, touched in _touches(graph, loop, loop.first):
        if variable in touched:
            fields = [f for g in graph.sets[number].groups for f in g.fields if variable in f.tensor.variables()]
            if not fields or any(f.role != "out" for f in fields):
                return None
            starts = [s.first for s in loop.steps if isinstance(s, Loop) and s.first <= number]
            inside = [first for first in starts if number in range(first, first + _size(loop, first))]
            return min([number, *inside])
    return None


def _size(loop: Loop, first: int) -> int:
    """Compute sets in the loop among a loop's steps that begins with a compute set."""
    return next(_sets(s) for s in loop.steps if isinstance(s, Loop) and s.first == first)


def _sets(step: Execute | Loop) -> int:
    return 1 if isinstance(step, Execute) else sum(map(_sets, step.steps))


def _touches(graph: Graph, loop: Loop, begin: int) -> Iterator[tuple[int, set[Variable]]]:
    """(number, variables that it or a function over its loop looks at) of the compute sets from `begin` on."""
    inner = list(_loops(loop))
    for number in range(begin, len(graph.sets)):
        touched = _of_set(graph.sets[number])
        for around in inner:
            if number in range(around.first, around.first + _sets(around)):
                touched |= {v for w in around.whole for t in w.tensors for v in t.variables()}
        yield number, touched


def _loops(loop: Loop) -> Iterator[Loop]:
    """A loop and all loops in it."""
    yield loop
    for step in loop.steps:
        if isinstance(step, Loop):
            yield from _loops(step)


def _of_set(compute_set: ComputeSet) -> set[Variable]:
    tensors = [f.tensor for g in compute_set.groups for f in g.fields]
    tensors += [t for g in compute_set.groups if g.whole for t in g.whole.tensors]
    tensors += [compute_set.told] if compute_set.told is not None else []
    return {v for t in tensors for v in t.variables()}


def _group(group: VertexGroup, old: Variable, new: Variable) -> VertexGroup:
    fields = tuple(
        replace(f, tensor=moved(f.tensor, old, new)) if old in f.tensor.variables() else f for f in group.fields
    )
    whole = None if group.whole is None else _whole(group.whole, old, new)
    same = whole is group.whole and all(a is b for a, b in zip(fields, group.fields, strict=True))
    return group if same else replace(group, fields=fields, whole=whole)


def _whole(whole: WholeOp, old: Variable, new: Variable) -> WholeOp:
    if not any(old in t.variables() for t in whole.tensors):
        return whole
    return replace(whole, tensors=tuple(moved(t, old, new) for t in whole.tensors))


__all__ = ["merge", "moved"]
