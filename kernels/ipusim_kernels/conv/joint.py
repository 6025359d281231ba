"""A matmul planned for training: forward, backward and update as one plan, so that the weights stay where they are.

Y = X W, X [m, k], W [k, n].  All three passes are swapped products (the streamed operand is named first):

    forward   W  x X   positions n, in channels k, out channels m
    backward  W' x dY  positions k, in channels n, out channels m
    update    dY x X'  positions n, in channels m, out channels k

Planned jointly, a tile owns one block of W in every pass: out channels of the forward pass (the batch) are not split
over tiles and in channels not in series; the backward pass splits positions as the forward pass splits in channels and
the other way round, in the same grains; the update splits out channels as the forward pass splits in channels.  Blocks
are whole groups of in channels along both axes of W.  Cost: the sum of the three; memory: the largest.  The joint plan
is taken unless the three planned apart are cheaper, or fit where it does not (poplibs lib/poplin/ConvModel.cpp,
addBwdEstimates and addWuEstimates, and ConvPlan.cpp).

Apart, the backward pass rearranges the weights, and the update its result into their order; both operands of the update
are rearranged in either case.  Omitted: SLIC and the vertical MAC, as in poplibs; numbering the tiles of the backward
and update passes so that a block has the same tile in all three, which changes no cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType, float16
from ipusim.hw.spec import ChipSpec
from ipusim.jit import jit
from ipusim.lower.rules import Options
from ipusim.lower.search import useful_splits
from ipusim.units import ceil_div
from ipusim_kernels.conv import cost, plan
from ipusim_kernels.conv.methods import Method, hmac_methods, matrix_methods
from ipusim_kernels.conv.moves import Move
from ipusim_kernels.conv.plan import Candidate, Plan, Request
from ipusim_kernels.conv.shape import matmul_shape
from ipusim_kernels.conv.transform import Transform

I64 = NDArray[np.int64]
SWAPPED = Transform(flattened=True, swapped=True)
RESULT = "rearrange weight gradients"
_NO_COST = np.zeros(3, np.int64)  # what a row of the planner has before its ways


@final
@dataclass(frozen=True, slots=True)
class TrainingPlans:
    """Plans of the three passes; `joint`: whether they were planned as one, `other`: cycles of the alternative (None:
    there is none).
    """

    forward: Plan
    backward: Plan
    update: Plan
    joint: bool
    other: int | None

    @property
    def plans(self) -> tuple[Plan, Plan, Plan]:
        """The three in order."""
        return self.forward, self.backward, self.update

    @property
    def estimate(self) -> int:
        """Cycles of all three."""
        return sum(p.estimate for p in self.plans)

    @property
    def temporary(self) -> int:
        """Temporary bytes of the pass that needs most."""
        return max(p.temporary for p in self.plans)


@final
@dataclass(frozen=True, slots=True)
class _Work:
    """[groups, m, k] x [groups, k, n] with the types and options of its passes."""

    sizes: tuple[int, int, int, int]
    half: bool
    half_partials: bool
    stored: tuple[int, int]
    proportion: float

    def requests(self, joint: bool) -> tuple[Request, Request, Request]:
        """What each pass asks of the planner; an operand stored singly (1) has to be rearranged."""
        groups, m, k, n = self.sizes
        shapes = (matmul_shape(groups, m, k, n), matmul_shape(groups, m, n, k), matmul_shape(groups, k, m, n))
        kept = (self.stored, (0, 0 if joint else 1), (1, 1))
        made = [
            Request(shape, self.half, self.half_partials, stored, self.proportion, True)
            for shape, stored in zip(shapes, kept, strict=True)
        ]
        return made[0], made[1], made[2]


def plan_joint(
    sizes: tuple[int, int, int, int],
    dtype: DType,
    chip: ChipSpec,
    options: Options,
    *,
    stored: tuple[int, int] = (0, 0),
) -> TrainingPlans:
    """Plans for training with [groups, m, k] x [groups, k, n].

    Args:
        sizes: groups, m, k, n.
        dtype: of operands and results.
        chip: where it runs.
        options: type of partial sums and memory proportion.
        stored: channels stored together in the forward operands (0: as wanted).
    """
    half = dtype == float16
    work = _Work(sizes, half, half and options.partials == float16, stored, options.memory_proportion)
    return _plan(work, chip)


@lru_cache(maxsize=1024)
def _plan(work: _Work, chip: ChipSpec) -> TrainingPlans:
    apart = planned_apart(work.requests(False), chip)
    joint = _joint(work, chip)
    if joint is None:
        return replace(apart, other=None)
    first = joint.estimate <= apart.estimate
    return replace(joint, other=apart.estimate) if first else replace(apart, other=joint.estimate)


def planned_apart(requests: tuple[Request, Request, Request], chip: ChipSpec) -> TrainingPlans:
    """Each pass with the best plan of its own; the update's result is then brought into the order of the weights."""
    forward, backward, update = (plan._plan(request, chip) for request in requests)
    update = replace(update, items=(*update.items, (RESULT, _result_cycles(update, chip))))
    return TrainingPlans(forward, backward, update, False, None)


def _result_cycles(update: Plan, chip: ChipSpec) -> int:
    """Cycles of moving each tile's part of the weight gradients to other tiles and into another order."""
    s, p = update.request.shape, update.partition
    used = min(chip.tiles, p.groups * p.ci * p.ky * p.co * p.batch * p.oy * p.ox)
    size = 2 if update.request.half else 4
    nbytes = ceil_div(s.groups * s.co * s.out_width, used) * size
    rate = Move(min(chip.tile.copy_bytes_per_cycle, size), True)
    exchange = chip.exchange
    fixed = chip.sync.on_chip_cycles + exchange.lead_in_cycles + exchange.latency_cycles
    return fixed + ceil_div(nbytes, exchange.bytes_per_cycle) + int(cost.copy_cycles(nbytes, rate.rate, rate.quarters))


# -- the joint search --------------------------------------------------------------------------------------------------


def _joint(work: _Work, chip: ChipSpec) -> TrainingPlans | None:
    """The cheapest joint plan under the memory bound of a plan (see plan)."""
    requests = work.requests(True)
    every = [(three, *_priced(three, chip)) for three in _passes(requests, chip)]
    open_ = [(i, cycles < int(cost.NEVER)) for i, (_, _, cycles, _) in enumerate(every) if len(cycles)]
    needs = [int(every[i][3][good].min()) for i, good in open_ if good.any()]
    if not needs:
        return None
    allowed = int(work.proportion * chip.tile.memory_bytes)
    bound = max(allowed, int(plan.SLACK * min(needs)))
    best: tuple[int, int, int, int] | None = None
    for number, good in open_:
        cycles, memory = every[number][2:]
        fitting = np.flatnonzero(good & (memory <= bound))
        if len(fitting):
            row = int(fitting[np.lexsort((memory[fitting], cycles[fitting]))[0]])
            key = (int(cycles[row]), int(memory[row]), number, row)
            best = key if best is None else min(best, key)
    assert best is not None
    three, rows = every[best[2]][:2]
    made = [
        plan._made(request, c, np.concatenate([_NO_COST, ways]), chip, allowed, bound)
        for request, c, ways in zip(requests, three, pass_rows(rows[best[3]]), strict=True)
    ]
    return TrainingPlans(made[0], made[1], made[2], True, None)


def _passes(
    requests: tuple[Request, Request, Request], chip: ChipSpec
) -> Iterator[tuple[Candidate, Candidate, Candidate]]:
    """Candidates of the three passes for every method that the forward pass may use jointly."""
    forward = SWAPPED.apply(requests[0].shape)
    half, half_partials = requests[0].half, requests[0].half_partials
    methods = [*matrix_methods(forward, half, half_partials, chip), *hmac_methods(forward, half, half_partials, chip)]
    for method in methods:
        three = mirrored(method, requests, chip)
        if three is not None:
            found = [
                plan._candidate(r, SWAPPED, SWAPPED.apply(r.shape), m, chip)
                for r, m in zip(requests, three, strict=True)
            ]
            yield found[0], found[1], found[2]


def mirrored(
    method: Method, requests: tuple[Request, Request, Request], chip: ChipSpec
) -> tuple[Method, Method, Method] | None:
    """Methods of the three passes for one of the forward pass; None if they cannot be planned jointly with it."""
    if method.kind.startswith("AMP"):
        if method.in_group % method.units:
            return None
        return method, method, _matrix_update(method, chip)
    if method.kind == "outer product":
        backward = _hmac(requests[1], 1, chip)
        return None if backward is None else (method, backward, _matrix_or(method, requests[2], chip))
    if method.kind == "HMAC" and method.in_group == 1:
        return method, method, _matrix_or(method, requests[2], chip)
    return None


def _matrix_update(method: Method, chip: ChipSpec) -> Method:
    """The update of an AMP pass: its groups of in and of out channels change places."""
    weights = chip.amp.half_weights_per_unit if method.half else chip.amp.float_weights_per_unit
    height = max(1, weights // method.out_group)
    kind = "AMP 1x1" if height == 1 else "AMP Nx1"
    return replace(method, kind=kind, in_group=method.out_group, out_group=method.in_group, amp_height=height)


def _matrix_or(method: Method, update: Request, chip: ChipSpec) -> Method:
    """The update of a vector pass: the outer product where the batch is one sample, else the horizontal MAC."""
    shape = SWAPPED.apply(update.shape)
    if shape.ci == 1:
        every = matrix_methods(shape, update.half, update.half_partials, chip)
        return next(m for m in every if m.kind == "outer product")
    found = _hmac(update, 1, chip)
    return found or replace(method, kind="HMAC", in_group=1)


def _hmac(request: Request, in_group: int, chip: ChipSpec) -> Method | None:
    every = hmac_methods(SWAPPED.apply(request.shape), request.half, request.half_partials, chip)
    return next((m for m in every if m.in_group == in_group), None)


def pass_rows(ways: I64) -> tuple[I64, I64, I64]:
    """Ways (columns `cost.AXES`) of the three passes from (groups, in channels, positions, serial out channels)."""
    groups, ci, ox, serial = (int(v) for v in ways)
    forward = (groups, ci, 1, 1, 1, 1, ox, 1, serial)
    backward = (groups, ox, 1, 1, 1, 1, ci, 1, serial)
    update = (groups, 1, 1, ci, 1, 1, ox, serial, 1)
    made = [np.array(row, np.int64) for row in (forward, backward, update)]
    return made[0], made[1], made[2]


def _priced(three: tuple[Candidate, Candidate, Candidate], chip: ChipSpec) -> tuple[I64, I64, I64]:
    """(rows of `pass_rows`, cycles of the three passes, bytes of the largest) of all joint splits of a method."""
    s, m = three[0].shape, three[0].method
    grain = m.in_group
    groups = useful_splits(ceil_div(s.groups, m.group_group), chip.tiles)
    ci, ox = _block_splits(s.ci, grain, chip.tiles), _block_splits(s.out_width, grain, chip.tiles)
    steps = ceil_div(s.co, m.out_group)
    serial = np.array([d for d in range(1, steps + 1) if steps % d == 0])
    rows = np.stack(np.meshgrid(groups, ci, ox, serial, indexing="ij"), axis=-1).reshape(-1, 4).astype(np.int64)
    rows = rows[rows[:, :3].prod(axis=1) <= chip.tiles]
    cycles, memory = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for number, c in enumerate(three):
        wide = np.array([pass_rows(row)[number] for row in rows], np.int64).reshape(-1, len(cost.AXES))
        each, needs = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        numbers = (plan.shape_numbers(c.shape), c.method.numbers(), c.moves.numbers(), plan._machine(chip))
        _price_rows(wide, *numbers, plan._stage_table(chip.tiles), each, needs)
        cycles = np.minimum(cycles + each, int(cost.NEVER))
        memory = np.maximum(memory, needs)
    return rows, cycles, memory


def _block_splits(size: int, grain: int, tiles: int) -> NDArray[np.int32]:
    """Ways to cut an axis of the weights into equal blocks of whole grains, the last one shorter."""
    ways = useful_splits(ceil_div(size, grain), tiles)
    return np.array([w for w in ways.tolist() if w == 1 or ceil_div(size, w) % grain == 0], np.int32)


@jit
def _price_rows(
    rows: I64,
    s: tuple[int, ...],
    m: tuple[int, ...],
    how: tuple[int, ...],
    machine: tuple[int, ...],
    stages: NDArray[np.int32],
    cycles: I64,
    memory: I64,
) -> None:
    none = np.empty(0, np.int64)
    for i in range(len(rows)):
        r = rows[i]
        ways = (r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8])
        cycles[i], memory[i] = cost.estimate(ways, s, m, how, machine, stages, cost.NEVER, none)
