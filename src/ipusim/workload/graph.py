"""A workload: nodes in order, each value assigned once, constants by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from ipusim.dtype import DType
from ipusim.errors import BadInput
from ipusim.workload.constants import Constant
from ipusim.workload.ops import Op, TensorType

if TYPE_CHECKING:
    import networkx


@final
@dataclass(frozen=True, slots=True)
class Value:
    """A named tensor: an input, a constant, or what a node makes."""

    name: str
    type: TensorType

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """Its element type."""
        return self.type.dtype


@final
@dataclass(frozen=True, slots=True)
class Node:
    """An op with the values it reads and makes; the name is the user's."""

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    name: str

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return self.op.macs([v.type for v in self.inputs], [v.type for v in self.outputs])

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        return self.op.flops([v.type for v in self.inputs], [v.type for v in self.outputs])


@final
@dataclass(frozen=True, eq=False, slots=True)
class Workload:
    """What to compute.  Raises BadInput if a value is used before it is made, made twice, or of another type than its
    op makes.

    `batch` is the number of samples in one run, for throughput.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: dict[str, Value]
    nodes: tuple[Node, ...]
    constants: dict[str, Constant]
    batch: int = 1
    _memo: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise BadInput(f"workload {self.name!r}: batch {self.batch} must be at least 1")
        known: dict[str, TensorType] = {}
        for value in self.inputs:
            _define(known, value, f"workload {self.name!r}")
        for name, constant in self.constants.items():
            _define(known, Value(name, TensorType(constant.shape, constant.dtype)), f"workload {self.name!r}")
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                raise BadInput(f"workload {self.name!r}: two nodes are named {node.name!r}")
            names.add(node.name)
            _check_node(known, node)
        for name, value in self.outputs.items():
            if known.get(value.name) != value.type:
                raise BadInput(f"workload {self.name!r}: output {name!r} is not a value of it")

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(node.macs for node in self.nodes)

    @property
    def flops(self) -> int:
        """Floating-point operations of one run."""
        return sum(node.flops for node in self.nodes)

    @property
    def parameters(self) -> int:
        """Elements of all constants that nodes read."""
        used = {v.name for node in self.nodes for v in node.inputs}
        return sum(_elements(c) for name, c in self.constants.items() if name in used)

    @property
    def fingerprint(self) -> str:
        """Hash of the canonical text."""
        if "fingerprint" not in self._memo:
            from ipusim.workload.text import text

            self._memo["fingerprint"] = hashlib.sha256(text(self).encode()).hexdigest()[:16]
        found: str = self._memo["fingerprint"]
        return found

    def to_networkx(self) -> networkx.DiGraph:
        """The op graph: nodes by name with attributes `op`, `type`, `macs`; edges with the value's.

        An input whose name a node bears too is called "input NAME".
        """
        import networkx

        graph = networkx.DiGraph(name=self.name)
        taken = {node.name for node in self.nodes}
        maker = {v.name: f"input {v.name}" if v.name in taken else v.name for v in self.inputs}
        graph.add_nodes_from(maker.values(), op=None, type="Input", macs=0)
        for node in self.nodes:
            graph.add_node(node.name, op=node.op, type=type(node.op).__name__, macs=node.macs)
            for value in node.inputs:
                if value.name in maker:
                    graph.add_edge(maker[value.name], node.name, name=value.name, type=str(value.type))
            maker.update((value.name, node.name) for value in node.outputs)
        return graph


def _elements(constant: Constant) -> int:
    return TensorType(constant.shape, constant.dtype).elements


def _define(known: dict[str, TensorType], value: Value, where: str) -> None:
    if value.name in known:
        raise BadInput(f"{where}: value {value.name!r} is made twice")
    known[value.name] = value.type


def _check_node(known: dict[str, TensorType], node: Node) -> None:
    for value in node.inputs:
        if known.get(value.name) != value.type:
            what = (
                "is used before it is made" if value.name not in known else f"is {known[value.name]}, not {value.type}"
            )
            raise BadInput(f"node {node.name!r}: input {value.name!r} {what}")
    made = tuple(v.type for v in node.outputs)
    expected = node.op.infer(*(v.type for v in node.inputs))
    if made != expected:
        raise BadInput(f"node {node.name!r}: makes {expected}, the graph says {made}")
    for value in node.outputs:
        _define(known, value, f"node {node.name!r}")
