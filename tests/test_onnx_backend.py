"""ONNX's own node tests of recurrent layers through the backend, and what the adapter promises besides."""

import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.backend.base import Backend as Base  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

from ipusim.errors import BadInput, Unsupported  # noqa: E402
from ipusim.onnx_backend import Backend, is_compatible, run_model  # noqa: E402


def _cases():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return {c.name: c for c in found if any(c.name.startswith(f"test_{s}") for s in ("lstm", "gru", "rnn", "simple_rnn"))}


CASES = _cases()


def _array(given):
    return numpy_helper.to_array(given) if isinstance(given, TensorProto) else np.asarray(given)


def test_there_are_as_many_cases_as_onnx_has():
    assert len(CASES) >= 18


@pytest.mark.parametrize("mode", [True, "vertices"])
@pytest.mark.parametrize("name", CASES)
def test_recurrent_case(name, mode):
    case = CASES[name]
    for inputs, outputs in case.data_sets:
        found = Backend.run_model(case.model, [_array(i) for i in inputs], execute=mode)
        wanted = [_array(o) for o in outputs]
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=case.rtol, atol=case.atol)


def model(node, inputs, outputs, opset=17):
    infos = [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs]
    made = [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs]
    return helper.make_model(helper.make_graph([node], "g", infos, made), opset_imports=[helper.make_opsetid("", opset)])


ADD = model(helper.make_node("Add", ["a", "b"], ["c"]), [(n, TensorProto.FLOAT, [2]) for n in "ab"], [("c", TensorProto.FLOAT, [2])])


def test_it_is_a_backend():
    assert issubclass(Backend, Base)
    assert Backend.supports_device("IPU")
    assert Backend.supports_device("CPU:0")
    assert not Backend.supports_device("CUDA")


def test_inputs_by_order_and_by_name():
    a, b = np.ones(2, np.float32), np.full(2, 2, np.float32)
    prepared = Backend.prepare(ADD, "IPU")
    assert prepared.run([a, b])[0].tolist() == [3, 3]
    assert prepared.run({"b": b, "a": a})[0].tolist() == [3, 3]
    assert prepared.report.cycles > 0
    assert run_model(ADD, [a, b])[0].tolist() == [3, 3]
    with pytest.raises(BadInput, match=r"3 arrays for the 2 inputs of the model \(a, b\)"):
        prepared.run([a, b, a])


def test_a_node():
    (y,) = Backend.run_node(helper.make_node("Tanh", ["x"], ["y"]), [np.zeros(3, np.float32)])
    assert y.tolist() == [0, 0, 0]


def test_other_devices_are_refused():
    with pytest.raises(BadInput, match="device 'CUDA:0'"):
        Backend.prepare(ADD, "CUDA:0")


def test_unknown_operators():
    strange = model(helper.make_node("Det", ["x"], ["y"]), [("x", TensorProto.FLOAT, [2, 2])], [("y", TensorProto.FLOAT, [])])
    assert is_compatible(ADD)
    assert not is_compatible(strange)
    with pytest.raises(Unsupported, match="Det"):
        Backend.prepare(strange)


def test_outputs_have_the_types_of_the_model():
    shape = model(helper.make_node("ArgMax", ["x"], ["y"], axis=0), [("x", TensorProto.FLOAT, [5])], [("y", TensorProto.INT64, [1])])
    (y,) = Backend.run_model(shape, [np.array([1, 4, 2, 0, 3], np.float32)])
    assert y.dtype == np.int64
    assert y.tolist() == [1]


def test_shapes_are_those_of_the_arrays():
    free = model(helper.make_node("Relu", ["x"], ["y"]), [("x", TensorProto.FLOAT, ["n", 2])], [("y", TensorProto.FLOAT, ["n", 2])])
    (y,) = Backend.run_model(free, [np.full((3, 2), -1, np.float32)])
    assert y.shape == (3, 2)


def test_a_node_with_several_outputs_and_inputs_left_out():
    rng = np.random.default_rng(0)
    x, w, r = (rng.uniform(-0.5, 0.5, s).astype(np.float32) for s in ((3, 2, 4), (1, 12, 4), (1, 12, 3)))
    h = rng.uniform(-0.5, 0.5, (1, 2, 3)).astype(np.float32)
    node = helper.make_node("LSTM", ["x", "w", "r", "", "", "h"], ["y", "last", "cell"], hidden_size=3)
    y, last, cell = Backend.run_node(node, [x, w, r, h])
    assert y.shape == (3, 1, 2, 3)
    assert np.array_equal(y[-1], last)
    assert cell.shape == (1, 2, 3)
    assert not np.array_equal(y, Backend.run_node(node, [x, w, r, 0 * h])[0])
    only = helper.make_node("LSTM", ["x", "w", "r"], ["", "last"], hidden_size=3)
    assert np.array_equal(Backend.run_node(only, [x, w, r])[0], Backend.run_node(node, [x, w, r, 0 * h])[1])


def lstm_node(**attributes):
    shapes = (("x", [3, 2, 4]), ("w", [1, 12, 4]), ("r", [1, 12, 3]))
    made = helper.make_node("LSTM", [n for n, _ in shapes], ["y"], name="my lstm", hidden_size=3, **attributes)
    return model(made, [(n, TensorProto.FLOAT, s) for n, s in shapes], [("y", TensorProto.FLOAT, [3, 1, 2, 3])])


def test_activations_with_their_parameters():
    """Against the definition, written out."""
    rng = np.random.default_rng(1)
    x, w, r = (rng.uniform(-0.7, 0.7, s).astype(np.float32) for s in ((3, 2, 4), (1, 12, 4), (1, 12, 3)))
    names = {"activations": ["HardSigmoid", "LeakyRelu", "ScaledTanh"]}
    found = Backend.run_model(
        lstm_node(**names, activation_alpha=[0.3, 0.1, 0.9], activation_beta=[0.4, 0.8]), [x, w, r]
    )[0]
    h = c = np.zeros((2, 3))
    for t in range(3):
        i, o, f, z = np.split(x[t] @ w[0].T + h @ r[0].T, 4, axis=1)
        i, o, f = (np.clip(0.3 * v + 0.4, 0, 1) for v in (i, o, f))
        c = f * c + i * np.where(z >= 0, z, 0.1 * z)
        h = o * 0.9 * np.tanh(0.8 * c)
        assert np.abs(found[t, 0] - h).max() < 1e-5


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"activations": ["Sigmoid", "Tanh", "Wave"]}, r"'my lstm'.*no activation 'wave'"),
        ({"activations": ["Tanh"]}, r"'my lstm'.*1 activations, wants 3"),
        ({"direction": "sideways"}, r"'my lstm'.*sideways"),
        ({"clip": -1.0}, r"'my lstm'.*clip -1.0 must be above 0"),
        ({"clip": 0.0}, r"'my lstm'.*clip 0.0 must be above 0"),
    ],
)
def test_a_bad_recurrent_node_is_named(attributes, message):
    arrays = [np.zeros(s, np.float32) for s in ((3, 2, 4), (1, 12, 4), (1, 12, 3))]
    with pytest.raises(BadInput, match=message) as caught:
        Backend.run_model(lstm_node(**attributes), arrays)
    assert "/tmp" not in str(caught.value)


def test_wrong_calls():
    a, long = np.ones(2, np.float32), np.array([2**40 + 1], np.int64)
    prepared = Backend.prepare(ADD)
    for feed, message in (
        ([a], "input 'b' is missing"),
        ({"a": a, "c": a}, "no input named 'c'"),
        ([a[:0], a[:0]], r"input 'a' has shape \(0,\)"),
    ):
        with pytest.raises(BadInput, match=message):
            prepared.run(feed)
    with pytest.raises(BadInput, match="1 arrays for the 2 inputs of the node"):
        Backend.run_node(helper.make_node("Add", ["a", "b"], ["c"]), [a])
    with pytest.raises(BadInput, match="no option named 'precison'; did you mean 'precision'"):
        Backend.prepare(ADD, precison="float32")
    with pytest.raises(BadInput, match="takes a ModelProto"):
        Backend.prepare("x.onnx")
    whole = model(helper.make_node("Add", ["a", "b"], ["c"]), [(n, TensorProto.INT64, [1]) for n in "ab"], [("c", TensorProto.INT64, [1])])
    with pytest.raises(BadInput, match="'a' has values outside int32"):
        Backend.run_model(whole, [long, long])
    with pytest.raises(BadInput, match="'a' has element type float32"):
        Backend.run_model(whole, [np.array([1.7], np.float32), long])
