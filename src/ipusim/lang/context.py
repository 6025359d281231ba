"""What the front end knows while it reads a codelet: names, types so far, statements of the block at hand."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from ipusim.dtype import DType
from ipusim.errors import BadInput
from ipusim.lang import ir
from ipusim.lang.infer import Operand, Variable, settle
from ipusim.lang.source import Source


@final
@dataclass(frozen=True, slots=True)
class Row:
    """A name bound to a row of a vector of vectors: `local` holds the row's index."""

    field: str
    local: str


@final
@dataclass(slots=True, eq=False)
class Frame:
    """One Python function being read: the codelet, or a function that it calls.

    `locals` maps the function's own names to those of the tree; `given` are arguments that stand for expressions.
    """

    source: Source
    locals: dict[str, str]
    given: dict[str, Operand] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    call_line: int | None = None
    caller: Frame | None = None

    def line(self, node: ast.AST) -> int:
        """The line of a node in the codelet's file: of the call, for code of a called function."""
        return self.call_line if self.call_line is not None else int(getattr(node, "lineno", 0))


@final
@dataclass(slots=True, eq=False)
class Loop:
    """A loop being read: the name that counts, and what is assigned wherever it is left."""

    counter: str | None
    at_break: list[frozenset[str]] = field(default_factory=list)


@final
@dataclass(slots=True, eq=False)
class Context:
    """State of reading one codelet; `variables` outlives a pass, the rest starts anew."""

    fields: dict[str, ir.FieldSpec]
    values: dict[str, ir.ValueSpec]
    worker: str | None
    partials: DType
    frame: Frame
    variables: dict[str, Variable]
    call: Callable[[Context, ast.Call, Any, tuple[Operand, ...]], Operand]
    statements: list[ir.Stmt] = field(default_factory=list)
    assigned: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    loops: list[Loop] = field(default_factory=list)
    conditional: int = 0
    depth: int = 0
    counters: set[str] = field(default_factory=set)
    order: list[str] = field(default_factory=list)

    def wrong(self, node: ast.AST | int, message: str) -> BadInput:
        """An error about a place in the source; names the callers where that is a called function."""
        frame, chain = self.frame, ""
        while frame.caller is not None:
            chain += f" (called from line {frame.call_line} of {frame.caller.source.title})"
            frame = frame.caller
        return self.frame.source.wrong(node, message + chain)

    def fresh(self, stem: str) -> str:
        """A name of the tree that is not in use."""
        name, number = stem, 1
        while name in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        return name

    def type_of(self, local: str) -> DType:
        """The type of a local variable so far."""
        return self.variables[local].type(self.partials)

    def variable(self, local: str) -> Variable:
        """The record of a local variable, made at its first assignment."""
        if local not in self.variables:
            self.variables[local] = Variable()
        if local not in self.order:
            self.order.append(local)
        return self.variables[local]

    def put(self, name: str, value: Operand, line: int) -> None:
        """Adds `name = value`, after noting what type that gives the variable."""
        variable = self.variable(name)
        variable.take(value)
        self.statements.append(ir.Assign(line, name, settle(value, variable.type(self.partials))))
        self.assigned.add(name)

    def read(self, local: str, line: int) -> ir.Name:
        """The value of a local variable."""
        return ir.Name(line, self.type_of(local), local)
