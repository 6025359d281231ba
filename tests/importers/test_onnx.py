"""ONNX files: meanings against onnxruntime, and every way a file can be wrong."""

import numpy as np
import onnx
import pytest
import workload_numpy
from onnx import TensorProto, helper, numpy_helper

from ipusim.errors import BadInput, Unsupported
from ipusim.importers.onnx import load

RNG = np.random.default_rng(0)


def model(nodes, inputs, outputs, initializers=None, opset=17):
    """A model from nodes, shapes of float inputs by name (or (shape, type)), output names and arrays."""
    infos = []
    for name, shape in inputs.items():
        shape, kind = shape if isinstance(shape, tuple) and isinstance(shape[0], list) else (shape, TensorProto.FLOAT)
        infos.append(helper.make_tensor_value_info(name, kind, shape))
    outs = [onnx.ValueInfoProto(name=n) for n in outputs]
    arrays = [numpy_helper.from_array(v, k) for k, v in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "test", infos, outs, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(proto, tmp_path, name="model.onnx"):
    path = tmp_path / name
    path.write_bytes(proto.SerializeToString())
    return path


def agrees(proto, inputs, tmp_path, tolerance=1e-5):
    """The workload of the model gives what onnxruntime gives."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    proto = onnx.shape_inference.infer_shapes(proto)
    typed = {v.name: v for v in proto.graph.value_info}
    for output in proto.graph.output:
        if not output.HasField("type"):
            output.CopyFrom(typed[output.name])
    expected = runtime.InferenceSession(proto.SerializeToString()).run(None, inputs)
    found = workload_numpy.evaluate(load(saved(proto, tmp_path)), inputs)
    for array, (name, value) in zip(expected, found.items(), strict=True):
        assert value.shape == np.shape(array), name
        np.testing.assert_allclose(value, array, rtol=tolerance, atol=tolerance)


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
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_meaning_of_operators(name, tmp_path):
    chain, initializers, opset = CASES[name]
    nodes = []
    for number, (op, reads, attributes, *outputs) in enumerate(chain):
        names = [str(number)] + ([f"{number}b"] if outputs else [])
        nodes.append(helper.make_node(op, reads.split(" "), names, **attributes))
    last = str(len(chain) - 1)
    agrees(model(nodes, {"x": [2, 3, 8, 9]}, [last], initializers, opset), {"x": x(2, 3, 8, 9)}, tmp_path)


def test_an_open_batch_is_set_and_a_fixed_one_kept(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], name="act")
    path = saved(model([node], {"x": ["N", 4]}, ["y"]), tmp_path)
    assert load(path).inputs[0].shape == (1, 4)
    assert load(path, batch=7).batch == 7
    fixed = saved(model([node], {"x": [3, 4]}, ["y"]), tmp_path)
    assert load(fixed, batch=3).batch == 3
    with pytest.raises(BadInput, match="the batch of input 'x' is fixed at 3, not 2"):
        load(fixed, batch=2)


def test_open_axes_are_given_by_name(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    path = saved(model([node], {"x": ["N", "length"]}, ["y"]), tmp_path)
    with pytest.raises(BadInput, match=r"axis 1 of input 'x' is open \(length\)"):
        load(path)
    assert load(path, dims={"length": 12}).inputs[0].shape == (1, 12)


def test_batch_norm_after_convolution_is_folded(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "a", "b", "m", "v"], ["y"], name="norm"),
    ]
    arrays = {"w": x(4, 3, 3, 3), "a": x(4), "b": x(4), "m": x(4), "v": np.abs(x(4)) + 0.5}
    proto = model(nodes, {"x": [1, 3, 8, 8]}, ["y"], arrays)
    assert [n.name for n in load(saved(proto, tmp_path)).nodes] == ["conv"]
    agrees(proto, {"x": x(1, 3, 8, 8)}, tmp_path)


def test_all_unknown_operators_are_listed_at_once(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("STFT", ["a"], ["b"], name="first"),
        helper.make_node("Einsum", ["b"], ["c"], equation="i"),
        helper.make_node("STFT", ["c"], ["d"], name="second"),
        helper.make_node("Magic", ["d"], ["y"], domain="acme", name="spell"),
    ]
    with pytest.raises(Unsupported) as caught:
        load(saved(model(nodes, {"x": [2]}, ["y"]), tmp_path))
    assert caught.value.operators == {"STFT": ["first", "second"], "Einsum": ["c"], "acme.Magic": ["spell"]}
    assert "3 unsupported operators: STFT (node first, second); Einsum (node c); acme.Magic (node spell)" in str(
        caught.value
    )


@pytest.mark.parametrize(("data", "message"), [
    (b"", "is not an ONNX file, or is cut off"),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(256)) * 8, "is not an ONNX file, or is cut off"),
    (b"hello world, this is text\n", "is not an ONNX file, or is cut off"),
])  # fmt: skip
def test_what_is_no_onnx_file(data, message, tmp_path):
    path = tmp_path / "picture.onnx"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=message):
        load(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(BadInput, match=r"no file .*nosuch\.onnx"):
        load(tmp_path / "nosuch.onnx")
    with pytest.raises(BadInput, match="cannot read"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99, 0.999])
def test_a_file_that_is_cut_off(share, tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    data = model(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": x(4, 3, 3, 3)}).SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInput):
        load(path)


def external(location, tmp_path, write=True):
    tensor = numpy_helper.from_array(x(4, 4), "w")
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(len(data))}.items():
        tensor.external_data.add(key=key, value=value)
    if write:
        (tmp_path / "inside").mkdir(exist_ok=True)
        (tmp_path / "inside" / "w.bin").write_bytes(data)
        (tmp_path / "outside.bin").write_bytes(data)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 4]}, ["y"])
    proto.graph.initializer.append(tensor)
    return saved(proto, tmp_path / "inside"), np.frombuffer(data, np.float32).reshape(4, 4)


def test_external_data_inside_the_folder(tmp_path):
    path, array = external("w.bin", tmp_path)
    workload = load(path)
    assert np.array_equal(workload.constants["w"].array(), array)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "", "link.bin"])
def test_external_data_outside_the_folder(location, tmp_path):
    path, _ = external(location, tmp_path)
    (tmp_path / "inside" / "link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(BadInput, match="outside the model's folder"):
        load(path)


def test_external_data_that_is_not_there(tmp_path):
    path, _ = external("nosuch.bin", tmp_path)
    with pytest.raises(BadInput, match="which does not exist"):
        load(path)


@pytest.mark.parametrize(("nodes", "inputs", "arrays", "message"), [
    ([("Relu", ["nothing"], {})], {"x": [1]}, {}, "reads 'nothing', which nothing makes"),
    ([("Reshape", ["x", "s"], {})], {"x": [4], "s": ([2], TensorProto.INT64)}, {}, "shape ('s') must be known"),
    ([("Conv", ["x", "w"], {})], {"x": [1, 5, 8, 8]}, {"w": x(4, 3, 3, 3)}, "has 5 channels"),
    ([("Concat", ["x", "x"], {})], {"x": [1]}, {}, "is not valid"),
    ([("MatMul", ["x", "w"], {})], {"x": [2, 3]}, {"w": x(4, 4)}, "do not multiply"),
    ([("Add", ["x", "w"], {})], {"x": [2]}, {"w": np.array([2**40, 1])}, "64-bit values that do not fit 32 bits"),
    ([("Dropout", ["x"], {})], {"x": ([2], TensorProto.STRING)}, {}, "element type that the IPU does not have"),
])  # fmt: skip
def test_models_that_make_no_sense(nodes, inputs, arrays, message, tmp_path):
    made = [helper.make_node(op, reads, ["y"], name="culprit", **attributes) for op, reads, attributes in nodes]
    with pytest.raises(BadInput) as caught:
        load(saved(model(made, inputs, ["y"], arrays), tmp_path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", [6, 99])
def test_opsets_out_of_reach(opset, tmp_path):
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, ["y"], opset=opset)
    with pytest.raises(BadInput, match=f"opset {opset} is not between 7 and"):
        load(saved(proto, tmp_path))
