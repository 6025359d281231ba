"""Casts, fills, and the scaled addition of optimisers."""

from __future__ import annotations

import numpy as np

from ipusim.dtype import DType, as_dtype, bool_, float32, half
from ipusim.errors import BadInput
from ipusim.program import control as prog
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import codelets, expr, work
from ipusim_kernels.popops.cycles import CastTiming, ScaledAddTiming
from ipusim_kernels.popops.elementwise import needs_float, priced
from ipusim_kernels.popops.expr import Expr, _1, _2, _3
from ipusim_kernels.popops.generated import share


def cast(graph: Graph, x: Tensor, dtype: DType | str, program: prog.Sequence, name: str = "") -> Tensor:
    """x in another type, on the same tiles: halves are rounded to nearest even, integers are truncated and wrap."""
    to = as_dtype(dtype)
    return priced(
        lambda made, multi: CastTiming(made.types[0] == half, made.dtype == half, multi),
        "cast", graph, expr.cast(_1, to), [x], program, name,
    )  # fmt: skip


def scaled_add_to(
    graph: Graph, a: Tensor, b: Tensor, scale: float | Tensor, program: prog.Sequence, name: str = ""
) -> None:
    """a += scale * b.  `a` and `b` hold floats; `scale` is a number or a tensor of one element.

    Where types differ the sum is computed in float32 and rounded once.  Raises BadInput for shapes or types that do
    not go together.
    """
    tensors = [a, b, scale] if isinstance(scale, Tensor) else [a, b]
    work.check_graph("popops.scaled_add_to", graph, tensors, program)
    for tensor in tensors:
        needs_float("scaled_add_to", tensor)
    if isinstance(scale, Tensor) and scale.elements != 1:
        raise BadInput(f"popops.scaled_add_to: the scale is one element, not {work.show(scale)}")
    if a.shape != b.shape:
        raise BadInput(f"popops.scaled_add_to: {work.show(a)} and {work.show(b)} differ in shape")
    factor = _3 if isinstance(scale, Tensor) else expr.Const(float(scale))
    mk1 = work.generation(graph) == "mk1"
    priced(
        lambda made, multi: ScaledAddTiming(made.types[0] == half, made.types[1] == half, mk1, multi),
        "scaled_add_to", graph, _scaled(tensors, factor), tensors, program, name, in_place=True,
    )  # fmt: skip


def _scaled(tensors: list[Tensor], factor: Expr) -> Expr:
    if len({t.dtype for t in tensors}) == 1:
        return _1 + factor * _2
    wide = factor if factor.kind == "const" else expr.cast(factor, float32)
    return expr.cast(expr.cast(_1, float32) + wide * expr.cast(_2, float32), tensors[0].dtype)


def fill(graph: Graph, x: Tensor, value: float, program: prog.Sequence, name: str = "") -> None:
    """Every element of x becomes a number.  Raises BadInput if x's type cannot hold it."""
    work.check_graph("popops.fill", graph, [x], program)
    number = _fits(x, value)
    label, flat = work.title(name, "fill"), x.flatten()
    if not x.elements:
        return
    chosen, slicer = work.compute_set(graph, program, label), work.Slicer(flat)
    for held in work.shares("popops.fill", [flat]):
        if held.solid:
            fields = {"out": slicer.spans(held.rows), "value": number, "share": share(held.elements, x.dtype)}
            graph.add_vertex(chosen, codelets.fill_whole(x.dtype), fields, tile=held.tile)
            continue
        for part in work.pieces(held.rows, work.grain_of(x.dtype)):
            fields = {"out": slicer.each(part), "value": number}
            graph.add_vertex(chosen, codelets.fill_rows(x.dtype), fields, tile=held.tile)


def zero(graph: Graph, x: Tensor, program: prog.Sequence, name: str = "") -> None:
    """Every element of x becomes zero."""
    fill(graph, x, 0, program, work.title(name, "zero"))


def _fits(x: Tensor, value: float) -> float:
    if not isinstance(value, int | float | np.generic):
        raise BadInput(f"popops.fill: {value!r} is no number")
    if x.dtype.is_float:
        return float(value)
    number = int(value)
    limits = (0, 1) if x.dtype == bool_ else (np.iinfo(x.dtype.numpy).min, np.iinfo(x.dtype.numpy).max)
    if number != value or not limits[0] <= number <= limits[1]:
        raise BadInput(f"popops.fill: {work.show(x)} cannot hold {value!r}")
    return number
