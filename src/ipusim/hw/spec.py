"""Chips and systems as frozen, validated records.

A specification is plain data: what-if machines are made by changing fields (`with_fields`), never by subclassing.
Nonsense is refused with the field's path, its value and the rule it breaks.  So is a value that the vertex formulas
could not follow (another number of worker contexts, another vector width): the answer would look like a what-if and
be none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ipusim.errors import BadHardware, BadInput, UnknownName

_MOST = 2**31 - 1
_MOST_TILES = 2**20


def _whole(owner: object, *names: str, least: int, most: int = _MOST) -> None:
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadHardware(f"{_section(owner)}{name} = {value!r}: must be a whole number")
        if value < least:
            raise BadHardware(f"{_section(owner)}{name} = {value}: must be at least {least}")
        if value > most:
            raise BadHardware(f"{_section(owner)}{name} = {value}: must be at most {most}")


def _known(owner: object, name: str, *values: int) -> None:
    value = getattr(owner, name)
    if value not in values:
        known = " and ".join(map(str, values))
        raise BadHardware(f"{_section(owner)}{name} = {value}: the vertex formulas know {known}")


def _instances(owner: object, **kinds: type) -> None:
    for name, kind in kinds.items():
        value = getattr(owner, name)
        if not isinstance(value, kind):
            raise BadHardware(f"{_section(owner)}{name} = {value!r}: must be of type {kind.__name__}")


def _positive_float(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise BadHardware(f"{_section(owner)}{name} = {value!r}: must be a finite number above 0")


def _section(owner: object) -> str:
    return getattr(owner, "_section", "")


class _Spec:
    """What all records share: changing fields by dotted path."""

    __slots__ = ()

    def with_fields(self, changes: Mapping[str, Any]) -> Self:
        """A copy with fields changed, e.g. {"tiles": 608, "exchange.bytes_per_cycle": 8}.

        Raises UnknownName for a path that does not exist and BadHardware for a value that no machine could have.
        """
        own: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        names = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        for path, value in changes.items():
            head, _, rest = path.partition(".")
            if head not in names or (rest and not isinstance(getattr(self, head), _Spec)):
                raise UnknownName("hardware field", path, self.paths())
            if rest:
                nested.setdefault(head, {})[rest] = value
            elif isinstance(getattr(self, head), _Spec) and not isinstance(value, _Spec):
                raise UnknownName("hardware field", path, self.paths())
            else:
                own[head] = value
        own |= {head: getattr(self, head).with_fields(inner) for head, inner in nested.items()}
        return dataclasses.replace(self, **own)  # type: ignore[type-var]

    def paths(self) -> tuple[str, ...]:
        """Dotted paths of all fields."""
        out: list[str] = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            out += [f"{f.name}.{p}" for p in value.paths()] if isinstance(value, _Spec) else [f.name]
        return tuple(out)

    def get(self, path: str) -> Any:
        """The value at a dotted path; raises UnknownName."""
        if path not in self.paths():
            raise UnknownName("hardware field", path, self.paths())
        value: Any = self
        for name in path.split("."):
            value = getattr(value, name)
        return value

    def parse(self, path: str, text: str) -> Any:
        """`text` as the type of the field at `path`.  Raises BadInput naming both."""
        kind = type(self.get(path))
        try:
            if kind is bool:
                return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
            if kind is int:
                return int(float(text)) if float(text).is_integer() else float(text)
            return kind(text)
        except (KeyError, ValueError, OverflowError):
            raise BadInput(f"{path}={text}: {text!r} is not a value of type {kind.__name__}") from None


@dataclass(frozen=True, slots=True)
class TileSpec(_Spec):
    """One tile: bytes of memory, worker contexts, and what its load/store path moves per cycle."""

    memory_bytes: int
    memory_element_bytes: int = 16384
    workers: int = 6
    data_path_bytes: int = 8
    copy_bytes_per_cycle: int = 8

    def __post_init__(self) -> None:
        _whole(self, *(f.name for f in dataclasses.fields(self)), least=1)
        _known(self, "workers", 6)
        _known(self, "data_path_bytes", 8)
        if self.memory_bytes % self.memory_element_bytes:
            raise BadHardware(
                f"tile.memory_bytes = {self.memory_bytes}: must be a whole number of memory elements of "
                f"{self.memory_element_bytes} bytes"
            )

    @property
    def _section(self) -> str:
        return "tile."


@dataclass(frozen=True, slots=True)
class AmpSpec(_Spec):
    """The matrix unit of a tile: units working side by side and the weights each of them holds."""

    units: int
    half_load_elements: int = 4
    float_load_elements: int = 2
    half_weights_per_unit: int = 16
    float_weights_per_unit: int = 8
    weight_load_bytes: int = 8
    half_macs_per_cycle: int = 32
    float_macs_per_cycle: int = 8

    def __post_init__(self) -> None:
        _whole(self, *(f.name for f in dataclasses.fields(self)), least=1)
        _known(self, "units", 8, 16)
        _known(self, "half_load_elements", 4)
        _known(self, "float_load_elements", 2)
        _known(self, "half_weights_per_unit", 16)
        _known(self, "float_weights_per_unit", 8)
        _known(self, "weight_load_bytes", 8, 16)

    @property
    def _section(self) -> str:
        return "amp."


@dataclass(frozen=True, slots=True)
class ExchangeSpec(_Spec):
    """On-chip exchange: bytes per cycle and tile each way, and the cycles before the first word can land.

    `latency_cycles` is the mean from tile to tile, for estimates; the others give it by position (`latency`).
    """

    bytes_per_cycle: int = 4
    paired_receive: bool = True
    lead_in_cycles: int = 110
    latency_cycles: int = 65
    columns: int = 16
    supertile_tiles: int = 4
    least_latency_cycles: int = 19
    row_cycles: int = 2
    column_cycles: int = 6
    crossing_cycles: int = 17

    def __post_init__(self) -> None:
        _whole(self, "bytes_per_cycle", "columns", "supertile_tiles", least=1)
        cycles = [f.name for f in dataclasses.fields(self) if f.name.endswith("_cycles")]
        _whole(self, *cycles, least=0)
        if not isinstance(self.paired_receive, bool):
            raise BadHardware(f"exchange.paired_receive = {self.paired_receive!r}: must be true or false")

    @property
    def _section(self) -> str:
        return "exchange."


@dataclass(frozen=True, slots=True)
class SyncSpec(_Spec):
    """Barriers: cycles of the hardware barrier over all tiles of a chip."""

    on_chip_cycles: int = 150

    def __post_init__(self) -> None:
        _whole(self, "on_chip_cycles", least=0)

    @property
    def _section(self) -> str:
        return "sync."


@dataclass(frozen=True, slots=True)
class LinkSpec(_Spec):
    """IPU-Links of a ladder (ipusim.hw.links): links per direction of a rung and of a side, their rate; the `contexts`
    of a chip that handle packets of up to `payload_bytes`, each in `packet_cycles`; the time of a phase without data;
    and the barrier over several IPUs (`sync_cycles`), which each hop lengthens by twice `hop_seconds`.
    """

    rung_links: int = 4
    side_links: int = 2
    bytes_per_second: float = 17.18e9
    efficiency: float = 0.85
    contexts: int = 64
    payload_bytes: int = 1024
    packet_cycles: int = 129
    latency_cycles: int = 300
    hop_seconds: float = 15e-9
    sync_cycles: int = 261

    def __post_init__(self) -> None:
        _whole(self, "rung_links", "side_links", "contexts", "payload_bytes", least=1)
        _whole(self, "packet_cycles", "latency_cycles", "sync_cycles", least=0)
        _positive_float(self, "bytes_per_second", "efficiency", "hop_seconds")
        if self.efficiency > 1:
            raise BadHardware(f"links.efficiency = {self.efficiency!r}: must be at most 1")

    @property
    def _section(self) -> str:
        return "links."


@dataclass(frozen=True, slots=True)
class ChipSpec(_Spec):
    """One IPU.  `generation` is "mk1" or "mk2" (some vertices differ); `clock_hz` is the nominal clock of the card."""

    name: str
    generation: str
    tiles: int
    clock_hz: float
    tile: TileSpec
    amp: AmpSpec
    exchange: ExchangeSpec
    sync: SyncSpec

    def __post_init__(self) -> None:
        _instances(self, name=str, tile=TileSpec, amp=AmpSpec, exchange=ExchangeSpec, sync=SyncSpec)
        _whole(self, "tiles", least=1, most=_MOST_TILES)
        _positive_float(self, "clock_hz")
        if self.generation not in ("mk1", "mk2"):
            raise BadHardware(f"generation = {self.generation!r}: must be 'mk1' or 'mk2'")
        if self.amp.units == 16 and self.generation == "mk1":
            raise BadHardware("amp.units = 16: a mk1 chip has 8; set generation to 'mk2' as well")

    @property
    def memory_bytes(self) -> int:
        """Memory of all tiles."""
        return self.tiles * self.tile.memory_bytes

    @property
    def peak_half_flops(self) -> float:
        """Floating-point operations per second with half inputs, all matrix units busy."""
        return 2.0 * self.tiles * self.amp.half_macs_per_cycle * self.clock_hz

    @property
    def peak_float_flops(self) -> float:
        """The same with float32 inputs."""
        return 2.0 * self.tiles * self.amp.float_macs_per_cycle * self.clock_hz


@dataclass(frozen=True, slots=True)
class SystemSpec(_Spec):
    """Several equal IPUs under one host, and the links between them."""

    name: str
    chip: ChipSpec
    ipus: int = 1
    summary: str = ""
    links: LinkSpec = LinkSpec()

    def __post_init__(self) -> None:
        _instances(self, name=str, chip=ChipSpec, summary=str, links=LinkSpec)
        _whole(self, "ipus", least=1, most=_MOST_TILES)

    @property
    def num_tiles(self) -> int:
        """Tiles of all IPUs, numbered on from one to the next."""
        return self.ipus * self.chip.tiles

    @property
    def tiles_per_ipu(self) -> int:
        """Tiles of one IPU."""
        return self.chip.tiles

    @property
    def bytes_per_tile(self) -> int:
        """Memory of a tile."""
        return self.chip.tile.memory_bytes

    @property
    def workers_per_tile(self) -> int:
        """Worker contexts of a tile."""
        return self.chip.tile.workers

    @property
    def clock_hz(self) -> float:
        """Nominal clock."""
        return self.chip.clock_hz

    def parse_settings(self, settings: list[str]) -> SystemSpec:
        """This system with settings like "chip.tiles=608" applied in order.

        Raises BadInput for text without "=", UnknownName for an unknown field, BadHardware for a value no machine
        could have.
        """
        changes: dict[str, Any] = {}
        for setting in settings:
            path, equals, text = setting.partition("=")
            if not equals:
                raise BadInput(f"--set {setting}: must look like chip.tiles=608")
            changes[path.strip()] = self.parse(path.strip(), text.strip())
        return self.with_fields(changes) if changes else self
