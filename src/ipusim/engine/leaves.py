"""The places of a program where time passes, with what each costs beside its vertices.

A leaf is a compute set or a copy; a program may execute it at several sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ipusim.engine.flow import Condition, Flow
from ipusim.engine.links import Exchange
from ipusim.engine.messages import everyone
from ipusim.engine.wired import CopyCosts, Surroundings, copy_costs, surroundings
from ipusim.hw import cost
from ipusim.hw.spec import SystemSpec
from ipusim.program import elements
from ipusim.program.control import Copy, Execute
from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.mapping import I64
from ipusim.program.painting import Intervals
from ipusim.program.placing import owners
from ipusim.program.wiring import WiredGroup

Wired = dict[ComputeSet, list[WiredGroup]]
Where = dict[int, Intervals]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Leaf:
    """A compute set or (with `copy`) a copy: its vertices, its costs beside them, and the number of its first group."""

    groups: Sequence[WiredGroup]
    around: Surroundings | CopyCosts
    first_group: int
    copy: Copy | None = None


def find_leaves(flow: Flow, graph: Graph, wired: Wired, where: Where, device: SystemSpec) -> tuple[list[Leaf], I64]:
    """(leaves, the leaf of each site or -1)."""
    leaves: list[Leaf] = []
    known: dict[Any, int] = {}
    of_site = np.full(max(1, len(flow.sites)), -1, np.int64)
    groups = 0
    for i, site in enumerate(flow.sites):
        what = site.what
        if not isinstance(what, Execute | Copy):
            continue
        key = what.compute_set if isinstance(what, Execute) else what
        if key not in known:
            known[key] = len(leaves)
            if isinstance(what, Execute):
                mine = wired[what.compute_set]
                leaves.append(Leaf(mine, surroundings(mine, graph.variables, where, device), groups))
                groups += len(mine)
            else:
                leaves.append(Leaf([], _copy(what, graph, where, device), groups, what))
        of_site[i] = known[key]
    return leaves, of_site


def _copy(copy: Copy, graph: Graph, where: Where, device: SystemSpec) -> CopyCosts:
    """Both ends cut wherever either passes to another run or another tile, so that pieces correspond."""
    ends = [elements.runs([t]) for t in (copy.source, copy.target)]
    for _ in range(2):
        edges = np.union1d(*(np.cumsum(owners(elements.cut(e, np.cumsum(e.length)), where).length) for e in ends))
        ends = [elements.cut(e, edges) for e in ends]
    source, target = ends
    base = np.concatenate([[0], np.cumsum([v.elements for v in graph.variables])]).astype(np.int64)
    return copy_costs(
        owners(source, where),
        owners(target, where),
        base=base,
        variable=(source.variable.astype(np.int64), target.variable.astype(np.int64)),
        size=copy.source.dtype.bytes,
        device=device,
    )


def predicates(flow: Flow, where: Where, device: SystemSpec) -> dict[int, Exchange]:
    """The exchanges that tell every tile a condition, by site."""
    found = {}
    for i, site in enumerate(flow.sites):
        if isinstance(site.what, Condition):
            tile = owners(elements.runs([site.what.tensor]), where).tile[0]
            found[i] = everyone(int(tile), cost.PREDICATE_BYTES, device)
    return found
