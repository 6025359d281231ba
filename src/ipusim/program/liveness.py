"""When each variable is live: from the superstep that first writes it to the one that last reads it.

A variable that is read before anything writes it (an input of the program, a weight) is live from the start; one that
the program's results look at is live to the end.  What a loop carries from one run to the next, or uses of what is
outside, is live throughout the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import final

from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.tensor import Tensor, Variable


@final
@dataclass(frozen=True, slots=True)
class Life:
    """Steps `first`..`last`, both included."""

    first: int
    last: int


def lifetimes(graph: Graph, results: Iterable[Tensor]) -> dict[Variable, Life]:
    """Life of each variable that the program touches; deferred values count as if they were held."""
    first: dict[Variable, int] = {}
    last: dict[Variable, int] = {}
    final_step = len(graph.sets) - 1
    for step, compute_set in enumerate(graph.compute_sets()):
        for variable, written in _touched(compute_set):
            first.setdefault(variable, step if written else 0)
            last[variable] = step
    for begin, end in graph.loops:
        for variable in _carried(graph, first, last, begin, end):
            first[variable] = min(first[variable], begin)
            last[variable] = max(last[variable], end)
    for tensor in results:
        for variable in tensor.variables():
            first.setdefault(variable, 0)
            last[variable] = final_step
    return {v: Life(0, final_step) if v.always_live else Life(first[v], last[v]) for v in graph.variables if v in first}


def _touched(compute_set: ComputeSet) -> Iterator[tuple[Variable, bool]]:
    """(variable, whether the field only writes it) of every field, and of a condition that is told."""
    if compute_set.told is not None:
        yield from ((variable, False) for variable in compute_set.told.variables())
    for group in compute_set.groups:
        for field in group.fields:
            for variable in field.tensor.variables():
                yield variable, field.role == "out"


def _carried(
    graph: Graph, first: dict[Variable, int], last: dict[Variable, int], begin: int, end: int
) -> set[Variable]:
    """Variables that hold something from one run of a loop's steps `begin`..`end` to the next, or past the loop."""
    seen: set[Variable] = set()
    found: set[Variable] = set()
    for compute_set in graph.sets[begin : end + 1]:
        for variable, written in _touched(compute_set):
            if (variable not in seen and not written) or first[variable] < begin or last[variable] > end:
                found.add(variable)
            seen.add(variable)
    return found
