"""Parameters of one vertex, as a row of a file of cycle counts names them, read with their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from ipusim.errors import BadInput

HALF = ("half", "float16")
FLOAT = ("float", "float32")
INTEGER = ("int", "int32")

#: Bytes of an element, by the names that poplar and NumPy give its type.
ELEMENT_BYTES = {
    **dict.fromkeys(HALF, 2),
    **dict.fromkeys(FLOAT, 4),
    **dict.fromkeys(("int", "int32", "unsigned", "unsigned_int", "uint32"), 4),
    **dict.fromkeys(("short", "unsigned_short", "int16", "uint16"), 2),
    **dict.fromkeys(("char", "signed_char", "unsigned_char", "quarter", "int8", "uint8", "bool"), 1),
    **dict.fromkeys(("longlong", "unsigned_longlong", "int64", "uint64"), 8),
}

#: Cycles to unpack a pointer, by its layout (poplibs include/poputil/cyclesTables.hpp).
UNPACK = {"OnePtr": 0, "Span": 0, "ShortSpan": 2, "ScaledPtr32": 2, "ScaledPtr64": 1, "ScaledPtr128": 1}


@final
@dataclass(frozen=True, slots=True)
class Parameters:
    """`values` by name and the generation of the chip; whatever is missing or malformed raises BadInput naming it."""

    values: Mapping[str, str]
    mk1: bool

    def text(self, name: str, default: str | None = None) -> str:
        """A word."""
        found = self.values.get(name, default)
        if found is None:
            raise BadInput(f"parameter {name} is missing")
        return found

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 0."""
        return self._number(name, self.text(name, None if default is None else str(default)))

    def counts(self, name: str) -> tuple[int, ...]:
        """Numbers joined by +, such as 64+10."""
        return tuple(self._number(name, n) for n in self.text(name).split("+") if n)

    def runs(self, name: str) -> list[tuple[int, ...]]:
        """Numbers of each worker: 14+14|2 is ((14, 14), (2,))."""
        workers = self.text(name).split("|")
        return [tuple(self._number(name, n) for n in worker.split("+") if n) for worker in workers]

    def flag(self, name: str) -> bool:
        """0 or 1; 0 if it is not there."""
        return self.count(name, 0) != 0

    def choice(self, name: str, known: Mapping[str, int]) -> int:
        """What a word stands for."""
        word = self.text(name)
        if word not in known:
            raise BadInput(f"parameter {name}={word} is not one of {', '.join(known)}")
        return known[word]

    def half(self, name: str = "type") -> bool:
        """Whether an element type is half, of the two floating-point ones."""
        word = self.text(name)
        if word not in HALF + FLOAT:
            raise BadInput(f"parameter {name}={word}: this vertex is priced for half and float")
        return word in HALF

    def is_integer(self, name: str = "type") -> bool:
        """Whether an element type is a signed 32-bit integer."""
        return self.text(name) in INTEGER

    def element_bytes(self, name: str = "type") -> int:
        """Bytes of an element type."""
        return self.choice(name, ELEMENT_BYTES)

    def unpack(self) -> int:
        """Cycles to unpack the pointers of the vertex."""
        return UNPACK["OnePtr"] if "layout" not in self.values else self.choice("layout", UNPACK)

    @staticmethod
    def _number(name: str, text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise BadInput(f"parameter {name}={text} is not a whole number of at least 0")
        return int(text)


#: Cycles of a vertex, in worker or tile cycles as its source counts it.
Formula = Callable[[Parameters], int]


def on_chip(formula: Formula, values: Mapping[str, str], chip: str) -> int:
    """Cycles on chip `mk1` or `mk2`."""
    if chip not in ("mk1", "mk2"):
        raise BadInput(f"no chip named {chip!r} (known: mk1, mk2)")
    return formula(Parameters(values, chip == "mk1"))
