"""What can go wrong while a codelet runs, and how it is told.

Compiled code notes the first failure in eight words: code, vertex of the group, field number (-1 for none), index,
length, line, worker, and 1 where the index is that of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipusim.lang import ir

INDEX = 1
DIVISION = 2
RUNAWAY = 3

BUDGET = (
    4_000_000_000  # [own limit: 15 s of one worker at 1.6 GHz] slots of a vertex beyond which a loop counts as endless
)

WORDS = 8


def describe(function: ir.Function, status: Sequence[int]) -> str:
    """The failure that compiled code noted, in words: what, where, how much."""
    code, _, field, index, length, line, worker, of_row = (int(w) for w in status)
    where = f"{function.file}:{line}: codelet {function.name}"
    if function.worker is not None:
        where += f", worker {worker}"
    if code == DIVISION:
        return f"{where}: an integer is divided by zero"
    if code == RUNAWAY:
        return f"{where}: a vertex has run for more than {BUDGET:,} issue slots; does its loop end?"
    spec = function.fields[field]
    what = "row" if of_row else "index"
    unit = "row" if of_row else "element"
    return f"{where}: {what} {index} of field {spec.name!r}, which has {length} {unit}{'s' * (length != 1)}"
