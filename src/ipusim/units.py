"""Units in the type: cycles and bytes are integers; seconds appear only in reports."""

from __future__ import annotations

from typing import NewType

Cycles = NewType("Cycles", int)
Bytes = NewType("Bytes", int)
Hertz = NewType("Hertz", float)
Seconds = NewType("Seconds", float)

KIB = 1024
MIB = 1024 * 1024


def to_seconds(cycles: int, clock: float) -> Seconds:
    """Time of `cycles` at `clock` hertz."""
    return Seconds(cycles / clock)


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below a / b, for b > 0."""
    return -(-a // b)
