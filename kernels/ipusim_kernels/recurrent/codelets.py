"""Vertices of a step of a recurrent layer: taking the step's input out of the sequence, joining gates, storing results.

Steps are counted by a vertex of 43 cycles (poplibs lib/popnn/Rnn.cpp); slices cost what DynamicSlice1D does; what the
library writes as one expression over several tensors is one vertex whose loop takes the sum of the loops of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from ipusim.dtype import DType
from ipusim.errors import BadInput
from ipusim.hw.cost import COPY_SLOTS, MULTI_STUB_CYCLES
from ipusim.program.codelet import Array, Codelet
from ipusim_kernels.elementwise.codelets import EXPRESSIONS, expression_loop
from ipusim_kernels.gather.cycles import dynamic_slice_1d
from ipusim_kernels.halves import store, widen
from ipusim_kernels.recurrent.numeric import activate

COUNT_CYCLES = 43  # [poplibs] lib/popnn/Rnn.cpp: the vertex that counts steps


def no_flops(attrs: object, *sizes: int) -> int:
    """None."""
    return 0


def count_cycles(attrs: None, elements: int) -> int:
    """Tile cycles of the counter."""
    return COUNT_CYCLES


def count_compute(attrs: None, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """counter + 1."""
    boxes[0][0][...] += 1


def count_batched(attrs: None, arrays: Sequence[Array]) -> None:
    """counter + 1."""
    arrays[0][...] += 1


COUNT = Codelet("popnn::LoopCounter", ("elements",), count_cycles, count_compute, count_batched, no_flops, "multi", 64)


@final
@dataclass(frozen=True, slots=True)
class FiniteAttrs:
    """Of what all values must be finite, or just no NaN if they may be infinite, and the node that says so."""

    what: str
    node: str
    infinite: bool


def finite_cycles(attrs: FiniteAttrs, elements: int) -> int:
    """Tile cycles of a copy that looks at each element."""
    return 6 * (COPY_SLOTS + -(-elements // 6))


def finite_compute(attrs: FiniteAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """source, target, box by box.  Raises BadInput for a value that must not be."""
    for source, target in zip(*boxes, strict=True):
        target[...] = source
        given = np.asarray(source, np.float32)
        wrong = np.argwhere(np.isnan(given) if attrs.infinite else ~np.isfinite(given))
        if len(wrong):
            wanted = "a number" if attrs.infinite else "a finite number"
            raise BadInput(f"node {attrs.node!r}: {attrs.what} is {source[tuple(wrong[0])]}, not {wanted}")


def finite_batched(attrs: FiniteAttrs, arrays: Sequence[Array]) -> None:
    """source, target."""
    finite_compute(attrs, (), [[a] for a in arrays])


FINITE = Codelet(
    "poplar::CopyChecked", ("elements",), finite_cycles, finite_compute, finite_batched, no_flops, "multi", 128
)


@final
@dataclass(frozen=True, slots=True)
class StepAttrs:
    """Element type, chip generation, whether sequences run backwards, whether they have lengths of their own; the node
    that they belong to.
    """

    dtype: DType
    mk1: bool
    reverse: bool
    lengths: bool
    node: str = ""


def slice_cycles(attrs: StepAttrs, elements: int) -> int:
    """Tile cycles of a slice or an update."""
    return dynamic_slice_1d(elements, 1, attrs.dtype.bytes == 2, attrs.mk1)


def check_lengths(node: str, lengths: Array, steps: int, *, part: bool = False) -> None:
    """Raises BadInput for a sequence that is longer than the layer has steps, or shorter than none; it is named by its
    number unless `lengths` are those of a part of the batch.
    """
    wrong = np.flatnonzero((lengths < 0) | (lengths > steps))
    if len(wrong):
        which, found = "a sequence" if part else f"sequence {wrong[0]}", int(lengths[wrong[0]])
        raise BadInput(f"node {node!r}: {which} has length {found}; x has {steps} steps, so 0 to {steps}")


def _places(attrs: StepAttrs, steps: int, batch: int, counter: Array, lengths: Array | None) -> Array:
    """For each sequence, which element of it the step works on; -1 where it is over.  Returns: (batch,) int64."""
    step = int(counter.reshape(-1)[0])
    size = np.full(batch, steps, np.int64) if lengths is None else lengths.astype(np.int64)
    if lengths is not None:
        check_lengths(attrs.node, lengths, steps, part=True)
    at = size - 1 - step if attrs.reverse else np.full(batch, step, np.int64)
    return np.where(step < size, at, -1)


def slice_compute(attrs: StepAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """x (T, n, ..), counter (1,), [lengths (n,)], out (n, ..): 0 where a sequence is over."""
    x, counter, *lengths, out = boxes
    for number, target in enumerate(out):
        sequence = x[number]
        given = lengths[0][number] if lengths else None
        at = _places(attrs, len(sequence), target.shape[0], counter[0], given)
        rows = sequence[np.maximum(at, 0), np.arange(target.shape[0])]
        running = (at >= 0).reshape(-1, *(1,) * (rows.ndim - 1))
        target[...] = np.where(running, rows, rows.dtype.type(0))


def slice_batched(attrs: StepAttrs, arrays: Sequence[Array]) -> None:
    """The same on whole tensors."""
    slice_compute(attrs, (), [[a] for a in arrays])


def update_compute(attrs: StepAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """h (n, i), counter (1,), [lengths (n,)], y (T, n, i): h stored in its place, nothing where a sequence is over."""
    h, counter, *lengths, y = boxes
    for number, target in enumerate(y):
        given = lengths[0][number] if lengths else None
        at = _places(attrs, len(target), h[number].shape[0], counter[0], given)
        if int(counter[0].reshape(-1)[0]) == 0:
            target[...] = 0
        running = np.flatnonzero(at >= 0)
        target[at[running], running] = h[number][running]


def update_batched(attrs: StepAttrs, arrays: Sequence[Array]) -> None:
    """The same on whole tensors."""
    update_compute(attrs, (), [[a] for a in arrays])


def keep_compute(attrs: StepAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """new (n, i), counter (1,), lengths (n,), state (n, i): replaced where the sequence is not over."""
    new, counter, lengths, state = boxes
    step = int(counter[0].reshape(-1)[0])
    for value, length, target in zip(new, lengths, state, strict=True):
        running = step < length
        target[running] = value[running]


def keep_batched(attrs: StepAttrs, arrays: Sequence[Array]) -> None:
    """The same on whole tensors."""
    keep_compute(attrs, (), [[a] for a in arrays])


SLICE = Codelet(
    "popops::DynamicSlice1D", ("elements",), slice_cycles, slice_compute, slice_batched, no_flops, "multi", 192
)
UPDATE = Codelet(
    "popops::DynamicUpdateSlice1D", ("elements",), slice_cycles, update_compute, update_batched, no_flops, "multi", 192
)
KEEP = Codelet("popnn::KeepState", ("elements",), slice_cycles, keep_compute, keep_batched, no_flops, "multi", 192)


@final
@dataclass(frozen=True, slots=True)
class JoinAttrs:
    """An expression of `JOINS`, its activation if it has one, and the element type."""

    kind: str
    dtype: DType
    function: tuple[str, float, float] = ("", 0.0, 0.0)


#: Expression -> (parts as of `elementwise.codelets.EXPRESSIONS`, value of float32 arrays).
JOINS: Final[dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., Array]]]] = {
    "copy": (((), ("add",)), lambda f, a: a),
    "add": (((), ("add",)), lambda f, a, b: a + b),
    "peephole": (((), ("mul", "add")), lambda f, a, p, c: a + p * c),
    "complement": (((), ("sub",)), lambda f, a: np.float32(1) - a),
    "cell": (((), ("mul", "mul", "add")), lambda f, i, z, g, c: g * c + i * z),
    "output": (((), ("mul",)), lambda f, o, c: o * f(c)),
    "product": (((), ("mul",)), lambda f, a, b: a * b),
    "gated": (((), ("mul", "add")), lambda f, x, r, h: f(x + r * h)),
    "blend": (((), ("sub", "mul", "mul", "add")), lambda f, z, n, h: (np.float32(1) - z) * n + z * h),
    "function": (((), ()), lambda f, a: f(a)),
}

#: Activations that are no table functions and no expressions of the elementwise ops.
FUNCTIONS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "": ((), ()),
    "affine": ((), ("mul", "add")),
    "scaled_tanh": (("tanh",), ("mul", "mul")),
}


def join_cycles(attrs: JoinAttrs, elements: int) -> int:
    """Tile cycles of a generated vertex."""
    single, double = JOINS[attrs.kind][0]
    more = _function_parts(attrs.function[0])
    loop = expression_loop((single + more[0], double + more[1]), attrs.dtype.bytes == 2, -(-elements // 6))
    return MULTI_STUB_CYCLES + 6 * (26 + loop) + 11


def join_flops(attrs: JoinAttrs, elements: int) -> int:
    """One per element and part."""
    single, double = JOINS[attrs.kind][0]
    return elements * (len(single) + len(double) + bool(attrs.function[0]))


def _function_parts(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """An activation in terms of table functions."""
    if kind in FUNCTIONS:
        return FUNCTIONS[kind]
    return EXPRESSIONS.get(kind, ((kind,), ()))


def join_batched(attrs: JoinAttrs, arrays: Sequence[Array]) -> None:
    """Operands and the result, which may be one of them as well."""
    *operands, out = arrays
    store(np.broadcast_to(_joined(attrs, operands), out.shape), out)


def _joined(attrs: JoinAttrs, operands: Sequence[Array]) -> Array:
    def function(x: Array) -> Array:
        return activate(attrs.function, x) if attrs.function[0] else x

    return np.asarray(JOINS[attrs.kind][1](function, *(widen(a) for a in operands)), np.float32)


def join_compute(attrs: JoinAttrs, sizes: tuple[int, ...], boxes: Sequence[Sequence[Array]]) -> None:
    """One vertex, box by box."""
    for parts in zip(*boxes, strict=True):
        join_batched(attrs, parts)


JOIN = Codelet("popops::map", ("elements",), join_cycles, join_compute, join_batched, join_flops, "multi", 320)
