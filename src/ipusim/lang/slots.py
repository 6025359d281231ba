"""Issue slots of the tile's instructions, by operation and operand type, for both generations.

A worker issues one bundle {MAIN, AUX} per slot, and one slot is six tile cycles.  MAIN does integers, addresses, loads,
stores and branches; AUX does floats.  `op_slots.csv` beside this module has one row per operation and type with its
source: the public instruction list, the Colossus LLVM back end, and the poplibs estimators, whose tables give the
multi-slot operations (exp 3, log 6, divide 3 ...).  Library routines (integer division, sin, pow) hold the whole
context and are booked on MAIN.  Left out: memory element conflicts (only paired accesses of hand-written code have
them) and the data dependence of library routines, which are booked at a typical operand.
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final, final

from ipusim.dtype import DType
from ipusim.errors import BadInput, UnknownName

RPT_LIMIT: Final = MappingProxyType({"mk1": 4095, "mk2": 65535})  # [Colossus LLVM ipuArchInfo] most repeats of `rpt`
WORKER_ID: Final = 2  # [poplibs lib/popnn/popnnCycleEstimators.cpp] slots to read the worker's number
UNROLL_TRIPS: Final = 8  # [LLVM full unrolling at -O3, rounded] literal trip counts that vanish
UNROLL_BODIES: Final = 32  # [LLVM unroll threshold 300 instructions / about 10 per body] copies of nested bodies
VECTOR_BYTES: Final = 8  # [graphcore/ipu_assembly_support] widest load and float operand of a worker
IMMEDIATE: Final = 1 << 15  # [Colossus LLVM ColossusTargetTransformInfo.cpp] integers below this need no register
SHORT_CONSTANT: Final = 1 << 20  # [Colossus LLVM ColossusTargetTransformInfo.cpp] what one instruction can load
BUNDLE_BYTES: Final = 8  # [graphcore/ipu_assembly_support] code bytes of a {MAIN, AUX} bundle
#: [M0001, M0005, M0089; M0484, M0486, M0493] slots that compiled code takes, over those of its source, as a ratio by
#: generation: the compiler of 2020 on a GC2 (1.04 and 1.13 in two programs), later ones on a GC200 and a Bow (1.07,
#: 1.00 and 1.00); geometric means to the nearest twentieth
POPC_FACTOR: Final = MappingProxyType({"mk1": (11, 10), "mk2": (1, 1)})
#: [M0089, M0493] slots of starting a loop within a loop, beyond those of its source: registers of the loop around it
#: are put away and fetched again.  On a GC2 what M0089 (45 rows of a block) leaves beside the factor; M0107, without
#: such loops, is met without them.  Later compilers: none, as M0493 is met without
NESTED_LOOP_SLOTS: Final = MappingProxyType({"mk1": 12, "mk2": 0})

_ALIAS = {"exp2": "exp", "log2": "log", "cos": "sin"}


@final
@dataclass(frozen=True, slots=True)
class Slots:
    """`table[op, type] = (MAIN slots, AUX slots)`; `rpt_limit`: most repeats; `unpack`: slots per pointer, by depth."""

    table: Mapping[tuple[str, str], tuple[int, int]]
    rpt_limit: int
    unpack: tuple[int, int, int]

    def of(self, op: str, kind: str) -> tuple[int, int]:
        """(MAIN, AUX) slots of `op` on operand type `kind` (f32, f32v2, f16, f16v2, f16v4, i32, u32, any ...).

        A type without a row of its own is made of narrower ones: f32v2 two f32, f16v4 two f16v2, f16 as f16v2, and a
        half operation that only exists in float is converted there and back.  Raises `BadInput` if nothing fits.
        """
        row = self.table.get((op, kind))
        if row is not None:
            return row
        if kind == "f32v2":
            return _times(self.of(op, "f32"), 2)
        if kind in ("f16", "f16v2", "f16v4"):
            return self._half(op, kind)
        if kind == "u32":
            return self.of(op, "i32")
        if op in _ALIAS:
            return self.of(_ALIAS[op], kind)
        raise BadInput(f"no issue slots for {op!r} on {kind}; add a row with Slots.override")

    def _half(self, op: str, kind: str) -> tuple[int, int]:
        if op in _ALIAS and not self._is_half(op) and self._is_half(_ALIAS[op]):
            return self.of(_ALIAS[op], kind)
        lanes = {"f16": 1, "f16v2": 2, "f16v4": 4}[kind]
        if kind == "f16v4" and ((op, "f16v2") in self.table or (op, "f16") in self.table):
            return _times(self.of(op, "f16v2"), 2)
        if kind == "f16v2" and (op, "f16") in self.table:
            return _times(self.table[op, "f16"], 2)
        if kind == "f16" and (op, "f16v2") in self.table:
            return self.table[op, "f16v2"]
        main, aux = _times(self.of(op, "f32"), lanes)
        operands = 2 if op in ("div", "pow", "fmod", "atan2") else 1
        return main, aux + operands * ((lanes + 1) // 2) + 1

    def _is_half(self, op: str) -> bool:
        return any((op, kind) in self.table for kind in ("f16", "f16v2", "f16v4"))

    def override(self, rows: Mapping[tuple[str, str], tuple[int, int]]) -> Slots:
        """A table with these rows put in place or added."""
        for key, (main, aux) in rows.items():
            if main < 0 or aux < 0:
                raise BadInput(f"issue slots of {key} are ({main}, {aux}); they cannot be negative")
        return replace(self, table=MappingProxyType({**self.table, **rows}))


def _times(row: tuple[int, int], count: int) -> tuple[int, int]:
    return row[0] * count, row[1] * count


@cache
def slots_of(generation: str) -> Slots:
    """The table of "mk1" (GC2) or "mk2" (GC200, Bow); raises `UnknownName` for other generations."""
    if generation not in RPT_LIMIT:
        raise UnknownName("chip generation", generation, RPT_LIMIT)
    text = resources.files("ipusim.lang").joinpath("op_slots.csv").read_text(encoding="utf-8")
    table = {
        (row["op"], row["dtype"]): (int(row["main_slots"]), int(row["aux_slots"]))
        for row in csv.DictReader(text.splitlines())
    }
    pointer = "unpack_scaledptr32" if generation == "mk1" else "unpack_scaledptr64"
    single = sum(table[pointer, "ptr"])
    nested = sum(table["unpack_deltan", "ptr"])
    return Slots(MappingProxyType(table), RPT_LIMIT[generation], (single, single, nested))


def kind_of(dtype: DType, lanes: int = 1) -> str:
    """Name of an operand type in the table: `lanes` elements in one register (1, 2 or 4)."""
    if dtype.is_float:
        base = "f32" if dtype.bytes == 4 else "f16"
        return base if lanes == 1 else f"{base}v{lanes}"
    return "u32" if dtype.kind == "uint" else "i32"


def lanes_of(dtype: DType, width: int) -> tuple[int, int]:
    """(instructions, lanes of each) for one operation on `width` elements side by side."""
    lanes = min(width, VECTOR_BYTES // dtype.bytes) if dtype.is_float else 1
    return -(-width // lanes), lanes


def constant_slots(number: int | float | bool, dtype: DType) -> int:
    """Instructions that load a literal: none for zero and short integers, two if its bits need two halves."""
    if not dtype.is_float:
        size = abs(int(number))
        return 0 if size < IMMEDIATE else 1 if size < SHORT_CONSTANT else 2
    if number == 0 or dtype.bytes == 2:
        return int(number != 0)
    try:
        bits = int.from_bytes(struct.pack(">f", number), "big")
    except OverflowError:
        return 1  # infinity
    return 1 if bits < SHORT_CONSTANT or bits % SHORT_CONSTANT == 0 else 2
