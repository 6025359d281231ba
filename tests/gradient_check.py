"""Gradients against central differences, in double precision through the independent evaluator."""

import numpy as np
import workload_numpy

from ipusim.workload import autodiff
from ipusim.workload.builder import WorkloadBuilder

RNG = np.random.default_rng(11)


def scalar(build, shapes):
    """The weighted sum of what `build` makes of inputs x0, x1, ... as a workload with output "total"; no symmetry hides a mistake."""
    b = WorkloadBuilder("net", 1)
    values = [b.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    made = build(b, *values)
    total = None
    for number, y in enumerate(made if isinstance(made, tuple) else (made,)):
        weight = np.cos(np.arange(y.type.elements) + number).reshape(y.shape).astype(np.float32)
        part = b.reduce("sum", b.mul(y, weight), keepdims=False)
        total = part if total is None else b.add(total, part)
    return b.build({"total": total})


def check(build, *shapes, low=0.3, high=1.7, step=1e-6):
    workload = scalar(build, shapes)
    made = autodiff.gradient(workload)
    x = {v.name: RNG.uniform(low, high, v.shape) for v in workload.inputs}
    found = workload_numpy.evaluate(made, x)
    assert np.allclose(found["total"], workload_numpy.evaluate(workload, x)["total"])
    for name, value in x.items():
        wanted = np.zeros(value.shape)
        for at in np.ndindex(*value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[at] += sign * step
                ends.append(float(workload_numpy.evaluate(workload, x | {name: moved})["total"].reshape(-1)[0]))
            wanted[at] = (ends[0] - ends[1]) / (2 * step)
        assert found[f"d {name}"].shape == value.shape
        assert np.allclose(found[f"d {name}"], wanted, rtol=1e-6, atol=1e-7), name
