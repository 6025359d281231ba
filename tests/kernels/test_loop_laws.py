"""Drawn loop bodies: where carried values are kept and overwritten changes no value, however the loop is executed."""

import numpy as np
import programs
import workload_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim.workload.builder import WorkloadBuilder

SHAPE = (4, 4)
OPS = {
    "add": lambda c, x, y: c.add(x, y),
    "sub": lambda c, x, y: c.sub(x, y),
    "scaled": lambda c, x, y: c.mul(x, 0.5),
    "tanh": lambda c, x, y: c.tanh(x),
    "turned": lambda c, x, y: c.transpose(x, (1, 0)),
    "halves": lambda c, x, y: c.concat([c.slice(x, (0, 0), (2, 4)), c.slice(y, (2, 0), (4, 4))], 0),
    "select": lambda c, x, y: c.select(c.binary("less", x, y), x, y),
    "matmul": lambda c, x, y: c.mul(c.matmul(x, y), 0.25),
    "rows": lambda c, x, y: c.sub(x, c.reduce("mean", y, 1)),
    "constant": lambda c, x, y: c.constant(np.arange(16, dtype=np.float32).reshape(4, 4) / 8),
    "spread": lambda c, x, y: c.expand(c.constant(np.full((1, 4), 0.5, np.float32)), (4, 4)),
    "nested": lambda c, x, y: c.loop(2, lambda d, v, w: d.sub(d.mul(w, 0.5), v), [x], [y])[0],
}


@st.composite
def bodies(draw):
    """(carried values, [(op, operand, operand)], which value each carried one becomes)."""
    carried = draw(st.integers(1, 3))
    steps = [
        (draw(st.sampled_from(sorted(OPS))), *(draw(st.integers(0, carried + at)) for _ in range(2)))
        for at in range(draw(st.integers(1, 4)))
    ]
    last = carried + len(steps)
    return carried, steps, [draw(st.integers(max(0, last - 3), last)) for _ in range(carried)]


def body_of(steps, becomes):
    def body(c, *given):  # the carried values, then the fixed one
        known = list(given)
        for op, x, y in steps:
            known.append(OPS[op](c, known[x], known[y]))
        return [known[k] for k in becomes]

    return body


def agree(workload, inputs):
    wanted = workload_numpy.evaluate(workload, inputs)
    for way in ("compiled", "steps", "vertices"):
        program = programs.compiled(workload, "float32")
        if way == "steps":
            for loop in programs.loops(program):
                loop.whole.clear()
        found, _ = programs.values(program, inputs, vertices=way == "vertices")
        for name, value in wanted.items():
            assert np.allclose(found[name], value, rtol=1e-4, atol=1e-5), (way, name)


@settings(max_examples=60, deadline=None)
@given(case=bodies(), runs=st.integers(1, 3), own=st.booleans())
def test_loops(case, runs, own):
    carried, steps, becomes = case
    b = WorkloadBuilder("drawn")
    inputs = [b.input(f"x{i}", SHAPE) for i in range(carried + 1)]
    given_ = [b.mul(v, 0.5) if own else v for v in inputs]
    made = b.loop(runs, body_of(steps, becomes), given_[:-1], given_[-1:])
    rng = np.random.default_rng(carried)
    agree(b.build({f"y{i}": v for i, v in enumerate(made)}), {v.name: rng.uniform(-1, 1, SHAPE) for v in inputs})


@settings(max_examples=15, deadline=None)
@given(case=bodies(), most=st.integers(1, 4), limit=st.floats(-1, 2), own=st.booleans())
def test_while_loops(case, most, limit, own):
    carried, steps, becomes = case
    b = WorkloadBuilder("drawn")
    inputs = [b.input(f"x{i}", SHAPE) for i in range(carried + 1)]
    given_ = [b.mul(v, 0.5) if own else v for v in inputs]
    made = b.while_loop(
        lambda c, a, *rest: c.binary("less", c.reduce("mean", a), limit), body_of(steps, becomes), given_[:-1], given_[-1:], most=most
    )
    rng = np.random.default_rng(carried)
    agree(b.build({f"y{i}": v for i, v in enumerate(made)}), {v.name: rng.uniform(-1, 1, SHAPE) for v in inputs})
