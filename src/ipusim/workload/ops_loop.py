"""Loops that never leave the chip: a body, itself a workload, run a number of times or while a condition holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ipusim.dtype import bool_
from ipusim.workload.graph import Workload
from ipusim.workload.ops import Op, TensorType, bad, expect

MOST_RUNS = 2**31 - 1  # a loop counter is a register of 32 bits


def _check_runs(op: Op, what: str, runs: object) -> None:
    """Raises BadInput for what is no number of runs."""
    if isinstance(runs, bool) or not isinstance(runs, int | np.integer):
        raise bad(op, f"{what} {runs!r} must be a whole number")
    if not 1 <= runs <= MOST_RUNS:
        raise bad(op, f"{what} {runs} must be from 1 to {MOST_RUNS}")


class LoopOp(Op):
    """What loops have in common.

    The inputs of `body` are the carried values and then those that stay as they are; its outputs are the next carried
    values, in the same order.  The op's inputs are the first values of the former and the latter, its outputs the last
    carried values.
    """

    __slots__ = ()
    body: Workload

    def parts(self) -> tuple[Workload, ...]:
        """The body, and the condition of a while loop."""
        return (self.body,)

    def carried(self) -> int:
        """Number of carried values."""
        return len(self.body.outputs)

    def check_body(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """The types of the carried values.  Raises BadInput if the body changes one, or takes others."""
        expect(self, inputs, len(self.body.inputs))
        where = f"body {self.body.name!r}"
        if not self.body.outputs or self.carried() > len(inputs):
            raise bad(self, f"{where} has {self.carried()} outputs for {len(inputs)} inputs; each carries an input on")
        for value, given in zip(self.body.inputs, inputs, strict=True):
            if value.type != given:
                raise bad(self, f"{where}: input {value.name!r} is {value.type}, the loop gets {given}")
        made = [v.type for v in self.body.outputs.values()]
        for value, now, after in zip(self.body.inputs, inputs, made, strict=False):
            if now != after:
                raise bad(self, f"{where} changes carried value {value.name!r} from {now} to {after}")
        return tuple(made)


@final
@dataclass(frozen=True, slots=True)
class Loop(LoopOp):
    """`body` run `count` times."""

    count: int
    body: Workload

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        _check_runs(self, "count", self.count)
        return self.check_body(inputs)

    def macs(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Those of all runs."""
        return self.count * self.body.macs

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Those of all runs."""
        return self.count * self.body.flops


@final
@dataclass(frozen=True, slots=True)
class While(LoopOp):
    """`body` as long as `condition` (of the body's inputs) makes true, at most `most` times.

    Multiply-adds and flops are those of `most` runs, and so are cycles where no values are computed: how many there are
    shows only then.
    """

    condition: Workload
    body: Workload
    most: int

    def parts(self) -> tuple[Workload, ...]:
        """The condition and the body."""
        return (self.condition, self.body)

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        _check_runs(self, "most", self.most)
        made = [v.type for v in self.condition.outputs.values()]
        if len(made) != 1 or made[0].elements != 1 or made[0].dtype != bool_:
            raise bad(self, f"condition {self.condition.name!r} makes {', '.join(map(str, made))}, not one bool")
        if [v.type for v in self.condition.inputs] != [v.type for v in self.body.inputs]:
            raise bad(self, f"condition {self.condition.name!r} and body {self.body.name!r} take different inputs")
        return self.check_body(inputs)

    def macs(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Those of `most` runs."""
        return self.most * (self.body.macs + self.condition.macs)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Those of `most` runs."""
        return self.most * (self.body.flops + self.condition.flops)
