"""Compares cycle counts of a file with those of the vertex formulas.

A row of the file names a vertex, a chip and parameters; installed kernel packages say what that costs (`vertex_kinds()`
behind the entry-point group `ipusim.kernels`).  The counts are those of estimators, so a formula that restates one is
either exact or wrong: the share of exact rows is what counts, errors only say where to look.  Ideal: every row priced.
Omitted: rows of vertices, types or layouts that no formula covers are listed with the reason, never guessed.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, final

from ipusim.errors import BadInput, IpuSimError

COLUMNS = ("vertex", "chip", "params", "cycles")
LONGEST_COUNT = 18  # digits

Price = Callable[[Mapping[str, str], str], int]


@final
@dataclass(frozen=True, slots=True)
class Point:
    """One priced row: `id` is its number, from 1, or what its column `id` says; `measured` is None where the file has
    no count; cycles are those of a worker or a tile, as in the file."""

    id: str
    kind: str
    measured: int | None
    predicted: int

    @property
    def error(self) -> float | None:
        """Predicted over measured, less 1; None without a count."""
        return None if self.measured is None else self.predicted / self.measured - 1

    @property
    def exact(self) -> bool:
        """Whether both counts are there and agree."""
        return self.measured == self.predicted


@final
@dataclass(frozen=True, slots=True)
class VertexValidation:
    """`points` in the order of the file; `skipped` lists (id, reason) of the rows without a price."""

    points: tuple[Point, ...]
    skipped: tuple[tuple[str, str], ...]

    def counts(self) -> dict[str, tuple[int, int]]:
        """(rows with a count, exact ones among them) by kind of vertex, in alphabetical order."""
        found: dict[str, tuple[int, int]] = {}
        for point in sorted(self.points, key=lambda point: point.kind):
            n, exact = found.get(point.kind, (0, 0))
            found[point.kind] = (n + (point.measured is not None), exact + point.exact)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What `ipusim validate --vertices FILE --json` prints."""
        counts = self.counts()
        n, exact = (sum(values[i] for values in counts.values()) for i in (0, 1))
        return {
            "schema": "ipusim.validate",
            "version": 1,
            "points": [
                {"id": p.id, "kind": p.kind, "measured": p.measured, "predicted": p.predicted, "error": p.error}
                for p in self.points
            ],
            "summary": {
                "n": n,
                "exact": exact,
                "exact_share": exact / n if n else None,
                "predicted_only": len(self.points) - n,
                "skipped": len(self.skipped),
                "kinds": {kind: {"n": rows, "exact": good} for kind, (rows, good) in counts.items()},
            },
            "skipped": [{"id": row, "reason": reason} for row, reason in self.skipped],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        summary = self.to_dict()["summary"]
        exact, n, alone = summary["exact"], summary["n"], summary["predicted_only"]
        share = f" ({summary['exact_share']:.1%})" if n else ""
        yield f"{exact} of {n} rows exact{share}, {alone} without a count, {len(self.skipped)} skipped"
        wrong = [point for point in self.points if point.measured is not None and not point.exact]
        if wrong:
            yield f"\n{'Row':<8} {'Measured':>12} {'Predicted':>12} {'Error':>9}  Kind"
            for point in sorted(wrong, key=lambda point: -abs(point.error or 0)):
                yield f"{point.id:<8} {point.measured:>12} {point.predicted:>12} {point.error:>+9.2%}  {point.kind}"
        if alone:
            yield f"\n{'Row':<8} {'Predicted':>12}  Kind (no count in the file)"
            for point in self.points:
                if point.measured is None:
                    yield f"{point.id:<8} {point.predicted:>12}  {point.kind}"
        if n:
            counts = {kind: found for kind, found in self.counts().items() if found[0]}
            width = max(map(len, counts))
            yield f"\n{'Kind':<{width}} {'Rows':>6} {'Exact':>6} {'Share':>7}"
            for kind, (rows, good) in sorted(counts.items(), key=lambda item: (item[1][1] / item[1][0], item[0])):
                yield f"{kind:<{width}} {rows:>6} {good:>6} {good / rows:>7.1%}"
        if self.skipped:
            yield f"\n{'Skipped':<8} Reason"
            yield from (f"{row:<8} {reason}" for row, reason in self.skipped)


def vertices(path: str | Path) -> VertexValidation:
    """Prices every row of a CSV file with columns vertex, chip, params and cycles (which may be empty).

    `params` are name=value, joined by semicolons.  Raises BadInput if there is no such file, it is not such a table, or
    two rows have one id.
    """
    points, skipped = [], []
    rows = table(Path(path), COLUMNS)
    for name, row in zip(row_names(rows, path), rows, strict=True):
        try:
            points.append(_priced(name, row))
        except IpuSimError as error:
            skipped.append((name, " ".join(str(error).split())))
    return VertexValidation(tuple(points), tuple(skipped))


@lru_cache(maxsize=1)
def vertex_kinds() -> dict[str, Price]:
    """Prices of all installed kernel packages, by name of a vertex; two for one name are an error."""
    found: dict[str, Price] = {}
    for point in entry_points(group="ipusim.kernels"):
        prices: dict[str, Price] = getattr(point.load(), "vertex_kinds", dict)()
        for kind, price in prices.items():
            if kind in found:
                raise BadInput(f"two installed kernel packages price vertex {kind!r}")
            found[kind] = price
    return found


def table(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file, every cell a string ("" for cells that a short row lacks).

    Raises BadInput if there is no such file, it does not read, lacks one of the `needed` columns, or has
    a row with more cells than columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            columns = reader.fieldnames or ()
            missing = [name for name in needed if name not in columns]
            if missing:
                raise BadInput(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
            rows = []
            for row in reader:
                if None in row:
                    raise BadInput(f"{path}, line {reader.line_num}: more cells than the {len(columns)} columns")
                rows.append(row)
            return rows
    except FileNotFoundError:
        raise BadInput(f"no file {path}") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} is not a CSV file in UTF-8: {error}") from None


def row_names(rows: Sequence[Mapping[str, str]], path: str | Path) -> list[str]:
    """What rows are called: their column `id`, or their number from 1.  Raises BadInput where two have one name."""
    names = [(row.get("id") or "").strip() or str(number) for number, row in enumerate(rows, 1)]
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if first.setdefault(name, number) != number:
            raise BadInput(f"{path}: rows {first[name]} and {number} both have the id {name}; give each its own")
    return names


def _priced(name: str, row: dict[str, str]) -> Point:
    kind = row["vertex"].strip()
    kinds = vertex_kinds()
    if kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, n=1, cutoff=0.8)
        raise BadInput(f"no formula for vertex {kind!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    text = row["cycles"].strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < LONGEST_COUNT and int(text) > 0):
        raise BadInput(f"cycles={text} is not a whole number of at least 1")
    chip, parameters = row["chip"].strip().lower(), pairs(row["params"])
    try:
        predicted = kinds[kind](parameters, chip)
    except (ArithmeticError, LookupError, ValueError) as error:
        if isinstance(error, IpuSimError):
            raise
        raise BadInput(f"no vertex has these parameters ({type(error).__name__}: {error})") from error
    return Point(name, kind, int(text) if text else None, predicted)


def pairs(text: str) -> dict[str, str]:
    """Pairs name=value joined by semicolons.  Raises BadInput for anything else, and for a name that is there twice."""
    found: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(";"))):
        name, sign, value = (part.strip() for part in item.partition("="))
        if not (name and sign):
            raise BadInput(f"parameter {item!r} is not name=value")
        if name in found:
            raise BadInput(f"parameter {name} is there twice")
        found[name] = value
    return found
