"""Monte Carlo ops, each made of other ops: leapfrog integration and the choice of Metropolis.

A log-density is a workload: its first input is the position (chains, parameters) or any shape with the chains in front,
the others stay as they are; its output has one number for each chain, shape (chains,).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

from ipusim.workload.autodiff import gradient
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.graph import Value, Workload
from ipusim.workload.ops import Op, TensorType, bad, expect, floats
from ipusim.workload.passes import drop_dead


class Composite(Op):
    """An op that is a workload of others."""

    __slots__ = ()

    @abstractmethod
    def expanded(self, inputs: tuple[TensorType, ...]) -> Workload:
        """The workload for inputs of given types, in order; its outputs are the op's."""

    def macs(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Those of its workload."""
        return self.expanded(tuple(inputs)).macs

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Those of its workload."""
        return self.expanded(tuple(inputs)).flops


@final
@dataclass(frozen=True, slots=True)
class Evaluate(Composite):
    """A workload of the inputs' types as one op: it has the workload's outputs, in order."""

    workload: Workload

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, len(self.workload.inputs))
        for value, given in zip(self.workload.inputs, inputs, strict=True):
            if value.type != given:
                raise bad(self, f"{self.workload.name!r}: input {value.name!r} is {value.type}, it gets {given}")
        return tuple(v.type for v in self.workload.outputs.values())

    def parts(self) -> tuple[Workload, ...]:
        """The workload."""
        return (self.workload,)

    def expanded(self, inputs: tuple[TensorType, ...]) -> Workload:
        """The workload itself."""
        return self.workload


@final
@dataclass(frozen=True, slots=True)
class Leapfrog(Composite):
    """`steps` leapfrog steps of Hamilton's equations: position q, momentum p (of q's shape), step size (), and the
    density's further inputs -> q, p and the log-density (chains,) at their end.

    An op of the density without a gradient is an error that names it.  p is moved half a step along the gradient of
    the log-density, then q and p by whole steps in turn, and p half a step back (Neal, MCMC using Hamiltonian
    dynamics, 2011); the mass of every parameter is 1.
    """

    density: Workload
    steps: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        if not isinstance(self.steps, int) or self.steps < 1:
            raise bad(self, f"steps {self.steps} must be a whole number of at least 1")
        expect(self, inputs, 2 + len(self.density.inputs))
        q, p, step, *fixed = inputs
        where = f"log-density {self.density.name!r}"
        if p != q:
            raise bad(self, f"momentum {p} must be like position {q}")
        if step.elements != 1 or step.dtype != q.dtype:
            raise bad(self, f"step size {step} must be one {q.dtype}")
        for value, given in zip(self.density.inputs, (q, *fixed), strict=True):
            if value.type != given:
                raise bad(self, f"{where}: input {value.name!r} is {value.type}, it gets {given}")
        made = [v.type for v in self.density.outputs.values()]
        if len(made) != 1 or made[0].shape != q.shape[:1] or made[0].dtype != q.dtype:
            wanted = f"{q.dtype}[{q.shape[0] if q.shape else ''}]"
            raise bad(self, f"{where} makes {', '.join(map(str, made))}, not {wanted}")
        with_gradient(self.density)
        return (q, p, made[0])

    def parts(self) -> tuple[Workload, ...]:
        """The log-density."""
        return (self.density,)

    def expanded(self, inputs: tuple[TensorType, ...]) -> Workload:
        """The steps as a loop."""
        return _leapfrog(self.density, self.steps, inputs)


@lru_cache(maxsize=64)
def _leapfrog(density: Workload, steps: int, inputs: tuple[TensorType, ...]) -> Workload:
    both = with_gradient(density)
    first = density.inputs[0].name

    def slope(b: WorkloadBuilder, q: Value, fixed: Sequence[Value]) -> tuple[Value, Value]:
        """Gradient and log-density at q."""
        made = b.inline(both, dict(zip((v.name for v in density.inputs), (q, *fixed), strict=True)))
        return made[f"d {first}"], made["log density"]

    def whole(b: WorkloadBuilder, q: Value, p: Value, g: Value, log: Value, step: Value, *fixed: Value) -> list[Value]:
        q = b.add(q, b.mul(p, step))
        g, log = slope(b, q, fixed)
        return [q, b.add(p, b.mul(g, step)), g, log]

    b = WorkloadBuilder("leapfrog", 1)
    q, p, step, *fixed = (b.input(f"x{i}", t.shape, t.dtype) for i, t in enumerate(inputs))
    half = b.mul(step, 0.5, name="half_step")
    g, log = slope(b, q, fixed)
    p = b.add(p, b.mul(g, half))
    q, p, g, log = b.loop(steps, whole, [q, p, g, log], [step, *fixed], name="steps")
    return b.build({"q": q, "p": b.sub(p, b.mul(g, half)), "log density": log})


@lru_cache(maxsize=64)
def with_gradient(density: Workload) -> Workload:
    """The log-density of each chain ("log density"), and each chain's gradient by its position ("d " and its name)."""
    b = WorkloadBuilder(density.name, 1)
    values = {v.name: b.input(v.name, v.shape, v.dtype) for v in density.inputs}
    (log,) = b.inline(density, values).values()
    total = b.reduce("sum", log, keepdims=False, name="over_chains")
    summed = b.build({"total": total, "log density": log})
    made = gradient(summed, "total", [density.inputs[0].name], keep=["log density"])
    outputs = {name: value for name, value in made.outputs.items() if name != "total"}
    return drop_dead(replace(made, outputs=outputs, _memo={}))


@final
@dataclass(frozen=True, slots=True)
class Finite(Op):
    """Its inputs as they are; where the program runs with values, BadInput naming the node and what `what` says of an
    input that is not finite (`infinite`: that has a NaN).
    """

    what: tuple[str, ...]
    infinite: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        expect(self, inputs, len(self.what))
        floats(self, inputs)
        return inputs


@final
@dataclass(frozen=True, slots=True)
class Metropolis(Composite):
    """Accept or reject: log ratio (chains,), uniform values (chains,), the old state of `values` tensors with the
    chains in front, then the proposed one -> the new state, and which chains accepted, 1 or 0 (chains,).

    A chain accepts where log(u) < log ratio; a ratio that is not a number is rejected.
    """

    values: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        if self.values < 1:
            raise bad(self, f"values {self.values} must be at least 1")
        expect(self, inputs, 2 + 2 * self.values)
        ratio, u, *state = inputs
        old, new = state[: self.values], state[self.values :]
        if ratio != u or len(ratio.shape) != 1 or not ratio.dtype.is_float:
            raise bad(self, f"log ratio {ratio} and uniform values {u} must be alike, one number for each chain")
        for a, c in zip(old, new, strict=True):
            if a != c or a.shape[:1] != ratio.shape:
                raise bad(self, f"old state {a} and proposed {c} must be alike, with {ratio.shape[0]} chains in front")
        return (*old, ratio)

    def expanded(self, inputs: tuple[TensorType, ...]) -> Workload:
        """Comparison and selections."""
        return _metropolis(self.values, inputs)


@lru_cache(maxsize=64)
def _metropolis(values: int, inputs: tuple[TensorType, ...]) -> Workload:
    b = WorkloadBuilder("metropolis", 1)
    ratio, u, *state = (b.input(f"x{i}", t.shape, t.dtype) for i, t in enumerate(inputs))
    accept = b.binary("less", b.unary("log", u), ratio, name="accept")
    outputs = {}
    for i, (old, new) in enumerate(zip(state[:values], state[values:], strict=True)):
        shape = (*accept.shape, *(1,) * (len(old.shape) - 1))
        chosen = accept if shape == accept.shape else b.reshape(accept, shape)
        outputs[f"y{i}"] = b.select(chosen, new, old)
    outputs["accepted"] = b.cast(accept, ratio.dtype)
    return b.build(outputs)

