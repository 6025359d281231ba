"""The convolution planner: how fast it plans a network, and how far its estimates are from the engine.

    python benchmarks/planner.py

Every distinct layer is planned with empty caches (compiled code warm), then lowered alone, its operands where the plan
wants them, and counted by the engine.
"""

from __future__ import annotations

import statistics
import time

import ipusim
from ipusim.dtype import float16
from ipusim.hw.presets import GC2
from ipusim.lower.rules import Options
from ipusim_kernels.conv import methods, moves, plan, rule
from ipusim_kernels.conv.alone import time_alone
from ipusim_kernels.reduce import cycles
from ipusim_kernels.reduce.cycles import conv_reduce_stages

NETWORKS = ("resnet50", "resnext101", "bert-base")
Requests = list[plan.Request]


def requests(model: str) -> Requests:
    """What a model asks of the planner, each once."""
    found: dict[plan.Request, None] = {}
    inner = rule.plan

    def spy(shape, dtype, chip, options, *, stored=(1, 0), matmul=False):  # type: ignore[no-untyped-def]
        found[plan._request(shape, dtype, options, stored, matmul)] = None
        return inner(shape, dtype, chip, options, stored=stored, matmul=matmul)

    rule.plan = spy
    try:
        ipusim.simulate(model)
    finally:
        rule.plan = inner
    return list(found)


def planning(wanted: Requests) -> tuple[float, float]:
    """(median, least) processor seconds of planning everything with empty caches."""
    kept = (plan._plan, plan._runner_up, plan._stage_table, plan.shape_numbers, moves._moves)
    kept += (methods._matrix_methods, methods._numbers, conv_reduce_stages, cycles._stages)
    times = []
    for _ in range(15):
        for cache in kept:
            cache.cache_clear()
        begun = time.process_time()
        for request in wanted:
            plan._plan(request, GC2)
        times.append(time.process_time() - begun)
    return statistics.median(times), min(times)


def apart(wanted: Requests) -> list[tuple[float, str]]:
    """(engine over estimate - 1, what it is) of each distinct layer planned alone, the largest difference first."""
    found = []
    for shape, matmul in dict.fromkeys((r.shape, r.matmul) for r in wanted):
        chosen = plan.plan(shape, float16, GC2, Options(), stored=(0, 0), matmul=matmul)
        counted = sum(step.cycles for step in time_alone(chosen, GC2).steps)
        kernel = f"{shape.kernel_height}x{shape.kernel_width}"
        field = f"{shape.height}x{shape.width}"
        name = f"{kernel} {shape.ci}->{shape.co} in {shape.groups} groups on {field}, {chosen.method.kind}"
        found.append((counted / chosen.estimate - 1, name))
    return sorted(found, key=lambda f: -abs(f[0]))


def table() -> tuple[list[str], list[list[str]]]:
    """(head, rows) for documents: network, distinct layers, median and largest difference, which layer that is."""
    head = ["network", "distinct layers", "median difference", "largest", "which"]
    rows = []
    for model in NETWORKS:
        found = apart(requests(model))
        middle = statistics.median(abs(f) for f, _ in found)
        rows.append([model, str(len(found)), f"{100 * middle:.1f} %", f"{100 * found[0][0]:+.1f} %", found[0][1]])
    return head, rows


def main() -> None:
    """Prints planning times and differences."""
    for model in NETWORKS:
        wanted = requests(model)
        median, least = (1e3 * seconds for seconds in planning(wanted))
        print(f"{model:<12} {len(wanted):3d} distinct layers planned in {median:6.1f} ms, at best {least:6.1f} ms")
    head, rows = table()
    for row in [head, *rows]:
        print("  ".join(f"{cell:<18}" for cell in row))


if __name__ == "__main__":
    main()
