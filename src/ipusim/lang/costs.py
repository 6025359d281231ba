"""Issue slots of a codelet, from its own source.

`costs` lowers the typed tree to the instructions of a tile's two pipes (`lang/walk.py`), adds up each straight block
under a pairing assumption, and books every block at the statement where it starts, so that compiled code can count
data-dependent slots while it computes.  Profiles:

- `popc`: no pairing, times `POPC_FACTOR`, and `NESTED_LOOP_SLOTS` where a loop starts within a loop.  Code of the
  vendor's compiler of 2020, measured on a GC2, takes 1.10 times `serial` (1.04 and 1.13 in two programs): reloads,
  spills and constants eat more than pairing gains; what the loop around an inner loop held in registers is put away and
  fetched again.  Code of later compilers, measured on a GC200 and a Bow, takes `serial` itself (1.00 to 1.07 in three
  programs).
- `serial`: the same without the factor and the nested loops' starts.
- `list`: greedy pairing in each block; 20 to 40 % below measured code.
- `rpt`: as `list`, but innermost straight loops are repeated by the hardware, without a branch: hand-written code that
  does not overlap iterations.
- `asm`: innermost straight loops at max(MAIN, AUX) without a branch, the rest as `list`: a bound for hand-written code
  with one access per instruction.
- `pace`: as `asm`, with the instructions that make up to two 64-bit loads and a store at once, and with a multiply-add
  by a loop constant as one instruction.  The operands must lie in different memory elements.

One slot is six tile cycles.  Left out: register pressure (more than 8 live floats), memory element conflicts, the data
dependence of library calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from ipusim.errors import BadInput, UnknownName
from ipusim.lang.blocks import Block
from ipusim.lang.ir import For, Function, While
from ipusim.lang.reads import statements
from ipusim.lang.schedule import Mode, schedule
from ipusim.lang.slots import BUNDLE_BYTES, NESTED_LOOP_SLOTS, POPC_FACTOR, Slots, slots_of
from ipusim.lang.walk import lower

_MODES: dict[str, Mode] = {
    "popc": "serial", "serial": "serial", "list": "list", "rpt": "list", "asm": "list", "pace": "list",
}  # fmt: skip
_TIGHT: dict[str, Mode] = {"rpt": "list", "asm": "modulo", "pace": "paced"}  # of innermost straight loops
PROFILES = tuple(_MODES)
WIDTHS = (1, 2, 4)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Slots of a codelet's blocks; statements are named by `id`, missing ones cost nothing.

    `entry`: once per vertex.  `before`: when a statement is reached.  `entered`: when a loop starts its first
    iteration.  `each`: per iteration of a loop.  `then`, `other`: on entering a branch.  `width`: elements per counted
    iteration.  `collapsed`: loops whose inside is booked before them.  A vertex takes ceil(total x `factor`).  `lines`:
    (MAIN, AUX, slots) of one pass over each source line.  `scalar`: why a loop (by line) is not counted per vector.
    `slow`: (line, operation, slots) of what takes many slots.  `code_bytes`: bytes of all bundles.
    """

    entry: int
    before: dict[int, int]
    each: dict[int, int]
    then: dict[int, int]
    other: dict[int, int]
    width: dict[int, int]
    collapsed: frozenset[int]
    factor: tuple[int, int]
    lines: dict[int, tuple[int, int, int]]
    profile: str = "popc"
    vectorize: int = 1
    generation: str = "mk1"
    code_bytes: int = 0
    scalar: dict[int, str] = field(default_factory=dict)
    slow: tuple[tuple[int, str, int], ...] = ()
    entered: dict[int, int] = field(default_factory=dict)


def costs(
    function: Function, *, profile: str, vectorize: int = 1, generation: str = "mk1", slots: Slots | None = None
) -> Costs:
    """Issue slots of `function` under `profile` (one of `PROFILES`), `vectorize` elements wide (1, 2 or 4).

    `slots` replaces the table of `generation`.  Raises `UnknownName` for other profiles and generations, `BadInput` for
    other widths and for operations without a row in the table.
    """
    _check(function, profile, vectorize)
    table = slots_of(generation) if slots is None else slots
    walker, refused = lower(function, table, vectorize=vectorize, pipelined=profile in _TIGHT)
    booked: dict[str, dict[int, int]] = {k: {} for k in ("entry", "before", "each", "then", "other")}
    lines: dict[int, tuple[int, int, int]] = {}
    bundles = 0
    nested = NESTED_LOOP_SLOTS[generation] if profile == "popc" else 0
    inner = _inner_loops(function, walker.collapsed) if nested else ()
    for loop in inner:
        main, aux, total = lines.get(loop.line, (0, 0, 0))
        lines[loop.line] = (main + nested, aux, total + nested)
    for block in walker.state.blocks:
        mode = _TIGHT.get(profile, _MODES[profile]) if block.pipelined else _MODES[profile]
        slots_here, bundles_here = _time(block, mode, lines)
        bundles += bundles_here
        if slots_here:
            kind, stmt = block.home or ("entry", 0)
            booked[kind][stmt] = booked[kind].get(stmt, 0) + slots_here
    return Costs(
        entry=booked["entry"].get(0, 0),
        before=booked["before"],
        each=booked["each"],
        then=booked["then"],
        other=booked["other"],
        width={k: v for k, v in walker.width.items() if k not in walker.collapsed},
        collapsed=frozenset(walker.collapsed),
        factor=POPC_FACTOR[generation] if profile == "popc" else (1, 1),
        lines=dict(sorted(lines.items())),
        profile=profile,
        vectorize=vectorize,
        generation=generation,
        code_bytes=bundles * BUNDLE_BYTES,
        scalar=_left_scalar(function, walker.width, refused),
        slow=tuple((line, what, slots) for (line, what), slots in sorted(walker.state.slow.items())),
        entered={id(loop): nested for loop in inner},
    )


def _inner_loops(function: Function, gone: set[int]) -> list[For]:
    """Counted loops within loops, but for those that are `gone` by unrolling."""
    outer = [s for s in statements(function.body) if isinstance(s, (For, While)) and id(s) not in gone]
    inner = {id(s): s for loop in outer for s in statements(loop.body) if isinstance(s, For)}
    return [stmt for key, stmt in inner.items() if key not in gone]


def _check(function: Function, profile: str, vectorize: int) -> None:
    if profile not in _MODES:
        raise UnknownName("profile", profile, PROFILES)
    if vectorize not in WIDTHS:
        raise BadInput(f"{function.name}: vectorize={vectorize}; it can be 1, 2 (float2, half2) or 4 (half4)")


def _left_scalar(function: Function, width: dict[int, int], refused: dict[int, str]) -> dict[int, str]:
    """Why loops, by line, are not counted per vector; loops around a vector loop need no reason."""
    loops = [s for s in statements(function.body) if isinstance(s, For) and id(s) in refused]
    return {s.line: refused[id(s)] for s in loops if not any(id(inner) in width for inner in statements(s.body))}


def _time(block: Block, mode: Mode, lines: dict[int, tuple[int, int, int]]) -> tuple[int, int]:
    """(slots, bundles) of a block; adds what its instructions take to their source lines."""
    timing = schedule(block.instrs, mode)
    for instr, charged in zip(block.instrs, timing.charged, strict=True):
        main, aux, total = lines.get(instr.line, (0, 0, 0))
        is_main = instr.lane == "main"
        lines[instr.line] = (main + instr.slots * is_main, aux + instr.slots * (not is_main), total + charged)
    return timing.slots, timing.bundles


def code_bytes(function: Function, *, profile: str, vectorize: int = 1, generation: str = "mk1") -> int:
    """Bytes of the codelet's code: 8 per bundle; library routines it calls are not in it."""
    return costs(function, profile=profile, vectorize=vectorize, generation=generation).code_bytes
