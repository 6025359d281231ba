"""Where the slots of a codelet come from, line by line, as text."""

from __future__ import annotations

from ipusim.lang.costs import Costs, costs
from ipusim.lang.ir import Function

_PAIRING = {
    "popc": "every instruction alone",
    "serial": "every instruction alone",
    "list": "paired where a list scheduler can",
    "rpt": "paired where a list scheduler can, inner loops repeated by the hardware",
    "asm": "inner loops pipelined: a bound",
    "pace": "inner loops pipelined, three accesses at once: a bound",
}
_LEVERS = {
    "sin": "use a table or a polynomial",
    "cos": "use a table or a polynomial",
    "tan": "use a table or a polynomial",
    "pow": "use exp2, or multiply where the exponent is a small literal",
    "integer //": "a literal power of two is one shift",
    "integer %": "a literal power of two is one mask",
    "store of one float16": "read, change and write a word; write pairs or fours with vectorize=2 or 4",
    "store of one bool": "read, change and write a word; use int32",
}


def explain(function: Function, counted: Costs, profile: str | None = None) -> str:
    """A table of MAIN, AUX and slots of one pass over each source line, totals, the band of pairing, and remarks.

    An unrolled loop stands with all its trips, a vector loop with one vector.  `profile` defaults to that of
    `counted`; another one is counted anew with the same width and generation.
    """
    if profile is not None and profile != counted.profile:
        counted = _count(function, profile, counted)
    low, high = (sum(t for _, _, t in _count(function, p, counted).lines.values()) for p in ("list", "serial"))
    main, aux, slots = (sum(row[n] for row in counted.lines.values()) for n in range(3))
    width = f", {counted.vectorize} elements wide" if counted.vectorize > 1 else ""
    out = [
        f"{function.name} ({function.file}:{function.first_line})",
        f"profile {counted.profile}: {_PAIRING[counted.profile]}{_times(counted)}{width}; {counted.generation}; "
        f"{counted.code_bytes} bytes of code",
        "",
        f"{'line':>5} {'MAIN':>6} {'AUX':>6} {'slots':>6}  source",
        *(_line(function, line, row) for line, row in counted.lines.items()),
        f"{'total':>5} {main:>6} {aux:>6} {slots:>6}  one pass over every line, before the factor",
        f"pairing: {low} (list) .. {high} (serial) slots",
    ]
    remarks = _remarks(counted)
    return "\n".join([*out, *(["", *remarks] if remarks else [])]) + "\n"


def _times(counted: Costs) -> str:
    over, under = counted.factor
    return "" if over == under else f", x {over / under:.2f}"


def _count(function: Function, profile: str, like: Costs) -> Costs:
    return costs(function, profile=profile, vectorize=like.vectorize, generation=like.generation)


def _line(function: Function, line: int, row: tuple[int, int, int]) -> str:
    text = function.source.splitlines()
    at = line - function.first_line
    source = text[at].rstrip() if 0 <= at < len(text) else ""
    return f"{line:>5} {row[0]:>6} {row[1]:>6} {row[2]:>6}  {source}".rstrip()


def _remarks(counted: Costs) -> list[str]:
    found = []
    for line, what, slots in counted.slow:
        lever = f": {_LEVERS[what]}" if what in _LEVERS else ""
        found.append((line, f"line {line}: {what} takes {slots} slots{lever}"))
    for line, why in counted.scalar.items():
        found.append((line, f"line {line}: counted one element at a time, since {why}"))
    return [text for _, text in sorted(found)]
