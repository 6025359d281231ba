"""Random ops: values from the generators of the workers that hold the result."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import final

from ipusim.dtype import DType
from ipusim.workload.ops import Op, Shape, TensorType, bad, expect, floats, kind_of

RANDOM = ["uniform", "normal", "truncated_normal", "bernoulli"]
LEAST_KEEP = 2.0**-31  # [poprand codelets] an element is kept by comparing 31 bits
FLOAT_MOST = (2 - 2.0**-23) * 2.0**127  # [IEEE 754] largest float32


@final
@dataclass(frozen=True, slots=True)
class Random(Op):
    """New values of a shape and type each time it runs.

    "uniform": from `low` up to `high`, which rounding may reach (in float16 often); "normal": of mean `low` and
    standard deviation `high`; "truncated_normal": those within `alpha` deviations; "bernoulli": 1 with probability
    `low`, else 0.  Ops of one `seed` draw from the same generators, in the order in which they run; what an element
    gets follows from the seed, its tile and its place there.
    """

    kind: str
    shape: Shape
    dtype: DType
    low: float
    high: float
    alpha: float = 2.0
    seed: int = 0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 0)
        kind_of(self, self.kind, RANDOM)
        if not self.dtype.is_float:
            raise bad(self, f"makes floating-point values, not {self.dtype}")
        if min(self.shape, default=1) < 1:
            raise bad(self, f"shape {self.shape} must have sizes of at least 1")
        if not (isfinite(self.low) and isfinite(self.high)):
            raise bad(self, f"{self.kind} of {self.low} and {self.high}: both must be finite")
        if self.kind == "uniform" and self.low >= self.high:
            raise bad(self, f"low {self.low} must be below high {self.high}")
        if self.kind == "uniform" and self.high - self.low > FLOAT_MOST:
            raise bad(self, f"low {self.low} and high {self.high} are further apart than a float32 can say")
        if self.kind in ("normal", "truncated_normal") and self.high < 0:
            raise bad(self, f"standard deviation {self.high} must not be negative")
        if self.kind == "truncated_normal" and not self.alpha >= 0.1:
            raise bad(self, f"alpha {self.alpha} must be at least 0.1")
        if self.kind == "bernoulli" and not 0 <= self.low <= 1:
            raise bad(self, f"probability {self.low} must be from 0 to 1")
        return (TensorType(self.shape, self.dtype),)


@final
@dataclass(frozen=True, slots=True)
class Dropout(Op):
    """x / keep where an element is kept, which has probability `keep`, else 0; generators as of `Random`."""

    keep: float
    seed: int = 0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, 1)
        floats(self, inputs)
        if not LEAST_KEEP <= self.keep <= 1:
            raise bad(self, f"keep {self.keep} must be at least 2^-31 and at most 1")
        return (inputs[0],)
