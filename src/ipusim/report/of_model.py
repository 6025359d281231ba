"""The profile of a model: what the compiler noted and what the engine traced, put together."""

from __future__ import annotations

from collections.abc import Mapping

from ipusim.dtype import DType, float16, float32
from ipusim.engine.trace import Trace
from ipusim.hw.spec import SystemSpec
from ipusim.lower.compile import Compiled
from ipusim.lower.rules import Options, PlanNote
from ipusim.report.plans import over_bound, plans
from ipusim.report.profile import OpFacts, Profile, derive

_TEMPORARY = ("received data",)
_VALUES = ("weights and constants", "variables")
_SMALL = 0.05
_CODE = ("exchange code", "control code", "vertex state")


def model_profile(
    compiled: Compiled,
    trace: Trace,
    target: SystemSpec,
    *,
    replicas: int,
    options: Options,
    dtype: DType,
    remarks: tuple[str, ...],
    most: Trace | None = None,
) -> Profile:
    """The profile of a compiled model on a system; `dtype` is its floating-point type, `remarks` what to say first.

    `most`: the trace with as many runs of loops as there may be, which is what the workload says of its arithmetic.
    """
    workload = compiled.workload
    facts = []
    for number, node in enumerate(workload.nodes):
        note = compiled.notes.get(number)
        method, splits = (note.method, dict(note.splits)) if note else ("", {})
        flops, macs = (_as_ran(n, number, trace, most or trace) for n in (node.flops, node.macs))
        facts.append(OpFacts(node.name, type(node.op).__name__, flops, macs, method, splits))
    steps, ops, memory = derive(trace, facts, lever=_lever(trace, compiled.notes, workload.batch, dtype, options))
    bound = max(1, int(options.memory_proportion * target.chip.tile.memory_bytes))
    planned = plans(compiled.notes, ops, bound)
    raised = over_bound(planned)
    return Profile(
        model=workload.name,
        system=target,
        replicas=replicas,
        batch=workload.batch * replicas,
        precision=dtype.name,
        partials=options.partials.name if dtype == float16 else dtype.name,
        program=trace.program,
        steps=steps,
        ops=ops,
        memory=memory,
        tile_memory=trace.memory.peak,
        tile_categories=trace.memory.categories,
        counts=trace.counts,
        remarks=remarks + ((raised,) if raised else ()),
        plans=planned,
    )


def _as_ran(count: int, number: int, trace: Trace, most: Trace) -> int:
    """A count of an op's arithmetic where the vertices of its loops did less of it than they may."""
    if trace is most:
        return count
    done, may = (sum(s.flops for s in t.steps if s.op == number) for t in (trace, most))
    return count if done == may else round(count * done / may)


def _lever(trace: Trace, notes: Mapping[int, PlanNote], batch: int, dtype: DType, options: Options) -> str:
    """What to change if the model does not fit: what helps against the largest part of the fullest tile first.

    Parts below `_SMALL` of what the tile needs are not worth a lever; the proportion goes one way, by its larger part.
    """
    memory = trace.memory
    held = {name: int(each[memory.worst_tile]) for name, each in memory.categories.items()}
    serial = any(axis.startswith("serial") for note in notes.values() for axis, _ in note.splits)
    now = f"available_memory_proportion (now {options.memory_proportion:g})"
    found: dict[str, None] = {}
    code, temporary = (sum(held.get(name, 0) for name in names) for names in (_CODE, _TEMPORARY))
    values = ["a smaller batch, or a system of more IPUs that split it"] * (batch > 1)
    values += ["precision float16"] * (dtype == float32)
    for category in sorted(held, key=lambda name: -held[name]):
        if held[category] < _SMALL * sum(held.values()):
            break
        if category in _CODE and serial and code > temporary and options.memory_proportion < 1:
            found.setdefault(f"raise {now}: plans in fewer steps need less code", None)
        elif category in _TEMPORARY and temporary >= code * serial:
            found.setdefault(f"lower {now}: plans with less temporary data", None)
        if category in (*_TEMPORARY, *_VALUES):
            found |= dict.fromkeys(values)
    return "; ".join([*found, "a chip with more tiles or more memory per tile"])
