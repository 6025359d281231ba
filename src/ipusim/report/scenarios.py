"""The same cycles at the clocks that a chip is known to run at, and what of a chip was changed for a what-if."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ipusim.hw.presets import CHIP_NUMBERS, CLOCKS
from ipusim.report.profile import Profile


@final
@dataclass(frozen=True, slots=True)
class ClockScenario:
    """A clock, why it is worth a look, its source, and the latency (seconds) and throughput (samples/s) at it."""

    clock_hz: float
    why: str
    source: str
    latency: float
    throughput: float


def clocks(profile: Profile) -> tuple[ClockScenario, ...]:
    """Other clocks that the chip is documented or was seen at; none for a chip that ipusim does not know."""
    chip = profile.system.chip
    found = []
    for clock in CLOCKS.get(chip.name, ()):
        if clock.value != chip.clock_hz:
            then = profile.at_clock(clock.value)
            found.append(ClockScenario(clock.value, clock.note, clock.source, then.latency, then.throughput))
    return tuple(found)


def changes(profile: Profile) -> tuple[tuple[str, object, object], ...]:
    """Fields of the chip that are not as the chip of that name has them: (path, value, the chip's own value)."""
    chip = profile.system.chip
    own = CHIP_NUMBERS.get(chip.name, {})
    return tuple(
        (path, chip.get(path), number.value)
        for path, number in own.items()
        if path in chip.paths() and chip.get(path) != number.value
    )
