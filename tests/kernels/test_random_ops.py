"""Random ops: golden values of the streams, statistics of the draws, and where they come from."""

from itertools import pairwise
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest

import ipusim
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim_kernels.poprand.generator import states
from ipusim_kernels.poprand.streams import KINDS, Layout, fill

TILES = 16
#: What `fill` takes for each kind here: a, b, alpha.
PARAMETERS = {
    "uniform": (0.0, 1.0, 0.0),
    "normal": (0.0, 1.0, 0.0),
    "truncated_normal": (0.0, 1.0, 2.0),
    "bernoulli": (0.0, 1.0, float(round(0.3 * 2**31))),
    "dropout": (0.0, 1.0 / 0.8, float(round(0.8 * 2**31))),
}
PIECE = 1_000_000
BINS = 1000


def layout(elements):
    first = np.linspace(0, elements, TILES + 1).astype(np.int32)
    return Layout(np.arange(TILES, dtype=np.int32), first, np.arange(elements, dtype=np.int32))


def draws(kind, state, elements=PIECE):
    """The next values of a kind; `state` moves on."""
    made, where = np.ones(elements, np.float32), layout(elements)
    fill(KINDS[kind], state, where.tiles, where.first, where.order, 2, *PARAMETERS[kind], made)
    return made


def fresh(seed=1):
    return states(seed, TILES).reshape(-1).copy()


def edges(kind):
    """Limits between bins of the same probability."""
    shares = np.arange(1, BINS) / BINS
    if kind == "uniform":
        return shares
    normal = NormalDist()
    low, high = (0.0, 1.0) if kind == "normal" else (normal.cdf(-2.0), normal.cdf(2.0))
    return np.array([normal.inv_cdf(low + (high - low) * s) for s in shares])


def check_statistics(kind, pieces):
    """Serial correlation, chi-square over bins of the same probability, Kolmogorov and Smirnov's greatest distance at
    their limits, mean and variance; each within 4.5 standard errors (the distance: 2.4 / sqrt(n), of chance 2e-5).
    """
    state, counts, total = fresh(), np.zeros(BINS, np.int64), pieces * PIECE
    sums, squares, serial, limits = 0.0, 0.0, 0.0, edges(kind)
    for _ in range(pieces):
        x = draws(kind, state).astype(np.float64)
        counts += np.bincount(np.searchsorted(limits, x, side="right"), minlength=BINS)
        sums, squares = sums + x.sum(), squares + (x * x).sum()
        centred = x - (0.5 if kind == "uniform" else 0.0)
        serial += (centred[:-1] * centred[1:]).sum()
    mean, variance = sums / total, squares / total - (sums / total) ** 2
    expected = total / BINS
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - (BINS - 1)) < 4.5 * sqrt(2 * (BINS - 1))
    distance = np.abs(np.cumsum(counts) / total - np.arange(1, BINS + 1) / BINS).max()
    assert distance < 2.4 / sqrt(total)
    density = NormalDist().pdf(2.0)
    inside = NormalDist().cdf(2.0) - NormalDist().cdf(-2.0)
    want_mean, want_variance = {
        "uniform": (0.5, 1 / 12), "normal": (0.0, 1.0), "truncated_normal": (0.0, 1 - 2 * 2.0 * density / inside),
    }[kind]  # fmt: skip
    assert abs(mean - want_mean) < 4.5 * sqrt(want_variance / total)
    assert abs(variance - want_variance) < 4.5 * want_variance * sqrt(2 / total)
    assert abs(serial / total / want_variance) < 4.5 / sqrt(total)


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated_normal"])
def test_statistics(kind):
    check_statistics(kind, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated_normal"])
def test_statistics_of_many(kind):
    check_statistics(kind, 100)


def check_bits(pieces):
    """Every bit of the 24 that a uniform value has is set in half of them, and equals the one beside it in half."""
    state, ones, same, total = fresh(), np.zeros(24), np.zeros(23), pieces * PIECE
    for _ in range(pieces):
        words = (draws("uniform", state).astype(np.float64) * 2**24).astype(np.uint32)
        bits = [((words >> k) & 1).astype(bool) for k in range(24)]
        ones += [b.sum() for b in bits]
        same += [(a == b).sum() for a, b in pairwise(bits)]
    for found in (*ones, *same):
        assert abs(found / total - 0.5) < 4.5 * 0.5 / sqrt(total)


def test_bits():
    check_bits(1)


@pytest.mark.slow
def test_bits_of_many():
    check_bits(100)


@pytest.mark.parametrize(("kind", "share", "value"), [("bernoulli", 0.3, 1.0), ("dropout", 0.8, 1.25)])
def test_shares(kind, share, value):
    made = draws(kind, fresh())
    assert set(np.unique(made)) == {0.0, np.float32(value)}
    assert abs((made != 0).mean() - share) < 4.5 * sqrt(share * (1 - share) / PIECE)


GOLDEN = {
    "uniform": [1049069412, 1051794326, 1056787314, 1054565516, 1047219928, 1055619746, 1052772060, 1064349115],
    "normal": [3211564477, 1068232256, 3213413010, 1057220100, 3218380770, 1054526303, 1067891889, 3204688513],
    "truncated_normal": [3211564477, 1068232256, 3213413010, 1057220100, 3218380770, 1054526303, 1067891889, 3204688513],
    "bernoulli": [1065353216, 0, 0, 0, 1065353216, 0, 0, 0],
    "dropout": [1067450368, 1067450368, 1067450368, 1067450368, 1067450368, 1067450368, 1067450368, 0],
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_bits_are_the_same_for_ever(kind):
    """The first values of the first worker of two tiles, as words of 32 bits."""
    made = draws(kind, fresh(42), 1600).view(np.uint32)
    assert [*made[:4].tolist(), *made[100:104].tolist()] == GOLDEN[kind]


def simulated(build, inputs=None, **options):
    b = WorkloadBuilder("random", 1)
    made = build(b)
    workload = b.build({f"y{i}": v for i, v in enumerate(made if isinstance(made, tuple) else (made,))})
    return list(ipusim.simulate(workload, inputs, **{"execute": True, "precision": "float32"} | options).outputs.values())


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated_normal", "bernoulli"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_vertices_draw_the_same(kind, precision):
    def build(b):
        return b.random(kind, (7, 501), 0.25, 0.75, seed=4), b.random(kind, (50,), 0.25, 0.75, seed=4)

    whole, single = (simulated(build, execute=mode, precision=precision) for mode in (True, "vertices"))
    for a, c in zip(whole, single, strict=True):
        assert np.array_equal(a, c)


def test_loops_draw_the_same_whole_and_step_by_step():
    def build(b):
        start = b.constant(np.zeros((7, 100), np.float32))
        (y,) = b.loop(5, lambda c, a: c.add(a, c.dropout(c.normal((7, 100), seed=3), 0.5, seed=3)), [start])
        return y, b.uniform((7, 100), seed=3)

    for a, c in zip(simulated(build), simulated(build, execute="vertices"), strict=True):
        assert np.array_equal(a, c)


def test_a_mask_follows_the_place_that_lowering_chose():
    """In compiled loops and step by step, also where x does not lie as new values would."""

    def build(b):
        start = b.input("x", (48, 130))
        (y,) = b.loop(3, lambda c, a: c.add(c.transpose(c.dropout(c.transpose(a, (1, 0)), 0.5, seed=3), (1, 0)), 1.0), [start])
        return y, b.loop(2, lambda c, a: c.dropout(a, 0.5, seed=3), [y])[0]

    given = {"x": np.ones((48, 130), np.float32)}
    for a, c in zip(simulated(build, given), simulated(build, given, execute="vertices"), strict=True):
        assert np.array_equal(a, c)
    assert set(np.unique(simulated(build, given)[0])) == {1, 3, 7, 15}


def test_ops_of_one_seed_go_on_where_the_last_one_ended():
    def draw(b, seed):
        return b.uniform((5000,), seed=seed)

    first, second = simulated(lambda b: (draw(b, 1), draw(b, 1)))
    again, other = simulated(lambda b: (draw(b, 1), draw(b, 2)))
    assert np.array_equal(first, again)
    assert not np.intersect1d(first, second).size > 5
    assert not np.intersect1d(first, other).size > 5


def test_dropout_masks_differ_between_tiles_and_repeat_with_the_seed():
    x = {"x": np.ones((1216, 64), np.float32)}

    def build(seed):
        return lambda b: b.dropout(b.input("x", (1216, 64)), 0.5, seed=seed)

    (one,), (same,), (other,) = (simulated(build(seed), x) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert 0.45 < (one == other).mean() < 0.55
    assert len(np.unique(one, axis=0)) == 1216  # 64 elements a tile: no two tiles have the same mask
    assert set(np.unique(one)) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("kind", "low", "high", "message"),
    [
        ("uniform", 1.0, 1.0, "low 1.0 must be below high 1.0"),
        ("normal", 0.0, -1.0, "standard deviation -1.0"),
        ("bernoulli", 1.5, 0.0, "probability 1.5"),
        ("uniform", 0.0, float("inf"), "must be finite"),
        ("uniform", -3e38, 3e38, "further apart than a float32 can say"),
        ("cauchy", 0.0, 1.0, "cauchy"),
    ],
)
def test_parameters(kind, low, high, message):
    with pytest.raises(BadInput, match=f"'mine'.*{message}"):
        WorkloadBuilder("bad").random(kind, (3,), low, high, name="mine")


@pytest.mark.parametrize("keep", [0.0, 1e-12, 1.5])
def test_dropout_parameters(keep):
    b = WorkloadBuilder("bad")
    with pytest.raises(BadInput, match=f"'mine'.*keep {keep}"):
        b.dropout(b.input("x", (3,)), keep, name="mine")
