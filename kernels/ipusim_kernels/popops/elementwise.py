"""Elementwise calls: functions of one and two tensors, and `map` for whole expressions.

Operands broadcast as numpy's do.  The result lies where the first operand of its shape lies; each tile computes its
share in one vertex (see ipusim_kernels.popops.work).  A named call costs what poplibs' vertex of that name costs, an
expression what its generated codelet costs.  An operand that repeats in a plain pattern is read in that pattern; any
other broadcast is written out first by a `Copy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ipusim.dtype import DType, bool_
from ipusim.errors import BadInput
from ipusim.lang.decorator import TileCodelet
from ipusim.program import control as prog
from ipusim.program.elements import boxes
from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import work
from ipusim_kernels.popops.expr import Expr, arguments, expression
from ipusim_kernels.popops.generated import Kernel, Shape, build, kernel, share
from ipusim_kernels.popops.timing import Form, Timing


def map(  # noqa: A001  (poplibs' name)
    graph: Graph, tree: Any, tensors: Sequence[Tensor], program: prog.Sequence, name: str = ""
) -> Tensor:
    """An expression of placeholders, computed for every element in one vertex per tile.

    Args:
        graph: where vertices go.
        tree: of `popops.expr`; `_1` stands for an element of `tensors[0]`.
        tensors: shapes that broadcast together.
        program: appended to.
        name: goes before "map" in the names of the compute set and the result.

    Returns: a new tensor of the broadcast shape; its type follows from the expression.
    Raises BadInput for shapes or types that do not go together.
    """
    return _Call("popops.map", graph, program, work.title(name, "map")).run(expression(tree), tensors)


def map_in_place(graph: Graph, tree: Any, tensors: Sequence[Tensor], program: prog.Sequence, name: str = "") -> None:
    """As `map`, the result stored in `tensors[0]`, whose shape and type it must have."""
    _Call("popops.map_in_place", graph, program, work.title(name, "map")).run(expression(tree), tensors, True)


_WHOLE: Form = "vector"
Price = Callable[[Kernel, bool], Callable[..., int]]


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Operand:
    """How an operand is read: `flat`, all of it or the vector that repeats, each element `repeat` times in a row."""

    form: Form
    flat: Tensor
    repeat: int = 1


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Call:
    """One call; `call` names it in errors, `label` in reports; `op` is a row of the cycle tables ("" for none)."""

    call: str
    graph: Graph
    program: prog.Sequence
    label: str
    op: str = ""
    scalar: bool = False
    price: Price | None = None

    def run(self, tree: Expr, tensors: Sequence[Tensor], in_place: bool = False) -> Tensor:
        """Makes the vertices.  Returns: what was written."""
        work.check_graph(self.call, self.graph, tensors, self.program)
        if not tensors or arguments(tree) > len(tensors):
            raise BadInput(f"{self.call}: the expression reads tensor {arguments(tree)}, and there are {len(tensors)}")
        shape = self._shape(tensors)
        if in_place and shape != tensors[0].shape:
            listed = ", ".join(work.show(t) for t in tensors[1:])
            raise BadInput(f"{self.call}: {work.show(tensors[0])} cannot hold the result {shape} with {listed}")
        first = next((t for t in tensors if t.shape == shape), None)
        types = tuple(t.dtype for t in tensors)
        dtype = kernel(self.call, tree, types, tuple(_WHOLE for _ in tensors), False).dtype
        if in_place and dtype != tensors[0].dtype:
            raise BadInput(f"{self.call}: the result is {dtype}, and {work.show(tensors[0])} cannot hold it; use cast")
        out = tensors[0] if in_place else self._result(first, shape, dtype)
        operands = [self._operand(t, out, in_place and k == 0) for k, t in enumerate(tensors)]
        made = kernel(self.call, tree, types, tuple(o.form for o in operands), in_place)
        if out.elements:
            _place(self, made, out, operands)
        return out

    def _shape(self, tensors: Sequence[Tensor]) -> tuple[int, ...]:
        try:
            return np.broadcast_shapes(*(t.shape for t in tensors))
        except ValueError:
            listed = ", ".join(work.show(t) for t in tensors)
            raise BadInput(f"{self.call}: the shapes of {listed} do not broadcast together") from None

    def _result(self, first: Tensor | None, shape: tuple[int, ...], dtype: DType) -> Tensor:
        if first is not None:
            return work.like(self.graph, first, dtype, self.label)
        made = work.variable(self.graph, shape, dtype, self.label)
        self.graph.map_linearly(made)
        return made

    def _operand(self, tensor: Tensor, out: Tensor, written: bool) -> _Operand:
        if written or tensor.shape == out.shape:
            whole = _in_storage(tensor, out).flatten()
            return _Operand("scalar" if tensor.elements == 1 and not written and out.elements > 1 else "vector", whole)
        if tensor.elements == 1:
            return _Operand("scalar", tensor.flatten())
        view = _in_storage(tensor.broadcast_to(out.shape), out)
        found = _pattern(view)
        if found is not None:
            return found
        written_out = work.like(self.graph, out, tensor.dtype, f"{self.label}/broadcast")
        self.program.add(prog.Copy(tensor.broadcast_to(out.shape), written_out, f"{self.label}/broadcast"))
        return _Operand("vector", _in_storage(written_out, out).flatten())

    def timing(self, made: Kernel, multi: bool) -> Callable[..., int] | None:
        """The formula of a named call."""
        if self.price is not None:
            return self.price(made, multi)
        if not self.op:
            return None
        forms: tuple[Form, ...] = (*made.forms, "scalar") if self.scalar else made.forms
        mk1 = work.generation(self.graph) == "mk1"
        return Timing(self.op, made.types[0], forms, made.in_place, mk1, multi, made.target)


def _in_storage(tensor: Tensor, out: Tensor) -> Tensor:
    """A tensor of the result's shape, seen in the order in which the result's variable is stored."""
    return tensor.as_base_of(out) if out.chain() is not None else tensor


def _pattern(view: Tensor) -> _Operand | None:
    """The vector that a broadcast view repeats, if its repeated axes are the last ones, the first ones, or both."""
    found = boxes(view)
    if len(found) != 1 or found[0][2] != view.shape:
        return None
    repeated = [s == 0 and n > 1 for n, s in zip(view.shape, found[0][3], strict=True)]
    axes = [a for a, n in enumerate(view.shape) if n > 1]
    flags = [repeated[a] for a in axes]
    while flags and flags[0]:
        flags.pop(0)
    repeat = 1
    for a in reversed(axes):
        if not (flags and flags[-1]):
            break
        flags.pop()
        repeat *= view.shape[a]
    if any(flags):
        return None
    for a in axes:
        if repeated[a]:
            view = view.slice(a, 0, 1)
    return _Operand("pattern", view.flatten(), repeat)


def _place(call: _Call, made: Kernel, out: Tensor, operands: Sequence[_Operand]) -> None:
    """Vertices of a call, in one compute set."""
    flat = _in_storage(out, out).flatten()
    vectors = [o.flat for o in operands if o.form == "vector"]
    found = work.shares(call.call, [flat, *vectors])
    chosen = work.compute_set(call.graph, call.program, call.label)
    wiring = _Wiring(call.graph, chosen, made, operands, work.Slicer(flat))
    patterned, grain = "pattern" in made.forms, work.grain_of(made.dtype)
    for held in found:
        if patterned and not call.op and call.price is None:
            codelet = build(made, "single")
            for part in work.pieces(held.rows, grain):
                for row in part:
                    wiring.add(codelet, held.tile, [row], "single")
        elif patterned or held.solid:
            codelet = build(made, "multi", call.timing(made, True))
            for rows in [[r] for r in held.rows] if patterned else [held.rows]:
                wiring.add(codelet, held.tile, rows, "multi")
        else:
            codelet = build(made, "rows", call.timing(made, False))
            for part in work.pieces(held.rows, grain):
                wiring.add(codelet, held.tile, part, "rows")


@final
class _Wiring:
    """Connects vertices of a kernel to stretches of its operands."""

    def __init__(
        self, graph: Graph, chosen: ComputeSet, made: Kernel, operands: Sequence[_Operand], out: work.Slicer
    ) -> None:
        self.graph, self.chosen, self.made, self.operands, self.out = graph, chosen, made, operands, out
        self.slicers = [work.Slicer(o.flat) for o in operands]

    def add(self, codelet: TileCodelet, tile: int, rows: Sequence[work.Span], shape: Shape) -> None:
        """A vertex over some rows."""
        fields: dict[str, Any] = {}
        names = {f.name for f in codelet.fields}
        for number, (operand, slicer) in enumerate(zip(self.operands, self.slicers, strict=True), 1):
            if f"a{number}" not in names:
                continue
            if operand.form == "scalar":
                fields[f"a{number}"] = operand.flat
            elif operand.form == "pattern":
                fields |= _stretch(number, operand, slicer, rows[0], shape)
            else:
                fields[f"a{number}"] = slicer.each(rows) if shape == "rows" else slicer.spans(rows)
        if not self.made.in_place:
            fields["out"] = self.out.each(rows) if shape == "rows" else self.out.spans(rows)
        if shape == "multi":
            fields["share"] = share(sum(e - b for b, e in rows), self.made.dtype)
        self.graph.add_vertex(self.chosen, codelet, fields, tile=tile)


def _stretch(number: int, operand: _Operand, slicer: work.Slicer, row: work.Span, shape: Shape) -> dict[str, Any]:
    """The part of a repeating vector that a stretch of the result reads, and where it starts there."""
    length, repeat = operand.flat.elements, operand.repeat
    begin, end = row
    first, last = begin // repeat, (end - 1) // repeat
    if first // length == last // length:
        low = first % length
        vector, start = slicer.span(low, low + last - first + 1), begin - first * repeat
    else:
        vector, start = slicer.span(0, length), begin % (repeat * length)
    fields: dict[str, Any] = {f"a{number}": vector, f"s{number}": start, f"r{number}": repeat}
    if shape == "single":
        fields |= {f"s{number}": start // repeat, f"c{number}": start % repeat}
    return fields


def named(
    op: str,
    call: str,
    graph: Graph,
    tree: Expr,
    tensors: Sequence[Tensor],
    program: prog.Sequence,
    name: str,
    *,
    in_place: bool = False,
    scalar: bool = False,
) -> Tensor:
    """A call with a row `op` in the cycle tables; `scalar`: its second operand is a number of the expression."""
    made = _Call(f"popops.{call}", graph, program, work.title(name, call), op, scalar)
    return made.run(tree, tensors, in_place)


def priced(
    price: Price,
    call: str,
    graph: Graph,
    tree: Expr,
    tensors: Sequence[Tensor],
    program: prog.Sequence,
    name: str,
    *,
    in_place: bool = False,
) -> Tensor:
    """A call whose cycles `price(kernel, multi)` gives, as a function of field sizes."""
    made = _Call(f"popops.{call}", graph, program, work.title(name, call), price=price)
    return made.run(tree, tensors, in_place)


def needs_float(call: str, tensor: Tensor) -> None:
    """Raises BadInput unless a tensor holds floats."""
    if isinstance(tensor, Tensor) and not tensor.dtype.is_float:
        raise BadInput(f"popops.{call}: needs float32 or half, and {work.show(tensor)} holds neither; cast it first")


def needs_bool(call: str, tensor: Tensor) -> None:
    """Raises BadInput unless a tensor holds bools."""
    if isinstance(tensor, Tensor) and tensor.dtype != bool_:
        raise BadInput(f"popops.{call}: needs bool, and {work.show(tensor)} is not; compare it with something first")
