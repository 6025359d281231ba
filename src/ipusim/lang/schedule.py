"""Slots of one straight block under the three pairing assumptions.

A bundle pairs one MAIN with one AUX instruction and lasts as long as the longer of the two; a result is ready for the
next bundle.  `serial` pairs nothing: the sum of all slots, which is what the vendor's compiler comes closest to on
measured loops.  `list` is greedy list scheduling (longest path first, the closing branch last): what a compiler
without software pipelining could reach.  `modulo` is max(MAIN, AUX): what a software-pipelined loop cannot beat.
`paced` is the same where the instructions that access memory up to three times are used (`ld2xst64pace`: two 64-bit
loads and a 64-bit store) and a product with a loop constant that is added once is one instruction (`f32v2axpy`).
Register pressure and memory element conflicts are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

Lane = Literal["main", "aux"]
Mode = Literal["serial", "list", "modulo", "paced"]
Role = Literal["", "load64", "store64", "mul", "add"]


@final
@dataclass(slots=True, eq=False)
class Instr:
    """One instruction: number, pipe, slots, numbers of the instructions whose results it needs, source line.

    `last` marks the branch that closes its block: nothing is issued after it.  `role`: what `paced` can join.
    """

    uid: int
    lane: Lane
    slots: int
    deps: tuple[int, ...]
    line: int
    last: bool = False
    role: Role = ""


@final
@dataclass(frozen=True, slots=True)
class Timing:
    """Slots of a block, its bundles, and the slots charged to each instruction (they add up to `slots`)."""

    slots: int
    bundles: int
    charged: tuple[int, ...]


def schedule(block: Sequence[Instr], mode: Mode) -> Timing:
    """Slots of `block` under `mode`."""
    if mode == "serial":
        return Timing(sum(i.slots for i in block), len(block), tuple(i.slots for i in block))
    if mode == "list":
        return _list(block)
    return _modulo(block, _joined(block) if mode == "paced" else frozenset())


def _modulo(block: Sequence[Instr], joined: frozenset[int]) -> Timing:
    """max(MAIN, AUX) without the instructions numbered in `joined`, which others do as well."""
    alone = [i for i in block if i.uid not in joined]
    main = sum(i.slots for i in alone if i.lane == "main")
    aux = sum(i.slots for i in alone if i.lane == "aux")
    ruling: Lane = "main" if main >= aux else "aux"
    bundles = max(sum(i.lane == "main" for i in alone), sum(i.lane == "aux" for i in alone))
    charged = (i.slots if i.lane == ruling and i.uid not in joined else 0 for i in block)
    return Timing(max(main, aux), bundles, tuple(charged))


def _joined(block: Sequence[Instr]) -> frozenset[int]:
    """Accesses that share an instruction with another one, and products that their sum takes in."""
    loads = [i.uid for i in block if i.role == "load64"]
    stores = [i.uid for i in block if i.role == "store64"]
    pairs = -(-len(loads) // 2)
    shared = set(loads[pairs:]) | set(stores[: min(pairs, len(stores))])
    inside = {i.uid for i in block}
    for product in block:
        users = [i for i in block if product.uid in i.deps]
        moving = [d for d in product.deps if d in inside]
        if product.role == "mul" and len(moving) == 1 and [u.role for u in users] == ["add"]:
            shared.add(product.uid)
    return frozenset(shared)


def _heights(block: Sequence[Instr]) -> dict[int, int]:
    """Slots from the issue of each instruction to the end of the longest chain that hangs on it."""
    height = {i.uid: i.slots for i in block}
    for instr in reversed(block):
        for dep in instr.deps:
            if dep in height:
                height[dep] = max(height[dep], height[instr.uid] + _own(block, dep))
    return height


def _own(block: Sequence[Instr], uid: int) -> int:
    return next(i.slots for i in block if i.uid == uid)


def _list(block: Sequence[Instr]) -> Timing:
    height = _heights(block)
    place = {i.uid: at for at, i in enumerate(block)}
    left = sorted(block, key=lambda i: (i.last, -height[i.uid], place[i.uid]))
    done: set[int] = set()
    charged = [0] * len(block)
    total = bundles = 0
    while left:
        pair = _bundle(left, done, set(height))
        longest = max(pair, key=lambda i: (i.slots, i.lane == "main"))
        charged[place[longest.uid]] += longest.slots
        total += longest.slots
        bundles += 1
        done.update(i.uid for i in pair)
        left = [i for i in left if i not in pair]
    return Timing(total, bundles, tuple(charged))


def _bundle(left: Sequence[Instr], done: set[int], inside: set[int]) -> list[Instr]:
    """The instructions of the next bundle: of each pipe the ready one with the longest chain behind it."""
    pair: list[Instr] = []
    for lane in ("aux", "main"):
        for instr in left:
            if instr.lane != lane or any(d in inside and d not in done for d in instr.deps):
                continue
            if not instr.last or all(i.last or i in pair for i in left):
                pair.append(instr)
                break
    return pair
