"""The builder's methods for random values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ipusim.dtype import DType, as_dtype, float32
from ipusim.errors import BadInput
from ipusim.workload.graph import Value
from ipusim.workload.ops import Op
from ipusim.workload.ops_random import Dropout, Random


def _seed(seed: int, name: str) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise BadInput(f"node {name!r}: a seed is a whole number, not {seed!r}")
    return int(seed)


class RandomMethods(ABC):
    """Random values; the builder adds the rest."""

    @abstractmethod
    def one(self, op: Op, inputs: Sequence[Value], name: str | None = None) -> Value:
        """A node with one output."""

    def random(
        self,
        kind: str,
        shape: Sequence[int],
        low: float,
        high: float,
        *,
        alpha: float = 2.0,
        seed: int = 0,
        dtype: DType | str = float32,
        name: str | None = None,
    ) -> Value:
        """New values each time it runs; `ops_random.Random` has the kinds and their parameters.  Raises BadInput."""
        sizes = tuple(int(n) for n in shape)
        label = name or f"random_{kind}"
        op = Random(kind, sizes, as_dtype(dtype), float(low), float(high), float(alpha), _seed(seed, label))
        return self.one(op, [], label)

    def uniform(
        self, shape: Sequence[int], low: float = 0.0, high: float = 1.0, *, seed: int = 0, name: str | None = None
    ) -> Value:
        """Values evenly spread from `low` up to `high`, which rounding may reach."""
        return self.random("uniform", shape, low, high, seed=seed, name=name)

    def normal(
        self, shape: Sequence[int], mean: float = 0.0, deviation: float = 1.0, *, seed: int = 0, name: str | None = None
    ) -> Value:
        """Normally distributed values."""
        return self.random("normal", shape, mean, deviation, seed=seed, name=name)

    def dropout(self, x: Value, keep: float, *, seed: int = 0, name: str | None = None) -> Value:
        """x / keep where an element is kept, which has probability `keep`, else 0."""
        return self.one(Dropout(float(keep), _seed(seed, name or "dropout")), [x], name)
