"""STREAM triad, a = b + s * c: memory bandwidth is how many instructions a worker needs for an element.

The arrays fill the tiles' own memory; all six workers of every tile stream through their share of it.  A tile has no
cache and a load takes a slot like anything else, so bandwidth follows from the inner loop: six instructions for an
element as the compiler writes it (`naive`), the same six for two floats or four halves at once (`vectorised`), and
what no hand-written loop can beat without the instructions that load two words at a time (`assembly`).

    python examples/triad.py --impl naive
"""

from functools import cache
from typing import Any

import numpy as np
from _sizes import Parser, count, even, finish, show

from ipusim import BadInput, Engine, Graph, Input, Output, Vector, codelet, float32, half, target
from ipusim import program as prog

TYPES = {"float": float32, "half": half}
IMPLEMENTATIONS = {"naive": ("popc", False), "vectorised": ("popc", True), "assembly": ("asm", True)}
SCALAR = 0.5


@cache
def make_codelet(dtype: Any, impl: str) -> Any:
    """The loop, in elements of `dtype`, compiled as `impl` says."""
    profile, wide = IMPLEMENTATIONS[impl]

    @codelet(profile=profile, vectorize=8 // dtype.bytes if wide else 1)
    def triad(a: Output[Vector[dtype]], b: Input[Vector[dtype]], c: Input[Vector[dtype]], s: dtype) -> None:
        for i in range(len(a)):
            a[i] = b[i] + s * c[i]

    return triad


def build(device: Any, elements: int, dtype: Any, impl: str) -> tuple[Graph, prog.Sequence]:
    """Three arrays of `elements`, cut evenly over the tiles and there, in whole 64-bit words, over six workers."""
    graph = Graph(device, name="triad")
    arrays = {name: graph.add_variable((elements,), dtype, name) for name in "abc"}
    compute = graph.add_compute_set("triad")
    word = 8 // dtype.bytes
    for tile, share in enumerate(even(elements, graph.tiles)):
        for array in arrays.values():
            graph.set_tile_mapping(array[share.start : share.stop], tile)
        for words in even(-(-len(share) // word), device.chip.tile.workers):
            begin, end = share.start + words.start * word, min(share.start + words.stop * word, share.stop)
            fields = {name: array[begin:end] for name, array in arrays.items()}
            graph.add_vertex(compute, make_codelet(dtype, impl), {**fields, "s": SCALAR}, tile=tile)
    return graph, prog.Sequence(compute)


def most_elements(device: Any, dtype: Any, impl: str) -> int:
    """Elements of an array so that three of them fill every tile beside code, stack and vertices."""
    small = 12 * 8 // dtype.bytes  # two words for each worker
    report = Engine(*build(device.with_fields({"chip.tiles": 1}), small, dtype, impl)).report()
    left = report.memory.tile_limit_bytes - (report.memory.max_tile_bytes - 3 * small * dtype.bytes)
    return device.chip.tiles * (left // (3 * 8)) * (8 // dtype.bytes)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--impl", choices=list(IMPLEMENTATIONS), default="naive", help="how the loop is compiled")
    parser.add_argument("--datatype", choices=list(TYPES), default="float", help="type of the elements")
    parser.add_argument("--tiles", type=count(), help="tiles in use (default: all of the chip)")
    parser.add_argument("--elements", type=count(), help="elements of an array (default: as many as fit)")
    chosen = parser.parse_args()
    dtype, device = TYPES[chosen.datatype], target(chosen.system, tiles=chosen.tiles)
    elements = chosen.elements or most_elements(device, dtype, chosen.impl)
    if 3 * elements * dtype.bytes > 16 * device.chip.memory_bytes:
        raise BadInput(f"{elements:,} elements are far more than the {device.chip.memory_bytes:,} bytes of the chip")

    graph, program = build(device, elements, dtype, chosen.impl)
    engine = Engine(graph, program)
    rng = np.random.default_rng(0)
    b, c = rng.random(elements).astype(dtype.numpy), rng.random(elements).astype(dtype.numpy)
    engine.write_tensor("b", b)
    engine.write_tensor("c", c)
    engine.run(0)
    report = engine.report()
    if not np.array_equal(engine.read_tensor("a"), b + dtype.numpy.type(SCALAR) * c):
        raise SystemExit("triad: the tiles' result differs from NumPy's")
    moved = 3 * elements * dtype.bytes
    facts = {
        "example": "triad",
        "system": chosen.system,
        "tiles": min(elements, graph.tiles),
        "impl": chosen.impl,
        "datatype": chosen.datatype,
        "elements": elements,
        "clock_hz": device.chip.clock_hz,
        "cycles": report.cycles,
        "phases": report.phases,
        "time": report.latency,
        "bytes": moved,
        "bandwidth": moved / report.latency / 1e9,
        "slots_per_element": slots_per_element(report, elements),
        "memory": report.memory.max_tile_bytes,
    }
    show(chosen.json, facts, text(facts))


def slots_per_element(report: Any, elements: int) -> float:
    """Issue slots a worker spends on an element: six workers take turns, so a slot of each passes in six cycles."""
    tiles = report.steps[0].tiles.compute
    return float(tiles.sum()) / elements


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    measured = {"naive": "3726 GB/s (plain C++)", "assembly": "12420 GB/s (assembly)"}
    same = {"system": "GC2", "tiles": 1216, "datatype": "float"}  # as it was measured
    known = facts["impl"] in measured and all(facts[k] == v for k, v in same.items())
    lines = [
        f"triad, {facts['impl']}, {facts['datatype']}: three arrays of {facts['elements']:,} elements "
        f"on {facts['tiles']:,} tiles of {facts['system']}",
        f"  fullest tile {facts['memory']:,} bytes",
        f"  {facts['cycles']:,} cycles, {facts['time'] * 1e6:.1f} us at {facts['clock_hz'] / 1e9:g} GHz",
        f"  {facts['slots_per_element']:.2f} issue slots per element and worker, all six workers at it",
        f"  {facts['bandwidth']:,.0f} GB/s",
    ]
    return "\n".join([*lines, *([f"  measured on a GC2: {measured[facts['impl']]}"] if known else [])])


if __name__ == "__main__":
    finish(main)
