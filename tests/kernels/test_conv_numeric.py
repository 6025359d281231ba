"""Values of convolutions and matmuls: float64 references, exact rounding of partials, and bitwise laws."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ipusim.errors import BadInput
from ipusim_kernels.conv import numeric, numeric_plan
from ipusim_kernels.conv.numeric_tile import LANES, ROWS

Array = NDArray[Any]
HALF_STEP, FLOAT_STEP = 2.0**-11, 2.0**-24


@dataclass(frozen=True)
class Case:
    """One convolution, its operands filled from `seed`."""

    images: int
    groups: int
    channels: int
    out_channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    pieces: tuple[tuple[int, int, int, int], ...]
    dtype: str
    partials: str
    last_channels: bool
    seed: int

    def operands(self) -> tuple[Array, Array]:
        """x and w; with `last_channels` they are stored as (N, H, W, C) and (O, KH, KW, C)."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.images, self.groups * self.channels, *self.size)).astype(self.dtype)
        w = rng.standard_normal((self.groups * self.out_channels, self.channels, *self.kernel)).astype(self.dtype)
        return (channels_last(x), channels_last(w)) if self.last_channels else (x, w)

    def out(self, x: Array) -> Array:
        sizes = zip(x.shape[2:], self.padding, self.kernel, self.dilation, self.stride, strict=True)
        field = [(n + lo + hi - d * (k - 1) - 1) // s + 1 for n, (lo, hi), k, d, s in sizes]
        made = np.full((self.images, self.groups * self.out_channels, *field), np.nan, self.dtype)
        return channels_last(made) if self.last_channels else made

    def steps(self) -> dict[str, Any]:
        return {"stride": self.stride, "dilation": self.dilation, "padding": self.padding, "groups": self.groups}

    def run(self, x: Array, w: Array, threads: int = 1) -> Array:
        out = self.out(x)
        numeric.conv(x, w, out, **self.steps(), pieces=self.pieces, partials=self.partials, threads=threads)
        return out


def channels_last(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def reference(case: Case, x: Array, w: Array, piece: tuple[int, int, int, int] | None = None) -> Array:
    """The convolution in float64, one tap after the other; only the taps of `piece` if one is given."""
    c0, c1, k0, k1 = piece or (0, case.channels, 0, case.kernel[0])
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *case.padding))
    padded = padded.reshape(case.images, case.groups, case.channels, *padded.shape[2:])[:, :, c0:c1]
    weights = w.astype(np.float64).reshape(case.groups, case.out_channels, case.channels, *case.kernel)[:, :, c0:c1]
    height, width = case.out(x).shape[2:]
    total = np.zeros((case.images, case.groups, case.out_channels, height, width))
    for ky in range(k0, k1):
        for kx in range(case.kernel[1]):
            rows = np.arange(height) * case.stride[0] + ky * case.dilation[0]
            columns = np.arange(width) * case.stride[1] + kx * case.dilation[1]
            seen = padded[:, :, :, rows][..., columns]
            total += np.einsum("ngcyx,goc->ngoyx", seen, weights[..., ky, kx])
    return total.reshape(case.images, -1, height, width)


def error_bound(case: Case, x: Array, w: Array) -> Array:
    """What rounding may add up to: one step per operation, relative to the sum of magnitudes."""
    steps = (case.channels * case.kernel[0] * case.kernel[1] + len(case.pieces)) * FLOAT_STEP
    steps += 2 * len(case.pieces) * HALF_STEP if case.partials == "float16" else 0.0
    steps += HALF_STEP if case.dtype == "float16" else 0.0
    return 1.1 * steps * reference(case, np.abs(x), np.abs(w)) + 2.0**-24


def cut(draw: st.DrawFn, size: int) -> list[tuple[int, int]]:
    inner = sorted(draw(st.sets(st.integers(1, size - 1), max_size=3))) if size > 1 else []
    bounds = [0, *inner, size]
    return list(itertools.pairwise(bounds))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (2, 5), (1, 3), (4, 1)]))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2))
    least = [max(1, d * (k - 1) + 1 - lo - hi) for k, d, (lo, hi) in zip(kernel, dilation, padding, strict=True)]
    channels = draw(st.sampled_from([1, 2, 5, LANES, LANES + 3]))
    pieces = [(*c, *k) for c in cut(draw, channels) for k in cut(draw, kernel[0])]
    return Case(
        images=draw(st.integers(1, 5)),
        groups=draw(st.sampled_from([1, 1, 2, 5])),
        channels=channels,
        out_channels=draw(st.sampled_from([1, 2, ROWS - 1, ROWS, 2 * ROWS + 3])),
        size=(least[0] + draw(st.integers(0, 9)), least[1] + draw(st.integers(0, 20))),
        kernel=kernel,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if draw(st.booleans()) else (1, 1),
        dilation=dilation,
        padding=padding if draw(st.booleans()) or kernel != (1, 1) else ((0, 0), (0, 0)),
        pieces=tuple(draw(st.permutations(pieces))),
        dtype=draw(st.sampled_from(["float16", "float32"])),
        partials=draw(st.sampled_from(["float32", "float16"])),
        last_channels=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )


@contextmanager
def limits(plane_floats: int, sum_columns: int) -> Iterator[None]:
    """Makes shares so small that every axis is cut."""
    before = numeric_plan.PLANE_FLOATS, numeric_plan.SUM_COLUMNS
    numeric_plan.PLANE_FLOATS, numeric_plan.SUM_COLUMNS = plane_floats, sum_columns
    numeric_plan.plan.cache_clear()
    try:
        yield
    finally:
        numeric_plan.PLANE_FLOATS, numeric_plan.SUM_COLUMNS = before
        numeric_plan.plan.cache_clear()


@settings(deadline=None, max_examples=150)
@given(cases())
def test_conv_is_within_rounding_of_float64(case: Case) -> None:
    x, w = case.operands()
    assert (np.abs(case.run(x, w) - reference(case, x, w)) <= error_bound(case, x, w)).all()


PLAIN = Case(
    images=5,
    groups=1,
    channels=2,
    out_channels=3,
    size=(3, 4),
    kernel=(3, 3),
    stride=(1, 1),
    dilation=(1, 1),
    padding=((1, 1), (1, 1)),
    pieces=((0, 2, 0, 3),),
    dtype="float32",
    partials="float32",
    last_channels=False,
    seed=0,
)
POINTWISE = replace(PLAIN, kernel=(1, 1), padding=((0, 0), (0, 0)), pieces=((0, 2, 0, 1),))


@settings(deadline=None, max_examples=60)
@given(cases(), st.integers(1, 2000), st.integers(1, 200))
@example(PLAIN, 120, 1000)
@example(POINTWISE, 48, 1000)
def test_the_bits_of_a_conv_depend_on_neither_shares_nor_threads(case: Case, plane_floats: int, columns: int) -> None:
    x, w = case.operands()
    expected = case.run(x, w).tobytes()
    assert case.run(x, w, threads=2).tobytes() == expected
    with limits(plane_floats, columns):
        assert case.run(x, w).tobytes() == expected
        assert case.run(x, w, threads=2).tobytes() == expected


@settings(deadline=None, max_examples=60)
@given(cases())
def test_the_bits_of_a_conv_do_not_depend_on_how_operands_are_stored(case: Case) -> None:
    x, w = case.operands()
    expected = case.run(x, w).tobytes()
    x.flags.writeable = w.flags.writeable = False
    assert case.run(x[:, ::-1].copy()[:, ::-1], np.ascontiguousarray(w)).tobytes() == expected
    wide = np.repeat(x, 2, axis=3)
    assert case.run(wide[..., ::2], w).tobytes() == expected


@settings(deadline=None, max_examples=60)
@given(cases())
def test_half_partials_round_once_per_piece_and_once_per_addition(case: Case) -> None:
    rng = np.random.default_rng(case.seed)
    x, w = (rng.integers(-40, 41, t.shape).astype(case.dtype) for t in case.operands())
    out = case.run(x, w)
    if case.partials == "float32":
        expected = reference(case, x, w)
    else:
        pieces = [reference(case, x, w, piece).astype(np.float16) for piece in case.pieces]
        expected = pieces[0]
        with np.errstate(over="ignore", invalid="ignore"):
            for piece in pieces[1:]:
                expected = expected + piece
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(out, expected.astype(case.dtype))


@settings(deadline=None, max_examples=60)
@given(cases())
def test_vertices_give_the_bits_of_the_whole_conv(case: Case) -> None:
    x, w = (t.astype(np.float32) for t in case.operands())
    field = x.reshape(case.images, case.groups, case.channels, *case.size)
    weights = w.reshape(case.groups, case.out_channels, case.channels, *case.kernel)
    shape = case.out(x).shape
    total: Array | None = None
    for c0, c1, k0, k1 in case.pieces:
        sums = np.empty((case.images, case.groups, case.out_channels, *shape[2:]), np.float32)
        pad_y = case.padding[0][0] - k0 * case.dilation[0]
        boxes = np.ascontiguousarray(field[:, :, c0:c1]), np.ascontiguousarray(weights[:, :, c0:c1, k0:k1])
        numeric.conv_vertex(*boxes, sums, pad_y, case.padding[1][0], *case.stride, *case.dilation)
        total = sums if total is None else total + sums
    assert total is not None
    whole = replace(case, dtype="float32", partials="float32", last_channels=False).run(x, w)
    np.testing.assert_array_equal(whole, total.reshape(shape))


@pytest.mark.parametrize("case", [PLAIN, POINTWISE, replace(POINTWISE, images=1), replace(POINTWISE, size=(1, 1))])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_results_may_be_any_view(case: Case, dtype: str) -> None:
    case = replace(case, dtype=dtype)
    x, w = case.operands()
    expected = case.run(x, w)
    n, c, h, width = expected.shape
    room = np.zeros((n, c, h + 1, 2 * width + 1), dtype)
    for out in (room[:, :, :-1, :width], room[:, :, 1:, 1::2], room[::-1, :, :-1, :width][..., ::-1]):
        numeric.conv(x, w, out, **case.steps(), pieces=case.pieces, partials="float32")
        np.testing.assert_array_equal(out, expected)
        out[:] = 0
        assert not room.any(), "wrote outside the view"


def test_negative_padding_drops_the_edge() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    w = np.ones((1, 1, 1, 1), np.float32)
    out = np.empty_like(x)
    steps = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "pieces": ((0, 1, 0, 1),), "partials": "float32"}
    numeric.conv(x, w, out, padding=((1, -1), (-1, 1)), **steps)
    np.testing.assert_array_equal(out, np.pad(x[:, :, :2, 1:], ((0, 0), (0, 0), (1, 0), (0, 1))))


def test_one_vertex_by_hand() -> None:
    x = np.array([1, 2, 3], np.float32).reshape(1, 1, 1, 1, 3)
    w = np.array([10, 1], np.float32).reshape(1, 1, 1, 1, 2)
    out = np.empty((1, 1, 1, 1, 4), np.float32)
    numeric.conv_vertex(x, w, out, 0, 1, 1, 1, 1, 1)
    assert out.ravel().tolist() == [1, 12, 23, 30]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 70, 33), (1, 1, 33, 1), (3, 20, 40, 50), (2, 65, 2 * LANES + 1, 7)])
def test_matmul_of_any_layout_gives_the_same_bits_near_float64(dtype: str, shape: tuple[int, int, int, int]) -> None:
    batch, m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((batch, m, k)).astype(dtype), rng.standard_normal((batch, k, n)).astype(dtype)
    found = []
    for left in (a, np.ascontiguousarray(a.transpose(0, 2, 1)).transpose(0, 2, 1)):
        for right in (
            b,
            np.ascontiguousarray(b.transpose(0, 2, 1)).transpose(0, 2, 1),
            np.repeat(b, 2, axis=2)[:, :, ::2],
        ):
            for out in (np.empty((batch, m, n), dtype), np.empty((batch, n, m), dtype).transpose(0, 2, 1)):
                numeric.matmul(left, right, out, pieces=((0, 9), (9, k)), partials="float32")
                found.append(out.tobytes())
    assert len(set(found)) == 1
    exact = a.astype(np.float64) @ b.astype(np.float64)
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    assert (np.abs(out - exact) <= ((k + 2) * FLOAT_STEP + (dtype == "float16") * HALF_STEP) * magnitude).all()


@pytest.mark.parametrize(("left", "right"), [(1, 4), (4, 1), (1, 1)])
def test_one_matrix_may_serve_all_batches(left: int, right: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-9, 10, (left, 5, 6)).astype(np.float16), rng.integers(-9, 10, (right, 6, 7)).astype(np.float16)
    out = np.empty((max(left, right), 5, 7), np.float16)
    numeric.matmul(a, b, out, pieces=((0, 6),), partials="float32", threads=2)
    np.testing.assert_array_equal(out, a @ b)


def test_operands_may_be_broadcast_views() -> None:
    a = np.broadcast_to(np.array([[1.0], [2.0]], np.float16), (3, 2, 40))
    b = np.broadcast_to(np.arange(20, dtype=np.float16), (3, 40, 20))
    out = np.empty((3, 2, 20), np.float16)
    numeric.matmul(a, b, out, pieces=((0, 40),), partials="float32")
    np.testing.assert_array_equal(out, np.broadcast_to(np.outer([40, 80], np.arange(20)), (3, 2, 20)))


def test_half_partials_of_a_matmul_differ_from_float_partials_as_they_should() -> None:
    a, b = np.full((1, 1, 3), 1.0, np.float16), np.array([2048.0, 1.0, 1.0], np.float16).reshape(1, 3, 1)
    out = np.empty((1, 1, 1), np.float16)
    numeric.matmul(a, b, out, pieces=((0, 1), (1, 2), (2, 3)), partials="float16")
    assert out.item() == 2048.0
    numeric.matmul(a, b, out, pieces=((0, 1), (1, 3)), partials="float16")
    assert out.item() == 2050.0
    numeric.matmul(a, b, out, pieces=((0, 1), (1, 2), (2, 3)), partials="float32")
    assert out.item() == 2050.0


@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 3, 0), (0, 3, 2)])
def test_empty_matmuls(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    out = np.full((1, m, n), np.nan, np.float32)
    a, b = np.ones((1, m, k), np.float32), np.ones((1, k, n), np.float32)
    numeric.matmul(a, b, out, pieces=((0, k),), partials="float32")
    np.testing.assert_array_equal(out, a @ b)


def test_conv_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: the comparison with it is skipped")
    case = replace(PLAIN, groups=2, channels=12, out_channels=20, size=(30, 31), kernel=(3, 5), stride=(2, 1))
    case = replace(case, dilation=(1, 2), padding=((1, 1), (3, 3)), pieces=((0, 8, 0, 3), (8, 12, 0, 3)))
    x, w = case.operands()
    tensors = torch.from_numpy(x), torch.from_numpy(w)
    expected = torch.nn.functional.conv2d(*tensors, stride=(2, 1), padding=(1, 3), dilation=(1, 2), groups=2)
    np.testing.assert_allclose(case.run(x, w), expected.numpy(), atol=1e-4)


def arguments(**changes: Any) -> dict[str, Any]:
    ones = {name: np.ones((1, 4, 3, 3), np.float32) for name in ("x", "w")}
    fixed = {"out": np.ones((1, 1, 1, 1), np.float32), "stride": (1, 1), "dilation": (1, 1), "groups": 1}
    return ones | fixed | {"padding": ((0, 0), (0, 0)), "pieces": ((0, 4, 0, 3),), "partials": "float32"} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pieces": ((0, 3, 0, 3),)}, "do not cover 4 channels and 3 kernel rows"),
        ({"pieces": ((0, 4, 0, 3), (3, 4, 0, 1))}, "do not cover"),
        ({"out": np.ones((1, 1, 2, 1), np.float32)}, r"does not give \(1, 1, 2, 1\)"),
        ({"groups": 2}, "2 groups"),
        ({"w": np.ones((1, 4, 3, 3), np.float16)}, "float16"),
        ({"x": np.ones((1, 4, 3, 3), np.int32)}, "int32"),
        ({"partials": "half"}, "'half'"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    numeric.conv(**arguments())
    with pytest.raises(BadInput, match=message):
        numeric.conv(**arguments(**changes))


def test_matrices_that_do_not_fit_are_refused() -> None:
    a, b, out = (np.ones(s, np.float32) for s in ((1, 2, 3), (1, 4, 5), (1, 2, 5)))
    with pytest.raises(BadInput, match=r"matmul of \(1, 2, 3\) and \(1, 4, 5\)"):
        numeric.matmul(a, b, out, pieces=((0, 3),), partials="float32")


WITHOUT_JIT = """
import numpy as np
from ipusim_kernels.conv import numeric
rng = np.random.default_rng(3)
x, w = (rng.integers(-9, 10, s).astype(np.float16) for s in ((2, 6, 7, 20), (4, 3, 3, 2)))
for partials in ("float32", "float16"):
    out = np.empty((2, 4, 4, 19), np.float16)
    numeric.conv(x, w, out, stride=(2, 1), dilation=(1, 1), padding=((1, 1), (0, 0)), groups=2,
                 pieces=((0, 2, 0, 3), (2, 3, 0, 3)), partials=partials)
    print(out.tobytes().hex())
a, b = rng.integers(-9, 10, (1, 3, 40)).astype(np.float16), rng.integers(-9, 10, (1, 33, 40)).astype(np.float16)
out = np.empty((1, 3, 33), np.float16)
numeric.matmul(a, b.transpose(0, 2, 1), out, pieces=((0, 40),), partials="float32")
print(out.tobytes().hex())
sums = np.empty((1, 1, 2, 5, 7), np.float32)
box = x[:1, :3, :5, :7].astype(np.float32)[:, None], w[:2].astype(np.float32)[None]
numeric.conv_vertex(*box, sums, 1, 0, 1, 1, 1, 1)
print(sums.tobytes().hex())
"""


def run_elsewhere(**environment: str) -> list[str]:
    command = [sys.executable, "-c", WITHOUT_JIT]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_plain_python_gives_the_same_values() -> None:
    compiled = run_elsewhere(NUMBA_DISABLE_JIT="0")
    assert len(compiled) == 4
    assert run_elsewhere(NUMBA_DISABLE_JIT="1") == compiled


@pytest.mark.slow
def test_conversion_by_integer_arithmetic_gives_the_same_values(tmp_path: Any) -> None:
    compiled = run_elsewhere(NUMBA_DISABLE_JIT="0")
    assert run_elsewhere(NUMBA_DISABLE_JIT="0", IPUSIM_SOFT_HALF="1", NUMBA_CACHE_DIR=str(tmp_path)) == compiled
