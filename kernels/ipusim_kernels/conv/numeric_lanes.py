"""Moves of rows of elements between arrays, converted between half and float32 on the way, by whole vectors.

Ideal: target[place + i] = source[start + i] for i below `count`, exact from half to float32, to nearest even back.  A
half is its bits in a uint16.  numba's own loops convert the last few elements of every row one at a time, and rows of
images are short; here the last vector overlaps the one before it, and every second element (a stride of two) also goes
by vectors.  Written as instructions, a move spares the reference counting of a call.  On CPUs that cannot convert,
elements go one by one through integer arithmetic.  Omitted: tests of the bounds, which are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ipusim.jit import DISABLED, HARD_HALF, soft_float_to_half, soft_half_to_float
from ipusim_kernels.conv.numeric_tile import LANES

_INDEX = ir.IntType(64)


def _vector(element: Any, lanes: int) -> Any:
    return ir.VectorType(element, lanes) if lanes > 1 else element


class _Elements:
    """An array of halves or float32 whose elements are float32 once they are in registers."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        self.context, self.builder = context, builder
        self.half = array_type.dtype == types.uint16
        self.element = context.get_value_type(array_type.dtype)
        self.data = context.make_array(array_type)(context, builder, array).data

    def address(self, place: Any, lanes: int) -> Any:
        pointer = self.builder.gep(self.data, [place])
        return self.builder.bitcast(pointer, _vector(self.element, lanes).as_pointer())

    def load(self, place: Any, lanes: int) -> Any:
        value = self.builder.load(self.address(place, lanes), align=2 if self.half else 4)
        if not self.half:
            return value
        if HARD_HALF:
            halves = self.builder.bitcast(value, _vector(ir.HalfType(), lanes))
            return self.builder.fpext(halves, _vector(ir.FloatType(), lanes))
        return self.by_element(value, lanes, soft_half_to_float, types.float32(types.uint16))

    def load_every_second(self, place: Any, lanes: int) -> Any:
        """Elements place, place + 2, ..., from two vectors that end with the last of them."""
        end = self.builder.add(place, ir.Constant(_INDEX, lanes - 1))
        mask = [2 * lane + (2 * lane >= lanes) for lane in range(lanes)]
        picked = ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask)
        return self.builder.shuffle_vector(self.load(place, lanes), self.load(end, lanes), picked)

    def store(self, value: Any, place: Any, lanes: int) -> None:
        if self.half and HARD_HALF:
            halves = self.builder.fptrunc(value, _vector(ir.HalfType(), lanes))
            value = self.builder.bitcast(halves, _vector(self.element, lanes))
        elif self.half:
            value = self.by_element(value, lanes, soft_float_to_half, types.uint16(types.float32))
        self.builder.store(value, self.address(place, lanes), align=2 if self.half else 4)

    def by_element(self, value: Any, lanes: int, function: Any, signature: Any) -> Any:
        """A Python function of one element, compiled and applied to each lane."""
        context, b = self.context, self.builder
        if lanes == 1:
            return context.compile_internal(b, function, signature, [value])
        result = ir.Constant(_vector(context.get_value_type(signature.return_type), lanes), ir.Undefined)
        for lane in (ir.Constant(ir.IntType(32), i) for i in range(lanes)):
            element = context.compile_internal(b, function, signature, [b.extract_element(value, lane)])
            result = b.insert_element(result, element, lane)
        return result


@intrinsic  # type: ignore[untyped-decorator]
def _move_vectors(
    typingctx: Any, target: Any, place: Any, target_step: Any, source: Any, start: Any, step: Any, count: Any
) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        into, of = _Elements(context, builder, target, args[0]), _Elements(context, builder, source, args[3])
        place, target_step, start, step, count = args[1], args[2], args[4], args[5], args[6]
        lanes = ir.Constant(_INDEX, LANES)

        def copy(i: Any, width: int, load: Callable[[Any, int], Any]) -> None:
            value = load(builder.add(start, builder.mul(i, step)), width)
            into.store(value, builder.add(place, builder.mul(i, target_step)), width)

        def copy_vectors(load: Callable[[Any, int], Any]) -> None:
            last = builder.sub(count, lanes)
            with cgutils.for_range_slice(builder, ir.Constant(_INDEX, 0), last, lanes, _INDEX) as (i, _):
                copy(i, LANES, load)
            copy(last, LANES, load)

        def equal(value: Any, number: int) -> Any:
            return builder.icmp_signed("==", value, ir.Constant(_INDEX, number))

        whole = builder.and_(equal(target_step, 1), builder.icmp_signed(">=", count, lanes))
        with builder.if_else(builder.and_(whole, equal(step, 1))) as (neighbours, others):
            with neighbours:
                copy_vectors(of.load)
            with others, builder.if_else(builder.and_(whole, equal(step, 2))) as (pairs, rest):
                with pairs:
                    copy_vectors(of.load_every_second)
                with rest, cgutils.for_range(builder, count, intp=_INDEX) as loop:
                    copy(loop.index, 1, of.load)
        return context.get_dummy_value()

    return types.void(target, *[types.int64] * 2, source, *[types.int64] * 3), codegen


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Transposes a square of vectors: each step interleaves the first half of the rows with the second."""
    lanes = len(rows)
    low, high = ([i // 2 + half + lanes * (i % 2) for i in range(lanes)] for half in (0, lanes // 2))
    masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), m) for m in (low, high)]
    for _ in range(lanes.bit_length() - 1):
        pairs = zip(rows[: lanes // 2], rows[lanes // 2 :], strict=True)
        rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks]
    return rows


@intrinsic  # type: ignore[untyped-decorator]
def _turn_vectors(typingctx: Any, target: Any, place: Any, down: Any, source: Any, start: Any, along: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        into, of = _Elements(context, builder, target, args[0]), _Elements(context, builder, source, args[3])
        place, down, start, along = args[1], args[2], args[4], args[5]
        steps = [ir.Constant(_INDEX, i) for i in range(LANES)]
        rows = [of.load(builder.add(start, builder.mul(i, along)), LANES) for i in steps]
        for i, row in zip(steps, _turned(builder, rows), strict=True):
            into.store(row, builder.add(place, builder.mul(i, down)), LANES)
        return context.get_dummy_value()

    return types.void(target, *[types.int64] * 2, source, *[types.int64] * 2), codegen


def _move_array(target: Any, place: int, target_step: int, source: Any, start: int, step: int, count: int) -> None:
    """The same move in numpy."""
    if count > 0:
        values = source[start : start + (count - 1) * step + 1 : step] if step else source[start : start + 1]
        if source.dtype == np.uint16 and target.dtype == np.float32:
            values = values.view(np.float16)
        elif source.dtype == np.float32 and target.dtype == np.uint16:
            with np.errstate(over="ignore"):
                values = values.astype(np.float16).view(np.uint16)
        target[place : place + (count - 1) * target_step + 1 : target_step or 1] = values


def _turn_array(target: Any, place: int, down: int, source: Any, start: int, along: int) -> None:
    """The same transposition, by columns of the result."""
    for j in range(LANES):
        _move_array(target, place + j, down, source, start + j * along, 1, LANES)


#: move(target, place, target_step, source, start, step, count), for i below count:
#: target[place + i * target_step] = source[start + i * step].
move = _move_array if DISABLED else _move_vectors
#: turn(target, place, down, source, start, along), for i and j below LANES:
#: target[place + i * down + j] = source[start + j * along + i].
turn = _turn_array if DISABLED else _turn_vectors
