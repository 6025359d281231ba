"""A codelet as a typed tree: what the front end makes of Python source, what code generation and slot counting read.

Values are scalars of five types: float32, half, int32, uint32, bool.  Narrower integers exist in memory only: a load
widens them to int32, a store narrows.  Every conversion is a `Cast`, so operands of an operator have equal types.
Integers wrap at 32 bits; half operations round after each operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from ipusim.dtype import DType

Role = Literal["in", "out", "inout"]


@final
@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A field wired to tensor elements.  `depth` 0: scalar, 1: vector, 2: vector of vectors; `dtype` is in memory."""

    name: str
    role: Role
    depth: int
    dtype: DType


@final
@dataclass(frozen=True, slots=True)
class ValueSpec:
    """A plain member set when the vertex is added (int32, uint32, float32, half or bool)."""

    name: str
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """Base of all nodes; `line` counts from 1 in the user's file."""

    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Expr(Node):
    """An expression of a scalar `type`."""

    type: DType


@final
@dataclass(frozen=True, slots=True, eq=False)
class Const(Expr):
    """A literal, or a name of the surrounding module whose value is a number."""

    value: int | float | bool


@final
@dataclass(frozen=True, slots=True, eq=False)
class Name(Expr):
    """A local variable, a plain member, a loop variable, or `worker_id`."""

    name: str


@final
@dataclass(frozen=True, slots=True, eq=False)
class Load(Expr):
    """Element of a field: no index for depth 0, one for depth 1, (row, column) for depth 2; indices are int32."""

    field: str
    index: tuple[Expr, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Length(Expr):
    """`len(field)`, or `len(field[row])` with `row`."""

    field: str
    row: Expr | None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Unary(Expr):
    """`op` is one of: neg, not (bool), invert (bits)."""

    op: str
    operand: Expr


@final
@dataclass(frozen=True, slots=True, eq=False)
class Binary(Expr):
    """`op` is one of + - * / // % ** & | ^ << >> min max; both operands have type `type` ("/" only on floats)."""

    op: str
    left: Expr
    right: Expr


@final
@dataclass(frozen=True, slots=True, eq=False)
class Compare(Expr):
    """`op` is one of < <= > >= == !=; operands have equal types, the result is bool."""

    op: str
    left: Expr
    right: Expr


@final
@dataclass(frozen=True, slots=True, eq=False)
class Logic(Expr):
    """`and` / `or` of bool parts, evaluated left to right until decided."""

    op: Literal["and", "or"]
    parts: tuple[Expr, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Choose(Expr):
    """`then if condition else other`."""

    condition: Expr
    then: Expr
    other: Expr


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cast(Expr):
    """Conversion to `type`; float to integer truncates."""

    operand: Expr


@final
@dataclass(frozen=True, slots=True, eq=False)
class MathCall(Expr):
    """A function of floats (or `abs`, also of integers): see lang/functions.py for the names."""

    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stmt(Node):
    """A statement."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Assign(Stmt):
    """`name = value`."""

    name: str
    value: Expr


@final
@dataclass(frozen=True, slots=True, eq=False)
class Store(Stmt):
    """`field[index] = value` (an augmented assignment is a store of a binary of the load)."""

    field: str
    index: tuple[Expr, ...]
    value: Expr


@final
@dataclass(frozen=True, slots=True, eq=False)
class For(Stmt):
    """`for name in range(start, stop, step)`; bounds are int32 and evaluated once, `step` is a non-zero literal."""

    name: str
    start: Expr
    stop: Expr
    step: int
    body: tuple[Stmt, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class While(Stmt):
    """`while condition`."""

    condition: Expr
    body: tuple[Stmt, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class If(Stmt):
    """`if condition: then else: other`."""

    condition: Expr
    then: tuple[Stmt, ...]
    other: tuple[Stmt, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Break(Stmt):
    """Leaves the innermost loop."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Continue(Stmt):
    """Goes on with the innermost loop."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Return(Stmt):
    """Ends the vertex."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A codelet: fields and plain members in the order of its signature, local variables with their types, the body.

    `worker` is the name of the `worker_id` argument of a MultiVertex, or None.  `source` and `file` are the user's.
    """

    name: str
    fields: tuple[FieldSpec, ...]
    values: tuple[ValueSpec, ...]
    worker: str | None
    locals: dict[str, DType]
    body: tuple[Stmt, ...]
    source: str
    file: str
    first_line: int
