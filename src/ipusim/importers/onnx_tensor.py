"""ONNX tensors as numpy arrays: the element types that have a counterpart on the chip, and data kept beside the model.

64-bit integers are read as they are, because shape arithmetic needs them, and narrowed when a value of the workload is
made of them.  float64 exists in constants only, for the same reason.  External data is read from files in the model's
own folder and nowhere else, after symbolic links are followed.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType, bool_, float16, float32, int8, int16, int32, uint8, uint16, uint32
from ipusim.errors import BadInput

Array = NDArray[Any]

#: Element types of values, by ONNX's number: float, uint8, int8, uint16, int16, int32, int64, bool, float16, uint32,
#: uint64.
VALUE_TYPES: Final[dict[int, DType]] = {
    1: float32,
    2: uint8,
    3: int8,
    4: uint16,
    5: int16,
    6: int32,
    7: int32,
    9: bool_,
    10: float16,
    12: uint32,
    13: uint32,
}
#: Element types of constants: those of values, and double.
CONSTANT_TYPES: Final = frozenset(VALUE_TYPES) | {11}
#: The same as names of numpy.
ARRAY_TYPES: Final = frozenset(t.name for t in VALUE_TYPES.values()) | {"int64", "uint64", "float64"}


def type_name(code: int) -> str:
    """ONNX's name of an element type, in lower case; "number N" for one that the installed onnx does not know."""
    from onnx import TensorProto

    if code in TensorProto.DataType.values():
        return str(TensorProto.DataType.Name(code)).lower()
    return f"number {code}"


def tensor_array(tensor: Any, path: Path, what: str) -> Array:
    """The array of a TensorProto of one of `CONSTANT_TYPES`; `what` names it in errors.  Raises BadInput."""
    from onnx import TensorProto, numpy_helper

    if any(n < 0 for n in tensor.dims):
        raise BadInput(f"{path}: {what} has shape {tuple(tensor.dims)}")
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external_array(tensor, path, what)
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception:  # whatever numpy, protobuf or onnx say of broken data
        raise BadInput(f"{path}: {what} is broken: its data does not match its shape {tuple(tensor.dims)}") from None


def _external_array(tensor: Any, path: Path, what: str) -> Array:
    from onnx import helper

    entries = {e.key: e.value for e in tensor.external_data}
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
    count = prod(tensor.dims)
    location = entries.get("location", "")
    source = _external_file(location, path, what)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", count * dtype.itemsize))
    except ValueError:
        raise BadInput(f"{path}: {what}: offset or length of its external data is not a number") from None
    if length != count * dtype.itemsize:
        raise BadInput(
            f"{path}: {what} has {length} bytes of external data, shape {tuple(tensor.dims)} takes "
            f"{count * dtype.itemsize}"
        )
    try:
        size = source.stat().st_size
        if offset < 0 or offset + length > size:
            raise BadInput(
                f"{path}: {what} is bytes {offset} to {offset + length} of {location!r}, which has {size} bytes"
            )
        made = np.fromfile(source, dtype, count, offset=offset)
    except OSError as error:
        raise BadInput(f"{path}: {what}: cannot read {location!r}: {error.strerror}") from None
    return made.astype(dtype.newbyteorder("="), copy=False).reshape(tuple(tensor.dims))


def _external_file(location: str, path: Path, what: str) -> Path:
    """The file of external data, which must be in the model's folder or below it."""
    folder = path.absolute().parent.resolve()
    try:
        target = (folder / location).resolve()
        inside = bool(location) and not Path(location).is_absolute() and folder in target.parents
    except (ValueError, OSError, RuntimeError):  # a NUL in the name, a loop of links
        inside = False
    if not inside:
        raise BadInput(f"{path}: {what} keeps its data at {location!r}, outside the model's folder")
    if not target.is_file():
        raise BadInput(f"{path}: {what} keeps its data in {location!r}, which does not exist")
    return target
