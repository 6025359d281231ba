"""Whether a codelet does the same to every element of its vectors, so that vertices side by side are one long vertex.

That is so for a single loop over the length of a vector that indexes all vectors by its counter and by nothing else,
carries nothing from one iteration to the next, and uses neither the counter nor a length as a value.  Only what values
are computed with changes: slots are counted vertex by vertex.
"""

from __future__ import annotations

from ipusim.lang import ir
from ipusim.lang.flow import assigned, exposed
from ipusim.lang.reads import expressions, statements, walk


def elementwise(function: ir.Function) -> bool:
    """Whether vertices over adjacent elements may run as one; their members and scalar fields must be equal."""
    depths = {f.name: f.depth for f in function.fields}
    scalars_written = any(f.depth == 0 and f.role != "in" for f in function.fields)
    if function.worker is not None or scalars_written or max(depths.values(), default=0) != 1:
        return False
    if not function.body or not isinstance(function.body[-1], ir.For):
        return False
    loop, before = function.body[-1], function.body[:-1]
    if not all(isinstance(s, ir.Assign) and not _touches_vectors(s, depths) for s in before):
        return False
    return _whole(loop, depths) and _alike(loop, depths)


def _whole(loop: ir.For, depths: dict[str, int]) -> bool:
    """The loop runs from 0 by 1 to the length of a vector."""
    begins = isinstance(loop.start, ir.Const) and loop.start.value == 0 and loop.step == 1
    return begins and isinstance(loop.stop, ir.Length) and depths[loop.stop.field] == 1


def _alike(loop: ir.For, depths: dict[str, int]) -> bool:
    """All iterations do the same to their own elements."""
    if exposed(loop.body) & set(assigned(loop.body)) or loop.name in assigned(loop.body):
        return False
    for statement in statements(loop.body):
        if not isinstance(statement, ir.Assign | ir.Store | ir.If):
            return False
        if isinstance(statement, ir.Store) and not _own(statement.index, loop.name):
            return False
        values = [statement.value] if isinstance(statement, ir.Store) else expressions(statement)
        if not all(_fits(value, loop.name, depths) for value in values):
            return False
    return True


def _fits(value: ir.Expr, counter: str, depths: dict[str, int]) -> bool:
    """No length, no counter except as the index of a vector."""
    nodes = list(walk(value))
    loads = [n for n in nodes if isinstance(n, ir.Load) and depths[n.field] == 1]
    counters = [n for n in nodes if isinstance(n, ir.Name) and n.name == counter]
    lengths = [n for n in nodes if isinstance(n, ir.Length)]
    return not lengths and len(counters) == len(loads) and all(_own(load.index, counter) for load in loads)


def _own(index: tuple[ir.Expr, ...], counter: str) -> bool:
    return len(index) == 1 and isinstance(index[0], ir.Name) and index[0].name == counter


def _touches_vectors(statement: ir.Stmt, depths: dict[str, int]) -> bool:
    nodes = [n for root in expressions(statement) for n in walk(root)]
    return any(isinstance(n, ir.Length) or (isinstance(n, ir.Load) and depths[n.field] == 1) for n in nodes)
