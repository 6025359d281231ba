"""The one numba decorator of the project, and conversion between half and float inside compiled code.

`jit` compiles lazily, keeps the machine code on disk (beside the source, or in the user's cache; not at all where
nothing can be written), uses numpy's error model and no fastmath, so a result depends on the source alone.  numba's own
test of freshness looks at one source file, while compiled code holds copies of functions and constants from other
modules; here the test covers those too, by content.

numba cannot read float16 on CPUs: half tensors are passed as uint16 and converted element by element, with the CPU's
own instructions where it has them and by integer arithmetic elsewhere.  Under NUMBA_DISABLE_JIT the same functions run
as plain Python, with numpy's conversions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")

DISABLED = bool(numba.config.DISABLE_JIT)


#: What the machine code of each compiled function was made from.
_STAMPS: dict[Any, str] = {}


@lru_cache(maxsize=256)
def _content(path: str) -> bytes:
    file = Path(path)
    return file.read_bytes() if file.is_file() else b""


def _plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_plain, value))
    return isinstance(value, (bool, int, float, str, np.generic))


def _taken(names: Mapping[str, Any]) -> Iterator[str]:
    for name, value in names.items():
        if isinstance(value, Dispatcher):
            yield f"{name} {_STAMPS.get(value, '')}"
        elif isinstance(value, ModuleType):
            kernels = (v for v in vars(value).values() if isinstance(v, Dispatcher))
            yield from (f"{name} {_STAMPS.get(v, '')}" for v in kernels)
        elif not name.startswith("__") and _plain(value):
            yield f"{name} {value!r}"


def _stamp(function: Callable[..., Any]) -> str:
    """Hash of a function's source file, and of the compiled functions and constants at hand in its module."""
    made = sha256(_content(function.__code__.co_filename))
    made.update("\n".join(sorted(_taken(function.__globals__))).encode())
    return made.hexdigest()


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function of arrays and scalars on its first call; its signature stays visible to type checkers."""
    if DISABLED:
        return function
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place to keep compiled code
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    _STAMPS[kernel] = _stamp(function)
    index = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    if index is not None and hasattr(index, "_source_stamp"):  # numba keeps its test of freshness here
        index._source_stamp = (index._source_stamp, _STAMPS[kernel])
    return kernel  # type: ignore[no-any-return]


def _has_half_instructions() -> bool:
    if os.environ.get("IPUSIM_SOFT_HALF") == "1":
        return False
    if binding.get_default_triple().startswith(("aarch64", "arm64")):
        return True
    return bool(binding.get_host_cpu_features().get("f16c", False))


HARD_HALF = _has_half_instructions()


def soft_half_to_float(bits: Any) -> Any:
    """Float value of half bits (uint16), by integer arithmetic.  Returns: float32, exact."""
    h = np.uint32(bits)
    sign = np.uint32((h & np.uint32(0x8000)) << np.uint32(16))
    rest = np.uint32(h & np.uint32(0x7FFF))
    if rest >= np.uint32(0x7C00):
        word = np.uint32(sign | np.uint32(0x7F800000) | np.uint32((rest & np.uint32(0x3FF)) << np.uint32(13)))
        return np.array([word], np.uint32).view(np.float32)[0]
    if rest >= np.uint32(0x400):
        word = np.uint32(sign | np.uint32(np.uint32(rest << np.uint32(13)) + np.uint32(0x38000000)))
        return np.array([word], np.uint32).view(np.float32)[0]
    value = np.float32(np.float32(rest) * np.float32(5.9604644775390625e-08))
    return np.float32(-value) if sign != np.uint32(0) else value


def soft_float_to_half(value: Any) -> Any:
    """Half bits (uint16) nearest to a float32, ties to even, by integer arithmetic."""
    word = np.array([value], np.float32).view(np.uint32)[0]
    sign = np.uint32((word >> np.uint32(16)) & np.uint32(0x8000))
    rest = np.uint32(word & np.uint32(0x7FFFFFFF))
    if rest > np.uint32(0x7F800000):
        return np.uint16(sign | np.uint32(0x7E00))
    if rest >= np.uint32(0x47800000):
        return np.uint16(sign | np.uint32(0x7C00))
    if rest >= np.uint32(0x38800000):
        odd = np.uint32((rest >> np.uint32(13)) & np.uint32(1))
        rounded = np.uint32(np.uint32(rest - np.uint32(0x38000000)) + np.uint32(0xFFF) + odd)
        return np.uint16(sign | np.uint32(rounded >> np.uint32(13)))
    magnitude = np.array([rest], np.uint32).view(np.float32)[0]
    units = np.float32(np.float32(magnitude * np.float32(16777216.0)) + np.float32(8388608.0))
    return np.uint16(sign | np.uint32(np.array([units], np.float32).view(np.uint32)[0] & np.uint32(0x7FFF)))


@intrinsic  # type: ignore[untyped-decorator]
def _hard_half_to_float(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _hard_float_to_half(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), cgutils.ir.IntType(16))

    return types.uint16(types.float32), codegen


if DISABLED:

    def half_to_float(bits: Any) -> Any:
        """Float value of half bits (uint16).  Returns: float32, exact."""
        return np.array([bits], np.uint16).view(np.float16)[0].astype(np.float32)

    def float_to_half(value: Any) -> Any:
        """Half bits (uint16) nearest to a float32, ties to even."""
        with np.errstate(over="ignore"):
            return np.array([value], np.float32).astype(np.float16).view(np.uint16)[0]

elif HARD_HALF:

    @jit
    def half_to_float(bits: Any) -> Any:
        """Float value of half bits (uint16).  Returns: float32, exact."""
        return _hard_half_to_float(np.uint16(bits))

    @jit
    def float_to_half(value: Any) -> Any:
        """Half bits (uint16) nearest to a float32, ties to even."""
        return _hard_float_to_half(np.float32(value))

else:
    half_to_float = jit(soft_half_to_float)
    float_to_half = jit(soft_float_to_half)
