"""Writes docs/numbers.md from the numbers in the code: every field of every chip, and constants of mechanisms."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ipusim.hw.presets import CHIP_NUMBERS, LINK_NUMBERS, SYSTEM_NUMBERS

ROOT = Path(__file__).parents[1]
CONSTANT = re.compile(r"^([A-Z][A-Z0-9_, ]+)(?:: \w+)? = (.+?)  # \[([^\]]+)\] (.+)$")
#: The same with the source in a comment of several lines before it.
BELOW = re.compile(
    r"^#: \[([^\]]+)\] (.+\n(?:#: .+\n)*)([A-Z][A-Z0-9_, ]+)(?:: [\w\[\], ]+)? = (.+?)(?:  # .*)?$", re.MULTILINE
)
SOURCES = ("src/ipusim", "kernels/ipusim_kernels", "models/ipusim_models")
CHOICES = """
## Choices

Where sources disagree, or say nothing about a chip, this is what was taken and why.

- **Barrier, 64 cycles on GC2, 150 on GC200 and Bow** (`sync.on_chip_cycles`). Two figures exist for one IPU: about 150
  for the hardware barrier over all tiles (Hot Chips 33 in 2021, quoted, in a talk about the second generation), and 64
  booked as sync in the profile of one stencil step on a GC2 (github thorbenlouw/lbm-graphcore, primary). GC2 takes what
  was measured on it. Dense products measured on a Bow are met when each step carries 300 to 400 cycles before any byte
  moves (barrier, lead-in and launch, not to be told apart): 150 + 110 + 65 = 325 lies there, so 150 stays for the
  second generation. `chip.sync.on_chip_cycles=150` shows the other reading for GC2.
- **Lead-in 110 and latency 65** (`exchange.lead_in_cycles`, `exchange.latency_cycles`) come from a C600, of the second
  generation. For GC2 they are assumed: its columns have 19 rows of supertiles, not 23, and scaling by rows would give a
  latency of 54. The latency is a mean of 19 to 165 cycles over pairs of tiles, so a phase between neighbours is charged
  up to 46 cycles too much and one across the chip up to 100 too little.
- **Paired receive** (`exchange.paired_receive`). Two tiles share a bus, and what both receive alike comes at twice the
  rate. poplibs asserts this without naming a chip, and late poplibs builds for the second generation only. No
  measurement tells for GC2; `chip.exchange.paired_receive=false` shows what hangs on it.
- **Clock of GC2, 1.6 GHz**, is the nominal one. C2 cards were seen at 1.3 GHz for power or heat while the interface
  still reported 1.6: `chip.clock_hz=1.3e9`. On-chip cycles do not depend on it.
- **Clock of GC200, 1.325 GHz**, as told at Hot Chips; the interface reports 1.33.
- **Weights load at 8 bytes per cycle** (`amp.weight_load_bytes`), the default of the vendor's planner; cycles of the
  matrix unit measured on a Bow agree. 16 is its option `use128BitConvUnitLoad`.
- **Bow** is a GC200 at another clock. What is published about it (tiles, memory, clock, peak) agrees.
- **What cannot be changed.** Worker contexts, the 64-bit data path, elements per load and weights per unit are part of
  the vertex formulas: another value is refused, for it would be ignored or half applied. `amp.half_macs_per_cycle` and
  `amp.float_macs_per_cycle` enter the peak rate that a report compares with, not the time of a vertex.

`tests/data/hardware.csv` holds the published figures. Tests compare the presets with every row, and check that doubling
any number of GC2 or GC200 that is not marked as assumed would miss at least one of them."""


def constants() -> list[tuple[str, ...]]:
    """(module, name, value, source, note) of every module constant that names its source."""
    found: list[tuple[str, ...]] = []
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            where, source = str(path.relative_to(ROOT)), path.read_text()
            matches = (CONSTANT.match(line) for line in source.splitlines())
            found += [(where, *m.groups()) for m in matches if m]
            for m in BELOW.finditer(source):
                found.append((where, m[3], m[4], m[1], " ".join(m[2].replace("#: ", "").split())))
    return found


def text() -> str:
    """The page."""
    lines = ["# The numbers", "", "Made by `python docs/make_numbers.py`; a test holds it to the code.", ""]
    lines += [
        "Confidence: primary (the chip's own constants, a vendor document, an author's text), quoted (read in someone",
        "else's text), derived (arithmetic on other numbers), assumed (no source for this chip).",
        "",
    ]
    for chip, numbers in CHIP_NUMBERS.items():
        lines += [f"## {chip}", "", "| field | value | confidence | source | note |", "|---|---|---|---|---|"]
        for field, number in numbers.items():
            lines.append(f"| `{field}` | {number.value} | {number.confidence} | {number.source} | {number.note} |")
        lines.append("")
    for chip, numbers in LINK_NUMBERS.items():
        lines += [f"## Links between {chip}", "", "| field | value | confidence | source | note |"]
        lines.append("|---|---|---|---|---|")
        for field, number in numbers.items():
            lines.append(f"| `{field}` | {number.value} | {number.confidence} | {number.source} | {number.note} |")
        lines.append("")
    lines += ["## Systems", "", "| system | IPUs | confidence | source | note |", "|---|---|---|---|---|"]
    for name, number in SYSTEM_NUMBERS.items():
        lines.append(f"| {name} | {number.value} | {number.confidence} | {number.source} | {number.note} |")
    lines += CHOICES.splitlines()
    lines += ["", "## Mechanisms", "", "| constant | value | source | meaning | where |", "|---|---|---|---|---|"]
    for where, name, value, source, note in constants():
        lines.append(f"| `{name}` | `{value}` | {source} | {note} | `{where}` |")
    lines += [
        "",
        "## Vertex formulas",
        "",
        "The `cycles` modules of `kernels/ipusim_kernels` restate the estimators of poplibs (commits 7eac0f26, and",
        "a9352552 for Mk1); each names its file. `tests/data/vertex_cycles.csv` holds golden counts of the original.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs" / "numbers.md").write_text(text())
    sys.stdout.write("docs/numbers.md written\n")
