"""Codelets made from expressions: Python source is written, registered for tracebacks, and decorated.

Forms of an expression: "multi", a MultiVertex over one stretch of memory, its elements dealt to the six workers in even
stretches of whole vectors; "rows", a worker vertex over a list of stretches; "single", a worker vertex over one.  An
operand is a vector as long as the result, a scalar, or a vector that is read in a repeating pattern, element
((s + i) // r) % length; a worker vertex counts instead of dividing, since a division takes 160 slots.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, final

from ipusim.dtype import DType, float32, half
from ipusim.errors import BadInput
from ipusim.lang.decorator import TileCodelet, codelet
from ipusim.lang.fields import InOut, Input, Output, Vector
from ipusim_kernels.popops.expr import Expr, Writer
from ipusim_kernels.popops.timing import Form
from ipusim_kernels.popops.work import WORKERS, grain_of

Shape = Literal["multi", "rows", "single"]

_MADE: dict[tuple[Any, ...], TileCodelet] = {}
_HASH_DIGITS = 12


@final
@dataclass(frozen=True, slots=True)
class Kernel:
    """What an expression does to each element: statements, the name of the result, its type, names in the text."""

    call: str
    types: tuple[DType, ...]
    forms: tuple[Form, ...]
    lines: tuple[str, ...]
    result: str
    dtype: DType
    names: tuple[tuple[str, Any], ...]
    in_place: bool

    @property
    def target(self) -> str:
        """The field that is written."""
        return f"a{self.forms.index('vector') + 1}" if self.in_place else "out"

    def used(self, number: int) -> bool:
        """Whether the operand of a number (from 1) occurs."""
        return any(re.search(rf"\bx{number}\b", line) for line in (*self.lines, self.result))


def kernel(call: str, tree: Expr, types: tuple[DType, ...], forms: tuple[Form, ...], in_place: bool) -> Kernel:
    """The statements of an expression.  Raises BadInput where types do not go together."""
    writer = Writer(call, types)
    result, dtype = writer.write(tree)
    if dtype is None:
        raise BadInput(f"{call}: the expression holds no tensor; use fill for a constant")
    used = {k: v for k, v in writer.names.items() if any(k in line for line in writer.lines)}
    return Kernel(call, types, forms, tuple(writer.lines), result, dtype, tuple(used.items()), in_place)


def _signature(made: Kernel, shape: Shape) -> str:
    parts, members = [], []
    for number, form in enumerate(made.forms, 1):
        written = made.in_place and made.target == f"a{number}"
        if not made.used(number) and not written:
            continue
        inner = f"E{number}" if form == "scalar" else f"Vector[E{number}]"
        if form == "vector" and shape == "rows":
            inner = f"Vector[{inner}]"
        parts.append(f"a{number}: {'InOut' if written else 'Input'}[{inner}]")
        if form == "pattern":
            members += [f"s{number}: int", *([f"c{number}: int"] if shape == "single" else []), f"r{number}: int"]
    if not made.in_place:
        parts.append("out: Output[Vector[Vector[E0]]]" if shape == "rows" else "out: Output[Vector[E0]]")
    return ", ".join([*parts, *members, *(["share: int", "worker_id: int"] if shape == "multi" else [])])


def _operands(made: Kernel, form: Form) -> list[int]:
    return [n for n, own in enumerate(made.forms, 1) if own == form and made.used(n)]


def _body(made: Kernel, shape: Shape) -> list[str]:
    """Statements of the innermost loop."""
    row = "[r]" if shape == "rows" else ""
    body = [f"x{n} = a{n}{row}[i]" for n in _operands(made, "vector")]
    step = []
    for n in _operands(made, "pattern"):
        if shape == "single":
            body.append(f"x{n} = a{n}[k{n}]")
            step += [f"j{n} = j{n} + 1", f"if j{n} == r{n}:", f"    j{n} = 0", f"    k{n} = k{n} + 1"]
            step += [f"    if k{n} == len(a{n}):", f"        k{n} = 0"]
        else:
            body.append(f"x{n} = a{n}[((s{n} + i) // r{n}) % len(a{n})]")
    return [*body, *made.lines, f"{made.target}{row}[i] = {made.result}", *step]


def text(made: Kernel, name: str, shape: Shape) -> str:
    """Source of the codelet."""
    target = made.target
    lines = [f"def {name}({_signature(made, shape)}):"]
    lines += [f"    x{n} = a{n}[0]" for n in _operands(made, "scalar")]
    indent = "        "
    if shape == "rows":
        lines += [f"    for r in range(len({target})):", f"        for i in range(len({target}[r])):"]
        indent += "    "
    elif shape == "multi":
        end = f"min(len({target}), worker_id * share + share)"
        lines.append(f"    for i in range(worker_id * share, {end}):")
    else:
        for n in _operands(made, "pattern"):
            lines += [f"    k{n} = s{n} + 0", f"    j{n} = c{n} + 0"]
        lines.append(f"    for i in range(len({target})):")
    return "\n".join([*lines, *(indent + line for line in _body(made, shape))]) + "\n"


def share(elements: int, dtype: DType) -> int:
    """Elements of one worker of a MultiVertex: whole vectors, alike for all six."""
    grain = grain_of(dtype)
    return -(-elements // (WORKERS * grain)) * grain


def build(made: Kernel, shape: Shape, cycles: Callable[..., int] | None = None) -> TileCodelet:
    """The codelet of a kernel, the same object for the same text, types and cycles."""
    name = made.call.replace(".", "_")
    source = text(made, name, shape)
    key = (source, made.types, made.dtype, made.names, cycles)
    if key not in _MADE:
        _MADE[key] = _decorated(made, name, source, shape, cycles)
    return _MADE[key]


def _decorated(made: Kernel, name: str, source: str, shape: Shape, cycles: Callable[..., int] | None) -> TileCodelet:
    names = {**dict(made.names), **{f"E{k}": dtype for k, dtype in enumerate((made.dtype, *made.types))}}
    return from_text(name, source, names, multi=shape == "multi", cycles=cycles, vectorize=_width(made))


def from_text(
    name: str,
    source: str,
    names: Mapping[str, Any],
    *,
    multi: bool = False,
    cycles: Callable[..., int] | None = None,
    vectorize: int = 1,
) -> TileCodelet:
    """The codelet that a Python text defines; `names` are what it sees beside the field annotations."""
    around: dict[str, Any] = {"Input": Input, "Output": Output, "InOut": InOut, "Vector": Vector, **names}
    file = f"<{name} {sha256(source.encode()).hexdigest()[:_HASH_DIGITS]}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), around)
    return codelet(multi=multi, cycles=cycles, vectorize=vectorize)(around[name])


def _width(made: Kernel) -> int:
    """Elements that generated code works on at once: a vector where everything is of one type of float."""
    types = {*made.types, made.dtype}
    if types == {half}:
        return 4
    return 2 if types == {float32} else 1
