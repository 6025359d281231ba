"""A program as a flat list of instructions, so that one compiled loop runs any control flow.

Each instruction is a row (op, a, b, c) of int64; the loop in ipusim.engine.drive interprets it:

    DO site            run what the site stands for (a compute set, a copy, a barrier), count it
    JUMP pc            go there
    LOOP slot count pc set a counter; to pc if the count is 0
    NEXT slot pc       count down, to pc unless 0
    UNLESS site kind pc / WHEN site kind pc   read the site's condition, to pc if it is zero / not zero
    CASE value pc      after SELECT: to pc if the selector has this value
    SELECT site kind   read a selector
    HOST site          back to the host: streams, printing
    CALL pc, BACK      subroutine of a function
    STOP

A site is a place in a program where time passes or the host is needed; the same compute set executed at two places has
two sites, so that the time of any part of a program can be told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import InvalidProgram
from ipusim.program import control
from ipusim.program.control import (
    AbortOnCondition,
    Block,
    Call,
    Copy,
    Execute,
    Function,
    If,
    PrintTensor,
    Program,
    Repeat,
    RepeatWhileFalse,
    RepeatWhileTrue,
    Sequence,
    StreamCopy,
    Switch,
    Sync,
    WriteUndef,
)
from ipusim.program.tensor import Tensor

STOP, DO, JUMP, LOOP, NEXT, UNLESS, WHEN, SELECT, CASE, HOST, CALL, BACK = range(12)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Condition:
    """A tensor of one element that all tiles read."""

    tensor: Tensor
    owner: Program


Source = Execute | Copy | Sync | StreamCopy | PrintTensor | AbortOnCondition | Condition | WriteUndef


@final
@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """A place in a program: what happens there, its name with the blocks around it, and the programs it lies in.

    `inside`: the ids of all programs around it, itself included.
    """

    what: Source
    name: str
    inside: frozenset[int]


@final
@dataclass(slots=True)
class Flow:
    """Instructions and sites of several programs; program i starts at `starts`[i]; `slots` counters are needed."""

    code: list[tuple[int, int, int, int]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    slots: int = 0

    def array(self) -> NDArray[np.int64]:
        """The instructions, (n, 4) int64."""
        return np.array(self.code, np.int64).reshape(-1, 4)


def flatten(programs: list[Program]) -> Flow:
    """Instructions of programs, functions after them."""
    writer = _Writer()
    for program in programs:
        writer.flow.starts.append(len(writer.flow.code))
        writer.program(program, (), frozenset())
        writer.emit(STOP)
    writer.functions()
    return writer.flow


@final
class _Writer:
    def __init__(self) -> None:
        self.flow = Flow()
        self._wanted: list[tuple[int, Function, tuple[str, ...], frozenset[int]]] = []
        self._open: list[int] = []

    def emit(self, op: int, a: int = 0, b: int = 0, c: int = 0) -> int:
        self.flow.code.append((op, a, b, c))
        return len(self.flow.code) - 1

    def aim(self, at: int, column: int) -> None:
        """Makes an instruction point to what comes next."""
        row = list(self.flow.code[at])
        row[column] = len(self.flow.code)
        self.flow.code[at] = (row[0], row[1], row[2], row[3])

    def site(self, what: Source, label: str, path: tuple[str, ...], inside: frozenset[int]) -> int:
        self.flow.sites.append(Site(what, "/".join((*path, label)), inside))
        return len(self.flow.sites) - 1

    def program(self, part: Program, path: tuple[str, ...], around: frozenset[int]) -> None:
        inside = around | {id(part)}
        match part:
            case Sequence():
                if id(part) in around:
                    raise InvalidProgram(["a Sequence contains itself"])
                for one in part.parts:
                    self.program(one, path, inside)
            case Block():
                self.program(part.body, (*path, part.name), inside)
            case Execute():
                self.emit(DO, self.site(part, part.compute_set.name, path, inside))
            case Copy() | Sync():
                self.emit(DO, self.site(part, part.name, path, inside))
            case StreamCopy():
                self.emit(HOST, self.site(part, f"StreamCopy {part.stream.name}", path, inside))
            case PrintTensor():
                self.emit(HOST, self.site(part, f"PrintTensor {part.title}".strip(), path, inside))
            case WriteUndef():
                self.site(part, "WriteUndef", path, inside)
            case AbortOnCondition():
                at = self._condition(part.predicate, part, UNLESS, path, inside)
                self.emit(HOST, self.site(part, "AbortOnCondition", path, inside))
                self.aim(at, 3)
            case Repeat() | RepeatWhileTrue() | RepeatWhileFalse():
                self._loop(part, path, inside)
            case If() | Switch():
                self._branch(part, path, inside)
            case Call():
                self._wanted.append((self.emit(CALL), part.function, path, inside))

    def _condition(self, tensor: Tensor, owner: Program, op: int, path: tuple[str, ...], inside: frozenset[int]) -> int:
        label = f"{type(owner).__name__} {tensor.label}"
        return self.emit(op, self.site(Condition(tensor, owner), label, path, inside), 0, 0)

    def _loop(self, part: Any, path: tuple[str, ...], inside: frozenset[int]) -> None:
        if isinstance(part, Repeat):
            slot = self.flow.slots
            self.flow.slots += 1
            at = self.emit(LOOP, slot, part.count)
            self.program(part.body, path, inside)
            self.emit(NEXT, slot, at + 1)
            self.aim(at, 3)
            return
        begin = len(self.flow.code)
        self.program(part.condition, path, inside)
        op = UNLESS if isinstance(part, RepeatWhileTrue) else WHEN
        at = self._condition(part.predicate, part, op, path, inside)
        self.program(part.body, path, inside)
        self.emit(JUMP, begin)
        self.aim(at, 3)

    def _branch(self, part: If | Switch, path: tuple[str, ...], inside: frozenset[int]) -> None:
        ends = []
        if isinstance(part, If):
            at = self._condition(part.predicate, part, UNLESS, path, inside)
            self.program(part.then, path, inside)
            ends.append(self.emit(JUMP))
            self.aim(at, 3)
            self.program(part.other, path, inside)
        else:
            self._condition(part.selector, part, SELECT, path, inside)
            cases = [(self.emit(CASE, value), body) for value, body in part.cases.items()]
            self.program(part.default, path, inside)
            ends.append(self.emit(JUMP))
            for at, body in cases:
                self.aim(at, 2)
                self.program(body, path, inside)
                ends.append(self.emit(JUMP))
        for at in ends:
            self.aim(at, 1)

    def functions(self) -> None:
        """Bodies of called functions, each once; a site of theirs lies in every program that calls them."""
        places: dict[int, int] = {}
        around: dict[int, set[int]] = {}
        sites: dict[int, tuple[int, int]] = {}
        done = 0
        while done < len(self._wanted):
            at, function, path, inside = self._wanted[done]
            done += 1
            key = id(function)
            around.setdefault(key, set()).update(inside)
            if key not in places:
                places[key] = len(self.flow.code)
                begin = len(self.flow.sites)
                self.program(function.body, (*path[:0], function.name), inside | {key})
                self.emit(BACK)
                sites[key] = (begin, len(self.flow.sites))
            row = self.flow.code[at]
            self.flow.code[at] = (row[0], places[key], row[2], row[3])
        for key, (begin, end) in sites.items():
            for i in range(begin, end):
                site = self.flow.sites[i]
                self.flow.sites[i] = Site(site.what, site.name, site.inside | around[key])


def sites_of(flow: Flow, part: Program) -> list[int]:
    """Sites inside a program or part of one, by number."""
    if isinstance(part, control.Sequence) and not any(id(part) in s.inside for s in flow.sites):
        wanted = {id(p) for p in part.parts}
        return [i for i, s in enumerate(flow.sites) if s.inside & wanted]
    return [i for i, s in enumerate(flow.sites) if id(part) in s.inside]
