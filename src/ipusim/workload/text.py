"""The canonical text of a workload: one line per input, constant, node and output, the same for the same workload."""

from __future__ import annotations

import dataclasses

from ipusim.workload.graph import Workload
from ipusim.workload.ops import Op, TensorType


def text(workload: Workload) -> str:
    """The workload as text, ending in a newline."""
    lines = [f"workload {workload.name} batch {workload.batch}"]
    lines += [f"input %{v.name}: {v.type}" for v in workload.inputs]
    lines += [
        f"constant %{name}: {TensorType(c.shape, c.dtype)} = {c.fingerprint}" for name, c in workload.constants.items()
    ]
    for node in workload.nodes:
        made = ", ".join(f"%{v.name}: {v.type}" for v in node.outputs)
        read = ", ".join(f"%{v.name}" for v in node.inputs)
        lines.append(f"{made} = {op_text(node.op)}({read})  # {node.name}")
    lines += [f"output {name} = %{v.name}" for name, v in workload.outputs.items()]
    return "\n".join(lines) + "\n"


def op_text(op: Op) -> str:
    """An op with its attributes, e.g. Conv[stride=(1, 1), groups=1]."""
    fields = dataclasses.fields(op)  # type: ignore[arg-type]
    inner = ", ".join(f"{f.name}={_shown(getattr(op, f.name))}" for f in fields)
    return f"{type(op).__name__}[{inner}]" if inner else type(op).__name__


def _shown(value: object) -> str:
    return f"{value.name} {value.fingerprint}" if isinstance(value, Workload) else str(value)
