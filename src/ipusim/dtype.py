"""Element types of the IPU, with the name Poplar gives them.

`half` is IEEE binary16.  64-bit integers do not exist on the tile: hosts narrow them to 32 bits on the way in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim.errors import BadInput, UnknownName

Kind = Literal["float", "int", "uint", "bool"]


@final
@dataclass(frozen=True, slots=True)
class DType:
    """One element type: `name`, size in `bytes`, `kind`."""

    name: str
    bytes: int
    kind: Kind

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype that holds the same values."""
        return np.dtype(self.name)

    @property
    def is_float(self) -> bool:
        """True for float32 and float16."""
        return self.kind == "float"

    def __call__(self, value: Any) -> Any:
        """A numpy scalar of this type, so that a codelet's casts work when it is called as plain Python."""
        return self.numpy.type(value)

    def __str__(self) -> str:
        return self.name


float32 = DType("float32", 4, "float")
float16 = half = DType("float16", 2, "float")
int32 = DType("int32", 4, "int")
uint32 = DType("uint32", 4, "uint")
int16 = DType("int16", 2, "int")
uint16 = DType("uint16", 2, "uint")
int8 = DType("int8", 1, "int")
uint8 = DType("uint8", 1, "uint")
bool_ = DType("bool", 1, "bool")

ALL: tuple[DType, ...] = (float32, float16, int32, uint32, int16, uint16, int8, uint8, bool_)
_BY_NAME = {d.name: d for d in ALL} | {"half": half, "float": float32, "int64": int32, "uint64": uint32}


def as_dtype(value: DType | str | np.dtype[Any] | type) -> DType:
    """The DType for a name, a numpy dtype or a scalar type; 64-bit integers give their 32-bit form.

    Raises `UnknownName` for a type the tile does not have (float64, complex, strings).
    """
    if isinstance(value, DType):
        return value
    name = value if isinstance(value, str) else np.dtype(value).name
    if name not in _BY_NAME:
        raise UnknownName("element type", name, (d.name for d in ALL))
    return _BY_NAME[name]


def as_array(what: str, values: ArrayLike) -> NDArray[Any]:
    """Values as a numpy array.  Raises BadInput where rows differ in length."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise BadInput(f"{what}: no array ({error})") from None


def converted(what: str, values: ArrayLike, dtype: DType) -> NDArray[Any]:
    """Values as an array of a type, of its own; floats round, and may overflow to infinity.

    Raises BadInput for fractions that would be integers, integers out of range, and what is no number.
    """
    array = as_array(what, values)
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and not dtype.is_float):
        raise BadInput(f"{what}: values of {array.dtype} cannot be {dtype}")
    with np.errstate(over="ignore"):
        made = array.astype(dtype.numpy)
    if array.dtype.kind in "iu" and dtype.kind in ("int", "uint") and not np.array_equal(made, array):
        raise BadInput(f"{what}: values from {array.min()} to {array.max()} do not fit {dtype}")
    return made
