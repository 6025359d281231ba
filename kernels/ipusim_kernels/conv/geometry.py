"""From a partition to vertices: which tile computes which box, where the partial sums live and how they are reduced.

Tiles are numbered with the conv group outermost, then in channels, kernel rows, batch, field, and out channels
innermost, so that neighbouring tiles need the same activations and can share their exchange buses (poplibs
lib/poplin/Convolution.cpp). Everything here depends on the shape and the partition alone and is remembered, so equal
layers share their arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import final

import numpy as np

from ipusim.jit import jit
from ipusim.lower.search import candidates
from ipusim.program.graph import Boxes, Rows
from ipusim.program.mapping import I32, I64, Mapping, concat
from ipusim_kernels.conv.shape import ConvShape

#: [poplibs] lib/poplin/ConvReduce.cpp: reductions are shared in grains of 8 elements, neighbouring channels.
REDUCE_GRAIN = 8
#: [poplibs] Convolution.cpp, mapActivationsOrWeights: what users of an operand share is not cut into smaller pieces.
MIN_ACTIVATION_BYTES, MIN_WEIGHT_BYTES = 128, 256
STORED_GROUP = 16  # [poplibs] ConvUtil.cpp: operands are allocated in groups of at most a load of the matrix unit
#: Columns of a convolution vertex: sizes of its boxes, then how far its first tap lies before its input box.
SIZES = ("batch", "groups", "co", "ci", "oh", "ow", "kh", "kw", "pad_y", "pad_x")


@final
@dataclass(frozen=True, slots=True)
class Partition:
    """How many ways each axis is split over tiles, the grains that a tile's share must be a multiple of, and the bytes
    of an operand's element.  `series_x`, `series_w`: serial steps that have a part of each operand.
    """

    batch: int = 1
    groups: int = 1
    co: int = 1
    ci: int = 1
    ky: int = 1
    oy: int = 1
    ox: int = 1
    grain_groups: int = 1
    grain_co: int = 1
    grain_ci: int = 1
    grain_ky: int = 1
    element_bytes: int = 2
    series_x: int = 1
    series_w: int = 1


@jit
def least_piece(nbytes: int, size: int, steps: int) -> int:
    """Elements of `size` bytes that an operand is not cut below: `nbytes` over all serial steps, whose parts of it lie
    on the same tiles.
    """
    return max(1, nbytes // (size * steps))


@final
@dataclass(frozen=True, eq=False, slots=True)
class Geometry:
    """Vertices of one pass: rows, boxes of input, weights and partials, the mappings of weights and partials.

    `pieces` are the parts of the reduction in order, (first channel, end, first kernel row, end).
    """

    rows: Rows
    x: Boxes
    w: Boxes
    partials: Boxes
    partial_map: Mapping
    weight_map: Mapping
    pieces: tuple[tuple[int, int, int, int], ...]


def cuts(size: int, pieces: int, grain: int = 1) -> I32:
    """Boundaries of at most `pieces` pieces of equally many grains, the last ones shorter."""
    grains = -(-size // grain)
    step = -(-grains // pieces) * grain
    return np.append(np.arange(0, size, step), size).astype(np.int32)


@lru_cache(maxsize=2048)
def geometry(s: ConvShape, p: Partition) -> Geometry:
    """Vertices of a convolution under a partition."""
    edge = {
        "g": cuts(s.groups, p.groups, p.grain_groups),
        "ci": cuts(s.ci, p.ci, p.grain_ci),
        "ky": cuts(s.kernel_height, p.ky, p.grain_ky),
        "b": cuts(s.batch, p.batch),
        "y": cuts(s.out_height, p.oy),
        "x": cuts(s.out_width, p.ox),
        "co": cuts(s.co, p.co, p.grain_co),
    }
    count = {k: len(v) - 1 for k, v in edge.items()}
    grid = np.arange(int(np.prod(list(count.values()))), dtype=np.int32).reshape(tuple(count.values()))
    at = dict(zip(edge, np.unravel_index(grid.ravel(), grid.shape), strict=True))
    lo = {k: edge[k][at[k]].astype(np.int64) for k in edge}
    hi = {k: edge[k][at[k] + 1].astype(np.int64) for k in edge}
    y_lo, y_hi, pad_y = _reach(s, 0, out=(lo["y"], hi["y"]), taps=(lo["ky"], hi["ky"]), size=s.height)
    every = np.zeros_like(lo["x"]), np.full_like(lo["x"], s.kernel_width)
    x_lo, x_hi, pad_x = _reach(s, 1, out=(lo["x"], hi["x"]), taps=every, size=s.width)
    sizes = [hi[k] - lo[k] for k in ("b", "g", "co", "ci", "y", "x", "ky")]
    sizes += [every[1], pad_y, pad_x]
    piece = at["ci"] * count["ky"] + at["ky"]
    return Geometry(
        rows=Rows(grid.ravel(), _columns(sizes)),
        x=_boxes([(lo["b"], hi["b"]), (lo["g"], hi["g"]), (lo["ci"], hi["ci"]), (y_lo, y_hi), (x_lo, x_hi)]),
        w=_boxes([(lo[k], hi[k]) for k in ("g", "co", "ci", "ky")] + [every]),
        partials=_boxes([(piece, piece + 1)] + [(lo[k], hi[k]) for k in ("b", "g", "co", "y", "x")]),
        partial_map=_partial_map(s, edge, grid),
        weight_map=_weight_map(s, edge, grid, min(p.grain_ci, STORED_GROUP), _least_weights(p)),
        pieces=_pieces(edge),
    )


def _reach(s: ConvShape, axis: int, *, out: tuple[I64, I64], taps: tuple[I64, I64], size: int) -> tuple[I64, I64, I64]:
    """(first input, end of input, padding before it) that outputs `out` need for kernel positions `taps`."""
    start = out[0] * s.stride[axis] - s.pad[axis] + taps[0] * s.dilation[axis]
    end = (out[1] - 1) * s.stride[axis] - s.pad[axis] + (taps[1] - 1) * s.dilation[axis] + 1
    lo = np.clip(start, 0, size)
    return lo, np.maximum(np.clip(end, 0, size), lo), lo - start


def _columns(columns: list[I64]) -> I32:
    return np.stack(columns, axis=1).astype(np.int32)


def _boxes(ranges: list[tuple[I64, I64]]) -> Boxes:
    return Boxes.one_each(_columns([r[0] for r in ranges]), _columns([r[1] for r in ranges]))


def _pieces(edge: dict[str, I32]) -> tuple[tuple[int, int, int, int], ...]:
    channels, rows = edge["ci"].tolist(), edge["ky"].tolist()
    return tuple((c0, c1, k0, k1) for c0, c1 in pairwise(channels) for k0, k1 in pairwise(rows))


def _partial_map(s: ConvShape, edge: dict[str, I32], grid: I32) -> Mapping:
    g, ci, ky, b, y, x, co = grid.shape
    tiles = grid.transpose(1, 2, 3, 0, 6, 4, 5).reshape(ci * ky, b, g, co, y, x)
    pieces = ci * ky
    shape = (pieces, s.batch, s.groups, s.co, s.out_height, s.out_width)
    bounds = (np.arange(pieces + 1, dtype=np.int32), edge["b"], edge["g"], edge["co"], edge["y"], edge["x"])
    return Mapping(shape, bounds, np.ascontiguousarray(tiles))


def _least_weights(p: Partition) -> int:
    return int(least_piece(MIN_WEIGHT_BYTES, p.element_bytes, p.series_w))


def _weight_map(s: ConvShape, edge: dict[str, I32], grid: I32, grain: int, least: int) -> Mapping:
    """Each weight lives once, with the tiles that use it sharing it evenly in groups of in channels (poplibs charges
    weights - weights / sharers), in pieces of at least `least`.
    """
    g, ci, ky, b, y, x, co = grid.shape
    sharers = b * y * x
    users = grid.transpose(0, 6, 1, 2, 3, 4, 5).reshape(g, co, ci, ky, 1, sharers)
    shape = (s.groups, s.co, s.ci, s.kernel_height, s.kernel_width)
    kernel = np.array([0, s.kernel_width], np.int32)
    whole = Mapping(shape, (edge["g"], edge["co"], edge["ci"], edge["ky"], kernel), users[..., 0].copy())
    return subdivide(whole, users, keep=0, grains=(1, 1, min(grain, s.ci), 1, 1), least=least)


@lru_cache(maxsize=2048)
def operand_map(s: ConvShape, p: Partition) -> Mapping | None:
    """Where the activations (N, G, Ci, H, W) live if nothing else decides: shared evenly by the tiles that use them.

    Rows are cut where the parts of the result begin, columns where the use of a part ends: a halo of columns belongs to
    the tile before it, one of rows is shared row by row (poplibs lib/poputil/Util.cpp, TensorUseTracker with
    OptimizeHaloRegions).  None if parts of the result begin or end outside the field.
    """
    geo = geometry(s, p)
    cut = geo.partial_map.cuts
    halo = (s.kernel_width - 1) * s.dilation[1] + 1 - s.stride[1] - s.pad[1]
    rows, columns = _field_cuts(cut[4], s.stride[0], s.height, 0), _field_cuts(cut[5], s.stride[1], s.width, halo)
    if rows is None or columns is None:
        return None
    channels = np.array([*sorted({c0 for c0, *_ in geo.pieces}), s.ci], np.int32)
    tiles = geo.partial_map.tiles
    b, g, co, y, x = tiles.shape[1:]
    ci = len(channels) - 1
    ky = tiles.shape[0] // ci
    users = tiles.reshape(ci, ky, b, g, co, y, x).transpose(2, 3, 0, 5, 6, 1, 4).reshape(b, g, ci, y, x, ky * co)
    shape = (s.batch, s.groups, s.ci, s.height, s.width)
    coarse = Mapping(shape, (cut[1], cut[2], channels, rows, columns), users[..., 0].copy())
    grains = (1, 1, min(p.grain_ci, STORED_GROUP), 1, 1)
    least = int(least_piece(MIN_ACTIVATION_BYTES, p.element_bytes, p.series_x))
    return subdivide(coarse, users, keep=0, grains=grains, least=least)


def _field_cuts(out: I32, stride: int, size: int, halo: int) -> I32 | None:
    """Where the field is cut for the parts of the result, `halo` beyond their first taps; None if it cannot be."""
    made = out.astype(np.int32) * stride + halo
    made[0], made[-1] = 0, size
    return made if bool((np.diff(made) > 0).all()) else None


def subdivide(coarse: Mapping, users: I32, keep: int, grains: tuple[int, ...] = (), least: int = 1) -> Mapping:
    """Cuts every cell of `coarse` evenly for the tiles in `users` (cells..., k); the first `keep` axes stay whole, the
    others are cut in whole `grains` (default: elements), into no more parts than there are times `least` elements.
    """
    grains = grains or (1,) * len(coarse.cuts)
    widest = [int(np.diff(c).max()) for c in coarse.cuts]
    widths = tuple(-(-n // g) for n, g in zip(widest, grains, strict=True))
    parts = min(users.shape[-1], max(1, prod(widest) // least))
    factors = best_factors(widths, parts, keep)
    fine, places = [], []
    for cut, factor, grain in zip(coarse.cuts, factors, grains, strict=True):
        bounds, part = _refine(cut, factor, grain)
        fine.append(bounds)
        places.append(part)
    index: I64 = np.zeros((), np.int64)
    cell: list[I64] = []
    for axis, (piece, number) in enumerate(places):
        reach = (1,) * axis + (-1,) + (1,) * (len(places) - axis - 1)
        index = np.asarray(index * factors[axis] + number.reshape(reach))
        cell.append(piece.reshape(reach))
    # fewer parts than users go to users far apart, so that no tile is first in everything
    spread = index * users.shape[-1] // prod(factors)
    return Mapping(coarse.shape, tuple(fine), users[(*cell, spread)].astype(np.int32))


def _refine(cut: I32, factor: int, grain: int) -> tuple[I32, tuple[I64, I64]]:
    """Every piece cut into `factor` parts of whole grains: (boundaries, (piece, part) of each fine piece)."""
    bounds: list[int] = [0]
    piece: list[int] = []
    part: list[int] = []
    for i, (a, b) in enumerate(zip(cut[:-1].tolist(), cut[1:].tolist(), strict=True)):
        inner = cuts(b - a, factor, grain)[1:] + a
        bounds += inner.tolist()
        piece += [i] * len(inner)
        part += range(len(inner))
    return np.array(bounds, np.int32), (np.array(piece, np.int64), np.array(part, np.int64))


@lru_cache(maxsize=4096)
def best_factors(widths: tuple[int, ...], parts: int, keep: int) -> tuple[int, ...]:
    """Split counts per axis, product at most `parts`, that make the largest piece smallest; later axes split first on
    ties.
    """
    free = tuple(1 if a < keep else w for a, w in enumerate(widths))
    options = candidates(free, parts).astype(np.int64)
    pieces = -(-np.array(widths, np.int64) // options)
    volume = pieces.prod(axis=1)
    smallest = np.flatnonzero(volume == volume.min())
    fewest = smallest[options[smallest].prod(axis=1).argmin()]
    return tuple(int(f) for f in options[fewest])


@lru_cache(maxsize=2048)
def _staged(source: Mapping, members: int) -> Mapping:
    depth = source.shape[0]
    whole, rest = divmod(depth, members)
    parts = [_chunks(source, 0, whole, members)] if whole else []
    if rest:
        parts.append(_chunks(source, whole * members, 1, rest))
    return parts[0] if len(parts) == 1 else concat(parts, 0)


def _chunks(source: Mapping, first: int, chunks: int, members: int) -> Mapping:
    """Where the sums of `chunks` times `members` partials from `first` on go."""
    order = first + np.arange(chunks)[:, None] * members + np.arange(members)
    users = np.moveaxis(source.tiles[order], 1, -1)
    coarse = Mapping(
        (chunks, *source.shape[1:]),
        (np.arange(chunks + 1, dtype=np.int32), *source.cuts[1:]),
        np.ascontiguousarray(users[..., 0]),
    )
    channels = int(np.diff(source.cuts[3]).max())
    grain = REDUCE_GRAIN if channels % REDUCE_GRAIN == 0 else 1
    return subdivide(coarse, users, keep=1, grains=(1, 1, 1, grain, 1, 1))


def reduce_map(source: Mapping, members: int) -> Mapping:
    """Where sums of `members` neighbouring partials (first axis) go: each cell spread over the tiles that hold its
    partials.
    """
    return _staged(source, members)


@lru_cache(maxsize=4096)
def _reduce_rows(target: Mapping, depth: int, members: int) -> tuple[Rows, Boxes]:
    shares = target.shares()
    lo, hi = shares.lo.copy(), shares.hi.copy()
    lo[:, 0], hi[:, 0] = lo[:, 0] * members, np.minimum(depth, hi[:, 0] * members)
    sizes = np.stack([shares.elements, _first_depth(lo, hi, shares.first)], axis=1).astype(np.int32)
    return Rows(shares.tiles, sizes), Boxes(lo, hi, shares.first)


def _first_depth(lo: I32, hi: I32, first: I32) -> I32:
    return np.asarray((hi - lo)[first[:-1], 0])


def reduce_rows(target: Mapping, depth: int, members: int) -> tuple[Rows, Boxes]:
    """Vertices that sum `members` partials for every share of `target`: rows (elements, partials) and boxes of the
    partials.
    """
    return _reduce_rows(target, depth, members)
