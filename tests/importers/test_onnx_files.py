"""Everything a file can do wrong is one line that names it, before any work starts."""

import os

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import chain, model, saved

from ipusim.errors import BadInput, IpuSimError, Unsupported
from ipusim.importers import onnx_file
from ipusim.importers.onnx import load

WEIGHT = np.arange(108, dtype=np.float32).reshape(4, 3, 3, 3)
SMALL = model([helper.make_node("Conv", ["x", "w"], ["y"], name="conv")], {"x": [1, 3, 8, 8]}, ["y"], {"w": WEIGHT})


def refusal(path):
    """What is said of a file: one line."""
    with pytest.raises(BadInput) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("data", [
    b"",
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(256)) * 8,
    b"hello world, this is text\n",
    b"PK\x03\x04" + bytes(100),
    bytes(1000),
    onnx.ModelProto(ir_version=8).SerializeToString(),
    helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0]).SerializeToString(),
])  # fmt: skip
def test_what_is_no_onnx_file(data, tmp_path):
    path = tmp_path / "picture.onnx"
    path.write_bytes(data)
    assert refusal(path) == f"{path} is not an ONNX file, or is cut off"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99, 0.999])
def test_a_file_that_is_cut_off(share, tmp_path):
    data = SMALL.SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path) == f"{path} is not an ONNX file, or is cut off"


def test_no_file_and_what_is_not_a_file(tmp_path):
    assert refusal(tmp_path / "nosuch.onnx") == f"no file {tmp_path / 'nosuch.onnx'}"
    assert refusal(tmp_path / "a\0b").startswith("no file")
    assert refusal(tmp_path) == f"cannot read {tmp_path}: Is a directory"
    os.mkfifo(tmp_path / "pipe.onnx")
    assert refusal(tmp_path / "pipe.onnx") == f"cannot read {tmp_path / 'pipe.onnx'}: it is not a regular file"
    assert refusal("/dev/zero") == "cannot read /dev/zero: it is not a regular file"


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    """Tests may run as root, whom permissions do not stop."""
    path = saved(SMALL, tmp_path)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    assert refusal(path) == f"cannot read {path}: Permission denied"


def test_a_file_beyond_what_onnx_can_hold(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(onnx_file.LARGEST_FILE + 1)
    assert "is larger than the 2 GiB that an ONNX file can have" in refusal(path)


@pytest.mark.parametrize("opset", [6, 99])
def test_opsets_out_of_reach(opset, tmp_path):
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, ["y"], opset=opset)
    assert f"opset {opset} is not between 7 and {onnx.defs.onnx_opset_version()}" in refusal(saved(proto, tmp_path))


def test_onnx_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert "pip install 'ipusim[onnx]'" in refusal(tmp_path / "x.onnx")


DAMAGED = [
    chain([("Pad", "x p", {"mode": "edge"}), ("Slice", "0 s e", {})], {name: np.array(v) for name, v in {"p": [0, 1, 2, 0], "s": [0, 1], "e": [3, 4]}.items()}, 13, (4, 5)),
    chain([("Reshape", "x s", {}), ("ReduceSum", "0 a", {}), ("Split", "x", {"num_outputs": 2}, 2)], {"s": np.array([5, -1]), "a": np.array([1])}, 18, (4, 5)),
    SMALL,
]  # fmt: skip


def attempt(path):
    """What is said of a file, None if it is read."""
    try:
        load(path)
    except IpuSimError as error:
        return str(error)
    return None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(DAMAGED), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_file_is_refused_in_one_line_or_read(tmp_path_factory, proto, damage):
    data = bytearray(proto.SerializeToString())
    for place, byte in damage:
        data[int(place * len(data))] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(data)
    said = attempt(path)
    assert said is None or (str(path) in said and "\n" not in said)


def test_all_unknown_operators_are_listed_at_once(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("STFT", ["a"], ["b"], name="first"),
        helper.make_node("Einsum", ["b"], ["c"], equation="i"),
        helper.make_node("STFT", ["c"], ["d"], name="second"),
        helper.make_node("NonZero", ["d"], ["e"]),
        helper.make_node("Magic", ["e"], ["y"], domain="acme", name="spell"),
    ]
    with pytest.raises(Unsupported) as caught:
        load(saved(model(nodes, {"x": [2]}, ["y"]), tmp_path))
    operators = {"STFT": ["first", "second"], "Einsum": ["c"], "NonZero": ["e"], "acme.Magic": ["spell"]}
    assert caught.value.operators == operators
    assert str(caught.value) == (
        f"{tmp_path / 'model.onnx'}: 4 unsupported operators: STFT (node first, second); Einsum (node c); "
        "NonZero (node e); acme.Magic (node spell)"
    )


@pytest.mark.parametrize(("node", "name"), [
    (helper.make_node("RandomNormal", [], ["y"], shape=[2]), "RandomNormal"),
    (helper.make_node("If", ["c"], ["y"], then_branch=SMALL.graph, else_branch=SMALL.graph), "If"),
])  # fmt: skip
def test_operators_that_cannot_be_computed_ahead_of_time(node, name, tmp_path):
    with pytest.raises(Unsupported) as caught:
        load(saved(model([node], {"x": [2]}, ["y"], {"c": np.array(True)}), tmp_path))
    assert list(caught.value.operators) == [name]


def test_all_element_types_that_the_chip_lacks_are_listed_at_once(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16, name="narrow"),
        helper.make_node("Constant", [], ["c"], value=helper.make_tensor("v", TensorProto.STRING, [1], [b"a"])),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    proto = model(nodes, {"x": [2], "z": ([2], TensorProto.DOUBLE)}, ["y"])
    proto.graph.initializer.append(helper.make_tensor("w", TensorProto.BFLOAT16, [2], [1.0, 2.0]))
    assert refusal(saved(proto, tmp_path)) == (
        f"{tmp_path / 'model.onnx'} has element types that the IPU does not have: double (input 'z'); "
        "bfloat16 (initializer 'w', node 'narrow'); string (constant 'c')"
    )


def test_inputs_that_are_no_tensors(tmp_path):
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"])
    proto.graph.input.append(
        helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, [2]),
    )
    assert "an element type that the IPU does not have: undefined (input 'list')" in refusal(saved(proto, tmp_path))


def test_numbers_wider_than_the_chip_s(tmp_path):
    """64-bit integers become 32-bit, wide constants float32."""
    nodes = [helper.make_node("Gather", ["t", "i"], ["a"]), helper.make_node("Cast", ["wide"], ["b"], to=1)]
    proto = model(
        nodes,
        {"i": ([3], TensorProto.INT64), "u": ([1], TensorProto.UINT64)},
        ["a", "b", "u"],
        {"t": np.array([5, -7]), "wide": np.array([1e300, 0.1])},
    )
    workload = load(saved(proto, tmp_path))
    assert [str(v.dtype) for v in workload.inputs] == ["int32", "uint32"]
    assert [str(v.dtype) for v in workload.outputs.values()] == ["int32", "float32", "uint32"]
    assert workload.constants["t"].array().tolist() == [5, -7]
    assert workload.constants["b"].array().tolist() == [np.inf, np.float32(0.1)]


def test_initializers_listed_as_inputs_are_not_inputs(tmp_path):
    """As files of IR version 3 have to."""
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 2], "w": [2, 2]}, ["y"], {"w": WEIGHT[0, 0, :2, :2]}
    )
    proto.ir_version = 3
    workload = load(saved(proto, tmp_path))
    assert [[v.name for v in workload.inputs], list(workload.constants)] == [["x"], ["w"]]


RELU = helper.make_node("Relu", ["x"], ["y"], name="act")


@pytest.mark.parametrize(("nodes", "outputs", "message"), [
    ([helper.make_node("Relu", ["nothing"], ["y"], name="act")], ["y"], "node 'act' reads 'nothing', which nothing makes"),
    ([helper.make_node("Relu", ["late"], ["y"], name="act"), helper.make_node("Relu", ["x"], ["late"], name="next")], ["y"], "node 'act' reads 'late', which node 'next' makes only later"),
    ([RELU, helper.make_node("Neg", ["x"], ["y"], name="again")], ["y"], "node 'again' makes 'y', which node 'act' has already"),
    ([helper.make_node("Relu", ["y"], ["x"], name="act")], ["y"], "node 'act' reads 'y', which nothing makes"),
    ([RELU], ["y", "z"], "output 'z' is made by no node"),
    ([RELU], [], "the graph has no outputs or no nodes"),
    ([helper.make_node("Relu", [], ["y"], name="act")], ["y"], "node 'act' (Relu) takes 1 inputs, got 0"),
    ([helper.make_node("Add", ["x", ""], ["y"], name="act")], ["y"], "node 'act' (Add) takes 2 inputs, got 1"),
    ([helper.make_node("Clip", ["x"] * 4, ["y"], name="act")], ["y"], "node 'act' (Clip) takes 1 to 3 inputs, got 4"),
    ([helper.make_node("Sum", ["x", ""], ["y"], name="act")], ["y"], "node 'act' (Sum) takes at least 1 inputs, got 1"),
    ([helper.make_node("Relu", ["x"], ["y", "z"], name="act")], ["y", "z"], "node 'act' (Relu) has 2 outputs"),
    ([helper.make_node("Concat", ["x", "x"], ["y"], name="act")], ["y"], "node 'act' (Concat) lacks its attribute 'axis'"),
    ([helper.make_node("Concat", ["x"], ["y"], name="act", axis=1.5)], ["y"], "node 'act' (Concat): attribute 'axis' is not of the type that the operator takes"),
])  # fmt: skip
def test_graphs_that_make_no_sense(nodes, outputs, message, tmp_path):
    path = saved(model(nodes, {"x": [1]}, outputs), tmp_path)
    assert refusal(path) == f"{path}: {message}"


def external(location, folder, **entries):
    """A model below `folder` whose weight of 64 bytes is external data, in inside/w.bin and in outside.bin."""
    tensor = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location, "offset": "0", "length": str(len(data))} | entries).items():
        tensor.external_data.add(key=key, value=value)
    (folder / "inside" / "deep").mkdir(parents=True)
    for name in ("inside/w.bin", "inside/deep/w.bin", "outside.bin"):
        (folder / name).write_bytes(b"head" + data)
    (folder / "inside" / "out.bin").symlink_to(folder / "outside.bin")
    (folder / "inside" / "in.bin").symlink_to(folder / "inside" / "deep" / "w.bin")
    (folder / "inside" / "loop.bin").symlink_to(folder / "inside" / "loop.bin")
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 4]}, ["y"])
    proto.graph.initializer.append(tensor)
    return saved(proto, folder / "inside")


@pytest.mark.parametrize("location", ["w.bin", "deep/w.bin", "deep/../w.bin", "in.bin"])
def test_external_data_inside_the_folder(location, tmp_path, monkeypatch):
    path = external(location, tmp_path, offset="4")
    array = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert np.array_equal(load(path).constants["w"].array(), array)
    monkeypatch.chdir(path.parent)
    assert np.array_equal(load(path.name).constants["w"].array(), array)


@pytest.mark.parametrize(
    "location", ["../outside.bin", "/etc/hostname", "", ".", "out.bin", "loop.bin", "a\0b", "deep/../../outside.bin"]
)
def test_external_data_outside_the_folder(location, tmp_path):
    path = external(location, tmp_path)
    assert refusal(path) == f"{path}: initializer 'w' keeps its data at {location!r}, outside the model's folder"


@pytest.mark.parametrize(("location", "entries", "message"), [
    ("nosuch.bin", {}, "keeps its data in 'nosuch.bin', which does not exist"),
    ("deep", {}, "keeps its data in 'deep', which does not exist"),
    ("w.bin", {"offset": "8"}, "is bytes 8 to 72 of 'w.bin', which has 68 bytes"),
    ("w.bin", {"offset": "-4"}, "is bytes -4 to 60 of 'w.bin', which has 68 bytes"),
    ("w.bin", {"length": "60"}, "has 60 bytes of external data, shape (4, 4) takes 64"),
    ("w.bin", {"offset": "four"}, ": offset or length of its external data is not a number"),
])  # fmt: skip
def test_external_data_that_does_not_fit(location, entries, message, tmp_path):
    said = refusal(external(location, tmp_path, **entries))
    assert said.startswith(f"{tmp_path / 'inside' / 'model.onnx'}: initializer 'w'")
    assert said.endswith(message)


def test_weights_that_do_not_match_their_shape(tmp_path):
    proto = onnx.ModelProto()
    proto.CopyFrom(SMALL)
    proto.graph.initializer[0].raw_data = b"1234"
    path = saved(proto, tmp_path)
    assert refusal(path) == f"{path}: initializer 'w' is broken: its data does not match its shape (4, 3, 3, 3)"
    proto.graph.initializer[0].dims[0] = -4
    assert refusal(saved(proto, tmp_path)) == f"{path}: initializer 'w' has shape (-4, 3, 3, 3)"
