"""One planned convolution as a program of its own, its operands where the plan wants them: what a plan really costs.

The estimate of a plan and the engine's count of its program are to agree; tests and benchmarks compare them here.
"""

from __future__ import annotations

from ipusim.dtype import float16, float32
from ipusim.engine.run import measure_time
from ipusim.engine.trace import Trace
from ipusim.hw.spec import ChipSpec
from ipusim.lower.rules import Lowering, Options
from ipusim.program.graph import Graph, WholeOp
from ipusim.program.tensor import Tensor
from ipusim_kernels.conv.lowering import Pass, convolve
from ipusim_kernels.conv.plan import Plan


def lower_alone(plan: Plan, chip: ChipSpec, options: Options | None = None) -> tuple[Graph, Tensor]:
    """The program of one plan and its result as lowered; it has cycles and memory, but no values to run on."""
    s = plan.request.shape
    dtype = float16 if plan.request.half else float32
    low = Lowering(Graph(chip.tiles), chip, options or Options())
    x = low.graph.add_storage((s.batch, s.groups, s.ci, s.height, s.width), dtype, "x")
    w = low.graph.add_storage(
        (s.groups, s.co, s.ci, s.kernel_height, s.kernel_width), dtype, "w", always_live=True
    )
    work = Pass(low, plan, Tensor.of(x), Tensor.of(w), dtype)
    result = convolve(work)
    work.finish(WholeOp(_no_values, None, (Tensor.of(x), Tensor.of(w), result)))
    return low.graph, result


def _no_values(attrs: object, arrays: object) -> None:
    raise NotImplementedError("a plan lowered alone is for timing")


def time_alone(plan: Plan, chip: ChipSpec, options: Options | None = None) -> Trace:
    """Cycles and memory of one plan, counted by the engine."""
    graph, result = lower_alone(plan, chip, options)
    return measure_time(graph, [result], chip, "alone")
