"""What a tensor may be indexed, joined and reshaped with: checked here, said in the user's terms."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ipusim.errors import BadInput

if TYPE_CHECKING:
    from ipusim.program.tensor import Tensor

Index = int | slice | EllipsisType | None | tuple[int | slice | EllipsisType | None, ...]


def is_whole(value: Any) -> TypeGuard[int]:
    """A whole number (True and False are none)."""
    return type(value) is int or (isinstance(value, int | np.integer) and not isinstance(value, bool))


def as_shape(label: str, shape: Any) -> tuple[int, ...]:
    """Sizes of axes from a number or a sequence of them.  Raises BadInput unless they are whole and not negative."""
    sizes = (shape,) if is_whole(shape) else tuple(shape) if isinstance(shape, Sequence | np.ndarray) else (None,)
    if not all(is_whole(n) and n >= 0 for n in sizes):
        raise BadInput(f"{label}: a shape is whole numbers of at least 0, not {shape!r}")
    return tuple(int(n) for n in sizes)


def inferred(label: str, old: tuple[int, ...], shape: Any) -> tuple[int, ...]:
    """A new shape for the elements of another; one size may be -1: what is left.  Raises BadInput if it cannot be."""
    sizes = [shape] if is_whole(shape) else list(shape) if isinstance(shape, Sequence | np.ndarray) else [shape]
    free = [i for i, n in enumerate(sizes) if is_whole(n) and n == -1]
    if len(free) == 1:
        rest = as_shape(label, sizes[: free[0]] + sizes[free[0] + 1 :])
        sizes[free[0]] = prod(old) // prod(rest) if prod(rest) else 0
    new = as_shape(label, sizes)
    if prod(new) != prod(old):
        raise BadInput(f"{label}: cannot view shape {old} as {shape}")
    return new


def as_axis(label: str, axis: Any, shape: tuple[int, ...]) -> int:
    """An axis, from 0; negative ones count from the last.  Raises BadInput if there is none of that number."""
    found = axis + len(shape) if is_whole(axis) and axis < 0 else axis
    if not is_whole(axis) or not 0 <= found < len(shape):
        raise BadInput(f"{label}: no axis {axis!r} in shape {shape}")
    return int(found)


def check_join(parts: Sequence[Tensor], axis: int) -> int:
    """The axis, from 0, to join tensors along.  Raises BadInput unless they agree in type and in all other axes."""
    wrong = [p for p in parts if not hasattr(p, "sources")]
    if wrong or not parts:
        raise BadInput(f"concat joins tensors, not {wrong[0]!r}" if wrong else "concat of no tensors")
    first = parts[0]
    along = as_axis(first.label, axis, first.shape)
    for part in parts[1:]:
        if part.dtype != first.dtype:
            raise BadInput(f"cannot join {first.label} ({first.dtype}) and {part.label} ({part.dtype})")
        if len(part.shape) != len(first.shape) or any(
            a != b for i, (a, b) in enumerate(zip(part.shape, first.shape, strict=True)) if i != along
        ):
            raise BadInput(f"cannot join {first.label} {first.shape} and {part.label} {part.shape} along axis {along}")
    return along


def subscript(tensor: Tensor, index: Index) -> Tensor:
    """`tensor[index]`."""
    items = index if isinstance(index, tuple) else (index,)
    dots = sum(1 for i in items if i is Ellipsis)
    named = len(items) - dots - sum(1 for i in items if i is None)
    if dots > 1 or named > len(tensor.shape):
        raise BadInput(f"{tensor.label}: {len(items)} indices for shape {tensor.shape}")
    out, axis, kept = tensor, 0, []
    for item in items:
        if item is None:
            kept.append(1)
        elif item is Ellipsis:
            skipped = len(tensor.shape) - named
            kept += out.shape[axis : axis + skipped]
            axis += skipped
        elif isinstance(item, slice):
            out = _slice_axis(out, axis, item)
            kept.append(out.shape[axis])
            axis += 1
        else:
            out = _pick(out, axis, item)
            axis += 1
    shape = (*kept, *out.shape[axis:])
    return out if shape == out.shape else out.as_shape(shape)


def _pick(tensor: Tensor, axis: int, item: Any) -> Tensor:
    size = tensor.shape[axis]
    if not is_whole(item):
        raise BadInput(f"{tensor.label}: an index is a whole number or a slice, not {item!r}")
    at = int(item) + size if item < 0 else int(item)
    if not 0 <= at < size:
        raise BadInput(f"{tensor.label}: index {item} of axis {axis}, which has {size} elements")
    return tensor.slice(axis, at, at + 1)


def _slice_axis(tensor: Tensor, axis: int, item: slice) -> Tensor:
    size = tensor.shape[axis]
    for bound in (item.start, item.stop, item.step):
        if bound is not None and not is_whole(bound):
            raise BadInput(f"{tensor.label}: a slice has whole numbers, not {bound!r}")
    step = 1 if item.step is None else int(item.step)
    if step == 0:
        raise BadInput(f"{tensor.label}: a slice of step 0")
    for bound in (item.start, item.stop):
        if bound is not None and not -size <= bound <= size:
            raise BadInput(f"{tensor.label}: slice bound {bound} of axis {axis}, which has {size} elements")
    start, stop, step = item.indices(size)
    if step == 1:
        return tensor.slice(axis, start, max(start, stop))
    return tensor.stride(axis, start, len(range(start, stop, step)), step)
