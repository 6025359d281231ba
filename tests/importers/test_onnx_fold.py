"""What is computed ahead of time, and what is not."""

import numpy as np
import pytest
import workload_numpy
from onnx import TensorProto, helper, numpy_helper
from onnx_models import agrees, model, saved

from ipusim.errors import BadInput
from ipusim.importers.onnx import load
from ipusim.workload import ops, ops_shape

RNG = np.random.default_rng(0)


def constant(steps, arrays, folder, opset=20, shape=(2, 3, 4)):
    """The array that steps (operator, what they read, attributes) come to, their last as the output y."""
    nodes = [
        helper.make_node(op, reads.split(), [str(n)], **attributes) for n, (op, reads, attributes) in enumerate(steps)
    ]
    nodes.append(helper.make_node("Identity", [str(len(steps) - 1)], ["y"]))
    workload = load(saved(model(nodes, {"x": list(shape)}, ["y"], arrays, opset), folder))
    assert workload.nodes == ()
    return workload.constants[workload.outputs["y"].name].array()


@pytest.mark.parametrize(("steps", "arrays", "expected"), [
    ([("Shape", "x", {})], {}, [2, 3, 4]),
    ([("Shape", "x", {"start": -2})], {}, [3, 4]),
    ([("Shape", "x", {"start": 1, "end": 2})], {}, [3]),
    ([("Size", "x", {})], {}, 24),
    ([("Relu", "x", {}), ("Shape", "0", {}), ("ReduceProd", "1", {"keepdims": 0})], {}, 24),
    ([("Range", "a b c", {})], {"a": np.array(2), "b": np.array(11), "c": np.array(3)}, [2, 5, 8]),
    ([("NonZero", "a", {})], {"a": np.array([0, 3, 0, 5])}, [[1, 3]]),
    ([("Where", "c a b", {})], {"c": np.array([True, False]), "a": np.array([1, 2]), "b": np.array([3, 4])}, [1, 4]),
    ([("CumSum", "a z", {})], {"a": np.array([1, 2, 3]), "z": np.array(0)}, [1, 3, 6]),
    ([("Trilu", "a", {"upper": 0})], {"a": np.ones((2, 2), np.int64)}, [[1, 0], [1, 1]]),
    ([("Constant", "", {"value_ints": [4, 5]})], {}, [4, 5]),
    ([("Constant", "", {"value_float": 0.5})], {}, 0.5),
    ([("Constant", "", {"value": numpy_helper.from_array(np.array([True]))})], {}, [True]),
    ([("ConstantOfShape", "s", {})], {"s": np.array([2])}, [0.0, 0.0]),
    ([("ConstantOfShape", "s", {"value": helper.make_tensor("v", TensorProto.INT64, [1], [7])})], {"s": np.array([], np.int64)}, 7),
    ([("DequantizeLinear", "q s z", {})], {"q": np.array([1, 5], np.int8), "s": np.array(0.5, np.float32), "z": np.array(1, np.int8)}, [0.0, 2.0]),
    ([("Shape", "x", {}), ("Cast", "0", {"to": TensorProto.DOUBLE}), ("Sqrt", "1", {})], {}, np.sqrt([2, 3, 4], dtype=np.float64).astype(np.float32).tolist()),
])  # fmt: skip
def test_what_depends_on_no_input(steps, arrays, expected, tmp_path):
    assert constant(steps, arrays, tmp_path).tolist() == expected


def test_outputs_that_nobody_reads_do_not_shift_the_others(tmp_path):
    nodes = [helper.make_node("TopK", ["a", "k"], ["", "where"]), helper.make_node("Identity", ["where"], ["y"])]
    nodes[0].output[0] = "unread"
    proto = model(nodes, {"x": [1]}, ["y"], {"a": np.array([3.0, 9.0, 5.0], np.float32), "k": np.array([2])})
    workload = load(saved(proto, tmp_path))
    assert workload.constants[workload.outputs["y"].name].array().tolist() == [1, 2]


def test_a_weight_of_one_value_everywhere_is_never_made(tmp_path):
    """Sixteen gigabytes, reshaped and transposed on the way."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["c"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])),
        helper.make_node("Reshape", ["c", "t"], ["r"]),
        helper.make_node("Transpose", ["r"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    arrays = {"s": np.array([1 << 16, 1 << 15, 2]), "t": np.array([-1, 1 << 16])}
    workload = load(saved(model(nodes, {"x": [1, 1 << 16]}, ["y"], arrays), tmp_path))
    assert workload.parameters == 1 << 32
    assert workload.constants["w"].fingerprint == "full(0.5)"


def test_a_mask_is_computed_and_a_repeated_table_stays_a_broadcast(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Slice", ["size", "first", "second"], ["n"]),
        helper.make_node("Concat", ["n", "n"], ["nn"], axis=0),
        helper.make_node("Expand", ["one", "nn"], ["ones"]),
        helper.make_node("Trilu", ["ones"], ["lower"], upper=0),
        helper.make_node("Expand", ["row", "nn"], ["rows"]),
        helper.make_node("Mul", ["x", "lower"], ["masked"]),
        helper.make_node("Add", ["masked", "rows"], ["y"], name="add"),
    ]
    arrays = {
        "first": np.array([0]), "second": np.array([1]), "one": np.ones(1, np.float32),
        "row": RNG.normal(size=(1, 90)).astype(np.float32),
    }  # fmt: skip
    proto = model(nodes, {"x": [90, 90]}, ["y"], arrays)
    workload = agrees(proto, {"x": RNG.normal(size=(90, 90)).astype(np.float32)}, tmp_path)
    assert [type(n.op) for n in workload.nodes] == [ops_shape.Expand, ops.Binary, ops.Binary]
    assert {name: c.shape for name, c in workload.constants.items()} == {"lower": (90, 90), "row": (1, 90)}


def test_a_large_convolution_of_constants_is_left_to_the_chip(tmp_path):
    image, weight = (RNG.normal(size=s).astype(np.float32) for s in ((1, 3, 160, 160), (2, 3, 3, 3)))
    nodes = [helper.make_node("Conv", ["i", "w"], ["c"]), helper.make_node("Mul", ["x", "c"], ["y"])]
    proto = model(nodes, {"x": [1]}, ["y"], {"i": image, "w": weight})
    workload = agrees(proto, {"x": np.array([2.0], np.float32)}, tmp_path, 1e-4)
    assert [type(n.op) for n in workload.nodes] == [ops.Conv, ops.Binary]


def test_what_the_evaluator_cannot_do_is_left_to_the_chip(tmp_path):
    """It has no HardSwish (onnx 1.23)."""
    nodes = [helper.make_node("HardSwish", ["w"], ["h"]), helper.make_node("Mul", ["x", "h"], ["y"])]
    workload = load(saved(model(nodes, {"x": [3]}, ["y"], {"w": np.array([-4.0, 1.0, 4.0], np.float32)}), tmp_path))
    assert [n.name for n in workload.nodes] in (["h", "y"], ["y"])
    (found,) = workload_numpy.evaluate(workload, {"x": np.ones(3)}).values()
    np.testing.assert_allclose(found, [0.0, 2 / 3, 4.0], rtol=1e-6)


def test_a_model_that_is_all_constant(tmp_path):
    proto = model([helper.make_node("Add", ["a", "a"], ["y"])], {}, ["y"], {"a": np.array([1.0, 2.0], np.float32)})
    workload = load(saved(proto, tmp_path))
    assert [workload.inputs, workload.nodes, workload.constants["y"].array().tolist()] == [(), (), [2.0, 4.0]]


@pytest.mark.parametrize(("node", "arrays", "message"), [
    (helper.make_node("CumSum", ["a", "s"], ["y"], name="bad"), {"a": np.zeros(4), "s": np.array(3)}, "node 'bad' (CumSum): cannot compute it ahead of time: axis 3 is out of bounds for array of dimension 1"),
    (helper.make_node("Reshape", ["a", "s"], ["y"], name="bad"), {"a": np.zeros(4), "s": np.array([3])}, "node 'bad' (Reshape): Reshape: (4,) has 4 elements, (3,) has 3"),
    (helper.make_node("Constant", [], ["y"], name="bad", value_string="text"), {}, "node 'bad' (Constant): has no numeric value"),
    (helper.make_node("ConstantOfShape", ["s"], ["y"], name="bad"), {"s": np.array([-3])}, "node 'bad' (ConstantOfShape) is not valid"),
    (helper.make_node("Cast", ["a"], ["y"], name="bad", to=TensorProto.STRING), {"a": np.array([1.0])}, "node 'bad' (Cast): the IPU has no element type string"),
    (helper.make_node("SequenceConstruct", ["a", "b"], ["y"], name="bad"), {"a": np.array([1.0]), "b": np.array([1.0, 2.0])}, "node 'bad' (SequenceConstruct)"),
])  # fmt: skip
def test_what_cannot_be_computed(node, arrays, message, tmp_path):
    path = saved(model([node], {"x": [1]}, ["y"], arrays), tmp_path)
    with pytest.raises(BadInput) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
