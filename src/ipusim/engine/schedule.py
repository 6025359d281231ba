"""The static schedule of one on-chip exchange phase: which cycle every message starts in.

Ideal: a tile sends `bytes_per_cycle` and receives as much, both at once, over a fabric without queues, so the compiler
knows every cycle beforehand: a word lands a latency after it is sent, which the places of both tiles fix
(ipusim.engine.distance).  Nothing lands before the lead-in is over; what comes from far is sent before that.  Messages
are placed first-fit, each unbroken at the earliest cycle at which its sender is free for its whole length and, a
latency later, each of its receivers.  Those with most receivers go first; then by how many columns, rows and tiles on
from its sender the lowest receiver is, so that tiles which all send to all others take turns and a group of receivers
hears near senders one after another; or the longest first.  Both are tried and the shorter phase is taken.  Latencies
and lengths leave gaps, so a phase is longer than its busiest tile alone (`closed_form_cycles`).  It lasts until the
last word has landed.  Counting send, delay and mux instructions gives the bytes of exchange code.

    length of a message = ceil(bytes / bytes_per_cycle)

With `ExchangeSpec.paired_receive` a multicast all of whose receivers are whole bus pairs (tiles 2k and 2k + 1) takes
half of that, rounded up: each receiver lends the other its bus.

Omitted: that a double-rate sender needs the outgoing bus of its own partner; conflicts in memory elements; control
instructions that a tile cannot issue in time between short messages; mux switches saved when one sender follows itself.

Sources: the lead-in and the rule of a static row of events are those of github osmarks/ipu-stack for a C600, where
such a schedule meets the hardware within 2.6 %; shared buses are those of poplibs lib/popops/ExchangeEstimator.cpp.
The order is assumed: the vendor's own scheduler is not published.  On the halo of a blur profiled on GC2 (github
thorbenlouw/lbm-graphcore, 637 cycles on one IPU, 263 on sixteen) this one gives 633 and 285; placing by receiving tile
gives 808 and 297, the busiest tile alone 486 and 214.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from ipusim.engine.distance import Places, latency, places, turns
from ipusim.errors import BadInput, InvalidProgram
from ipusim.hw.spec import ExchangeSpec
from ipusim.jit import jit
from ipusim.program.mapping import I32, I64

WORD_BYTES = 4  # [constants] TEXCH_DATA_WIDTH: a send instruction counts words of 32 bits
SEND_WORDS = 64  # [constants] TEXCH_SENDOFF_INTERNAL_COUNT_LIMIT
INSTRUCTION_BYTES = 4  # [poplibs] lib/popops embedding planner: 4 bytes per exchange instruction
PHASE_INSTRUCTIONS = 2  # [ipu-stack] pointer write and neutralise, once per exchange and receiving tile


@final
@dataclass(frozen=True, eq=False, slots=True)
class Messages:
    """What one exchange phase moves: m messages as columns.

    Message i takes `bytes[i]` bytes (m, int64) from tile `source[i]` (m, int32) to the tiles
    `receivers[first[i]:first[i + 1]]` (k, int32; `first` is (m + 1,) int32): one receiver is a unicast, several a
    multicast, which the sender sends once.

    Raises BadInput for columns of another form, InvalidProgram (with every violation) for a message without bytes or
    receivers, to its own sender, twice to one receiver, or from or to a negative tile.
    """

    source: I32
    bytes: I64
    first: I32
    receivers: I32

    def __post_init__(self) -> None:
        _check_form(self)
        if problems := _broken_rules(self):
            raise InvalidProgram(problems)

    @staticmethod
    def unicast(source: ArrayLike, receiver: ArrayLike, bytes: ArrayLike) -> Messages:  # noqa: A002
        """Messages with one receiver each: columns (m,), converted to int32, int32 and int64.  Raises as `Messages`."""
        to = np.asarray(receiver, np.int32)
        first = np.arange(to.size + 1, dtype=np.int32)
        return Messages(np.asarray(source, np.int32), np.asarray(bytes, np.int64), first, to)

    def __len__(self) -> int:
        return len(self.source)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Schedule:
    """When the messages of a phase are sent, and what that asks of each tile.

    `start` and `length` (m,) int64: cycles, the first from the beginning of the phase to the first word sent, in the
    order of the messages given.  `cycles`: until the last word has landed, 0 if there is none.  `sent` and `received`
    (tiles,) int64: bytes, a multicast once at its sender and once at each receiver.  `busy` (tiles,) int64: cycles in
    which the tile sends or receives.  `code_bytes` (tiles,) int64: exchange instructions.
    """

    start: I64
    length: I64
    cycles: int
    sent: I64
    received: I64
    busy: I64
    code_bytes: I64

    @property
    def busy_max(self) -> int:
        """Busy cycles of the busiest tile."""
        return int(self.busy.max(initial=0))

    @property
    def busy_mean(self) -> float:
        """Busy cycles of a tile, mean over all tiles of the chip."""
        return float(self.busy.mean())


def schedule(messages: Messages, *, tiles: int, spec: ExchangeSpec, chip_tiles: int = 0) -> Schedule:
    """First-fit schedule of one exchange phase over `tiles` tiles, on chips of `chip_tiles` each (0: on one).

    A sender needs a send instruction per 64 words of a message and a delay before each message that does not follow
    another at once (nor starts with the phase); a receiver one mux switch per message and two instructions per phase.

    Raises InvalidProgram if a message names a tile that is not there.
    """
    _check_tiles(messages, tiles)
    m, where = messages, places(tiles, chip_tiles or tiles, spec)
    length = _lengths(m.bytes, m.first, m.receivers, tiles, spec.bytes_per_cycle, spec.paired_receive)
    sent, received, sends, listens = _count(m.source, m.bytes, m.first, m.receivers, tiles)
    placed = (
        _place(m.source, length, m.first, m.receivers, order, tiles, spec.lead_in_cycles, where)
        for order in _orders(m, length, chip_tiles or tiles, spec)
    )
    start, busy, runs, cycles = min(placed, key=lambda found: found[3])
    delays = runs - _from_the_start(m.source, start, tiles)
    receives = listens + PHASE_INSTRUCTIONS * (listens > 0)
    return Schedule(
        start=start,
        length=length,
        cycles=cycles,
        sent=sent,
        received=received,
        busy=busy,
        code_bytes=INSTRUCTION_BYTES * (sends + delays + receives),
    )


def closed_form_cycles(messages: Messages, *, tiles: int, spec: ExchangeSpec, chip_tiles: int = 0) -> int:
    """Lower bound of `schedule(...).cycles` for planning: the busiest sender or receiver alone.

    A receiver: lead-in and the cycles of all it receives.  A sender: of all it sends, after what the lead-in leaves
    when its farthest message goes first, and the latency of its nearest one last.  Lengths of messages are rounded up
    one by one, as in the schedule.  0 without messages.  Raises as `schedule`.
    """
    _check_tiles(messages, tiles)
    if not len(messages):
        return 0
    m = messages
    length = _lengths(m.bytes, m.first, m.receivers, tiles, spec.bytes_per_cycle, spec.paired_receive)
    where = places(tiles, chip_tiles or tiles, spec)
    return _bound(m.source, length, m.first, m.receivers, tiles, spec.lead_in_cycles, where)


def _check_form(m: Messages) -> None:
    for name, dtype in (("source", np.int32), ("bytes", np.int64), ("first", np.int32), ("receivers", np.int32)):
        column = getattr(m, name)
        if not isinstance(column, np.ndarray) or column.dtype != dtype or column.ndim != 1:
            raise BadInput(f"Messages.{name}: must be a one-dimensional array of {np.dtype(dtype)}")
    count = len(m.source)
    if len(m.bytes) != count or len(m.first) != count + 1:
        raise BadInput(
            f"Messages: {count} sources need {count} sizes and {count + 1} bounds, "
            f"not {len(m.bytes)} and {len(m.first)}"
        )
    if m.first[0] != 0 or m.first[-1] != len(m.receivers) or (m.first[1:] < m.first[:-1]).any():
        raise BadInput(f"Messages.first: must rise from 0 to the number of receivers, {len(m.receivers)}")


def _broken_rules(m: Messages) -> list[str]:
    """Every rule that some message breaks, with the first message that does."""
    row = np.repeat(np.arange(len(m)), np.diff(m.first))
    found = (
        ("to no receiver: leave it out", np.flatnonzero(np.diff(m.first) == 0)),
        ("of less than one byte: leave it out", np.flatnonzero(m.bytes <= 0)),
        (
            "from a tile to itself: data on their own tile need a copy, not an exchange",
            row[m.receivers == m.source[row]],
        ),
        ("twice to one receiver: name each receiver once", _repeated(m, row)),
        ("from a tile below 0", np.flatnonzero(m.source < 0)),
        ("to a tile below 0", row[m.receivers < 0]),
    )
    return [_problem(m, fault, np.unique(rows)) for fault, rows in found if len(rows)]


def _repeated(m: Messages, row: I64) -> I64:
    """Rows that name a receiver twice.  `row` (k,): the message of each receiver."""
    ascending = (np.diff(m.receivers) > 0) | (np.diff(row) > 0)
    if ascending.all():
        return np.zeros(0, np.int64)
    order = np.lexsort((m.receivers, row))
    rows = row[order]
    again: I64 = rows[1:][(np.diff(rows) == 0) & (np.diff(m.receivers[order]) == 0)]
    return again


def _problem(m: Messages, fault: str, rows: I64) -> str:
    i, many = int(rows[0]), f"{len(rows)} messages" if len(rows) > 1 else "a message"
    to = m.receivers[m.first[i] : m.first[i + 1]].tolist()
    target = f"tile {to[0]}" if len(to) == 1 else f"{len(to)} tiles"
    which = f"{'the first is ' if len(rows) > 1 else ''}message {i}"
    return f"{many} {fault} ({which}, {int(m.bytes[i])} bytes, tile {int(m.source[i])} to {target})"


def _check_tiles(m: Messages, tiles: int) -> None:
    highest = max(int(m.source.max(initial=-1)), int(m.receivers.max(initial=-1)))
    if highest >= tiles:
        raise InvalidProgram([f"an exchange names tile {highest}: the chip has {tiles}, 0 to {tiles - 1}"])


def _orders(m: Messages, length: I64, chip_tiles: int, spec: ExchangeSpec) -> tuple[I64, ...]:
    """Rows in the two orders of placement that are tried: those with most receivers first; then either in turns
    (`turns` of the lowest receiver), or the longest first.  Returns: two of (m,) int64, one if nothing moves.
    """
    if not len(m):
        return (np.zeros(0, np.int64),)
    turn = turns(m.source, np.minimum.reduceat(m.receivers, m.first[:-1]), chip_tiles, spec)
    wide = -np.diff(m.first)
    return np.lexsort((-length, m.source, turn, wide)), np.lexsort((m.source, turn, -length, wide))


def _from_the_start(source: I32, start: I64, tiles: int) -> I64:
    """1 for every tile that sends in cycle 0, which needs no delay.  Returns: (tiles,) int64."""
    out = np.zeros(tiles, np.int64)
    out[source[start == 0]] = 1
    return out


@jit
def _lengths(size: I64, first: I32, receivers: I32, tiles: int, bytes_per_cycle: int, paired: bool) -> I64:
    """Cycles of every message; half if it goes to whole bus pairs."""
    length = np.empty(len(size), np.int64)
    listens = np.full(tiles + 2, -1, np.int64)
    for i in range(len(size)):
        length[i] = (size[i] + bytes_per_cycle - 1) // bytes_per_cycle
        begin, end = first[i], first[i + 1]
        if not paired or (end - begin) % 2 == 1:
            continue
        for k in range(begin, end):
            listens[receivers[k]] = i
        whole = True
        for k in range(begin, end):
            whole = whole and listens[receivers[k] ^ 1] == i
        if whole:
            length[i] = (length[i] + 1) // 2
    return length


@jit
def _count(source: I32, amount: I64, first: I32, receivers: I32, tiles: int) -> tuple[I64, I64, I64, I64]:
    """Per tile: amounts sent and received, send instructions (for amounts in bytes), messages received."""
    sent = np.zeros(tiles, np.int64)
    received = np.zeros(tiles, np.int64)
    sends = np.zeros(tiles, np.int64)
    listens = np.zeros(tiles, np.int64)
    most = WORD_BYTES * SEND_WORDS
    for i in range(len(source)):
        sent[source[i]] += amount[i]
        sends[source[i]] += (amount[i] + most - 1) // most
        for k in range(first[i], first[i + 1]):
            received[receivers[k]] += amount[i]
            listens[receivers[k]] += 1
    return sent, received, sends, listens


@jit
def _fit(begin: I64, end: I64, at: int, stop: int, start: int, length: int) -> tuple[int, int]:
    """Earliest cycle from `start` that leaves `length` cycles free between the busy runs [at, stop) of one lane.

    Returns: that cycle, and the first run after it.
    """
    while at < stop and begin[at] < start + length:
        start = max(start, end[at])
        at += 1
    return start, at


@jit
def _take(begin: I64, end: I64, used: I64, low: int, lane: int, at: int, start: int, length: int) -> None:
    """Makes [start, start + length) busy in a lane, before its run `at`; runs that touch become one."""
    stop = low + used[lane]
    after = at < stop and begin[at] == start + length
    if at > low and end[at - 1] == start:
        end[at - 1] = start + length
        if after:
            end[at - 1] = end[at]
            for k in range(at, stop - 1):
                begin[k], end[k] = begin[k + 1], end[k + 1]
            used[lane] -= 1
    elif after:
        begin[at] = start
    else:
        for k in range(stop, at, -1):
            begin[k], end[k] = begin[k - 1], end[k - 1]
        begin[at], end[at] = start, start + length
        used[lane] += 1


@jit
def _lanes(source: I32, receivers: I32, tiles: int) -> I64:
    """Where the runs of each lane begin: lane t is the sending side of tile t, lane tiles + t its receiving side."""
    low = np.zeros(2 * tiles + 1, np.int64)
    for i in range(len(source)):
        low[source[i] + 1] += 1
    for k in range(len(receivers)):
        low[tiles + receivers[k] + 1] += 1
    for lane in range(2 * tiles):
        low[lane + 1] += low[lane]
    return low


@jit
def _place(
    source: I32, length: I64, first: I32, receivers: I32, order: I64, tiles: int, lead_in: int, where: Places
) -> tuple[I64, I64, I64, int]:
    """First-fit.  Returns: start (m,), busy cycles (tiles,), unbroken runs of sending (tiles,), all int64; the end."""
    low = _lanes(source, receivers, tiles)
    used = np.zeros(2 * tiles, np.int64)
    begin = np.empty(low[-1], np.int64)
    end = np.empty(low[-1], np.int64)
    start = np.empty(len(source), np.int64)
    lane = np.empty(tiles + 1, np.int64)
    late = np.zeros(tiles + 1, np.int64)
    at = np.empty(tiles + 1, np.int64)
    last = 0
    for i in order:
        lanes = first[i + 1] - first[i] + 1
        lane[0] = source[i]
        nearest, farthest = lead_in, 0
        for k in range(1, lanes):
            receiver = receivers[first[i] + k - 1]
            way = latency(source[i], receiver, where)
            lane[k], late[k] = tiles + receiver, way
            nearest, farthest = min(nearest, way), max(farthest, way)
        for k in range(lanes):
            at[k] = low[lane[k]]
        when, k, agreed = lead_in - nearest, 0, 0
        while agreed < lanes:
            found, at[k] = _fit(begin, end, at[k], low[lane[k]] + used[lane[k]], when + late[k], length[i])
            agreed = agreed + 1 if found - late[k] == when else 1
            when = found - late[k]
            k = k + 1 if k + 1 < lanes else 0
        for k in range(lanes):
            _take(begin, end, used, low[lane[k]], lane[k], at[k], when + late[k], length[i])
        start[i] = when
        last = max(last, int(when + length[i] + farthest))
    busy = np.empty(tiles, np.int64)
    for tile in range(tiles):
        busy[tile] = _either(begin, end, low[tile], used[tile], low[tiles + tile], used[tiles + tile])
    return start, busy, used[:tiles].copy(), last


@jit
def _bound(
    source: I32, length: I64, first: I32, receivers: I32, tiles: int, lead_in: int, where: Places
) -> int:
    """See `closed_form_cycles`."""
    sending, receiving = np.zeros(tiles, np.int64), np.zeros(tiles, np.int64)
    ahead, after = np.zeros(tiles, np.int64), np.full(tiles, 2**40, np.int64)
    for i in range(len(source)):
        tile, nearest, farthest = source[i], lead_in, 0
        for k in range(first[i], first[i + 1]):
            late = latency(tile, receivers[k], where)
            nearest, farthest = min(nearest, late), max(farthest, late)
            receiving[receivers[k]] += length[i]
        sending[tile] += length[i]
        ahead[tile], after[tile] = max(ahead[tile], nearest), min(after[tile], farthest)
    most = 0
    for tile in range(tiles):
        if receiving[tile] > 0:
            most = max(most, int(lead_in + receiving[tile]))
        if sending[tile] > 0:
            most = max(most, int(lead_in - ahead[tile] + sending[tile] + after[tile]))
    return most


@jit
def _either(begin: I64, end: I64, a: int, a_runs: int, b: int, b_runs: int) -> int:
    """Cycles covered by the runs of two lanes together."""
    a_stop, b_stop = a + a_runs, b + b_runs
    covered, until = 0, 0
    while a < a_stop or b < b_stop:
        if b == b_stop or (a < a_stop and begin[a] <= begin[b]):
            k = a
            a += 1
        else:
            k = b
            b += 1
        covered += max(0, end[k] - max(begin[k], until))
        until = max(until, end[k])
    return covered
