"""Constants made when they are needed.

A weight of a zoo model is a recipe (distribution, seed) and costs nothing until somebody computes with it; an
imported weight is an array. The fingerprint names the value either way: of a recipe from its parameters, of an array
from its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType, as_dtype
from ipusim.errors import BadInput

Array = NDArray[Any]


@final
class Constant:
    """A value of a shape and an element type; `array()` makes it once and keeps it (read-only)."""

    __slots__ = ("_array", "_casts", "_fingerprint", "_make", "dtype", "shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DType,
        make: Callable[[], Array],
        fingerprint: str | Callable[[], str],
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._make, self._fingerprint = make, fingerprint
        self._array: Array | None = None
        self._casts: dict[DType, Constant] = {}

    def array(self) -> Array:
        """The value, read-only."""
        if self._array is None:
            made = np.ascontiguousarray(self._make(), dtype=self.dtype.numpy)
            made = made.reshape(self.shape).view()
            made.flags.writeable = False
            self._array = made
        return self._array

    @property
    def fingerprint(self) -> str:
        """A short text that names the value."""
        if not isinstance(self._fingerprint, str):
            self._fingerprint = self._fingerprint()
        return self._fingerprint

    @staticmethod
    def of(array: Array) -> Constant:
        """An array as it is; it is not copied, so do not write to it afterwards.

        64-bit integers become 32-bit.  Raises BadInput for one that does not fit, UnknownName for float64 and others.
        """
        given = np.asarray(array)
        dtype = as_dtype(given.dtype)
        if given.dtype.kind in "iu" and given.dtype.itemsize > dtype.bytes and given.size:
            limits = np.iinfo(dtype.numpy)
            if given.min() < limits.min or given.max() > limits.max:
                raise BadInput(f"constant {given.shape} has values outside {dtype} ({limits.min} to {limits.max})")

        def digest() -> str:
            return hashlib.blake2b(np.ascontiguousarray(given).view(np.uint8).data, digest_size=8).hexdigest()

        return Constant(given.shape, dtype, lambda: given, digest)

    @staticmethod
    def normal(shape: tuple[int, ...], dtype: DType, seed: int, std: float, mean: float = 0.0) -> Constant:
        """Normally distributed values, the same for a seed on every machine."""

        def make() -> Array:
            values = np.random.Generator(np.random.SFC64(seed)).standard_normal(shape, np.float32)
            return values * np.float32(std) + np.float32(mean)

        return Constant(shape, dtype, make, f"normal({seed}, {std:.9g}, {mean:.9g})")

    @staticmethod
    def uniform(shape: tuple[int, ...], dtype: DType, seed: int, low: float, high: float) -> Constant:
        """Uniformly distributed values."""

        def make() -> Array:
            values = np.random.Generator(np.random.SFC64(seed)).random(shape, np.float32)
            return values * np.float32(high - low) + np.float32(low)

        return Constant(shape, dtype, make, f"uniform({seed}, {low:.9g}, {high:.9g})")

    @staticmethod
    def full(shape: tuple[int, ...], dtype: DType, value: float) -> Constant:
        """One value everywhere."""
        return Constant(shape, dtype, lambda: np.full(shape, value, dtype.numpy), f"full({value!r})")

    def astype(self, dtype: DType) -> Constant:
        """The value in another element type, the same constant each time."""
        if dtype == self.dtype:
            return self
        if dtype not in self._casts:
            self._casts[dtype] = self.map(lambda a: a.astype(dtype.numpy), f"as {dtype}", dtype=dtype)
        return self._casts[dtype]

    def map(
        self,
        function: Callable[..., Array],
        name: str,
        *others: Constant,
        shape: tuple[int, ...] | None = None,
        dtype: DType | None = None,
    ) -> Constant:
        """`function` of this and other constants' arrays, computed when needed; `name` goes into the fingerprint."""
        used = (self, *others)
        return Constant(
            self.shape if shape is None else shape,
            dtype or self.dtype,
            lambda: function(*(c.array() for c in used)),
            lambda: f"{name}({', '.join(c.fingerprint for c in used)})",
        )
