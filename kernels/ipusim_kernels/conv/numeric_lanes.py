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


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _move_vector(typingctx: Any, lanes: Any, target: Any, place: Any, source: Any, start: Any) -> Any:
    count = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def address(array_type: Any, array: Any, offset: Any) -> Any:
            data = context.make_array(array_type)(context, builder, array).data
            kind = _vector(context.get_value_type(array_type.dtype), count)
            return builder.bitcast(builder.gep(data, [offset]), kind.as_pointer())

        align = source.dtype.bitwidth // 8
        value = builder.load(address(source, args[3], args[4]), align=align)
        if source.dtype == types.uint16 and target.dtype == types.float32:
            value = _widened(context, builder, value, count)
        elif source.dtype == types.float32 and target.dtype == types.uint16:
            value = _narrowed(context, builder, value, count)
        builder.store(value, address(target, args[1], args[2]), align=target.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(lanes, target, types.int64, source, types.int64), codegen


def _move_array(lanes: int, target: Any, place: int, source: Any, start: int) -> None:
    """The same move in numpy."""
    values = source[start : start + lanes]
    if source.dtype == np.uint16 and target.dtype == np.float32:
        values = values.view(np.float16)
    elif source.dtype == np.float32 and target.dtype == np.uint16:
        with np.errstate(over="ignore"):
            values = values.astype(np.float16).view(np.uint16)
    target[place : place + lanes] = values


move = _move_array if DISABLED else _move_vector
