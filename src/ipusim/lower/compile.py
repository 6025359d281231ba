"""Workload -> program, node by node in order.

Every value of the workload becomes a tensor.  Weights and inputs get their mapping from the first op that reads them.
A value may be overwritten in place when nothing reads it, or anything stored with it, later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

from ipusim.errors import BadInput
from ipusim.hw.spec import ChipSpec
from ipusim.lower.rules import Lowering, Options, PlanNote, Rules
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor
from ipusim.workload.graph import Node, Workload

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Compiled:
    """A program and how it relates to its workload: tensors of the inputs and outputs by name, and a note per node."""

    workload: Workload
    graph: Graph
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    notes: dict[int, PlanNote]


class _Storage:
    """Which values share storage (union-find over value names), to tell what may be overwritten."""

    def __init__(self, workload: Workload, owned: int = 0) -> None:
        self._parent: dict[str, str] = {}
        self._last: dict[str, int] = {}
        end = len(workload.nodes)
        for value in (*workload.inputs[owned:], *workload.outputs.values()):
            self._last[value.name] = end
        for name in workload.constants:
            self._last[name] = end
        for number, node in enumerate(workload.nodes):
            for value in node.inputs:
                self._last[value.name] = max(self._last.get(value.name, -1), number)

    def find(self, name: str) -> str:
        while (up := self._parent.get(name, name)) != name:
            name = up
        return name

    def share(self, a: str, b: str) -> None:
        first, second = self.find(a), self.find(b)
        if first != second:
            self._parent[second] = first
            self._last[first] = max(self._last.get(first, -1), self._last.get(second, -1))

    def free_after(self, name: str, number: int) -> bool:
        return self._last.get(self.find(name), -1) <= number


def lower(
    workload: Workload, chip: ChipSpec, options: Options, rules: Rules, progress: Progress | None = None
) -> Compiled:
    """Compiles a workload for one IPU.  Raises NoRule for an op that no kernel package lowers."""
    _check_rules(workload, rules)
    low = Lowering(Graph(chip.tiles), chip, options, rules=rules)
    tensors = _sources(workload, low)
    inputs = {v.name: tensors[v.name] for v in workload.inputs}
    storage = _Storage(workload)
    for number, node in enumerate(workload.nodes):
        if progress:
            progress(number, len(workload.nodes))
        low.node, low.prefix = number, node.name
        _lower_node(low, number, node, tensors, storage)
    outputs = {name: low.mapped(tensors[value.name]) for name, value in workload.outputs.items()}
    _hold(inputs.values(), outputs.values(), low)
    return Compiled(workload, low.graph, inputs, outputs, low.notes)


def lower_part(low: Lowering, workload: Workload, inputs: Sequence[Tensor], owned: int = 0) -> list[Tensor]:
    """Lowers a workload that is part of the node being lowered (a loop's body) on tensors for its inputs.

    Returns: the tensors of its outputs.  The first `owned` inputs may be overwritten after they were read last, the
    others stay as they are.
    """
    before, reusable = low.prefix, low.reusable
    tensors = {v.name: t for v, t in zip(workload.inputs, inputs, strict=True)}
    for name, constant in workload.constants.items():
        made = low.graph.add_storage(
            constant.shape, constant.dtype, low.path(name), initial=constant, always_live=True
        )
        tensors[name] = Tensor.of(made)
    storage = _Storage(workload, owned)
    for number, node in enumerate(workload.nodes):
        low.prefix = f"{before}/{node.name}" if before else node.name
        _lower_node(low, number, node, tensors, storage)
    low.prefix, low.reusable = before, reusable
    return [tensors[v.name] for v in workload.outputs.values()]


def _lower_node(low: Lowering, number: int, node: Node, tensors: dict[str, Tensor], storage: _Storage) -> None:
    assert low.rules is not None
    read = [tensors[v.name] for v in node.inputs]
    low.reusable = tuple(storage.free_after(v.name, number) for v in node.inputs)
    made = list(low.rules.of(node.op, node.name)(low, node.op, node, read))
    _check(node.name, [v.type for v in node.outputs], made)
    for value, tensor in zip(node.outputs, made, strict=True):
        tensors[value.name] = tensor
        for other, source in zip(node.inputs, read, strict=True):
            if set(source.variables()) & set(tensor.variables()):
                storage.share(other.name, value.name)


def _check_rules(workload: Workload, rules: Rules) -> None:
    """Raises NoRule for an op without a rule, in the workload or in what its ops hold."""
    for node in workload.nodes:
        rules.of(node.op, node.name)
        for part in node.op.parts():
            _check_rules(part, rules)


def _sources(workload: Workload, low: Lowering) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for value in workload.inputs:
        variable = low.graph.add_storage(value.shape, value.dtype, value.name)
        tensors[value.name] = Tensor.of(variable)
    for name, constant in workload.constants.items():
        variable = low.graph.add_storage(constant.shape, constant.dtype, name, initial=constant, always_live=True)
        tensors[name] = Tensor.of(variable)
    return tensors


def _hold(inputs: Iterable[Tensor], outputs: Iterable[Tensor], low: Lowering) -> None:
    for tensor in outputs:
        for variable in tensor.variables():
            variable.keep = True
    for tensor in inputs:
        low.place(tensor)
    for variable in low.graph.variables:
        low.place(Tensor.of(variable))


def _check(node: str, expected: list[object], made: list[Tensor]) -> None:
    found = [(t.shape, t.dtype) for t in made]
    wanted = [(t.shape, t.dtype) for t in expected]  # type: ignore[attr-defined]
    if found != wanted:
        raise BadInput(f"node {node!r}: its lowering made {found}, the workload says {wanted}")
