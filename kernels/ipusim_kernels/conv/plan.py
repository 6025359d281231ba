"""The convolution planner: every transform, method, partition and serial split; the cheapest that fits.

The cost of a plan is in `cost`.  A plan may use the tile's memory times the memory proportion.  The search (poplibs
lib/poplin/ConvPlan.cpp): the fewest cycles under that bound, which is never below 1.5 times the least that any plan
needs, as the last third of that would cost up to two hundred times the cycles.  poplibs doubles a bound that no plan
keeps, so it ends between the least and twice it; one bound instead makes sure that a lower proportion never gives a
faster plan, nor one that needs more.
Serial splits only cost cycles, so they are tried only if the best plan without them breaks the bound.  The runner-up is
the best plan of another method.

Omitted: joint planning of training passes (see joint), splits of both kinds of channels in series at once (as in
poplibs), and plans over several IPUs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from ipusim.dtype import DType, float16
from ipusim.hw.spec import ChipSpec
from ipusim.lower.rules import Options, PlanNote
from ipusim_kernels.conv import bounds, cost
from ipusim_kernels.conv.geometry import STORED_GROUP, Partition
from ipusim_kernels.conv.methods import SLIC_WINDOW, Method, hmac_methods, matrix_methods
from ipusim_kernels.conv.moves import Moves, Sizes, moves
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.conv.transform import Transform, transforms
from ipusim_kernels.reduce.cycles import conv_reduce_stages

ROWS = 400_000  # rows of a ranking; more candidates than any layer of the zoo has
SLACK = 1.5  # [poplibs lib/poplin/ConvPlan.cpp] least bound over what the leanest plan needs; by its doubling 1 to 2
FIRST = 3  # candidates, of about 50, that are searched before the others
Table = NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class Request:
    """What is to be planned: shape, types, how the operands are stored, the user's options, whether it is a matmul."""

    shape: ConvShape
    half: bool
    half_partials: bool
    stored: tuple[int, int]
    proportion: float
    matmul: bool


class Candidate(NamedTuple):
    """A transform (before padding) with a method, in the order of `promise`.

    `least`: a bound on its cycles; `sizes`: conv groups and channels before and after padding; `numbers`: the padded
    shape.
    """

    promise: int
    least: int
    transform: Transform
    method: Method
    sizes: tuple[Sizes, Sizes]
    numbers: tuple[int, ...]
    request: Request
    copy_bytes: int

    @property
    def moves(self) -> Moves:
        """What has to be rearranged."""
        how = self.request.stored, self.request.matmul, self.copy_bytes
        return moves(self.request.shape, self.transform, self.method, how, self.sizes)

    @property
    def together(self) -> bool:
        """Whether conv groups that share a tile keep their channels together."""
        return self.numbers[1] > 1 and self.method.group_group == 1

    @property
    def padded(self) -> Transform:
        """The transform with its padding."""
        return self.transform if self.sizes[0] == self.sizes[1] else replace(self.transform, padded=self.sizes[1])

    @property
    def shape(self) -> ConvShape:
        """The shape that is split."""
        return self.padded.apply(self.request.shape)


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen method, transform, partition and serial steps over in and out channels.

    `estimate`: cycles, the sum of `items` (name, cycles); `temporary`: bytes on the fullest tile, of which `allowed`
    were allowed, and the search allowed `bound`; `request`: what was planned.
    """

    method: Method
    transform: Transform
    partition: Partition
    serial_ci: int
    serial_co: int
    moves: Moves
    items: tuple[tuple[str, int], ...]
    temporary: int
    allowed: int
    bound: int
    request: Request

    @property
    def estimate(self) -> int:
        """Cycles of the busiest tile, supersteps included."""
        return sum(cycles for _, cycles in self.items)

    @property
    def within(self) -> bool:
        """Whether the plan keeps the memory bound that was asked for."""
        return self.temporary <= self.allowed

    @property
    def serial(self) -> int:
        """Steps of the serial loop; 1: none."""
        return self.serial_ci * self.serial_co

    @property
    def shape(self) -> ConvShape:
        """The transformed and padded shape that is split."""
        return self.transform.apply(self.request.shape)

    @property
    def stored_group(self) -> int:
        """Channels of an operand that are stored together where the plan decides."""
        group = min(self.method.in_group, STORED_GROUP)
        return group if self.method.in_group % group == 0 else 1

    def splits(self) -> dict[str, int]:
        """Ways each axis is split, those that are split."""
        p = self.partition
        ways = (p.groups, p.ci, p.ky, p.co, p.batch, p.oy, p.ox, self.serial_ci, self.serial_co)
        return {a: n for a, n in zip(cost.AXES, ways, strict=True) if n > 1}

    def note(self, runner_up: PlanNote | None = None) -> PlanNote:
        """The plan for reports."""
        done = (*self.transform.names(self.request.shape), *self.moves.names())
        splits = tuple(self.splits().items())
        return PlanNote(self.method.kind, splits, self.estimate, self.items, self.temporary, done, runner_up)


def plan(
    shape: ConvShape,
    dtype: DType,
    chip: ChipSpec,
    options: Options,
    *,
    stored: tuple[int, int] = (1, 0),
    matmul: bool = False,
) -> Plan:
    """The plan for a shape.

    Args:
        shape: of the convolution, untransformed.
        dtype: of operands and result.
        chip: where it runs.
        options: type of partial sums and memory proportion.
        stored: channels stored together in activations and in weights (0: as wanted).
        matmul: operands are swapped by preference, and freely.
    """
    return _plan(_request(shape, dtype, options, stored, matmul), chip)


def runner_up(chosen: Plan, chip: ChipSpec) -> Plan | None:
    """The best plan of another method under the bound of `chosen`, None if there is none."""
    return _runner_up(chosen.request, chip)


def ranked(chosen: Plan, chip: ChipSpec, count: int, *, others: int = 0, seed: int = 0) -> list[Plan]:
    """The `count` best plans without serial splits under the bound, then `others` drawn from all that fit."""
    request, bound = chosen.request, chosen.bound
    every: list[tuple[Candidate, Table]] = []
    for candidate in _candidates(request, chip):
        rows = np.empty((ROWS, 12), np.int64)
        kept = _search(candidate, chip, bound, rows=rows, limit=4 * chosen.estimate if not others else None)[0]
        every.append((candidate, rows[: min(kept, ROWS)].copy()))
    which = np.repeat(np.arange(len(every)), [len(rows) for _, rows in every])
    table = np.concatenate([rows for _, rows in every])
    order = np.argsort(table[:, 0], kind="stable")
    picked = order[:count].tolist()
    if others:
        drawn = np.random.default_rng(seed).choice(len(table), min(others, len(table)), replace=False)
        picked += drawn.tolist()
    return [_made(request, every[which[i]][0], table[i], chip, chosen.allowed, bound) for i in picked]


def _request(
    shape: ConvShape, dtype: DType, options: Options, stored: tuple[int, int], matmul: bool
) -> Request:
    half = dtype == float16
    return Request(shape, half, half and options.partials == float16, stored, options.memory_proportion, matmul)


# -- candidates --------------------------------------------------------------------------------------------------------


def _candidates(wanted: Request, chip: ChipSpec) -> list[Candidate]:
    return [*_matrix(wanted, chip), *_hmac(wanted, chip, None)]


def _matrix(wanted: Request, chip: ChipSpec) -> list[Candidate]:
    """Every transform with every method but HMAC, the most promising first."""
    found: list[Candidate] = []
    for transform in transforms(wanted.shape, wanted.half, wanted.matmul):
        shape = transform.apply(wanted.shape)
        methods = matrix_methods(shape, wanted.half, wanted.half_partials, chip)
        found += _with_methods(wanted, transform, shape, methods, chip)
    return sorted(found, key=lambda c: c.promise)


def _hmac(wanted: Request, chip: ChipSpec, best: int | None) -> Iterator[Candidate]:
    """Every transform with HMAC, where it could take fewer than `best` cycles."""
    for transform in transforms(wanted.shape, wanted.half, wanted.matmul):
        shape = transform.apply(wanted.shape)
        if best is not None and shape.macs >= best * chip.tiles * (4 if wanted.half else 2):
            continue
        methods = hmac_methods(shape, wanted.half, wanted.half_partials, chip)
        yield from _with_methods(wanted, transform, shape, methods, chip)


def _with_methods(
    wanted: Request, transform: Transform, shape: ConvShape, methods: Iterable[Method], chip: ChipSpec
) -> Iterator[Candidate]:
    numbers = shape_numbers(shape)
    batch, groups, ci, co, *rest = numbers
    positions, copy_bytes = shape.batch * shape.out_height * shape.out_width, chip.tile.copy_bytes_per_cycle
    for m in methods:
        kernel = _up(shape.kernel_height, m.amp_height)
        kernel *= _up(shape.kernel_width, SLIC_WINDOW) if m.kind == "SLIC" else shape.kernel_width
        padded = (_up(groups, m.group_group), _up(ci, m.in_group), _up(co, m.out_group))
        least = positions * kernel * padded[0] * padded[1] * padded[2] // (m.peak * chip.tiles)
        # tried first is what tends to win: long passes of the matrix unit
        promise = least * (4 + m.amp_height if m.kind == "AMP Nx1" else 4)
        sizes = ((groups, ci, co), padded)
        yield Candidate(promise, least, transform, m, sizes, (batch, *padded, *rest), wanted, copy_bytes)


def _candidate(wanted: Request, transform: Transform, shape: ConvShape, method: Method, chip: ChipSpec) -> Candidate:
    """One transform, which gives `shape`, with one method."""
    return next(_with_methods(wanted, transform, shape, (method,), chip))


def _up(n: int, grain: int) -> int:
    return -(-n // grain) * grain


# -- search ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _stage_table(tiles: int) -> NDArray[np.int32]:
    """Partials left after the next reduction stage, by depth, which is no more than the tiles."""
    return np.array([(*conv_reduce_stages(d), 1)[0] for d in range(1, tiles + 1)], np.int32)


@lru_cache(maxsize=64)
def _machine(chip: ChipSpec) -> tuple[int, ...]:
    exchange = chip.exchange
    return (
        chip.sync.on_chip_cycles,
        # the busiest tile receives without a break once its first words are there (engine.schedule.closed_form_cycles)
        exchange.lead_in_cycles + exchange.least_latency_cycles,
        exchange.bytes_per_cycle,
        int(exchange.paired_receive),
        chip.tiles,
        int(chip.generation == "mk1"),
    )


@lru_cache(maxsize=8192)
def shape_numbers(s: ConvShape) -> tuple[int, ...]:
    """A shape as whole numbers, for compiled code."""
    sizes = (s.batch, s.groups, s.ci, s.co, s.height, s.width, s.out_height, s.out_width)
    return (*sizes, s.kernel_height, s.kernel_width, *s.stride, *s.dilation)


_NO_ROWS = np.empty((0, 12), np.int64)


def _search(
    c: Candidate,
    chip: ChipSpec,
    bound: int,
    *,
    limit: int | None = None,
    serial: bool = False,
    rows: Table = _NO_ROWS,
) -> tuple[int, Table]:
    """(rows kept, best row: cycles, bytes, tiles, ways) of one candidate."""
    below = cost.NEVER if limit is None else limit
    found = np.full(12, below, np.int64)
    how = c.moves.numbers()
    table, rules = _stage_table(chip.tiles), (bound, int(c.together), below, 0)
    kept = bounds.search(serial, c.numbers, c.method.numbers(), how, _machine(chip), table, rules, found, rows)
    return kept, found


Best = tuple[Candidate, Table]


def _cheapest(
    wanted: Request, chip: ChipSpec, bound: int, serial: bool, without: str | None = None, smallest: bool = False
) -> Best | None:
    """The cheapest plan within `bound` bytes, or the `smallest`, of any method but `without`."""
    best: Best | None = None
    matrix = _matrix(wanted, chip)
    # what the first give is a limit that spares most of the others
    for number in range(3):
        limit = cost.NEVER if best is None or smallest else int(best[1][0])
        bound = int(best[1][1]) if best is not None and smallest else bound
        listed = (matrix[:FIRST], matrix[FIRST:])[number] if number < 2 else _hmac(wanted, chip, limit)
        tried = [c for c in listed if c.method.kind != without and c.least <= limit]
        if not tried:
            continue
        found = np.full(12, limit, np.int64)
        which = bounds.cheapest(
            serial,
            np.array([c.numbers for c in tried], np.int64),
            np.array([c.method.numbers() for c in tried], np.int64),
            np.array([c.moves.numbers() for c in tried], np.int64),
            _machine(chip),
            _stage_table(chip.tiles),
            np.array([(c.least, c.together) for c in tried], np.int64),
            (bound, limit, int(smallest)),
            found,
        )
        if which >= 0 and (best is None or bounds._before(found, best[1], int(smallest))):
            best = tried[which], found
    return best


@lru_cache(maxsize=4096)
def _plan(wanted: Request, chip: ChipSpec) -> Plan:
    allowed = int(wanted.proportion * chip.tile.memory_bytes)
    best = _cheapest(wanted, chip, cost.NEVER, False)
    if best is None:  # pragma: no cover  (HMAC computes everything)
        raise AssertionError("no plan")
    if best[1][1] <= allowed:
        return _made(wanted, *best, chip, allowed, allowed)
    bound = allowed
    if _cheapest(wanted, chip, int(allowed / SLACK), True, smallest=True) is None:
        least = _cheapest(wanted, chip, int(best[1][1]), True, smallest=True) or best
        bound = max(allowed, int(SLACK * least[1][1]))
    return _made(wanted, *(_cheapest(wanted, chip, bound, True) or best), chip, allowed, bound)


@lru_cache(maxsize=4096)
def _runner_up(wanted: Request, chip: ChipSpec) -> Plan | None:
    chosen = _plan(wanted, chip)
    best = _cheapest(wanted, chip, chosen.bound, chosen.serial > 1, chosen.method.kind)
    return _made(wanted, *best, chip, chosen.allowed, chosen.bound) if best else None


def _made(wanted: Request, c: Candidate, row: Table, chip: ChipSpec, allowed: int, bound: int) -> Plan:
    ways = tuple(int(v) for v in row[3:])
    items = np.zeros(len(cost.ITEMS), np.int64)
    moved = c.moves
    numbers = c.numbers, c.method.numbers(), moved.numbers(), _machine(chip)
    _, temporary = cost.estimate(ways, *numbers, _stage_table(chip.tiles), cost.NEVER, items)
    groups, ci, ky, co, batch, oy, ox, serial_ci, serial_co = ways
    m = c.method
    return Plan(
        method=m,
        transform=c.padded,
        partition=Partition(
            *(batch, groups, co, ci, ky, oy, ox),
            *(m.group_group, m.out_group, m.in_group, m.amp_height),
            element_bytes=2 if m.half else 4,
            series_x=serial_ci,
            series_w=serial_ci * serial_co,
        ),
        serial_ci=serial_ci,
        serial_co=serial_co,
        moves=moved,
        items=tuple((name, int(n)) for name, n in zip(cost.ITEMS, items, strict=True) if n),
        temporary=int(temporary),
        allowed=allowed,
        bound=bound,
        request=wanted,
    )
