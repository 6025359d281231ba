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


@pytest.mark.parametrize("count", [2.5, 2.0, True, "3", None])
def test_counts_are_whole_numbers(count):
    b, x = start()
    with pytest.raises(BadInput, match=r"'mine'.*count .* must be a whole number"):
        b.loop(count, lambda c, a: a, [x], name="mine")
    with pytest.raises(BadInput, match=r"'mine.*most .* must be a whole number"):
        b.while_loop(lambda c, a: c.binary("less", c.reduce("max", a), 1.0), lambda c, a: a, [x], most=count, name="mine")


def test_a_count_may_be_a_whole_number_of_numpy():
    b, x = start()
    assert b.build({"y": b.loop(np.int64(2), lambda c, a: c.add(a, 1.0), [x])[0]}).flops == 8


@pytest.mark.parametrize("fixed", [False, True])
def test_values_come_in_lists(fixed):
    b, x = start()
    lists = ([x], x) if fixed else (x, [])
    with pytest.raises(BadInput, match=f"'mine': {'fixed' if fixed else 'carried'} is a list of values, not Value"):
        b.loop(2, lambda c, *a: a[0], *lists, name="mine")
    with pytest.raises(BadInput, match="'loop': carried is a list of values, not \\[3\\]"):
        b.loop(2, lambda c, a: a, [3])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda c: c, r"takes a builder and 1 value .*this one takes \(c\)"),
        (lambda c, a, k: a, r"takes a builder and 1 value .*this one takes \(c, a, k\)"),
        (7, "is a function of a builder and values, or a Workload, not 7"),
    ],
)
def test_bodies_take_what_is_carried(body, message):
    b, x = start()
    with pytest.raises(BadInput, match=f"'mine body': a body {message}"):
        b.loop(2, body, [x], name="mine")
    with pytest.raises(BadInput, match=f"'mine condition': a body {message}"):
        b.while_loop(body, lambda c, a: a, [x], most=2, name="mine")


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
