"""The plans of a report as text: equal ops together, slowest first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from ipusim.report.plans import Plan

WIDTH = 120
_AXES = {
    "batch": "samples",
    "groups": "channel groups",
    "ci": "input channels of a group",
    "co": "output channels of a group",
    "oy": "output rows",
    "ox": "output columns",
    "ky": "kernel rows",
    "kx": "kernel columns",
}


def render_plans(plans: Sequence[Plan]) -> str:
    """All plans, ops of equal plans under one, in the order of the cycles they take together."""
    return "\n".join(_lines(plans)) + "\n"


def _lines(plans: Sequence[Plan]) -> Iterator[str]:
    if not plans:
        yield "Plans: no op of this model is planned by search."
        return
    groups: dict[object, list[Plan]] = {}
    for plan in plans:
        groups.setdefault(plan.same, []).append(plan)
    ordered = sorted(groups.values(), key=lambda group: -sum(plan.cycles for plan in group))
    total = sum(plan.cycles for plan in plans)
    yield f"Plans: {_count(len(plans), 'op')}, {_count(len(groups), 'different plan')}, {total:,} cycles in all."
    yield f"Plans may take {plans[0].bound:,} bytes of temporary memory on a tile (available_memory_proportion)."
    yield from _legend(plans)
    for group in ordered:
        yield ""
        yield from _group(group)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _legend(plans: Sequence[Plan]) -> Iterator[str]:
    used = {axis.split()[-1] for plan in plans for axis in plan.splits}
    known = [f"{axis} {what}" for axis, what in _AXES.items() if axis in used]
    if known:
        yield from _wrapped(f"Axes: {', '.join(known)}.", "", "  ")


def _group(group: Sequence[Plan]) -> Iterator[str]:
    first = group[0]
    yield from _wrapped(f"{_names(group)} ({first.type})", "", "  ")
    yield from _wrapped(_chosen(first), "  ", "    ")
    low, high = min(p.cycles for p in group), max(p.cycles for p in group)
    simulated = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    parts = [f"estimate {first.estimate:,} cycles", f"simulated {simulated}{_apart(first.estimate, low, high)}"]
    if first.temporary:
        share = f"{100 * first.share_of_bound:.0f} % of what is allowed"
        parts.append(f"temporary memory {first.temporary:,} bytes, {share}")
    yield from _wrapped("; ".join(parts), "    ", "      ")
    yield from _items(first.items, "    made of ")
    if first.runner_up is not None:
        other = first.runner_up
        more = f" ({100 * (other.estimate / first.estimate - 1):+.0f} %)" if first.estimate else ""
        memory = f", {other.temporary:,} bytes" if other.temporary else ""
        text = f"runner-up: {_chosen(other)}: estimate {other.estimate:,} cycles{more}{memory}"
        yield from _wrapped(text, "    ", "      ")
        yield from _items(other.items, "      made of ")


def _names(group: Sequence[Plan]) -> str:
    shown = ", ".join(plan.name for plan in group[:3])
    more = f" and {len(group) - 3} more" if len(group) > 3 else ""
    return f"{len(group)} x {shown}{more}" if len(group) > 1 else shown


def _chosen(plan: Plan) -> str:
    """The method with its transforms and splits, those in parallel and those one after the other."""
    parallel = {k: v for k, v in plan.splits.items() if not k.startswith("serial")}
    serial = {k: v for k, v in plan.splits.items() if k.startswith("serial")}
    said = [plan.method]
    if plan.transforms:
        said.append(f"with {', '.join(plan.transforms)}")
    said.append(f"split {_ways(parallel)}" if parallel else "not split")
    if serial:
        said.append(f"one after the other {_ways(serial)}")
    return ", ".join(said)


def _ways(splits: Mapping[str, int]) -> str:
    return " x ".join(f"{axis.removeprefix('serial').strip()} {ways}" for axis, ways in splits.items())


def _apart(estimate: int, low: int, high: int) -> str:
    if not estimate:
        return ""
    ends = sorted({f"{100 * (cycles / estimate - 1):+.0f}" for cycles in (low, high)}, key=float)
    return f" ({' to '.join(ends)} %)"


def _items(items: Mapping[str, int], head: str) -> Iterator[str]:
    if items:
        made_of = " + ".join(f"{name} {cycles:,}" for name, cycles in items.items() if cycles)
        yield from _wrapped(made_of, head, " " * len(head))


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
