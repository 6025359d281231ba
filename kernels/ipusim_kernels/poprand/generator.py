"""States of the random generators of a device: one per worker, seeded by the user, the IPU, the tile and the worker.

The seeds of a state come from splitmix64 (S. Vigna, public domain): the user's seed is mixed, then each worker of each
tile of each IPU takes two numbers of its own from the sequence that begins there.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import uint32
from ipusim.errors import BadInput
from ipusim.program.graph import Graph
from ipusim_kernels.popops import work

WORDS = 4  # 32-bit words of a state
_STEP = np.uint64(0x9E3779B97F4A7C15)  # [splitmix64] increment
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # [splitmix64] multipliers


def mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's output function."""
    z = (words ^ (words >> np.uint64(30))) * _MIX[0]
    z = (z ^ (z >> np.uint64(27))) * _MIX[1]
    return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def states(seed: int, tiles: int, ipu: int = 0) -> NDArray[np.uint32]:
    """First states of an IPU's workers; tiles are counted on from one IPU to the next.

    Returns: (tiles, 24) uint32, four words per worker, low half of the first 64-bit word first.
    """
    base = mixed(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64) + _STEP)
    each = 2 * work.WORKERS * tiles
    number = np.arange(ipu * each, (ipu + 1) * each, dtype=np.uint64)
    whole = mixed(base + (number + np.uint64(1)) * _STEP)
    whole[1::2] |= (whole[::2] == 0) & (whole[1::2] == 0)
    halves = np.stack([whole & np.uint64(0xFFFFFFFF), whole >> np.uint64(32)], axis=1)
    return halves.astype(np.uint32).reshape(tiles, work.WORKERS * WORDS)


@final
class Generator:
    """Random generators of all workers of a graph's device.

    Its streams go on from call to call and from run to run.  The same seed gives the same streams on every host; what
    an element gets follows from its tile and its place among the tile's elements.
    """

    def __init__(self, graph: Graph, seed: int, name: str = "random") -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise BadInput(f"poprand: a seed is a whole number or a Generator, not {seed!r}")
        self.graph, self.seed = graph, int(seed)
        self.state = work.variable(graph, (graph.tiles, work.WORKERS * WORDS), uint32, f"{name}/state")
        for tile in range(graph.tiles):
            graph.set_tile_mapping(self.state[tile], tile)
        graph.set_initial_value(self.state, states(self.seed, graph.tiles))

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed})"
