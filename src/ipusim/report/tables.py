"""A profile as pandas frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ipusim.errors import BadInput, UnknownName
from ipusim.report.figures import figures, op_figures
from ipusim.report.profile import Profile

if TYPE_CHECKING:
    import pandas

TABLES = ("ops", "steps", "tiles", "memory", "plans", "figures")


def to_pandas(profile: Profile, table: str) -> pandas.DataFrame:
    """A table: "ops" (a row per node), "steps" (per superstep), "tiles" (per tile, summed over steps), "memory" (per
    tile and category), "plans" (per planned op, a column per item of the estimates), "figures" (kinds and bands).

    Raises UnknownName for another table, BadInput if pandas is not installed.
    """
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    try:
        import pandas
    except ImportError:
        raise BadInput("tables need the pandas package: pip install 'ipusim[pandas]'") from None
    made: dict[str, Callable[[Profile], Any]] = {
        "ops": _ops,
        "steps": _steps,
        "tiles": _tiles,
        "memory": _memory,
        "plans": _plans,
        "figures": _figures,
    }
    return pandas.DataFrame(made[table](profile))


def _ops(profile: Profile) -> list[dict[str, Any]]:
    return [
        {
            "name": op.name,
            "type": op.type,
            "cycles": op.cycles,
            "flops": op.flops,
            "macs": op.macs,
            "method": op.method,
            "bound": op.bound,
            "splits": ", ".join(f"{k} {v}" for k, v in op.splits.items()),
            **op.phases,
            "kind": figure.kind,
            "low": figure.low,
            "high": figure.high,
        }
        for op, figure in zip(profile.ops, op_figures(profile), strict=True)
    ]


def _steps(profile: Profile) -> list[dict[str, Any]]:
    return [
        {
            "name": s.name,
            "op": profile.ops[s.op].name if s.op >= 0 else "",
            "cycles": s.cycles,
            "repeats": s.repeats,
            **s.phases,
            "active_tiles": s.active_tiles,
            "balance": s.balance,
            "vertices": s.vertices,
            "flops": s.flops,
            "sent_bytes": int(s.tiles.sent.sum()),
            "received_bytes": int(s.tiles.received.sum()),
            "max_tile_bytes": int(s.tiles.memory.max()),
        }
        for s in profile.steps
    ]


def _tiles(profile: Profile) -> dict[str, Any]:
    tiles = len(profile.tile_memory)
    total: dict[str, Any] = {"tile": np.arange(tiles), "ipu": np.arange(tiles) // profile.system.chip.tiles}
    for name in ("compute", "copies", "sent", "received"):
        parts = [getattr(s.tiles, name) for s in profile.steps]
        total[name] = np.sum(parts, axis=0) if parts else np.zeros(tiles, np.int64)
    return total | {"memory": profile.tile_memory}


def _memory(profile: Profile) -> dict[str, Any]:
    tiles = len(profile.tile_memory)
    return {"tile": np.arange(tiles), **profile.tile_categories, "total": profile.tile_memory}


def _plans(profile: Profile) -> list[dict[str, Any]]:
    return [
        {
            "name": plan.name,
            "type": plan.type,
            "method": plan.method,
            "transforms": ", ".join(plan.transforms),
            "splits": ", ".join(f"{k} {v}" for k, v in plan.splits.items()),
            "estimate": plan.estimate,
            "cycles": plan.cycles,
            "temporary_bytes": plan.temporary,
            "share_of_bound": plan.share_of_bound,
            "runner_up": plan.runner_up.method if plan.runner_up else "",
            "runner_up_estimate": plan.runner_up.estimate if plan.runner_up else 0,
            **{f"item: {name}": cycles for name, cycles in plan.items.items()},
        }
        for plan in profile.plans
    ]


def _figures(profile: Profile) -> list[dict[str, Any]]:
    return [f.to_dict() | {"mechanisms": ", ".join(f.mechanisms)} for f in figures(profile).values()]
