"""Profiles on disk: one file, JSON for what is small and numpy arrays for what is per tile.

The file is a zip archive as numpy writes it; it is written beside its name first and moved into place, so a broken
run leaves no broken file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import zipfile
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput
from ipusim.hw.spec import SystemSpec
from ipusim.report.plans import stored
from ipusim.report.profile import MemorySummary, OpSummary, Profile, Step, StepTiles

FORMAT = "ipusim report"
VERSION = 2  # 1: without plans, and without the mechanisms of steps
_TILE_ARRAYS = ("compute", "copies", "sent", "received", "memory")


def save(profile: Profile, extra: dict[str, Any], outputs: dict[str, NDArray[Any]], path: Path) -> None:
    """Writes a profile, further JSON values and output arrays.  Raises BadInput if the place cannot be written."""
    head = {"format": FORMAT, "version": VERSION, "profile": _head(profile), "extra": extra}
    arrays: dict[str, NDArray[Any]] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
    for name in _TILE_ARRAYS:
        arrays[f"tiles/{name}"] = (
            np.stack([getattr(s.tiles, name) for s in profile.steps]) if profile.steps else np.zeros((0, 0))
        )
    arrays["tile_memory"] = profile.tile_memory
    arrays |= {f"category/{k}": v for k, v in profile.tile_categories.items()}
    arrays |= {f"output/{k}": v for k, v in outputs.items()}
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def write_atomically(path: Path, write: Any) -> None:
    """Calls `write` with a binary file that becomes `path` only once it is complete."""
    handle, name = -1, ""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(name).replace(path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def _head(profile: Profile) -> dict[str, Any]:
    return {
        "model": profile.model,
        "system": dataclasses.asdict(profile.system),
        "replicas": profile.replicas,
        "batch": profile.batch,
        "precision": profile.precision,
        "partials": profile.partials,
        "program": profile.program,
        "steps": [[s.name, s.op, s.phases, s.flops, s.vertices, s.repeats, s.computes] for s in profile.steps],
        "ops": [dataclasses.asdict(op) for op in profile.ops],
        "memory": dataclasses.asdict(profile.memory),
        "counts": profile.counts,
        "remarks": profile.remarks,
        "plans": [dataclasses.asdict(plan) for plan in profile.plans],
        "categories": list(profile.tile_categories),
    }


def load(path: Path) -> tuple[Profile, dict[str, Any], dict[str, NDArray[Any]]]:
    """What `save` wrote.  Raises BadInput for a file that is missing, broken or something else."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(arrays["head"].tobytes())
        if head["format"] != FORMAT:
            raise KeyError("format")
    except FileNotFoundError:
        raise BadInput(f"no report at {path}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile):
        raise BadInput(f"{path} is not a report that ipusim saved") from None
    if head["version"] > VERSION:
        raise BadInput(
            f"{path} was saved by a newer ipusim (report version {head['version']}, this one reads {VERSION})"
        )
    outputs = {k.removeprefix("output/"): v for k, v in arrays.items() if k.startswith("output/")}
    try:
        return _profile(head["profile"], arrays), head["extra"], outputs
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(f"{path} was saved by an ipusim with other fields than this one: {error}") from None


def _spec(kind: type, data: dict[str, Any]) -> Any:
    """A record of hardware of its values; fields that the file does not have take their defaults."""
    hints = get_type_hints(kind)
    nested = {k: _spec(hints[k], v) for k, v in data.items() if isinstance(v, dict) and is_dataclass(hints[k])}
    lists = {k: tuple(v) for k, v in data.items() if isinstance(v, list)}
    return kind(**(data | nested | lists))


def _profile(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Profile:
    steps = tuple(
        Step(name, op, phases, flops, vertices, StepTiles(*(arrays[f"tiles/{a}"][i] for a in _TILE_ARRAYS)), *rest)
        for i, (name, op, phases, flops, vertices, *rest) in enumerate(head["steps"])
    )
    memory = head["memory"] | {"largest": tuple((n, b, w) for n, b, w in head["memory"]["largest"])}
    return Profile(
        model=head["model"],
        system=_spec(SystemSpec, head["system"]),
        replicas=head["replicas"],
        batch=head["batch"],
        precision=head["precision"],
        partials=head["partials"],
        program=head["program"],
        steps=steps,
        ops=tuple(OpSummary(**op) for op in head["ops"]),
        memory=MemorySummary(**memory),
        tile_memory=arrays["tile_memory"],
        tile_categories={k: arrays[f"category/{k}"] for k in head["categories"]},
        counts=head["counts"],
        remarks=tuple(head["remarks"]),
        plans=tuple(stored(plan) for plan in head.get("plans", ())),
    )
