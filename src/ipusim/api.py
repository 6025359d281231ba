"""The front door: a model in, results and a latency report out.  The only place where all stages meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim.dtype import DType, as_dtype, float16, float32
from ipusim.errors import BadInput, UnknownName
from ipusim.hw.presets import system as find_system
from ipusim.hw.spec import ChipSpec, SystemSpec
from ipusim.lower.rules import Options, Rules
from ipusim.report import store
from ipusim.report.of_model import model_profile
from ipusim.report.plans import Plan
from ipusim.report.profile import MemorySummary, OpSummary, Profile, Step
from ipusim.workload.graph import Workload
from ipusim.workload.inputs import check_inputs, draw_inputs
from ipusim.workload.replicas import check_joined, replicas_of, workload_replicas

if TYPE_CHECKING:
    import pandas

    from ipusim.engine.exchange import How
    from ipusim.engine.trace import Trace
    from ipusim.lower.compile import Compiled
    from ipusim.report.figures import Figure

Array = NDArray[Any]
_EXCHANGES = ("schedule", "closed form")
_AT_MOST = "loops that end on a condition are timed as often as they may run: a bound; with values they are counted"
_AS_RAN = "loops that end on a condition are timed as often as they ran with these values"
#: Called with (stage, done, total) while long work goes on.
Progress = Callable[[str, int, int], None]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Report:
    """What a simulation found: `print` it, read its numbers, `save` it, make tables of it.

    `outputs` holds the results by name if the simulation computed them (else it is empty); `wall` the seconds that
    compiling, timing and computing took on this host.
    """

    profile: Profile
    outputs: dict[str, Array]
    wall: dict[str, float]

    @property
    def latency(self) -> float:
        """Seconds of one run; for several replicas that of one of them."""
        return self.profile.latency

    @property
    def throughput(self) -> float:
        """Samples per second, all replicas together."""
        return self.profile.throughput

    @property
    def cycles(self) -> int:
        """Cycles of one run."""
        return self.profile.cycles

    @property
    def phases(self) -> dict[str, int]:
        """Cycles by phase; they sum to `cycles`."""
        return self.profile.phases

    @property
    def memory(self) -> MemorySummary:
        """Memory of the fullest tile and in all."""
        return self.profile.memory

    @property
    def ops(self) -> tuple[OpSummary, ...]:
        """A summary per node of the model, in order."""
        return self.profile.ops

    @property
    def steps(self) -> tuple[Step, ...]:
        """Supersteps in order, each with every tile's cycles, bytes and memory."""
        return self.profile.steps

    @property
    def plans(self) -> tuple[Plan, ...]:
        """How each op that a planner chose something for was planned: splits, estimate and its items, runner-up."""
        return self.profile.plans

    @property
    def figures(self) -> dict[str, Figure]:
        """Every figure by name, with its kind ("measured", "derived", "fitted", "assumed") and its error band."""
        from ipusim.report.figures import figures

        return figures(self.profile)

    @property
    def cycles_band(self) -> tuple[float, float]:
        """(low, high): where the chip's own cycles should lie; ipusim.hw.mechanisms says how bands add up."""
        found = self.figures["cycles"]
        return found.low, found.high

    @property
    def latency_band(self) -> tuple[float, float]:
        """(low, high): where the chip's own latency should lie at this clock, in seconds."""
        found = self.figures["latency"]
        return found.low, found.high

    def at_clock(self, clock_hz: float) -> Report:
        """The same run at another clock, in hertz (C2 cards were seen at 1.3e9): the cycles stay.

        Raises BadHardware for a clock that is not a finite number above 0.
        """
        return Report(self.profile.at_clock(clock_hz), self.outputs, self.wall)

    def __str__(self) -> str:
        from ipusim.view.text import render

        return render(self.profile)

    def __repr__(self) -> str:
        p = self.profile
        fits = "fits" if p.memory.fits else "does not fit"
        return f"<Report {p.model} on {p.system.name}: {p.cycles:,} cycles, {fits}>"

    def to_pandas(self, table: str = "ops") -> pandas.DataFrame:
        """A table: "ops", "steps", "tiles", "memory", "plans" or "figures".

        Raises UnknownName for another; BadInput without pandas.
        """
        from ipusim.report.tables import to_pandas

        return to_pandas(self.profile, table)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, as `ipusim run --json` prints it."""
        from ipusim.report.plain import to_dict

        return to_dict(self.profile, self.wall)

    def save(self, path: str | Path) -> None:
        """Writes the report with its outputs to one file; a broken write leaves nothing.  Raises BadInput."""
        store.save(self.profile, {"wall": self.wall}, self.outputs, Path(path))


def load_report(path: str | Path) -> Report:
    """A report that was saved.  Raises BadInput for anything else."""
    if not isinstance(path, str | Path) or not str(path):
        raise BadInput(f"load_report: a file name, not {path!r}")
    profile, extra, outputs = store.load(Path(path))
    return Report(profile, outputs, extra["wall"])


def models() -> dict[str, str]:
    """Names of the models that come with ipusim and installed model packages, with a line about each."""
    return {name: str(entry.summary) for name, entry in _zoo().items()}


def systems() -> dict[str, SystemSpec]:
    """The systems ipusim knows, by name."""
    from ipusim.hw.presets import SYSTEMS

    return dict(SYSTEMS)


def simulate(
    model: str | Path | Workload,
    inputs: Mapping[str, ArrayLike] | None = None,
    *,
    system: str | SystemSpec | ChipSpec = "GC2",
    batch: int | None = None,
    execute: bool | str = False,
    precision: str | DType = "float16",
    partials: str | DType = "float32",
    available_memory_proportion: float = 0.6,
    matmul_pass: str = "inference",
    seed: int = 0,
    threads: int = 1,
    exchange: str = "schedule",
    host: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Simulates one run of a model and reports how long it takes, what fills the memory and where the time goes.

    Args:
        model: name of a zoo model (see `models()`), path of an ONNX file, or a Workload.
        inputs: arrays by input name, (batch, ...), for `execute`; drawn from `seed` if left out.
        system: name, SystemSpec or ChipSpec; several IPUs run one replica each, the batch split evenly.
        batch: samples in all; None is 1 for a zoo model, and what the model says otherwise.  A Workload is built for
            the batch of one IPU: on several IPUs `batch` is as many times its own (1 may also stay on one of them).
        execute: True also computes the outputs; "vertices" calls every vertex on its own, slowly (small models).
        precision: "float16" or "float32", for all floating-point tensors.
        partials: type of partial sums in float16 runs.
        available_memory_proportion: share of a tile's memory that the temporary data of one plan may take.
        matmul_pass: "training" plans each matmul together with its backward and update passes, so that its weights
            could stay in place over all three; the program has the forward pass alone.
        seed: of zoo weights and of inputs that were left out.
        threads: host threads for values; results do not depend on it.
        exchange: "schedule" places every message on the wires; "closed form" is quicker and a lower bound.
        host: also moves inputs and results over the host link; else they are on the chip before and after.
        progress: called with (stage, done, total).

    Raises: BadInput, UnknownName, Unsupported, BadHardware: all are `IpuSimError`; a model that does not fit is not
        an error but a report whose `memory.fits` is False.
    """
    target = find_system(system)
    dtype = _precision(precision)
    if execute not in (False, True, "vertices"):
        raise BadInput(f"execute must be False, True or 'vertices', not {execute!r}")
    if exchange not in _EXCHANGES:
        raise UnknownName("way to time exchanges", str(exchange), _EXCHANGES)
    options = Options(as_dtype(partials), float(available_memory_proportion), int(threads), matmul_pass)
    started = time.perf_counter()
    workload, replicas, remarks = _load(model, target, batch, seed)
    given = check_inputs(workload, dict(inputs), replicas) if inputs is not None else None
    if execute:
        check_joined(workload, replicas)
    compiled = _compile(_in_precision(workload, dtype), target.chip, options, progress)
    compiled_at = time.perf_counter()
    trace = _measure(compiled, target.chip, exchange, bool(host))
    measured_at = time.perf_counter()
    if exchange == "closed form":
        remarks += ("exchanges are timed by their busiest tile: a lower bound",)
    wall = {"compile": compiled_at - started, "simulate": measured_at - compiled_at}
    found = trace
    outputs: dict[str, Array] = {}
    if execute:
        arrays = given if given is not None else draw_inputs(workload, replicas, seed)
        for variable in compiled.graph.variables:
            if variable.initial is not None:
                variable.initial.array()
        made_at = time.perf_counter()
        outputs, runs = _execute(compiled, target.chip, arrays, replicas, execute == "vertices", progress)
        wall |= {"weights": made_at - measured_at, "execute": time.perf_counter() - made_at}
        found = _slowest(compiled, trace, runs)
    if any(compute_set.told is not None for compute_set in compiled.graph.sets):
        remarks += (_AS_RAN if execute else _AT_MOST,)
    profile = model_profile(
        compiled, found, target, replicas=replicas, options=options, dtype=dtype, remarks=remarks, most=trace
    )
    return Report(profile, outputs, wall)


# -- loading -----------------------------------------------------------------------------------------------------------


def _precision(precision: str | DType) -> DType:
    dtype = as_dtype(precision)
    if dtype not in (float16, float32):
        raise BadInput(f"precision must be float16 or float32, not {dtype}")
    return dtype


@lru_cache(maxsize=1)
def _zoo() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for point in entry_points(group="ipusim.models"):
        for name, entry in point.load().ZOO.items():
            if name in found:
                raise BadInput(f"two installed model packages call a model {name!r}")
            found[name] = entry
    return found


@lru_cache(maxsize=1)
def _built(name: str, batch: int, seed: int) -> Workload:
    """A model of the zoo; the last one is kept, so that a second run does not draw its weights again."""
    made: Workload = _zoo()[name].build(batch, seed)
    return made


@lru_cache(maxsize=1)
def _rules() -> Rules:
    rules = Rules()
    for point in entry_points(group="ipusim.kernels"):
        for op, rule in point.load().rules().items():
            rules.add(op, rule, point.value)
    return rules


def _load(
    model: str | Path | Workload, target: SystemSpec, batch: int | None, seed: int
) -> tuple[Workload, int, tuple[str, ...]]:
    """(workload of one replica, replicas, remarks)."""
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise BadInput(f"batch must be a whole number of at least 1, not {batch!r}")
    if isinstance(model, Workload):
        return workload_replicas(model, target, batch)
    if isinstance(model, str) and model in _zoo():
        replicas, remarks = replicas_of(target, batch or 1)
        note = str(getattr(_zoo()[model], "note", ""))
        return _built(model, (batch or 1) // replicas, seed), replicas, (*remarks, note) if note else remarks
    path = Path(model) if isinstance(model, str | Path) else None
    if path is None:
        raise BadInput(f"a model is a name, a path or a Workload, not {type(model).__name__}")
    if path.suffix != ".onnx" and not path.exists():
        raise UnknownName("model", str(model), _zoo())
    from ipusim.importers.onnx import load

    if batch is None:
        workload = load(path)
        replicas, remarks = replicas_of(target, workload.batch)
        return (workload, 1, remarks) if replicas == 1 else (load(path, workload.batch // replicas), replicas, remarks)
    replicas, remarks = replicas_of(target, batch)
    return load(path, batch // replicas), replicas, remarks


def _in_precision(workload: Workload, dtype: DType) -> Workload:
    from ipusim.workload.passes import with_precision

    return with_precision(workload, dtype)


# -- running -----------------------------------------------------------------------------------------------------------


def _compile(workload: Workload, chip: ChipSpec, options: Options, progress: Progress | None) -> Compiled:
    from ipusim.lower.compile import lower

    report = (lambda done, total: progress("compiling", done, total)) if progress else None
    return lower(workload, chip, options, _rules(), report)


def _measure(compiled: Compiled, chip: ChipSpec, exchange: str, host: bool) -> Trace:
    from ipusim.engine.run import HostTransfers, measure_time

    inputs, outputs = tuple(compiled.inputs.values()), tuple(compiled.outputs.values())
    moved = HostTransfers(inputs, outputs) if host else None
    return measure_time(compiled.graph, outputs, chip, compiled.workload.fingerprint, cast("How", exchange), moved)


def _execute(
    compiled: Compiled,
    chip: ChipSpec,
    arrays: dict[str, Array],
    replicas: int,
    vertices: bool,
    progress: Progress | None,
) -> tuple[dict[str, Array], list[NDArray[np.int64]]]:
    """(outputs by name, the replicas' joined along the batch; for each replica the runs of each compute set); BLAS is
    held to one thread, so that results do not depend on it.
    """
    from threadpoolctl import threadpool_limits

    from ipusim.engine.run import compute_values, initial_values

    report = (lambda done, total: progress("executing", done, total)) if progress else None
    batch = compiled.workload.batch
    parts: list[dict[str, Array]] = []
    runs: list[NDArray[np.int64]] = []
    with threadpool_limits(1, "blas"):
        for replica in range(replicas):
            given = {}
            for name, tensor in compiled.inputs.items():
                whole = arrays[name]
                share = whole if whole.shape == tensor.shape else whole[replica * batch : (replica + 1) * batch]
                given[tensor.variables()[0]] = np.array(share, tensor.dtype.numpy, order="C")
            values = initial_values(compiled.graph, given, replica)
            runs.append(compute_values(compiled.graph, values, chip, vertices=vertices, progress=report).runs)
            parts.append({name: tensor.read(values).copy() for name, tensor in compiled.outputs.items()})
    if replicas == 1:
        return parts[0], runs
    return {name: np.concatenate([p[name] for p in parts], axis=0) for name in parts[0]}, runs


def _slowest(compiled: Compiled, trace: Trace, runs: list[NDArray[np.int64]]) -> Trace:
    """The trace of the replica whose loops took longest; the one given if no loop ends on a condition."""
    if all(compute_set.told is None for compute_set in compiled.graph.sets):
        return trace
    from ipusim.engine.run import as_ran

    return max((as_ran(trace, counts) for counts in runs), key=lambda found: found.cycles)


__all__ = ["Report", "load_report", "models", "simulate", "systems"]
