"""Matrix times vector by hand: rows over tiles, or rows and columns with partial sums.

The matrix is cut into `--rows` x `--columns` blocks, one per tile, whose workers take rows of it in turn.  With one
column of blocks every tile needs all of x; with more it needs a part of x and makes partial sums, which a second
superstep adds.  Less to receive against one superstep more.

    python examples/matvec.py --matrix 1024x1024 --blocks 64x8
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, even, extents, finish, show

from ipusim import Engine, Graph, Input, Output, Tensor, Vector, codelet, float32, target
from ipusim import program as prog


@codelet
def dot_rows(a: Input[Vector[Vector[float32]]], x: Input[Vector[float32]], out: Output[Vector[float32]]) -> None:
    for i in range(len(out)):
        total = 0.0
        for j in range(len(x)):
            total += a[i, j] * x[j]
        out[i] = total


@codelet
def add_partials(parts: Input[Vector[Vector[float32]]], out: Output[Vector[float32]]) -> None:
    for i in range(len(out)):
        total = 0.0
        for k in range(len(parts)):
            total += parts[k, i]
        out[i] = total


def build(shape: tuple[int, int], blocks: tuple[int, int], device: Any) -> tuple[Graph, prog.Sequence]:
    """The graph and the program of y = a x, the matrix cut into `blocks` of rows and columns."""
    graph, workers = Graph(device, name="matvec"), device.chip.tile.workers
    rows, columns = even(shape[0], blocks[0]), even(shape[1], blocks[1])
    a = graph.add_variable(shape, float32, "a")
    x = graph.add_variable(shape[1], float32, "x")
    y = graph.add_variable(shape[0], float32, "y")
    graph.map_linearly(x)
    partials: Tensor = y[None]
    if len(columns) > 1:
        partials = graph.add_variable((len(columns), shape[0]), float32, "partials")
    multiply, add = graph.add_compute_set("multiply"), graph.add_compute_set("add partial sums")
    for i, r in enumerate(rows):
        for k, c in enumerate(columns):
            tile = i * len(columns) + k
            graph.set_tile_mapping(a[r.start : r.stop, c.start : c.stop], tile)
            graph.set_tile_mapping(partials[k, r.start : r.stop], tile)
            for part in even(len(r), workers):
                mine = slice(r.start + part.start, r.start + part.stop)
                fields = {"a": a[mine, c.start : c.stop], "x": x[c.start : c.stop], "out": partials[k, mine]}
                graph.add_vertex(multiply, dot_rows, fields, tile=tile)
        if len(columns) > 1:  # the tiles of a row of blocks share its sums
            for k, part in enumerate(even(len(r), len(columns))):
                mine, tile = slice(r.start + part.start, r.start + part.stop), i * len(columns) + k
                graph.set_tile_mapping(y[mine], tile)
                graph.add_vertex(add, add_partials, {"parts": partials[:, mine], "out": y[mine]}, tile=tile)
    return graph, prog.Sequence(multiply, add) if len(columns) > 1 else prog.Sequence(multiply)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--matrix", type=extents("MxN"), default=(600, 800), help="rows x columns")
    parser.add_argument("--blocks", type=extents("RxC"), help="blocks of rows x columns (default: compare a few)")
    parser.add_argument("--tiles", type=count(), default=64, help="tiles of the device")
    chosen = parser.parse_args()
    device = target(chosen.system, tiles=chosen.tiles)
    if chosen.blocks and chosen.blocks[0] * chosen.blocks[1] > chosen.tiles:
        parser.error(f"argument --blocks: {chosen.blocks[0]} x {chosen.blocks[1]} blocks on {chosen.tiles} tiles")
    ways = [chosen.blocks] if chosen.blocks else [(chosen.tiles // c, c) for c in (1, 2, 4, 8) if c <= chosen.tiles]
    runs = [run(chosen.matrix, way, device) for way in ways]
    best = min(runs, key=lambda r: r["cycles"])
    facts = {"example": "matvec", "system": chosen.system, "tiles": chosen.tiles, "matrix": list(chosen.matrix), **best}
    show(chosen.json, facts, text(facts, runs))


def run(shape: tuple[int, int], blocks: tuple[int, int], device: Any) -> dict[str, Any]:
    """What one way to cut the matrix costs; the result is held to NumPy's."""
    graph, program = build(shape, blocks, device)
    engine = Engine(graph, program)
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[1]).astype(np.float32)
    engine.write_tensor("a", a)
    engine.write_tensor("x", x)
    engine.run()
    exact, size = a.astype(np.float64) @ x, np.abs(a.astype(np.float64)) @ np.abs(x)
    if (np.abs(engine.read_tensor("y") - exact) > np.finfo(np.float32).eps * (shape[1] + 1) * size).any():
        raise SystemExit("matvec: the tiles' result differs from NumPy's")
    report = engine.report()
    received = sum(int(s.tiles.received.sum()) for s in report.steps)
    return {
        "blocks": list(blocks),
        "cycles": report.cycles,
        "phases": report.phases,
        "time": report.latency,
        "bytes_received": received,
    }


def text(facts: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """What a reader should see."""
    height, width = facts["matrix"]
    lines = [f"{height} x {width} matrix times vector on {facts['tiles']} tiles of {facts['system']}"]
    lines.append("  blocks    cycles   exchange  copies   compute     bytes received")
    for run in runs:
        rows, columns = run["blocks"]
        phases = run["phases"]
        copies = phases["copy_before"] + phases["copy_after"]
        lines.append(
            f"  {f'{rows} x {columns}':<8}{run['cycles']:>8,}{phases['exchange']:>11,}{copies:>8,}"
            f"{phases['compute']:>10,}{run['bytes_received']:>19,}"
        )
    rows, columns = facts["blocks"]
    return "\n".join([*lines, f"fastest: {rows} x {columns}; all equal NumPy within rounding"])


if __name__ == "__main__":
    finish(main)
