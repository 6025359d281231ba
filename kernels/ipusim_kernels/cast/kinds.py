"""Cast vertices by name: the parameters of a row to the arguments of their formulas."""

from __future__ import annotations

from ipusim.errors import BadInput
from ipusim_kernels.cast import cycles
from ipusim_kernels.parameters import ELEMENT_BYTES, FLOAT, HALF, Formula, Parameters


def _worker(p: Parameters, n: int) -> int:
    """Worker cycles for n elements; conversions with a formula of their own in the source are refused."""
    source, target = p.text("from"), p.text("to")
    for name in (source, target):
        if name not in ELEMENT_BYTES or ELEMENT_BYTES[name] in (1, 8):
            raise BadInput(f"casts from {source} to {target} have no formula here")
    if source in HALF + FLOAT and target in HALF + FLOAT:
        if (source in HALF) == (target in HALF):
            raise BadInput(f"there is no cast from {source} to {target}")
        return cycles.cast_worker(n, source in HALF, target in HALF)
    return cycles.cast_worker(n, False, False)


KINDS: dict[str, Formula] = {
    "popops::Cast1D": lambda p: cycles.cast_multi(_worker(p, -(-p.count("n") // 6))),
    "popops::Cast1DSingleWorker": lambda p: cycles.cast_single(_worker(p, p.count("n"))),
    "popops::Cast2D": lambda p: 5 + sum(11 + _worker(p, n) for n in p.counts("sizes")),
    "planner:estimateCastCycles": lambda p: cycles.planner_cast(
        p.count("n"), p.count("partialsVectorWidth"), p.count("outputVectorWidth"), p.count("workers", 6)
    ),
}
