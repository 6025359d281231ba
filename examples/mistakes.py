"""What goes wrong in tile programs, and what the messages say.

Wrong placement and wiring are found when the `Engine` is made, all of it at once, with the line of this script where
the vertex or variable was made.  What depends on values (an index, a division) is found while the vertices run.  A
program that does not fit can be made and looked at; it will not run unless it is told to.

    python examples/mistakes.py --tiles 4
"""

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from _sizes import Parser, count, finish, show

from ipusim import (
    BadInput,
    DoesNotFit,
    Engine,
    Graph,
    Input,
    InvalidProgram,
    IpuSimError,
    Output,
    Vector,
    codelet,
    float32,
    half,
    target,
)
from ipusim import program as prog

ROWS = 8
MOST_KIB = 2**20  # the host keeps it as well

TOLD = ("Latency", "DOES NOT FIT", "out of memory")  # the lines of a report that matter here


@codelet
def double(x: Input[Vector[float32]], out: Output[Vector[float32]]) -> None:
    """Twice a vector."""
    for i in range(len(x)):
        out[i] = 2.0 * x[i]


@codelet
def differences(x: Input[Vector[float32]], out: Output[Vector[float32]]) -> None:
    """A vector's elements less the ones after them: the last one has none."""
    for i in range(len(x)):
        out[i] = x[i + 1] - x[i]


def race(graph: Graph) -> list[Any]:
    """Two vertices write the same two elements, and one reads what another writes."""
    x = graph.add_variable((ROWS,), float32, "x")
    y = graph.add_variable((ROWS,), float32, "y")
    graph.set_tile_mapping(x, 0)
    graph.set_tile_mapping(y, 0)
    step = graph.add_compute_set("race")
    graph.add_vertex(step, double, {"x": x[0:5], "out": y[0:5]}, tile=0)
    graph.add_vertex(step, double, {"x": x[3:8], "out": y[3:8]}, tile=1)
    graph.add_vertex(step, double, {"x": y[7:8], "out": x[7:8]}, tile=1)
    return [step]


def unmapped(graph: Graph) -> list[Any]:
    """Some rows of a variable were never placed."""
    x = graph.add_variable((ROWS, 10), float32, "x")
    graph.set_tile_mapping(x[0:3], 0)
    graph.set_tile_mapping(x[5:8], 1)
    step = graph.add_compute_set("step")
    graph.add_vertex(step, double, {"x": x[3], "out": x[0]}, tile=0)
    return [step]


def wiring(graph: Graph) -> list[Any]:
    """A type that differs, a field that is not connected, a tile that is not there: all are told at once."""
    x = graph.add_constant(np.ones(ROWS), half, "x", tile=0)
    step = graph.add_compute_set("step")
    graph.add_vertex(step, double, {"x": x}, tile=graph.tiles)
    return [step]


def lengths(graph: Graph) -> list[Any]:
    """A copy whose ends differ in length."""
    x = graph.add_constant(np.ones(ROWS), float32, "x", tile=0)
    y = graph.add_variable((ROWS - 1,), float32, "y")
    graph.set_tile_mapping(y, 1)
    return [prog.Copy(x, y)]


def index(graph: Graph) -> list[Any]:
    """A codelet that reads past the end of its field."""
    x = graph.add_constant(np.arange(ROWS), float32, "x", tile=0)
    y = graph.add_variable((ROWS,), float32, "y")
    graph.set_tile_mapping(y, 1)
    step = graph.add_compute_set("differences")
    graph.add_vertex(step, differences, {"x": x, "out": y}, tile=1)
    return [step]


def too_large(graph: Graph, kib: int) -> list[Any]:
    """A variable of `kib` KiB on tile 0."""
    x = graph.add_variable((kib * 256,), float32, "x")
    graph.set_tile_mapping(x, 0)
    step = graph.add_compute_set("double the first")
    y = graph.add_variable((4,), float32, "y")
    graph.set_tile_mapping(y, 0)
    graph.add_vertex(step, double, {"x": x[0:4], "out": y}, tile=0)
    return [step]


def message_of(device: Any, mistake: Any) -> str:
    """What a program with a mistake is answered."""
    graph = Graph(device, name="mistakes")
    try:
        Engine(graph, prog.Sequence(mistake(graph))).run()
    except InvalidProgram as error:
        return "\n".join(error.problems)
    except IpuSimError as error:
        return str(error)
    raise SystemExit(f"mistakes: nobody noticed the {mistake.__name__}")


def in_a_codelet() -> str:
    """What the codelet language does not have is told when the function is decorated."""
    try:

        @codelet
        def search(x: Input[Vector[float32]], out: Output[float32]) -> None:
            found = [i for i in range(len(x)) if x[i] > 0.0]
            out[0] = x[found[0]]

    except IpuSimError as error:
        return str(error)
    raise SystemExit("mistakes: nobody noticed the list in a codelet")


def run_all_the_same(device: Any, kib: int) -> tuple[str, Any, Any]:
    """(why it does not run, its report all the same, its report after running with `allow_out_of_memory`)."""
    graph = Graph(device, name="too large")
    program = prog.Sequence(too_large(graph, kib))
    engine = Engine(graph, program)
    before = engine.report()
    try:
        engine.run()
    except DoesNotFit as error:
        engine = Engine(graph, program, allow_out_of_memory=True)
        engine.write_tensor("x", np.ones(kib * 256))
        engine.run()
        if not np.array_equal(engine.read_tensor("y"), np.full(4, 2.0)):
            raise SystemExit("mistakes: the tiles' result differs from NumPy's") from None
        return str(error), before, engine.report()
    raise BadInput(f"{kib} KiB fit a tile of {device.name}; ask for more with --kib")


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--tiles", type=count(2), default=4, help="tiles in use (default 4)")
    parser.add_argument("--kib", type=count(), help="KiB on a tile that has less (default: 44 more than it has)")
    chosen = parser.parse_args()
    device = target(chosen.system, tiles=chosen.tiles)
    kib = chosen.kib or device.chip.tile.memory_bytes // 1024 + 44
    if kib > MOST_KIB:
        parser.error(f"argument --kib: {kib} is more than {MOST_KIB}")

    mistakes = (race, unmapped, wiring, lengths, index)
    messages = {mistake.__name__: message_of(device, mistake) for mistake in mistakes}
    messages["codelet"] = in_a_codelet()
    messages["memory"], before, after = run_all_the_same(device, kib)
    here = f"{Path(__file__).parent}/"  # messages from codelets name the file with its folder
    facts = {
        "example": "mistakes",
        "system": chosen.system,
        "tiles": chosen.tiles,
        "kib": kib,
        "cycles": after.cycles,
        "phases": after.phases,
        "messages": {name: message.replace(here, "") for name, message in messages.items()},
        "memory": {
            "fits": before.memory.fits,
            "worst_tile": before.memory.worst_tile,
            "max_tile_bytes": before.memory.max_tile_bytes,
            "tile_limit_bytes": before.memory.tile_limit_bytes,
        },
        "report": [line.strip() for line in str(after).splitlines() if any(word in line for word in TOLD)],
    }
    show(chosen.json, facts, text(facts))


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    titles = {
        "race": "Two vertices at the same elements in one compute set",
        "unmapped": "Elements without a tile",
        "wiring": "Wrong type, unconnected field, no such tile",
        "lengths": "A copy whose ends differ",
        "index": "An index out of range while a vertex runs",
        "codelet": "Python that a tile cannot run",
        "memory": f"{facts['kib']} KiB on one tile",
    }
    lines = []
    for name, title in titles.items():
        lines += [title, *(wrap(line) for line in facts["messages"][name].splitlines()), ""]
    m = facts["memory"]
    lines += ["Its report can be read before it runs"]
    lines += [f"  tile {m['worst_tile']} needs {m['max_tile_bytes']:,} of {m['tile_limit_bytes']:,} bytes", ""]
    lines += [
        "With allow_out_of_memory=True it runs, and the report says so",
        *(f"  {line}" for line in facts["report"]),
    ]
    return "\n".join(lines)


def wrap(line: str) -> str:
    """A message over several lines."""
    return fill(
        line, 110, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    finish(main)
