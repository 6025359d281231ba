"""The builder's loops: what is refused, and how it is said."""

import numpy as np
import pytest

from ipusim.dtype import float16
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.passes import with_precision
from ipusim.workload.text import text


def start():
    b = WorkloadBuilder("w")
    return b, b.input("x", (4,))


@pytest.mark.parametrize("count", [0, -1, 2**31])
def test_counts(count):
    b, x = start()
    with pytest.raises(BadInput, match=f"'loop'.*count {count}"):
        b.loop(count, lambda c, a: c.unary("neg", a), [x])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda c, a: [a, a], "has 2 outputs for 1 inputs"),
        (lambda c, a: c.cast(a, "int32"), "changes carried value 'x0' from float32.4. to int32.4."),
        (lambda c, a: 3, "gives a value or a list of values, not 3"),
    ],
)
def test_bodies(body, message):
    b, x = start()
    with pytest.raises(BadInput, match=f"'mine.*{message}"):
        b.loop(2, body, [x], name="mine")


def test_a_body_cannot_read_values_of_another_builder():
    b, x = start()
    other = b.input("other", (4,))
    with pytest.raises(BadInput, match="'other' is not of builder"):
        b.loop(2, lambda c, a: c.add(a, other), [x])


def test_conditions_make_one_bool():
    b, x = start()
    with pytest.raises(BadInput, match="not one bool"):
        b.while_loop(lambda c, a: c.binary("less", a, 1.0), lambda c, a: a, [x], most=3)


def test_work_is_that_of_all_runs():
    b, x = start()
    w = b.constant(np.ones((4, 4), np.float32))
    (y,) = b.loop(10, lambda c, a, w: c.matmul(a, w), [x], [w])
    built = b.build({"y": y})
    assert built.macs == 10 * 16


def test_precision_reaches_bodies():
    b, x = start()
    (y,) = b.loop(2, lambda c, a: c.add(a, c.cast(c.cast(a, "int32"), "float32")), [x])
    built = with_precision(b.build({"y": y}), float16)
    body = built.nodes[0].op.body
    assert {v.dtype.name for n in body.nodes for v in n.outputs if v.dtype.is_float} == {"float16"}
    assert built.nodes[0].op.count == 2


def test_text_depends_on_the_body():
    shown = set()
    for kind in ("tanh", "relu", "relu"):
        b, x = start()
        shown.add(text(b.build({"y": b.loop(2, lambda c, a, kind=kind: c.unary(kind, a), [x], name="again")[0]})))
    assert len(shown) == 2
    assert all("%again: float32[4] = Loop[count=2" in s for s in shown)
