"""What the planner chose for each op, what it expected, and what came of it.

The estimate is the planner's own, made before the program exists; the cycles are the engine's, of all supersteps of the
op.  The two share their formulas; what is apart is traffic and copies that depend on where the inputs happen to lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from ipusim.lower.rules import PlanNote
from ipusim.report.profile import OpSummary


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """How an op was planned.

    `splits`: ways each axis is cut, over tiles and (names that start with "serial") one after the other; `items`: what
    the estimate is made of, in cycles; `temporary`: bytes that the plan needs on its fullest tile beside variables;
    `bound`: bytes that available_memory_proportion allows for it; `cycles`: of the op in the engine (0 for a plan that
    was not taken); `runner_up`: the best plan of another method, if there is one.
    """

    name: str
    type: str
    method: str
    transforms: tuple[str, ...]
    splits: dict[str, int]
    estimate: int
    items: dict[str, int]
    temporary: int
    bound: int
    cycles: int
    runner_up: Plan | None

    @property
    def share_of_bound(self) -> float:
        """Temporary bytes over the bytes allowed; above 1 nothing within the bound was found."""
        return self.temporary / self.bound if self.bound else 0.0

    @property
    def same(self) -> tuple[Any, ...]:
        """What equal plans of equal ops have in common: all but their names and cycles."""
        other = self.runner_up.same if self.runner_up else ()
        parts = (tuple(self.splits.items()), tuple(self.items.items()))
        return (self.type, self.method, self.transforms, *parts, self.estimate, self.temporary, self.bound, other)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with `share_of_bound`."""
        found = asdict(self) | {"share_of_bound": self.share_of_bound, "transforms": list(self.transforms)}
        if self.runner_up:
            rest = self.runner_up.to_dict()
            found["runner_up"] = {k: v for k, v in rest.items() if k not in ("name", "type", "cycles", "runner_up")}
        return found


def plans(notes: Mapping[int, PlanNote], ops: Sequence[OpSummary], bound: int) -> tuple[Plan, ...]:
    """The plans of the ops that a planner chose something for, in order; `bound` in bytes per tile."""
    return tuple(
        _plan(notes[i], op, bound, op.cycles)
        for i, op in enumerate(ops)
        if i in notes and (notes[i].estimate or notes[i].items)
    )


def _plan(note: PlanNote, op: OpSummary, bound: int, cycles: int) -> Plan:
    return Plan(
        name=op.name,
        type=op.type,
        method=note.method,
        transforms=note.transforms,
        splits=dict(note.splits),
        estimate=note.estimate,
        items=_summed(note.items),
        temporary=note.temporary,
        bound=bound,
        cycles=cycles,
        runner_up=_plan(note.runner_up, op, bound, 0) if note.runner_up else None,
    )


def _summed(items: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, cycles in items:
        found[name] = found.get(name, 0) + cycles
    return found


def stored(data: dict[str, Any]) -> Plan:
    """A plan of what `dataclasses.asdict` made of it, and JSON of that."""
    inner = stored(data["runner_up"]) if data["runner_up"] else None
    return Plan(**(data | {"transforms": tuple(data["transforms"]), "runner_up": inner}))


def over_bound(found: Iterable[Plan]) -> str:
    """What to say of plans that need more temporary memory than they were allowed; empty if none does."""
    over = [plan for plan in found if plan.share_of_bound > 1]
    if not over:
        return ""
    worst = max(over, key=lambda plan: plan.temporary)
    ops = "1 op needs" if len(over) == 1 else f"{len(over)} ops need"
    return (
        f"{ops} more temporary memory than available_memory_proportion allows ({worst.bound:,} bytes a tile): 1.5 "
        f"times what the leanest plan needs, for far fewer cycles; most for {worst.name!r}, {worst.temporary:,} bytes"
    )
