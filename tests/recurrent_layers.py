"""Small recurrent layers for tests."""

import numpy as np

from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.ops_recurrent import CELLS

STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 5, 6
GATES = {cell: gates for cell, (gates, _) in CELLS.items()}


def layer(cell, optional=(), *, steps=STEPS, batch=BATCH, features=FEATURES, hidden=HIDDEN, seed=0, **options):
    """(workload, inputs) of a layer with the optional operands given by name."""
    b = WorkloadBuilder(cell)
    d, rows = 2 if options.get("direction") == "bidirectional" else 1, GATES[cell] * hidden
    shapes = {"x": (steps, batch, features), "w": (d, rows, features), "r": (d, rows, hidden)}
    further = {"bias": (d, 2 * rows), "h": (d, batch, hidden), "c": (d, batch, hidden), "peepholes": (d, 3 * hidden)}
    shapes |= {k: v for k, v in further.items() if k in optional}
    values = {k: b.input(k, shape) for k, shape in shapes.items()}
    rng = np.random.default_rng(seed)
    arrays = {k: rng.uniform(-0.7, 0.7, s).astype(np.float16).astype(np.float32) for k, s in shapes.items()}
    if "lengths" in optional:
        values["lengths"] = b.input("lengths", (batch,), "int32")
        arrays["lengths"] = rng.integers(0, steps + 1, batch).astype(np.int32)
    made = b.recurrent(cell, **values, **options)
    return b.build({f"y{i}": v for i, v in enumerate(made)}), arrays
