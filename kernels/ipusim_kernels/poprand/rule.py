"""Lowering of random ops: a MultiVertex on each tile that holds part of the result, and the states of its workers.

States are a variable of the program, seeded when it starts; every op of one seed advances the same states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, erfc, log, sqrt
from typing import final

import numpy as np

from ipusim.dtype import DType, uint32
from ipusim.lower.placement import storage_like
from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node
from ipusim.workload.ops_random import Dropout, Random
from ipusim_kernels.halves import store, widen
from ipusim_kernels.poprand import cycles
from ipusim_kernels.poprand.calls import MISSED
from ipusim_kernels.poprand.generator import states
from ipusim_kernels.poprand.streams import KINDS, WORDS, WORKERS, Layout, fill


@final
@dataclass(frozen=True, slots=True)
class DrawAttrs:
    """A kind with its three parameters as `streams.fill` takes them, the element type, and where elements lie."""

    kind: str
    a: float
    b: float
    alpha: float
    dtype: DType
    layout: Layout

    @property
    def grain(self) -> int:
        """Elements that a worker gets at least: a 64-bit vector."""
        return 8 // self.dtype.bytes


def parameters(op: Random | Dropout) -> tuple[str, float, float, float]:
    """Kind, a, b and alpha of an op as `streams.fill` takes them."""
    if isinstance(op, Dropout):
        return "dropout", 0.0, 1.0 / op.keep, float(round(op.keep * (1 << 31)))
    if op.kind == "uniform":
        return op.kind, op.low, op.high - op.low, 0.0
    if op.kind == "bernoulli":
        return op.kind, 0.0, 1.0, float(round(op.low * (1 << 31)))
    return op.kind, op.low, op.high, op.alpha


def draw_cycles(attrs: DrawAttrs, elements: int) -> int:
    """Tile cycles of one vertex."""
    half = attrs.dtype.bytes == 2
    match attrs.kind:
        case "uniform":
            return cycles.uniform(elements, half)
        case "normal":
            return cycles.normal(elements, half)
        case "truncated_normal":
            outside = erfc(attrs.alpha / sqrt(2))
            rounds = 1 if outside <= MISSED else ceil(log(MISSED) / log(outside))
            return cycles.truncated_normal(elements, half, rounds)
        case "bernoulli":
            return cycles.bernoulli(elements, half)
        case _:
            return cycles.dropout(elements, half)


def draw_flops(attrs: DrawAttrs, elements: int) -> int:
    """One per element."""
    return elements


def _fill(attrs: DrawAttrs, state: Array, layout: Layout, made: Array) -> None:
    kind = KINDS[attrs.kind]
    fill(
        kind, state, layout.tiles, layout.first, layout.order, attrs.grain, attrs.a, attrs.b, attrs.alpha, made
    )


def draw_batched(attrs: DrawAttrs, arrays: Sequence[Array]) -> None:
    """States (tiles, 24), for dropout x, and the result."""
    state, *given, out = arrays
    made = np.array(widen(given[0]), np.float32, order="C").reshape(-1) if given else np.empty(out.size, np.float32)
    flat = np.ascontiguousarray(state).reshape(-1)
    _fill(attrs, flat, attrs.layout, made)
    if flat.base is not state and not np.shares_memory(flat, state):
        state[...] = flat.reshape(state.shape)
    store(made.reshape(out.shape), out)


def draw_compute(attrs: DrawAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex: the state of its tile, for dropout x, and the result, box by box in the tile's order."""
    (state,), *given, outs = boxes
    total = sum(out.size for out in outs)
    made = np.concatenate([widen(x).ravel() for x in given[0]]) if given else np.empty(total, np.float32)
    made = np.array(made, np.float32)
    flat = np.ascontiguousarray(state).reshape(-1).copy()
    own = Layout(np.zeros(1, np.int32), np.array([0, total], np.int32), np.arange(total, dtype=np.int32))
    _fill(attrs, flat, own, made)
    state[...] = flat.reshape(state.shape)
    at = 0
    for out in outs:
        store(made[at : at + out.size].reshape(out.shape), out)
        at += out.size


DRAW = Codelet("poprand::Draw", ("elements",), draw_cycles, draw_compute, draw_batched, draw_flops, "multi", 512)


@final
@dataclass(frozen=True, slots=True)
class States:
    """First states of a seed on every replica, each of which is one IPU: no two draw the same."""

    seed: int
    tiles: int

    def array(self) -> Array:
        """Those of the first IPU: (tiles, 24) uint32."""
        return states(self.seed, self.tiles)

    def of_replica(self, number: int) -> Array:
        """Those of an IPU."""
        return states(self.seed, self.tiles, number)


def state_of(low: Lowering, seed: int) -> Tensor:
    """The states of all workers for a seed: (tiles, 24) uint32, row t on tile t."""
    key = ("random state", seed)
    if key not in low.shared:
        tiles = low.chip.tiles
        cuts = (np.arange(tiles + 1, dtype=np.int32), np.array([0, WORKERS * WORDS], np.int32))
        mapping = Mapping((tiles, WORKERS * WORDS), cuts, np.arange(tiles, dtype=np.int32)[:, None])
        made = low.graph.add_storage(
            mapping.shape, uint32, f"random state {seed}", mapping=mapping, initial=States(seed, tiles)
        )
        made.keep = True
        low.shared[key] = Tensor.of(made)
    found: Tensor = low.shared[key]
    return found


def lower_random(low: Lowering, op: Random, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Random."""
    low.note(f"random {op.kind}")
    out = Tensor.of(low.variable(op.shape, op.dtype, "out", low.spread(op.shape, op.dtype)))
    _draw(low, op, [], out)
    return [out]


def lower_dropout(low: Lowering, op: Dropout, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Dropout: where x lies."""
    low.note("dropout")
    x = low.mapped(inputs[0])
    out = storage_like(low, x, x.dtype, "out")[1]
    masks_of(low).append(_draw(low, op, [x], out))
    return [out]


def masks_of(low: Lowering) -> list[Layout]:
    """Where the elements of each dropout lowered so far lie, in order."""
    made: list[Layout] = low.shared.setdefault("dropout masks", [])
    return made


def _draw(low: Lowering, op: Random | Dropout, given: Sequence[Tensor], out: Tensor) -> Layout:
    """Adds the step; where elements lie."""
    mapping = out.mapping
    shares, boxes = mapping.shares(), Boxes.shares(mapping)
    attrs = DrawAttrs(*parameters(op), out.dtype, Layout.of(mapping))
    tile = shares.tiles[:, None].astype(np.int32)
    last = np.full_like(tile, WORKERS * WORDS)
    rows = Boxes.one_each(np.concatenate([tile, last * 0], axis=1), np.concatenate([tile + 1, last], axis=1))
    fields = (
        Field("state", "inout", state_of(low, op.seed), rows),
        *(Field("x", "in", x, boxes) for x in given),
        Field("out", "out", out, boxes),
    )
    rows_of = Rows(shares.tiles, shares.elements[:, None].astype(np.int32))
    low.execute("draw", [VertexGroup(DRAW, attrs, rows_of, fields)])
    return attrs.layout
