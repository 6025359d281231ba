"""Constants made of other constants: weights side by side, parts of them, and summed biases, computed once when values
are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ipusim.lower.rules import Lowering
from ipusim.program.codelet import Array
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim.workload.constants import Constant


def resident(low: Lowering, name: str, parts: Sequence[Tensor]) -> Tensor:
    """Weights (rows, columns) side by side: a constant of its own where they are constants, so that it lies where the
    matmul wants it.
    """
    if len(parts) == 1 and parts[0].chain() is not None:
        return parts[0]
    shape = (parts[0].shape[0], sum(p.shape[1] for p in parts))
    made = _computed(parts, lambda *arrays: np.concatenate(arrays, axis=1), "beside", shape)
    if made is None:
        return Tensor.concat(list(parts), 1)
    return low.constant(made, shape, parts[0].dtype, f"{name} weights", None)


def summed(low: Lowering, name: str, parts: Sequence[Tensor], place: Mapping) -> Sequence[Tensor]:
    """Two biases as one constant with a place, where they are constants."""
    made = _computed(parts, lambda a, b: (a.astype(np.float32) + b).astype(a.dtype), "sum", parts[0].shape)
    if made is None:
        return parts
    return [low.constant(made, parts[0].shape, parts[0].dtype, name, place)]


def _computed(
    parts: Sequence[Tensor], function: Callable[..., Array], title: str, shape: tuple[int, ...]
) -> Constant | None:
    """The constant that a function makes of views of constants, None if one of them is none."""
    owners = [p.variables() for p in parts]
    if not all(len(v) == 1 and isinstance(v[0].initial, Constant) for v in owners):
        return None
    known = [v[0].initial for v in owners if isinstance(v[0].initial, Constant)]

    def make(*arrays: Array) -> Array:
        return function(*(p.read({v[0]: a}) for p, v, a in zip(parts, owners, arrays, strict=True)))

    views = ", ".join(_view(p) for p in parts)
    return known[0].map(make, f"{title} {views}", *known[1:], shape=shape)


def _view(tensor: Tensor) -> str:
    """A view in words, the same for equal views alone."""
    if tensor.variable is not None:
        return tensor.label
    return f"{tensor.kind}{tensor.args}({', '.join(_view(s) for s in tensor.sources)})"
