"""ONNX operators: what they mean, opset by opset, against onnxruntime."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import agrees, chain, model, saved

from ipusim.errors import BadInput
from ipusim.importers.onnx import load
from ipusim.workload import ops, ops_norm, ops_shape

RNG = np.random.default_rng(0)


def x(*shape):
    return RNG.normal(size=shape).astype(np.float32)


INT = np.int64
CASES = {
    "conv same upper": ([("Conv", "x w", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})], {"w": x(4, 3, 3, 3)}, 17),
    "conv same lower": ([("Conv", "x w", {"auto_pad": "SAME_LOWER", "strides": [2, 2]})], {"w": x(4, 3, 4, 4)}, 17),
    "conv groups": ([("Conv", "x w b", {"group": 3, "dilations": [2, 1], "pads": [1, 2, 0, 1]})], {"w": x(6, 1, 3, 2), "b": x(6)}, 11),
    "average pool, padding not counted": ([("AveragePool", "x", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]})], {}, 7),
    "average pool, padding counted": ([("AveragePool", "x", {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1})], {}, 19),
    "max pool, ceil": ([("MaxPool", "x", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "dilations": [1, 2]})], {}, 12),
    "global pools": ([("GlobalAveragePool", "x", {}), ("Flatten", "0", {"axis": 1})], {}, 9),
    "lrn": ([("LRN", "x", {"size": 3, "alpha": 0.1})], {}, 13),
    "batch norm": ([("BatchNormalization", "x a b a c", {})], {"a": x(3), "b": x(3), "c": np.abs(x(3)) + 0.5}, 9),
    "instance norm": ([("InstanceNormalization", "x a b", {"epsilon": 0.01})], {"a": x(3), "b": x(3)}, 6 + 1),
    "layer norm": ([("LayerNormalization", "x a b", {"axis": -1})], {"a": x(9), "b": x(9)}, 17),
    "softmax of old opsets": ([("Softmax", "x", {})], {}, 11),
    "softmax": ([("Softmax", "x", {"axis": 1})], {}, 13),
    "log softmax": ([("LogSoftmax", "x", {})], {}, 13),
    "slice by attributes": ([("Slice", "x", {"starts": [1, -4], "ends": [100, -1], "axes": [1, 3]})], {}, 9),
    "slice by inputs": ([("Slice", "x s e a t", {})], {"s": np.array([-1, 0], INT), "e": np.array([-100, 9], INT), "a": np.array([2, 3], INT), "t": np.array([-2, 3], INT)}, 13),
    "pad by attributes": ([("Pad", "x", {"pads": [0, 1, 2, 0, 0, 0, 1, 3], "value": 2.0})], {}, 10),
    "pad reflect": ([("Pad", "x p", {"mode": "reflect"})], {"p": np.array([0, 0, 2, 1, 0, 0, 3, 2], INT)}, 13),
    "pad edge, one axis": ([("Pad", "x p  a", {"mode": "edge"})], {"p": np.array([2, 1], INT), "a": np.array([3], INT)}, 18),
    "pad with cropping": ([("Pad", "x p", {})], {"p": np.array([0, 0, -1, 1, 0, 0, 1, -2], INT)}, 13),
    "clip by attributes": ([("Clip", "x", {"min": -0.5, "max": 0.25})], {}, 7),
    "clip one side": ([("Clip", "x  hi", {})], {"hi": np.array(0.3, np.float32)}, 12),
    "squeeze and unsqueeze": ([("Unsqueeze", "x", {"axes": [0, 3]}), ("Squeeze", "0", {"axes": [0]})], {}, 11),
    "unsqueeze by input": ([("Unsqueeze", "x a", {})], {"a": np.array([-1], INT)}, 13),
    "split by attribute": ([("Split", "x", {"axis": 3, "split": [2, 7]}, 2), ("ReduceSum", "0b", {"axes": [3]})], {}, 11),
    "split in equal parts": ([("Split", "x", {"axis": 3, "num_outputs": 2}, 2)], {}, 18),
    "reduce by attribute": ([("ReduceMean", "x", {"axes": [1, 3], "keepdims": 0})], {}, 13),
    "reduce by input": ([("ReduceSum", "x a", {"keepdims": 0})], {"a": np.array([-1], INT)}, 13),
    "reduce all": ([("ReduceLogSumExp", "x", {})], {}, 13),
    "reduce nothing": ([("ReduceSum", "x", {"noop_with_empty_axes": 1})], {}, 13),
    "arg max": ([("ArgMax", "x", {"axis": 1, "keepdims": 0})], {}, 13),
    "gemm": ([("Flatten", "x", {}), ("Gemm", "0 w c", {"transB": 1, "alpha": 0.5, "beta": 2.0})], {"w": x(4, 216), "c": x(4)}, 13),
    "prelu over channels": ([("PRelu", "x s", {})], {"s": x(3, 1, 1)}, 16),
    "elementwise": ([("Selu", "x", {}), ("HardSigmoid", "0", {}), ("Elu", "1", {"alpha": 0.5}), ("Erf", "2", {}), ("Softsign", "3", {})], {}, 13),
    "gelu": ([("Gelu", "x", {"approximate": "tanh"})], {}, 20),
    "many operands": ([("Max", "x c w", {}), ("Mean", "0 x c", {})], {"c": np.array([0.1], np.float32), "w": x(3, 1, 1)}, 13),
    "where": ([("Greater", "x c", {}), ("Where", "0 x c", {})], {"c": np.array(0.2, np.float32)}, 13),
    "power": ([("Pow", "x p", {})], {"p": np.array(2, INT)}, 13),
    "expand": ([("ReduceMax", "x", {"axes": [2]}), ("Expand", "0 s", {})], {"s": np.array([3, 4, 1], INT)}, 13),
    "tile": ([("Tile", "x r", {})], {"r": np.array([1, 2, 1, 3], INT)}, 13),
    "depth to space": ([("Tile", "x r", {}), ("DepthToSpace", "0", {"blocksize": 2, "mode": "CRD"})], {"r": np.array([1, 4, 1, 1], INT)}, 13),
    "shape arithmetic": ([("Shape", "x", {}), ("Gather", "0 i", {}), ("Unsqueeze", "1", {"axes": [0]}), ("Concat", "2 m", {"axis": 0}), ("Reshape", "x 3", {})], {"i": np.array(1, INT), "m": np.array([-1], INT)}, 11),
    "reshape with zeros": ([("Reshape", "x s", {})], {"s": np.array([0, -1, 9], INT)}, 13),
    "gather": ([("Gather", "x i", {"axis": 2})], {"i": np.array([[0, -1], [3, 3]], INT)}, 13),
    "cast and compare": ([("Cast", "x", {"to": 6}), ("Cast", "0", {"to": 1})], {}, 13),
    "identity and dropout": ([("Identity", "x", {}), ("Dropout", "0", {}, 2), ("Neg", "1", {})], {}, 10),
    "conv without padding": ([("Conv", "x w", {"auto_pad": "VALID", "kernel_shape": [3, 2]})], {"w": x(4, 3, 3, 2)}, 8),
    "max pool, same lower": ([("MaxPool", "x", {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"})], {}, 8),
    "global max pool": ([("GlobalMaxPool", "x", {})], {}, 8),
    "layer norm over two axes, no bias": ([("LayerNormalization", "x a", {"axis": 2, "epsilon": 0.1})], {"a": x(8, 9)}, 17),
    "group norm, parameters per group": ([("Concat", "x x", {"axis": 1}), ("GroupNormalization", "0 a b", {"num_groups": 2})], {"a": x(2), "b": x(2)}, 18),
    "group norm, parameters per channel": ([("Concat", "x x", {"axis": 1}), ("GroupNormalization", "0 a b", {"num_groups": 2})], {"a": x(6), "b": x(6)}, 21),
    "rms norm": ([("RMSNormalization", "x a", {"axis": 2, "epsilon": 0.1})], {"a": x(8, 9)}, 23),
    "softmax of old opsets along the last axis": ([("Softmax", "x", {"axis": 3})], {}, 9),
    "log softmax of old opsets": ([("LogSoftmax", "x", {"axis": 2})], {}, 11),
    "slice, axes in another order": ([("Slice", "x", {"starts": [2, 1], "ends": [5, 2], "axes": [3, 0]})], {}, 9),
    "slice to the end": ([("Slice", "x s e", {})], {"s": np.array([0, 1], INT), "e": np.array([2**63 - 1, 2**63 - 1], INT)}, 13),
    "slice backwards to the start": ([("Slice", "x s e a t", {})], {"s": np.array([2**63 - 1], INT), "e": np.array([-(2**63)], INT), "a": np.array([-1], INT), "t": np.array([-1], INT)}, 13),
    "clip with a limit that is computed": ([("ReduceMean", "x", {"keepdims": 0}), ("Clip", "x 0", {})], {}, 13),
    "clip by nothing": ([("Clip", "x", {})], {}, 13),
    "split by input": ([("Split", "x s", {"axis": -1}, 2), ("Add", "0 0", {})], {"s": np.array([2, 7], INT)}, 13),
    "squeeze all": ([("Slice", "x", {"starts": [0], "ends": [1], "axes": [1]}), ("Squeeze", "0", {})], {}, 9),
    "squeeze by input": ([("Slice", "x s e a", {}), ("Squeeze", "0 a", {})], {"s": np.array([0], INT), "e": np.array([1], INT), "a": np.array([-3], INT)}, 13),
    "reduce nothing of a square": ([("ReduceSumSquare", "x e", {"noop_with_empty_axes": 1})], {"e": np.array([], INT)}, 18),
    "reduce by an empty list": ([("ReduceMax", "x e", {})], {"e": np.array([], INT)}, 20),
    "prelu of old exporters": ([("PRelu", "x s", {})], {"s": x(9)}, 7),
    "selu of other numbers": ([("Selu", "x", {"alpha": 0.5, "gamma": 2.0})], {}, 13),
    "power of a list": ([("Abs", "x", {}), ("Pow", "0 p", {})], {"p": np.array([[0.5], [1.5], [2.0]], np.float32).reshape(3, 1, 1)}, 13),
    "modulus with the sign of the divisor": ([("Cast", "x", {"to": 6}), ("Mod", "0 m", {}), ("Cast", "1", {"to": 1})], {"m": np.array([-3], np.int32)}, 13),
    "modulus with the sign of the dividend": ([("Mod", "x m", {"fmod": 1})], {"m": np.array([0.7], np.float32)}, 13),
    "sum of one": ([("Sum", "x", {})], {}, 13),
    "infinite of one sign": ([("Div", "x z", {}), ("IsInf", "0", {"detect_negative": 0}), ("Cast", "1", {"to": 1})], {"z": np.zeros(1, np.float32)}, 13),
    "logic": ([("Less", "x c", {}), ("GreaterOrEqual", "x d", {}), ("Xor", "0 1", {}), ("Not", "2", {}), ("Cast", "3", {"to": 1})], {"c": np.array(0.2, np.float32), "d": np.array(-0.2, np.float32)}, 13),
    "cast to the type of another": ([("CastLike", "x i", {}), ("CastLike", "0 x", {})], {"i": np.array(1, np.int32)}, 15),
    "space to depth": ([("Slice", "x", {"starts": [0], "ends": [8], "axes": [3]}), ("SpaceToDepth", "0", {"blocksize": 4})], {}, 9),
    "depth to space, depth first": ([("Tile", "x r", {}), ("DepthToSpace", "0", {"blocksize": 2, "mode": "DCR"})], {"r": np.array([1, 4, 1, 1], INT)}, 11),
    "embedding by computed indices": ([("ArgMax", "x", {"axis": 1, "keepdims": 0}), ("Gather", "t 0", {})], {"t": x(3, 5)}, 13),
    "flatten from the end": ([("Flatten", "x", {"axis": -1})], {}, 11),
    "flatten to a row": ([("Flatten", "x", {"axis": 0})], {}, 11),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_meaning_of_operators(name, tmp_path):
    steps, initializers, opset = CASES[name]
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"the installed onnx does not know opset {opset}")
    agrees(chain(steps, initializers, opset, (2, 3, 8, 9)), {"x": x(2, 3, 8, 9)}, tmp_path)


@pytest.mark.parametrize("op", [
    "Exp", "Log", "Tanh", "Sigmoid", "Sqrt", "Reciprocal", "Neg", "Abs", "Ceil", "Floor", "Round", "Sign", "Sin", "Cos",
    "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh", "Softplus", "Mish", "LeakyRelu", "Celu",
    "ThresholdedRelu", "HardSwish", "Relu",
])  # fmt: skip
def test_meaning_of_functions(op, tmp_path):
    inputs = np.array([[0.01, 0.3, 0.5, 0.77, 0.999]], np.float32)
    signed = inputs if op in ("Log", "Sqrt") else np.concatenate([-inputs, inputs], 1)
    agrees(
        model([helper.make_node(op, ["x"], ["y"])], {"x": list(signed.shape)}, ["y"], opset=18), {"x": signed}, tmp_path
    )


def test_an_encoder_block_keeps_names_and_needs_no_fused_operator(tmp_path):
    """Attention written out, as exporters do, with shapes computed from the input's."""
    steps = [
        ("MatMul", ["x", "wq"], "q"), ("MatMul", ["x", "wk"], "k"), ("MatMul", ["x", "wv"], "v"),
        ("Shape", ["x"], "shape"), ("Gather", ["shape", "one"], "length"), ("Unsqueeze", ["length", "zero"], "lengths"),
        ("Concat", ["minus", "lengths", "heads"], "split"),
        ("Reshape", ["q", "split"], "q4"), ("Reshape", ["k", "split"], "k4"), ("Reshape", ["v", "split"], "v4"),
        ("Transpose", ["q4"], "qh"), ("Transpose", ["k4"], "kh"), ("Transpose", ["v4"], "vh"),
        ("MatMul", ["qh", "kh"], "scores"), ("Div", ["scores", "root"], "scaled"), ("Softmax", ["scaled"], "weights"),
        ("MatMul", ["weights", "vh"], "mixed"), ("Transpose", ["mixed"], "back"), ("Reshape", ["back", "joined"], "flat"),
        ("Add", ["flat", "x"], "sum"), ("ReduceMean", ["sum"], "mean"), ("Sub", ["sum", "mean"], "centred"),
        ("Pow", ["centred", "two"], "squared"), ("ReduceMean", ["squared"], "variance"),
        ("Sqrt", ["variance"], "deviation"), ("Div", ["centred", "deviation"], "y"),
    ]  # fmt: skip
    attributes = {
        "qh": {"perm": [0, 2, 1, 3]}, "kh": {"perm": [0, 2, 3, 1]}, "vh": {"perm": [0, 2, 1, 3]}, "back": {"perm": [0, 2, 1, 3]},
        "split": {"axis": 0}, "mean": {"axes": [-1]}, "variance": {"axes": [-1]}, "weights": {"axis": -1},
    }  # fmt: skip
    arrays = {name: x(8, 8) for name in ("wq", "wk", "wv")} | {
        "one": np.array(1), "zero": np.array([0]), "minus": np.array([-1]), "heads": np.array([2, 4]), "joined": np.array([0, 0, 8]),
        "root": np.array(2.0, np.float32), "two": np.array(2.0, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node(op, reads, [out], name=f"/layer/{out}", **attributes.get(out, {})) for op, reads, out in steps
    ]
    workload = agrees(model(nodes, {"x": [3, 5, 8]}, ["y"], arrays, 13), {"x": x(3, 5, 8)}, tmp_path, 1e-4)
    folded = {"shape", "length", "lengths", "split"}
    assert [n.name for n in workload.nodes] == [f"/layer/{out}" for _, _, out in steps if out not in folded]
    assert sum(isinstance(n.op, ops.MatMul) for n in workload.nodes) == 5
    assert [list(workload.outputs), workload.batch] == [["y"], 3]


def test_batch_norm_after_convolution_is_folded(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "a", "b", "m", "v"], ["y"], name="norm"),
    ]
    arrays = {"w": x(4, 3, 3, 3), "a": x(4), "b": x(4), "m": x(4), "v": np.abs(x(4)) + 0.5}
    workload = agrees(model(nodes, {"x": [1, 3, 8, 8]}, ["y"], arrays), {"x": x(1, 3, 8, 8)}, tmp_path)
    assert [n.name for n in workload.nodes] == ["conv"]


def test_batch_norm_stays_where_the_convolution_is_read_twice(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "a", "b", "m", "v"], ["n"], name="norm"),
        helper.make_node("Add", ["c", "n"], ["y"], name="add"),
    ]
    arrays = {"w": x(4, 3, 3, 3), "a": x(4), "b": x(4), "m": x(4), "v": np.abs(x(4)) + 0.5}
    workload = agrees(model(nodes, {"x": [1, 3, 8, 8]}, ["y"], arrays), {"x": x(1, 3, 8, 8)}, tmp_path)
    assert [type(n.op) for n in workload.nodes] == [ops.Conv, ops_norm.BatchNorm, ops.Binary]


def test_nodes_without_a_name_have_that_of_their_output(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["hidden"]), helper.make_node("Neg", ["hidden"], ["y"], name="last")]
    workload = load(saved(model(nodes, {"x": [2]}, ["y"]), tmp_path))
    assert [n.name for n in workload.nodes] == ["hidden", "last"]


def test_identity_and_dropout_leave_nothing(tmp_path):
    nodes = [
        helper.make_node("Dropout", ["x", "ratio"], ["a", "mask"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    proto = model(nodes, {"x": [2]}, ["y"], {"ratio": np.array(0.5, np.float32)})
    assert [n.name for n in load(saved(proto, tmp_path)).nodes] == ["y"]


def test_nodes_that_no_output_needs_are_dropped(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Exp", ["x"], ["unused"])]
    assert [n.name for n in load(saved(model(nodes, {"x": [2]}, ["y"]), tmp_path)).nodes] == ["y"]


def test_functions_of_the_file_are_inlined(tmp_path):
    body = [helper.make_node("Mul", ["a", "a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])]
    function = helper.make_function("own", "NegativeSquare", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    node = helper.make_node("NegativeSquare", ["x"], ["y"], domain="own")
    workload = load(saved(model([node], {"x": [2]}, ["y"], functions=[function]), tmp_path))
    assert [n.op.kind for n in workload.nodes] == ["mul", "neg"]


def test_tile_and_expand_cost_no_memory(tmp_path):
    """They are broadcasts, not copies."""
    steps = [("Tile", "x r", {}), ("Expand", "0 s", {})]
    proto = chain(steps, {"r": np.array([1, 1, 64, 1], INT), "s": np.array([64, 3, 64, 9], INT)}, 13, (1, 3, 1, 9))
    kinds = {type(n.op) for n in agrees(proto, {"x": x(1, 3, 1, 9)}, tmp_path).nodes}
    assert kinds == {ops_shape.Reshape, ops_shape.Expand}


@pytest.mark.parametrize(("nodes", "inputs", "arrays", "message"), [
    ([("Conv", ["x", "w"], {})], {"x": [1, 5, 8, 8]}, {"w": x(4, 3, 3, 3)}, "node 'culprit' (Conv): Conv: x (1, 5, 8, 8) has 5 channels, weight (4, 3, 3, 3) with 1 groups takes 3"),
    ([("Conv", ["x", "w"], {"strides": [0, 1]})], {"x": [1, 3, 8, 8]}, {"w": x(4, 3, 3, 3)}, "strides [0, 1] and dilations [1, 1] must be at least 1"),
    ([("Conv", ["x", "w"], {"kernel_shape": [1, 1]})], {"x": [1, 3, 8, 8]}, {"w": x(4, 3, 3, 3)}, "kernel_shape [1, 1] is not that of the weight (4, 3, 3, 3)"),
    ([("Conv", ["x", "w"], {"pads": [1, 1]})], {"x": [1, 3, 8, 8]}, {"w": x(4, 3, 3, 3)}, "pads [1, 1] for 2 dimensions"),
    ([("Conv", ["x", "w"], {"auto_pad": "SOME"})], {"x": [1, 3, 8, 8]}, {"w": x(4, 3, 3, 3)}, "auto_pad 'SOME' is unknown"),
    ([("MatMul", ["x", "w"], {})], {"x": [2, 3]}, {"w": x(4, 4)}, "shapes (2, 3) and (4, 4) do not multiply"),
    ([("Gemm", ["x", "w"], {})], {"x": [2, 3, 1]}, {"w": x(4, 4)}, "are not both matrices"),
    ([("Reshape", ["x", "s"], {})], {"x": [4], "s": ([2], onnx.TensorProto.INT64)}, {}, "shape ('s') must be known when the model is compiled"),
    ([("Reshape", ["x", "s"], {})], {"x": [4]}, {"s": np.array([-1, -1])}, "shape (-1, -1) is not valid"),
    ([("Reshape", ["x", "s"], {})], {"x": [4]}, {"s": np.array([3, -1])}, "(4,) does not fit (3, -1)"),
    ([("Squeeze", ["x", "s"], {})], {"x": [4, 1]}, {"s": np.array([0])}, "axes [0] of (4, 1) are not all of size 1"),
    ([("Unsqueeze", ["x", "s"], {})], {"x": [4, 1]}, {"s": np.array([7])}, "axis 7 of a tensor with 3 axes"),
    ([("Softmax", ["x"], {"axis": 2})], {"x": [4, 1]}, {}, "axis 2 of a tensor with 2 axes"),
    ([("Gather", ["x", "i"], {})], {"x": [4]}, {"i": np.array([1, 4])}, "indices 1 to 4 into an axis of size 4"),
    ([("Slice", ["x", "a", "b"], {})], {"x": [4]}, {"a": np.array([3]), "b": np.array([1])}, "starts [3] and ends [1] take nothing of (4,)"),
    ([("Slice", ["x", "a", "b"], {})], {"x": [4]}, {"a": np.array([3]), "b": np.array([1, 2])}, "1 starts, 2 ends"),
    ([("Split", ["x", "s"], {})], {"x": [4]}, {"s": np.array([3, 1])}, "sizes [3, 1] of axis 0 of (4,) for 1 outputs"),
    ([("Pad", ["x", "p"], {"mode": "wrap"})], {"x": [4]}, {"p": np.array([1, 1])}, "mode 'wrap' is not supported"),
    ([("Pad", ["x", "p"], {})], {"x": [4]}, {"p": np.array([-2, -2])}, "pads take away all of (4,)"),
    ([("Pad", ["x", "p"], {"mode": "reflect"})], {"x": [4]}, {"p": np.array([4, 0])}, "is wider than (4,)"),
    ([("Expand", ["x", "s"], {})], {"x": [4]}, {"s": np.array([3])}, "(4,) does not broadcast with (3,)"),
    ([("PRelu", ["x", "s"], {})], {"x": [4, 1]}, {"s": x(2, 4, 1)}, "slope (2, 4, 1) does not broadcast to (4, 1)"),
    ([("ArgMax", ["x"], {"select_last_index": 1})], {"x": [4, 1]}, {}, "select_last_index=1 is not supported"),
    ([("Dropout", ["x", "r", "t"], {})], {"x": [4]}, {"r": np.array(0.5, np.float32), "t": np.array(True)}, "training mode and the mask output are not supported"),
    ([("BatchNormalization", ["x", "s", "s", "s", "s"], {"training_mode": 1})], {"x": [1, 4]}, {"s": x(4)}, "only inference over channels is supported"),
    ([("InstanceNormalization", ["x", "s", "s"], {})], {"x": [1, 4]}, {"s": x(4)}, "(1, 4) has no spatial axes"),
    ([("GroupNormalization", ["x", "s", "s"], {"num_groups": 3})], {"x": [1, 4, 5]}, {"s": x(4)}, "4 channels in 3 groups"),
    ([("DepthToSpace", ["x"], {"blocksize": 2})], {"x": [1, 3, 4, 4]}, {}, "(1, 3, 4, 4) has 48 elements"),
    ([("Add", ["x", "w"], {})], {"x": [2]}, {"w": np.array([2**40, 1])}, "constant 'w' has 64-bit values that do not fit 32 bits"),
    ([("Add", ["x", "w"], {})], {"x": [2]}, {"w": np.array([7, 1])}, "inputs of different element types: float32[2], int32[2]"),
    ([("Log", ["x"], {})], {"x": ([2], onnx.TensorProto.INT32)}, {}, "log needs a floating-point input, got int32"),
])  # fmt: skip
def test_what_an_operator_cannot_take(nodes, inputs, arrays, message, tmp_path):
    made = [helper.make_node(op, reads, ["y"], name="culprit", **attributes) for op, reads, attributes in nodes]
    path = saved(
        model(made, inputs, ["y"], arrays, opset=18 if made[0].op_type == "GroupNormalization" else 17), tmp_path
    )
    with pytest.raises(BadInput) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: node 'culprit' ({made[0].op_type})")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("op", "outputs", "attributes", "message"), [
    ("MaxPool", ["y", "z"], {"kernel_shape": [2, 2]}, "the second output (indices) is not supported"),
    ("LayerNormalization", ["y", "z"], {}, "outputs of mean and deviation are not supported"),
    ("Dropout", ["y", "z"], {}, "training mode and the mask output are not supported"),
])  # fmt: skip
def test_outputs_that_nobody_makes(op, outputs, attributes, message, tmp_path):
    reads = ["x", "s"] if op == "LayerNormalization" else ["x"]
    proto = model([helper.make_node(op, reads, outputs, **attributes)], {"x": [1, 2, 4, 4]}, outputs, {"s": x(4)})
    with pytest.raises(BadInput) as caught:
        load(saved(proto, tmp_path))
    assert message in str(caught.value)
