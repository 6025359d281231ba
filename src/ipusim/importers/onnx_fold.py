"""Computing nodes that depend on no input of the model, with onnx's own reference evaluator.

That covers shape arithmetic, tables and weights stored in pieces or narrow types.  Weights of one value everywhere and
broadcasts are views without memory.  Kernels that the evaluator runs slowly are left to the chip when their operands
are large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput
from ipusim.importers.onnx_check import SHAPE_ONLY
from ipusim.importers.onnx_file import OnnxNode
from ipusim.importers.onnx_tensor import ARRAY_TYPES, tensor_array
from ipusim.importers.onnx_work import Import

Array = NDArray[Any]
#: Operators with loops in Python in the evaluator, and the number of elements from which they are left to the chip.
SLOW = frozenset({"Conv", "MaxPool", "AveragePool", "LRN"})
SLOW_LIMIT = 1 << 16
#: Operators that repeat elements: results above the limit stay nodes, which take no memory on the chip.
REPEATING = frozenset({"Expand", "Tile"})
REPEAT_LIMIT = 1 << 12
PASSING = frozenset({"Identity", "Dropout"})


def fold(work: Import, node: OnnxNode) -> bool:
    """Computes a node that depends on no input; False if the node must be converted (as well).  Raises BadInput."""
    if node.op in SHAPE_ONLY and node.inputs[0] not in work.known:
        work.known[node.outputs[0]] = _shape(work, node)
        return True
    if not all(name in work.known for name in node.inputs if name):
        return False
    if node.op in SLOW and max(work.known[name].size for name in node.inputs if name) > SLOW_LIMIT:
        return False
    made = _compute(work, node)
    for name, array in zip(node.outputs, made, strict=False):
        if name:
            work.known[name] = array
    return not (node.op in REPEATING and made[0].size > REPEAT_LIMIT)


def _shape(work: Import, node: OnnxNode) -> Array:
    value = work.values[node.inputs[0]]
    if node.op == "Size":
        return np.array(value.type.elements, np.int64)
    return np.array(value.shape, np.int64)[node.attribute("start", 0) : node.attribute("end", None)]


def _compute(work: Import, node: OnnxNode) -> list[Array]:
    arrays = [work.known[name] for name in node.inputs if name]
    if node.op == "Constant":
        return [work.graph.constant(node)]
    if node.op in PASSING and not any(node.outputs[1:]):
        return arrays[:1]
    if node.op == "ConstantOfShape":
        filled = node.attribute("value", None)
        value = np.zeros(1, np.float32) if filled is None else tensor_array(filled, work.graph.path, "value")
        return [np.broadcast_to(value.reshape(-1)[0], tuple(int(n) for n in arrays[0]))]
    if node.op == "Expand":
        wanted = tuple(int(n) for n in arrays[1])
        return [np.broadcast_to(arrays[0], np.broadcast_shapes(arrays[0].shape, wanted))]
    return _evaluate(work, node)


def _evaluate(work: Import, node: OnnxNode) -> list[Array]:
    """One node in the reference evaluator; outputs that nobody reads are empty."""
    from onnx import TypeProto, ValueInfoProto, helper
    from onnx.reference import ReferenceEvaluator

    given = {name: work.known[name] for name in node.inputs if name}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in given.items()
    ]
    wanted = [name for name in node.outputs if name]
    outputs = [ValueInfoProto(name=name, type=TypeProto()) for name in wanted]
    graph = helper.make_graph([node.proto], "fold", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", work.opset)])
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # the evaluator raises whatever its implementation of an operator raises
        raise BadInput(f"cannot compute it ahead of time: {error}") from None
    arrays = {name: np.asarray(made) for name, made in zip(wanted, found, strict=True)}
    odd = [name for name, a in arrays.items() if a.dtype.name not in ARRAY_TYPES]
    if odd:
        raise BadInput(f"its output {odd[0]!r} is {arrays[odd[0]].dtype}, which the IPU does not have")
    return [arrays.get(name, np.empty(0)) for name in node.outputs]
