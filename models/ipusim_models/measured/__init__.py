"""Programs that were measured on hardware, as `ipusim validate --data` builds and times them.

Each module has one family and its functions from an `ipusim.validate_data.Row` to the row's metric.  Modules are loaded
when a row of theirs is predicted.  A workload that is measured but not a program of its own has the reason instead.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from ipusim.errors import BadInput

if TYPE_CHECKING:
    from ipusim.validate_data import Row

#: Workload -> "module:function" of this package.
PROGRAMS: dict[str, str] = {
    "Gaussian blur by poplibs convolution": "conv_blur:sweeps",
    "dense matmul poplin, best configuration": "matmul:dense",
    "large dense matmul ceiling (Jia et al. benchmark)": "matmul:ceiling",
    "on-tile matmul [N,16]x[16,16] ConvPartial1x1 vertex on all tiles": "amp:block",
    "Gaussian blur 3x3 RGBA low-level stencil": "blur:timed",
    "Gaussian blur weak scaling": "blur:timed",
    "Gaussian blur strong scaling": "blur:timed",
    "Gaussian blur one stencil step, cycles by BSP phase": "blur:phase",
    "Gaussian blur partition-size sweep (older codelet)": "blur:older",
    "BabelStream Triad": "triad:babelstream",
    "STREAM Triad assembly codelet": "triad:assembly",
    "pi by midpoint rule, one worker per tile, fp32 divide": "pi:midpoint",
    "popops add vertex per tile": "add_vertex:add",
    "2D heat 5-point": "heat:plane",
    "3D heat 7-point": "heat:space",
    "3D diffusion space order 4": "star:diffusion",
    "3D wave space order 4": "star:wave",
}

_TABLE = "a property of the chip that is an input here, not a program"
_NO_PROGRAM = "the quoting source does not say which program was run"
_OTHER_COMPILER = "code of another compiler, whose program the row does not give"

#: Workload -> why it is not predicted.
UNDEFINED: dict[str, str] = {
    "Gaussian blur 3x3 stencil fp32 vectorised": "a ratio to a time on other processors, which the row does not give",
    "halo exchange strategy, 2 IPUs, dummy compute": "an estimate of another simulator, not a measurement",
    "tile local memory load latency": _TABLE,
    "cycle-counter read pair overhead": _TABLE,
    "aggregate read bandwidth, assembly inner loop": _NO_PROGRAM,
    "aggregate read bandwidth, compiler generated loop": _NO_PROGRAM,
    "on-chip exchange, congestion effect": _NO_PROGRAM,
    "IPU-Link exchange, congestion effect, low end": _NO_PROGRAM,
    "IPU-Link exchange, congestion effect, high end": _NO_PROGRAM,
    "aggregate hardware random generation": "a ratio to another processor",
    "grouped convolution, ResNeXt-like layers": "a ratio to another processor, without sizes",
    "SigLIP MLP scheduled exchange, columns-fast grid": _OTHER_COMPILER,
    "local copy call, six workers incl. launch and rendezvous": _OTHER_COMPILER,
    "AMP fp16 kernel, 16 output columns x 64 K, interleaved weights, non-row part": _OTHER_COMPILER,
    "AMP fp16 kernel, 16 output columns x 64 K, standard memory weights, non-row part": _OTHER_COMPILER,
    "dense GEMM fp16": _OTHER_COMPILER,
    "resident weights upload host to tiles": _OTHER_COMPILER,
}


def programs() -> dict[str, Callable[[Row], float]]:
    """Generators by workload, as `ipusim.validate_data.generators` collects them."""
    found = {workload: _lazy(*where.split(":")) for workload, where in PROGRAMS.items()}
    return found | {workload: _undefined(reason) for workload, reason in UNDEFINED.items()}


def _lazy(module: str, name: str) -> Callable[[Row], float]:
    def generator(row: Row) -> float:
        found: float = getattr(import_module(f"{__name__}.{module}"), name)(row)
        return found

    return generator


def _undefined(reason: str) -> Callable[[Row], float]:
    def generator(row: Row) -> float:
        raise BadInput(f"not predicted: {reason}")

    return generator
