"""Chains of views drawn by hypothesis: a tensor and the numpy array that shows which elements it looks at."""

import numpy as np
from hypothesis import strategies as st

from ipusim import Tensor

MOST = 400  # elements of a view


def numbers(variables):
    """For every variable an array of its shape that numbers the elements of all variables through."""
    base = np.cumsum([0] + [v.elements for v in variables])
    return {v: (base[i] + np.arange(v.elements)).reshape(v.shape) for i, v in enumerate(variables)}


def identities(variables, found):
    """The numbers of the elements of runs, in order."""
    base = np.cumsum([0] + [v.elements for v in variables])
    parts = [base[v] + np.arange(s, s + n) for v, s, n in zip(found.variable, found.start, found.length, strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


@st.composite
def chains(draw, variables, most=6, known=None):
    """(tensor, array of element numbers): up to `most` views on one of the variables, perhaps joined with another.

    `known`: numbers of the elements; left out: those of these variables alone.
    """
    known = known or numbers(variables)
    at = draw(st.sampled_from(variables))
    pair = Tensor.of(at), known[at]
    for _ in range(draw(st.integers(0, most))):
        pair = draw(step(*pair))
        if draw(st.integers(0, 9)) == 0:
            other = draw(st.sampled_from(variables))
            pair = (
                Tensor.concat([pair[0].flatten(), Tensor.of(other).flatten()]),
                np.concatenate([pair[1].ravel(), known[other].ravel()]),
            )
    return pair


@st.composite
def step(draw, tensor, array):
    """One more view."""
    kinds = ["index", "new axis", "transpose", "reverse", "reshape", "concat", "broadcast", "flatten", "T", "ellipsis"]
    kind = draw(st.sampled_from(kinds))
    if kind == "new axis" and array.ndim < 5:
        return tensor[None], array[None]
    if kind == "flatten":
        return tensor.flatten(), array.ravel()
    if kind == "T":
        return tensor.T, array.T
    if kind == "reshape" and array.size:
        split = draw(st.sampled_from([d for d in range(1, array.size + 1) if array.size % d == 0]))
        return tensor.reshape((split, array.size // split)), array.reshape(split, -1)
    if not array.ndim:
        return tensor, array
    axis = draw(st.integers(0, array.ndim - 1))
    if kind == "transpose":
        order = draw(st.permutations(range(array.ndim)))
        return tensor.transpose(order), array.transpose(order)
    if kind == "reverse":
        return tensor.reverse(axis), np.flip(array, axis)
    if kind == "concat" and array.size <= MOST:
        return Tensor.concat([tensor, tensor.reverse(axis)], axis), np.concatenate([array, np.flip(array, axis)], axis)
    if kind == "broadcast" and array.size <= MOST:
        count = draw(st.integers(1, 3))
        return tensor.broadcast(count, axis), np.concatenate([array] * count, axis)
    index = draw(indices(array.shape))
    if kind == "ellipsis" and index:
        index = (..., *index[-draw(st.integers(1, len(index))) :]) if len(index) == array.ndim else index
    return tensor[index], array[index]


@st.composite
def indices(draw, shape):
    """A tuple of whole numbers and slices inside a shape."""
    out = []
    for size in shape[: draw(st.integers(1, len(shape)))]:
        if size and draw(st.integers(0, 3)) == 0:
            out.append(draw(st.integers(-size, size - 1)))
        else:
            bounds = st.none() | st.integers(-size, size)
            step = draw(st.sampled_from([None, 1, 2, 3, -1, -2]))
            out.append(slice(draw(bounds), draw(bounds), step))
    return tuple(out)
