"""Pi by the midpoint rule: one worker per tile, and what a loop of divisions costs by its source alone.

Tile t sums 4 / (1 + x * x) over its own points.  Nothing moves between tiles, so the superstep lasts as long as one
vertex.  A worker issues one instruction in six cycles: five of the six contexts stay empty here, and six vertices per
tile would take no longer than the one.

    python examples/pi.py --system Bow --tiles 1472 --points-per-tile 1000
"""

import math
from functools import cache
from typing import Any

import numpy as np
from _sizes import Parser, count, finish, show

from ipusim import Engine, Graph, Output, codelet, float32, target, uint32
from ipusim import program as prog

MOST_POINTS = 2**32  # points are numbered by an unsigned integer of 32 bits


@cache
def make_codelet(unroll: int) -> Any:
    """The loop, with `unroll` points to an iteration."""
    if unroll == 1:

        @codelet
        def midpoints(out: Output[float32], first: uint32, points: int, step: float) -> None:
            total = 0.0
            for i in range(points):
                x = (float32(first + uint32(i)) + 0.5) * step
                total += 4.0 / (1.0 + x * x)
            out[0] = total * step

        return midpoints

    @codelet
    def unrolled(out: Output[float32], first: uint32, points: int, step: float) -> None:
        total = 0.0
        i = first
        for _ in range(0, points, unroll):
            for k in range(unroll):
                x = (float32(i + uint32(k)) + 0.5) * step
                total += 4.0 / (1.0 + x * x)
            i += unroll
        out[0] = total * step

    return unrolled


def build(device: Any, points: int, unroll: int) -> tuple[Graph, prog.Sequence]:
    """A vertex per tile for `points` points, and an element of `sums` beside each."""
    graph = Graph(device, name="pi")
    step = 1.0 / (graph.tiles * points)
    sums = graph.add_variable((graph.tiles,), float32, "sums")
    compute = graph.add_compute_set("midpoints")
    for tile in range(graph.tiles):
        graph.set_tile_mapping(sums[tile], tile)
        members = {"first": tile * points, "points": points, "step": step}
        graph.add_vertex(compute, make_codelet(unroll), {"out": sums[tile], **members}, tile=tile)
    return graph, prog.Sequence(compute)


def sum_of_tile(tile: int, points: int, tiles: int) -> np.float32:
    """NumPy in the tile's order and precision, a million points at a time."""
    step, total, end = np.float32(1.0 / (tiles * points)), np.float32(0), (tile + 1) * points
    for begin in range(tile * points, end, 2**20):
        i = np.arange(begin, min(end, begin + 2**20), dtype=np.uint32)
        x = (i.astype(np.float32) + np.float32(0.5)) * step
        total = np.add.accumulate(np.append(total, np.float32(4) / (np.float32(1) + x * x)))[-1]
    return np.float32(total * step)


def main() -> None:
    parser = Parser(__doc__, system="Bow")
    parser.add_argument("--tiles", type=count(), help="tiles in use (default: all of the chip)")
    parser.add_argument("--points-per-tile", type=count(), default=1000, help="points of each tile (default 1000)")
    parser.add_argument("--unroll", type=count(), default=1, help="points per iteration, up to 8 (default 1)")
    chosen = parser.parse_args()
    points, unroll = chosen.points_per_tile, chosen.unroll
    if unroll > 8 or points % unroll:
        parser.error(f"argument --unroll: {unroll} must be at most 8 and divide the {points} points of a tile")
    device = target(chosen.system, tiles=chosen.tiles)
    if device.chip.tiles * points > MOST_POINTS:
        parser.error(f"argument --points-per-tile: {points} on {device.chip.tiles} tiles are more than 2**32 points")

    graph, program = build(device, points, unroll)
    engine = Engine(graph, program)
    engine.run(0)
    sums, report = engine.read_tensor("sums"), engine.report()
    if any(sums[t] != sum_of_tile(t, points, graph.tiles) for t in (0, graph.tiles // 2, graph.tiles - 1)):
        raise SystemExit("pi: the tiles' sums differ from NumPy's")
    pi = float(sums.astype(np.float64).sum())
    vertex = int(report.steps[0].tiles.compute.max())
    facts = {
        "example": "pi",
        "system": chosen.system,
        "tiles": graph.tiles,
        "points_per_tile": points,
        "unroll": unroll,
        "cycles": report.cycles,
        "phases": report.phases,
        "compute_cycles": vertex,
        "cycles_per_point": vertex / points,
        "time": report.latency,
        "pi": pi,
        "error": pi - math.pi,
    }
    show(chosen.json, facts, text(facts))


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    per_point, phases, points = facts["cycles_per_point"], facts["phases"], facts["points_per_tile"]
    return "\n".join(
        [
            f"{facts['tiles']:,} tiles of {facts['system']}, one worker each, {points:,} points per tile",
            f"  pi = {facts['pi']:.6f} ({abs(facts['error']):.1e} off: each tile sums in float32)",
            f"  {facts['cycles']:,} cycles: compute {phases['compute']:,}, sync {phases['sync']:,}, no exchange",
            f"  {per_point:.1f} cycles per point = {per_point / 6:.1f} issue slots of one worker, six cycles each",
            "  measured on a Bow: 90.0 (C++) and 84.0 (Julia) cycles per point",
        ]
    )


if __name__ == "__main__":
    finish(main)
