"""A workload as a table of instructions, for loops that run thousands of times.

The instructions call functions that are compiled once for all workloads (`kernels`), so that a new workload takes no
time to compile.  A run is interrupted where Python may be: every `BUDGET` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from ipusim.address import address_of, call, u8_at
from ipusim.jit import jit
from ipusim.program.groups import Rounds
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Workload
from ipusim_kernels.fused import kernels
from ipusim_kernels.fused.emit import emit_all
from ipusim_kernels.fused.writer import Call, Instruction, Leave, Next, Place, Repeat, Writer
from ipusim_kernels.poprand.streams import Layout

Array = NDArray[Any]
I64 = NDArray[np.int64]

BUDGET: Final = 200_000  # [own choice] calls between chances to interrupt: some tenths of a second
_KINDS: Final = {"f": np.float32, "i": np.int32, "b": np.bool_, "u": np.uint32}
_CALL, _REPEAT, _NEXT, _LEAVE = range(4)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Text:
    """The instructions of a workload and where its values lie.

    `sizes`: elements of the four arrays; `states`: the places of the random states it advances, by seed.
    """

    instructions: tuple[Instruction, ...]
    sizes: dict[str, int]
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    constants: tuple[tuple[Place, Constant], ...]
    states: dict[int, Place]


@jit
def _run(code: I64, counters: I64, held: I64, at: int, budget: int) -> int:
    """Follows instructions from `at` on until the end or `budget` calls; the next instruction.  Counts in `counters`
    the runs to come of loops and how often conditions were asked, in `held` how often they held.
    """
    while at < len(code) and budget > 0:
        kind = code[at, 0]
        if kind == _CALL:
            call(code[at, 1], code[at, 2], 0, 0)
            budget -= 1
            at += 1
        elif kind == _REPEAT:
            counters[at] = code[at, 1]
            at += 1
        elif kind == _NEXT:
            start = code[at, 1]
            counters[start] -= 1
            at = start + 1 if counters[start] > 0 else at + 1
        else:
            counters[at] += 1
            if u8_at(code[at, 1], 1)[0]:
                held[at] += 1
                at += 1
            else:
                at = code[at, 2]
    return at


@final
class Compiled:
    """A workload ready to run, with memory of its own: one caller at a time."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._arrays: dict[str, Array] = {name: np.zeros(max(n, 1), _KINDS[name]) for name, n in text.sizes.items()}
        calls = [i for i in text.instructions if isinstance(i, Call)]
        self._tables = np.zeros(max(sum(len(c.table) for c in calls), 1), np.int64)
        self._code = np.zeros((len(text.instructions), 3), np.int64)
        self._counters, self._true = (np.zeros(len(text.instructions), np.int64) for _ in range(2))
        self._tests = [number for number, step in enumerate(text.instructions) if isinstance(step, Leave)]
        self._bind()
        for place, constant in text.constants:
            self._put(place, constant.array())

    def _bind(self) -> None:
        """Fills in addresses."""
        where, end = address_of(self._tables), 0
        for number, step in enumerate(self._text.instructions):
            if isinstance(step, Call):
                self._code[number] = _CALL, kernels.address(step.text, step.title), where + 8 * end
                self._tables[end : end + len(step.table)] = [self._number(n) for n in step.table]
                end += len(step.table)
            elif isinstance(step, Repeat):
                self._code[number, :2] = _REPEAT, step.count
            elif isinstance(step, Next):
                self._code[number, :2] = _NEXT, step.start
            elif isinstance(step, Leave):
                self._code[number] = _LEAVE, self._number(step.test), step.loop.end

    def _number(self, number: int | float | Place) -> int:
        if isinstance(number, Place):
            array = self._arrays[number.array]
            return address_of(array) + number.offset * array.itemsize
        return int(np.float64(number).view(np.int64)) if isinstance(number, float) else number

    def _held(self, place: Place, elements: int) -> Array:
        return self._arrays[place.array][place.offset : place.offset + elements]

    def _put(self, place: Place, values: Array) -> None:
        self._held(place, values.size)[:] = values.reshape(-1)

    def __call__(
        self, inputs: Sequence[Array], outputs: Sequence[Array], states: Sequence[Array] = ()
    ) -> list[Rounds]:
        """Computes `outputs` (overwritten) from `inputs`, arrays in the order of the workload; advances `states`, one
        array for each seed.

        Returns: how often the condition of each `While` was asked and how often it held, as they stand in the workload.
        """
        text = self._text
        self._counters[:] = self._true[:] = 0
        for place, values in zip((*text.inputs, *text.states.values()), (*inputs, *states), strict=True):
            self._put(place, values)
        at = 0
        while at < len(self._code):
            at = _run(self._code, self._counters, self._true, at, BUDGET)
        for place, target in zip((*text.outputs, *text.states.values()), (*outputs, *states), strict=True):
            target[...] = self._held(place, target.size).reshape(target.shape)
        return [(int(self._counters[t]), int(self._true[t])) for t in self._tests]


def written(
    workload: Workload,
    layout: Callable[[tuple[int, ...]], Layout] | None = None,
    words: int = 0,
    masks: Sequence[Layout] = (),
) -> Text:
    """The instructions of a workload; `layout`, `words` and `masks` as for `Writer`.

    Raises BadInput naming a node that has none.
    """
    w = Writer(layout, words, masks)
    inputs = tuple(w.room(w.letter(v), v.type.elements) for v in workload.inputs)
    outputs = tuple(emit_all(w, workload, inputs))
    return Text(tuple(w.instructions), w.sizes, inputs, outputs, tuple(w.constants), w.states)


def compile_workload(workload: Workload) -> Compiled:
    """A workload without random values.  Raises BadInput naming a node that has no instructions."""
    return Compiled(written(workload))
