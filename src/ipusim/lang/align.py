"""Alignment of the accesses of a loop that is counted per vector.

A 64-bit access lies at a multiple of 64 bits, so in a loop over pairs of floats only every other offset can be read or
written as a pair: a stencil that reads x - 1, x and x + 1 has one parity aligned and the other not.  The parity is the
one that takes the fewest slots; where two are equal, the one that writes pairs.  An access at the other parity takes
two 32-bit instructions.  A load of it may instead take its elements out of aligned pairs of the same row that are read
anyway, and load only what is missing; an operation on such a pair is then two scalar ones, since its halves are in
different register pairs.  (Both are what the vendor's compiler makes of a 5-point stencil over float2: two scalar adds
and two scalar stores per pair, github simehaa/IPU.)  Halves are not split: their unaligned vectors are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from ipusim.lang.affine import Poly
from ipusim.lang.ir import FieldSpec
from ipusim.lang.schedule import Instr
from ipusim.lang.slots import VECTOR_BYTES

PAIR = 2
_Key = tuple[str, tuple[Poly | None, Poly]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """A load or store along a vector.

    `at`: the constant part of its subscript; `row`: equal for accesses that differ in `at` alone; `instrs`: its code.
    """

    at: int
    writes: bool
    field: FieldSpec
    row: tuple[Poly | None, Poly]
    instrs: Sequence[Instr]


@final
@dataclass(slots=True, eq=False)
class Lanes:
    """The loop being counted per vector: its id, the value that numbers the lanes, and the accesses along it."""

    loop: int
    value: int
    width: int
    accesses: list[Access] = field(default_factory=list)

    def align(self, block: Sequence[Instr]) -> str | None:
        """Gives accesses that are not aligned, and operations of `block` on them, the slots they take.

        Returns: why the loop cannot be counted per vector, or None.
        """
        if not self.accesses:
            return None
        first = next((a.at for a in self.accesses if a.writes), self.accesses[0].at)
        choices = [_Choice(self, first, block)]
        if any(_splits(a, self.width) for a in self.accesses):
            choices.append(_Choice(self, first + 1, block))
        possible = [c for c in choices if c.refused is None]
        if not possible:
            return choices[0].refused
        min(possible, key=lambda c: c.slots).apply()
        return None


def _splits(access: Access, width: int) -> bool:
    """A vector of it is a pair of words, and words may be loaded and stored one by one."""
    return width == PAIR and access.field.dtype.bytes * PAIR == VECTOR_BYTES


@final
class _Choice:
    """What one parity of the aligned accesses costs: slots of every access, operations that fall into halves."""

    def __init__(self, lanes: Lanes, aligned: int, block: Sequence[Instr]) -> None:
        self.refused: str | None = None
        self.loads: list[tuple[Instr, int]] = []
        self.halved: list[Instr] = []
        unaligned: dict[_Key, list[Access]] = {}
        straight: dict[_Key, set[int]] = {}
        pairs = 0
        for access in lanes.accesses:
            key = (access.field.name, access.row)
            if (access.at - aligned) % lanes.width == 0:
                pairs += len(access.instrs)
                if not access.writes:
                    straight.setdefault(key, set()).add(access.at)
            elif not _splits(access, lanes.width):
                self.refused = f"neighbouring elements of {access.field.name} are not aligned"
            elif access.writes:
                self.loads += [(i, PAIR) for i in access.instrs]
            else:
                unaligned.setdefault(key, []).append(access)
        for key, loads in unaligned.items():
            self._halves(loads, straight.get(key, set()), block)
        self.slots = pairs + sum(slots for _, slots in self.loads) + len(self.halved)

    def _halves(self, loads: Sequence[Access], pairs: set[int], block: Sequence[Instr]) -> None:
        """Unaligned loads of one row: whole, or what aligned pairs of the row do not have, whichever is less."""
        taken = [(a, PAIR - (a.at - 1 in pairs) - (a.at + 1 in pairs)) for a in loads]
        uids = {i.uid for a in loads for i in a.instrs}
        users = [i for i in block if i.lane == "aux" and uids.intersection(i.deps)]
        if sum(missing for _, missing in taken) + len(users) < PAIR * len(loads):
            self.loads += [(i, missing) for a, missing in taken for i in a.instrs]
            self.halved += [i for i in users if i not in self.halved]
        else:
            self.loads += [(i, PAIR) for a in loads for i in a.instrs]

    def apply(self) -> None:
        """Writes the slots into the instructions."""
        for instr, slots in self.loads:
            instr.slots, instr.role = slots, ""
        for instr in self.halved:
            instr.slots, instr.role = instr.slots + 1, ""
