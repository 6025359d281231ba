"""Two variables as one: only where a loop's steps do not look at the old value once the new one is begun."""

import numpy as np
import pytest

from ipusim.dtype import float16, float32
from ipusim.program.graph import Graph
from ipusim.program.mapping import linear
from ipusim.program.merging import merge
from ipusim.program.tensor import Tensor
from ipusim_kernels.copies import copy_group

SHAPE = (8, 4)


def start(**options):
    """A graph with a carried value `old`, a value `new` and one between, all alike."""
    graph = Graph(4)
    place = linear(SHAPE, 4)
    made = {n: Tensor.of(graph.add_storage(SHAPE, float32, n, mapping=place)) for n in ("x", "old", "between")}
    other = {"mapping": linear(SHAPE, 4), "dtype": float32} | options  # equal, but not the same object
    made["new"] = Tensor.of(graph.add_storage(SHAPE, other.pop("dtype"), "new", **other))
    graph.execute("first", -1, [copy_group(made["x"], made["old"])])
    return graph, made


def copy(graph, source, target):
    graph.execute("copy", -1, [copy_group(source, target)])


def test_what_is_begun_after_the_old_value_was_read_last():
    graph, t = start()
    with graph.loop("runs", 3) as loop:
        copy(graph, t["old"], t["between"])
        copy(graph, t["between"], t["new"])
        assert merge(graph, loop, t["new"], t["old"])
    written = graph.sets[-1].groups[0].fields[1].tensor
    assert written.variables() == t["old"].variables()
    assert [v.name for v in graph.variables] == ["x", "old", "between"]


@pytest.mark.parametrize("where", ["beside", "after", "in a loop of their own"])
def test_an_old_value_that_is_still_read(where):
    graph, t = start()
    with graph.loop("runs", 3) as loop:
        if where == "beside":
            copy(graph, t["old"], t["new"])
        elif where == "after":
            copy(graph, t["x"], t["new"])
            copy(graph, t["old"], t["between"])
        else:
            with graph.loop("inner", 2):  # its second run reads what the first one would have overwritten
                copy(graph, t["old"], t["between"])
                copy(graph, t["between"], t["new"])
        assert not merge(graph, loop, t["new"], t["old"])
    assert len(graph.variables) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": float16},
        {"mapping": linear(SHAPE, 4, offset=1)},
        {"channels": 4},
        {"always_live": True},
    ],
)
def test_variables_that_are_stored_otherwise(options):
    graph, t = start(**options)
    with graph.loop("runs", 3) as loop:
        copy(graph, t["x"], t["new"])
        assert not merge(graph, loop, t["new"], t["old"])


def test_a_value_from_before_the_loop_and_one_that_is_a_part():
    graph, t = start()
    copy(graph, t["x"], t["new"])
    with graph.loop("runs", 3) as loop:
        copy(graph, t["x"], t["between"])
        assert not merge(graph, loop, t["new"], t["old"])
        assert not merge(graph, loop, t["between"].slice(0, 0, 4), t["old"].slice(0, 0, 4))
        assert not merge(graph, loop, t["between"].reverse(0), t["old"])
        assert merge(graph, loop, t["between"].transpose((1, 0)), t["old"].transpose((1, 0)))
    assert np.array_equal(graph.sets[-1].groups[0].fields[1].boxes.lo, graph.sets[0].groups[0].fields[1].boxes.lo)
