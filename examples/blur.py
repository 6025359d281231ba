"""Gaussian blur of a four-channel image: halos as slices of tensors, and what a superstep spends on what.

The image is cut into blocks, one per tile, and each block into up to six parts, one per worker.  A vertex has its part
and, as eight fields more, the rows, columns and corner pixels around it: what is on another tile arrives by the
exchange, what is on its own but not in one stretch of memory is copied together first.  One step blurs `img` to `tmp`,
the next one back.  Its codelet (nine loop regions, variants for thin parts) is ipusim_models.measured.blur_codelet.

    python examples/blur.py --image 2200x1122x4 --datatype half4 --min-rows 1 --min-cols 1
"""

import math
from typing import Any

import numpy as np
from _sizes import Parser, count, even, extents, finish, show

from ipusim import Engine, Graph, Tensor, target
from ipusim import program as prog
from ipusim_models.measured.blur_codelet import CHANNELS, TYPES, make_codelet


def place(size: tuple[int, int], device: Any, least: tuple[int, int]) -> dict[int, tuple[range, range]]:
    """The block (rows, columns) of every tile that has one: each IPU a strip of the image, each tile a block of it."""
    (height, width), ipus = size, device.ipus
    if (height % ipus) / height < (width % ipus) / width:
        strips = [(rows, range(width)) for rows in even(height, ipus)]
    else:
        strips = [(range(height), columns) for columns in even(width, ipus)]
    blocks = {}
    for ipu, (rows, columns) in enumerate(strips):
        for tile, (r, c) in enumerate(cut((len(rows), len(columns)), device.chip.tiles, least)):
            blocks[ipu * device.chip.tiles + tile] = rows[r.start : r.stop], columns[c.start : c.stop]
    return blocks


def cut(size: tuple[int, int], tiles: int, least: tuple[int, int]) -> list[tuple[range, range]]:
    """Blocks (rows, columns) of a strip of (height, width), one per tile, row by row; `least` rows and columns."""
    (height, width), (min_rows, min_cols) = size, least
    aspect = max(min_cols, width) / max(min_rows, height)
    columns = max(1, min(tiles, width // min_cols, math.ceil(math.sqrt(tiles * aspect))))
    rows = max(1, min(tiles, height // min_rows, tiles // columns))
    return [(r, c) for r in even(height, rows) for c in even(width, columns)]


def parts(rows: range, columns: range, workers: int) -> list[tuple[range, range]]:
    """A block cut for the workers: along the side that divides more evenly."""
    height, width = len(rows), len(columns)
    if (height % workers) / height <= (width % workers) / width:
        return [(rows[p.start : p.stop], columns) for p in even(height, workers)]
    return [(rows, columns[p.start : p.stop]) for p in even(width, workers)]


def around(image: Tensor, zeros: Tensor, rows: range, columns: range) -> dict[str, Tensor]:
    """The part of an image that a vertex reads: its pixels and what lies around them, zeros outside the image."""
    height, width = image.shape[:2]
    up, down, left, right = rows.start - 1, rows.stop, columns.start - 1, columns.stop
    is_up, is_down, is_left, is_right = up >= 0, down < height, left >= 0, right < width
    one, row, column = zeros[:1], zeros[: len(columns)], zeros[: len(rows)]
    mine_r, mine_c = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
    return {
        "inp": image[mine_r, mine_c],
        "n": image[up, mine_c] if is_up else row,
        "s": image[down, mine_c] if is_down else row,
        "w": image[mine_r, left] if is_left else column,
        "e": image[mine_r, right] if is_right else column,
        "nw": image[up, left] if is_up and is_left else one,
        "ne": image[up, right] if is_up and is_right else one,
        "sw": image[down, left] if is_down and is_left else one,
        "se": image[down, right] if is_down and is_right else one,
    }


def build(size: tuple[int, int], datatype: str, least: tuple[int, int], device: Any) -> tuple[Graph, list[Any]]:
    """The graph and its two steps, img -> tmp and tmp -> img."""
    dtype, vectorize = TYPES[datatype]
    graph = Graph(device, name="blur")
    blocks = place(size, device, least)
    images = [graph.add_variable((*size, CHANNELS), dtype, name) for name in ("img", "tmp")]
    for tile, (rows, columns) in blocks.items():
        for image in images:
            graph.set_tile_mapping(image[rows.start : rows.stop, columns.start : columns.stop], tile)
    longest = max(max(len(r), len(c)) for r, c in blocks.values())
    zeros = graph.add_constant(np.zeros((len(blocks), longest, CHANNELS)), dtype, "zeros")
    for row, tile in enumerate(blocks):
        graph.set_tile_mapping(zeros[row], tile)
    blur = make_codelet(dtype, vectorize)
    steps = []
    for source, result in (images, images[::-1]):
        step = graph.add_compute_set(f"blur {source.label} to {result.label}")
        for row, (tile, block) in enumerate(blocks.items()):
            for rows, columns in parts(*block, device.chip.tile.workers):
                fields = around(source, zeros[row], rows, columns)
                fields["out"] = result[rows.start : rows.stop, columns.start : columns.stop]
                sizes = {"width": len(columns), "height": len(rows)}
                graph.add_vertex(step, blur, fields | sizes, tile=tile)
        steps.append(prog.Execute(step))
    return graph, steps


def blurred(image: np.ndarray) -> np.ndarray:
    """One step in numpy, in the order of the codelet: equal to the bit."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    height, width = image.shape[:2]
    nw, n, ne, w, m, e, sw, s, se = (padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    sixteenth, eighth, quarter = (image.dtype.type(v) for v in (0.0625, 0.125, 0.25))
    return (nw + ne + sw + se) * sixteenth + (n + s + e + w) * eighth + m * quarter


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--image", type=extents("WxHxC"), default=(96, 64, 4), help="width x height x 4 channels")
    parser.add_argument("--datatype", choices=list(TYPES), default="half4", help="elements and vector width")
    parser.add_argument("--min-rows", type=count(), default=6, help="least rows of a tile's block")
    parser.add_argument("--min-cols", type=count(), default=6, help="least columns of a tile's block")
    parser.add_argument("--iterations", type=count(), default=1, help="times that img -> tmp -> img is done")
    parser.add_argument("--ipus", type=count(), default=1, help="IPUs that share the image (default 1)")
    chosen = parser.parse_args()
    width, height, channels = chosen.image
    if channels != CHANNELS:
        parser.error(f"argument --image: {channels} channels; the codelet is written for {CHANNELS}")
    least, device = (chosen.min_rows, chosen.min_cols), target(chosen.system, ipus=chosen.ipus)
    graph, steps = build((height, width), chosen.datatype, least, device)
    engine = Engine(graph, [prog.Sequence(steps), prog.Repeat(chosen.iterations, steps)])

    pixels = np.random.default_rng(0).random((height, width, CHANNELS)).astype(TYPES[chosen.datatype][0].numpy)
    engine.write_tensor("img", pixels)
    engine.run(0)
    sweep = engine.report(steps[0])
    correct = np.array_equal(engine.read_tensor("img"), blurred(blurred(pixels)))
    if not correct:
        raise SystemExit("blur: the tiles' result differs from NumPy's")
    engine.run(1)
    report = engine.report()
    facts = {
        "example": "blur",
        "system": chosen.system,
        "image": [width, height, CHANNELS],
        "datatype": chosen.datatype,
        "min_rows": chosen.min_rows,
        "min_cols": chosen.min_cols,
        "iterations": chosen.iterations,
        "ipus": chosen.ipus,
        "tiles": len(place((height, width), device, least)),
        "phases": step_names(sweep.phases),
        "cycles": report.cycles,
        "time": report.latency,
        "correct": correct,
    }
    show(chosen.json, facts, text(facts))


def step_names(phases: dict[str, int]) -> dict[str, int]:
    """Phases of a sweep under the names of the profile that was measured on a GC2."""
    names = {
        "sync": "sync",
        "exchange": "exchange",
        "globExchange": "link",
        "pre": "copy_before",
        "post": "copy_after",
        "compute": "compute",
    }
    return {new: phases.get(old, 0) for new, old in names.items()} | {"total": sum(phases.values())}


def text(facts: dict[str, Any]) -> str:
    """What a reader should see."""
    width, height, _ = facts["image"]
    phases = facts["phases"]
    why = {
        "sync": "barrier",
        "exchange": "edges of neighbouring blocks",
        "globExchange": "between IPUs",
        "pre": "columns copied together",
        "post": "results put back in place",
        "compute": "the slowest tile",
    }
    lines = [f"blur of {width} x {height} pixels, {facts['datatype']}, on {facts['tiles']} tiles of {facts['system']}"]
    lines += [f"  {name:<13}{phases[name]:>9,} cycles  {what}" for name, what in why.items()]
    lines += [f"  {'total':<13}{phases['total']:>9,} cycles  one sweep"]
    lines += [f"{2 * facts['iterations']} sweeps: {facts['cycles']:,} cycles; equal to NumPy to the bit"]
    return "\n".join(lines)


if __name__ == "__main__":
    finish(main)
