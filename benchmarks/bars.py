"""The speed bars, measured: a second run, an import, warm estimates, and values against PyTorch on one thread.

    python benchmarks/bars.py

Prints a line per bar with the median, the bar and whether it holds; exits with 1 if one does not.  The comparison with
PyTorch runs both sides in turn in one process and is left out, saying so, where PyTorch is not installed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def median(run: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def process(*arguments: str) -> Callable[[], object]:
    """A call that runs a Python process to its end."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def estimate(model: str) -> float:
    """Median seconds of compile + simulate of a model in a process that has done it before."""
    import ipusim

    ipusim.simulate(model)
    walls = [ipusim.simulate(model).wall for _ in range(9)]
    return statistics.median(w["compile"] + w["simulate"] for w in walls)


def against_torch() -> float | None:
    """Time of float16 ResNet-50 values over PyTorch's float32 on one thread, measured in turn; None without PyTorch."""
    try:
        import torch
        import torch_models
    except ImportError:
        return None
    import ipusim

    torch.set_num_threads(1)
    from ipusim_models import ZOO

    workload = ZOO["resnet50"].build()
    weights = torch_models.weights(workload)
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    image = torch.from_numpy(x)
    ratios = []
    for _ in range(9):
        begun = time.perf_counter()
        torch_models.resnet50_forward(workload, image, w=weights)
        theirs = time.perf_counter() - begun
        ratios.append(ipusim.simulate(workload, {"x": x}, execute=True).wall["execute"] / theirs)
    return statistics.median(ratios[2:])


def main() -> int:
    """Measures everything; 1 if a bar does not hold."""
    process("-m", "ipusim", "run", "resnet50")()
    bare = median(process("-c", "pass"), 7)
    rows = [
        ("second `ipusim run resnet50`, s", median(process("-m", "ipusim", "run", "resnet50"), 3), 4.0),
        ("`import ipusim` beyond starting Python, s", median(process("-c", "import ipusim"), 7) - bare, 0.3),
        ("warm estimate of resnet50, s", estimate("resnet50"), 0.2),
        ("warm estimate of bert-base, s", estimate("bert-base"), 0.2),
    ]
    ratio = against_torch()
    if ratio is None:
        print("values against PyTorch: left out, PyTorch is not installed (pip install torch==2.13.0)")
    else:
        rows.append(("float16 resnet50 values, time over PyTorch's", ratio, 1.5))
    for name, value, bar in rows:
        print(f"{name:<45} {value:7.3f}  bar {bar:5.2f}  {'holds' if value <= bar else 'DOES NOT HOLD'}")
    return int(any(value > bar for _, value, bar in rows))


if __name__ == "__main__":
    sys.exit(main())
