"""ONNX files as workloads.

A file is checked whole before any work starts: that it is ONNX, that every operator and element type is known (all that
are not are listed at once), that its external data stays in its folder.  Then nodes are converted in order.  A node
that depends on no input is computed by onnx's own reference evaluator (shape arithmetic, ranges, casts of tables);
weights made by ConstantOfShape stay recipes.  Batch norms after convolutions are folded, Identity and Dropout vanish.
Opsets 7 to the newest that the installed onnx knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ipusim.errors import BadInput, NotKnown
from ipusim.importers.onnx_check import check
from ipusim.importers.onnx_file import Graph, OnnxNode, read
from ipusim.importers.onnx_fold import fold
from ipusim.importers.onnx_ops import CONVERTERS
from ipusim.importers.onnx_sizes import input_shapes
from ipusim.importers.onnx_tensor import VALUE_TYPES
from ipusim.importers.onnx_work import Import
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.graph import Value, Workload
from ipusim.workload.passes import drop_dead, fold_batch_norm

LONGEST_MESSAGE = 300


def load(path: str | Path, batch: int | None = None, dims: Mapping[str, int] | None = None) -> Workload:
    """The workload of an ONNX file; nodes, inputs and outputs have the file's names.

    `batch` sets the first axis of inputs where the file leaves it open (default 1); `dims` sets open axes by their
    symbol, or by place as in "x[1]".  64-bit integers become 32-bit.

    Raises BadInput for a file that is missing, broken, not ONNX or inconsistent, Unsupported listing every operator
    that is not known.
    """
    graph = read(Path(path))
    check(graph, CONVERTERS)
    shapes, samples = input_shapes(graph, batch, dims)
    work = Import(graph, WorkloadBuilder(Path(path).stem, samples))
    for name in graph.initializers:
        work.known[name] = graph.initializer(name)
    for name, shape in shapes.items():
        work.values[name] = work.builder.input(name, shape, VALUE_TYPES[graph.inputs[name][0]])
    for node in graph.nodes:
        _convert(work, node)
    built = work.builder.build(_outputs(work, graph))
    return drop_dead(fold_batch_norm(built))


def _convert(work: Import, node: OnnxNode) -> None:
    where = f"{work.graph.path}: node {node.label!r} ({node.op})"
    try:
        if _fold(work, node):
            return
        if node.op not in CONVERTERS:
            raise BadInput("needs inputs that are known when the model is compiled")
        made = CONVERTERS[node.op](work, node)
    except NotKnown as error:
        raise NotKnown(f"{where}: {error}", error.tensor) from None
    except BadInput as error:
        raise BadInput(f"{where}: {_short(str(error).removeprefix(f'node {node.label!r}: '))}") from None
    except (IndexError, KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise BadInput(f"{where} is not valid: {_short(str(error) or type(error).__name__)}") from None
    for position, name in enumerate(node.outputs):
        if name and position >= len(made):
            raise BadInput(f"{where}: output {name!r} is not supported")
        if name:
            work.values[name] = made[position]


def _fold(work: Import, node: OnnxNode) -> bool:
    """`fold`; what the evaluator cannot do is left to the chip if that can."""
    try:
        return fold(work, node)
    except BadInput:
        if node.op in CONVERTERS:
            return False
        raise


def _short(message: str) -> str:
    """One line, without the rest of a long list."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]} ..."


def _outputs(work: Import, graph: Graph) -> dict[str, Value]:
    try:
        return {name: work.value(name) for name in graph.outputs}
    except BadInput as error:
        raise BadInput(f"{graph.path}: {error}") from None
