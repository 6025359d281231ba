"""Writes docs/validation.md: what the model says against what was measured or counted by hand.

Runs the examples as a user would and counts the kernels of tests/lang.  Rows of tests/data/measurements.csv that a
constant was taken from are marked.
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Rows that a constant of a mechanism was taken from: it cannot be off there.
CALIBRATED = {
    "M0084": "the barrier of GC2 is this figure",
    "M0087": "slots per row of a strided copy were fitted to it and to M0088, M0105, M0106",
    "M0088": "see M0087",
    "M0484": "one of four rows behind the factor 1.10 of profile popc",
    "M0486": "see M0484",
    "M0001": "see M0484",
}
HEAD = """# Validation

`python docs/make_validation.py` writes this page; a test holds it to the code.  Measured figures are rows of
`tests/data/measurements.csv`, each with its source.  A row that a constant was taken from is marked: its error says how
well one constant serves all its rows, not how well the model predicts.
"""


def example(name: str, *arguments: str) -> dict[str, Any]:
    """What an example prints with `--json`."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured() -> dict[str, dict[str, str]]:
    """Rows of the measurements by id."""
    with (ROOT / "tests" / "data" / "measurements.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def predictions() -> list[tuple[str, str, float, float]]:
    """(id, what, measured, predicted)."""
    rows = measured()
    found: list[tuple[str, str, float, float]] = []

    def add(key: str, what: str, predicted: float, per: float = 1.0) -> None:
        found.append((key, what, float(rows[key]["value"]) / per, predicted))

    blur = example("blur", "--image", "2200x1122x4", "--datatype", "half4", "--min-rows", "1", "--min-cols", "1")
    steps = {"sync": "M0084", "exchange": "M0085", "globExchange": "M0086", "pre": "M0087", "post": "M0088"}
    for step, key in (steps | {"compute": "M0089"}).items():
        add(key, f"blur half4 2200x1122, one sweep, {step}, cycles", blur["phases"][step])
    total = sum(m for _, _, m, _ in found)
    found.append(("", "the same, total", total, blur["phases"]["total"]))
    pi = example("pi", "--system", "Bow", "--tiles", "1472", "--points-per-tile", "1000")
    add("M0484", "pi by the midpoint rule, C++, cycles per point", pi["cycles_per_point"], 1000)
    add("M0486", "pi by the midpoint rule, Julia, cycles per point", pi["cycles_per_point"], 2917776)
    add("M0001", "STREAM triad, naive C++, GB/s", example("triad", "--impl", "naive")["bandwidth"])
    return found


def bounds() -> str:
    """The assembly triad lies between what the compiler would make of vectors and the bound of the issue slots."""
    low, high = (example("triad", "--impl", i)["bandwidth"] for i in ("vectorised", "assembly"))
    value = float(measured()["M0003"]["value"])
    return (
        f"Triad in assembly (M0003) was measured at {value:,.0f} GB/s. Profile `popc` with `vectorize=2` gives "
        f"{low:,.0f}, the bound `asm` {high:,.0f} GB/s.\n"
    )


def page(found: list[tuple[str, str, float, float]]) -> str:
    """The whole page, of `predictions()`."""
    out = [HEAD, "## Tile programs against measurements\n"]
    out += ["| row | what | measured | predicted | error | |", "|---|---|---:|---:|---:|---|"]
    for key, what, value, predicted in found:
        error = f"{100 * (predicted / value - 1):+.1f} %" if value else ("exact" if predicted == value else "wrong")
        note = f"calibrated: {CALIBRATED[key]}" if key in CALIBRATED else ""
        out.append(f"| {key} | {what} | {value:,.6g} | {predicted:,.6g} | {error} | {note} |")
    return "\n".join([*out, "", bounds(), _codelets()])


def _codelets() -> str:
    sys.path.insert(0, str(ROOT / "tests"))
    from lang.hand_counts import schedules

    out = [
        "## Slots of codelets against hand schedules\n",
        "Issue slots of whole kernels on fixed data. The hand figure is a schedule of MAIN and AUX instructions in",
        "pairs, made from the public instruction list (`tests/data/codelet_slots.csv` derives each); profile `list`",
        "should meet it. `serial` pairs nothing, `asm` is the bound of a software-pipelined loop. The default, `popc`,",
        "is 1.10 x `serial`: code of the vendor's compiler took 1.04 to 1.15 x `serial` on four rows.\n",
        "| kernel | by hand | list | error | serial | asm | band list..serial |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    errors = []
    for name, hand, slots in schedules():
        errors.append(abs(slots["list"] / hand - 1))
        band = f"+{100 * (slots['serial'] / slots['list'] - 1):.0f} %"
        out.append(
            f"| {name} | {hand:,.0f} | {slots['list']:,} | {100 * (slots['list'] / hand - 1):+.1f} % | "
            f"{slots['serial']:,} | {slots['asm']:,} | {band} |"
        )
    return "\n".join([*out, "", f"Median error of `list`: {100 * statistics.median(errors):.1f} %.", ""])


def main() -> None:
    """Writes the page."""
    (ROOT / "docs" / "validation.md").write_text(page(predictions()))
    print("docs/validation.md written")


if __name__ == "__main__":
    main()
