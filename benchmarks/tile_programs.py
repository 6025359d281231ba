"""The speed bars of tile programs: values at the pace of a plain numba loop, measured in turn in one process.

    python benchmarks/tile_programs.py

Prints, for a step of the 5-point heat example on 5000 x 5000 cells over 1216 tiles and for 100,000 runs of a small
compute set, the median ratio of the two times, the bar and whether it holds; exits with 1 if one does not.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import heat

from ipusim import Engine, Graph, InOut, Input, Vector, codelet, float32, target
from ipusim import program as prog

MESH, REPEATS, TILES, LENGTH = 5000, 100_000, 4, 16
HEAT_BAR, REPEAT_BAR = 2.0, 5.0


@numba.njit
def heat_loop(a: Any, b: Any, alpha: Any) -> None:
    """One step over the whole plate."""
    for y in range(1, a.shape[0] - 1):
        for x in range(1, a.shape[1] - 1):
            m = a[y, x]
            b[y, x] = m + alpha * (a[y - 1, x] + a[y + 1, x] + a[y, x - 1] + a[y, x + 1] - np.float32(4) * m)


@codelet
def axpy(x: Input[Vector[float32]], y: InOut[Vector[float32]], a: float) -> None:
    for i in range(len(y)):
        y[i] = a * y[i] + x[i]


@numba.njit
def axpy_loop(x: Any, y: Any, a: Any, times: int) -> None:
    """All elements, `times` times."""
    for _ in range(times):
        for i in range(len(y)):
            y[i] = a * y[i] + x[i]


def seconds(run: Callable[[], object]) -> float:
    """Time of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


Call = Callable[[], object]


def paired(ours: Call, plain: Call, rounds: int, warm: int) -> tuple[float, float, float]:
    """Medians of our time, of the plain loop's and of their ratio; the two run in turn."""
    pairs = [(seconds(ours), seconds(plain)) for _ in range(warm + rounds)][warm:]
    return (
        statistics.median(o for o, _ in pairs),
        statistics.median(p for _, p in pairs),
        statistics.median(o / p for o, p in pairs),
    )


def heat_ratio(mesh: int = MESH, rounds: int = 15) -> tuple[float, float, float]:
    """A step of the heat example against one loop over the plate."""
    graph, (forth, _) = heat.build(mesh, mesh, target("GC2"))
    engine = Engine(graph, forth, allow_out_of_memory=True)
    plate = heat.plate_at_start(mesh, mesh)
    engine.write_tensor("a", plate)
    out, alpha = plate.copy(), np.float32(heat.ALPHA)
    found = paired(lambda: engine.run(0), lambda: heat_loop(plate, out, alpha), rounds, warm=4)
    inside = np.s_[1:-1, 1:-1]
    if not np.array_equal(engine.read_tensor("b")[inside], out[inside]):
        raise SystemExit("heat: different results")
    return found


def repeat_ratio(times: int = REPEATS, rounds: int = 9) -> tuple[float, float, float]:
    """Many runs of a small compute set (24 vertices on 4 tiles) against one loop over all its elements."""
    workers = 6
    graph = Graph(target("GC2", tiles=TILES))
    x, y = (graph.add_variable((TILES, workers, LENGTH), float32, name) for name in "xy")
    step = graph.add_compute_set("axpy")
    for tile in range(TILES):
        graph.set_tile_mapping(x[tile], tile)
        graph.set_tile_mapping(y[tile], tile)
        for worker in range(workers):
            graph.add_vertex(step, axpy, {"x": x[tile, worker], "y": y[tile, worker], "a": 0.5}, tile=tile)
    engine = Engine(graph, prog.Repeat(times, step))
    values = np.random.default_rng(0).random(x.elements).astype(np.float32)
    engine.write_tensor("x", values.reshape(x.shape))
    out = np.zeros_like(values)
    found = paired(lambda: engine.run(0), lambda: axpy_loop(values, out, np.float32(0.5), times), rounds, warm=2)
    if not np.array_equal(engine.read_tensor("y").ravel(), out):
        raise SystemExit("axpy: different results")
    return found


def main() -> int:
    """Measures both; 1 if a bar does not hold."""
    rows = [
        (f"heat, a step on {MESH} x {MESH}, 1216 tiles", heat_ratio(), HEAT_BAR),
        (f"Repeat({REPEATS:,}) of a compute set of 24 vertices", repeat_ratio(), REPEAT_BAR),
    ]
    for name, (ours, plain, ratio), bar in rows:
        held = "holds" if ratio <= bar else "MISSED"
        print(f"{name}: {ours * 1e3:.1f} ms, plain loop {plain * 1e3:.1f} ms: {ratio:.2f}x, bar {bar:.0f}x, {held}")
    return int(any(found[2] > bar for _, found, bar in rows))


if __name__ == "__main__":
    sys.exit(main())
