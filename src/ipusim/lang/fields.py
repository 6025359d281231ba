"""The annotations of a codelet's arguments: `Input[Vector[half]]`, `InOut[float32]`, `Output[Vector[Vector[int]]]`.

An annotation is evaluated once, when the codelet is made.  `Vector` may be nested twice: a vector of vectors is a
list of rows, each wired to elements of its own.  `float`, `int` and `bool` stand for float32, int32 and bool, and
numpy's types for their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ipusim.dtype import DType, as_dtype, bool_, float32, int32, uint32
from ipusim.errors import BadInput
from ipusim.lang.ir import Role

_PYTHON = {float: float32, int: int32, bool: bool_}
_MOST_DEEP = 2


def element_type(value: Any) -> DType:
    """The element type that an annotation names.

    Raises `BadInput` where it names none, and `UnknownName` for a type that the tile does not have.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, type) and value in _PYTHON:
        return _PYTHON[value]
    if isinstance(value, (str, np.dtype)) or (isinstance(value, type) and issubclass(value, np.generic)):
        return as_dtype(value)
    raise BadInput(f"{value!r} is not an element type; use float32, half, int32, uint32, bool or a narrower integer")


def value_type(dtype: DType) -> DType:
    """The type that elements have once loaded: integers narrower than 32 bits widen to int32."""
    if dtype.kind == "bool" or dtype.is_float or dtype.bytes == uint32.bytes:
        return dtype
    return int32


@final
@dataclass(frozen=True, slots=True)
class VectorType:
    """`Vector[dtype]`: `depth` 1, or 2 for a vector of vectors."""

    depth: int
    dtype: DType


@final
@dataclass(frozen=True, slots=True)
class FieldType:
    """A field's annotation: how it is used, how deep it is, what its elements are."""

    role: Role
    depth: int
    dtype: DType


@final
@dataclass(frozen=True, slots=True)
class _VectorMaker:
    """`Vector[float32]`, `Vector[Vector[float32]]`."""

    def __getitem__(self, inner: Any) -> VectorType:
        if isinstance(inner, FieldType):
            raise BadInput("Input, Output and InOut stand outside: write Input[Vector[Vector[float32]]]")
        if isinstance(inner, VectorType):
            if inner.depth == _MOST_DEEP:
                raise BadInput("Vector nests at most twice: flatten the inner dimensions and compute the index")
            return VectorType(inner.depth + 1, inner.dtype)
        return VectorType(1, element_type(inner))

    def __repr__(self) -> str:
        return "Vector"


@final
@dataclass(frozen=True, slots=True)
class _FieldMaker:
    """`Input[...]` and its siblings."""

    name: str
    role: Role

    def __getitem__(self, inner: Any) -> FieldType:
        if isinstance(inner, FieldType):
            raise BadInput(f"{self.name} cannot hold another field: write {self.name}[Vector[...]]")
        if isinstance(inner, VectorType):
            return FieldType(self.role, inner.depth, inner.dtype)
        return FieldType(self.role, 0, element_type(inner))

    def __repr__(self) -> str:
        return self.name


Vector = _VectorMaker()
Input = _FieldMaker("Input", "in")
Output = _FieldMaker("Output", "out")
InOut = _FieldMaker("InOut", "inout")


def show(field: FieldType) -> str:
    """`Input[Vector[float16]]`."""
    inner = "Vector[" * field.depth + field.dtype.name + "]" * field.depth
    return f"{ {'in': 'Input', 'out': 'Output', 'inout': 'InOut'}[field.role] }[{inner}]"
