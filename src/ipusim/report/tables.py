"""A profile as pandas frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ipusim.errors import BadInput, UnknownName
from ipusim.report.profile import Profile

if TYPE_CHECKING:
    import pandas

TABLES = ("ops", "steps", "tiles", "memory")


def to_pandas(profile: Profile, table: str) -> pandas.DataFrame:
    """A table: "ops" (a row per node), "steps" (per superstep), "tiles" (per tile, summed over steps), "memory" (per
    tile and category).

    Raises UnknownName for another table, BadInput if pandas is not installed.
    """
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    try:
        import pandas
    except ImportError:
        raise BadInput("tables need the pandas package: pip install 'ipusim[pandas]'") from None
    rows: Any = {"ops": _ops, "steps": _steps, "tiles": _tiles, "memory": _memory}[table](profile)
    return pandas.DataFrame(rows)


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
        }
        for op in profile.ops
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
    total: dict[str, Any] = {"tile": np.arange(tiles)}
    for name in ("compute", "copies", "sent", "received"):
        parts = [getattr(s.tiles, name) for s in profile.steps]
        total[name] = np.sum(parts, axis=0) if parts else np.zeros(tiles, np.int64)
    return total | {"memory": profile.tile_memory}


def _memory(profile: Profile) -> dict[str, Any]:
    tiles = len(profile.tile_memory)
    return {"tile": np.arange(tiles), **profile.tile_categories, "total": profile.tile_memory}
