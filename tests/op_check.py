"""Checks shared by tests of ops: values against the independent evaluator, whole and vertex by vertex, and the same cycles."""

import numpy as np
import programs
import workload_numpy

from ipusim.workload.builder import WorkloadBuilder

RNG = np.random.default_rng(5)


def check(workload, inputs, tolerance=3e-6, half=3e-3):
    """Values in float32 (and float16) agree with numpy; vertices give the same cycles and close values."""
    expected = workload_numpy.evaluate(workload, inputs)
    for precision, limit in (("float32", tolerance), ("float16", half)):
        program = programs.compiled(workload, precision)
        whole, _ = programs.values(program, inputs)
        single, cycles = programs.values(program, inputs, vertices=True)
        for step, counted in zip(programs.trace(program).steps, cycles, strict=True):
            assert np.array_equal(step.compute, counted), step.name
        for name, value in expected.items():
            for found in (whole[name], single[name]):
                assert found.shape == value.shape
                if found.dtype.kind in "ib":
                    assert np.array_equal(found, value) or precision == "float16"
                else:
                    scale = np.abs(value).max()
                    assert np.abs(found.astype(np.float64) - value).max() <= limit * scale, (precision, name)


def one(build, *shapes, dtype="float32", low=-2.0, high=2.0):
    """(workload of one op, inputs): `build` gets the builder and an input per shape."""
    b = WorkloadBuilder("one")
    values = [b.input(f"x{i}", shape, dtype) for i, shape in enumerate(shapes)]
    made = build(b, *values)
    outputs = made if isinstance(made, tuple) else (made,)
    arrays = {v.name: RNG.uniform(low, high, v.shape) for v in values}
    cast = {
        k: a.astype(np.float16).astype(np.float32) if dtype == "float32" else a.astype(dtype) for k, a in arrays.items()
    }
    return b.build({f"y{i}": v for i, v in enumerate(outputs)}), cast
