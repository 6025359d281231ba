"""Arrays for the inputs of a workload: checked if the user gives them, drawn from a seed if not.

Several replicas share the batch: an input whose first axis is the workload's batch has that axis times the replicas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim.dtype import DType
from ipusim.errors import BadInput, UnknownName
from ipusim.workload.graph import Workload
from ipusim.workload.ops_shape import Gather

Array = NDArray[Any]


def check_inputs(workload: Workload, given: dict[str, ArrayLike], replicas: int) -> dict[str, Array]:
    """Arrays for all replicas by input name, checked: names, shapes, element types, the range of integers.

    Raises UnknownName or BadInput naming the input.
    """
    wanted = {v.name: v for v in workload.inputs}
    unknown = [n for n in given if n not in wanted]
    if unknown:
        raise UnknownName("input", unknown[0], wanted)
    missing = [n for n in wanted if n not in given]
    if missing:
        raise BadInput(f"input {missing[0]!r} is missing (inputs: {', '.join(wanted)})")
    out: dict[str, Array] = {}
    for name, value in wanted.items():
        try:
            array = np.asarray(given[name])
        except ValueError as error:
            raise BadInput(f"input {name!r} is not an array: {error}") from None
        shape = _whole_shape(value.shape, workload.batch, replicas)
        if array.shape != shape:
            raise BadInput(f"input {name!r} has shape {array.shape}, the model takes {shape}")
        out[name] = _checked_type(name, array, value.dtype)
    return out


def _checked_type(name: str, array: Array, dtype: DType) -> Array:
    allowed = {"float": "f", "int": "iu", "uint": "iu", "bool": "b"}[dtype.kind]
    if array.dtype.kind not in allowed:
        raise BadInput(f"input {name!r} has element type {array.dtype}, the model takes {dtype}")
    if dtype.kind in ("int", "uint"):
        limits = np.iinfo(dtype.numpy)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise BadInput(f"input {name!r} has values outside {dtype} ({limits.min} to {limits.max})")
    return array


def _whole_shape(shape: tuple[int, ...], batch: int, replicas: int) -> tuple[int, ...]:
    batched = bool(shape) and shape[0] == batch
    return (shape[0] * replicas, *shape[1:]) if batched else shape


def draw_inputs(workload: Workload, replicas: int, seed: int) -> dict[str, Array]:
    """Seeded inputs: normal floats, indices within the tables they index, other integers and bools one."""
    rows = {n.inputs[1].name: n.inputs[0].shape[n.op.axis] for n in workload.nodes if isinstance(n.op, Gather)}
    rng = np.random.default_rng(seed)
    out: dict[str, Array] = {}
    for value in workload.inputs:
        shape = _whole_shape(value.shape, workload.batch, replicas)
        if value.dtype.is_float:
            out[value.name] = rng.standard_normal(shape, np.float32)
        elif value.name in rows:
            out[value.name] = rng.integers(0, rows[value.name], shape).astype(value.dtype.numpy)
        else:
            out[value.name] = np.ones(shape, value.dtype.numpy)
    return out
