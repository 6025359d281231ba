"""What a lowering rule gets and does.

A rule takes an op and the tensors it reads, adds variables and compute sets to the graph, and returns the tensors it
made. Rules live with the kernels, one dict per kernel package (entry point `ipusim.kernels`); two rules for one op
are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from ipusim.dtype import DType, float16, float32
from ipusim.errors import BadInput, IpuSimError
from ipusim.hw.spec import ChipSpec
from ipusim.program import mapping as maps
from ipusim.program.graph import Graph, VertexGroup
from ipusim.program.mapping import Mapping as TileMapping
from ipusim.program.mapping import Shape
from ipusim.program.placing import GRAIN_BYTES, MIN_BYTES_PER_TILE
from ipusim.program.tensor import Initial, Tensor, Variable
from ipusim.workload.graph import Node
from ipusim.workload.ops import Op

MATMUL_PASSES = ("inference", "training")


@final
@dataclass(frozen=True, slots=True)
class Options:
    """Choices of the user.  `partials`: type of partial sums; `memory_proportion`: share of a tile's memory that a
    plan's temporary data may take (availableMemoryProportion); `threads`: host threads for values (results do not
    depend on it); `matmul_pass`: "training" plans each matmul together with its backward and update passes, which
    themselves are not part of the program."""

    partials: DType = float32
    memory_proportion: float = 0.6
    threads: int = 1
    matmul_pass: str = "inference"

    def __post_init__(self) -> None:
        if self.partials not in (float16, float32):
            raise BadInput(f"partials must be float16 or float32, not {self.partials}")
        if not 0 < self.memory_proportion <= 1:
            raise BadInput(f"available_memory_proportion must be above 0 and at most 1, not {self.memory_proportion}")
        if self.threads < 1:
            raise BadInput(f"threads must be at least 1, not {self.threads}")
        if self.matmul_pass not in MATMUL_PASSES:
            raise BadInput(f"matmul_pass must be {' or '.join(MATMUL_PASSES)}, not {self.matmul_pass}")


@final
@dataclass(frozen=True, slots=True)
class PlanNote:
    """How an op was lowered, for reports: the method and its splits.

    Where a planner chose among several: `estimate` are the cycles it expected, `items` what they are made of (name,
    cycles; they add up to `estimate`), `temporary` the bytes it needs on the fullest tile beside variables,
    `transforms` what was done to the problem before it was split, `runner_up` the best plan of another method.
    """

    method: str
    splits: tuple[tuple[str, int], ...] = ()
    estimate: int = 0
    items: tuple[tuple[str, int], ...] = ()
    temporary: int = 0
    transforms: tuple[str, ...] = ()
    runner_up: PlanNote | None = None


@final
@dataclass(slots=True)
class Lowering:
    """The program under construction, as a rule sees it.

    `reusable[i]`: nothing reads input i of the node, or anything stored with it, after the node: it may be overwritten.
    """

    graph: Graph
    chip: ChipSpec
    options: Options
    node: int = -1
    prefix: str = ""
    notes: dict[int, PlanNote] = field(default_factory=dict)
    reusable: tuple[bool, ...] = ()
    rules: Rules | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    def variable(
        self,
        shape: Shape,
        dtype: DType,
        name: str,
        mapping: TileMapping | None,
        *,
        channels: int = 1,
        channel_axis: int = -1,
    ) -> Variable:
        """A new variable, named under the node being lowered."""
        return self.graph.add_storage(
            shape, dtype, self.path(name), mapping=mapping, channels=channels, channel_axis=channel_axis
        )

    def constant(self, value: Initial, shape: Shape, dtype: DType, name: str, mapping: TileMapping | None) -> Tensor:
        """A constant made by a rule, held for the whole program."""
        made = self.graph.add_storage(shape, dtype, self.path(name), mapping=mapping, initial=value, always_live=True)
        return Tensor.of(made)

    def execute(self, name: str, groups: Sequence[VertexGroup], *, again: bool = False) -> None:
        """Run vertices in a superstep of their own; `again`: one more round of a loop, see `ComputeSet`."""
        self.graph.execute(self.path(name), self.node, groups, again=again)

    def path(self, name: str) -> str:
        """`name` under the name of the node being lowered."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def note(self, method: str, splits: Mapping[str, int] | None = None, estimate: int = 0) -> None:
        """Records how the node was lowered."""
        self.notes[self.node] = PlanNote(method, tuple((splits or {}).items()), estimate)

    def spread(self, shape: Shape, dtype: DType) -> TileMapping:
        """The default linear mapping of a shape over all tiles."""
        grain = max(1, GRAIN_BYTES // dtype.bytes)
        return _spread(shape, self.chip.tiles, grain, MIN_BYTES_PER_TILE // dtype.bytes)

    def place(self, tensor: Tensor, mapping: TileMapping | None = None) -> None:
        """Gives a tensor's variables a mapping if they have none (inputs and weights before their first use)."""
        for variable in tensor.variables():
            if variable.mapping is None:
                chain = tensor.chain()
                wanted = mapping if chain is not None else None
                variable.mapping = unview(tensor, wanted) if wanted else self.spread(variable.shape, variable.dtype)

    def mapped(self, tensor: Tensor) -> Tensor:
        """The tensor, with the default mapping where it had none."""
        self.place(tensor)
        return tensor


_SPREADS: dict[tuple[Shape, int, int, int], TileMapping] = {}


def _spread(shape: Shape, tiles: int, grain: int, least: int) -> TileMapping:
    key = (shape, tiles, grain, least)
    if key not in _SPREADS:
        _SPREADS[key] = maps.linear(shape, tiles, grain=grain, min_elements=least)
    return _SPREADS[key]


def unview(tensor: Tensor, mapping: TileMapping) -> TileMapping:
    """The mapping of the base variable that makes `tensor` mapped as `mapping`."""
    at, found = tensor, mapping
    while at.variable is None:
        source = at.sources[0]
        if at.kind == "reshape":
            found = found.reshape(source.shape)
        else:
            found = found.permute([at.args.index(a) for a in range(len(at.args))])
        at = source
    return found


Rule = Callable[[Lowering, Any, Node, Sequence[Tensor]], Sequence[Tensor]]


class NoRule(IpuSimError):
    """No kernel package has a lowering rule for an op."""


@final
class Rules:
    """Lowering rules by op type."""

    def __init__(self) -> None:
        self._by_op: dict[type[Op], Rule] = {}

    def add(self, op: type[Op], rule: Rule, source: str) -> None:
        """Adds a rule; raises BadInput if the op has one."""
        if op in self._by_op:
            raise BadInput(f"{source}: {op.__name__} already has a lowering rule ({self._by_op[op].__module__})")
        self._by_op[op] = rule

    def of(self, op: Op, node: str) -> Rule:
        """The rule for an op; raises NoRule naming the node."""
        rule = self._by_op.get(type(op))
        if rule is None:
            raise NoRule(f"node {node!r}: no kernel lowers {type(op).__name__}")
        return rule

    def __contains__(self, op: type[Op]) -> bool:
        return op in self._by_op
