"""Where the data of a recurrent layer lies, and vertices over such places.

Sequences and states are cut into grains of gcd(16, size) neighbouring features, dealt to tiles in order, the same for
every step (poplibs lib/popnn/RnnUtil.hpp), so that a step finds its part of a sequence where the state lies.  Omitted:
spreading the steps of a long sequence over disjoint sets of tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

import numpy as np

from ipusim.lower.rules import Lowering
from ipusim.program import mapping as maps
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.ops_recurrent import Activation
from ipusim_kernels.copies import copy_group
from ipusim_kernels.recurrent import codelets
from ipusim_kernels.recurrent.codelets import JoinAttrs

GRAIN = 16  # [poplibs] lib/popnn/RnnUtil.hpp: features of a step that stay together, or what divides them


@lru_cache(maxsize=256)
def step_place(batch: int, features: int, tiles: int) -> Mapping:
    """Place of a step's (batch, features)."""
    grain = gcd(GRAIN, features)
    return maps.linear((batch, features), tiles, grain=grain, min_elements=grain)


def over(mapping: Mapping, lead: Sequence[int]) -> Mapping:
    """The same place for every index of leading axes."""
    cuts = tuple(np.array([0, n], np.int32) for n in lead)
    tiles = mapping.tiles.reshape((1,) * len(lead) + mapping.tiles.shape)
    return mapping.memo(("over", tuple(lead)), lambda: Mapping((*lead, *mapping.shape), cuts + mapping.cuts, tiles))


def gates_place(place: Mapping, gates: int) -> Mapping:
    """Place of (batch, gates, units): all gates of a unit where (batch, units) has it."""
    (batch, units), (rows, columns) = place.shape, place.cuts
    cuts = (rows, np.array([0, gates], np.int32), columns)
    return place.memo(("gates", gates), lambda: Mapping((batch, gates, units), cuts, place.tiles[:, None, :]))


def most_elements(place: Mapping) -> int:
    """Elements on the fullest tile."""
    return int(place.shares().elements.max())


def pick(tensor: Tensor, index: int) -> Tensor:
    """One index of the first axis."""
    return tensor.slice(0, index, index + 1).reshape(tensor.shape[1:])


def through(boxes: Boxes, steps: int) -> Boxes:
    """Boxes of one step, through the whole sequence."""
    lo = np.concatenate([np.zeros((len(boxes.lo), 1), np.int32), boxes.lo], axis=1)
    hi = np.concatenate([np.full((len(boxes.hi), 1), steps, np.int32), boxes.hi], axis=1)
    return Boxes(lo, hi, boxes.first)


def unplaced(tensor: Tensor) -> bool:
    """Whether nothing of a tensor has a place yet."""
    return all(v.mapping is None for v in tensor.variables())


def sequence(low: Lowering, x: Tensor) -> Tensor:
    """x (T, N, I) with each step's features on the same tiles; copied there once if it lies otherwise."""
    place = over(step_place(*x.shape[1:], low.chip.tiles), x.shape[:1])
    if unplaced(x) and x.chain() is not None:
        low.place(x, place)
        return x
    if low.mapped(x).mapping is place or len(x.mapping.cuts[0]) == 2:
        return x
    made = Tensor.of(low.variable(x.shape, x.dtype, "sequence", place))
    low.execute("spread", [copy_group(x, made, place)])
    return made


def join_group(
    kind: str, place: Mapping, operands: Sequence[Tensor], out: Tensor, function: Activation | None = None
) -> VertexGroup:
    """A vertex over what each tile owns of a place: `out` from operands of its shape."""
    shares, boxes = place.shares(), Boxes.shares(place)
    read = [Field(f"in{i}", "in", t.broadcast_to(out.shape), boxes) for i, t in enumerate(operands)]
    chosen = (function.kind, function.alpha, function.beta) if function else ("", 0.0, 0.0)
    rows = Rows(shares.tiles, shares.elements[:, None].astype(np.int32))
    attrs = JoinAttrs(kind, out.dtype, chosen)
    return VertexGroup(codelets.JOIN, attrs, rows, (*read, Field("out", "out", out, boxes)))
