"""ONNX's own test cases, one operator each: what can be imported means what ONNX says, all else is refused in one line.

Parameters that newer opsets take as inputs (axes, shapes, limits) are made constants of the file, as exporters do.
"""

import numpy as np
import onnx
import pytest
import workload_numpy
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx_models import saved

import ipusim
from ipusim.errors import BadInput, IpuSimError
from ipusim.importers.onnx import load

pytestmark = pytest.mark.filterwarnings("ignore")

#: What onnx 1.17 has at least; newer versions have more cases.
LEAST_IMPORTED = 400


def array(given):
    return numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)


def imported(case, folder):
    """The workload of a case."""
    try:
        return load(saved(case.model, folder))
    except BadInput as error:
        if "must be known when" not in str(error):
            raise
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    for info, given in list(zip(proto.graph.input, case.data_sets[0][0], strict=False))[1:]:
        if array(given).ndim < 2 and array(given).dtype.kind in "ifb":
            proto.graph.initializer.append(numpy_helper.from_array(array(given), info.name))
    return load(saved(proto, folder))


def wrong(case, workload):
    """Why the outputs of a case are not the expected ones, None if they are."""
    inputs, expected = case.data_sets[0]
    feed = {info.name: array(given) for info, given in zip(case.model.graph.input, inputs, strict=False)}
    found = workload_numpy.evaluate(workload, {v.name: feed[v.name] for v in workload.inputs})
    for (name, value), given in zip(found.items(), map(array, expected), strict=True):
        tolerance = 1e-3 if given.dtype == np.float16 else 1e-5
        if value.shape != given.shape or value.dtype.kind != given.dtype.kind:
            return f"{name} is {value.dtype}{value.shape}, not {given.dtype}{given.shape}"
        if not np.allclose(value.astype(float), given.astype(float), rtol=1e-3, atol=tolerance, equal_nan=True):
            return f"{name} is off"
    return None


def test_cases_of_onnx(tmp_path):
    right, off, said = 0, {}, []
    for case in collect_testcases(None):
        if "_expanded" in case.name:
            continue
        try:
            workload = imported(case, tmp_path)
        except IpuSimError as error:
            said.append(str(error))
            continue
        reason = wrong(case, workload)
        right += reason is None
        off |= {case.name: reason} if reason else {}
    assert off == {}
    assert [s for s in said if "\n" in s] == []
    assert right >= LEAST_IMPORTED


def test_the_engine_computes_what_the_cases_expect(tmp_path):
    """The same cases on the simulated chip, in float32: whole ops, and every vertex by itself."""
    right, off = 0, []
    for case in collect_testcases(None):
        if "_expanded" in case.name:
            continue
        try:
            workload = imported(case, tmp_path)
        except IpuSimError:
            continue
        inputs, expected = case.data_sets[0]
        feed = {info.name: array(given) for info, given in zip(case.model.graph.input, inputs, strict=False)}
        if any(feed[v.name].shape != v.shape for v in workload.inputs):
            continue  # an empty tensor that no output depends on
        given = {v.name: feed[v.name].astype(v.dtype.numpy) for v in workload.inputs}
        halves = any(v.dtype.name == "float16" for v in workload.inputs)
        for execute in (True, "vertices"):
            report = ipusim.simulate(workload, given, execute=execute, precision="float32")
            for value, wanted in zip(report.outputs.values(), map(array, expected), strict=True):
                tolerance = 1e-3 if halves or wanted.dtype == np.float16 else 1e-5
                close = value.shape == wanted.shape and np.allclose(
                    value.astype(float), wanted.astype(float), rtol=1e-3, atol=tolerance, equal_nan=True
                )
                right += close
                off += [] if close else [(case.name, execute)]
    assert off == []
    assert right >= 2 * LEAST_IMPORTED
