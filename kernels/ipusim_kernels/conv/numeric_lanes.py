"""Moves of a few neighbouring elements between arrays, converted between half and float32 on the way, as single instructions.

Ideal: target[place + i] = source[start + i] for i below `lanes`, exact from half to float32, to nearest even back.  A half is its
bits in a uint16.  numba's own loops convert the last few elements of every row one at a time, and rows of images are short; a
whole vector costs as much as one element.  On CPUs without conversion instructions the elements go one by one through integer
arithmetic.  Places are taken as they come: the caller answers for the bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ipusim.jit import DISABLED, HARD_HALF, soft_float_to_half, soft_half_to_float


def _vector(element: Any, lanes: int) -> Any:
    return ir.VectorType(element, lanes) if lanes > 1 else element


def _one_by_one(context: Any, builder: Any, value: Any, lanes: int, function: Any, signature: Any) -> Any:
    """A Python function of one element, compiled and applied to each lane."""
    if lanes == 1:
        return context.compile_internal(builder, function, signature, [value])
    result_type = context.get_value_type(signature.return_type)
    result = ir.Constant(_vector(result_type, lanes), ir.Undefined)
    for lane in range(lanes):
        index = ir.Constant(ir.IntType(32), lane)
        element = context.compile_internal(builder, function, signature, [builder.extract_element(value, index)])
        result = builder.insert_element(result, element, index)
    return result


def _widened(context: Any, builder: Any, bits: Any, lanes: int) -> Any:
    if HARD_HALF:
        halves = builder.bitcast(bits, _vector(ir.HalfType(), lanes))
        return builder.fpext(halves, _vector(ir.FloatType(), lanes))
    return _one_by_one(context, builder, bits, lanes, soft_half_to_float, types.float32(types.uint16))


def _narrowed(context: Any, builder: Any, value: Any, lanes: int) -> Any:
    if HARD_HALF:
        halves = builder.fptrunc(value, _vector(ir.HalfType(), lanes))
        return builder.bitcast(halves, _vector(ir.IntType(16), lanes))
    return _one_by_one(context, builder, value, lanes, soft_float_to_half, types.uint16(types.float32))


class _Row:
    """Vectors of an array of halves or float32; in registers they are float32."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any, lanes: int) -> None:
        self.context, self.builder, self.lanes = context, builder, lanes
        self.half = array_type.dtype == types.uint16
        self.data = context.make_array(array_type)(context, builder, array).data
        self.kind = _vector(context.get_value_type(array_type.dtype), lanes)

    def addresses(self, start: Any, step: Any) -> list[Any]:
        """One address per lane, `step` elements apart."""
        found = [self.builder.gep(self.data, [start])]
        while len(found) < self.lanes:
            found.append(self.builder.gep(found[-1], [step]))
        return found

    def load(self, address: Any) -> Any:
        typed = self.builder.bitcast(address, self.kind.as_pointer())
        value = self.builder.load(typed, align=2 if self.half else 4)
        return _widened(self.context, self.builder, value, self.lanes) if self.half else value

    def store(self, value: Any, address: Any) -> None:
        if self.half:
            value = _narrowed(self.context, self.builder, value, self.lanes)
        typed = self.builder.bitcast(address, self.kind.as_pointer())
        self.builder.store(value, typed, align=2 if self.half else 4)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _move_vector(typingctx: Any, lanes: Any, target: Any, place: Any, source: Any, start: Any) -> Any:
    count = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        into = _Row(context, builder, target, args[1], count)
        of = _Row(context, builder, source, args[3], count)
        into.store(of.load(builder.gep(of.data, [args[4]])), builder.gep(into.data, [args[2]]))
        return context.get_dummy_value()

    return types.void(lanes, target, types.int64, source, types.int64), codegen


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Transposes a square of vectors: each step interleaves the first half of the rows with the second."""
    lanes = len(rows)
    low, high = ([i // 2 + half + lanes * (i % 2) for i in range(lanes)] for half in (0, lanes // 2))
    masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), m) for m in (low, high)]
    for _ in range(lanes.bit_length() - 1):
        pairs = zip(rows[: lanes // 2], rows[lanes // 2 :], strict=True)
        rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks]
    return rows


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _turn_vectors(
    typingctx: Any, lanes: Any, target: Any, place: Any, down: Any, source: Any, start: Any, along: Any
) -> Any:
    count = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        into = _Row(context, builder, target, args[1], count)
        of = _Row(context, builder, source, args[4], count)
        rows = [of.load(p) for p in of.addresses(args[5], args[6])]
        for value, address in zip(_turned(builder, rows), into.addresses(args[2], args[3]), strict=True):
            into.store(value, address)
        return context.get_dummy_value()

    return types.void(lanes, target, types.int64, types.int64, source, types.int64, types.int64), codegen


def _move_array(lanes: int, target: Any, place: int, source: Any, start: int) -> None:
    """The same move in numpy."""
    values = source[start : start + lanes]
    if source.dtype == np.uint16 and target.dtype == np.float32:
        values = values.view(np.float16)
    elif source.dtype == np.float32 and target.dtype == np.uint16:
        with np.errstate(over="ignore"):
            values = values.astype(np.float16).view(np.uint16)
    target[place : place + lanes] = values


def _turn_array(lanes: int, target: Any, place: int, down: int, source: Any, start: int, along: int) -> None:
    """The same transposition, one element at a time."""
    for i in range(lanes):
        for j in range(lanes):
            _move_array(1, target, place + i * down + j, source, start + j * along + i)


#: move(lanes, target, place, source, start): target[place + i] = source[start + i] for i below `lanes`.
move = _move_array if DISABLED else _move_vector
#: turn(lanes, target, place, down, source, start, along): target[place + i * down + j] = source[start + j * along + i].
turn = _turn_array if DISABLED else _turn_vectors
