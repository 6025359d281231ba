"""When each variable is live: from the superstep that first writes it to the one that last reads it.

A variable that is read before anything writes it (an input of the program, a weight) is live from the start; one that
the program's results look at is live to the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from ipusim.program.graph import Graph
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
    final_step = len(graph.steps) - 1
    for step, compute_set in enumerate(graph.compute_sets()):
        for group in compute_set.groups:
            for field in group.fields:
                for variable in field.tensor.variables():
                    first.setdefault(variable, step if field.role == "out" else 0)
                    last[variable] = step
    for tensor in results:
        for variable in tensor.variables():
            first.setdefault(variable, 0)
            last[variable] = final_step
    return {v: Life(0, final_step) if v.always_live else Life(first[v], last[v]) for v in graph.variables if v in first}
