"""Everything that the vertices of a program are called with, as tables of addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.address import address_of
from ipusim.engine import drive, loaded
from ipusim.engine.fuse import fuse
from ipusim.engine.leaves import Leaf
from ipusim.engine.loaded import Part, Storage
from ipusim.program import elements
from ipusim.program.control import Copy
from ipusim.program.mapping import I64
from ipusim.program.wiring import WiredGroup


@final
@dataclass(frozen=True, eq=False, slots=True)
class Tables:
    """Tables of a loaded program.

    `groups`: all vertex groups; the slots of group g are `slots`[`slot_first`[g]..] (six a vertex of a MultiVertex).
    `parts`: rows as ipusim.engine.drive reads them, those of leaf l at `part_first`[l]..; `moves`: rows (to, from,
    bytes); `addresses`, `functions`: of each group's table and code; `status`: what a failing vertex writes.  `made`
    and `keep` hold the arrays that the addresses point to.
    """

    groups: list[WiredGroup]
    slots: I64
    slot_first: I64
    status: I64
    parts: NDArray[np.int64]
    part_first: I64
    moves: NDArray[np.int64]
    addresses: I64
    functions: I64
    made: list[loaded.Table]
    keep: list[Any]

    def lengthen(self, leaf: int, group: int) -> None:
        """From now on the vertices of a group run as fewer and longer ones, if that is possible."""
        found = fuse(self.made[group], self.groups[group])
        if found is not None:
            words, kept = found
            self.keep.append(kept)
            rows = slice(int(self.part_first[leaf]), int(self.part_first[leaf + 1]))
            mine = self.parts[rows][:, drive.P_GROUP] == group
            self.parts[rows][mine, drive.P_HIGH] = len(kept[1])
            self.addresses[group] = address_of(words)


def lanes(group: WiredGroup) -> int:
    """Slot counts of a vertex: one, or one for each worker of a MultiVertex."""
    return 6 if group.codelet.kind == "multi" else 1


def build_tables(leaves: Sequence[Leaf], storage: Storage, generation: str) -> Tables:
    """Lays out a program; every group starts with its counting code."""
    groups = [g for leaf in leaves for g in leaf.groups]
    sizes = [len(g) * lanes(g) for g in groups]
    slot_first = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)
    slots = np.zeros(max(1, int(slot_first[-1])), np.int64)
    unused = np.zeros(max([1, *sizes]), np.int64)
    status = np.zeros(9, np.int64)  # eight words of the codelet, and its group
    made = []
    for number, group in enumerate(groups):
        own = address_of(slots) + 8 * int(slot_first[number])
        given = group.codelet.override is not None
        made.append(loaded.table(group, storage, address_of(unused) if given else own, address_of(status)))
    keep: list[Any] = [unused]
    parts: list[tuple[int, ...]] = []
    moves, first, moved = [np.zeros((0, 3), np.int64)], [0], 0
    for leaf in leaves:
        for number, part in _listed(leaf, made, storage, keep):
            middle = moved + len(part.gather)
            end = middle + len(part.scatter)
            parts.append((moved, middle, number, part.low, part.high, middle, end))
            moves += [part.gather, part.scatter]
            moved = end
        first.append(len(parts))
    return Tables(
        groups=groups,
        slots=slots,
        slot_first=slot_first,
        status=status,
        parts=np.array(parts, np.int64).reshape(-1, 7),
        part_first=np.array(first, np.int64),
        moves=np.concatenate(moves),
        addresses=np.array([address_of(t.words) for t in made] or [0], np.int64),
        functions=np.array([g.codelet.compiled(counted=True, generation=generation) for g in groups] or [0], np.int64),
        made=made,
        keep=keep,
    )


def _listed(leaf: Leaf, made: Sequence[loaded.Table], storage: Storage, keep: list[Any]) -> list[tuple[int, Part]]:
    """(group, part) in the order in which a leaf runs them; group -1 for a copy."""
    if leaf.copy is not None:
        return [(-1, _moving(leaf.copy, storage, keep))]
    numbers = range(leaf.first_group, leaf.first_group + len(leaf.groups))
    return [(number, part) for number in numbers for part in made[number].parts]


def _moving(copy: Copy, storage: Storage, keep: list[Any]) -> Part:
    """A copy; through a buffer if both ends look at one variable, for then they may overlap."""
    rows = loaded.aligned_moves(elements.runs([copy.source]), elements.runs([copy.target]), storage)
    if not set(copy.source.variables()) & set(copy.target.variables()):
        return Part(rows, 0, 0, rows[:0])
    buffer = np.zeros(int(rows[:, 2].sum()) + 1, np.uint8)
    keep.append(buffer)
    between = address_of(buffer) + np.cumsum(rows[:, 2]) - rows[:, 2]
    gather = np.stack([between, rows[:, 1], rows[:, 2]], axis=1)
    return Part(gather, 0, 0, np.stack([rows[:, 0], between, rows[:, 2]], axis=1))
