"""The Gaussian blur as a tile program: which block of the image is on which tile and worker, and how they are wired.

Image of `height` x `width` pixels of four channels; two variables with one mapping, blurred from one to the other and
back.  IPUs have strips of the image, tiles a grid of blocks of their IPU's strip, workers parts of their tile's block.
All cuts are as even as possible, larger pieces first.  What is outside the image is a constant zero on the tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim import BadInput, Graph, Tensor
from ipusim import program as prog
from ipusim.hw.spec import SystemSpec
from ipusim_models.measured.blur_codelet import CHANNELS

I64 = NDArray[np.int64]
Size = tuple[int, int]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Partition:
    """Rectangles of pixels, each row (top, bottom, left, right): `blocks` (tiles, 4) of the tiles that have one, on
    `tiles`; `parts` (vertices, 4) of the workers, on tiles `of`[i] of `tiles`."""

    size: Size
    blocks: I64
    tiles: I64
    parts: I64
    of: I64


def even(size: int, pieces: int) -> I64:
    """Edges of 0..size cut into consecutive pieces as even as possible, larger ones first.  Returns: (pieces + 1,)."""
    return _edge(np.int64(size), np.int64(pieces), np.arange(pieces + 1))


def _edge(size: I64 | np.int64, pieces: I64 | np.int64, number: I64) -> I64:
    """Where piece `number` of an even cut begins (the last one ends there for `number` = `pieces`)."""
    return np.asarray(number * (size // pieces) + np.minimum(number, size % pieces))


def partition(size: Size, *, ipus: int, tiles: int, workers: int, least: Size) -> Partition:
    """Cuts an image of (height, width) for `ipus` IPUs of `tiles` tiles with blocks of at least `least` pixels.

    Raises BadInput for more IPUs than the image has rows and columns.
    """
    blocks, where = [], []
    for ipu, strip in enumerate(_strips(size, ipus)):
        blocks.append(_grid(strip, tiles, least))
        where.append(ipu * tiles + np.arange(len(blocks[-1])))
    every = np.concatenate(blocks)
    parts, of = _parts(every, workers)
    return Partition(size, every, np.concatenate(where), parts, of)


def _strips(size: Size, ipus: int) -> Iterator[tuple[int, int, int, int]]:
    height, width = size
    by_rows = (height % ipus) / height < (width % ipus) / width
    if ipus > (height if by_rows else width):
        raise BadInput(f"an image of {width} x {height} has no strip for each of {ipus} IPUs")
    for a, b in itertools.pairwise(even(height if by_rows else width, ipus).tolist()):
        yield (a, b, 0, width) if by_rows else (0, height, a, b)


def _grid(strip: tuple[int, int, int, int], tiles: int, least: Size) -> I64:
    """Blocks of a strip, row by row."""
    top, bottom, left, right = strip
    height, width, (min_rows, min_cols) = bottom - top, right - left, least
    aspect = max(min_cols, width) / max(min_rows, height)
    columns = max(1, min(tiles, width // min_cols, math.ceil(math.sqrt(tiles * aspect))))
    rows = max(1, min(tiles, height // min_rows, tiles // columns))
    down, along = top + even(height, rows), left + even(width, columns)
    r, c = (i.reshape(-1) for i in np.indices((rows, columns)))
    return np.stack([down[r], down[r + 1], along[c], along[c + 1]], axis=1)


def _parts(blocks: I64, workers: int) -> tuple[I64, I64]:
    """(parts of all blocks, the block of each): cut along the side that divides more evenly, rows if equal."""
    top, bottom, left, right = blocks.T
    height, width = bottom - top, right - left
    by_rows = (height % workers) / height <= (width % workers) / width
    side = np.where(by_rows, height, width)
    count = np.minimum(workers, side)
    of = np.repeat(np.arange(len(blocks)), count)
    number = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    begin, end = (_edge(side[of], count[of], number + i) for i in (0, 1))
    parts, rows = blocks[of].copy(), by_rows[of]
    for axis, chosen in ((0, rows), (2, ~rows)):
        first = blocks[of, axis]
        parts[chosen, axis] = (first + begin)[chosen]
        parts[chosen, axis + 1] = (first + end)[chosen]
    return parts, of


def build(cut: Partition, codelet: Any, dtype: Any, device: SystemSpec) -> tuple[Graph, list[prog.Execute]]:
    """The graph and its two steps, `img` to `tmp` and back."""
    graph = Graph(device, name="blur")
    images = [graph.add_variable((*cut.size, CHANNELS), dtype, name) for name in ("img", "tmp")]
    for image in images:
        graph.set_tile_mapping(image.blocks(*_bounds(cut.blocks)), cut.tiles)
    zeros = _zeros(graph, cut, dtype)
    steps = []
    for source, result in (images, images[::-1]):
        step = graph.add_compute_set(f"{source.label} to {result.label}")
        _add_vertices(graph, step, codelet, cut, (source, result, zeros))
        steps.append(prog.Execute(step))
    return graph, steps


def _bounds(rectangles: I64) -> tuple[I64, I64]:
    """Lower and upper bounds of rectangles of pixels, all channels."""
    top, bottom, left, right = rectangles.T
    none = np.zeros(len(rectangles), np.int64)
    return np.stack([top, left, none], axis=1), np.stack([bottom, right, none + CHANNELS], axis=1)


def _zeros(graph: Graph, cut: Partition, dtype: Any) -> Tensor:
    """Constants as long as the longest edge on each tile at the border of the image, a row for each tile."""
    sides = cut.blocks[:, [1, 3]] - cut.blocks[:, [0, 2]]
    longest = int(sides.max())
    zeros = graph.add_variable((len(cut.blocks), longest, CHANNELS), dtype, "zeros")
    graph.set_initial_value(zeros, 0)
    row, none = np.arange(len(cut.blocks)), np.zeros(len(cut.blocks), np.int64)
    ends = np.stack([row + 1, none + longest, none + CHANNELS], axis=1)
    graph.set_tile_mapping(zeros.blocks(np.stack([row, none, none], axis=1), ends), cut.tiles)
    return zeros


def _add_vertices(
    graph: Graph, step: Any, codelet: Any, cut: Partition, tensors: tuple[Tensor, Tensor, Tensor]
) -> None:
    """A vertex for each part: its pixels of one image, those around it, and its pixels of the other."""
    source, result, zeros = tensors
    top, bottom, left, right = cut.parts.T
    fields = {
        "inp": source.blocks(*_bounds(cut.parts)),
        "out": result.blocks(*_bounds(cut.parts)),
        "width": right - left,
        "height": bottom - top,
    }
    vertices = graph.add_vertices(step, codelet, fields, cut.tiles[cut.of])
    height, width = cut.size
    rows = {"n": (top - 1, top), "": (top, bottom), "s": (bottom, bottom + 1)}
    columns = {"w": (left - 1, left), "": (left, right), "e": (right, right + 1)}
    for up, (r0, r1) in rows.items():
        for side, (c0, c1) in columns.items():
            if not up + side:
                continue
            near = np.stack([r0, r1, c0, c1], axis=1)
            inside = (r0 >= 0) & (r1 <= height) & (c0 >= 0) & (c1 <= width)
            vertices.connect(up + side, source.blocks(*_bounds(near[inside])), inside)
            none, pixels = cut.of[~inside] * 0, ((r1 - r0) * (c1 - c0))[~inside]
            where = cut.of[~inside]
            lo, hi = np.stack([where, none, none], axis=1), np.stack([where + 1, pixels, none + CHANNELS], axis=1)
            vertices.connect(up + side, zeros.blocks(lo, hi), ~inside)
