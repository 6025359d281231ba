"""Programs: what runs in which order.  A closed union of frozen records, compared by identity.

Names and meaning are Poplar's.  A list stands for a `Sequence`.  `line` is where the user made the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from ipusim.errors import BadInput
from ipusim.program.graph import ComputeSet
from ipusim.program.graph import Execute as Execute
from ipusim.program.subscripts import is_whole
from ipusim.program.tensor import Tensor
from ipusim.program.where import users_line

MOST_REPEATS = 2**31 - 1  # a loop counter is a register of 32 bits


def as_program(part: Any) -> Program:
    """A program, or a sequence of programs for a list of them.  Raises BadInput for anything else."""
    if isinstance(part, ComputeSet):
        return Execute(part)
    if isinstance(part, PROGRAMS):
        return part  # type: ignore[no-any-return]
    if isinstance(part, list | tuple):
        return Sequence(*part)
    raise BadInput(f"a program is one of {', '.join(p.__name__ for p in PROGRAMS)} or a list of them, not {part!r}")


def _tensor(owner: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise BadInput(f"{owner}: needs a tensor, not {tensor!r}")


def _scalar(owner: str, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise BadInput(f"{owner}: the condition is a tensor of one element, not {tensor!r}")
    if tensor.elements != 1 or tensor.dtype.is_float:
        raise BadInput(
            f"{owner}: the condition is one element of an integer or bool type, not {tensor.label} "
            f"{tensor.shape} {tensor.dtype}"
        )
    return tensor


@final
class Sequence:
    """Programs one after another: `Sequence(a, b)` or `Sequence([a, b])`; `add` appends."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Any) -> None:
        if len(parts) == 1 and isinstance(parts[0], list | tuple):
            parts = tuple(parts[0])
        self.parts: list[Program] = [as_program(p) for p in parts]

    def add(self, part: Any) -> None:
        """Appends a program."""
        self.parts.append(as_program(part))


@final
@dataclass(frozen=True, eq=False, slots=True)
class Copy:
    """`target[...] = source`, element by element in row-major order; the lengths must agree."""

    source: Tensor
    target: Tensor
    name: str = "Copy"
    line: str = field(default_factory=users_line)

    def __post_init__(self) -> None:
        _tensor("Copy", self.source)
        _tensor("Copy", self.target)


@final
@dataclass(frozen=True, eq=False)
class Repeat:
    """`body`, `count` times."""

    count: int
    body: Any

    def __post_init__(self) -> None:
        if not is_whole(self.count) or not 0 <= self.count <= MOST_REPEATS:
            raise BadInput(f"Repeat: the count is a whole number from 0 to {MOST_REPEATS}, not {self.count!r}")
        object.__setattr__(self, "count", int(self.count))
        object.__setattr__(self, "body", as_program(self.body))


@final
@dataclass(frozen=True, eq=False)
class RepeatWhileTrue:
    """Runs `condition`, then `body` if `predicate` is not zero, and so on; the predicate is read by all tiles."""

    condition: Any
    predicate: Tensor
    body: Any

    def __post_init__(self) -> None:
        _scalar("RepeatWhileTrue", self.predicate)
        object.__setattr__(self, "condition", as_program(self.condition))
        object.__setattr__(self, "body", as_program(self.body))


@final
@dataclass(frozen=True, eq=False)
class RepeatWhileFalse:
    """As RepeatWhileTrue, as long as `predicate` is zero."""

    condition: Any
    predicate: Tensor
    body: Any

    def __post_init__(self) -> None:
        _scalar("RepeatWhileFalse", self.predicate)
        object.__setattr__(self, "condition", as_program(self.condition))
        object.__setattr__(self, "body", as_program(self.body))


@final
@dataclass(frozen=True, eq=False)
class If:
    """`then` if `predicate` is not zero, else `other`."""

    predicate: Tensor
    then: Any
    other: Any = ()

    def __post_init__(self) -> None:
        _scalar("If", self.predicate)
        object.__setattr__(self, "then", as_program(self.then))
        object.__setattr__(self, "other", as_program(self.other))


@final
@dataclass(frozen=True, eq=False)
class Switch:
    """The program of the case that equals `selector`, or `default`."""

    selector: Tensor
    cases: Mapping[int, Any]
    default: Any = ()

    def __post_init__(self) -> None:
        _scalar("Switch", self.selector)
        if not isinstance(self.cases, Mapping) or not all(is_whole(k) and abs(k) < 2**32 for k in self.cases):
            raise BadInput(f"Switch: the cases are a dict from whole numbers to programs, not {self.cases!r}")
        object.__setattr__(self, "cases", {int(k): as_program(v) for k, v in self.cases.items()})
        object.__setattr__(self, "default", as_program(self.default))


@final
@dataclass(frozen=True, eq=False)
class Function:
    """A program whose control code exists once, however often it is called; made by `Graph.add_function`."""

    body: Any
    name: str = "function"

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", as_program(self.body))


@final
@dataclass(frozen=True, eq=False)
class Call:
    """Runs a function."""

    function: Function

    def __post_init__(self) -> None:
        if not isinstance(self.function, Function):
            raise BadInput(f"Call: the function comes from Graph.add_function, not {self.function!r}")


@final
@dataclass(frozen=True, eq=False, slots=True)
class Stream:
    """A queue between host and device; made by `Graph.add_host_to_device_fifo` and `add_device_to_host_fifo`."""

    name: str
    dtype: Any
    elements: int
    to_device: bool


@final
@dataclass(frozen=True, eq=False, slots=True)
class StreamCopy:
    """Moves one packet between a stream and a tensor: `StreamCopy(stream, tensor)` or `StreamCopy(tensor, stream)`."""

    source: Stream | Tensor
    target: Stream | Tensor
    line: str = field(default_factory=users_line)

    def __post_init__(self) -> None:
        ends = (self.source, self.target)
        streams = [e for e in ends if isinstance(e, Stream)]
        if len(streams) != 1 or not any(isinstance(e, Tensor) for e in ends):
            raise BadInput("StreamCopy joins one stream and one tensor")
        if streams[0].to_device != (self.source is streams[0]):
            way = "to the device" if streams[0].to_device else "to the host"
            raise BadInput(f"StreamCopy: stream {streams[0].name!r} goes {way}")

    @property
    def stream(self) -> Stream:
        """The stream end."""
        return self.source if isinstance(self.source, Stream) else self.target  # type: ignore[return-value]

    @property
    def tensor(self) -> Tensor:
        """The tensor end."""
        return self.target if isinstance(self.source, Stream) else self.source  # type: ignore[return-value]


@final
@dataclass(frozen=True, eq=False, slots=True)
class WriteUndef:
    """A tensor holds nothing of use until it is written again; memory of variables that lie in it whole is free till
    then.
    """

    tensor: Tensor

    def __post_init__(self) -> None:
        _tensor("WriteUndef", self.tensor)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Sync:
    """A barrier over all tiles."""

    name: str = "Sync"


@final
@dataclass(frozen=True, eq=False, slots=True)
class PrintTensor:
    """Prints a tensor on the host's standard error, after `title`."""

    tensor: Tensor
    title: str = ""

    def __post_init__(self) -> None:
        _tensor("PrintTensor", self.tensor)


@final
@dataclass(frozen=True, eq=False, slots=True)
class AbortOnCondition:
    """Ends the run with an error if `predicate` is not zero."""

    predicate: Tensor
    message: str = "aborted"

    def __post_init__(self) -> None:
        _scalar("AbortOnCondition", self.predicate)


@final
@dataclass(frozen=True, eq=False)
class Block:
    """A named region: its steps stand under its name in reports."""

    body: Any
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", as_program(self.body))


Program = (
    Sequence
    | Execute
    | Copy
    | Repeat
    | RepeatWhileTrue
    | RepeatWhileFalse
    | If
    | Switch
    | Call
    | StreamCopy
    | WriteUndef
    | Sync
    | PrintTensor
    | AbortOnCondition
    | Block
)
PROGRAMS: Any = (
    Sequence,
    Execute,
    Copy,
    Repeat,
    RepeatWhileTrue,
    RepeatWhileFalse,
    If,
    Switch,
    Call,
    StreamCopy,
    WriteUndef,
    Sync,
    PrintTensor,
    AbortOnCondition,
    Block,
)


def inside(program: Program) -> Iterator[Program]:
    """The programs directly inside one."""
    match program:
        case Sequence():
            yield from program.parts
        case Repeat() | Block():
            yield program.body
        case RepeatWhileTrue() | RepeatWhileFalse():
            yield program.condition
            yield program.body
        case If():
            yield program.then
            yield program.other
        case Switch():
            yield from program.cases.values()
            yield program.default
        case Call():
            yield program.function.body
        case _:
            return


def walk(program: Program) -> Iterator[Program]:
    """A program and everything inside it, in order, each object once."""
    waiting, seen = [program], set()
    while waiting:
        part = waiting.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting += reversed(list(inside(part)))
