"""Small ONNX models for the tests of the importer, and their comparison with onnxruntime."""

import numpy as np
import onnx
import pytest
import workload_numpy
from onnx import TensorProto, helper, numpy_helper

from ipusim.importers.onnx import load


def model(nodes, inputs, outputs, initializers=None, opset=17, functions=()):
    """A model from nodes, shapes of float inputs by name (or (shape, type)), output names and arrays."""
    infos = []
    for name, shape in inputs.items():
        shape, kind = shape if isinstance(shape, tuple) and isinstance(shape[0], list) else (shape, TensorProto.FLOAT)
        infos.append(helper.make_tensor_value_info(name, kind, shape))
    outs = [onnx.ValueInfoProto(name=n) for n in outputs]
    arrays = [numpy_helper.from_array(v, k) for k, v in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "test", infos, outs, arrays)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


def chain(steps, initializers, opset, shape):
    """A model of one input x, each step (operator, what it reads, attributes, number of outputs) making its number."""
    nodes = []
    for number, (op, reads, attributes, *outputs) in enumerate(steps):
        names = [str(number)] + ([f"{number}b"] if outputs else [])
        nodes.append(helper.make_node(op, reads.split(" "), names, **attributes))
    return model(nodes, {"x": list(shape)}, [str(len(steps) - 1)], initializers, opset)


def saved(proto, folder, name="model.onnx"):
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def agrees(proto, inputs, folder, tolerance=1e-5):
    """The workload of the model gives what onnxruntime gives; returns the workload."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    typed = onnx.shape_inference.infer_shapes(proto)
    known = {v.name: v for v in typed.graph.value_info}
    for output in typed.graph.output:
        if not output.HasField("type"):
            output.CopyFrom(known[output.name])
    expected = runtime.InferenceSession(typed.SerializeToString()).run(None, inputs)
    workload = load(saved(proto, folder))
    found = workload_numpy.evaluate(workload, inputs)
    for array, (name, value) in zip(expected, found.items(), strict=True):
        assert value.shape == np.shape(array), name
        np.testing.assert_allclose(value, array, rtol=tolerance, atol=tolerance)
    return workload
