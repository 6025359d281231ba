"""Dense products of two matrices that are on the chip: the better of the planner's plans.

A workload of one matmul whose operands are inputs, so they lie where and as its plan wants them (poplin's
createMatMulInputLHS and RHS), compiled and timed as any other: exchange to the tiles of the plan, partial products,
reduction, each with its sync.  The measured figures are the best over available-memory proportions and partial types;
so are these, over `PROPORTIONS` and, for half operands, both types.

The ceiling of a GC2 was measured with the library of 2019, whose default was not the fastest plan: of the plans within
`BACKOFF` of the fastest it took the one that needs the least temporary memory.  That plan is found by lowering the
memory proportion as far as the fastest plan within it stays within `BACKOFF`.

Omitted: host transfers, and whatever the original program does beside the multiplication; that the library of 2019 did
not split in channels in series.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ipusim.api import Report, simulate
from ipusim.dtype import DType, as_dtype, float16, float32
from ipusim.errors import DoesNotFit
from ipusim.lower.rules import Options
from ipusim.workload.builder import WorkloadBuilder
from ipusim_kernels.conv.plan import Plan, plan
from ipusim_kernels.conv.shape import matmul_shape

if TYPE_CHECKING:
    from ipusim.hw.spec import ChipSpec, SystemSpec
    from ipusim.report.profile import MemorySummary
    from ipusim.validate_data import Row
    from ipusim.workload.graph import Workload

PROPORTIONS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)  # [assumed] "best configuration" does not list those it tried
MARGIN = 1.05  # plans further above the best by their estimate are not timed: estimate and program agree within it
CEILING_SIZES = range(1024, 8193, 512)  # [assumed] "square-ish sizes that fit": the source gives none
BACKOFF = 1.2  # [poplibs of 2019] ConvOptions.hpp, cycleBackoffPercent = 20: slower than the fastest to save memory
MOST_SHARE = 0.9  # [poplibs of 2019] ConvOptions.hpp, availableMemoryProportion
SHARES = 100  # [own choice] memory proportions that are told apart when the plan of least memory is looked for
_PRECISIONS = {"FP16": "float16", "FP32": "float32", "fp16": "float16", "fp32": "float32"}


def dense(row: Row) -> float:
    """TFLOP/s of [m, k] x [k, n]: keys m, k, n, dtype, ipus=1.  Raises DoesNotFit where no plan fits one IPU."""
    row.text("ipus", "1", default="1")
    sizes = row.whole("m"), row.whole("k"), row.whole("n")
    precision = _PRECISIONS[row.text("dtype", "FP16", "FP32")]
    return row.answer({("throughput", "TFLOP/s"): _rate(row.device(), sizes, precision)})


def ceiling(row: Row) -> float:
    """TFLOP/s of the best square product, over `CEILING_SIZES` up to the first that does not fit: key precision.

    Raises DoesNotFit if none fits.
    """
    row.text("ipus", "1", default="1")
    precision = _PRECISIONS[row.text("precision", "fp16", "fp32")]
    device = row.device()
    rates = []
    for size in CEILING_SIZES:
        try:
            rates.append(_sparing_rate(device, (size, size, size), precision))
        except DoesNotFit:
            if not rates:
                raise
            break
    return row.answer({("throughput", "TFLOP/s"): max(rates)})


@lru_cache(maxsize=256)
def _rate(device: SystemSpec, sizes: tuple[int, int, int], precision: str) -> float:
    m, k, n = sizes
    return 2e-12 * m * k * n * device.chip.clock_hz / best(device, sizes, precision).cycles


@lru_cache(maxsize=64)
def _sparing_rate(device: SystemSpec, sizes: tuple[int, int, int], precision: str) -> float:
    m, k, n = sizes
    dtype = as_dtype(precision)
    _check_operands(device.chip, sizes, dtype)
    reports = []
    for partials in _partials(dtype):
        share = sparing_share(device.chip, sizes, dtype, partials)
        reports.append(_simulated(device.chip, sizes, precision, partials, share))
    fitting = [report.cycles for report in reports if report.memory.fits]
    if not fitting:
        raise _too_large(product(sizes).name, reports[0].memory, (1 / SHARES, MOST_SHARE))
    return 2e-12 * m * k * n * device.chip.clock_hz / min(fitting)


def sparing_share(chip: ChipSpec, sizes: tuple[int, int, int], dtype: DType, partials: DType) -> float:
    """The least memory proportion, in steps of 1 / `SHARES`, with a plan that is estimated within `BACKOFF` of the
    fastest; `MOST_SHARE` where not even the fastest keeps to it.
    """

    def estimate(share: float) -> float:
        options = Options(partials=partials, memory_proportion=share)
        found = plan(matmul_shape(1, *sizes), dtype, chip, options, stored=(0, 0), matmul=True)
        return found.estimate if found.within else float("inf")

    most = BACKOFF * estimate(MOST_SHARE)
    if most == float("inf"):
        return MOST_SHARE
    low, high = 0, round(MOST_SHARE * SHARES)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if estimate(middle / SHARES) <= most else (middle, high)
    return high / SHARES


def _partials(dtype: DType) -> tuple[DType, ...]:
    return (float16, float32) if dtype == float16 else (float32,)


def _simulated(chip: ChipSpec, sizes: tuple[int, int, int], precision: str, partials: DType, share: float) -> Report:
    return simulate(
        product(sizes), system=chip, precision=precision, partials=partials.name, available_memory_proportion=share
    )


def product(sizes: tuple[int, int, int]) -> Workload:
    """The workload [m, k] x [k, n], both operands inputs."""
    m, k, n = sizes
    builder = WorkloadBuilder(f"[{m}, {k}] x [{k}, {n}]")
    made = builder.matmul(builder.input("a", (m, k)), builder.input("b", (k, n)), name="product")
    return builder.build({"product": made})


def best(
    device: SystemSpec, sizes: tuple[int, int, int], precision: str, shares: tuple[float, ...] = PROPORTIONS
) -> Report:
    """The fastest program for [m, k] x [k, n] on one IPU that fits it.

    Plans are timed in the order of their estimates, as long as these lie within `MARGIN` of the fastest program.
    Raises DoesNotFit where no plan fits.
    """
    chip, dtype = device.chip, as_dtype(precision)
    _check_operands(chip, sizes, dtype)
    plans: dict[Plan, tuple[float, DType]] = {}
    for kind in _partials(dtype):
        for share in shares:
            options = Options(partials=kind, memory_proportion=share)
            found = plan(matmul_shape(1, *sizes), dtype, chip, options, stored=(0, 0), matmul=True)
            alike = replace(found, request=replace(found.request, proportion=1.0), allowed=0)
            plans.setdefault(alike, (share, kind))
    fastest: Report | None = None
    smallest: Report | None = None
    for made, (share, partials) in sorted(plans.items(), key=lambda item: item[0].estimate):
        if fastest is not None and made.estimate > MARGIN * fastest.cycles:
            break
        report = _simulated(chip, sizes, precision, partials, share)
        if smallest is None or report.memory.max_tile_bytes < smallest.memory.max_tile_bytes:
            smallest = report
        if report.memory.fits and (fastest is None or report.cycles < fastest.cycles):
            fastest = report
    if fastest is None:
        assert smallest is not None
        raise _too_large(product(sizes).name, smallest.memory, shares)
    return fastest


def _check_operands(chip: ChipSpec, sizes: tuple[int, int, int], dtype: DType) -> None:
    """Raises DoesNotFit where operands and result alone are more than the chip holds."""
    m, k, n = sizes
    each = {"a": m * k, "b": k * n, "product": m * n}
    held = tuple((name, -(-count * dtype.bytes // chip.tiles), "its share") for name, count in each.items())
    need = sum(nbytes for _, nbytes, _ in held)
    if need > chip.tile.memory_bytes:
        raise DoesNotFit(
            f"the product {product(sizes).name}",
            tile=0,
            need=need,
            have=chip.tile.memory_bytes,
            variables=sorted(held, key=lambda v: -v[1]),
            lever="its operands are more than one IPU holds",
        )


def _too_large(name: str, memory: MemorySummary, shares: tuple[float, ...]) -> DoesNotFit:
    return DoesNotFit(
        f"the product {name}",
        tile=memory.worst_tile,
        need=memory.max_tile_bytes,
        have=memory.tile_limit_bytes,
        variables=memory.largest,
        lever=f"no plan fits at any available_memory_proportion from {shares[0]} to {shares[-1]}",
    )
