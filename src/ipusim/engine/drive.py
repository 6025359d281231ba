"""The loop that runs a loaded tile program: instructions in, values and cycles out, nothing of Python in between.

A compute set is executed part by part: gather the fields of a few vertices that do not lie in one stretch, call the
vertex group on them, scatter.  Cycles of a compute set are counted in its first execution; where they depend on data,
in every one.  The loop comes back to the host for streams and printing, after a budget of work (so that Ctrl-C is
seen), and once more for a compute set that has run often enough to be worth compiling without counting.  A `Repeat`
whose body is nothing but such sites is run in bursts, a few nanoseconds a site.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.address import call, copy_bytes, i8_at, i16_at, i32_at, u8_at, u16_at, u32_at
from ipusim.engine.flow import CASE, DO, HOST, JUMP, LOOP, NEXT, SELECT, STOP, UNLESS, WHEN
from ipusim.jit import jit
from ipusim.program.mapping import I64

DONE, PAUSED, HOST_NEEDED, FAILED, WANTS_CODE = range(5)
PC, SELECTED, SITE, BUDGET = range(4)  # registers
UNTIMED, FIXED, TIMED_EACH_TIME = range(3)  # what is known of a compute set's cycles
SHORTEST_BURST = 8  # rounds of a loop that are worth running without a look at the instructions
P_GATHER, P_GATHERED, P_GROUP, P_LOW, P_HIGH, P_SCATTER, P_SCATTERED = range(7)  # columns of a part


@jit
def read_scalar(address: int, kind: int) -> Any:
    """One element as an integer; `kind` is its bytes, negative for a signed type."""
    if kind == 1:
        return np.int64(u8_at(address, 1)[0])
    if kind == -1:
        return np.int64(i8_at(address, 1)[0])
    if kind == 2:
        return np.int64(u16_at(address, 1)[0])
    if kind == -2:
        return np.int64(i16_at(address, 1)[0])
    if kind == 4:
        return np.int64(u32_at(address, 1)[0])
    return np.int64(i32_at(address, 1)[0])


@jit
def tile_cycles(
    leaf: int,
    entry_first: I64,
    entry_tile: I64,
    entry_worker: I64,
    entry_slot: I64,
    slots: I64,
    fixed: NDArray[np.int64],
    launch: int,
    busy: NDArray[np.int64],
) -> None:
    """Busy cycles of each tile of a compute set from the slots of its vertices.

    Entries are ordered by tile; worker w of an entry adds its slots to that context, worker -1 stands for the six
    contexts of a MultiVertex, which runs alone.  Six cycles a slot.
    """
    for tile in range(busy.shape[1]):
        busy[leaf, tile] = fixed[leaf, tile]
    context = np.zeros(6, np.int64)
    low, high = entry_first[leaf], entry_first[leaf + 1]
    for i in range(low, high):
        tile, worker, at = entry_tile[i], entry_worker[i], entry_slot[i]
        if worker >= 0:
            context[worker] += slots[at]
        else:
            longest = slots[at]
            for w in range(1, 6):
                longest = max(longest, slots[at + w])
            busy[leaf, tile] += 6 * longest
        if i + 1 == high or entry_tile[i + 1] != tile:
            busy[leaf, tile] += 6 * context.max() + launch
            context[:] = 0


@jit
def slowest(leaf: int, before: NDArray[np.int64], busy: NDArray[np.int64], after: NDArray[np.int64], now: I64) -> None:
    """Phases (copy before, compute, copy after) of the tile that takes longest, the first of them."""
    worst, most = 0, np.int64(-1)
    for tile in range(busy.shape[1]):
        total = before[leaf, tile] + busy[leaf, tile] + after[leaf, tile]
        if total > most:
            worst, most = tile, total
    now[0], now[1], now[2] = before[leaf, worst], busy[leaf, worst], after[leaf, worst]


@jit
def run(
    code: NDArray[np.int64],
    registers: I64,
    counters: I64,
    site_leaf: I64,
    site_address: I64,
    site_kind: I64,
    site_count: I64,
    site_phases: NDArray[np.int64],
    site_row: I64,
    site_busy: NDArray[np.int64],
    leaf_state: I64,
    leaf_runs: I64,
    leaf_patience: I64,
    leaf_quick: I64,
    leaf_weight: I64,
    leaf_now: NDArray[np.int64],
    part_first: I64,
    parts: NDArray[np.int64],
    moves: NDArray[np.int64],
    functions: I64,
    tables: I64,
    status: I64,
    entry_first: I64,
    entry_tile: I64,
    entry_worker: I64,
    entry_slot: I64,
    slots: I64,
    fixed: NDArray[np.int64],
    before: NDArray[np.int64],
    busy: NDArray[np.int64],
    after: NDArray[np.int64],
    launch: int,
) -> int:
    """Runs instructions from `registers[PC]` on.  Returns: why it stopped (DONE, PAUSED, ...)."""
    while True:
        pc = registers[PC]
        op, a, b, c = code[pc, 0], code[pc, 1], code[pc, 2], code[pc, 3]
        registers[PC] = pc + 1
        if op == DO:
            leaf = site_leaf[a]
            registers[SITE] = a
            site_count[a] += 1
            if leaf >= 0:
                for p in range(part_first[leaf], part_first[leaf + 1]):
                    for i in range(parts[p, P_GATHER], parts[p, P_GATHERED]):
                        copy_bytes(moves[i, 0], moves[i, 1], moves[i, 2])
                    group = parts[p, P_GROUP]
                    if group >= 0:
                        call(functions[group], tables[group], parts[p, P_LOW], parts[p, P_HIGH])
                        if status[0] != 0:
                            status[8] = group
                            return FAILED
                    for i in range(parts[p, P_SCATTER], parts[p, P_SCATTERED]):
                        copy_bytes(moves[i, 0], moves[i, 1], moves[i, 2])
                if leaf_state[leaf] != FIXED:
                    tile_cycles(leaf, entry_first, entry_tile, entry_worker, entry_slot, slots, fixed, launch, busy)
                    slowest(leaf, before, busy, after, leaf_now[leaf])
                    if leaf_state[leaf] == UNTIMED:
                        leaf_state[leaf] = FIXED
                for k in range(3):
                    site_phases[a, k] += leaf_now[leaf, k]
                row = site_row[a]
                if row >= 0:
                    for tile in range(busy.shape[1]):
                        site_busy[row, tile] += busy[leaf, tile]
                leaf_runs[leaf] += 1
                registers[BUDGET] -= leaf_weight[leaf] - 1
                if leaf_runs[leaf] == leaf_patience[leaf]:
                    return WANTS_CODE
            registers[BUDGET] -= 1
            if registers[BUDGET] <= 0:
                return PAUSED
        elif op == NEXT:
            counters[a] -= 1
            if counters[a] > 0:
                registers[PC] = b
                weight = np.int64(1)
                for q in range(b, pc):
                    leaf = site_leaf[code[q, 1]] if code[q, 0] == DO else -1
                    if code[q, 0] != DO or (leaf >= 0 and leaf_quick[leaf] == 0):
                        weight = np.int64(0)
                        break
                    weight += leaf_weight[leaf] if leaf >= 0 else 1
                rounds = min(counters[a] - 1, registers[BUDGET] // weight) if weight > 0 else np.int64(0)
                if rounds < SHORTEST_BURST:
                    rounds = np.int64(0)
                for _ in range(rounds):
                    for q in range(b, pc):
                        leaf = site_leaf[code[q, 1]]
                        if leaf < 0:
                            continue
                        for p in range(part_first[leaf], part_first[leaf + 1]):
                            for i in range(parts[p, P_GATHER], parts[p, P_GATHERED]):
                                copy_bytes(moves[i, 0], moves[i, 1], moves[i, 2])
                            group = parts[p, P_GROUP]
                            if group >= 0:
                                call(functions[group], tables[group], parts[p, P_LOW], parts[p, P_HIGH])
                            for i in range(parts[p, P_SCATTER], parts[p, P_SCATTERED]):
                                copy_bytes(moves[i, 0], moves[i, 1], moves[i, 2])
                if rounds > 0:
                    counters[a] -= rounds
                    registers[BUDGET] -= rounds * weight
                    for q in range(b, pc):
                        site = code[q, 1]
                        site_count[site] += rounds
                        leaf = site_leaf[site]
                        if leaf >= 0:
                            leaf_runs[leaf] += rounds
                            for k in range(3):
                                site_phases[site, k] += rounds * leaf_now[leaf, k]
        elif op == LOOP:
            counters[a] = b
            if b == 0:
                registers[PC] = c
        elif op == JUMP:
            registers[PC] = a
        elif op in (UNLESS, WHEN, SELECT):
            value = read_scalar(site_address[a], site_kind[a])
            registers[SITE] = a
            site_count[a] += 1
            if op == SELECT:
                registers[SELECTED] = value
            elif (value == 0) == (op == UNLESS):
                registers[PC] = c
            registers[BUDGET] -= 1
            if registers[BUDGET] <= 0:
                return PAUSED
        elif op == CASE:
            if registers[SELECTED] == a:
                registers[PC] = b
        elif op == HOST:
            registers[SITE] = a
            site_count[a] += 1
            return HOST_NEEDED
        elif op == STOP:
            return DONE
