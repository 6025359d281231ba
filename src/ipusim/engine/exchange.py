"""The exchange before a compute set of lowered ops: what moves, for how long, and the code that it needs.

Messages follow from the boxes that vertices read and the mappings of what they read (ipusim.engine.multicast).  They
are placed one by one in a static schedule (ipusim.engine.schedule), whose end is the length of the phase; or, as a
quick estimate, the phase lasts as long as its busiest tile, which is a lower bound (`CLOSED_FORM`).  How far the two
are apart over whole networks: benchmarks/exchange.py.

Data that arrive in one field of a vertex are stored in order, without further cost: a stored message is one stretch.
Equal exchanges (same vertices, same mappings) are found once and remembered with the vertices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from ipusim.engine.messages import to_all
from ipusim.engine.multicast import box_messages, halved, merged
from ipusim.engine.schedule import (
    INSTRUCTION_BYTES,
    PHASE_INSTRUCTIONS,
    SEND_WORDS,
    WORD_BYTES,
    Messages,
    closed_form_cycles,
    schedule,
)
from ipusim.hw.cost import PREDICATE_BYTES
from ipusim.hw.spec import ChipSpec, ExchangeSpec
from ipusim.jit import jit
from ipusim.program.graph import ComputeSet, Field, Rows
from ipusim.program.mapping import I32, I64

How = Literal["schedule", "closed form"]
SCHEDULE: How = "schedule"
CLOSED_FORM: How = "closed form"


@final
@dataclass(frozen=True, eq=False, slots=True)
class Phase:
    """One exchange phase.

    `cycles`: its length, 0 if nothing moves.  Each tile, (tiles,) int64: `sent`, `received` bytes, `shared` the part
    of `received` that the tile's bus partner receives as well, `code_bytes` of exchange instructions.
    """

    cycles: int
    sent: I64
    received: I64
    shared: I64
    code_bytes: I64

    @staticmethod
    def none(tiles: int) -> Phase:
        """No data moves."""
        return Phase(0, *(np.zeros(tiles, np.int64) for _ in range(4)))


def phase(compute_set: ComputeSet, chip: ChipSpec, how: How = SCHEDULE) -> Phase:
    """The exchange before a compute set, or the one that tells every tile a condition."""
    if compute_set.told is not None:
        return _told(int(compute_set.told.mapping.tiles.flat[0]), chip, how)
    fields = list(arriving(compute_set))
    if not fields:
        return Phase.none(chip.tiles)
    keys = [(id(rows), id(field.boxes), id(field.tensor.mapping), field.tensor.dtype.bytes) for rows, field in fields]
    held = [(rows, field.boxes, field.tensor.mapping) for rows, field in fields]  # keeps the ids taken

    def make() -> tuple[Phase, object]:
        return _phase(messages(compute_set, chip.tiles), chip, how), held

    return fields[0][0].memo(("exchange", how, chip.tiles, chip.exchange, *keys), make)[0]


def messages(compute_set: ComputeSet, tiles: int) -> Messages:
    """What is sent before a compute set; nothing if every vertex finds all its inputs on its own tile."""
    parts = [
        box_messages(rows, f.boxes, f.tensor.mapping, tiles=tiles, element_bytes=f.tensor.dtype.bytes)
        for rows, f in arriving(compute_set)
    ]
    return merged(parts)


def arriving(compute_set: ComputeSet) -> Iterable[tuple[Rows, Field]]:
    """Fields that may have to come from other tiles; what several groups read alike stands once."""
    seen = set()
    for group in compute_set.groups:
        for field in group.fields:
            key = (id(group.rows), id(field.boxes), id(field.tensor.mapping), field.tensor.variables())
            if field.role != "out" and field.boxes.of is not field.tensor.mapping and key not in seen:
                seen.add(key)
                yield group.rows, field


def _told(tile: int, chip: ChipSpec, how: How) -> Phase:
    """One tile tells all others a condition, as in a tile program (ipusim.engine.leaves)."""
    given, tiles, spec = to_all(tile, PREDICATE_BYTES, chip.tiles), chip.tiles, chip.exchange
    placed = schedule(given, tiles=tiles, spec=spec)
    bound = closed_form_cycles(given, tiles=tiles, spec=spec) if how == CLOSED_FORM else placed.cycles
    return Phase(bound, placed.sent, placed.received, np.zeros(tiles, np.int64), placed.code_bytes)


def _phase(given: Messages, chip: ChipSpec, how: How) -> Phase:
    if not len(given):
        return Phase.none(chip.tiles)
    tiles, spec = chip.tiles, chip.exchange
    chosen, bound = best_form(given, tiles, spec)
    columns = chosen.source, chosen.bytes, chosen.first, chosen.receivers
    sent, received, shared, code = _bytes(*columns, tiles)
    if how == CLOSED_FORM:
        return Phase(bound, sent, received, shared, code)
    placed = schedule(chosen, tiles=tiles, spec=spec)
    return Phase(placed.cycles, placed.sent, placed.received, shared, placed.code_bytes)


def best_form(given: Messages, tiles: int, spec: ExchangeSpec) -> tuple[Messages, int]:
    """The messages, or the messages with bus pairs served apart (`halved`): the form with the lower closed form, and
    its cycles.
    """
    bound = closed_form_cycles(given, tiles=tiles, spec=spec)
    if not spec.paired_receive:
        return given, bound
    apart = halved(given)
    if len(apart) == len(given):
        return given, bound
    lower = closed_form_cycles(apart, tiles=tiles, spec=spec)
    return (apart, lower) if lower < bound else (given, bound)


@jit
def _bytes(source: I32, nbytes: I64, first: I32, receivers: I32, tiles: int) -> tuple[I64, I64, I64, I64]:
    """Per tile: bytes sent, received, received by the bus partner too, and of exchange code.

    The code counts as in a schedule where every message needs a delay of its own.
    """
    sent, received = np.zeros(tiles, np.int64), np.zeros(tiles, np.int64)
    shared, instructions = np.zeros(tiles, np.int64), np.zeros(tiles, np.int64)
    most = WORD_BYTES * SEND_WORDS
    for i in range(len(source)):
        sent[source[i]] += nbytes[i]
        instructions[source[i]] += (nbytes[i] + most - 1) // most + 1
        for k in range(first[i], first[i + 1]):
            tile = receivers[k]
            received[tile] += nbytes[i]
            instructions[tile] += 1
            near = k - 1 if tile % 2 == 1 else k + 1
            if first[i] <= near < first[i + 1] and receivers[near] == tile ^ 1:
                shared[tile] += nbytes[i]
    for tile in range(tiles):
        if received[tile] > 0:
            instructions[tile] += PHASE_INSTRUCTIONS
    return sent, received, shared, INSTRUCTION_BYTES * instructions
