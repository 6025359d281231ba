"""Values: whole ops against vertices, against an independent evaluator, repeatable to the bit."""

import numpy as np
import programs
import pytest
import workload_numpy

import ipusim


@pytest.mark.parametrize("name", sorted(programs.MODELS))
@pytest.mark.parametrize(("precision", "partials", "tolerance"), [
    ("float32", "float32", 2e-6), ("float16", "float32", 4e-3), ("float16", "float16", 1.5e-2),
])  # fmt: skip
def test_vertices_give_the_same_cycles_and_close_values(name, precision, partials, tolerance):
    workload = programs.MODELS[name]()
    program = programs.compiled(
        workload, precision, partials=ipusim.float16 if partials == "float16" else ipusim.float32
    )
    whole, none = programs.values(program, programs.INPUTS[name])
    single, cycles = programs.values(program, programs.INPUTS[name], vertices=True)
    assert none == []
    for step, counted in zip(programs.trace(program).steps, cycles, strict=True):
        assert np.array_equal(step.compute, counted), step.name
    for key, value in whole.items():
        close(single[key], value, tolerance, key)


@pytest.mark.parametrize("name", sorted(programs.MODELS))
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float16", 5e-3)])
def test_values_agree_with_numpy_in_double_precision(name, precision, tolerance):
    workload = programs.MODELS[name]()
    expected = workload_numpy.evaluate(workload, programs.INPUTS[name])
    found, _ = programs.values(programs.compiled(workload, precision), programs.INPUTS[name])
    for key, value in expected.items():
        close(found[key], value, tolerance, key)


def close(found, expected, tolerance, key):
    assert found.shape == expected.shape
    if found.dtype.kind in "ib":
        assert np.array_equal(found, expected), key
        return
    scale = np.abs(expected.astype(np.float64)).max()
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()
    assert error <= tolerance * scale, f"{key}: {error / scale:.2e}"


@pytest.mark.parametrize("name", sorted(programs.MODELS))
def test_results_are_the_same_to_the_bit(name):
    workload = programs.MODELS[name]()
    reports = [ipusim.simulate(workload, programs.INPUTS[name], execute=True, threads=threads) for threads in (1, 1, 2)]
    for report in reports[1:]:
        assert report.cycles == reports[0].cycles
        for key, value in reports[0].outputs.items():
            assert value.tobytes() == report.outputs[key].tobytes()
        for mine, other in zip(report.steps, reports[0].steps, strict=True):
            assert np.array_equal(mine.tiles.compute, other.tiles.compute)
            assert np.array_equal(mine.tiles.memory, other.tiles.memory)


def test_a_wrong_weight_is_noticed():
    """The comparison can fail: one weight changed in a hundred thousand moves the outputs beyond the tolerance."""
    workload = programs.convnet()
    expected = workload_numpy.evaluate(workload, programs.INPUTS["convnet"])["logits"]
    name = next(n for n, c in workload.constants.items() if c.shape == (10, 24))
    broken = dict(workload.constants)
    spoiled = broken[name].array().copy()
    spoiled[3, 5] += 1.0
    broken[name] = ipusim.Constant.of(spoiled)
    found = workload_numpy.evaluate(
        ipusim.Workload(workload.name, workload.inputs, workload.outputs, workload.nodes, broken, workload.batch),
        programs.INPUTS["convnet"],
    )["logits"]
    with pytest.raises(AssertionError):
        close(found, expected, 1e-5, "logits")
