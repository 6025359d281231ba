"""The instructions of a workload under construction: calls of small functions, and jumps that make loops of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, final

import numpy as np

from ipusim.dtype import DType, float32
from ipusim.errors import BadInput
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Node, Value
from ipusim_kernels.fused import kernels
from ipusim_kernels.poprand.streams import Layout

LETTERS: Final = {"float32": "f", "int32": "i", "bool": "b"}
SCRATCH: Final = 1024  # int32 that exp and its like work on


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies: an array ("f" float32, "i" int32, "b" bool, "u" uint32) and its first element there."""

    array: str
    offset: int

    def moved(self, elements: int) -> Place:
        """The place some elements further on."""
        return Place(self.array, self.offset + elements)


#: A number of an instruction's table: itself, the address of a place, or the bits of a float64.
Number = int | Place | float


@final
@dataclass(frozen=True, slots=True)
class Call:
    """A function (its text, and a title for it) on a table."""

    text: str
    title: str
    table: tuple[Number, ...]


@final
@dataclass(slots=True)
class Repeat:
    """The start of a loop of `count` runs; `end` is the instruction after its `Next`."""

    count: int
    end: int = 0


@final
@dataclass(frozen=True, slots=True)
class Next:
    """The end of the loop whose first instruction is `start`."""

    start: int


@final
@dataclass(frozen=True, slots=True)
class Leave:
    """Ends the loop that `loop` starts where the bool at a place is false."""

    loop: Repeat
    test: Place


@final
@dataclass(frozen=True, slots=True)
class Late:
    """A matrix transposed where somebody needs it: `source` as it lies, and what writes the instructions."""

    source: Place
    write: Callable[[], None]


Instruction = Call | Repeat | Next | Leave


class Writer:
    """Instructions that work on four arrays, in which every value has a place.

    `names` maps values to places, `late` those that have none yet, `owned` are values whose places may be overwritten;
    `sizes` counts the elements of each array; `constants` are values to be put in their places beforehand; `states` the
    places of the random states, by seed.  `layout` says on which tiles the elements of a random value lie (None: there
    are none), `masks` where those of each dropout do, in order; `words` how long a random state is.
    """

    def __init__(
        self,
        layout: Callable[[tuple[int, ...]], Layout] | None = None,
        words: int = 0,
        masks: Sequence[Layout] = (),
    ) -> None:
        self.layout, self.words, self.masks = layout, words, iter(masks)
        self.names: dict[str, Place] = {}
        self.late: dict[str, Late] = {}
        self.owned: frozenset[str] = frozenset()
        self.sizes = dict.fromkeys("fibu", 0)
        self.constants: list[tuple[Place, Constant]] = []
        self.states: dict[int, Place] = {}
        self.instructions: list[Instruction] = []
        self._scalars: dict[tuple[str, str], Place] = {}
        self._scratch: Place | None = None

    def fresh(self, value: Value) -> Place:
        """A new place for a value."""
        made = self.names[value.name] = self.room(self.letter(value), value.type.elements)
        return made

    def letter(self, value: Value) -> str:
        """The array of a value.  Raises BadInput for a type that none holds."""
        if value.dtype.name not in LETTERS:
            raise BadInput(f"value {value.name!r} is {value.dtype}: a compiled loop holds float32, int32 and bool")
        return LETTERS[value.dtype.name]

    def room(self, array: str, elements: int) -> Place:
        """A new place of some elements, beginning at a multiple of 16."""
        start = -(-self.sizes[array] // 16) * 16
        self.sizes[array] = start + elements
        return Place(array, start)

    def of(self, value: Value) -> Place:
        """The place of a value, whose late instructions are written first."""
        if value.name not in self.names:
            self.late.pop(value.name).write()
        return self.names[value.name]

    def constant(self, value: Value, constant: Constant) -> None:
        """A place for a constant."""
        self.constants.append((self.fresh(value), constant))

    def held(self, array: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Place:
        """A place with given integers."""
        made = self.room("i", len(array))
        self.constants.append((made, Constant.of(array)))
        return made

    def scalar(self, value: float, dtype: DType = float32) -> Place:
        """A place with one number, the same for the same number."""
        key = (LETTERS[dtype.name], repr(value))
        if key not in self._scalars:
            place = self._scalars[key] = self.room(key[0], 1)
            self.constants.append((place, Constant.full((1,), dtype, value)))
        return self._scalars[key]

    def scratch(self) -> Place:
        """Memory that every instruction may overwrite."""
        if self._scratch is None:
            self._scratch = self.room("i", SCRATCH)
        return self._scratch

    def call(
        self,
        text: Callable[[str], str],
        title: str,
        shape: Sequence[int],
        operands: Sequence[tuple[Place, Sequence[int]]],
        numbers: Sequence[Number] = (),
        whole: int = 0,
    ) -> None:
        """A function over `shape`; operands: places with strides in elements, the result first.

        `text` makes the function for a pattern (`kernels.pattern_of`).
        `whole`: the last axes that are one row (0: as many as run through like one).
        """
        strides = [list(s) for _, s in operands]
        if whole:
            sizes, steps = [*shape[:-whole], prod(shape[-whole:])], [[*s[:-whole], 1] for s in strides]
        else:
            sizes, steps = collapsed(shape, strides)
        if not sizes:
            sizes, steps = [1], [[1] for _ in strides]
        outer, row = sizes[:-1], sizes[-1]
        further = [*numbers, *[0] * (3 - len(numbers))]
        table: list[Number] = [prod(outer), row, len(outer), *further]
        table += [place for place, _ in operands]
        table += [s[-1] for s in steps]
        for axis, size in enumerate(outer):
            table += [size, 0]
            table += [s[axis] * kernels.BYTES[p.array] for s, (p, _) in zip(steps, operands, strict=True)]
        along = [s[-1] for s in steps]
        self.instructions.append(Call(text(kernels.pattern_of(along, row, len(outer))), title, tuple(table)))

    def apply(self, expression: str, shape: Sequence[int], operands: Sequence[tuple[Place, Sequence[int]]]) -> None:
        """An expression of {a}, {b}, {c} over `shape`; the result first."""
        types = "".join(p.array for p, _ in operands)
        self.call(lambda pattern: kernels.elementwise(expression, types, pattern), "elementwise", shape, operands)

    def fill(self, target: Place, elements: int, value: float) -> None:
        """One number everywhere (float32)."""
        self.apply("{a}", [elements], [(target, [1]), (self.scalar(value), [0])])

    def copy(self, source: Place, target: Place, elements: int) -> None:
        """The same elements in another place."""
        self.apply("{a}", [elements], [(target, [1]), (source, [1])])


def collapsed(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Loops without axes of size 1, neighbours merged where every operand runs through them as through one."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        mine = [s[axis] for s in strides]
        if sizes and all(done[-1] == step * size for done, step in zip(steps, mine, strict=True)):
            sizes[-1] *= size
            for done, step in zip(steps, mine, strict=True):
                done[-1] = step
        else:
            sizes.append(size)
            for done, step in zip(steps, mine, strict=True):
                done.append(step)
    return sizes, steps


def row_major(shape: Sequence[int]) -> list[int]:
    """Strides of an array, in elements."""
    return [prod(shape[a + 1 :]) for a in range(len(shape))]


def broadcast_strides(shape: Sequence[int], to: Sequence[int]) -> list[int]:
    """Strides of an array that is read as if it had shape `to`."""
    own = [0] * (len(to) - len(shape)) + row_major(shape)
    full = [1] * (len(to) - len(shape)) + list(shape)
    return [0 if n == 1 else s for n, s in zip(full, own, strict=True)]


def unknown(node: Node, what: str) -> BadInput:
    """The error for a node that no instructions are known for."""
    return BadInput(f"node {node.name!r}: {type(node.op).__name__} {what!r} cannot run inside a compiled loop")


__all__ = ["Call", "Instruction", "Late", "Leave", "Next", "Number", "Place", "Repeat", "Writer", "broadcast_strides",
           "collapsed", "row_major", "unknown"]  # fmt: skip
