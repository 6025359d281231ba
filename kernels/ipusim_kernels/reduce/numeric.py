"""Values of reductions, in float32 with one rounding at the end; `KINDS` is the meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim_kernels.halves import store, widen

Array = NDArray[Any]


def _log_sum_exp(x: Array, axis: Any) -> Array:
    top = np.max(x, axis=axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0)
    return np.asarray(np.log(np.sum(np.exp(x - safe), axis=axis)) + np.squeeze(safe, axis))


#: Reduction of an array over axes.
KINDS: dict[str, Callable[[Array, Any], Array]] = {
    "sum": lambda x, axis: np.sum(x, axis=axis, dtype=x.dtype),
    "mean": lambda x, axis: np.mean(x, axis=axis, dtype=x.dtype),
    "max": lambda x, axis: np.max(x, axis=axis),
    "min": lambda x, axis: np.min(x, axis=axis),
    "prod": lambda x, axis: np.prod(x, axis=axis, dtype=x.dtype),
    "sum_square": lambda x, axis: np.sum(x * x, axis=axis, dtype=x.dtype),
    "mean_square": lambda x, axis: np.mean(x * x, axis=axis, dtype=x.dtype),
    "l1": lambda x, axis: np.sum(np.abs(x), axis=axis, dtype=x.dtype),
    "l2": lambda x, axis: np.sqrt(np.sum(x * x, axis=axis, dtype=x.dtype)),
    "log_sum": lambda x, axis: np.log(np.sum(x, axis=axis, dtype=x.dtype)),
    "log_sum_exp": _log_sum_exp,
}

#: What is added up over pieces: (kind within a piece, kind over pieces, finish of the sum of `count` elements).
STAGES: dict[str, tuple[str, str, Callable[[Array, int], Array]]] = {
    "sum": ("sum", "sum", lambda s, n: s),
    "mean": ("sum", "sum", lambda s, n: s / np.asarray(n, s.dtype)),
    "max": ("max", "max", lambda s, n: s),
    "min": ("min", "min", lambda s, n: s),
    "prod": ("prod", "prod", lambda s, n: s),
    "sum_square": ("sum_square", "sum", lambda s, n: s),
    "mean_square": ("sum_square", "sum", lambda s, n: s / np.asarray(n, s.dtype)),
    "l1": ("l1", "sum", lambda s, n: s),
    "l2": ("sum_square", "sum", lambda s, n: np.sqrt(s)),
    "log_sum": ("sum", "sum", lambda s, n: np.log(s)),
    "log_sum_exp": ("log_sum_exp", "log_sum_exp", lambda s, n: s),
}


def reduce(kind: str, x: Array, axes: tuple[int, ...], out: Array) -> None:
    """x reduced over axes into out (without those axes)."""
    if not axes:
        store(np.asarray(KINDS[kind](widen(x)[..., None], -1)), out)
        return
    with np.errstate(all="ignore"):
        store(np.asarray(KINDS[kind](widen(x), axes)), out)


def arg_reduce(kind: str, x: Array, axis: int, out: Array) -> None:
    """Index of the first largest or smallest element along an axis."""
    out[...] = (np.argmax if kind == "max" else np.argmin)(widen(x), axis=axis)


def softmax(x: Array, out: Array, log: bool) -> None:
    """Softmax (or its logarithm) over the last axis."""
    with np.errstate(all="ignore"):
        values = widen(x)
        values = values - values.max(axis=-1, keepdims=True)
        powers = np.exp(values)
        total = powers.sum(axis=-1, keepdims=True, dtype=np.float32)
        store(values - np.log(total) if log else powers * (np.float32(1) / total), out)


def normalise(x: Array, epsilon: float, out: Array) -> None:
    """Each row of x (rows, n) minus its mean, over its standard deviation."""
    values = widen(x)
    mean = values.mean(axis=1, keepdims=True, dtype=np.float32)
    centred = values - mean
    power = (centred * centred).mean(axis=1, keepdims=True, dtype=np.float32)
    store(centred * (np.float32(1) / np.sqrt(power + np.float32(epsilon))), out)
