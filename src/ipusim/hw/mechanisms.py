"""How far each mechanism of the model can be trusted: its kind, its error band, and what it was checked on.

Kinds, the surest first:

- "measured": the figure itself was measured on the chip,
- "derived": a formula or a number of the chip's or its library's own documents, or arithmetic on them,
- "fitted": a constant of the mechanism was set so that measured rows are met,
- "assumed": no source for this chip.

A band (low, high) says where the chip's cycles lie relative to the predicted ones: between (1 + low) and (1 + high)
times them.  Bands come from the rows of `tests/data/measurements.csv` that a mechanism was compared with, and are not
narrower than the worst of those rows; where nothing was measured they span the sources that disagree.  They are no
standard deviations: there are too few rows for one.

How bands add up.  Errors of different mechanisms are taken to go the same way (fully correlated): the low ends are
summed and so are the high ends.  That is the pessimistic reading, and needs no assumption about independence.  A
mechanism of the whole ("between kernels", "one library op") was checked on totals, so it contains the errors of the
parts: the high end of a total is the larger of the sum of the parts' and its own, and the low end the smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, final

KINDS = ("measured", "derived", "fitted", "assumed")


@final
@dataclass(frozen=True, slots=True)
class Mechanism:
    """A part of the model: `kind`, the band (`low`, `high`), and the `evidence`: ids of rows of
    tests/data/measurements.csv that lie within the band, other files of tests/data, or a source by name.
    """

    name: str
    kind: str
    low: float
    high: float
    evidence: tuple[str, ...]
    note: str


def _table(*rows: Mechanism) -> dict[str, Mechanism]:
    return {row.name: row for row in rows}


#: What cycles are made of.
MECHANISMS: dict[str, Mechanism] = _table(
    Mechanism(
        "library vertices", "derived", -0.05, 0.05, ("M0350", "M0353", "M0365", "M0413", "M0478", "vertex_cycles.csv"),
        "formulas of the vendor's open library; the matrix unit was measured on a Bow",
    ),
    Mechanism(
        "codelets, compiled", "fitted", -0.10, 0.10,
        ("M0001", "M0005", "M0089", "M0107", "M0162", "M0484", "M0486", "M0493"),
        "issue slots of the source in the manner of the vendor's compiler (profiles popc, serial)",
    ),
    Mechanism(
        "codelets, by hand", "derived", -0.10, 0.10, ("M0003", "M0492", "codelet_slots.csv"),
        "a schedule in pairs, as hand-written code has it (profiles list, rpt, asm, pace)",
    ),
    Mechanism(
        "codelets, stated", "assumed", 0.0, 0.0, (),
        "cycles that the program states for its codelets, taken as they are",
    ),
    Mechanism(
        "on-tile copies", "fitted", -0.08, 0.08, ("M0087", "M0088", "M0105", "M0106"),
        "slots per row of a strided copy, fitted to a profiled stencil",
    ),
    Mechanism(
        "on-chip exchange", "assumed", -0.15, 0.25, ("M0085", "M0104", "M0308"),
        "4 bytes a cycle and tile, with lead-in and latency of a C600; a loaded exchange was seen 24 % slower",
    ),
    Mechanism(
        "links", "fitted", -0.30, 0.40, ("M0070", "M0071", "M0103"),
        "bytes over the busiest link and packets; three constants of three rows, so none is left to check",
    ),
    Mechanism(
        "barrier of GC2", "measured", 0.0, 1.35, ("M0084",),
        "64 cycles in the profile of a stencil; Hot Chips 33 says about 150 without naming a chip",
    ),
    Mechanism(
        "barrier", "assumed", -0.6, 0.0, ("Hot Chips 33",),
        "150 cycles as quoted for the second generation; 64 were measured on a GC2",
    ),
    Mechanism(
        "barrier over IPUs", "fitted", -0.15, 0.15, ("M0102",),
        "the on-chip barrier and hops between IPUs",
    ),
    Mechanism(
        "host link", "assumed", 0.0, 1.1, ("M0565",),
        "the nominal rate of PCIe; an upload to a C600 went at half of it",
    ),
)  # fmt: skip

#: Mechanisms of a whole run of lowered ops: what was found on totals.
OF_TOTALS: dict[str, Mechanism] = _table(
    Mechanism(
        "between kernels", "assumed", 0.0, 0.7, ("networks.csv",),
        "published figures of whole networks lie up to 1.5 times above: what lies between kernels is not all priced",
    ),
    Mechanism(
        "one library op", "assumed", -0.2, 0.2, ("M0573", "M0589", "M0601", "M0633"),
        "a single planned op, operands on the chip: dense products measured on a Bow",
    ),
)  # fmt: skip

#: What the memory of a tile is made of, by category of the report.
OF_MEMORY: dict[str, Mechanism] = _table(
    Mechanism("weights and constants", "derived", 0.0, 0.05, (), "exact sizes and mapping; no gaps from alignment"),
    Mechanism("variables", "derived", -0.05, 0.10, (), "live ranges of the program; no gaps from alignment"),
    Mechanism("received data", "derived", -0.2, 0.2, (), "what a superstep receives, each field in one piece"),
    Mechanism("exchange code", "derived", -0.5, 0.5, (), "4 bytes an instruction; equal exchanges are not shared"),
    Mechanism("control code", "assumed", -0.5, 1.0, (), "24 bytes a superstep"),
    Mechanism("vertex code", "assumed", -0.5, 0.5, (), "a size per codelet"),
    Mechanism("vertex state", "assumed", -0.3, 0.5, (), "8 bytes a vertex and 4 a connected range"),
    Mechanism("stack", "measured", 0.0, 0.0, ("vendor's profile of an adder",), "3168 bytes a tile"),
    Mechanism("other memory", "assumed", -0.5, 0.5, (), "a category without a figure of its own"),
)  # fmt: skip

_OF_PHASE = {
    "copy_before": "on-tile copies",
    "copy_after": "on-tile copies",
    "exchange": "on-chip exchange",
    "link": "links",
    "host": "host link",
}
_OF_PROFILE = dict.fromkeys(("popc", "serial"), "codelets, compiled")
LIBRARY = "library vertices"
HAND = "codelets, by hand"
STATED = "codelets, stated"


def of_phase(phase: str, computes: str, chip: str, ipus: int) -> Mechanism:
    """The mechanism behind the cycles of a phase: `computes` is that of the vertices, `chip` the name of the chip."""
    if phase == "sync":
        if ipus > 1:
            return MECHANISMS["barrier over IPUs"]
        return MECHANISMS["barrier of GC2" if chip == "GC2" else "barrier"]
    return MECHANISMS[_OF_PHASE.get(phase, computes)]


def of_memory(category: str) -> Mechanism:
    """The mechanism behind the bytes of a category of memory."""
    return OF_MEMORY.get(category, OF_MEMORY["other memory"])


def of_codelet(profile: str, override: Any) -> str:
    """The mechanism that times a codelet of a tile program, from its profile and its own cycle count, if it has one.

    A count that an installed kernel package brings is the library's.
    """
    if override is None:
        return _OF_PROFILE.get(profile, HAND)
    package = getattr(override, "__module__", "").partition(".")[0]
    return LIBRARY if package in _kernel_packages() else STATED


def width(name: str) -> float:
    """How wide the band of a mechanism of cycles is."""
    return MECHANISMS[name].high - MECHANISMS[name].low


@lru_cache(maxsize=1)
def _kernel_packages() -> frozenset[str]:
    return frozenset(point.value.partition(".")[0] for point in entry_points(group="ipusim.kernels"))


def least_sure(kinds: set[str]) -> str:
    """The least sure of some kinds, which is that of what is made of them ("derived" for what is nothing)."""
    return max(kinds, key=KINDS.index, default="derived")
