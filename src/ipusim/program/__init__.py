"""The tile program: variables and their mapping, vertices, compute sets, control flow.  The waist of the project.

A workload never sees a tile and the engine never sees an op; both meet in the objects of this package.  The programs
of `ipusim.program.control` are here by name as well: `from ipusim import program as prog; prog.Repeat(...)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipusim.program.control import (
        AbortOnCondition,
        Block,
        Call,
        Copy,
        Execute,
        If,
        PrintTensor,
        Repeat,
        RepeatWhileFalse,
        RepeatWhileTrue,
        Sequence,
        StreamCopy,
        Switch,
        Sync,
        WriteUndef,
    )

__all__ = [
    "AbortOnCondition",
    "Block",
    "Call",
    "Copy",
    "Execute",
    "If",
    "PrintTensor",
    "Repeat",
    "RepeatWhileFalse",
    "RepeatWhileTrue",
    "Sequence",
    "StreamCopy",
    "Switch",
    "Sync",
    "WriteUndef",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ipusim.program' has no attribute {name!r}")
    from ipusim.program import control

    value = getattr(control, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
