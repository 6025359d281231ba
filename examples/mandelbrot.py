"""The Mandelbrot set: work that depends on the data, and why the slowest worker decides.

A pixel takes as many iterations as it needs to leave the circle, so rows near the middle of the picture cost far more
than rows at its edge.  A superstep ends when the slowest worker of the slowest tile is done.  Blocks of rows give a
few tiles all of the expensive ones; dealing the rows out like cards (`interleaved`) gives each tile some of each kind.
Nothing else changes: the codelet, the number of vertices and the picture are the same.

    python examples/mandelbrot.py --image 72x192 --iterations 200 --tiles 8
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, even, extents, finish, show

from ipusim import Engine, Graph, Output, Vector, codelet, float32, int32, target
from ipusim import program as prog

LEFT, RIGHT, TOP, BOTTOM = -2.2, 0.8, 1.2, -1.2
SHADES = " .:-=+*#%@"


@codelet
def escape_times(times: Output[Vector[int32]], left: float, step: float, imaginary: float, most: int) -> None:
    """Iterations of a row of pixels until |z| > 2, at most `most`."""
    for k in range(len(times)):
        real = left + float32(k) * step
        x = 0.0
        y = 0.0
        n = 0
        while n < most and x * x + y * y < 4.0:
            t = x * x - y * y + real
            y = 2.0 * x * y + imaginary
            x = t
            n += 1
        times[k] = n


def tiles_of_rows(height: int, tiles: int, mapping: str) -> list[int]:
    """The tile of every row."""
    if mapping == "interleaved":
        return [row % tiles for row in range(height)]
    return [tile for tile, rows in enumerate(even(height, tiles)) for _ in rows]


def build(device: Any, image: tuple[int, ...], most: int, mapping: str) -> tuple[Graph, prog.Sequence]:
    """A vertex per row of the picture, on the row's tile; a tile's rows go round its six workers."""
    width, height = image
    graph = Graph(device, name=f"mandelbrot, {mapping} rows")
    times = graph.add_variable((height, width), int32, "times")
    compute = graph.add_compute_set("escape times")
    for row, tile in enumerate(tiles_of_rows(height, graph.tiles, mapping)):
        graph.set_tile_mapping(times[row], tile)
        members = {"left": LEFT, "step": (RIGHT - LEFT) / width, "imaginary": imaginary(row, height), "most": most}
        graph.add_vertex(compute, escape_times, {"times": times[row], **members}, tile=tile)
    return graph, prog.Sequence(compute)


def imaginary(row: int, height: int) -> float:
    """Imaginary part of a row of pixels."""
    return TOP + (BOTTOM - TOP) * (row + 0.5) / height


def reference(image: tuple[int, ...], most: int) -> Any:
    """NumPy on the whole picture, in float32."""
    width, height = image
    real = np.float32(LEFT) + np.arange(width, dtype=np.float32) * np.float32((RIGHT - LEFT) / width)
    c_im = np.array([imaginary(row, height) for row in range(height)], np.float32)[:, None]
    x, y = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    times = np.zeros((height, width), np.int32)
    for _ in range(most):
        inside = x * x + y * y < 4
        times += inside
        t = x * x - y * y + real
        y = np.where(inside, np.float32(2) * x * y + c_im, y)
        x = np.where(inside, t, x)
    return times


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--image", type=extents("WxH"), default=(72, 192), help="pixels (default 72x192)")
    parser.add_argument("--iterations", type=count(), default=200, help="iterations of a pixel, at most (default 200)")
    parser.add_argument("--tiles", type=count(), default=8, help="tiles in use (default 8)")
    chosen = parser.parse_args()

    device = target(chosen.system, tiles=chosen.tiles)
    expected, runs = reference(chosen.image, chosen.iterations), {}
    for mapping in ("blocks", "interleaved"):
        engine = Engine(*build(device, chosen.image, chosen.iterations, mapping))
        engine.run(0)
        if not np.array_equal(engine.read_tensor("times"), expected):
            raise SystemExit("mandelbrot: the tiles' result differs from NumPy's")
        step = engine.report().steps[0]
        runs[mapping] = {
            "cycles": step.cycles,
            "phases": step.phases,
            "balance": step.balance,
            "cycles_of_tiles": step.tiles.compute.tolist(),
        }
    facts = {
        "example": "mandelbrot",
        "system": chosen.system,
        "tiles": chosen.tiles,
        "image": list(chosen.image),
        "iterations": chosen.iterations,
        "cycles": runs["interleaved"]["cycles"],
        "phases": runs["interleaved"]["phases"],
        "iterations_in_all": int(expected.sum()),
        "mappings": runs,
    }
    show(chosen.json, facts, "\n".join([text(facts), *picture(expected, chosen.iterations)]))


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    width, height = facts["image"]
    blocks, dealt = facts["mappings"]["blocks"], facts["mappings"]["interleaved"]
    lines = [
        f"{width} x {height} pixels on {facts['tiles']} tiles of {facts['system']}, a vertex per row: "
        f"{facts['iterations_in_all']:,} iterations in all"
    ]
    for title, run in (("blocks of rows", blocks), ("interleaved rows", dealt)):
        lines += [f"{title}: {run['cycles']:,} cycles, balance {run['balance']:.2f} (mean tile / slowest tile)"]
        slowest = max(run["cycles_of_tiles"])
        if facts["tiles"] <= 16:
            lines += [
                f"  tile {t:>2} {c:>9,} {'#' * (40 * c // slowest)}" for t, c in enumerate(run["cycles_of_tiles"])
            ]
    return "\n".join([*lines, f"interleaving is {blocks['cycles'] / dealt['cycles']:.2f} times as fast"])


def picture(times: Any, most: int) -> list[str]:
    """At most 72 columns and 24 rows of it in characters."""
    rows, columns = -(-times.shape[0] // 24), -(-times.shape[1] // 72)
    shade = np.where(times == most, len(SHADES) - 1, np.minimum(times, 2 * len(SHADES) - 4) // 2)
    return ["".join(SHADES[k] for k in row).rstrip() for row in shade[::rows, ::columns]]


if __name__ == "__main__":
    finish(main)
