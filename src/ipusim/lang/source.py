"""The text of a function: its syntax tree, the names it sees, and errors that point into it."""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ipusim.errors import BadInput

_LONGEST_QUOTE = 70


@final
@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A Python function as text.

    `text` starts at `first_line` of `file` (decorators included), dedented; line numbers in `tree` are the file's.
    `names` are the names around it: its closure, then its module.  `title` is what errors call it.
    """

    title: str
    function: Callable[..., Any]
    tree: ast.FunctionDef
    text: str
    file: str
    first_line: int
    names: tuple[Mapping[str, Any], ...]

    def wrong(self, node: ast.AST | int, message: str) -> BadInput:
        """The error about a place in the source: file, line, who, the text there, and what is wrong with it."""
        line = node if isinstance(node, int) else getattr(node, "lineno", self.tree.lineno)
        quoted = "" if isinstance(node, int) else f" `{quote(node)}`:"
        return BadInput(f"{self.file}:{line}: {self.title}:{quoted} {message}")

    def look_up(self, name: str) -> tuple[bool, Any]:
        """Whether a name exists around the function, and what it stands for."""
        for names in (*self.names, vars(builtins)):
            if name in names:
                return True, names[name]
        return False, None

    def nearest(self, name: str, known: Iterable[str]) -> str:
        """`; did you mean 'width'?`, where a known name is close."""
        near = difflib.get_close_matches(name, list(known), n=1)
        return f"; did you mean {near[0]!r}?" if near else ""


def quote(node: ast.AST) -> str:
    """The first line of a construct, as text of bounded length."""
    text = ast.unparse(node).split("\n")[0]
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names


def read(function: Any, kind: str, around: Mapping[str, Any] | None = None) -> Source:
    """The source of a function; `kind` is "codelet" or "function", for errors.

    `around` holds names that the function's annotations may use although its body does not (the local variables of the
    factory that makes it).  Raises `BadInput` for what is no plain Python function in a file.
    """
    if not inspect.isfunction(function):
        raise BadInput(f"{kind} {function!r}: a plain Python function is needed, not {type(function).__name__}")
    name, file = function.__name__, Path(function.__code__.co_filename).name
    if name == "<lambda>":
        raise BadInput(
            f"{file}:{function.__code__.co_firstlineno}: {kind}: a lambda has no statements; define it with def"
        )
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        raise BadInput(
            f"{kind} {name}: its source cannot be read; define it in a file, not at the prompt or in exec"
        ) from None
    text = textwrap.dedent("".join(lines))
    tree = ast.parse(text).body[0]
    if not isinstance(tree, ast.FunctionDef):
        what = "async functions" if isinstance(tree, ast.AsyncFunctionDef) else "anything but a def statement"
        raise BadInput(f"{file}:{first}: {kind} {name}: {what} cannot run on a tile")
    ast.increment_lineno(tree, max(first, 1) - 1)
    names = (_closure(function), function.__globals__, *([around] if around else []))
    return Source(f"{kind} {name}", function, tree, text, file, max(first, 1), names)
