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
from ipusim_kernels.conv import moves, plan, rule
from ipusim_kernels.conv.alone import time_alone

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


def planning(wanted: Requests) -> float:
    """Median seconds of planning everything with empty caches."""
    times = []
    for _ in range(7):
        for cache in (plan._plan, plan._runner_up, plan.shape_numbers, moves._moves):
            cache.cache_clear()
        begun = time.perf_counter()
        for request in wanted:
            plan._plan(request, GC2)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


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
        print(f"{model:<12} {len(wanted):3d} distinct layers planned in {1e3 * planning(wanted):6.1f} ms")
    head, rows = table()
    for row in [head, *rows]:
        print("  ".join(f"{cell:<18}" for cell in row))


if __name__ == "__main__":
    main()
