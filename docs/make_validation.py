"""Writes docs/validation.md: what the model says against what was measured, counted by hand, or derived.

The page is made of sections, each from one function; a test compares each with the page.  `python
docs/make_validation.py networks plans` makes those again and keeps the others.  Rows of
tests/data/measurements.csv that a constant was set from are marked: they are named in the constant's comment
(docs/make_numbers.py lists those) or are the evidence of a mechanism that was fitted or taken from them.
"""

from __future__ import annotations

import csv
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
for folder in ("docs", "tests", "benchmarks"):
    sys.path.insert(0, str(ROOT / folder))

NETWORKS = ("resnet50", "resnext101", "bert-base-stage")
GROUPED_CHIP = "GC2"
LEAST_SHARE = 0.01  # of the cycles of a network: what has less in all of them is "the rest"
ROW = re.compile(r"M\d{4}")
HEAD = """# Validation

`python docs/make_validation.py` writes this page (about a minute); a test holds every section to the code. Each
constant, with its value and source, is listed in [numbers.md](numbers.md); `ipusim.hw.mechanisms` has the error band
of each mechanism.
"""


FIGURE = re.compile(r"[+-]?[\d,.]+(e[+-]?\d+)?( ?%)?( \(\d+\))?|-|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of figures are aligned right."""
    rows = list(rows)
    marks = ["---:" if all(FIGURE.fullmatch(row[i]) for row in rows) else "---" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)) + "\n"


def percent(error: float | None, sign: str = "+") -> str:
    """A relative error as text."""
    return "-" if error is None else f"{100 * error:{sign}.1f} %"


# -- measured points ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def measured() -> Any:
    """Predictions of every row of the measurements."""
    from ipusim.validate_data import data

    return data(DATA / "measurements.csv")


def calibrated() -> dict[str, str]:
    """Row id -> the constants or the mechanism that were set from it."""
    from make_numbers import constants

    from ipusim.hw.mechanisms import MECHANISMS

    found: dict[str, list[str]] = {}
    for _, name, _, source, _ in constants():
        for row in ROW.findall(source):
            found.setdefault(row, []).append(f"`{name}`")
    for mechanism in MECHANISMS.values():
        if mechanism.kind in ("measured", "fitted"):
            for row in mechanism.evidence:
                if ROW.fullmatch(row) and row not in found:
                    found[row] = [mechanism.name]
    return {row: ", ".join(dict.fromkeys(names)) for row, names in found.items()}


def measurements() -> str:
    """Errors by category and workload, then every point."""
    found, marks = measured(), calibrated()
    with (DATA / "measurements.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    compared = [p for p in found.points if p.error is not None]
    points = [
        (p.id, _what(rows[p.id]), f"{p.measured:,.6g}", f"{p.predicted:,.6g}", percent(p.error), marks.get(p.id, ""))
        for p in compared
    ]
    unseen = [abs(p.error) for p in compared if p.id not in marks]
    return "\n".join(
        [
            "## Programs that were measured\n",
            "`ipusim validate --data tests/data/measurements.csv`: each program is built as its row defines it and",
            "timed. A row that a constant was set from is marked with it: its error says how well one constant serves",
            f"all its rows, not how well the model predicts. The {len(unseen)} rows without a mark have a median error",
            f"of {percent(statistics.median(unseen), '')}, the worst {percent(max(unseen), '')}.\n",
            _errors("category", compared, lambda p: rows[p.id]["category"]),
            _errors("workload", compared, lambda p: p.workload),
            table(("row", "what", "measured", "predicted", "error", "set from it"), points),
            _not_predicted(found.skipped),
        ]
    )


def _errors(title: str, points: Sequence[Any], key: Callable[[Any], str]) -> str:
    """A table of the errors of points put together by a key."""
    made = []
    for name in dict.fromkeys(map(key, points)):
        errors = [abs(p.error) for p in points if key(p) == name]
        near = sum(error <= 0.25 for error in errors) / len(errors)
        middle, worst = (percent(f(errors), "") for f in (statistics.median, max))
        made.append((name, str(len(errors)), middle, worst, f"{100 * near:.0f} %"))
    return table((title, "points", "median", "worst", "within 25 %"), made)


def _what(row: dict[str, str]) -> str:
    """A row in words: chip, workload, configuration, metric and unit."""
    config = ", ".join(part for part in row["config"].split(";") if part.partition("=")[0] not in ("sdk", "system"))
    metric = row["metric"] if row["metric"] == row["unit"] else f"{row['metric']} in {row['unit']}"
    return f"{row['chip']}: {row['workload']} ({config}), {metric}"


def _not_predicted(skipped: Sequence[tuple[str, str]]) -> str:
    reasons: dict[str, list[str]] = {}
    for row, reason in skipped:
        reasons.setdefault(reason.removeprefix("not predicted: "), []).append(row)
    return "Not predicted:\n\n" + "\n".join(f"- {', '.join(rows)}: {why}" for why, rows in reasons.items()) + "\n"


# -- counts ------------------------------------------------------------------------------------------------------------


def vertices() -> str:
    """How many of the golden counts of library vertices are met."""
    from ipusim.validate import vertices as priced

    counts = priced(DATA / "vertex_cycles.csv").counts()
    rows, exact = (sum(values[i] for values in counts.values()) for i in (0, 1))
    wrong = [f"{kind} ({good} of {n})" for kind, (n, good) in counts.items() if good < n]
    return (
        "## Vertices of the vendor's library\n\n"
        f"`ipusim validate --vertices tests/data/vertex_cycles.csv`: {exact} of {rows} counts of the library's own "
        f"estimators, of {len(counts)} kinds, are met to the cycle.\n"
        + (f"Not met: {', '.join(wrong)}.\n" if wrong else "")
    )


def codelets() -> str:
    """Slots of kernels against hand schedules."""
    from lang.hand_counts import schedules

    rows, errors = [], []
    for name, hand, slots in schedules():
        error = slots["list"] / hand - 1
        errors.append(abs(error))
        band = f"+{100 * (slots['serial'] / slots['list'] - 1):.0f} %"
        counts = (f"{hand:,.0f}", f"{slots['list']:,}", percent(error), f"{slots['serial']:,}", f"{slots['asm']:,}")
        rows.append((name, *counts, band))
    return "\n".join(
        [
            "## Slots of codelets against hand schedules\n",
            "Issue slots of whole kernels on fixed data. The hand figure is a schedule of MAIN and AUX instructions in",
            "pairs, made from the public instruction list (`tests/data/codelet_slots.csv` derives each); profile",
            "`list` should meet it. `serial` pairs nothing, `asm` is the bound of a software-pipelined loop. The",
            "default, `popc`, is 1.10 x `serial` on GC2: code of the vendor's compiler took 1.04 to 1.15 x `serial`.\n",
            table(("kernel", "by hand", "list", "error", "serial", "asm", "band list..serial"), rows),
            f"Median error of `list`: {percent(statistics.median(errors), '')}.\n",
        ]
    )


# -- networks ----------------------------------------------------------------------------------------------------------


def networks() -> str:
    """Whole networks against derived figures, and what they are made of."""
    import networks as bench

    found = list(bench.networks())
    return "\n".join(
        [
            "## Whole networks\n",
            "`python benchmarks/networks.py`. The derived figures (`tests/data/networks.csv`) are ratios from the",
            "vendor's slides times published figures of a GPU; no constant is set by one. Half precision, float32",
            "partials. Where the network was fed by the host, or feeds the next stage of a pipeline, the transfers are",
            "added at the nominal rate of the links. `too fast` is against the middle of the derived range. Cards were",
            "seen to run at 1.3 GHz while reporting 1.6: the last but one column is a scenario, not a correction. A",
            "batch that does not fit is one that fitted in the published runs: memory is overestimated there.\n",
            table(bench.HEAD, (network.cells for network in found)),
            "What the cycles are for:\n",
            _composition(bench, {network.name: network for network in found}),
            "The last rows are what the software of the published runs is known or likely to do beside what is timed",
            "(`unpriced` in the benchmark has the sources), by formula; they are not in the cycles. Nor is the host's",
            "own time per transfer, for which there is no figure of this chip.\n",
        ]
    )


def _composition(bench: Any, runs: dict[str, Any]) -> str:
    """A table of the cycles of networks by what they are for, as shares."""

    def shares(parts: Iterable[tuple[str, int]], cycles: int) -> dict[str, float]:
        return {name: n / cycles for name, n in parts}

    cycles = {name: run.report.cycles for name, run in runs.items()}
    inside = {name: shares(bench.breakdown(run.report), cycles[name]) for name, run in runs.items()}
    beside = {
        name: shares(bench.unpriced(run.model, run.report.profile.batch, run.report), cycles[name])
        for name, run in runs.items()
    }
    kinds = dict.fromkeys(kind for part in inside.values() for kind in part)
    shown = [kind for kind in kinds if max(part.get(kind, 0) for part in inside.values()) >= LEAST_SHARE]
    rest = [percent(1 - sum(part.get(kind, 0) for kind in shown), "") for part in inside.values()]
    sizes = [bench.small_steps(run.report)[:2] for run in runs.values()]
    rows = [
        ("cycles", *(f"{n:,}" for n in cycles.values())),
        ("supersteps (under 1000 cycles)", *(f"{n} ({small})" for n, small in sizes)),
        *((kind, *(percent(part.get(kind, 0), "") for part in inside.values())) for kind in shown),
        ("the rest", *rest),
    ]
    rows += [
        (f"not included: {kind}", *(percent(part.get(kind, 0), "") for part in beside.values()))
        for kind in dict.fromkeys(kind for part in beside.values() for kind in part)
    ]
    return table(("", *runs), rows)


def plans() -> str:
    """Where the planner's estimates and the engine are apart."""
    rows = []
    for name in NETWORKS:
        found = dict(_planned(name))
        ratios = {plan: cycles / plan.estimate - 1 for plan, cycles in found.items()}
        worst = max(ratios, key=lambda plan: abs(ratios[plan]))
        middle = statistics.median(map(abs, ratios.values()))
        total = sum(found.values()) / sum(plan.estimate for plan in found) - 1
        near = sum(abs(r) <= 0.05 for r in ratios.values()) / len(ratios)
        cells = (str(len(found)), percent(total), percent(middle, ""), f"{near:.0%}", percent(ratios[worst]))
        rows.append((name, *cells, worst.name))
    return "\n".join(
        [
            "## Plans against the engine\n",
            "The planner estimates each convolution and product before the program exists; the engine times what was",
            "built. Both use the same formulas; what is apart is traffic and copies that depend on where the inputs of",
            "a layer happen to lie in the network.\n",
            table(("network", "ops", "in total", "median", "within 5 %", "worst", "which"), rows),
        ]
    )


def _planned(name: str) -> list[tuple[Any, int]]:
    """Each plan of a network with the cycles that the engine took for what the plan covers (a bias it does not)."""
    import ipusim

    report = ipusim.simulate(name)
    numbers = {op.name: number for number, op in enumerate(report.ops)}
    cycles = dict.fromkeys(numbers.values(), 0)
    for step in report.steps:
        if step.op >= 0 and not step.name.endswith("/bias"):
            cycles[step.op] += step.cycles
    return [(_Named(plan.name, plan.estimate), cycles[numbers[plan.name]]) for plan in report.plans]


class _Named:
    """A plan's name and estimate, compared by identity."""

    def __init__(self, name: str, estimate: int) -> None:
        self.name, self.estimate = name, estimate


def exchange() -> str:
    """The closed form of the exchange against the schedule."""
    import exchange as bench

    head, rows = bench.table()
    return "\n".join(
        [
            "## Exchange: closed form against schedule\n",
            "`python benchmarks/exchange.py`: the planner prices an exchange by its busiest tile, the engine places",
            "each message first-fit; the difference is gaps where a sender and a receiver are not free together.\n",
            table(head, rows),
        ]
    )


def grouped() -> str:
    """What grouped convolutions reach."""
    import grouped_conv as bench

    from ipusim.hw.presets import system

    chip = system(GROUPED_CHIP).chip
    rows = []
    for row in bench.table(chip):
        combined = "-" if row.combined is None else f"{row.combined:.1f}"
        rows.append((str(row.width), f"{row.rate:.1f}", combined, row.plan.method.kind))
    return "\n".join(
        [
            "## Grouped convolutions\n",
            "`python benchmarks/grouped_conv.py`: 7 x 7 field, 512 filters, 3 x 3 kernel, batch 32, half partials,",
            f"on {chip.name}, by channels per group. TFLOP/s of the plan, and of block-diagonal weights for the matrix",
            "unit where channels are few. Nothing was measured to compare with.\n",
            table(("width", "TFLOP/s", "block-diagonal", "method"), rows),
        ]
    )


#: Sections of the page in order: what makes each.
SECTIONS: dict[str, Callable[[], str]] = {
    "measurements": measurements,
    "vertices": vertices,
    "codelets": codelets,
    "networks": networks,
    "plans": plans,
    "exchange": exchange,
    "grouped": grouped,
}


def page(sections: Iterable[str]) -> str:
    """The whole page, of its sections."""
    return "\n".join([HEAD, *sections])


def written() -> dict[str, str]:
    """The sections of the page as it is; none if their number is not today's."""
    found = re.split(r"^(?=## )", (ROOT / "docs" / "validation.md").read_text(), flags=re.MULTILINE)[1:]
    if len(found) != len(SECTIONS):
        return {}
    return dict(zip(SECTIONS, (text.rstrip("\n") + "\n" for text in found), strict=True))


def main(names: Sequence[str]) -> None:
    """Writes the page: all sections, or those named and the others as they are."""
    old = written() if names else {}
    made = (old[name] if name in old and name not in names else make() for name, make in SECTIONS.items())
    (ROOT / "docs" / "validation.md").write_text(page(made))
    print("docs/validation.md written")


if __name__ == "__main__":
    main(sys.argv[1:])
