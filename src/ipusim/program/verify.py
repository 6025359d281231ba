"""What a legal tile program is.  `problems` returns everything that is wrong at once; it raises and prints nothing.

Rules: every element has a tile; every field is connected, to elements of its type, as many as it can take; a tile
exists; within a compute set no element is written by two fields, and none is read by one field and written by another
(vertices of a superstep run in no order); copies and streams have ends of equal length and type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ipusim.program import control
from ipusim.program.blocks import Vertices
from ipusim.program.conflicts import conflicts
from ipusim.program.elements import runs
from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.placing import intervals_of
from ipusim.program.tensor import Tensor, Variable
from ipusim.program.wiring import VertexColumns, WiredGroup, columns, holds

MOST_ALIKE = 5  # of problems of one kind at one place; the others are counted
Wired = dict[ComputeSet, list[WiredGroup]]


def check(graph: Graph, programs: Iterable[control.Program]) -> tuple[list[str], Wired]:
    """(problems, the vertices of every compute set that runs, as columns where they could be made)."""
    listed = list(programs)
    found = [*_variables(graph), *_programs(listed, graph)]
    wired: Wired = {}
    for compute_set in used_sets(listed):
        mistakes = [m for built in compute_set.added.values() for m in _connections(compute_set, built, graph)]
        mistakes += [m for built in compute_set.together for m in _together(compute_set, built, graph)]
        found += mistakes
        if mistakes:
            continue
        wired[compute_set] = [columns(built) for built in compute_set.added.values()]
        wired[compute_set] += [built.wired() for built in compute_set.together]
        found += conflicts(compute_set.name, wired[compute_set], graph.variables, MOST_ALIKE)
    return found, wired


def used_sets(programs: Iterable[control.Program]) -> list[ComputeSet]:
    """Compute sets that programs execute, each once, in order."""
    steps = (part for whole in programs for part in control.walk(whole))
    return list(dict.fromkeys(s.compute_set for s in steps if isinstance(s, control.Execute)))


# -- placement ---------------------------------------------------------------------------------------------------------


def _variables(graph: Graph) -> Iterator[str]:
    for variable in graph.variables:
        wrong = dict.fromkeys((t, line) for t, line in variable.painted.assignments if not 0 <= t < graph.tiles)
        for tile, line in wrong:
            yield f"{line}: {variable.name!r} is put on tile {tile}; the device has tiles 0 to {graph.tiles - 1}"
        yield from _unmapped(variable)


def _unmapped(variable: Variable) -> Iterator[str]:
    where = intervals_of(variable)
    holes = np.flatnonzero(where.tile < 0)
    if not len(holes):
        return
    missing = int((where.start[holes + 1] - where.start[holes]).sum())
    ranges = ", ".join(f"[{where.start[i]}:{where.start[i + 1]}]" for i in holes[:MOST_ALIKE])
    more = f" and {len(holes) - MOST_ALIKE} more ranges" if len(holes) > MOST_ALIKE else ""
    yield (
        f"{variable.line}: variable {variable.name!r} {variable.shape}: {missing} of {variable.elements} elements have "
        f"no tile, {ranges}{more} of the flattened variable; use set_tile_mapping or map_linearly"
    )


# -- wiring ------------------------------------------------------------------------------------------------------------


def _connections(compute_set: ComputeSet, built: VertexColumns, graph: Graph) -> list[str]:
    found: list[str] = []
    seen: dict[str, int] = {}
    for row, (tile, line) in enumerate(zip(built.tiles, built.lines, strict=True)):
        for key, text in _vertex(built, row, tile, graph):
            seen[key] = seen.get(key, 0) + 1
            if seen[key] <= MOST_ALIKE:
                found.append(f"compute set {compute_set.name!r}, {line}: vertex {built.codelet.name}{text}")
    found += [
        f"compute set {compute_set.name!r}, vertex {built.codelet.name}: {count - MOST_ALIKE} more about {key}"
        for key, count in seen.items()
        if count > MOST_ALIKE
    ]
    return found


def _together(compute_set: ComputeSet, built: Vertices, graph: Graph) -> Iterator[str]:
    where = f"compute set {compute_set.name!r}, {built.line}: vertex"
    for row, text in built.problems(graph.tiles, graph.variables):
        yield f"{where} {row} of {len(built)} {built.codelet.name}{text}"


def _vertex(built: VertexColumns, row: int, tile: int, graph: Graph) -> Iterator[tuple[str, str]]:
    if not 0 <= tile < graph.tiles:
        yield "tiles", f" is on tile {tile}; the device has tiles 0 to {graph.tiles - 1}"
    for spec in built.codelet.fields:
        for problem in _wire(spec, built.wires[spec.name][row], graph):
            yield f"field {spec.name!r}", f", field {spec.name!r}: {problem}"
    for member in built.codelet.values:
        value = built.values[member.name][row]
        if value is None:
            yield f"member {member.name!r}", f", member {member.name!r} has no value"
        elif not holds(member.dtype, value):
            yield f"member {member.name!r}", f", member {member.name!r}: {value} is no {member.dtype}"


def _wire(spec: Any, wire: Any, graph: Graph) -> Iterator[str]:
    if wire is None:
        yield "is not connected"
        return
    for tensor in wire if isinstance(wire, list) else [wire]:
        strange = [v for v in tensor.variables() if not _is_of(v, graph)]
        if strange:
            yield f"{strange[0].name!r} belongs to another graph"
        if tensor.dtype != spec.dtype:
            yield f"holds {spec.dtype}, and {describe(tensor)} is {tensor.dtype}"
        if spec.depth == 0 and (isinstance(wire, list) or tensor.elements != 1):
            yield f"is one element, and {describe(tensor)} has {tensor.elements}"
    if spec.depth == 2 and isinstance(wire, Tensor) and len(wire.shape) < 2:
        yield f"is a vector of vectors: connect a matrix or a list of tensors, not {describe(wire)}"


def _is_of(variable: Variable, graph: Graph) -> bool:
    return 0 <= variable.number < len(graph.variables) and graph.variables[variable.number] is variable


def describe(tensor: Tensor) -> str:
    """A tensor in a message."""
    return f"{tensor.label!r} {tensor.shape}"


# -- programs ----------------------------------------------------------------------------------------------------------


def _programs(programs: Iterable[control.Program], graph: Graph) -> Iterator[str]:
    seen: set[int] = set()
    for whole in programs:
        for part in control.walk(whole):
            if id(part) in seen:
                continue
            seen.add(id(part))
            strange = [v for t in _tensors(part) for v in t.variables() if not _is_of(v, graph)]
            if strange:
                yield f"{type(part).__name__}: {strange[0].name!r} belongs to another graph"
            elif isinstance(part, control.Copy):
                yield from _copy(part)
            elif isinstance(part, control.StreamCopy):
                stream, tensor = part.stream, part.tensor
                if part.target is tensor:
                    yield from _twice(f"{part.line}: StreamCopy", tensor)
                if (stream.elements, stream.dtype) != (tensor.elements, tensor.dtype):
                    yield (
                        f"{part.line}: StreamCopy: a packet of {stream.name!r} is {stream.elements} of {stream.dtype}, "
                        f"{describe(tensor)} is {tensor.elements} of {tensor.dtype}"
                    )


def _tensors(part: control.Program) -> list[Tensor]:
    """What a program moves, prints or decides by."""
    ends = [getattr(part, name, None) for name in ("source", "target", "tensor", "predicate", "selector")]
    return [t for t in ends if isinstance(t, Tensor)]


def _copy(part: control.Copy) -> Iterator[str]:
    source, target = part.source, part.target
    if source.elements != target.elements:
        yield (
            f"{part.line}: Copy: source {describe(source)} has {source.elements} elements, "
            f"target {describe(target)} has {target.elements}"
        )
    if source.dtype != target.dtype:
        ends = f"source {describe(source)} is {source.dtype}, target {describe(target)} {target.dtype}"
        yield f"{part.line}: Copy: {ends}"
    yield from _twice(f"{part.line}: Copy", target)


def _twice(where: str, target: Tensor) -> Iterator[str]:
    written = runs([target])
    order = np.lexsort((written.start, written.variable))
    variable, start, length = written.variable[order], written.start[order], written.length[order]
    if np.any((variable[1:] == variable[:-1]) & (start[1:] < start[:-1] + length[:-1])):
        yield f"{where}: target {describe(target)} has an element twice; one value can be written to it"
