"""Predicts measured points: a row of a file names a workload and its configuration, a generator builds and times it.

Installed model packages say which workloads they can build (`measured_programs()` behind the entry-point group
`ipusim.models`): a generator is a function from a `Row` to the prediction, in the row's own metric and unit.  It never
sees the measured value.  Ideal: every row predicted.  Omitted: rows of workloads that nobody builds, or whose
configuration a generator does not know in full, are listed with the reason, never guessed.
"""

from __future__ import annotations

import math
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import entry_points
from itertools import groupby
from multiprocessing import active_children, get_context
from pathlib import Path
from statistics import median
from typing import Any, final

from ipusim.errors import BadInput, IpuSimError, UnknownName
from ipusim.hw.presets import system
from ipusim.hw.spec import SystemSpec
from ipusim.validate import pairs, row_names, table

COLUMNS = ("id", "chip", "workload", "config", "metric", "unit")
NEAR = 0.25  # the share of points within this relative error is reported
STRETCH = 6  # rows that one process predicts before it takes others: those of one program are often next to another

#: Units in which a file may give a number, by the word after it, to plain SI.
_SCALES = {"GHz": 1e9, "MHz": 1e6, "Hz": 1.0}


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: what was measured, on which chip.

    `chip`, `workload`, `metric`, `unit`: as written; `config`: the column of that name, parsed; `value`: what was
    measured, None if the file does not say (and always None for a generator).  The methods look configuration up and
    remember what was asked for: a key that a generator never asked for is an error, so that none is ignored.
    """

    id: str
    chip: str
    workload: str
    config: Mapping[str, str]
    metric: str
    unit: str
    value: float | None = None
    category: str = ""
    _asked: set[str] = field(default_factory=set, repr=False, compare=False)

    def text(self, name: str, *choices: str, default: str | None = None) -> str:
        """What a key says; one of `choices` if any are given.  Raises BadInput, UnknownName."""
        self._asked.add(name)
        found = self.config.get(name, default)
        if found is None:
            raise BadInput(f"the configuration lacks {name}=...")
        if choices and found not in choices:
            raise UnknownName(f"{name} of {self.workload!r}", found, choices)
        return found

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`.  Raises BadInput."""
        text = self.text(name, default=None if default is None else str(default))
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise BadInput(f"{name}={text} is not a whole number of at least {least}")
        return int(text)

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number, in hertz if it is written in GHz or MHz.  Raises BadInput."""
        text = self.text(name, default=None if default is None else str(default))
        unit = next((u for u in _SCALES if text.endswith(u)), "")
        try:
            found = float(text.removesuffix(unit)) * _SCALES.get(unit, 1.0)
        except ValueError:
            found = math.nan
        if not (math.isfinite(found) and found > 0):
            raise BadInput(f"{name}={text} is not a positive number")
        return found

    def extents(self, name: str, axes: int) -> tuple[int, ...]:
        """Sizes joined by x, such as 2200x1122x4: `axes` whole numbers of at least 1.  Raises BadInput."""
        text = self.text(name)
        parts = text.split("x")
        if len(parts) != axes or not all(p.isascii() and p.isdigit() and int(p) > 0 for p in parts):
            raise BadInput(f"{name}={text} is not {axes} whole numbers of at least 1 joined by x")
        return tuple(map(int, parts))

    def note(self, *names: str) -> None:
        """Says that keys, where there, only describe how it was measured (`sdk`, `system`) and change nothing."""
        self._asked.update(names)

    def unasked(self) -> tuple[str, ...]:
        """Keys of the configuration that nobody asked for so far."""
        return tuple(name for name in self.config if name not in self._asked)

    def device(self) -> SystemSpec:
        """The system named in column chip ("Bow (inferred)" is Bow), at the clock of key `clock` if there is one.

        Raises UnknownName for a chip that ipusim does not have.
        """
        found = system(self.chip.removesuffix("(inferred)").strip())
        if "clock" in self.config:
            found = found.parse_settings([f"chip.clock_hz={self.number('clock')}"])
        return found

    def answer(self, values: Mapping[tuple[str, str], float]) -> float:
        """The value of `values` for this row's (metric, unit).  Raises BadInput for one that is not there."""
        found = values.get((self.metric, self.unit))
        if found is None:
            known = ", ".join(f"{metric} in {unit}" for metric, unit in values)
            raise BadInput(f"{self.metric} in {self.unit} is not predicted (known: {known})")
        return float(found)


Generator = Callable[[Row], float]
Progress = Callable[[str, int, int], None]


@final
@dataclass(frozen=True, slots=True)
class DataPoint:
    """A predicted row: `measured` (None where the file has no value) and `predicted` in the file's `unit`."""

    id: str
    workload: str
    metric: str
    unit: str
    measured: float | None
    predicted: float

    @property
    def error(self) -> float | None:
        """Predicted over measured, less 1; None without a value, or where 0 was measured and not predicted."""
        if self.measured is None:
            return None
        if self.measured == 0:
            return 0.0 if self.predicted == 0 else None
        return self.predicted / self.measured - 1

    def to_dict(self) -> dict[str, Any]:
        """As in `ipusim validate --data FILE --json`."""
        names = ("id", "workload", "metric", "measured", "predicted", "error", "unit")
        return {name: getattr(self, name) for name in names}


@final
@dataclass(frozen=True, slots=True)
class DataValidation:
    """`points` in the order of the file; `skipped` lists (id, reason) of the rows without a prediction."""

    points: tuple[DataPoint, ...]
    skipped: tuple[tuple[str, str], ...]

    def summary(self) -> dict[str, dict[str, Any]]:
        """Errors by workload, in the order of the file.

        `n` (points with a value), `median_abs_error` and `worst_abs_error` (relative; None if n is 0), `within_25pct`
        (share of the n), `predicted_only` (points without a value).
        """
        found: dict[str, dict[str, Any]] = {}
        for workload in dict.fromkeys(point.workload for point in self.points):
            points = [point for point in self.points if point.workload == workload]
            rated = [point for point in points if point.measured is not None]
            errors = [abs(point.error) for point in rated if point.error is not None]
            found[workload] = {
                "n": len(rated),
                "median_abs_error": median(errors) if errors else None,
                "worst_abs_error": max(errors) if errors else None,
                "within_25pct": sum(e <= NEAR for e in errors) / len(rated) if rated else None,
                "predicted_only": len(points) - len(rated),
            }
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `ipusim validate --data FILE --json` prints."""
        return {
            "schema": "ipusim.validate",
            "version": 1,
            "points": [point.to_dict() for point in self.points],
            "summary": self.summary(),
            "skipped": [{"id": row, "reason": reason} for row, reason in self.skipped],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        rated = [point for point in self.points if point.measured is not None]
        alone = len(self.points) - len(rated)
        yield f"{len(rated)} points compared, {alone} predicted without a value, {len(self.skipped)} skipped"
        if rated:
            yield f"\n{'Points':>6} {'Median':>8} {'Worst':>8} {'In 25%':>7}  Workload"
            for workload, found in self.summary().items():
                if found["n"]:
                    middle, worst = (_percent(found[key]) for key in ("median_abs_error", "worst_abs_error"))
                    yield f"{found['n']:>6} {middle:>8} {worst:>8} {found['within_25pct']:>7.0%}  {workload}"
            yield f"\n{'Row':<8} {'Measured':>12} {'Predicted':>12} {'Error':>8}  {'Unit':<8} Workload"
            for point in rated:
                error = "-" if point.error is None else f"{point.error:+.1%}"
                yield f"{point.id:<8} {point.measured:>12.6g} {point.predicted:>12.6g} {error:>8}  {_named(point)}"
        if alone:
            yield f"\n{'Row':<8} {'Predicted':>12}  {'Unit':<8} Workload (no value in the file)"
            for point in self.points:
                if point.measured is None:
                    yield f"{point.id:<8} {point.predicted:>12.6g}  {_named(point)}"
        if self.skipped:
            yield f"\n{'Skipped':<8} Reason"
            yield from (f"{row:<8} {reason}" for row, reason in self.skipped)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _named(point: DataPoint) -> str:
    metric = "" if point.metric in ("time", point.unit) else f", {point.metric}"
    return f"{point.unit:<8} {point.workload}{metric}"


def data(path: str | Path, progress: Progress | None = None, *, jobs: int = 1) -> DataValidation:
    """Predicts every row of a CSV file with columns id, chip, workload, config, metric and unit.

    `config` is name=value, joined by semicolons.  A column `value` has what was measured, or nothing.  `progress` is
    called with ("row", done, total).  `jobs`: processes that share the rows; the answer is the same.  A row without an
    id is called by its number.  Raises BadInput if there is no such file, it is not such a table, or two rows have one
    id; a row that cannot be predicted is skipped with the reason.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise BadInput(f"jobs={jobs!r} is not a number of processes, at least 1")
    rows = table(Path(path), COLUMNS)
    rows = [{**cells, "id": name} for cells, name in zip(rows, row_names(rows, path), strict=True)]
    points: list[DataPoint] = []
    skipped: list[tuple[str, str]] = []
    found = _in_turn(rows, progress) if jobs == 1 else _shared(rows, progress, jobs)
    for cells, answer in zip(rows, found, strict=True):
        if isinstance(answer, DataPoint):
            points.append(answer)
        else:
            skipped.append((cells["id"], answer))
    return DataValidation(tuple(points), tuple(skipped))


Cells = Mapping[str, str]


def _in_turn(rows: Sequence[Cells], progress: Progress | None) -> Iterator[DataPoint | str]:
    known = generators()
    for number, cells in enumerate(rows):
        if progress is not None:
            progress("row", number, len(rows))
        yield predict_cells(cells, known)


def _shared(rows: Sequence[Cells], progress: Progress | None, jobs: int) -> Iterator[DataPoint | str]:
    """Rows dealt to processes in short stretches of one workload, for neighbours often share a program.

    A process that dies (for lack of memory, say) loses no row: what it had is predicted here.
    """
    stretches = list(_stretches(rows))
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _die_on_interrupt)
    try:
        waiting = [pool.submit(_predict_all, stretch) for stretch in stretches]
        done = 0
        for stretch, answer in zip(stretches, waiting, strict=True):
            if progress is not None:
                progress("row", done, len(rows))
            done += len(stretch)
            try:
                yield from answer.result()
            except BrokenExecutor:
                yield from _predict_all(stretch)
    except BaseException:
        for process in active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _stretches(rows: Sequence[Cells]) -> Iterator[list[Cells]]:
    for _, group in groupby(rows, key=lambda cells: (cells["workload"], cells["chip"])):
        whole = list(group)
        yield from (whole[i : i + STRETCH] for i in range(0, len(whole), STRETCH))


def _predict_all(rows: Sequence[Cells]) -> list[DataPoint | str]:
    known = generators()
    return [predict_cells(cells, known) for cells in rows]


def _die_on_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def predict_cells(cells: Mapping[str, str], known: Mapping[str, Generator]) -> DataPoint | str:
    """The prediction of one row of a table, or the reason why there is none."""
    try:
        row = parse_row(cells)
        return DataPoint(row.id, row.workload, row.metric, row.unit, row.value, predict(row, known))
    except IpuSimError as error:
        return " ".join(str(error).split())
    except Exception as error:  # whatever a generator of a third party does, the other rows are predicted
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())
        return f"unexpected {type(error).__name__}: {text} ({Path(last.filename).name}, line {last.lineno})"


def parse_row(cells: Mapping[str, str]) -> Row:
    """A row of a table.  Raises BadInput for a cell that does not read."""
    name, chip, workload, config, metric, unit = (cells[column].strip() for column in COLUMNS)
    category, text = (cells.get(column, "").strip() for column in ("category", "value"))
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise BadInput(f"value={text} is not a number")
    return Row(name, chip, workload, pairs(config), metric, unit, value, category)


def predict(row: Row, known: Mapping[str, Generator] | None = None) -> float:
    """The prediction of a row in its own metric and unit.

    Raises IpuSimError with the reason where there is none: no generator, a key it does not know, no fit.
    """
    every = generators() if known is None else known
    if row.workload not in every:
        raise BadInput(f"no installed model package builds the workload {row.workload!r}")
    shown = replace(row, value=None, _asked=set())
    found = every[row.workload](shown)
    strange = shown.unasked()
    if strange:
        listed = ", ".join(f"{name}={row.config[name]}" for name in strange)
        raise BadInput(f"the generator of {row.workload!r} does not know {listed}")
    if not math.isfinite(found):
        raise BadInput(f"the generator of {row.workload!r} gave {found}")
    return float(found)


@lru_cache(maxsize=1)
def generators() -> dict[str, Generator]:
    """Generators of all installed model packages, by workload; two for one workload are an error."""
    found: dict[str, Generator] = {}
    for point in entry_points(group="ipusim.models"):
        made: dict[str, Generator] = getattr(point.load(), "measured_programs", dict)()
        for workload, generator in made.items():
            if workload in found:
                raise BadInput(f"two installed model packages build the workload {workload!r}")
            found[workload] = generator
    return found
