"""Copies by vertices: each tile puts what has arrived into its own part of a tensor."""

from __future__ import annotations

import numpy as np

from ipusim.program.codelet import Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim_kernels.recurrent.codelets import COPY


def copy_group(
    source: Tensor, target: Tensor, place: Mapping | None = None, *, codelet: Codelet = COPY, attrs: object = None
) -> VertexGroup:
    """A vertex on each tile of `target` (of a place, if given) that copies `source`, of the same shape, there."""
    mapping = place or target.mapping
    shares, boxes = mapping.shares(), Boxes.shares(mapping)
    fields = (Field("in", "in", source, boxes), Field("out", "out", target, boxes))
    return VertexGroup(codelet, attrs, Rows(shares.tiles, shares.elements[:, None].astype(np.int32)), fields)
