"""Memory by address inside compiled code: arrays over it, copies, and calls through function pointers.

The engine lays out a loaded program as tables of addresses, so that one compiled loop can run any program.  Under
NUMBA_DISABLE_JIT the same functions work in plain Python, and a "function address" is a key into a table of callables.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from ipusim.jit import DISABLED, jit

Array = NDArray[Any]


def address_of(array: Array) -> int:
    """Address of the first element; the caller keeps the array alive."""
    return int(array.__array_interface__["data"][0])


_CALLABLES: dict[int, Callable[[int, int, int], Any]] = {}
_NEXT_KEY = itertools.count(1)


def register(function: Callable[[int, int, int], Any]) -> int:
    """A stand-in for a function's address where nothing is compiled."""
    key = next(_NEXT_KEY)
    _CALLABLES[key] = function
    return key


if DISABLED:

    def _view(address: int, length: int, dtype: Any) -> Array:
        if length <= 0:
            return np.empty(0, dtype)
        nbytes = int(length) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_char * nbytes).from_address(int(address)), dtype)

    def i32_at(address: int, length: int) -> Array:
        """Int32 array over memory."""
        return _view(address, length, np.int32)

    def u32_at(address: int, length: int) -> Array:
        """Uint32 array over memory."""
        return _view(address, length, np.uint32)

    def i16_at(address: int, length: int) -> Array:
        """Int16 array over memory."""
        return _view(address, length, np.int16)

    def u16_at(address: int, length: int) -> Array:
        """Uint16 array over memory (also the bits of halves)."""
        return _view(address, length, np.uint16)

    def i8_at(address: int, length: int) -> Array:
        """Int8 array over memory."""
        return _view(address, length, np.int8)

    def u8_at(address: int, length: int) -> Array:
        """Uint8 array over memory (also bools)."""
        return _view(address, length, np.uint8)

    def f32_at(address: int, length: int) -> Array:
        """Float32 array over memory."""
        return _view(address, length, np.float32)

    def f64_at(address: int, length: int) -> Array:
        """Float64 array over memory."""
        return _view(address, length, np.float64)

    def i64_at(address: int, length: int) -> Array:
        """Int64 array over memory."""
        return _view(address, length, np.int64)

    def call(function: int, a: int, b: int, c: int) -> None:
        """Calls the function of three integers at an address."""
        _CALLABLES[int(function)](int(a), int(b), int(c))

    def copy_bytes(target: int, source: int, count: int) -> None:
        """Copies bytes; the ranges do not overlap."""
        ctypes.memmove(int(target), int(source), int(count))

else:

    @intrinsic  # type: ignore[untyped-decorator]
    def _pointer(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], cgutils.voidptr_t)

        return types.voidptr(types.int64), codegen

    @intrinsic  # type: ignore[untyped-decorator]
    def _call(typingctx: Any, function: Any, a: Any, b: Any, c: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(64)
            kind = ir.FunctionType(ir.VoidType(), [word] * 3)
            builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64), codegen

    @intrinsic  # type: ignore[untyped-decorator]
    def _copy(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            to, at = (builder.inttoptr(a, cgutils.voidptr_t) for a in args[:2])
            cgutils.raw_memcpy(builder, to, at, args[2], ir.Constant(ir.IntType(64), 1))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    @jit
    def i32_at(address: int, length: int) -> Array:
        """Int32 array over memory."""
        return numba.carray(_pointer(address), (length,), np.int32)  # type: ignore[no-any-return]

    @jit
    def u32_at(address: int, length: int) -> Array:
        """Uint32 array over memory."""
        return numba.carray(_pointer(address), (length,), np.uint32)  # type: ignore[no-any-return]

    @jit
    def i16_at(address: int, length: int) -> Array:
        """Int16 array over memory."""
        return numba.carray(_pointer(address), (length,), np.int16)  # type: ignore[no-any-return]

    @jit
    def u16_at(address: int, length: int) -> Array:
        """Uint16 array over memory (also the bits of halves)."""
        return numba.carray(_pointer(address), (length,), np.uint16)  # type: ignore[no-any-return]

    @jit
    def i8_at(address: int, length: int) -> Array:
        """Int8 array over memory."""
        return numba.carray(_pointer(address), (length,), np.int8)  # type: ignore[no-any-return]

    @jit
    def u8_at(address: int, length: int) -> Array:
        """Uint8 array over memory (also bools)."""
        return numba.carray(_pointer(address), (length,), np.uint8)  # type: ignore[no-any-return]

    @jit
    def f32_at(address: int, length: int) -> Array:
        """Float32 array over memory."""
        return numba.carray(_pointer(address), (length,), np.float32)  # type: ignore[no-any-return]

    @jit
    def f64_at(address: int, length: int) -> Array:
        """Float64 array over memory."""
        return numba.carray(_pointer(address), (length,), np.float64)  # type: ignore[no-any-return]

    @jit
    def i64_at(address: int, length: int) -> Array:
        """Int64 array over memory."""
        return numba.carray(_pointer(address), (length,), np.int64)  # type: ignore[no-any-return]

    @jit
    def call(function: int, a: int, b: int, c: int) -> None:
        """Calls the function of three integers at an address."""
        _call(function, a, b, c)

    @jit
    def copy_bytes(target: int, source: int, count: int) -> None:
        """Copies bytes; the ranges do not overlap."""
        _copy(target, source, count)
