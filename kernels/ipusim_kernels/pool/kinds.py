"""Pooling vertices by name: the parameters of a row to the arguments of their formulas."""

from __future__ import annotations

from ipusim_kernels.parameters import Formula, Parameters
from ipusim_kernels.pool import cycles


def _pooling(maximum: bool, backward: bool) -> Formula:
    def run(p: Parameters) -> int:
        vectors, groups = p.count("chansPerGroupD"), p.count("chanGroups")
        taps, outputs = p.count("workItemsPerRow"), p.count("elemsMinus1PerItem") + 1
        unpack_out = p.count("unpackOut", 0)
        start = unpack_out + p.count("unpackStartPos", 0)
        workers = [
            start
            + cycles.pool_worker(
                rows,
                taps,
                outputs,
                cycles.init_share(p.count("initInfo"), vectors, worker),
                groups,
                vectors,
                maximum,
                backward,
                unpack_out + p.count("unpackIn", 0),
                p.count("unpackWorkList", 0),
            )
            for worker, rows in enumerate(p.counts("rowsPerWorker"))
        ]
        return cycles.pool_total(max(workers))

    return run


KINDS: dict[str, Formula] = {
    "popnn::MaxPooling": _pooling(maximum=True, backward=False),
    "popnn::MaxPoolingGrad": _pooling(maximum=True, backward=True),
    "popnn::SumPooling": _pooling(maximum=False, backward=False),
}
