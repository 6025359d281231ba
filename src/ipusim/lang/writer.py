"""Text of generated Python: lines at an indent, names of constants and temporaries, and the values it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import numpy as np

from ipusim.dtype import DType, half
from ipusim.lang import ir

_NAME = re.compile(r"\w+")


@final
@dataclass(frozen=True, slots=True)
class Code:
    """Text of a value.  `exact` is False where an integer may exceed 32 bits, or a half is not rounded yet."""

    text: str
    exact: bool = True


@final
@dataclass(frozen=True, slots=True)
class RowNames:
    """Variables of generated code that hold a row: its address and its length."""

    address: str
    length: str


@final
@dataclass(slots=True, eq=False)
class Writer:
    """Generated code under construction.

    `rows` are rows that are looked up already, by field and text of the index; `proven` are indices that were checked,
    by text and length.  Both hold until a variable in them changes, or the block ends.  `words` are the words in use.
    """

    function: ir.Function
    checked: bool
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    rows: dict[tuple[str, str], RowNames] = field(default_factory=dict)
    proven: dict[tuple[str, str], str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    temporaries: int = 0

    def add(self, line: str) -> None:
        """Adds a line."""
        self.lines.append("    " * self.indent + line)

    @contextmanager
    def inside(self, head: str) -> Iterator[None]:
        """Adds a head line; what follows is one deeper.  An empty body becomes `pass`."""
        self.add(head)
        self.indent += 1
        start = len(self.lines)
        yield
        if len(self.lines) == start:
            self.add("pass")
        self.indent -= 1

    @contextmanager
    def aside(self) -> Iterator[list[str]]:
        """Collects lines instead of adding them."""
        outer, self.lines = self.lines, []
        collected = self.lines
        with self.scope(set()):
            yield collected
        self.lines = outer

    @contextmanager
    def scope(self, changed: set[str]) -> Iterator[None]:
        """A block that may not run, or run again; `changed` are the variables that it assigns."""
        self.forget(changed)
        rows, proven = dict(self.rows), dict(self.proven)
        yield
        self.rows, self.proven = rows, proven

    def forget(self, changed: set[str]) -> None:
        """Drops what was known of variables that change."""
        if changed:
            names = {local(name) for name in changed}
            self.rows = {k: v for k, v in self.rows.items() if names.isdisjoint(_NAME.findall(k[1]))}
            self.proven = {k: v for k, v in self.proven.items() if names.isdisjoint(_NAME.findall(k[0]))}

    def word(self, name: str) -> str:
        """A word of the machine, noted as used."""
        self.words.add(name)
        return name

    def call(self, name: str, *arguments: object) -> str:
        """Text of a call of a word."""
        return f"{self.word(name)}({', '.join(map(str, arguments))})"

    def temporary(self, text: str) -> str:
        """A variable that holds a value."""
        name = f"t{self.temporaries}"
        self.temporaries += 1
        self.add(f"{name} = {text}")
        return name

    def float_constant(self, value: float, dtype: DType) -> str:
        """A name of the module for a float32, rounded to half first where it is one."""
        with np.errstate(over="ignore"):
            exact = float(np.float16(value)) if dtype == half else float(np.float32(value))
        text = f'f32("{exact!r}")' if exact - exact != 0 else f"f32({exact!r})"
        self.word("f32")
        return self.constants.setdefault(text, f"C{len(self.constants)}")

    def spec(self, name: str) -> tuple[int, ir.FieldSpec]:
        """A field with its number."""
        for number, spec in enumerate(self.function.fields):
            if spec.name == name:
                return number, spec
        raise KeyError(name)


def local(name: str) -> str:
    """A variable of the user; names of the generated code have no underscore at the end."""
    return f"{name}_"
