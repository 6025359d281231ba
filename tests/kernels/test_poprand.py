"""Random calls: bits pinned against the generator written down a second time, distributions, cycles, errors."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from ipusim import BadInput, Engine, Graph, float32, half, int32, target
from ipusim import program as prog
from ipusim_kernels import poprand
from ipusim_kernels.poprand import cycles
from ipusim_kernels.poprand.generator import states

ALL = (1 << 64) - 1
N = 60_000


def rotated(x, k):
    return (x << k | x >> (64 - k)) & ALL


def words(seed, tile, worker, count):
    """32-bit words of one worker's stream, by whole numbers of Python."""
    a, b, c, d = (int(w) for w in states(seed, tile + 1)[tile].reshape(6, 4)[worker])
    s0, s1 = a | b << 32, c | d << 32
    out = []
    while len(out) < count:
        both = s0 & s1
        drawn = (s0 ^ s1) ^ (rotated(both, 1) | rotated(both, 2))
        out += [drawn & 0xFFFFFFFF, drawn >> 32]
        s1 ^= s0
        s0, s1 = rotated(s0, 55) ^ s1 ^ (s1 << 14 & ALL), rotated(s1, 36)
    return np.array(out, np.uint64)


def splitmix(seed, count):
    """The first numbers of splitmix64."""
    out = []
    for k in range(1, count + 1):
        z = (seed + k * 0x9E3779B97F4A7C15) & ALL
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & ALL
        z = (z ^ z >> 27) * 0x94D049BB133111EB & ALL
        out.append(z ^ z >> 31)
    return out


def made(*calls, tiles=4, dtype=float32, size=N, runs=1):
    """Results of calls (graph, like, program) after each run."""
    graph, program = Graph(target("GC2", tiles=tiles)), prog.Sequence()
    like = graph.add_variable(size, dtype, "like")
    graph.map_linearly(like, min_bytes_per_tile=8)
    tensors = [call(graph, like, program) for call in calls]
    engine = Engine(graph, program, allow_out_of_memory=True)
    out = []
    for _ in range(runs):
        engine.run(0)
        out.append([engine.read_tensor(t) for t in tensors])
    return out if runs > 1 else out[0]


def distance(values, distribution):
    """Kolmogorov-Smirnov distance times the square root of the count; above 1.95 once in a thousand."""
    wanted = np.array([distribution(v) for v in np.sort(values.astype(np.float64))])
    steps = np.arange(len(values) + 1) / len(values)
    return max(np.abs(wanted - steps[1:]).max(), np.abs(wanted - steps[:-1]).max()) * math.sqrt(len(values))


def bell(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


def test_seeds_are_splitmix64s():
    base = splitmix(12345, 1)[0]
    wanted = splitmix(base, 36)
    found = states(12345, 3).reshape(-1, 2).astype(object)
    assert [int(lo) | int(hi) << 32 for lo, hi in found] == wanted


def test_bits_are_xoroshiro128aox():
    (values,) = made(lambda g, x, p: poprand.uniform(g, x, 0, 1, 7, p), size=4 * 6 * 10)
    wanted = [(words(7, t, w, 10) >> np.uint64(8)).astype(np.float64) / 2**24 for t in range(4) for w in range(6)]
    np.testing.assert_array_equal(values, np.concatenate(wanted))


#: Bytes of the first four values of a seed of 42: uniform, normal, truncated normal.
GOLDEN = [
    "6487873e961bb13e6043223e40ea5b3d",
    "bd956cbf40eeab3f36d9e73fa3a4223f",
    "2a45823e05b8b93e4d750f3e0a76563e",
]


def test_golden_values():
    uniform, normal, cut = made(
        lambda g, x, p: poprand.uniform(g, x, 0, 1, 42, p),
        lambda g, x, p: poprand.normal(g, x, 0, 1, 42, p),
        lambda g, x, p: poprand.truncated_normal(g, x, 0, 1, 42, p, alpha=0.5),
        size=48,
    )
    assert [v.tobytes().hex() for v in (uniform[:4], normal[:4], cut[:4])] == GOLDEN


def test_the_normal_formula():
    (values,) = made(lambda g, x, p: poprand.normal(g, x, 0, 1, 7, p), tiles=1, size=60)
    drawn = words(7, 0, 0, 10).astype(np.float64)
    radius = np.sqrt(-2 * np.log(drawn[::2] / 2**32))
    angle = drawn[1::2] / 2**32 * 2 * np.pi
    wanted = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    np.testing.assert_allclose(values[:10], wanted, atol=5e-7)


@pytest.mark.parametrize("seed", [0, 1, -1])
def test_distributions(seed):
    uniform, normal, cut = made(
        lambda g, x, p: poprand.uniform(g, x, -2, 3, seed, p),
        lambda g, x, p: poprand.normal(g, x, 1, 2, seed, p),
        lambda g, x, p: poprand.truncated_normal(g, x, 1, 2, seed, p),
    )
    assert distance(uniform, lambda v: (v + 2) / 5) < 1.95
    assert distance(normal, lambda v: bell((v - 1) / 2)) < 1.95
    assert distance(cut, lambda v: (bell((v - 1) / 2) - bell(-2)) / (bell(2) - bell(-2))) < 1.95
    assert np.abs(cut - 1).max() <= 4
    for values in (uniform, normal):
        centred = values.astype(np.float64) - values.mean()
        for lag in (1, 2, 3):
            assert abs((centred[lag:] * centred[:-lag]).mean() / centred.var()) < 4 / math.sqrt(N)


def test_whole_numbers_and_bits():
    dice, bits, ones, zeros = made(
        lambda g, x, p: poprand.uniform(g, x, -1, 5, 3, p),
        lambda g, x, p: poprand.bernoulli(g, x, 0.3, 3, p),
        lambda g, x, p: poprand.bernoulli(g, x, 1, 3, p),
        lambda g, x, p: poprand.bernoulli(g, x, 0, 3, p),
        dtype=int32,
    )
    counts = np.bincount(dice + 1)
    assert len(counts) == 6
    assert (((counts - N / 6) ** 2) / (N / 6)).sum() < 20.5  # chi-square of 5 degrees: once in a thousand
    assert abs(bits.mean() - 0.3) < 4 * math.sqrt(0.21 / N)
    assert set(bits) == {0, 1}
    assert ones.all()
    assert not zeros.any()


def test_dropout_keeps_and_scales_and_differs_between_tiles():
    graph, program = Graph(target("GC2", tiles=4)), prog.Sequence()
    x = graph.add_variable((4, 6000), half, "x")
    for tile in range(4):
        graph.set_tile_mapping(x[tile], tile)
    graph.set_initial_value(x, np.float16(3))
    kept = [poprand.dropout(graph, x, 0.75, seed, program) for seed in (5, 5, 6)]
    engine = Engine(graph, program, allow_out_of_memory=True)
    engine.run(0)
    first, same, other = (engine.read_tensor(t) for t in kept)
    assert set(np.unique(first)) == {0, np.float16(4)}
    assert abs((first != 0).mean() - 0.75) < 4 * math.sqrt(0.1875 / first.size)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert all((first[0] != first[t]).any() for t in range(1, 4))


def test_streams_go_on_and_a_generator_is_shared():
    (one,), (two,) = made(lambda g, x, p: poprand.uniform(g, x, 0, 1, 9, p), size=240, runs=2)
    shared = []

    def both(graph, like, program):
        shared.append(poprand.Generator(graph, 9))
        first = poprand.uniform(graph, like, 0, 1, shared[0], program)
        shared.append(poprand.uniform(graph, like, 0, 1, shared[0], program))
        return first

    a, b = made(both, lambda g, x, p: shared[1], size=240)
    np.testing.assert_array_equal((one, two), (a, b))
    assert (one != two).all()


@pytest.mark.parametrize("size", [1, 2, 7, 13])
def test_odd_sizes_and_halves(size):
    (values,) = made(lambda g, x, p: poprand.uniform(g, x, 1, 2, 4, p), dtype=half, size=size)
    drawn = [words(4, t, 0, 4)[: size - 4 * t] for t in range(-(-size // 4))]  # four halves per tile, one worker's
    bits = (np.concatenate(drawn) >> np.uint64(8)).astype(np.float32)
    np.testing.assert_array_equal(values, (np.float32(1) + bits / np.float32(2**24)).astype(np.float16))


def golden(vertex):
    path = Path(__file__).parents[1] / "data" / "vertex_cycles.csv"
    with path.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["vertex"] == f"poprand::{vertex}"]
    assert rows
    return [(dict(i.split("=", 1) for i in r["params"].split(";")), int(r["cycles"])) for r in rows]


FORMULAS = {
    "Uniform": lambda n, h, _: cycles.uniform(n, h, cycles.SOURCE_WIDTHS),
    "Normal": lambda n, h, _: cycles.normal(n, h),
    "TruncatedNormal": cycles.truncated_normal,
    "Bernoulli": lambda n, h, _: cycles.bernoulli(n, h, cycles.SOURCE_WIDTHS),
    "Dropout": lambda n, h, _: cycles.dropout(n, h),
}


@pytest.mark.parametrize("vertex", sorted(FORMULAS))
def test_golden_counts(vertex):
    for p, wanted in golden(vertex):
        found = FORMULAS[vertex](int(p["n"]), p["type"] == "half", int(p.get("iterations", 0)))
        assert found == wanted, p


def test_a_call_costs_what_its_vertex_costs():
    graph, program = Graph(target("GC2", tiles=2)), prog.Sequence()
    like = graph.add_variable(1000, half, "like")
    graph.set_tile_mapping(like, 1)
    poprand.normal(graph, like, 0, 1, 1, program, "net")
    engine = Engine(graph, program)
    engine.run(0)
    (step,) = engine.report().steps
    assert step.name == "net/normal"
    assert step.phases["compute"] == cycles.normal(1000, True) == 1151


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda g, x, p: poprand.uniform(g, x, 1, 1, 0, p), "poprand.uniform: 1 is not below 1"),
        (lambda g, x, p: poprand.uniform(g, x, 0, 1, 0.5, p), "a seed is a whole number"),
        (lambda g, x, p: poprand.normal(g, x, 0, -1, 0, p), "poprand.normal.*stddev"),
        (lambda g, x, p: poprand.truncated_normal(g, x, 0, 1, 0, p, alpha=0), "poprand.truncated_normal: alpha"),
        (lambda g, x, p: poprand.bernoulli(g, x, 1.5, 0, p), "poprand.bernoulli: a probability"),
        (lambda g, x, p: poprand.dropout(g, x, 0, 0, p), "poprand.dropout: nothing would be kept"),
        (lambda g, x, p: poprand.normal(g, g.add_variable(3, "bool", "b"), 0, 1, 0, p), "not bool.*'b'"),
    ],
)  # fmt: skip
def test_errors(make, words):
    with pytest.raises(BadInput, match=words):
        made(make, size=3)
