"""Every error a user can meet: one hierarchy, with fields as well as text.

`IpuSimError` is the base; the command line prints its message as one line and exits with 2.  A message says what is
wrong, where (the user's own name for it), how much, and what to change.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IpuSimError(Exception):
    """Base of all errors raised on purpose by ipusim."""


class BadInput(IpuSimError, ValueError):
    """An argument, a file or an array does not have the form that is asked for."""


class UnknownName(BadInput):
    """A name that is not in the list it was looked up in.

    Attributes: `kind` (what sort of name), `name`, `known` (the names there are).
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        near = difflib.get_close_matches(name, self.known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        super().__init__(f"no {kind} named {name!r}{hint} (known: {', '.join(self.known) or 'none'})")


class NotKnown(BadInput):
    """A tensor of a model is computed or fed where its value must be known when the model is compiled.

    Attribute: `tensor`, its name.
    """

    def __init__(self, message: str, tensor: str) -> None:
        self.tensor = tensor
        super().__init__(message)


class BadHardware(BadInput):
    """A chip or system description that no machine could have; the message names the field and its value."""


class Unsupported(IpuSimError):
    """A model uses operators that ipusim does not have.

    Attributes: `operators`, a dict from operator to the names of all nodes that use it.
    """

    def __init__(self, source: str, operators: dict[str, list[str]]) -> None:
        self.operators = operators
        listed = "; ".join(f"{op} (node {', '.join(nodes)})" for op, nodes in operators.items())
        super().__init__(f"{source}: {len(operators)} unsupported operator{'s' * (len(operators) > 1)}: {listed}")


class InvalidProgram(IpuSimError):
    """A tile program breaks a rule of the chip; `problems` lists every violation found."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class DoesNotFit(IpuSimError):
    """A tile program needs more memory on a tile than the tile has.

    Attributes: `tile` (the fullest), `need` and `have` (bytes), `variables` (its largest: name, bytes, why), `lever`.
    """

    def __init__(
        self, program: str, *, tile: int, need: int, have: int, variables: Iterable[tuple[str, int, str]], lever: str
    ) -> None:
        self.tile, self.need, self.have, self.variables, self.lever = tile, need, have, tuple(variables), lever
        listed = ", ".join(f"{name!r} {size:,} bytes" for name, size, _ in self.variables[:4]) or "no variables"
        super().__init__(
            f"{program} does not fit: tile {tile} needs {need:,} bytes and has {have:,} ({need - have:,} too many); "
            f"largest there: {listed}; {lever}"
        )


class CodeletError(IpuSimError):
    """A vertex did something no codelet may do while it ran; the message names vertex, tile, field and line."""


class Aborted(IpuSimError):
    """An `AbortOnCondition` of the program found its condition true."""
