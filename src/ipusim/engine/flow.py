"""A program as a flat list of instructions, so that one compiled loop runs any control flow.

Each instruction is a row (op, a, b, c) of int64; the loop in ipusim.engine.drive interprets it:

    DO site            run what the site stands for (a compute set, a copy, a barrier, nothing), count it
    JUMP pc            go there
    LOOP slot count pc set a counter; to pc if the count is 0
    NEXT slot pc       count down, to pc unless 0
    UNLESS site kind pc / WHEN site kind pc   read the site's condition, to pc if it is zero / not zero
    CASE value pc      after SELECT: to pc if the selector has this value
    SELECT site kind   read a selector
    HOST site          back to the host: streams, printing
    STOP

A site is a place in a program where time passes or the host is needed; the same compute set executed at two places has
two sites, so that the time of any part of a program can be told.  For the same reason the body of a function stands
here once for each call; on the chip it is there once (`Flow.free`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import InvalidProgram
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

STOP, DO, JUMP, LOOP, NEXT, UNLESS, WHEN, SELECT, CASE, HOST = range(10)
MOST_SITES = 100_000  # in functions: what nested calls may multiply to


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
    """Instructions and sites of several programs; program i starts at `starts`[i]; `slots` counters are needed.

    `free`: instructions that the chip does not hold, as they repeat those of a function.
    """

    code: list[tuple[int, int, int, int]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    slots: int = 0
    free: int = 0

    def array(self) -> NDArray[np.int64]:
        """The instructions, (n, 4) int64."""
        return np.array(self.code, np.int64).reshape(-1, 4)

    def site_at(self, pc: int) -> int:
        """The site of an instruction, or -1."""
        op, site, *_ = self.code[pc]
        return site if op in (DO, HOST, UNLESS, WHEN, SELECT) else -1

    def following(self, pc: int) -> tuple[int, ...]:
        """Instructions that may run after one."""
        op, a, b, c = self.code[pc]
        if op == STOP:
            return ()
        if op == JUMP:
            return (a,)
        if op in (NEXT, CASE):
            return (pc + 1, b)
        return (pc + 1, c) if op in (LOOP, UNLESS, WHEN) else (pc + 1,)


def flatten(programs: list[Program]) -> Flow:
    """Instructions of programs.  Raises InvalidProgram for one that contains itself or is nested too deeply."""
    writer = _Writer()
    for program in programs:
        writer.flow.starts.append(len(writer.flow.code))
        try:
            writer.program(program, (), frozenset())
        except RecursionError:
            raise InvalidProgram(["programs are nested too deeply; a Sequence may be as long as you like"]) from None
        writer.emit(STOP)
    return writer.flow


@final
class _Writer:
    def __init__(self) -> None:
        self.flow = Flow()
        self._called: set[int] = set()

    def emit(self, op: int, a: int = 0, b: int = 0, c: int = 0) -> int:
        self.flow.code.append((op, a, b, c))
        return len(self.flow.code) - 1

    def aim(self, at: int, column: int) -> None:
        """Makes an instruction point to what comes next."""
        row = list(self.flow.code[at])
        row[column] = len(self.flow.code)
        self.flow.code[at] = (row[0], row[1], row[2], row[3])

    def site(self, what: Source, label: str, path: tuple[str, ...], inside: frozenset[int]) -> int:
        self.flow.sites.append(Site(what, "/".join(map(str, (*path, label))), inside))
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
                self.emit(DO, self.site(part, "WriteUndef", path, inside))
                self.flow.free += 1
            case AbortOnCondition():
                at = self._condition(part.predicate, part, UNLESS, path, inside)
                self.emit(HOST, self.site(part, "AbortOnCondition", path, inside))
                self.aim(at, 3)
            case Repeat() | RepeatWhileTrue() | RepeatWhileFalse():
                self._loop(part, path, inside)
            case If() | Switch():
                self._branch(part, path, inside)
            case Call():
                self._call(part.function, inside)

    def _condition(self, tensor: Tensor, owner: Program, op: int, path: tuple[str, ...], inside: frozenset[int]) -> int:
        label = f"{type(owner).__name__} {tensor.label}"
        return self.emit(op, self.site(Condition(tensor, owner), label, path, inside), 0, 0)

    def _loop(self, part: Any, path: tuple[str, ...], inside: frozenset[int]) -> None:
        if isinstance(part, Repeat):
            slot = self.flow.slots
            self.flow.slots += 1
            at = self.emit(LOOP, slot, part.count)
            self.program(part.body, path, inside)
            if len(self.flow.code) == at + 1:
                self.flow.code.pop()  # nothing to repeat
                return
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

    def _call(self, function: Function, inside: frozenset[int]) -> None:
        """The body of a function, once more."""
        if id(function) in inside:
            raise InvalidProgram([f"function {function.name!r} calls itself"])
        begin, free, sites = len(self.flow.code), self.flow.free, len(self.flow.sites)
        self.program(function.body, (function.name,), inside | {id(function)})
        if len(self.flow.sites) > max(sites, MOST_SITES):
            raise InvalidProgram([f"function {function.name!r}: calls within calls come to over {MOST_SITES:,} steps"])
        if id(function) in self._called:
            self.flow.free = free + len(self.flow.code) - begin - 1  # all but the call
        else:
            self._called.add(id(function))
            self.flow.free -= 2  # call and return


def sites_of(flow: Flow, part: Program | Function) -> list[int]:
    """Sites inside a program, or inside the parts of a sequence that is not in it, by number."""
    known = frozenset[int]().union(*(s.inside for s in flow.sites))
    if isinstance(part, Execute) and id(part) not in known:  # made for the question: its compute set is meant
        return [i for i, s in enumerate(flow.sites) if _executes(s, part)]
    wanted = _known(part, known)
    return [i for i, s in enumerate(flow.sites) if s.inside & wanted]


def _executes(site: Site, part: Execute) -> bool:
    return isinstance(site.what, Execute) and site.what.compute_set is part.compute_set


def _known(part: Program | Function, known: frozenset[int]) -> frozenset[int]:
    if id(part) in known or not isinstance(part, Sequence):
        return frozenset({id(part)})
    return frozenset[int]().union(*(_known(p, known) for p in part.parts))
