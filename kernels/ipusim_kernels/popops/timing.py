"""Cycles of a named elementwise call, by poplibs' formulas (see ipusim_kernels.elementwise.cycles).

The formulas of MultiVertices count the supervisor's launch; those of worker vertices do not, and the engine adds it.
Where the formula is out of place, the start that a counter saw beyond it is added (`MULTI_STUB_CYCLES`); the formulas
in place start 29 slots later by themselves.
An expression of `map` has no formula: its cycles are counted from the generated source, as popc would compile it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

from ipusim.dtype import DType, float32, half
from ipusim.hw.cost import MULTI_STUB_CYCLES
from ipusim.units import ceil_div
from ipusim_kernels.elementwise import cycles

Form = Literal["vector", "scalar", "pattern"]

BROADCAST_2D_ROW = 28  # [poplibs] lib/popops/popopsCycleEstimators.cpp: per region of BroadcastScalar2D
BROADCAST_2D = 20  # [poplibs] the same: once per vertex


@final
@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles of a vertex from the sizes of its fields.

    `op` names a row of the tables, `dtype` is the operands', `forms` says how each operand is read, `multi` which of
    the two vertex forms it is; `target` is the field that is written.
    """

    op: str
    dtype: DType
    forms: tuple[Form, ...]
    in_place: bool
    mk1: bool
    multi: bool
    target: str

    def __call__(self, **sizes: Any) -> int:
        """Cycles from field sizes."""
        if not self.multi:
            return self._rows(sizes[self.target])
        return self._whole(int(sizes[self.target]), sizes) + (0 if self.in_place else MULTI_STUB_CYCLES)

    @property
    def _half(self) -> bool:
        return self.dtype == half

    def _entry(self, broadcast: bool) -> cycles.Loop:
        if not self.dtype.is_float:
            return cycles.INTEGER_LOOP
        if self.op in cycles.UNARY and len(self.forms) == 1:
            return cycles.unary_entry(self.op, self._half, self.in_place, self.mk1)
        if broadcast and self.op in cycles.BROADCAST:
            return cycles.BROADCAST[self.op][1 if self._half else 0]
        if self.op in cycles.BINARY:
            return cycles.binary_entry(self.op, self._half, self.in_place, self.mk1)
        return cycles.INTEGER_LOOP

    def _whole(self, n: int, sizes: dict[str, Any]) -> int:
        if len(self.forms) == 1:
            return cycles.unary_1d(self._entry(False), n, self.in_place, self.op == "exp")
        if self.forms == ("vector", "vector"):
            return cycles.binary_1d(self._entry(False), n, self.dtype == float32, self.in_place)
        if "pattern" in self.forms:
            return self._pattern(n, sizes)
        return cycles.broadcast_scalar_1d(self._entry(True), n)

    def _pattern(self, n: int, sizes: dict[str, Any]) -> int:
        number = self.forms.index("pattern") + 1
        length, repeat = int(sizes[f"a{number}"]), int(sizes[f"r{number}"])
        if repeat > 1:
            return cycles.vector_outer_by_row(self._entry(True), ceil_div(n, repeat), min(n, repeat))
        if self.op in ("add", "sub", "mul") and self.dtype.is_float:
            return cycles.vector_inner_1d(self.op, self._half, length, ceil_div(n, length), 1, self.in_place)
        return cycles.binary_1d(self._entry(True), n, self.dtype == float32, self.in_place)

    def _rows(self, lengths: tuple[int, ...]) -> int:
        if len(self.forms) == 1:
            return cycles.unary_2d(self._entry(False), lengths)
        if self.forms == ("vector", "vector"):
            return cycles.binary_2d(self._entry(False), lengths, self.in_place)
        return BROADCAST_2D + sum(BROADCAST_2D_ROW + cycles.loop(self._entry(True), n) for n in lengths)
