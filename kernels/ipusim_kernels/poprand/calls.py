"""Random tensors and dropout."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ipusim.dtype import int32
from ipusim.errors import BadInput
from ipusim.program import control as prog
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import work
from ipusim_kernels.poprand.codelets import draw_codelet
from ipusim_kernels.poprand.cycles import Draw
from ipusim_kernels.poprand.generator import Generator

Seed = int | Generator
MISSED = 1e-4  # [own choice] vectors of a truncated normal that are not accepted yet when its vertex is through


def uniform(
    graph: Graph, like: Tensor, low: float, high: float, seed: Seed, program: prog.Sequence, name: str = ""
) -> Tensor:
    """Values evenly spread from `low` up to `high`: floats of 24 random bits, or whole numbers without `high`.

    Args:
        graph: where vertices go.
        like: its shape, type (float32, half or int32) and tiles are the result's.
        low: the least value.
        high: above `low`; of halves and floats it may occur by rounding.
        seed: a number, or a `Generator` whose streams go on.
        program: appended to; each time it runs there are new values.
        name: goes before "uniform" in names.

    Raises BadInput for another type or bounds that are none.
    """
    _check("uniform", like, integers=True)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BadInput(f"poprand.uniform: {low!r} is not below {high!r}, or one of them is not finite")
    if like.dtype == int32:
        lowest, width = int(low), int(high) - int(low)
        limits = np.iinfo(np.int32)
        if (lowest, int(high)) != (low, high) or lowest < limits.min or high - 1 > limits.max or width >= 1 << 32:
            raise BadInput(f"poprand.uniform: {low!r} to {high!r} are no bounds of int32")
        return _draw("uniform", graph, like, {"low": lowest, "width": _unsigned(width)}, seed, program, name)
    return _draw("uniform", graph, like, {"low": float(low), "width": float(high - low)}, seed, program, name)


def normal(
    graph: Graph, like: Tensor, mean: float, stddev: float, seed: Seed, program: prog.Sequence, name: str = ""
) -> Tensor:
    """Normally distributed values; arguments as of `uniform`."""
    _check("normal", like)
    members = _spread("normal", mean, stddev)
    return _draw("normal", graph, like, members, seed, program, name)


def truncated_normal(
    graph: Graph,
    like: Tensor,
    mean: float,
    stddev: float,
    seed: Seed,
    program: prog.Sequence,
    name: str = "",
    *,
    alpha: float = 2.0,
) -> Tensor:
    """Normally distributed values within `alpha` standard deviations of the mean; others are drawn again."""
    _check("truncated_normal", like)
    if not (math.isfinite(alpha) and alpha >= 0.1):
        raise BadInput(f"poprand.truncated_normal: alpha is 0.1 or more, not {alpha!r}")
    members = {**_spread("truncated_normal", mean, stddev), "alpha": float(alpha)}
    outside = math.erfc(alpha / math.sqrt(2))
    rounds = 1 if outside <= MISSED else math.ceil(math.log(MISSED) / math.log(outside))
    return _draw("truncated_normal", graph, like, members, seed, program, name, iterations=rounds)


def bernoulli(graph: Graph, like: Tensor, p: float, seed: Seed, program: prog.Sequence, name: str = "") -> Tensor:
    """1 with probability p, else 0 (float32, half or int32); arguments as of `uniform`."""
    _check("bernoulli", like, integers=True)
    return _draw("bernoulli", graph, like, {"threshold": _threshold("bernoulli", p)}, seed, program, name)


def dropout(graph: Graph, x: Tensor, keep: float, seed: Seed, program: prog.Sequence, name: str = "") -> Tensor:
    """x / keep where an element is kept, which has probability `keep`, else 0."""
    _check("dropout", x)
    threshold = _threshold("dropout", keep)
    if not keep:
        raise BadInput("poprand.dropout: nothing would be kept; keep is above 0")
    members = {"threshold": threshold, "scale": 1.0 / keep}
    return _draw("dropout", graph, x, members, seed, program, name)


def _check(call: str, like: Tensor, *, integers: bool = False) -> None:
    if not isinstance(like, Tensor):
        raise BadInput(f"poprand.{call}: needs a tensor, not {like!r}")
    if not like.dtype.is_float and not (integers and like.dtype == int32):
        kinds = "float32, half or int32" if integers else "float32 or half"
        raise BadInput(f"poprand.{call}: makes {kinds}, not {like.dtype} ({work.show(like)})")


def _spread(call: str, mean: float, stddev: float) -> dict[str, float]:
    if not (math.isfinite(mean) and math.isfinite(stddev) and stddev >= 0):
        raise BadInput(f"poprand.{call}: mean {mean!r} and stddev {stddev!r}: finite, and stddev not negative")
    return {"mean": float(mean), "deviation": float(stddev)}


def _threshold(call: str, p: float) -> int:
    if not 0 <= p <= 1:
        raise BadInput(f"poprand.{call}: a probability is from 0 to 1, not {p!r}")
    return _unsigned(round(p * (1 << 31)))


def _unsigned(value: int) -> int:
    """A member of type uint32 as the machine passes it: 32 bits, here without sign."""
    return value & 0xFFFFFFFF


def _draw(
    draw: Draw,
    graph: Graph,
    like: Tensor,
    members: Mapping[str, float],
    seed: Seed,
    program: prog.Sequence,
    name: str,
    *,
    iterations: int = 0,
) -> Tensor:
    """One vertex per tile: a worker's stream is written by one vertex only."""
    call = f"poprand.{draw}"
    work.check_graph(call, graph, [like], program)
    label = work.title(name, draw)
    generator = seed if isinstance(seed, Generator) else Generator(graph, seed, label)
    if generator.graph is not graph:
        raise BadInput(f"{call}: the generator belongs to another graph")
    out = work.like(graph, like, like.dtype, label)
    if not like.elements:
        return out
    base = (lambda t: t.as_base_of(out).flatten()) if out.chain() is not None else Tensor.flatten
    written, given = work.Slicer(base(out)), work.Slicer(base(like))
    made = draw_codelet(draw, like.dtype, iterations)
    chosen = work.compute_set(graph, program, label)
    grain = max(2, work.grain_of(like.dtype)) * work.WORKERS
    for held in work.shares(call, [base(out)]):
        fields = {"state": generator.state[held.tile], "out": written.spans(held.rows), **members}
        if draw == "dropout":
            fields["x"] = given.spans(held.rows)
        fields["share"] = -(-held.elements // grain) * grain // work.WORKERS
        graph.add_vertex(chosen, made, fields, tile=held.tile)
    return out
