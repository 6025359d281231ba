"""A profile as plain values: what `ipusim run --json` prints."""

from __future__ import annotations

from typing import Any

from ipusim.hw import mechanisms
from ipusim.report import store
from ipusim.report.figures import figures
from ipusim.report.profile import Profile
from ipusim.report.scenarios import clocks


def to_dict(profile: Profile, wall: dict[str, float]) -> dict[str, Any]:
    """The report as JSON has it: `schema` and `version` first; cycles are integers, times seconds."""
    p, m = profile, profile.memory
    found = figures(p)
    cycles, latency = found["cycles"], found["latency"]
    behind = dict.fromkeys(name for f in found.values() for name in f.mechanisms)
    return {
        "schema": "ipusim.run",
        "version": store.VERSION,
        "model": p.model,
        "system": p.system.name,
        "ipus": p.ipus_in_use,
        "batch": p.batch,
        "replicas": p.replicas,
        "precision": p.precision,
        "partials": p.partials,
        "clock_hz": p.system.chip.clock_hz,
        "latency_s": p.latency,
        "latency_band_s": [latency.low, latency.high],
        "throughput": p.throughput,
        "cycles": p.cycles,
        "cycles_band": [cycles.low, cycles.high],
        "phases": p.phases,
        "memory": {
            "max_tile_bytes": m.max_tile_bytes,
            "worst_tile": m.worst_tile,
            "total_bytes": m.total_bytes,
            "tile_limit_bytes": m.tile_limit_bytes,
            "fits": m.fits,
        },
        "ops": [
            {
                "name": op.name,
                "type": op.type,
                "cycles": op.cycles,
                "flops": op.flops,
                "method": op.method,
                "bound": op.bound,
            }
            for op in p.ops
        ],
        "plans": [plan.to_dict() for plan in p.plans],
        "figures": [figure.to_dict() for figure in found.values()],
        "mechanisms": [_mechanism(name) for name in behind],
        "clocks": [{"clock_hz": c.clock_hz, "latency_s": c.latency, "why": c.why} for c in clocks(p)],
        "notes": list(p.remarks),
        "wall_s": wall,
    }


def _mechanism(name: str) -> dict[str, Any]:
    by = (mechanisms.MECHANISMS | mechanisms.OF_TOTALS | mechanisms.OF_MEMORY)[name]
    return {
        "name": by.name,
        "kind": by.kind,
        "low": by.low,
        "high": by.high,
        "evidence": list(by.evidence),
        "note": by.note,
    }
