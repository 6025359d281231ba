"""Heat in a plate: a 5-point stencil, double-buffered, with a one-cell halo as a vector of rows.

The plate is cut into near-square blocks, one per tile, and each block into bands of rows, one per worker.  A vertex
reads its band and the cells around it as a list of rows: the inner cells lie on its own tile, the halo on the tiles
around, and the exchange before each superstep brings it.  Cells of the border keep their temperature.

    python examples/heat.py --mesh 1000x1000 --steps 100
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, even, extents, finish, grid, show

from ipusim import Engine, Graph, Input, Output, Vector, codelet, float32, target
from ipusim import program as prog

ALPHA = 0.1  # time step times conductivity over the square of the mesh width; stable below 0.25


@codelet
def heat(inp: Input[Vector[Vector[float32]]], out: Output[Vector[Vector[float32]]], alpha: float) -> None:
    for y in range(1, len(inp) - 1):
        for x in range(1, len(inp[y]) - 1):
            m = inp[y, x]
            out[y - 1, x - 1] = m + alpha * (inp[y - 1, x] + inp[y + 1, x] + inp[y, x - 1] + inp[y, x + 1] - 4.0 * m)


def build(height: int, width: int, device: Any) -> tuple[Graph, list[Any]]:
    """The graph and its two steps, a -> b and b -> a."""
    graph = Graph(device, name="heat")
    a, b = (graph.add_variable((height, width), float32, name) for name in "ab")
    rows, columns = grid(height - 2, width - 2, device.num_tiles)
    blocks = [(r, c) for r in even(height - 2, rows) for c in even(width - 2, columns)]  # of the cells inside
    for tile, (r, c) in enumerate(blocks):
        top, left = r.start + (r.start > 0), c.start + (c.start > 0)
        bottom, right = r.stop + 1 + (r.stop == height - 2), c.stop + 1 + (c.stop == width - 2)
        for plate in (a, b):
            graph.set_tile_mapping(plate[top:bottom, left:right], tile)
    steps = []
    for source, result in ((a, b), (b, a)):
        step = graph.add_compute_set(f"heat {source.label} to {result.label}")
        for tile, (r, c) in enumerate(blocks):
            for band in even(len(r), device.chip.tile.workers):
                top, bottom = r.start + band.start, r.start + band.stop
                fields = {
                    "inp": source[top : bottom + 2, c.start : c.stop + 2],
                    "out": result[top + 1 : bottom + 1, c.start + 1 : c.stop + 1],
                    "alpha": ALPHA,
                }
                graph.add_vertex(step, heat, fields, tile=tile)
        steps.append(prog.Execute(step))
    return graph, steps


def marched(plate: np.ndarray, steps: int) -> np.ndarray:
    """The plate after some steps, in numpy, in the order of the codelet."""
    a, b = plate.copy(), plate.copy()
    alpha, four = np.float32(ALPHA), np.float32(4)
    for _ in range(steps):
        m = a[1:-1, 1:-1]
        b[1:-1, 1:-1] = m + alpha * (a[:-2, 1:-1] + a[2:, 1:-1] + a[1:-1, :-2] + a[1:-1, 2:] - four * m)
        a, b = b, a
    return a


def plate_at_start(height: int, width: int) -> np.ndarray:
    """Cold, with a hot upper edge and warm spots."""
    plate = np.random.default_rng(0).random((height, width)).astype(np.float32)
    plate[0] = 100
    return plate


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--mesh", type=extents("HxW", least=3), default=(60, 80), help="height x width with the border")
    parser.add_argument("--steps", type=count(), default=100, help="time steps")
    parser.add_argument("--tiles", type=count(), help="tiles of the device (default: all)")
    chosen = parser.parse_args()
    height, width = chosen.mesh

    device = target(chosen.system, tiles=chosen.tiles)
    graph, (forth, back) = build(height, width, device)
    steps = prog.Sequence(prog.Repeat(chosen.steps // 2, [forth, back]), [forth] * (chosen.steps % 2))
    engine = Engine(graph, steps)
    plate = plate_at_start(height, width)
    for name in "ab":
        engine.write_tensor(name, plate)
    engine.run()
    report = engine.report()
    result = engine.read_tensor("ab"[chosen.steps % 2])
    if not np.array_equal(result, marched(plate, chosen.steps)):
        raise SystemExit("heat: the tiles' result differs from NumPy's")

    rows, columns = grid(height - 2, width - 2, device.num_tiles)
    cells = (height - 2) * (width - 2)
    facts = {
        "example": "heat",
        "system": chosen.system,
        "mesh": [height, width],
        "steps": chosen.steps,
        "tiles": rows * columns,
        "cycles": report.cycles,
        "phases": report.phases,
        "cycles_per_step": report.cycles / chosen.steps,
        "time": report.latency,
        "flops_per_second": 6 * cells * chosen.steps / report.latency,
        "mean": float(result.mean(dtype=np.float64)),
    }
    show(chosen.json, facts, text(facts, rows, columns))


def text(facts: dict[str, Any], rows: int, columns: int) -> str:
    """What a reader should see."""
    height, width = facts["mesh"]
    steps, phases = facts["steps"], facts["phases"]
    each = ", ".join(f"{name} {cycles / steps:,.0f}" for name, cycles in phases.items() if cycles)
    return "\n".join(
        [
            f"heat in {height} x {width} cells, {steps} steps on {rows} x {columns} tiles of {facts['system']}",
            f"  {facts['cycles_per_step']:,.0f} cycles per step: {each}",
            f"  {facts['time'] * 1e6:,.1f} us in all, {facts['flops_per_second'] / 1e9:,.1f} GFLOP/s",
            f"  mean temperature {facts['mean']:.4f}, equal to NumPy to the bit",
        ]
    )


if __name__ == "__main__":
    finish(main)
