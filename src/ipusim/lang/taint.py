"""Whether a codelet's cycles, or what it touches, depend on data.

Data are what fields hold; members, lengths and `worker_id` are part of the graph.  A local variable is data if anything
assigned to it is.  A codelet depends on data if a branch, a `while`, a bound of a loop, an index or the divisor of an
integer division does; or if data decide whether an element is read at all (the right side of `and`, an arm of a
conditional expression).  Once any control depends on data the answer is known, so there is nothing to follow further.
"""

from __future__ import annotations

from ipusim.lang import ir
from ipusim.lang.reads import expressions, parts, statements, walk


def data_dependent(function: ir.Function) -> bool:
    """Whether two runs of a group over the same columns may differ in slots, or in the elements they touch."""
    tainted = _tainted(function)
    for statement in statements(function.body):
        roots = expressions(statement)
        controls = isinstance(statement, (ir.If, ir.While, ir.For))
        if controls and any(_is_data(root, tainted) for root in roots):
            return True
        if isinstance(statement, ir.Store) and any(_is_data(i, tainted) for i in statement.index):
            return True
        if any(_decides(part, tainted) for root in roots for part in walk(root)):
            return True
    return False


def _tainted(function: ir.Function) -> set[str]:
    tainted: set[str] = set()
    while True:
        before = len(tainted)
        for statement in statements(function.body):
            if isinstance(statement, ir.Assign) and _is_data(statement.value, tainted):
                tainted.add(statement.name)
        if len(tainted) == before:
            return tainted


def _is_data(node: ir.Expr, tainted: set[str]) -> bool:
    return any(isinstance(p, ir.Load) or (isinstance(p, ir.Name) and p.name in tainted) for p in walk(node))


def _decides(node: ir.Expr, tainted: set[str]) -> bool:
    """Whether data decide which elements this node touches, or whether it can be computed."""
    if isinstance(node, ir.Load):
        return any(_is_data(i, tainted) for i in node.index)
    if isinstance(node, ir.Length):
        return node.row is not None and _is_data(node.row, tainted)
    if isinstance(node, ir.Binary):
        return node.op in {"//", "%"} and not node.type.is_float and _is_data(node.right, tainted)
    if isinstance(node, (ir.Logic, ir.Choose)):
        first, *rest = parts(node)
        if isinstance(node, ir.Logic):
            deciding = any(_is_data(p, tainted) for p in parts(node)[:-1])
        else:
            deciding = _is_data(first, tainted)
        return deciding and any(_touches(p) for p in rest)
    return False


def _touches(node: ir.Expr) -> bool:
    for part in walk(node):
        if isinstance(part, ir.Load) and part.index:
            return True
        if isinstance(part, ir.Length) and part.row is not None:
            return True
        if isinstance(part, ir.Binary) and part.op in {"//", "%"} and not part.type.is_float:
            return True
    return False
