"""The kind and the error band of every figure of a report: what it is made of, and how far that can be trusted.

Each phase of each superstep belongs to a mechanism (ipusim.hw.mechanisms, which also says how bands add up); a figure
is the least sure of the kinds it is made of, and its band the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, final

from ipusim.hw import mechanisms
from ipusim.hw.mechanisms import Mechanism
from ipusim.report.profile import Profile, Step


@final
@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a report: its value and unit, its kind ("measured", "derived", "fitted", "assumed"), the band in
    which the chip's own value should lie, and the mechanisms behind it.
    """

    name: str
    value: float
    unit: str
    kind: str
    low: float
    high: float
    mechanisms: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"mechanisms": list(self.mechanisms)}


Parts = list[tuple[Mechanism, float]]


def parts(profile: Profile, phase: str = "") -> Parts:
    """Cycles by mechanism, of all phases or of one, most first."""
    found: dict[str, float] = {}
    for step in profile.steps:
        _add(found, profile, step, phase)
    return sorted(((mechanisms.MECHANISMS[name], n) for name, n in found.items()), key=lambda part: -part[1])


def _add(found: dict[str, float], profile: Profile, step: Step, phase: str = "") -> None:
    """Adds the cycles of a superstep to those of the mechanisms behind them."""
    for name, cycles in step.phases.items():
        if cycles and phase in ("", name):
            by = mechanisms.of_phase(name, step.computes, profile.system.chip.name, profile.ipus_in_use).name
            found[by] = found.get(by, 0) + cycles


def op_figures(profile: Profile) -> tuple[Figure, ...]:
    """The cycles of each op, in order; what lies between ops is in the figures of the whole alone."""
    made_of: list[dict[str, float]] = [{} for _ in profile.ops]
    for step in profile.steps:
        if step.op >= 0:
            _add(made_of[step.op], profile, step)
    return tuple(
        _sum(op.name, "cycles", [(mechanisms.MECHANISMS[by], n) for by, n in found.items()])
        for op, found in zip(profile.ops, made_of, strict=True)
    )


def whole(profile: Profile) -> Mechanism | None:
    """What was found on totals of such a run; None for a tile program, whose parts are all priced."""
    if not profile.lowered or not profile.cycles:
        return None
    taking = sum(bool(op.cycles) for op in profile.ops)
    return mechanisms.OF_TOTALS["between kernels" if taking > 1 else "one library op"]


def figures(profile: Profile) -> dict[str, Figure]:
    """Every figure of a report by name: "cycles", "latency", "throughput", "phase compute" and so on, "memory of the
    fullest tile", "memory".
    """
    cycles = _cycles(profile)
    clock = profile.system.chip.clock_hz
    found = [cycles, _scaled(cycles, "latency", "s", 1 / clock)]
    if profile.lowered and profile.cycles:
        found.append(_inverse(cycles, profile.batch * clock))
    found += [_sum(f"phase {phase}", "cycles", parts(profile, phase)) for phase in profile.phases]
    found += _memory(profile)
    return {figure.name: figure for figure in found}


def _cycles(profile: Profile) -> Figure:
    made = _sum("cycles", "cycles", parts(profile))
    total = whole(profile)
    if total is None:
        return made
    return Figure(
        name=made.name,
        value=made.value,
        unit=made.unit,
        kind=mechanisms.least_sure({made.kind, total.kind}),
        low=min(made.low, made.value * (1 + total.low)),
        high=max(made.high, made.value * (1 + total.high)),
        mechanisms=(*made.mechanisms, total.name),
    )


def _sum(name: str, unit: str, made_of: Parts) -> Figure:
    return Figure(
        name=name,
        value=sum(n for _, n in made_of),
        unit=unit,
        kind=mechanisms.least_sure({by.kind for by, _ in made_of}),
        low=sum(n * (1 + by.low) for by, n in made_of),
        high=sum(n * (1 + by.high) for by, n in made_of),
        mechanisms=tuple(by.name for by, _ in made_of),
    )


def _scaled(of: Figure, name: str, unit: str, factor: float) -> Figure:
    return Figure(name, of.value * factor, unit, of.kind, of.low * factor, of.high * factor, of.mechanisms)


def _inverse(cycles: Figure, work: float) -> Figure:
    return Figure(
        "throughput",
        work / cycles.value,
        "samples/s",
        cycles.kind,
        work / cycles.high,
        work / cycles.low,
        cycles.mechanisms,
    )


def _memory(profile: Profile) -> Iterable[Figure]:
    tile = profile.memory.categories
    yield _bytes("memory of the fullest tile", tile)
    yield _bytes("memory", {name: int(each.sum()) for name, each in profile.tile_categories.items()})


def _bytes(name: str, categories: dict[str, int]) -> Figure:
    made_of = [(mechanisms.of_memory(c), float(n)) for c, n in categories.items() if n]
    return _sum(name, "bytes", sorted(made_of, key=lambda part: -part[1]))
