"""Writes docs/numbers.md from the numbers in the code: every field of every chip, and constants of mechanisms."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ipusim.hw.presets import CHIP_NUMBERS, SYSTEM_NUMBERS

ROOT = Path(__file__).parents[1]
CONSTANT = re.compile(r"^([A-Z][A-Z0-9_, ]+)(?:: \w+)? = (.+?)  # \[([^\]]+)\] (.+)$")
SOURCES = ("src/ipusim", "kernels/ipusim_kernels", "models/ipusim_models")


def constants() -> list[tuple[str, str, str, str, str]]:
    """(module, name, value, source, note) of every module constant that names its source."""
    found = []
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            matches = (CONSTANT.match(line) for line in path.read_text().splitlines())
            found += [(str(path.relative_to(ROOT)), *m.groups()) for m in matches if m]
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
    lines += ["## Systems", "", "| system | IPUs | confidence | source | note |", "|---|---|---|---|---|"]
    for name, number in SYSTEM_NUMBERS.items():
        lines.append(f"| {name} | {number.value} | {number.confidence} | {number.source} | {number.note} |")
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
