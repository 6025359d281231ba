"""A tile program on a device: `target` describes it, `Engine` loads, runs, steps, reads, writes and reports.

>>> g = ipusim.Graph(ipusim.target("GC2", tiles=4))
>>> ...
>>> engine = ipusim.Engine(g, [prog.Repeat(100, prog.Execute(cs))])
>>> engine.write_tensor("img", x); engine.run(0); engine.read_tensor("img")
>>> print(engine.report())
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim.api import Report
from ipusim.dtype import as_array, converted
from ipusim.engine import account
from ipusim.engine.flow import Site, sites_of
from ipusim.engine.machine import Machine
from ipusim.engine.trace import Memory
from ipusim.errors import BadInput, DoesNotFit, InvalidProgram, IpuSimError, UnknownName
from ipusim.hw.presets import PARTITIONS, largest
from ipusim.hw.presets import system as find_system
from ipusim.hw.spec import ChipSpec, SystemSpec
from ipusim.program.control import Call, Function, PrintTensor, Program, Stream, StreamCopy, as_program
from ipusim.program.graph import Graph
from ipusim.program.tensor import Tensor
from ipusim.program.verify import check
from ipusim.report.profile import OpFacts, Profile, derive

Array = NDArray[Any]
LEVER = (
    "spread it over more tiles (set_tile_mapping, map_linearly), use a smaller type, or end a variable's life with "
    "WriteUndef"
)


def target(which: str | SystemSpec | ChipSpec = "GC2", *, ipus: int = 1, tiles: int | None = None) -> SystemSpec:
    """A device for tile programs: `ipus` IPUs of a system, tiles numbered on from one IPU to the next.

    `tiles`: of each IPU, if not all (small devices are easy to follow).  The name of a chip stands for the largest
    system made of it.

    Raises UnknownName for a system nobody knows, BadHardware for a number of tiles no chip has, BadInput for a number
    of IPUs that the system cannot give.
    """
    found = largest(find_system(which))
    choices = [n for n in PARTITIONS if n <= found.ipus]
    if isinstance(ipus, bool) or ipus not in choices:
        has = f"{found.name} has {found.ipus} IPU{'s' * (found.ipus > 1)}"
        raise BadInput(f"target(ipus={ipus!r}): {has}; a program runs on {' or '.join(map(str, choices))} of them")
    chip = found.chip if tiles is None else found.chip.with_fields({"tiles": tiles})
    count = f"{ipus} " if ipus > 1 else ""
    name = f"{count}{chip.name}" if tiles is None else f"{count}{chip.name} with {tiles} tiles"
    return SystemSpec(name, chip, ipus, links=found.links)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Superstep:
    """A superstep as it ran: its name, cycles by phase, and every tile's share, each (tiles,) int64.

    `compute`, `copies`: busy cycles; `sent`, `received`: bytes of the exchange; `memory`: bytes held now.
    """

    name: str
    phases: dict[str, int]
    compute: NDArray[np.int64]
    copies: NDArray[np.int64]
    sent: NDArray[np.int64]
    received: NDArray[np.int64]
    memory: NDArray[np.int64]

    @property
    def cycles(self) -> int:
        """Length of the superstep."""
        return sum(self.phases.values())

    @property
    def wait(self) -> NDArray[np.int64]:
        """Cycles that each tile waits for the slowest one, through with its copies and vertices; no part of `sync`."""
        own = self.compute + self.copies
        return np.asarray(own.max() - own)

    def __repr__(self) -> str:
        parts = ", ".join(f"{k} {v:,}" for k, v in self.phases.items() if v)
        return f"<Superstep {self.name}: {self.cycles:,} cycles ({parts})>"


Feed = ArrayLike | Callable[..., Any]


@final
class Engine:
    """Programs of a graph, checked, loaded and ready to run.

    Args:
        graph: variables, vertices and their placement.
        programs: one program or a list of them; `run(i)` runs the i-th.  A list inside the list is a sequence.
        allow_out_of_memory: run even if a tile needs more memory than it has; the report says so.
        timing_only: cycles without values: nothing of the variables' size is allocated, each codelet runs once per
            kind of vertex, and a `Repeat` costs nothing.  Raises BadInput for a program whose cycles depend on data.

    Raises InvalidProgram with everything that is wrong with placement and wiring.  A program that does not fit is made
    all the same, so that its report can be looked at; running it raises DoesNotFit.
    """

    def __init__(
        self, graph: Graph, programs: Any, *, allow_out_of_memory: bool = False, timing_only: bool = False
    ) -> None:
        begun = time.perf_counter()
        if not isinstance(graph, Graph):
            raise BadInput(f"Engine: needs a Graph, not {graph!r}")
        self.graph, self.allow_out_of_memory, self.timing_only = graph, allow_out_of_memory, timing_only
        listed = programs if isinstance(programs, list | tuple) else [programs]
        self.programs: list[Program] = [as_program(p) for p in listed]
        if not self.programs:
            raise BadInput("an Engine needs at least one program")
        self._system = graph.system if graph.system is not None else target(tiles=graph.tiles)
        problems, wired = check(graph, self.programs)
        if problems:
            raise InvalidProgram(problems)
        self._wired = wired
        self._machine = Machine(graph, self.programs, self._system, wired, timing_only=timing_only)
        self._memory: Memory = account.measure(self._machine)
        self._feeds: dict[str, Feed] = {}
        self._last: int | None = None
        self._wall = {"compile": time.perf_counter() - begun}

    # -- values --------------------------------------------------------------------------------------------------------

    def write_tensor(self, tensor: str | Tensor, values: ArrayLike) -> None:
        """Stores values in a variable (by name) or a view; the shape must agree, numbers are converted to its type."""
        view = self._find(tensor)
        array = as_array(f"write_tensor {view.label!r}", values)
        if array.shape != view.shape:
            raise BadInput(f"write_tensor: {view.label!r} has shape {view.shape}, the values have {array.shape}")
        self._machine.write(view, converted(f"write_tensor {view.label!r}", array, view.dtype))

    def read_tensor(self, tensor: str | Tensor) -> Array:
        """The elements of a variable (by name) or a view, as a numpy array; half comes as float16."""
        return self._machine.read(self._find(tensor))

    def _find(self, tensor: str | Tensor) -> Tensor:
        if self.timing_only:
            raise BadInput(f"{self.graph.name}: an Engine with timing_only=True holds no values")
        view = self.graph.tensor(tensor) if isinstance(tensor, str) else tensor
        if not isinstance(view, Tensor):
            raise BadInput(f"a tensor is a name or a view of a variable, not {view!r}")
        known = self.graph.variables[: len(self._machine.storage.arrays)]
        for variable in view.variables():
            if not (0 <= variable.number < len(known) and known[variable.number] is variable):
                raise BadInput(
                    f"variable {variable.name!r} is not in this engine: it belongs to another graph, or was added later"
                )
        return view

    def connect_stream(self, name: str, to: Feed) -> None:
        """What is at the host's end of a stream: a numpy array of packets, or a function.

        To the device: an array is sent packet after packet (over and over), a function returns the next packet.  To
        the host: an array is filled packet after packet, a function is called with each.
        """
        if name not in self.graph.streams:
            raise UnknownName("stream", name, self.graph.streams)
        stream: Stream = self.graph.streams[name]
        if not callable(to):
            array = as_array(f"stream {name!r}", to)
            if array.size % max(1, stream.elements) or not array.size:
                raise BadInput(
                    f"stream {name!r}: {array.size} elements are no whole number of packets of {stream.elements}"
                )
            if not stream.to_device and not (isinstance(to, np.ndarray) and to.flags.writeable):
                raise BadInput(f"stream {name!r} goes to the host: connect a numpy array that can be written")
            if not stream.to_device and not (array.flags.c_contiguous and _keeps(array.dtype, stream)):
                raise BadInput(
                    f"stream {name!r} brings {stream.dtype}: connect an array of one block of memory whose type holds "
                    f"that, not {array.dtype} with strides {array.strides}"
                )
            to = _Packets(array.reshape(-1, stream.elements), stream.to_device)
        self._feeds[name] = to

    def _serve(self, site: Site) -> None:
        if self.timing_only:
            return
        what = site.what
        if isinstance(what, PrintTensor):
            print(what.title or what.tensor.label, self.read_tensor(what.tensor), file=sys.stderr)
        elif isinstance(what, StreamCopy):
            stream = what.stream
            feed: Any = self._feeds.get(stream.name)
            if feed is None:
                raise BadInput(f"stream {stream.name!r} is not connected: connect_stream({stream.name!r}, ...)")
            if stream.to_device:
                packet = np.asarray(feed())
                if packet.size != stream.elements:
                    raise BadInput(
                        f"stream {stream.name!r}: a packet has {stream.elements} elements, not {packet.size}"
                    )
                self.write_tensor(what.tensor, packet.reshape(what.tensor.shape))
            else:
                feed(self.read_tensor(what.tensor).reshape(-1))

    # -- running -------------------------------------------------------------------------------------------------------

    def run(self, program: int = 0) -> None:
        """Runs a program.  Raises DoesNotFit, CodeletError for what a vertex may not do, Aborted, BadInput."""
        self._start(program)
        begun = time.perf_counter()
        self._machine.run(program, self._serve)
        self._wall["execute"] = time.perf_counter() - begun

    def step(self, program: int = 0) -> Iterator[Superstep]:
        """Runs a program superstep by superstep: an iterator that runs one each time it is asked for the next."""
        self._start(program)
        before: dict[int, dict[str, int]] = {}
        for number in self._machine.steps(program, self._serve):
            found = account.phases(self._machine, number)
            old = before.get(number, dict.fromkeys(found, 0))
            before[number] = found
            if account.takes_time(self._machine, number):
                yield self._superstep(number, {k: v - old[k] for k, v in found.items()})

    def _superstep(self, number: int, phases: dict[str, int]) -> Superstep:
        machine = self._machine
        tiles, leaf = machine.device.num_tiles, int(machine.site_leaf[number])
        moved = account.exchanges(machine, number)
        none = np.zeros(tiles, np.int64)
        return Superstep(
            name=machine.flow.sites[number].name,
            phases=phases,
            compute=machine.times.busy[leaf].copy() if leaf >= 0 else none,
            copies=machine.times.before[leaf] + machine.times.after[leaf] if leaf >= 0 else none,
            sent=sum((s.sent for s in moved), none.copy()),
            received=sum((s.received for s in moved), none.copy()),
            memory=self._memory.live[number].copy(),
        )

    def _start(self, program: int) -> None:
        if isinstance(program, bool) or not isinstance(program, int) or not 0 <= program < len(self.programs):
            raise BadInput(f"run({program!r}): the engine has programs 0 to {len(self.programs) - 1}")
        memory = self._memory
        if not memory.fits and not self.allow_out_of_memory:
            worst = memory.worst_tile
            raise DoesNotFit(
                self.graph.name,
                tile=worst,
                need=int(memory.peak[worst]),
                have=memory.limit,
                variables=memory.variables,
                lever=LEVER + "; Engine(..., allow_out_of_memory=True) runs it all the same",
            )
        self._last = program

    # -- reports -------------------------------------------------------------------------------------------------------

    def report(self, part: Any = None) -> Report:
        """What the last run did, or a part of it: all executions of a program that lies within it.

        A compute set stands for all its executions, a list for its parts, what `Graph.add_function` made for all calls.
        Before any run, and for a part that is not in the last run or was not reached, the part is run on copies of the
        variables.  Raises BadInput for a part that cannot be run that way (it moves streams).
        """
        if part is None:
            part = self.programs[self._last or 0]
        chosen = part if isinstance(part, Function) else as_program(part)
        sites = sites_of(self._machine.flow, chosen)
        if self._last is None or not self._machine.site_count[sites].any():
            return self._rehearse(Call(chosen) if isinstance(chosen, Function) else chosen)
        return self._report(self._machine, sites, self._memory)

    def _rehearse(self, program: Program) -> Report:
        """The report of a program on copies of the variables."""
        problems, wired = check(self.graph, [program])
        if problems:
            raise InvalidProgram(problems)
        machine = Machine(self.graph, [program], self._system, wired, timing_only=self.timing_only)
        for mine, theirs in zip(machine.storage.arrays, self._machine.storage.arrays, strict=False):
            mine[...] = theirs
        try:
            machine.run(0, _refuse)
        except IpuSimError as error:
            raise BadInput(f"report of a program that did not run: {error}") from None
        return self._report(machine, list(range(len(machine.flow.sites))), account.measure(machine))

    def _report(self, machine: Machine, sites: list[int], memory: Memory) -> Report:
        found = account.trace(machine, sites, memory)
        facts = [OpFacts(s.name, "step", s.flops, 0, "", {}) for s in found.steps]
        steps, ops, summary = derive(account.numbered(found), facts, lever=LEVER)
        remarks = () if memory.fits else ("out of memory: the chip could not run this",)
        profile = Profile(
            model=self.graph.name,
            system=self._system,
            replicas=1,
            batch=1,
            precision="",
            partials="",
            program=found.program,
            steps=steps,
            ops=ops,
            memory=summary,
            tile_memory=found.memory.peak,
            tile_categories=found.memory.categories,
            counts=found.counts,
            remarks=remarks,
        )
        return Report(profile, {}, dict(self._wall))

    @property
    def fits(self) -> bool:
        """Every tile has the memory it needs."""
        return self._memory.fits


@final
class _Packets:
    """An array of packets (packets, elements) at the host's end of a stream, used in turn."""

    def __init__(self, packets: Array, to_device: bool) -> None:
        self._packets, self._to_device, self._next = packets, to_device, 0

    def __call__(self, packet: Array | None = None) -> Array | None:
        at = self._next % len(self._packets)
        self._next += 1
        if packet is None:
            return np.asarray(self._packets[at])
        self._packets[at] = packet
        return None


def _keeps(dtype: np.dtype[Any], stream: Stream) -> bool:
    """Packets can be stored in an array of that type."""
    return np.can_cast(stream.dtype.numpy, dtype, "same_kind")


def _refuse(site: Site) -> None:
    if isinstance(site.what, StreamCopy):
        raise BadInput(f"{site.name} needs a run with its stream connected")


__all__ = ["Engine", "Superstep", "target"]
