"""The text report, in the order and under the headings of the vendor's profile summary."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ipusim.hw.mechanisms import of_memory
from ipusim.report.figures import figures
from ipusim.report.profile import OpSummary, Profile
from ipusim.report.scenarios import changes, clocks
from ipusim.units import KIB, MIB
from ipusim.view.trust import band, percent, trust

_NAMES = {
    "compute": "Compute",
    "copy_before": "On-tile copy before compute",
    "copy_after": "On-tile copy after compute",
    "exchange": "IPU exchange",
    "link": "Global exchange",
    "sync": "Sync",
    "host": "Host exchange",
}


def render(profile: Profile, *, ops: int = 12, execution_steps: bool = False) -> str:
    """The report as text; `ops` of the slowest nodes are listed, with `execution_steps` every superstep as well."""
    parts = [_headline(profile), _target(profile), _graph(profile), _memory(profile), _execution(profile)]
    if profile.ipus_in_use > 1:
        parts.append(_by_ipu(profile))
    parts.append(trust(profile))
    if ops:
        parts.append(_slowest(profile, ops))
    if execution_steps:
        parts.append(_steps(profile))
    return "\n".join("\n".join(part) for part in parts) + "\n"


def headline(profile: Profile) -> str:
    """The first lines of the report: latency, its band, throughput, whether it fits, remarks."""
    return "\n".join(_headline(profile)) + "\n"


def _headline(p: Profile) -> Iterator[str]:
    of_model = f", batch {p.batch}, {p.precision} (partials {p.partials})" if p.precision else ""
    yield f"{p.model} on {p.system.name}{of_model}"
    clock = p.system.chip.clock_hz / 1e9
    yield f"  Latency:     {_time(p.latency)} ({p.cycles:,} cycles at {clock:g} GHz)"
    if p.cycles:
        expected = figures(p)["latency"]
        yield f"  Expect:      {_time(expected.low)} to {_time(expected.high)} on a chip (see How far to trust it)"
    for other in clocks(p):
        yield f"  At {f'{other.clock_hz / 1e9:g} GHz:':<10}{_time(other.latency)} ({other.why})"
    if p.lowered:
        yield f"  Throughput:  {p.throughput:,.1f} samples/s"
    if p.memory.fits:
        held = figures(p)["memory of the fullest tile"]
        doubt = ": may not fit" if held.high > p.memory.tile_limit_bytes else ""
        yield (
            f"  Memory:      fits; fullest tile {p.memory.max_tile_bytes:,} of {p.memory.tile_limit_bytes:,} bytes "
            f"(expect {_rounded(held.low)} to {_rounded(held.high)} on a chip{doubt})"
        )
    else:
        yield f"  Memory:      DOES NOT FIT: tile {p.memory.worst_tile} needs {p.memory.max_tile_bytes:,} bytes of " + (
            f"{p.memory.tile_limit_bytes:,}"
        )
    if p.lowered and p.cycles and not p.phases["host"]:
        yield "  Host:        inputs are on the chip and results stay there; with --host their transfer is included"
    for remark in p.remarks:
        yield f"  Note:        {remark}"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3f} s"
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def _rounded(number: float) -> str:
    """Three digits are enough of an expected value."""
    return f"{float(f'{number:.3g}'):,.0f}"


def _target(p: Profile) -> Iterator[str]:
    chip = p.system.chip
    yield "\nTarget:"
    for path, value, own in changes(p):
        yield f"  Changed:                chip.{path} = {_plain(value)} ({chip.name} has {_plain(own)})"
    yield f"  Number of IPUs:         {p.system.ipus}"
    yield f"  Tiles per IPU:          {chip.tiles:,}"
    yield f"  Total Tiles:            {chip.tiles * p.system.ipus:,}"
    yield f"  Memory Per-Tile:        {chip.tile.memory_bytes / KIB:.1f} kB"
    yield f"  Total Memory:           {chip.memory_bytes * p.system.ipus / MIB:.1f} MB"
    yield f"  Clock Speed (nominal):  {chip.clock_hz / 1e6:,.1f} MHz"
    yield f"  Number of Replicas:     {p.replicas}"
    yield f"  IPUs per Replica:       {p.ipus_in_use}"
    yield f"  Tiles per Replica:      {chip.tiles * p.ipus_in_use:,}"
    yield f"  Memory per Replica:     {chip.memory_bytes * p.ipus_in_use / MIB:.1f} MB"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _graph(p: Profile) -> Iterator[str]:
    yield "\nGraph:"
    yield f"  Number of vertices:      {p.counts['vertices']:>12,}"
    yield f"  Number of edges:         {p.counts['edges']:>12,}"
    yield f"  Number of variables:     {p.counts['variables']:>12,}"
    yield f"  Number of compute sets:  {p.counts['compute sets']:>12,}"


def _memory(p: Profile) -> Iterator[str]:
    m = p.memory
    yield "\nMemory Usage:"
    yield f"  Total:  {m.total_bytes:,} B ({m.total_bytes / MIB:,.1f} MB)"
    yield "  By data type (all tiles, each at its peak; then the fullest tile; then how far to trust it):"
    for name in sorted(p.tile_categories, key=lambda k: -int(p.tile_categories[k].sum())):
        total = int(p.tile_categories[name].sum())
        by = of_memory(name)
        trusted = f"{by.kind:<9} {percent(by.low, by.high)}" if total else ""
        yield f"    {name:<22} {total:>14,} B {m.categories[name]:>10,} B  {trusted}".rstrip()
    yield "  By Tile:"
    yield "    Range (KB)        Histogram (Tiles)"
    yield from _histogram(p)
    yield f"    Maximum: {m.max_tile_bytes:,} ({m.max_tile_bytes / KIB:.1f} K) on tile {m.worst_tile}"
    yield f"    {m.tiles_over} tile(s) out of memory"
    if not m.fits:
        held = sorted(m.categories.items(), key=lambda item: -item[1])
        yield f"  What fills tile {m.worst_tile}: {', '.join(f'{name} {size:,} B' for name, size in held[:3])}"
        yield f"  Largest variables on tile {m.worst_tile}:"
        for name, size, why in m.largest:
            yield f"    {size:>10,} B  {name} ({why})"
        yield "  What would help:"
        yield from (f"    {lever}" for lever in m.lever.split("; "))


def _histogram(p: Profile) -> Iterator[str]:
    top = max(int(p.tile_memory.max()), 1)
    step = max(KIB, -(-top // (10 * KIB)) * KIB)
    counts = np.bincount(p.tile_memory // step)
    longest = max(int(counts.max()), 1)
    for i, count in enumerate(counts):
        bar = "*" * -(-30 * int(count) // longest)
        yield f"    {i * step // KIB:>5} - {(i + 1) * step // KIB:<5} {bar:<30} [ {count:,} ]"


def _execution(p: Profile) -> Iterator[str]:
    total = max(p.cycles, 1)
    clock = p.system.chip.clock_hz
    idle = sum(float(s.tiles.compute.mean()) for s in p.steps)
    yield "\nExecution:"
    yield f"  Total cycles:  {p.cycles:>14,}  (approx {p.cycles / clock * 1e6:,.1f} us at {clock / 1e9:g} GHz)"
    found = figures(p)
    yield f"  {'':<28} {'cycles':>12}    share  kind      on a chip"
    for phase, cycles in p.phases.items():
        yield _row(_NAMES.get(phase, phase), cycles, total, band(found[f"phase {phase}"]))
    yield _row("Total", p.cycles, total, band(found["cycles"]))
    yield f"  Tile average compute (excluding idle tiles' waits): {idle:,.0f} cycles ({100 * idle / total:.1f} %)"
    flops = sum(op.flops for op in p.ops)
    if p.cycles and flops:
        yield f"  Arithmetic:    {flops / 1e9:,.3f} GFLOP, {flops / p.latency / 1e12:,.2f} TFLOP/s on each IPU in use"


def _row(name: str, cycles: int, total: int, trusted: str) -> str:
    return f"  {name:<28} {cycles:>12,}  {100 * cycles / total:5.1f} %  {trusted}".rstrip()


def _by_ipu(p: Profile) -> Iterator[str]:
    """Busiest tile, mean of its tiles, and traffic of each IPU; bytes sent are those of its tiles to any other."""
    shape = (p.ipus_in_use, -1)
    compute, copies, sent = (
        sum((getattr(s.tiles, name) for s in p.steps), np.zeros_like(p.tile_memory)).reshape(shape)
        for name in ("compute", "copies", "sent")
    )
    memory = p.tile_memory.reshape(shape)
    yield "\nBy IPU (all supersteps):"
    yield "   IPU  busiest tile  mean of tiles    copies, busiest      bytes sent  fullest tile"
    for ipu in range(p.ipus_in_use):
        yield (
            f"  {ipu:>4}  {int(compute[ipu].max()):>12,}  {compute[ipu].mean():>13,.0f}  "
            f"{int(copies[ipu].max()):>17,}  {int(sent[ipu].sum()):>14,}  {int(memory[ipu].max()):>12,}"
        )


def _slowest(p: Profile, count: int) -> Iterator[str]:
    yield "\nSlowest ops:" if p.lowered else "\nSlowest steps:"
    yield f"  {'cycles':>10} {'share':>6}  {'bound':<12} {'method':<14} name"
    for op in sorted(p.ops, key=lambda o: -o.cycles)[:count]:
        if op.cycles:
            share = 100 * op.cycles / max(p.cycles, 1)
            yield f"  {op.cycles:>10,} {share:5.1f}%  {op.bound:<12} {op.method:<14} {_label(op)}"


def _label(op: OpSummary) -> str:
    splits = ", ".join(f"{axis} {ways}" for axis, ways in op.splits.items())
    return f"{op.name}  [{splits}]" if splits else op.name


def _steps(p: Profile) -> Iterator[str]:
    yield "\nExecution steps:"
    heads = (
        f"{'cycles':>9} {'compute':>9} {'copies':>7} {'exchange':>8} {'tiles':>6} {'balance':>7} {'bytes moved':>12}"
    )
    yield f"  {heads}  name"
    for s in p.steps:
        yield (
            f"  {s.cycles:>9,} {s.phases['compute']:>9,} {s.phases['copy_before']:>7,} {s.phases['exchange']:>8,} "
            f"{s.active_tiles:>6,} {s.balance:>7.2f} {int(s.tiles.received.sum()):>12,}  {s.name}"
        )
