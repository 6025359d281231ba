"""The builder's methods for random values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ipusim.dtype import DType, as_dtype, float32
from ipusim.workload.graph import Value
from ipusim.workload.ops import Op
from ipusim.workload.ops_random import Dropout, Random


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
        op = Random(kind, sizes, as_dtype(dtype), float(low), float(high), float(alpha), int(seed))
        return self.one(op, [], name or f"random_{kind}")

    def uniform(
        self, shape: Sequence[int], low: float = 0.0, high: float = 1.0, *, seed: int = 0, name: str | None = None
    ) -> Value:
        """Values evenly spread from `low` up to `high`."""
        return self.random("uniform", shape, low, high, seed=seed, name=name)

    def normal(
        self, shape: Sequence[int], mean: float = 0.0, deviation: float = 1.0, *, seed: int = 0, name: str | None = None
    ) -> Value:
        """Normally distributed values."""
        return self.random("normal", shape, mean, deviation, seed=seed, name=name)

    def dropout(self, x: Value, keep: float, *, seed: int = 0, name: str | None = None) -> Value:
        """x / keep where an element is kept, which has probability `keep`, else 0."""
        return self.one(Dropout(float(keep), int(seed)), [x], name)
