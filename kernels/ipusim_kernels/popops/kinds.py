"""Vertices of scaled additions, sorting and transposing by name: a row's parameters to arguments of formulas."""

from __future__ import annotations

from ipusim.errors import BadInput
from ipusim_kernels.parameters import Formula, Parameters
from ipusim_kernels.popops import vertex_cycles as cycles


def _pointer(p: Parameters) -> int:
    """Supervisor cycles for scaled pointers."""
    p.unpack()
    return 6 if p.text("layout", "OnePtr") == "ScaledPtr64" else 0


def _scaled_add(p: Parameters) -> int:
    n = p.count("n")
    if p.is_integer("A") and p.is_integer("B"):
        return cycles.scaled_add_integers(n)
    return cycles.scaled_add(n, p.half("A"), p.half("B"), p.mk1, p.flag("memConstrained"), _pointer(p))


def _sum_of_scaled(p: Parameters) -> int:
    half = p.half("A")
    if half != p.half("B"):
        raise BadInput(f"aX + bY of {p.text('A')} and {p.text('B')} has no formula here")
    fields = _pointer(p) + 2 * p.unpack()
    return cycles.sum_of_scaled(p.count("n"), half, p.mk1, p.flag("memConstrained"), fields)


def _transpose_1d(p: Parameters) -> int:
    if p.element_bytes() != 2:
        raise BadInput(f"parameter type={p.text('type')}: this vertex transposes elements of 16 bits")
    blocks = p.count("rowsD4"), p.count("colsD4")
    return cycles.transpose_1d(*blocks, p.count("numTranspositionsPerWorker"), p.unpack())


def _transpose_2d(p: Parameters) -> int:
    size = p.element_bytes()
    if size not in (2, 4):
        raise BadInput(f"parameter type={p.text('type')}: this vertex transposes elements of 16 and 32 bits")
    return cycles.transpose_2d(p.count("rows"), p.count("cols"), p.count("matrices"), size == 2)


KINDS: dict[str, Formula] = {
    "popops::ScaledAddSupervisor": _scaled_add,
    "popops::aXPlusbYSupervisor": _sum_of_scaled,
    "popops::HeapSortVertex": lambda p: cycles.heap_sort(p.count("n"), False),
    "popops::HeapSortVertexKV": lambda p: cycles.heap_sort(p.count("n"), True),
    "popops::Transpose1D": _transpose_1d,
    "popops::Transpose2D": _transpose_2d,
}
