"""Vector addition: a graph, its tile mapping, a codelet, and the report of one superstep.

Three vectors are spread over the tiles in the same way, so that a tile has all it needs: no exchange.  Each of its six
workers adds a part.  `--shift` puts the second vector a few tiles further on: the same sums, and now its elements have
to travel first.

    python examples/vector_add.py --elements 100000 --shift 1
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, even, finish, show

from ipusim import Engine, Graph, Input, Output, Vector, codelet, float32, target
from ipusim import program as prog


@codelet
def add(a: Input[Vector[float32]], b: Input[Vector[float32]], out: Output[Vector[float32]]) -> None:
    for i in range(len(out)):
        out[i] = a[i] + b[i]


def build(elements: int, device: Any, shift: int = 0) -> tuple[Graph, prog.Execute]:
    """The graph and its only step; `b` starts `shift` tiles further on than `a` and `out`."""
    graph = Graph(device, name="vector add")
    a, b, out = (graph.add_variable(elements, float32, name) for name in ("a", "b", "out"))
    graph.map_linearly(a)
    graph.map_linearly(b, first_tile=shift)
    graph.map_linearly(out)
    step = graph.add_compute_set("add")
    for tile, intervals in enumerate(graph.get_tile_mapping(out)):
        for begin, end in intervals:
            for part in even(end - begin, device.chip.tile.workers):
                mine = slice(begin + part.start, begin + part.stop)
                graph.add_vertex(step, add, {"a": a[mine], "b": b[mine], "out": out[mine]}, tile=tile)
    return graph, prog.Execute(step)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--elements", type=count(), default=10000, help="length of the vectors")
    parser.add_argument("--shift", type=count(least=0), default=0, help="tiles between a and b")
    parser.add_argument("--tiles", type=count(), help="tiles of the device (default: all)")
    chosen = parser.parse_args()

    graph, step = build(chosen.elements, target(chosen.system, tiles=chosen.tiles), chosen.shift)
    engine = Engine(graph, step)
    a, b = np.random.default_rng(0).random((2, chosen.elements), dtype=np.float32)
    engine.write_tensor("a", a)
    engine.write_tensor("b", b)
    engine.run()
    if not np.array_equal(engine.read_tensor("out"), a + b):
        raise SystemExit("vector_add: the tiles' result differs from NumPy's")

    report = engine.report()
    busy = report.steps[0]
    facts = {
        "example": "vector_add",
        "system": chosen.system,
        "elements": chosen.elements,
        "shift": chosen.shift,
        "tiles": busy.active_tiles,
        "cycles": report.cycles,
        "phases": report.phases,
        "time": report.latency,
        "bytes_received": int(busy.tiles.received.sum()),
    }
    show(chosen.json, facts, text(facts))


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    lines = [f"{facts['elements']:,} sums on {facts['tiles']} tiles of {facts['system']}: {facts['cycles']:,} cycles"]
    lines += [f"  {name:<12}{cycles:>7,}" for name, cycles in facts["phases"].items() if cycles]
    lines.append(f"  {facts['bytes_received']:,} bytes came from other tiles; equal to NumPy")
    return "\n".join(lines)


if __name__ == "__main__":
    finish(main)
