"""How far to trust a report, as text: error bands beside the figures, and what is behind them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ipusim.hw.mechanisms import Mechanism
from ipusim.report.figures import Figure, parts, whole
from ipusim.report.profile import Profile
from ipusim.report.scenarios import changes

WIDTH = 120


def percent(low: float, high: float) -> str:
    """A band in percent: "-5 .. +25 %"."""
    return f"{_signed(low):>4} .. {_signed(high):>4} %"


def _signed(share: float) -> str:
    rounded = round(100 * share)
    return f"{rounded:+d}" if rounded else "0"


def band(figure: Figure) -> str:
    """The kind and the band of a figure in percent; empty for one that is zero."""
    if not figure.value:
        return ""
    return f"{figure.kind:<9} {percent(figure.low / figure.value - 1, figure.high / figure.value - 1)}"


def trust(profile: Profile) -> Iterator[str]:
    """What the cycles are made of, each mechanism with its kind, band and evidence."""
    if not profile.cycles:
        return
    yield "\nHow far to trust it (the chip's own cycles relative to these):"
    for by, cycles in parts(profile):
        yield from _mechanism(by, f"{round(cycles):,}")
    total = whole(profile)
    if total is not None:
        yield from _mechanism(total, "the whole")
    if any(path not in ("tiles", "clock_hz") for path, _, _ in changes(profile)):
        yield "  The chip was changed (see Target): these are the bands of the chip as it is built."
    yield "  Bands are summed as if all errors went the same way; that of the whole includes those of the parts."
    yield "  In brackets: rows of tests/data/measurements.csv, other files beside it, or a source."


def _mechanism(by: Mechanism, cycles: str) -> Iterator[str]:
    rows = ", ".join(by.evidence)
    text = f"{by.note} [{rows}]" if rows else by.note
    yield f"  {by.name:<28} {cycles:>12}  {'':7}  {by.kind:<9} {percent(by.low, by.high)}"
    yield from textwrap.wrap(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
