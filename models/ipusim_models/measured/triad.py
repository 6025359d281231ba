"""STREAM triad, a = b + s c, in the tiles' own memory: three arrays as large as fit, cut evenly over all workers.

Ideal: nothing is exchanged and a load takes a slot like anything else, so the rate follows from the slots of the inner
loop.  The implementations are one loop, compiled in different ways:

- `cpp_naive`: an element per iteration, as the vendor's compiler writes it (profile popc);
- `optimised_cpp_plus_vendor_primitives`: the same per 64-bit vector;
- `assembly_graphcore`, GC2: per vector, in a loop that the hardware repeats but that does not overlap iterations
  (profile rpt).  [M0003] 3.8 slots per two floats, where overlapping would take 3;
- the assembly codelet of GC200: two loads and a store in one instruction beside a multiply-add (profile pace).
  [M0492] 1.01 slots per two floats.  The operands lie in different memory elements: the arrays fill the memory.

Bandwidth is 3 arrays x bytes / time, throughput 2 operations per element / time.  Omitted: the host's time.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ipusim import Engine, Graph, SystemSpec, float32, half, target
from ipusim import program as prog
from ipusim.errors import BadInput
from ipusim.lang.slots import VECTOR_BYTES
from ipusim_models.measured.codelets import triad

if TYPE_CHECKING:
    from ipusim.dtype import DType
    from ipusim.program.blocks import Blocks
    from ipusim.program.tensor import Tensor
    from ipusim.validate_data import Row

ARRAYS = ("a", "b", "c")
SCALAR = 0.5
TYPES = {"fp32": float32, "fp16": half}

#: Implementation -> profile of the codelet, and whether it works on vectors of 64 bits.
BABELSTREAM = {
    "cpp_naive": ("popc", False),
    "optimised_cpp_plus_vendor_primitives": ("popc", True),
    "assembly_graphcore": ("rpt", True),
}


def babelstream(row: Row) -> float:
    """Bandwidth of a BabelStream implementation: keys precision, impl.  Raises BadInput for several IPUs."""
    row.note("sdk", "system")
    profile, wide = BABELSTREAM[row.text("impl", *BABELSTREAM)]
    return _answer(row, TYPES[row.text("precision", *TYPES)], profile, wide)


def assembly(row: Row) -> float:
    """Bandwidth or throughput of the assembly codelet: key dtype.  Raises BadInput for several IPUs."""
    return _answer(row, TYPES[row.text("dtype", *TYPES)], "pace", True)


def _answer(row: Row, dtype: DType, profile: str, wide: bool) -> float:
    if row.whole("ipus", 1) != 1:
        raise BadInput("the triad was measured on one IPU")
    elements, seconds = timed(target(row.device()), dtype, profile, wide)
    rate = len(ARRAYS) * elements * dtype.bytes / seconds
    return row.answer(
        {
            ("bandwidth", "GB/s"): rate / 1e9,
            ("bandwidth", "TB/s"): rate / 1e12,
            ("throughput", "TFLOP/s"): 2 * elements / seconds / 1e12,
        }
    )


@cache
def timed(device: SystemSpec, dtype: DType, profile: str, wide: bool) -> tuple[int, float]:
    """(elements of an array, seconds of one triad) for arrays that fill the device."""
    elements = most_elements(device, dtype, profile, wide)
    engine = Engine(*build(device, elements, dtype, profile, wide), timing_only=True)
    engine.run(0)
    return elements, engine.report().cycles / device.clock_hz


def build(device: SystemSpec, elements: int, dtype: DType, profile: str, wide: bool) -> tuple[Graph, prog.Execute]:
    """Three arrays of `elements`, cut in whole 64-bit words evenly over the tiles, and there over the workers."""
    graph = Graph(device, name="triad")
    arrays = [graph.add_variable((elements,), dtype, name) for name in ARRAYS]
    step = graph.add_compute_set("triad")
    word, workers = VECTOR_BYTES // dtype.bytes, device.chip.tile.workers
    words = -(-elements // word)
    bounds = np.minimum(_cuts(np.array([0]), np.array([words]), graph.tiles) * word, elements)
    for array in arrays:
        graph.set_tile_mapping(_blocks(array, bounds), np.arange(graph.tiles))
    starts = bounds // word
    parts = np.minimum(_cuts(starts[:-1], -(-bounds[1:] // word), workers) * word, elements)
    tiles = np.repeat(np.arange(graph.tiles), workers)
    fields = {array.label: _blocks(array, parts) for array in arrays}
    graph.add_vertices(step, triad(dtype, profile, wide), {**fields, "s": SCALAR}, tiles)
    return graph, prog.Execute(step)


def _cuts(begin: Any, end: Any, parts: int) -> Any:
    """Bounds of `parts` pieces of each begin..end that are as even as possible, larger ones first, end to end."""
    base, more = np.divmod(end - begin, parts)
    number = np.arange(parts)
    first = begin[:, None] + number * base[:, None] + np.minimum(number, more[:, None])
    return np.append(first.reshape(-1), end[-1])


def _blocks(array: Tensor, bounds: Any) -> Blocks:
    made: Blocks = array.blocks(bounds[:-1, None], bounds[1:, None])
    return made


def most_elements(device: SystemSpec, dtype: DType, profile: str, wide: bool) -> int:
    """Elements of an array so that three of them fill every tile beside code, stack and vertices."""
    few = 12 * VECTOR_BYTES // dtype.bytes
    report = Engine(*build(target(device.chip, tiles=1), few, dtype, profile, wide), timing_only=True).report()
    left = report.memory.tile_limit_bytes - (report.memory.max_tile_bytes - len(ARRAYS) * few * dtype.bytes)
    return device.chip.tiles * (left // (len(ARRAYS) * VECTOR_BYTES)) * (VECTOR_BYTES // dtype.bytes)
