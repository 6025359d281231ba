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
@dataclass(frozen=True, slots=True)
class Check:
    """An index (a variable or a number) that has to be below a length."""

    line: int
    field: int
    of_row: bool
    index: str
    length: str


@final
@dataclass(slots=True, eq=False)
class Writer:
    """Generated code under construction.

    `rows` are rows that are looked up already, by field and text of the index; `proven` are indices that were checked,
    by text and length; `values` are texts that a temporary holds.  All hold until a variable in them changes, or the
    block ends.  `checks` are checks that the next line needs.  `words` are the words in use.
    """

    function: ir.Function
    checked: bool
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    rows: dict[tuple[str, str], RowNames] = field(default_factory=dict)
    proven: set[tuple[str, str]] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    constants: dict[str, str] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    temporaries: int = 0

    def add(self, line: str) -> None:
        """Adds a line, after the checks that it needs."""
        self.check()
        self.lines.append("    " * self.indent + line)

    def check(self) -> None:
        """Writes the checks noted so far, as one."""
        if not self.checks:
            return
        checks, self.checks = self.checks, []
        site = ", ".join(f"{c.field}, {int(c.of_row)}" for c in checks)
        index, length = (f"({', '.join(texts)},)" for texts in ([c.index for c in checks], [c.length for c in checks]))
        with self.inside(f"if {self.call('beyond', index, length)}:"):
            named = self.constant(f"({checks[0].line}, {site})")
            self.add(self.call("blame", "status", "v", self.worker, named, index, length))
            self.add("return")

    @property
    def worker(self) -> str:
        """Text of the number of the worker."""
        return local(self.function.worker) if self.function.worker else "0"

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
        self.check()
        outer, self.lines = self.lines, []
        collected = self.lines
        with self.scope(set()):
            yield collected
            self.check()
        self.lines = outer

    @contextmanager
    def scope(self, changed: set[str]) -> Iterator[None]:
        """A block that may not run, or run again; `changed` are the variables that it assigns."""
        self.forget(changed)
        rows, proven, values = dict(self.rows), set(self.proven), dict(self.values)
        yield
        self.rows, self.proven, self.values = rows, proven, values

    def forget(self, changed: set[str]) -> None:
        """Drops what was known of variables that change."""
        names = {local(name) for name in changed}
        for text, held in list(
            self.values.items()
        ):  # in the order they were made, so that what is built on them follows
            if not names.isdisjoint(_NAME.findall(text)):
                names.add(held)
                del self.values[text]
        self.rows = {k: v for k, v in self.rows.items() if names.isdisjoint(_NAME.findall(k[1]))}
        self.proven = {k for k in self.proven if names.isdisjoint(_NAME.findall(k[0]))}

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

    def value(self, text: str) -> str:
        """A variable that holds a value without memory in it, made once."""
        if text not in self.values:
            name = self.values[text] = f"t{self.temporaries}"
            self.temporaries += 1
            self.lines.append("    " * self.indent + f"{name} = {text}")
        return self.values[text]

    def constant(self, text: str) -> str:
        """A name of the module for a constant."""
        return self.constants.setdefault(text, f"C{len(self.constants)}")

    def float_constant(self, value: float, dtype: DType) -> str:
        """A name of the module for a float32, rounded to half first where it is one."""
        with np.errstate(over="ignore"):
            exact = float(np.float16(value)) if dtype == half else float(np.float32(value))
        text = f'f32("{exact!r}")' if exact - exact != 0 else f"f32({exact!r})"
        self.word("f32")
        return self.constant(text)

    def spec(self, name: str) -> tuple[int, ir.FieldSpec]:
        """A field with its number."""
        for number, spec in enumerate(self.function.fields):
            if spec.name == name:
                return number, spec
        raise KeyError(name)


def local(name: str) -> str:
    """A variable of the user; names of the generated code have no underscore at the end."""
    return f"{name}_"
