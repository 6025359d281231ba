"""Tile programs drawn by hypothesis, with what numpy makes of them."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from tile_views import chains, numbers

from ipusim import Graph, InOut, Input, Output, Vector, codelet, int32, target

TILES = 4


@codelet
def mix(a: Input[Vector[int32]], b: Input[Vector[int32]], out: Output[Vector[int32]], k: int):
    for i in range(len(out)):
        out[i] = k * a[i % len(a)] - b[i % len(b)]


@codelet
def blend(a: Input[Vector[Vector[int32]]], s: Input[int32], out: InOut[Vector[int32]]):
    for i in range(len(a)):
        for j in range(len(a[i])):
            out[(i + j) % len(out)] += s[0] * a[i][j]


def mix_numpy(a, b, out, k):
    at = np.arange(len(out))
    return k * a[at % len(a)] - b[at % len(b)]


def blend_numpy(rows, s, out):
    wide = out.astype(np.int64)
    with np.errstate(over="ignore"):  # 64 bits wrap, and so do the 32 that are kept
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                wide[(i + j) % len(out)] += np.int64(s) * np.int64(value)
    return wide.astype(np.int32)  # wraps


@dataclass
class Drawn:
    """A graph, its compute sets in order, and what each does to an array of all elements."""

    graph: Graph
    sets: list = field(default_factory=list)
    effects: list = field(default_factory=list)

    def flat(self, read):
        """Elements of all variables, one after another, as `read` (variable name -> array) gives them."""
        return np.concatenate([np.asarray(read(v.name)).ravel() for v in self.graph.variables]).astype(np.int32)

    def write(self, engine, values):
        """Stores the elements of all variables."""
        at = 0
        for v in self.graph.variables:
            engine.write_tensor(v.name, values[at : at + v.elements].reshape(v.shape))
            at += v.elements


def place(draw, graph, tensor, array):
    """A random mapping: all on one tile, then stretches and strides on others."""
    graph.set_tile_mapping(tensor, draw(st.integers(0, graph.tiles - 1)))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, tensor.elements - 1))
        end = draw(st.integers(begin + 1, tensor.elements))
        step = draw(st.integers(1, 3))
        graph.set_tile_mapping(tensor.flatten()[begin:end:step], draw(st.integers(0, graph.tiles - 1)))


@st.composite
def programs(draw, most_sets=3):
    """Compute sets whose vertices read joined, strided, transposed views and write interleaved parts of a variable."""
    drawn = Drawn(Graph(target("GC2", tiles=TILES), name="drawn"))
    shapes = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), min_size=3, max_size=3))
    for i, shape in enumerate(shapes):
        tensor = drawn.graph.add_variable(shape, int32, f"v{i}")
        place(draw, drawn.graph, tensor, None)
    known = numbers(drawn.graph.variables)
    for _ in range(draw(st.integers(1, most_sets))):
        drawn.sets.append(drawn.graph.add_compute_set(f"set{len(drawn.sets)}"))
        drawn.effects.append(draw(vertices(drawn, known)))
    return drawn


@st.composite
def vertices(draw, drawn, known):
    """Adds vertices to the last compute set; a list of (numbers of written elements, values -> their new values)."""
    graph, cs = drawn.graph, drawn.sets[-1]
    target_variable = draw(st.sampled_from(graph.variables))
    others = [v for v in graph.variables if v is not target_variable]
    view = graph.tensor(target_variable.name).flatten()
    parts = draw(st.integers(1, min(4, view.elements)))
    strided = draw(st.booleans())
    effects = []
    for part in range(parts):
        index = (
            slice(part, None, parts)
            if strided
            else slice(part * view.elements // parts, (part + 1) * view.elements // parts)
        )
        out, out_ids = view[index], known[target_variable].ravel()[index]
        if draw(st.booleans()):
            out, out_ids = out.reverse(), out_ids[::-1]
        tile = draw(st.integers(0, graph.tiles - 1))
        chain = chains(others, most=4, known=known).filter(lambda pair: 0 < pair[1].size <= 200)
        a, a_ids = draw(chain)
        if draw(st.booleans()):
            b, b_ids = draw(chain)
            k = draw(st.integers(-3, 3))
            graph.add_vertex(cs, mix, {"a": a.flatten(), "b": b.flatten(), "out": out, "k": k}, tile=tile)
            effects.append((out_ids, _mixing(a_ids.ravel(), b_ids.ravel(), out_ids, k)))
        else:
            matrix = a.ndim > 1
            s, s_ids = draw(chain)
            fields = {"a": a if matrix else [a.flatten(), a.flatten()], "s": s.flatten()[0], "out": out}
            graph.add_vertex(cs, blend, fields, tile=tile)
            rows = [r.ravel() for r in a_ids] if matrix else [a_ids.ravel()] * 2
            effects.append((out_ids, _blending(rows, s_ids.ravel()[0], out_ids)))
    return effects


def _mixing(a, b, out, k):
    return lambda values: mix_numpy(values[a], values[b], out, k)


def _blending(rows, s, out):
    return lambda values: blend_numpy([values[r] for r in rows], values[s], values[out])


def apply(effects, values):
    """All elements after a compute set ran once."""
    after = values.copy()
    for ids, made in effects:
        after[ids] = made(values)
    return after
