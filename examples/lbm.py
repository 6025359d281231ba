"""Lattice Boltzmann, D2Q9: a stream past obstacles in a channel, and its average velocity, reduced on the tiles.

Every cell has nine distributions, one per direction.  A step takes them from the neighbours they come from (streaming),
relaxes them towards equilibrium (collision, BGK) or, in a solid cell, turns them round.  Stored is what they have more
than at rest: so float32 keeps small velocities.  The grid is cut into blocks,
one per tile, and bands of rows, one per worker; a vertex reads its band with a halo of one cell.  The channel is
periodic: halos wrap around.  Three more supersteps sum the speeds of a tile, a row of tiles and the chip.

    python examples/lbm.py --grid 128x128 --steps 100
"""

from math import sqrt
from typing import Any

import numpy as np
from _sizes import Parser, count, even, extents, finish, grid, show

from ipusim import Engine, Graph, InOut, Input, Output, Tensor, Vector, codelet, float32, int32, target
from ipusim import program as prog
from ipusim.program.graph import ComputeSet

OMEGA = 1.2  # relaxation
FORCE = 1e-5  # acceleration along the channel, per step
TOLERANCE = 1e-5  # relative, of average velocities in 100 steps
SPEED = 0.05  # of the stream at the start, in cells per step
WEIGHTS = (4 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 36, 1 / 36, 1 / 36, 1 / 36)
TO_X = (0, 1, 0, -1, 0, 1, -1, -1, 1)
TO_Y = (0, 0, 1, 0, -1, 1, 1, -1, -1)
BACK = (0, 3, 4, 1, 2, 7, 8, 5, 6)  # the opposite direction
W0, W1, W2 = 4 / 9, 1 / 9, 1 / 36


def near(weight, more, rho, along, still):
    """Equilibrium of a direction, less its weight, with velocity `along` it; `more` is rho - 1, `still` -1.5 u u."""
    return weight * (more + rho * (still + 3.0 * along + 4.5 * along * along))


@codelet
def stream_and_collide(
    inp: Input[Vector[Vector[float32]]],
    solid: Input[Vector[Vector[bool]]],
    out: Output[Vector[Vector[float32]]],
    speed: Output[float32],
    omega: float,
    force: float,
) -> None:
    total = 0.0
    for y in range(len(out)):
        above = inp[y]
        here = inp[y + 1]
        below = inp[y + 2]
        row = 0.0
        for x in range(len(solid[y])):
            f0 = here[x * 9 + 9]
            f1 = here[x * 9 + 1]
            f2 = above[x * 9 + 11]
            f3 = here[x * 9 + 21]
            f4 = below[x * 9 + 13]
            f5 = above[x * 9 + 5]
            f6 = above[x * 9 + 24]
            f7 = below[x * 9 + 25]
            f8 = below[x * 9 + 8]
            if solid[y, x]:
                out[y, x * 9] = f0
                out[y, x * 9 + 1] = f3
                out[y, x * 9 + 2] = f4
                out[y, x * 9 + 3] = f1
                out[y, x * 9 + 4] = f2
                out[y, x * 9 + 5] = f7
                out[y, x * 9 + 6] = f8
                out[y, x * 9 + 7] = f5
                out[y, x * 9 + 8] = f6
            else:
                more = f0 + f1 + f2 + f3 + f4 + f5 + f6 + f7 + f8
                rho = 1.0 + more
                ux = (f1 + f5 + f8 - f3 - f6 - f7) / rho
                uy = (f2 + f5 + f6 - f4 - f7 - f8) / rho
                vx = ux + 0.5 * force
                row += sqrt(vx * vx + uy * uy)
                ux += force / omega
                still = -1.5 * (ux * ux + uy * uy)
                out[y, x * 9] = f0 + omega * (W0 * (more + rho * still) - f0)
                out[y, x * 9 + 1] = f1 + omega * (near(W1, more, rho, ux, still) - f1)
                out[y, x * 9 + 2] = f2 + omega * (near(W1, more, rho, uy, still) - f2)
                out[y, x * 9 + 3] = f3 + omega * (near(W1, more, rho, -ux, still) - f3)
                out[y, x * 9 + 4] = f4 + omega * (near(W1, more, rho, -uy, still) - f4)
                out[y, x * 9 + 5] = f5 + omega * (near(W2, more, rho, ux + uy, still) - f5)
                out[y, x * 9 + 6] = f6 + omega * (near(W2, more, rho, uy - ux, still) - f6)
                out[y, x * 9 + 7] = f7 + omega * (near(W2, more, rho, -ux - uy, still) - f7)
                out[y, x * 9 + 8] = f8 + omega * (near(W2, more, rho, ux - uy, still) - f8)
        total += row  # many short sums lose less to rounding than a long one
    speed[0] = total


@codelet
def add_up(parts: Input[Vector[float32]], out: Output[float32]) -> None:
    total = 0.0
    for i in range(len(parts)):
        total += parts[i]
    out[0] = total


@codelet
def note(parts: Input[Vector[float32]], cells: float, history: InOut[Vector[float32]], step: InOut[int32]) -> None:
    total = 0.0
    for i in range(len(parts)):
        total += parts[i]
    history[step[0]] = total / cells
    step[0] = step[0] + 1


def ring(tensor: Tensor, axis: int, begin: int, end: int) -> Tensor:
    """Elements begin..end of an axis that is closed to a ring."""
    size = tensor.shape[axis]
    pieces = []
    while begin < end:
        start = begin % size
        stop = min(size, start + end - begin)
        pieces.append(tensor.slice(axis, start, stop))
        begin += stop - start
    return Tensor.concat(pieces, axis)


def build(solid: np.ndarray, device: Any, steps: int) -> tuple[Graph, list[Any]]:
    """The graph and its two steps, f -> g and g -> f; `solid` (height, width) bool."""
    height, width = solid.shape
    graph = Graph(device, name="lbm")
    f, g = (graph.add_variable((height, width, 9), float32, name) for name in "fg")
    mask = graph.add_constant(solid, "bool", "solid")
    rows, columns = grid(height, width, device.num_tiles)
    blocks = [(r, c) for r in even(height, rows) for c in even(width, columns)]
    workers = device.chip.tile.workers
    speeds = graph.add_variable((len(blocks), workers), float32, "speeds")
    sums = reduction(graph, speeds, (rows, columns), int((~solid).sum()), steps)
    for tile, (r, c) in enumerate(blocks):
        for tensor in (f, g, mask):
            graph.set_tile_mapping(tensor[r.start : r.stop, c.start : c.stop], tile)
        graph.set_tile_mapping(speeds[tile], tile)  # a worker without rows leaves its zero

    both = []
    for source, result in ((f, g), (g, f)):
        step = graph.add_compute_set(f"stream and collide {source.label} to {result.label}")
        for tile, (r, c) in enumerate(blocks):
            for worker, band in enumerate(even(len(r), workers)):
                top, bottom = r.start + band.start, r.start + band.stop
                halo = ring(ring(source, 0, top - 1, bottom + 1), 1, c.start - 1, c.stop + 1)
                fields = {
                    "inp": halo.reshape((len(band) + 2, 9 * (len(c) + 2))),
                    "solid": mask[top:bottom, c.start : c.stop],
                    "out": result[top:bottom, c.start : c.stop],
                    "speed": speeds[tile, worker],
                    "omega": OMEGA,
                    "force": FORCE,
                }
                graph.add_vertex(step, stream_and_collide, fields, tile=tile)
        both.append(step)
    return graph, [prog.Sequence(step, *sums) for step in both]


def reduction(graph: Graph, speeds: Tensor, blocks: tuple[int, int], cells: int, steps: int) -> list[ComputeSet]:
    """Supersteps that sum `speeds` (tiles, workers) of a tile, a row of `blocks`, the chip, and note the mean."""
    rows, columns = blocks
    tiles = graph.add_variable((rows, columns), float32, "sums of tiles")
    whole = graph.add_variable(rows, float32, "sums of rows")
    fields: dict[str, Any] = {"parts": whole, "cells": cells}
    fields["history"] = graph.add_variable(steps, float32, "average")
    fields["step"] = graph.add_variable(1, int32, "step")
    for name in ("history", "step"):
        graph.set_tile_mapping(fields[name], 0)
    of_tiles, of_rows, of_chip = (graph.add_compute_set(f"sum of {what}") for what in ("tiles", "rows", "chip"))
    for row in range(rows):
        first = row * columns
        graph.set_tile_mapping(whole[row], first)
        graph.add_vertex(of_rows, add_up, {"parts": tiles[row], "out": whole[row]}, tile=first)
        for column in range(columns):
            tile = first + column
            graph.set_tile_mapping(tiles[row, column], tile)
            graph.add_vertex(of_tiles, add_up, {"parts": speeds[tile], "out": tiles[row, column]}, tile=tile)
    graph.add_vertex(of_chip, note, fields, tile=0)
    return [of_tiles, of_rows, of_chip]


def channel(height: int, width: int) -> np.ndarray:
    """Walls along both sides, and blocks in the stream."""
    solid = np.zeros((height, width), bool)
    solid[[0, -1]] = True
    y, x = np.mgrid[:height, :width]
    for cy, cx in ((0.5, 0.25), (0.3, 0.6), (0.75, 0.7)):
        solid |= (y - cy * height) ** 2 + (x - cx * width) ** 2 < (min(height, width) / 12) ** 2
    return solid


def at_start(solid: np.ndarray, dtype: Any) -> np.ndarray:
    """Equilibrium of the stream, less that at rest; solid cells are at rest.  Returns: (height, width, 9)."""
    u = np.where(solid, 0, SPEED)[..., None]
    along = u * np.array(TO_X)
    return (np.array(WEIGHTS) * (3 * along + 4.5 * along**2 - 1.5 * u * u)).astype(dtype)


def averages(solid: np.ndarray, steps: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """The same in numpy: (average velocity of each step, distributions after the last)."""
    f = at_start(solid, np.float32).astype(dtype)
    omega, force = dtype(OMEGA), dtype(FORCE)
    weights, to_x, to_y = np.array(WEIGHTS, dtype), np.array(TO_X, dtype), np.array(TO_Y, dtype)
    found = []
    for _ in range(steps):
        f = np.stack([np.roll(f[..., i], (TO_Y[i], TO_X[i]), (0, 1)) for i in range(9)], axis=-1)
        more = f.sum(axis=-1)
        rho = 1 + more
        ux, uy = (f * to_x).sum(axis=-1) / rho, (f * to_y).sum(axis=-1) / rho
        found.append(np.hypot(ux + force / 2, uy)[~solid].mean())
        ux = ux + force / omega
        along = ux[..., None] * to_x + uy[..., None] * to_y
        still = (dtype(-1.5) * (ux * ux + uy * uy))[..., None]
        wanted = weights * (more[..., None] + rho[..., None] * (still + 3 * along + dtype(4.5) * along * along))
        f = np.where(solid[..., None], f[..., BACK], f + omega * (wanted - f))
    return np.array(found), f


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--grid", type=extents("HxW", least=8), default=(128, 128), help="height x width")
    parser.add_argument("--steps", type=count(), default=100, help="time steps")
    parser.add_argument("--tiles", type=count(), help="tiles of the device (default: all)")
    chosen = parser.parse_args()
    solid, steps = channel(*chosen.grid), chosen.steps
    if solid.all():
        parser.error(f"argument --grid: {chosen.grid[0]}x{chosen.grid[1]} leaves no room between the walls")

    device = target(chosen.system, tiles=chosen.tiles)
    graph, (forth, back) = build(solid, device, steps)
    engine = Engine(graph, prog.Sequence(prog.Repeat(steps // 2, [forth, back]), [forth] * (steps % 2)))
    engine.write_tensor("f", at_start(solid, np.float32))
    engine.run()
    report, found = engine.report(), engine.read_tensor("average")

    expected, _ = averages(solid, steps, np.float64)
    shown = [n for n in (1, 2, 3, 10, 100, 1000) if n < steps] + [steps]
    errors = {n: float(abs(found[n - 1] / expected[n - 1] - 1)) for n in shown}
    facts = {
        "example": "lbm",
        "system": chosen.system,
        "grid": list(chosen.grid),
        "steps": steps,
        "tiles": graph.tensor("sums of tiles").elements,
        "cycles": report.cycles,
        "phases": report.phases,
        "cycles_per_step": report.cycles / steps,
        "time": report.latency,
        "average_velocity": {str(n): float(found[n - 1]) for n in shown},
        "relative_error": {str(n): e for n, e in errors.items()},
    }
    bound = TOLERANCE * max(1, steps / 100)  # rounding errors grow along the way
    if max(errors.values()) > bound:
        raise SystemExit(f"lbm: average velocities differ from NumPy's by {max(errors.values()):.1e}")
    show(chosen.json, facts, text(facts, bound))


def text(facts: dict[str, Any], bound: float) -> str:
    """What a reader should see."""
    (height, width), steps = facts["grid"], facts["steps"]
    each = ", ".join(f"{name} {cycles / steps:,.0f}" for name, cycles in facts["phases"].items() if cycles)
    lines = [
        f"lattice Boltzmann on {height} x {width} cells, {steps} steps on {facts['tiles']} tiles of {facts['system']}",
        f"  {facts['cycles_per_step']:,.0f} cycles per step: {each}",
        f"  {height * width * steps / facts['time'] / 1e6:,.0f} million cells per second",
    ]
    lines += [f"  average velocity after step {n:>4}: {v:.7f}" for n, v in facts["average_velocity"].items()]
    return "\n".join([*lines, f"  all within {bound:.0e} of a NumPy run in float64"])


if __name__ == "__main__":
    finish(main)
