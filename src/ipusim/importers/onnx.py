"""ONNX files as workloads.

A file is checked whole before any work starts: that it is ONNX, that every operator and element type is known (all
that are not are listed at once), that its external data stays in its folder.  Then nodes are converted in order.  A
node whose inputs are all constants is computed by onnx's own reference evaluator (shape arithmetic, ranges, casts of
tables); weights made by ConstantOfShape stay recipes.  Batch norms after convolutions are folded.  Opsets 7 to the
newest that the installed onnx knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import as_dtype, bool_, float16, float32, int8, int16, int32, uint8, uint16, uint32
from ipusim.errors import BadInput, Unsupported
from ipusim.importers.onnx_file import Graph, OnnxNode, read
from ipusim.importers.onnx_ops import CONVERTERS, FOLDED_ONLY
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Value, Workload
from ipusim.workload.passes import drop_dead, fold_batch_norm

Array = NDArray[Any]
#: Element types of ONNX by number: float, uint8, int8, uint16, int16, int32, int64, bool, float16, uint32.
TYPES = {
    1: float32,
    2: uint8,
    3: int8,
    4: uint16,
    5: int16,
    6: int32,
    7: int32,
    9: bool_,
    10: float16,
    12: uint32,
}
#: Arrays up to this size are folded eagerly; larger ones only when an op cannot do without.
FOLD_LIMIT = 1 << 22


@final
class Import:
    """A conversion under way: the builder, the file's graph, and what each of its tensors has become.

    `known` holds arrays of values that do not depend on inputs, `values` workload values; a tensor may be in both.
    """

    def __init__(self, graph: Graph, builder: WorkloadBuilder) -> None:
        self.graph, self.builder, self.opset = graph, builder, graph.opset
        self.known: dict[str, Array] = {}
        self.lazy: dict[str, Constant] = {}
        self.values: dict[str, Value] = {}

    def is_constant(self, name: str) -> bool:
        """Whether a tensor does not depend on the model's inputs."""
        return name in self.known or name in self.lazy

    def array(self, name: str) -> Array:
        """A constant tensor's array."""
        if name not in self.known:
            self.known[name] = self.lazy[name].array()
        return self.known[name]

    def value(self, name: str) -> Value:
        """A tensor as a value of the workload; constants are added when first asked for."""
        if name not in self.values:
            if name in self.lazy:
                self.values[name] = self.builder.constant(self.lazy[name], name)
            else:
                self.values[name] = self.builder.constant(_narrow(name, self.known[name]), name)
        return self.values[name]


def load(path: str | Path, batch: int | None = None, dims: Mapping[str, int] | None = None) -> Workload:
    """The workload of an ONNX file.

    `batch` sets the first axis of inputs where the file leaves it open (default 1); `dims` sets other open axes by
    their symbol.

    Raises BadInput for a file that is missing, broken, not ONNX or inconsistent, Unsupported listing every operator
    that is not known.
    """
    graph = read(Path(path))
    _refuse_unknown(graph)
    builder = WorkloadBuilder(Path(path).stem)
    work = Import(graph, builder)
    for name, tensor in graph.initializers.items():
        work.known[name] = tensor
    samples = _add_inputs(work, batch, dims or {})
    builder.batch = samples
    for node in graph.nodes:
        _convert(work, node)
    missing = [n for n in graph.outputs if n not in work.values and not work.is_constant(n)]
    if missing:
        raise BadInput(f"{graph.path}: output {missing[0]!r} is made by no node")
    built = builder.build({name: work.value(name) for name in graph.outputs})
    return drop_dead(fold_batch_norm(built))


def _refuse_unknown(graph: Graph) -> None:
    unknown: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx"):
            unknown.setdefault(f"{node.domain}.{node.op}", []).append(node.label)
        elif node.op not in CONVERTERS and node.op not in FOLDED_ONLY:
            unknown.setdefault(node.op, []).append(node.label)
    if unknown:
        raise Unsupported(str(graph.path), unknown)


def _add_inputs(work: Import, batch: int | None, dims: Mapping[str, int]) -> int:
    """Adds the model's inputs; the batch that they have."""
    samples: int | None = None
    for name, (code, shape) in work.graph.inputs.items():
        if code not in TYPES:
            raise BadInput(f"{work.graph.path}: input {name!r} has an element type that the IPU does not have")
        sizes = []
        for axis, size in enumerate(shape):
            if isinstance(size, int) and size > 0:
                if axis == 0 and batch is not None and size != batch:
                    raise BadInput(f"{work.graph.path}: the batch of input {name!r} is fixed at {size}, not {batch}")
                sizes.append(size)
            elif isinstance(size, str) and size in dims:
                sizes.append(dims[size])
            elif axis == 0:
                sizes.append(batch or 1)
            else:
                raise BadInput(
                    f"{work.graph.path}: axis {axis} of input {name!r} is open "
                    f"({size or 'no name'}); fix it in the file, or give dims"
                )
        work.values[name] = work.builder.input(name, sizes, TYPES[code])
        samples = sizes[0] if samples is None and sizes else samples
    return samples or 1


def _convert(work: Import, node: OnnxNode) -> None:
    for name in node.inputs:
        if name and name not in work.values and not work.is_constant(name):
            raise BadInput(f"{work.graph.path}: node {node.label!r} reads {name!r}, which nothing makes")
    try:
        if _fold(work, node):
            return
        if node.op in FOLDED_ONLY:
            raise BadInput(f"{node.op} needs inputs that are known when the model is compiled")
        made = CONVERTERS[node.op](work, node)
    except BadInput as error:
        raise BadInput(f"{work.graph.path}: node {node.label!r} ({node.op}): {error}") from None
    except (IndexError, KeyError, ValueError, TypeError) as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{work.graph.path}: node {node.label!r} ({node.op}) is not valid: {detail}") from None
    for name, value in zip(node.outputs, made, strict=False):
        if name:
            work.values[name] = value


def _fold(work: Import, node: OnnxNode) -> bool:
    """Computes a node that depends on no input; False if it does."""
    if node.op == "Shape" and not work.is_constant(node.inputs[0]):
        shape = np.array(work.values[node.inputs[0]].shape, np.int64)
        work.known[node.outputs[0]] = shape[node.attribute("start", 0) : node.attribute("end", None)]
        return True
    if node.op == "Size" and not work.is_constant(node.inputs[0]):
        work.known[node.outputs[0]] = np.array(work.values[node.inputs[0]].type.elements, np.int64)
        return True
    if not all(work.is_constant(name) for name in node.inputs if name):
        return False
    if node.op == "ConstantOfShape":
        return _fold_full(work, node)
    if node.op in ("Identity", "Dropout") and node.inputs[0] in work.lazy:
        work.lazy[node.outputs[0]] = work.lazy[node.inputs[0]]
        return True
    if node.op == "Reshape" and node.inputs[0] in work.lazy:
        return False
    if node.op in CONVERTERS and any(n and _elements(work, n) > FOLD_LIMIT for n in node.inputs):
        return False
    for name, array in zip(node.outputs, _evaluate(work, node), strict=False):
        if name:
            work.known[name] = np.asarray(array)
    return True


def _elements(work: Import, name: str) -> int:
    if name in work.lazy:
        return int(np.prod(work.lazy[name].shape))
    return int(work.known[name].size)


def _fold_full(work: Import, node: OnnxNode) -> bool:
    """A weight of one value everywhere, kept as a recipe."""
    shape = tuple(int(n) for n in work.array(node.inputs[0]))
    value = node.attribute("value", np.zeros(1, np.float32))
    if int(np.prod(shape)) < 1024:
        work.known[node.outputs[0]] = np.full(shape, value.reshape(-1)[0])
    else:
        work.lazy[node.outputs[0]] = Constant.full(shape, as_dtype(value.dtype), value.reshape(-1)[0].item())
    return True


def _evaluate(work: Import, node: OnnxNode) -> list[Any]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    if node.op == "Constant":
        return [node.constant()]
    names = [n for n in node.inputs if n]
    given = {n: work.array(n) for n in names}
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given.items()
    ]
    outputs = [onnx.ValueInfoProto(name=n) for n in node.outputs if n]
    graph = onnx.helper.make_graph([node.proto], "fold", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", work.opset)])
    try:
        return list(ReferenceEvaluator(model).run(None, given))
    except Exception as error:  # the evaluator raises whatever its implementation of an op raises
        raise BadInput(f"cannot compute it ahead of time: {error}") from None


def _narrow(name: str, array: Array) -> Array:
    """64-bit integers and floats in the types of the chip.  Raises BadInput for values that do not fit."""
    if array.dtype == np.int64:
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise BadInput(f"constant {name!r} has 64-bit values that do not fit 32 bits")
        return array.astype(np.int32)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array
