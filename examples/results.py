"""The same model in half and float, computed in the order of the plan, and vertex by vertex."""

import numpy as np

import ipusim

rng = np.random.default_rng(1)
b = ipusim.WorkloadBuilder("mlp")
x = b.input("x", (4, 32))
y = b.gelu(b.gemm(x, rng.normal(size=(32, 64)) * 0.2, rng.normal(size=64)))
workload = b.build({"p": b.softmax(b.gemm(y, rng.normal(size=(64, 5)) * 0.2))})
inputs = {"x": rng.normal(size=(4, 32)).astype(np.float32)}

exact = ipusim.simulate(workload, inputs, execute=True, precision="float32").outputs["p"]
half = ipusim.simulate(workload, inputs, execute=True)
print("sums of rows:", exact.sum(axis=1).round(3))
print("half is close:", bool(np.abs(half.outputs["p"].astype(np.float32) - exact).max() < 2e-3))
each = ipusim.simulate(workload, inputs, execute="vertices")
print("vertex by vertex, same cycles:", each.cycles == half.cycles)
