"""Odd-even sort over tiles: a loop on the device that ends when no tile has swapped anything.

Every tile holds a sorted block of keys.  In a superstep neighbours pair up, each reads the other's block (an exchange)
and keeps the lower or the upper half of both; pairs (0, 1), (2, 3)... and (1, 2), (3, 4)... take turns.  A vertex may
not read what another one writes in the same superstep, so blocks go from one variable to a second and back.  Each tile
says whether its block changed; tile 0 adds that up, and the loop's condition is read by all tiles.

    python examples/odd_even_sort.py --tiles 16 --keys-per-tile 32
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, finish, show

from ipusim import Engine, Graph, InOut, Input, Output, Tensor, Vector, codelet, int32, target
from ipusim import program as prog

ORDERS = ("random", "reversed", "sorted")


@codelet
def insertion_sort(keys: InOut[Vector[int32]]) -> None:
    """Sorts a tile's own block."""
    for i in range(1, len(keys)):
        key = keys[i]
        j = i - 1
        while j >= 0 and keys[j] > key:
            keys[j + 1] = keys[j]
            j -= 1
        keys[j + 1] = key


@codelet
def keep_lower(
    mine: Input[Vector[int32]], other: Input[Vector[int32]], out: Output[Vector[int32]], swapped: Output[int32]
) -> None:
    """The lowest keys of two sorted blocks, as many as `mine` has."""
    i = 0
    j = 0
    for k in range(len(mine)):
        if mine[i] <= other[j]:
            out[k] = mine[i]
            i += 1
        else:
            out[k] = other[j]
            j += 1
    swapped[0] = j


@codelet
def keep_upper(
    mine: Input[Vector[int32]], other: Input[Vector[int32]], out: Output[Vector[int32]], swapped: Output[int32]
) -> None:
    """The highest keys of two sorted blocks, as many as `mine` has."""
    last = len(mine) - 1
    i = last
    j = last
    for k in range(len(mine)):
        if mine[i] >= other[j]:
            out[last - k] = mine[i]
            i -= 1
        else:
            out[last - k] = other[j]
            j -= 1
    swapped[0] = last - j


@codelet
def keep_all(mine: Input[Vector[int32]], out: Output[Vector[int32]], swapped: Output[int32]) -> None:
    """A tile without a partner."""
    for k in range(len(mine)):
        out[k] = mine[k]
    swapped[0] = 0


@codelet
def count_swaps(swapped: Input[Vector[int32]], total: Output[int32]) -> None:
    """Keys that came from a neighbour, over all tiles."""
    s = 0
    for i in range(len(swapped)):
        s += swapped[i]
    total[0] = s


def phase(graph: Graph, name: str, source: Tensor, out: Tensor, swapped: Tensor, first: int) -> Any:
    """A compute set in which tiles (first, first + 1), (first + 2, first + 3)... are pairs."""
    step = graph.add_compute_set(name)
    for tile in range(graph.tiles):
        lower = (tile - first) % 2 == 0
        partner = tile + 1 if lower else tile - 1
        fields = {"mine": source[tile], "out": out[tile], "swapped": swapped[tile]}
        if 0 <= partner < graph.tiles:
            pair = {**fields, "other": source[partner]}
            graph.add_vertex(step, keep_lower if lower else keep_upper, pair, tile=tile)
        else:
            graph.add_vertex(step, keep_all, fields, tile=tile)
    return step


def build(device: Any, keys_per_tile: int) -> tuple[Graph, prog.Sequence]:
    """Sort each block, then rounds of two phases until a whole round has swapped nothing."""
    graph = Graph(device, name="odd-even sort")
    shape = (graph.tiles, keys_per_tile)
    keys, spare = graph.add_variable(shape, int32, "keys"), graph.add_variable(shape, int32, "spare")
    swapped = graph.add_variable((2, graph.tiles), int32, "swapped")
    total = graph.add_variable((1,), int32, "swaps of a round")
    graph.set_tile_mapping(total, 0)
    own = graph.add_compute_set("sort own block")
    for tile in range(graph.tiles):
        for tensor in (keys[tile], spare[tile], swapped[:, tile]):
            graph.set_tile_mapping(tensor, tile)
        graph.add_vertex(own, insertion_sort, {"keys": keys[tile]}, tile=tile)
    check = graph.add_compute_set("anything swapped?")
    graph.add_vertex(check, count_swaps, {"swapped": swapped.flatten(), "total": total[0]}, tile=0)
    turn = [
        phase(graph, "pairs from tile 0", keys, spare, swapped[0], 0),
        phase(graph, "pairs from tile 1", spare, keys, swapped[1], 1),
        check,
    ]
    return graph, prog.Sequence(own, prog.RepeatWhileTrue(turn, total, []))  # the round itself finds the condition


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--tiles", type=count(), default=16, help="tiles, each with a block of keys (default 16)")
    parser.add_argument("--keys-per-tile", type=count(), default=32, help="keys of a block (default 32)")
    parser.add_argument("--order", choices=ORDERS, default="random", help="how the keys stand at the start")
    chosen = parser.parse_args()
    tiles, block = chosen.tiles, chosen.keys_per_tile
    keys = np.random.default_rng(0).integers(0, 1_000_000, tiles * block, dtype=np.int32)
    if chosen.order != "random":
        keys = np.sort(keys)[:: -1 if chosen.order == "reversed" else 1]

    engine = Engine(*build(target(chosen.system, tiles=tiles), block))
    engine.write_tensor("keys", keys.reshape(tiles, block))
    engine.run(0)
    report = engine.report()
    if not np.array_equal(engine.read_tensor("keys").reshape(-1), np.sort(keys)):
        raise SystemExit("odd_even_sort: the tiles' result differs from NumPy's")
    facts = {
        "example": "odd_even_sort",
        "system": chosen.system,
        "tiles": tiles,
        "keys_per_tile": block,
        "order": chosen.order,
        "rounds": next(s.repeats for s in report.steps if s.name == "pairs from tile 0"),
        "cycles": report.cycles,
        "phases": report.phases,
        "time": report.latency,
        "steps": [{"name": s.name, "repeats": s.repeats, "cycles": s.cycles, "phases": s.phases} for s in report.steps],
    }
    show(chosen.json, facts, text(facts))


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    tiles, block = facts["tiles"], facts["keys_per_tile"]
    lines = [
        f"{tiles * block:,} {facts['order']} keys, {block} on each of {tiles} tiles of {facts['system']}",
        f"sorted after {facts['rounds']} rounds of two phases, of which the last swapped nothing",
        f"{facts['cycles']:,} cycles:",
        f"  {'times':>5} {'cycles':>9} {'compute':>9} {'exchange':>9} {'sync':>7}",
    ]
    for s in facts["steps"]:
        p = s["phases"]
        lines += [
            f"  {s['repeats']:>5} {s['cycles']:>9,} {p['compute']:>9,} {p['exchange']:>9,} {p['sync']:>7,}  {s['name']}"
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    finish(main)
