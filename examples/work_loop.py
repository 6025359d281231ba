"""A loop until no tile has work: items wander to idle neighbours, and all tiles agree when to stop.

Item n asks how many steps the rule "halve n if it is even, else 3n + 1" takes down to 1; nobody knows beforehand.  All
items start on tile 0.  In a round a tile finishes up to `batch` items of its queue and offers half of the rest to the
next tile of a ring; then every tile takes what its neighbour offers (that is the exchange).  Each tile says how many
items it has left, tile 0 adds that up, and `RepeatWhileFalse` runs rounds until none is left anywhere.

    python examples/work_loop.py --items 600 --tiles 16 --batch 4
"""

from typing import Any

import numpy as np
from _sizes import Parser, count, finish, show

from ipusim import Engine, Graph, InOut, Input, Output, Vector, bool_, codelet, int32, target
from ipusim import program as prog

MOST_ITEMS = 100_000  # on the way from larger numbers, values leave 32 bits


@codelet
def work(
    queue: InOut[Vector[int32]],
    items: InOut[int32],
    steps: InOut[int32],
    finished: InOut[int32],
    offered: Output[Vector[int32]],
    offers: Output[int32],
    batch: int,
    share: bool,
) -> None:
    """Finishes items from the end of the queue, then moves half of the rest to `offered`."""
    left = items[0]
    done = min(batch, left)
    total = 0
    for k in range(done):
        n = queue[left - 1 - k]
        while n > 1:
            if n % 2 == 0:
                n = n >> 1
            else:
                n = 3 * n + 1
            total += 1
    left -= done
    moved = 0
    if share:
        moved = min(left // 2, len(offered))
    for k in range(moved):
        offered[k] = queue[left - 1 - k]
    steps[0] = steps[0] + total
    finished[0] = finished[0] + done
    items[0] = left - moved
    offers[0] = moved


@codelet
def take(queue: InOut[Vector[int32]], items: InOut[int32], offered: Input[Vector[int32]], offers: Input[int32]) -> None:
    """Puts what the neighbour offers at the end of the queue."""
    held = items[0]
    for k in range(offers[0]):
        queue[held + k] = offered[k]
    items[0] = held + offers[0]


@codelet
def all_done(items: Input[Vector[int32]], done: Output[bool_]) -> None:
    """Whether no tile has an item left."""
    left = 0
    for tile in range(len(items)):
        left += items[tile]
    done[0] = left == 0


def build(device: Any, items: int, batch: int, window: int, share: bool) -> tuple[Graph, prog.RepeatWhileFalse]:
    """A queue and a window of offers on every tile, two compute sets for a round, one to see whether to go on."""
    graph = Graph(device, name="work loop")
    tiles = graph.tiles
    queue = graph.add_variable((tiles, items), int32, "queue")
    offered = graph.add_variable((tiles, window), int32, "offered")
    held, offers, steps, finished = (
        graph.add_variable((tiles,), int32, name) for name in ("items", "offers", "steps", "finished")
    )
    done = graph.add_variable((1,), bool_, "done")
    graph.set_tile_mapping(done, 0)
    working, taking, checking = (graph.add_compute_set(name) for name in ("work", "take", "all done?"))
    for tile in range(tiles):
        mine = {"queue": queue[tile], "items": held[tile]}
        for tensor in (queue, offered, held, offers, steps, finished):
            graph.set_tile_mapping(tensor[tile], tile)
            graph.set_initial_value(tensor[tile], 0)
        counters = {"steps": steps[tile], "finished": finished[tile], "offered": offered[tile], "offers": offers[tile]}
        graph.add_vertex(working, work, {**mine, **counters, "batch": batch, "share": share}, tile=tile)
        before = (tile - 1) % tiles
        graph.add_vertex(taking, take, {**mine, "offered": offered[before], "offers": offers[before]}, tile=tile)
    graph.set_initial_value(queue[0], np.arange(1, items + 1))
    graph.set_initial_value(held[0], items)
    graph.add_vertex(checking, all_done, {"items": held, "done": done[0]}, tile=0)
    return graph, prog.RepeatWhileFalse(checking, done, [working, taking])


def steps_to_one(items: int) -> int:
    """NumPy on all items at once."""
    n, total = np.arange(1, items + 1, dtype=np.int64), 0
    while (n > 1).any():
        total += int((n > 1).sum())
        n = np.where(n > 1, np.where(n % 2 == 0, n // 2, 3 * n + 1), n)
    return total


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--items", type=count(), default=600, help="items, all on tile 0 at first (default 600)")
    parser.add_argument("--tiles", type=count(2), default=16, help="tiles of the ring (default 16)")
    parser.add_argument("--batch", type=count(), default=4, help="items that a tile finishes in a round (default 4)")
    parser.add_argument(
        "--window", type=count(), default=64, help="items that a tile can offer in a round (default 64)"
    )
    chosen = parser.parse_args()
    if chosen.items > MOST_ITEMS:
        parser.error(f"argument --items: {chosen.items} is more than {MOST_ITEMS}, where values leave 32 bits")

    device, expected, runs = target(chosen.system, tiles=chosen.tiles), steps_to_one(chosen.items), {}
    for share in (False, True):
        engine = Engine(*build(device, chosen.items, chosen.batch, chosen.window, share))
        engine.run(0)
        report, finished = engine.report(), engine.read_tensor("finished")
        if int(engine.read_tensor("steps").sum()) != expected or int(finished.sum()) != chosen.items:
            raise SystemExit("work_loop: the tiles' result differs from NumPy's")
        runs["shared" if share else "alone"] = {
            "rounds": next(s.repeats for s in report.steps if s.name == "work"),
            "cycles": report.cycles,
            "phases": report.phases,
            "finished": finished.tolist(),
            "steps": [{"name": s.name, "repeats": s.repeats, "cycles": s.cycles} for s in report.steps],
        }
    facts = {
        "example": "work_loop",
        "system": chosen.system,
        "tiles": chosen.tiles,
        "items": chosen.items,
        "batch": chosen.batch,
        "window": chosen.window,
        "steps_to_one": expected,
        "cycles": runs["shared"]["cycles"],
        "phases": runs["shared"]["phases"],
        "runs": runs,
    }
    show(chosen.json, facts, text(facts))


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    lines = [
        f"{facts['items']} items on tile 0 of {facts['tiles']} tiles of {facts['system']}; "
        f"{facts['steps_to_one']:,} steps in all, {facts['batch']} items per tile and round"
    ]
    titles = (("alone", "tile 0 keeps its items"), ("shared", "half of the rest goes to the neighbour"))
    for run, title in ((facts["runs"][key], title) for key, title in titles):
        lines += [f"{title}: {run['rounds']} rounds, {run['cycles']:,} cycles"]
        lines += [f"  {s['repeats']:>5} times {s['cycles']:>11,} cycles  {s['name']}" for s in run["steps"]]
        lines += [f"  items by tile: {' '.join(map(str, run['finished']))}"]
    alone, shared = facts["runs"]["alone"]["cycles"], facts["runs"]["shared"]["cycles"]
    return "\n".join([*lines, f"sharing is {alone / shared:.1f} times as fast"])


if __name__ == "__main__":
    finish(main)
