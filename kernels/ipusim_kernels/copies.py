"""Copies as programs: what arrives, and what a tile has itself, is put into its part of a tensor.

A copy is an exchange and copies on the tile, priced by the engine (ipusim.engine.moves); no vertex runs.  The rows of
its group say what each tile receives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ipusim.errors import BadInput
from ipusim.program.codelet import Array, Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor


def copy_cycles(attrs: None, elements: int) -> int:
    """None: the engine counts the copies on the tile."""
    return 0


def copy_flops(attrs: None, elements: int) -> int:
    """None."""
    return 0


def copy_batched(attrs: None, arrays: Sequence[Array]) -> None:
    """source, target."""
    arrays[1][...] = arrays[0]


def copy_compute(attrs: None, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One tile, box by box."""
    for source, target in zip(*boxes, strict=True):
        target[...] = source


COPY = Codelet(
    "poplar::Copy", ("elements",), copy_cycles, copy_compute, copy_batched, copy_flops, "multi", 128, moves=True
)


def copy_group(
    source: Tensor, target: Tensor, place: Mapping | None = None, *, codelet: Codelet = COPY, attrs: object = None
) -> VertexGroup:
    """What copies `source`, of the same shape, to `target` (on the tiles of a place, if given)."""
    if place is None:
        source, target = as_stored(source, target)
    mapping = place or target.mapping
    shares, boxes = mapping.shares(), Boxes.shares(mapping)
    fields = (Field("in", "in", source, boxes), Field("out", "out", target, boxes))
    return VertexGroup(codelet, attrs, Rows(shares.tiles, shares.elements[:, None].astype(np.int32)), fields)


def as_stored(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both as the target's variable is stored, where the target is all of one and the source can be seen so."""
    if target.chain() is None:
        return source, target
    try:
        seen = source.as_base_of(target)
        seen.mapping  # noqa: B018  (raises if the view cannot be mapped)
    except BadInput:
        return source, target
    return seen, target.as_base_of(target)
