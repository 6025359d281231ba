"""Prefix sums of a vector.

Three steps: every worker sums a stretch; the sums are scanned, by one worker if they are few, else by the same three
steps over fewer tiles; every worker scans its stretch from the sum of all before it.  Halves are summed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ipusim.dtype import DType, bool_, float32, half
from ipusim.errors import BadInput
from ipusim.lang.decorator import TileCodelet
from ipusim.program import control as prog
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import codelets, work

FEW = 64  # [own choice] sums that one worker scans by itself


def prefix_sum(graph: Graph, x: Tensor, program: prog.Sequence, exclusive: bool = False, name: str = "") -> Tensor:
    """out[i] = x[0] + ... + x[i], or up to x[i - 1] if `exclusive`.

    x is a vector of numbers.  Returns: a new tensor of its shape and type, on the same tiles.
    """
    work.check_graph("popops.prefix_sum", graph, [x], program)
    if x.ndim != 1 or x.dtype == bool_:
        raise BadInput(f"popops.prefix_sum: needs a vector of numbers, not {work.show(x)}; flatten or cast it")
    return _Scan(graph, program, work.title(name, "prefix_sum")).run(x, exclusive)


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Scan:
    """One call, or the scan of sums inside one."""

    graph: Graph
    program: prog.Sequence
    label: str

    def run(self, x: Tensor, exclusive: bool) -> Tensor:
        """All steps.  Returns: prefix sums of x, of its type."""
        out = work.like(self.graph, x, x.dtype, self.label)
        slicer, written = work.Slicer(x), work.Slicer(out)
        parts = _stretches(x)
        if len(parts) < 2:
            for tile, begin, end in parts:
                made = codelets.scan_alone(x.dtype, x.dtype, exclusive)
                self._alone(made, slicer.span(begin, end), written.span(begin, end), tile, self.label)
            return out
        held = float32 if x.dtype == half else x.dtype
        starts = self._starts(self._totals(slicer, parts, x.dtype, held), held)
        chosen = work.compute_set(self.graph, self.program, f"{self.label}/scan")
        made = codelets.scan_from(x.dtype, held, exclusive)
        for k, (tile, begin, end) in enumerate(parts):
            fields = {"x": slicer.span(begin, end), "start": starts[k], "out": written.span(begin, end)}
            self.graph.add_vertex(chosen, made, fields, tile=tile)
        return out

    def _totals(self, slicer: work.Slicer, parts: list[tuple[int, int, int]], given: DType, held: DType) -> Tensor:
        totals = work.variable(self.graph, (len(parts),), held, f"{self.label}/totals")
        self.graph.map_linearly(totals, min_bytes_per_tile=FEW * held.bytes, first_tile=parts[0][0])
        chosen = work.compute_set(self.graph, self.program, f"{self.label}/totals")
        made = codelets.scan_part(given, held)
        for k, (tile, begin, end) in enumerate(parts):
            fields = {"x": [slicer.span(begin, end)], "total": totals[k]}
            self.graph.add_vertex(chosen, made, fields, tile=tile)
        return totals

    def _starts(self, totals: Tensor, held: DType) -> Tensor:
        if len(totals) > FEW:
            return _Scan(self.graph, self.program, f"{self.label}/totals").run(totals, True)
        starts = work.like(self.graph, totals, held, f"{self.label}/starts")
        tile = next(t for t, spans in enumerate(self.graph.get_tile_mapping(totals)) if spans)
        made = codelets.scan_alone(held, held, True)
        self._alone(made, totals, starts, tile, f"{self.label}/starts")
        return starts

    def _alone(self, made: TileCodelet, x: Tensor, out: Tensor, tile: int, label: str) -> None:
        chosen = work.compute_set(self.graph, self.program, label)
        self.graph.add_vertex(chosen, made, {"x": x, "out": out}, tile=tile)


def _stretches(x: Tensor) -> list[tuple[int, int, int]]:
    """(tile, begin, end) of what each worker scans, in order of elements."""
    out = []
    for held in work.shares("popops.prefix_sum", [x], whole_rows=True):
        most = max(1, work.WORKERS // len(held.rows))
        for row in held.rows:
            parts = work.pieces([row], work.grain_of(x.dtype), most)
            out += [(held.tile, part[0][0], part[-1][1]) for part in parts]
    return sorted(out, key=lambda part: part[1])
