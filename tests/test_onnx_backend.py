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
    assert len(CASES) >= 15


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
