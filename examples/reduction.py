"""Reduction and prefix sum by hand: trees of supersteps over tiles, and why a flat tree beats a binary one.

Values on one tile cost a few cycles each; values on another tile cost a superstep: a barrier and an exchange, however
few bytes move.  So every tile first does what it can alone, with all six workers, and only one number per tile
travels.

- Reduction: six partial sums per tile, one per tile, then a tree over tiles in which one tile adds up `fan-in` others.
- Prefix sum: each tile's total is scanned over tiles by doubling (after round k every tile knows the sum of 2^k
  totals), then every worker runs through its part, starting from what stands before it.

    python examples/reduction.py --elements 100000 --tiles 64 --fan-in 8
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, even, finish, show

from ipusim import Engine, Graph, Input, Output, Tensor, Vector, codelet, int32, target
from ipusim import program as prog

FAN_IN = (2, 4, 8, 16, 64)  # compared in the text


@codelet
def add_up(values: Input[Vector[int32]], total: Output[int32]) -> None:
    """Sum of a vector."""
    s = 0
    for i in range(len(values)):
        s += values[i]
    total[0] = s


@codelet
def scan(values: Input[Vector[int32]], before: Input[Vector[int32]], out: Output[Vector[int32]]) -> None:
    """Running sum of a vector, which starts from the sum of `before`."""
    s = 0
    for i in range(len(before)):
        s += before[i]
    for i in range(len(values)):
        s += values[i]
        out[i] = s


def parts_of_workers(elements: int, tiles: int, workers: int) -> list[list[range]]:
    """What each worker of each tile works on."""
    return [
        [range(share.start + part.start, share.start + part.stop) for part in even(len(share), workers)]
        for share in even(elements, tiles)
    ]


def sum_on_tiles(graph: Graph, values: Tensor, parts: list[list[range]]) -> tuple[Tensor, Tensor, list[Any]]:
    """A partial sum for each worker and one for each tile: two compute sets, nothing to exchange."""
    workers = graph.add_variable((sum(map(len, parts)),), int32, "sums of workers")
    tiles = graph.add_variable((len(parts),), int32, "sums of tiles")
    first, second = graph.add_compute_set("sum by workers"), graph.add_compute_set("sum of a tile")
    at = 0
    for tile, mine in enumerate(parts):
        partials = workers[at : at + len(mine)]
        graph.set_tile_mapping(partials, tile)
        graph.set_tile_mapping(tiles[tile], tile)
        for k, part in enumerate(mine):
            piece = values[part.start : part.stop]
            graph.add_vertex(first, add_up, {"values": piece, "total": partials[k]}, tile=tile)
        graph.add_vertex(second, add_up, {"values": partials, "total": tiles[tile]}, tile=tile)
        at += len(mine)
    return workers, tiles, [first, second]


def tree(graph: Graph, sums: Tensor, fan_in: int) -> tuple[Tensor, list[Any]]:
    """One element on tile 0: in each superstep a tile adds up `fan_in` sums, its own and those of its neighbours."""
    steps, apart = [], 1
    while len(sums) > 1:
        level = graph.add_compute_set(f"{fan_in} to one, {len(sums)} sums")
        fewer = graph.add_variable(
            (-(-len(sums) // fan_in),), int32, f"{fan_in} to one, sums of {apart * fan_in} tiles"
        )
        for k in range(len(fewer)):
            tile = k * apart * fan_in
            graph.set_tile_mapping(fewer[k], tile)
            some = sums[k * fan_in : min(len(sums), (k + 1) * fan_in)]
            graph.add_vertex(level, add_up, {"values": some, "total": fewer[k]}, tile=tile)
        steps.append(level)
        sums, apart = fewer, apart * fan_in
    return sums, steps


def scan_of_tiles(graph: Graph, sums: Tensor) -> tuple[Tensor, list[Any]]:
    """Sums of all tiles up to and with each tile, by doubling."""
    steps, apart = [], 1
    while apart < len(sums):
        level = graph.add_compute_set(f"scan over tiles, {apart} apart")
        wider = graph.add_variable((len(sums),), int32, f"sums of up to {2 * apart} tiles")
        for tile in range(len(sums)):
            graph.set_tile_mapping(wider[tile], tile)
            known = [sums[t : t + 1] for t in (tile - apart, tile) if t >= 0]
            graph.add_vertex(level, add_up, {"values": Tensor.concat(known), "total": wider[tile]}, tile=tile)
        steps.append(level)
        sums, apart = wider, 2 * apart
    return sums, steps


def scan_on_tiles(
    graph: Graph, values: Tensor, parts: list[list[range]], workers: Tensor, upto: Tensor
) -> tuple[Tensor, Any]:
    """The prefix sum itself: a worker starts from all tiles and all workers before it."""
    out, last = graph.add_variable(values.shape, int32, "prefix"), graph.add_compute_set("scan by workers")
    at = 0
    for tile, mine in enumerate(parts):
        for k, part in enumerate(mine):
            piece = slice(part.start, part.stop)
            graph.set_tile_mapping(out[piece], tile)
            before = [*([upto[tile - 1 : tile]] if tile else []), *([workers[at : at + k]] if k else [])]
            start = Tensor.concat(before) if before else graph.add_constant([0], int32, "nothing before", tile=tile)
            graph.add_vertex(last, scan, {"values": values[piece], "before": start, "out": out[piece]}, tile=tile)
        at += len(mine)
    return out, last


def build(device: Any, elements: int, fan_in: list[int]) -> tuple[Graph, dict[str, Tensor], list[prog.Sequence]]:
    """All programs over one variable: the prefix sum, and the reduction with each fan-in."""
    graph = Graph(device, name="reduction")
    parts = parts_of_workers(elements, graph.tiles, device.chip.tile.workers)
    values = graph.add_variable((elements,), int32, "values")
    for tile, mine in enumerate(parts):
        graph.set_tile_mapping(values[mine[0].start : mine[-1].stop], tile)
    workers, tiles, local = sum_on_tiles(graph, values, parts)
    upto, doubling = scan_of_tiles(graph, tiles)
    prefix, last = scan_on_tiles(graph, values, parts, workers, upto)
    tensors, programs = {"values": values, "prefix": prefix}, [prog.Sequence(*local, *doubling, last)]
    for k in fan_in:
        tensors[f"total {k}"], levels = tree(graph, tiles, k)
        programs.append(prog.Sequence(*local, *levels))
    return graph, tensors, programs


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--elements", type=count(), default=100_000, help="values to add up (default 100000)")
    parser.add_argument("--tiles", type=count(), default=64, help="tiles in use (default 64)")
    parser.add_argument("--fan-in", type=count(2), default=8, help="sums that a tile adds up in a step (default 8)")
    chosen = parser.parse_args()
    values = np.random.default_rng(0).integers(-1000, 1000, chosen.elements, dtype=np.int32)

    fan_in = sorted({chosen.fan_in, *(k for k in FAN_IN if k < 2 * chosen.tiles)})
    graph, tensors, programs = build(target(chosen.system, tiles=chosen.tiles), chosen.elements, fan_in)
    engine = Engine(graph, programs)
    engine.write_tensor(tensors["values"], values)
    reports = []
    for number in range(len(programs)):
        engine.run(number)
        reports.append(engine.report())
    prefix, reductions = reports[0], dict(zip(fan_in, reports[1:], strict=True))
    sums = np.cumsum(values, dtype=np.int32)
    totals = [engine.read_tensor(tensors[f"total {k}"])[0] for k in fan_in]
    if any(total != sums[-1] for total in totals) or not np.array_equal(engine.read_tensor("prefix"), sums):
        raise SystemExit("reduction: the tiles' result differs from NumPy's")
    reduce = reductions[chosen.fan_in]
    facts = {
        "example": "reduction",
        "system": chosen.system,
        "tiles": chosen.tiles,
        "elements": chosen.elements,
        "fan_in": chosen.fan_in,
        "cycles": reduce.cycles,
        "phases": reduce.phases,
        "prefix_cycles": prefix.cycles,
        "prefix_phases": prefix.phases,
        "steps": steps(reduce),
        "prefix_steps": steps(prefix),
        "total": int(sums[-1]),
        "cycles_by_fan_in": {str(k): r.cycles for k, r in reductions.items()},
    }
    show(chosen.json, facts, text(facts))


def steps(report: Any) -> list[dict[str, Any]]:
    """Every superstep by phases."""
    return [{"name": s.name, "cycles": s.cycles, **{k: v for k, v in s.phases.items() if v}} for s in report.steps]


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    lines = [
        f"{facts['elements']:,} integers on {facts['tiles']} tiles of {facts['system']}, {facts['total']:,} in all"
    ]
    for title, key in (("reduction", "steps"), ("prefix sum", "prefix_steps")):
        every = facts[key]
        lines += [f"{title}: {sum(s['cycles'] for s in every):,} cycles in {len(every)} supersteps"]
        lines += [f"  {'compute':>8}{'exchange':>9}{'copy':>6}{'sync':>6}"]
        for s in every:
            copies = s.get("copy_before", 0) + s.get("copy_after", 0)
            lines += [f"  {s['compute']:>8,}{s.get('exchange', 0):>9,}{copies:>6,}{s['sync']:>6,}  {s['name']}"]
    lines += ["the reduction by fan-in:"]
    lines += [f"  {int(k):>4} to one: {cycles:>8,} cycles" for k, cycles in facts["cycles_by_fan_in"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    finish(main)
