"""A model built in Python: where its cycles go, what bounds each op, and a what-if with more exchange bandwidth."""

import numpy as np

import ipusim

rng = np.random.default_rng(0)
b = ipusim.WorkloadBuilder("small-net")
x = b.input("x", (1, 16, 32, 32))
y = b.relu(b.conv(x, rng.normal(size=(64, 16, 3, 3)), padding=1, name="conv"))
y = b.reduce("mean", y, (2, 3), keepdims=False, name="mean")
workload = b.build({"y": b.gemm(y, rng.normal(size=(10, 64)), trans_b=True, name="classify")})

report = ipusim.simulate(workload)
print(f"{report.cycles:,} cycles, {report.latency * 1e6:.1f} us")
for op in report.ops:
    if op.cycles:
        print(f"  {op.name:<10} {op.method:<12} {op.cycles:>6,} cycles, bound by {op.bound}")
print("phases:", {phase: cycles for phase, cycles in report.phases.items() if cycles})

fast = ipusim.system("GC2").with_fields({"chip.exchange.bytes_per_cycle": 8})
print(f"with twice the exchange bandwidth: {ipusim.simulate(workload, system=fast).cycles:,} cycles")
