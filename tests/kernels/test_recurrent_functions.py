"""exp, sigmoid and tanh of recurrent cells against float64, and where results leave float32; panels of weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipusim_kernels.recurrent import functions
from ipusim_kernels.recurrent.panels import WIDTH, panels, product, taps_of

MEANT = {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
#: Units in the last place.
WITHIN = {"exp": 1.1, "tanh": 3.1, "sigmoid": 3.1}


def value(kind, x):
    made = np.array(x, np.float32)
    getattr(functions, kind)(made, np.empty(len(made), np.int32))
    return made


@pytest.mark.parametrize("kind", MEANT)
def test_values(kind):
    rng = np.random.default_rng(0)
    near = 10.0 ** rng.uniform(-12, 0, 300) * rng.choice([-1, 1], 300)
    x = np.concatenate([rng.uniform(-85, 85, 300), rng.standard_normal(300), near]).astype(np.float32)
    wanted = MEANT[kind](x.astype(np.float64))
    error = np.abs(value(kind, x) - wanted) / np.spacing(np.abs(wanted.astype(np.float32)))
    assert error.max() < WITHIN[kind]


def test_beyond_float32():
    x = [-np.inf, -200, -104, 0, 88.8, 200, np.inf, np.nan]
    np.testing.assert_array_equal(value("exp", x), np.float32([0, 0, 0, 1, np.inf, np.inf, np.inf, np.nan]))
    np.testing.assert_array_equal(value("tanh", x), np.float32([-1, -1, -1, 0, 1, 1, 1, np.nan]))
    np.testing.assert_array_equal(value("sigmoid", x), np.float32([0, 0, 0, 0.5, 1, 1, 1, np.nan]))
    small = value("exp", [-90, -100, -103])
    assert np.allclose(small, np.exp([-90.0, -100.0, -103.0]), atol=1.5e-45, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(1, 2 * WIDTH + 3), st.booleans())
def test_products_with_panels(rows, depth, columns, add):
    """Those of numpy, the same bits for a row alone, and further columns hold nothing."""
    rng = np.random.default_rng(rows)
    a, w = (rng.standard_normal(s).astype(np.float32) for s in ((rows, depth), (columns, depth)))
    b = panels(w)
    out = np.ones((rows, len(b) * WIDTH), np.float32)
    product(a, b, taps_of(b), out, add)
    assert np.allclose(out[:, :columns], a @ w.T + add, atol=1e-5)
    assert np.all(out[:, columns:] == add)
    alone = np.ones((1, len(b) * WIDTH), np.float32)
    product(a[-1:], b, taps_of(b), alone, add)
    assert np.array_equal(alone[0], out[-1])


def test_panels_of_constants_are_made_once():
    whole = np.arange(12, dtype=np.float32)
    fixed = whole.reshape(3, 4).view()
    fixed.flags.writeable = False
    assert panels(fixed) is panels(fixed)
    assert panels(whole.reshape(3, 4)) is not panels(whole.reshape(3, 4))
