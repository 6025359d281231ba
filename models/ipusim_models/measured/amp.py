"""One matrix vertex per tile: [N, K] x [K, M] in half, as an AMP 1x1 convolution over N positions.

Ideal: 4 cycles per position for all 16 units.  On top: loading the weights once, the start and end of the workers, the
supervisor's loops, all in the formula of the vertex (`ipusim_kernels.conv.amp_cycles`).  The program is one compute set
with one vertex on each tile and everything on its tile, so nothing is exchanged; predicted is its compute phase, since
the measurement takes its counters within the compute set and subtracts their own 45 cycles.  Omitted: memory conflicts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ipusim.dtype import DType, float16, float32
from ipusim.engine.run import measure_time
from ipusim.errors import BadInput
from ipusim.program.graph import Boxes, Field, Graph, Rows, VertexGroup
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim_kernels.conv.codelets import CODELETS, ConvAttrs
from ipusim_kernels.conv.methods import eligible
from ipusim_kernels.conv.shape import matmul_shape

if TYPE_CHECKING:
    from ipusim.hw.spec import ChipSpec
    from ipusim.validate_data import Row

_TYPES = {"fp16": float16, "fp32": float32}


def block(row: Row) -> float:
    """Cycles of the compute set: keys N, K, M, dtype, accum, tiles.

    Raises BadInput for channels that are no whole groups of the vertex, or more tiles than the chip has.
    """
    row.note("sdk")
    acts, accum = (_TYPES[row.text(name, *_TYPES)] for name in ("dtype", "accum"))
    sizes = row.whole("N"), row.whole("K"), row.whole("M")
    return row.answer(
        {("cycles", "cycles"): _cycles(row.device().chip, sizes, (acts, accum), row.whole("tiles", default=1))}
    )


@lru_cache(maxsize=1024)
def _cycles(chip: ChipSpec, sizes: tuple[int, int, int], types: tuple[DType, DType], tiles: int) -> int:
    positions, channels, out = sizes
    acts, accum = types
    if tiles > chip.tiles:
        raise BadInput(f"tiles={tiles}: a {chip.name} has {chip.tiles}")
    shape = matmul_shape(1, positions, channels, out)
    kinds = [m for m in eligible(shape, acts == float16, accum == float16, chip) if m.kind == "AMP 1x1"]
    fitting = [m for m in kinds if channels % m.in_group == 0 and out % m.out_group == 0]
    if not fitting:
        raise BadInput(f"K={channels};M={out}: AMP 1x1 of {chip.name} takes K and M in whole groups of its channels")
    graph = Graph(chip.tiles)
    # one row per tile, stored [tile, ...] with a tile to a row
    parts = ((tiles, 1, channels, 1, positions), (tiles, out, channels, 1, 1), (tiles, 1, out, 1, positions))
    fields = []
    for name, extent, dtype in zip(("x", "w", "out"), parts, (acts, acts, accum), strict=True):
        mapping = _tile_each(extent)
        made = Tensor.of(graph.add_storage(extent, dtype, name, mapping=mapping))
        fields.append(Field(name, "out" if name == "out" else "in", made, Boxes.shares(mapping)))
    row = np.array([1, 1, out, channels, 1, positions, 1, 1, 0, 0], np.int32)
    rows = Rows(np.arange(tiles, dtype=np.int32), np.tile(row, (tiles, 1)))
    attrs = ConvAttrs(fitting[0], (1, 1), (1, 1))
    graph.execute("multiply", -1, [VertexGroup(CODELETS["AMP 1x1"], attrs, rows, tuple(fields))])
    trace = measure_time(graph, [], chip, "on-tile matmul")
    return trace.steps[0].phases["compute"]


def _tile_each(shape: tuple[int, ...]) -> Mapping:
    """Row i of the first axis on tile i."""
    cuts = (np.arange(shape[0] + 1, dtype=np.int32), *(np.array([0, n], np.int32) for n in shape[1:]))
    tiles = np.arange(shape[0], dtype=np.int32).reshape(shape[0], *(1 for _ in shape[1:]))
    return Mapping(shape, cuts, tiles)
