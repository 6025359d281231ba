"""`@codelet`: a plain Python function becomes a `TileCodelet`, which has values, cycles and an explanation.

The function is read when it is decorated, so that an error points at its line before any graph is built.  Machine
code is made when it is first asked for, and kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final, overload

from ipusim.errors import BadInput, UnknownName
from ipusim.lang import ir, status
from ipusim.lang.costs import PROFILES, WIDTHS, Costs, costs
from ipusim.lang.elementwise import elementwise
from ipusim.lang.emit import group_source
from ipusim.lang.fields import FieldType, show
from ipusim.lang.parse import parse
from ipusim.lang.taint import data_dependent

Override = int | Callable[..., int] | None
_PARTIALS = ("float32", "half")


@final
@dataclass(frozen=True, slots=True, eq=False)
class TileCodelet:
    """A codelet: what a vertex computes, and what it costs.

    `function` is the typed tree.  `override` is the user's own cycle count or a function that gives it, in place of the
    count from the source.  `data_dependent`: slots, or the elements that are touched, depend on what fields hold;
    `elementwise`: every element of the vectors is treated alike.
    Calling the object runs the user's Python function, for instance on numpy arrays.
    """

    python: Callable[..., Any]
    function: ir.Function
    profile: str
    vectorize: int
    partials: str
    override: Override
    data_dependent: bool
    elementwise: bool
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name

    @property
    def fields(self) -> tuple[ir.FieldSpec, ...]:
        """Fields in the order of the signature."""
        return self.function.fields

    @property
    def values(self) -> tuple[ir.ValueSpec, ...]:
        """Plain members in the order of the signature."""
        return self.function.values

    @property
    def kind(self) -> Literal["worker", "multi"]:
        """ "worker": one of six contexts runs a vertex; "multi": all six do, each with its `worker_id`."""
        return "worker" if self.function.worker is None else "multi"

    def costs(self, generation: str = "mk1", profile: str | None = None) -> Costs:
        """Issue slots of the blocks, under the codelet's profile or another."""
        key = ("costs", generation, profile or self.profile)
        if key not in self._made:
            self._made[key] = costs(
                self.function, profile=profile or self.profile, vectorize=self.vectorize, generation=generation
            )
        found: Costs = self._made[key]
        return found

    def code_bytes(self, generation: str = "mk1") -> int:
        """Bytes of code on each tile that has a vertex of this codelet."""
        return self.costs(generation).code_bytes

    def source(self, *, counted: bool, generation: str = "mk1") -> str:
        """Text of the group function that is compiled."""
        from ipusim.lang.keep import WORDS

        counts = None
        if counted:
            counts = self.costs(generation) if self.override is None else _FREE
        return group_source(self.function, costs=counts, words=WORDS)

    def compiled(self, *, counted: bool, generation: str = "mk1") -> int:
        """Address of the group function `(table, lo, hi)`: values and slots if `counted`, else values alone.

        With an override the counted variant counts nothing, and still checks.  The plain one may be used where
        `data_dependent` is False and the counted one ran clean over the same columns.
        """
        key = ("group", counted, generation if counted else "")
        if key not in self._made:
            from ipusim.lang.keep import compile_group

            self._made[key] = compile_group(self.source(counted=counted, generation=generation), self.name)
        return int(self._made[key])

    def explain(self, profile: str | None = None) -> str:
        """Slots per source line, as text."""
        from ipusim.lang.explain import explain

        return explain(self.function, self.costs(profile=profile), profile or self.profile)

    def failure(self, words: Sequence[int]) -> str:
        """What the status words of compiled code say: file, line, field, index and length."""
        return status.describe(self.function, words)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.python

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Runs the user's Python function."""
        return self.python(*arguments, **named)

    def __repr__(self) -> str:
        shown = [f"{f.name}: {show(FieldType(f.role, f.depth, f.dtype))}" for f in self.fields]
        shown += [f"{v.name}: {v.dtype}" for v in self.values]
        shown += [f"{self.function.worker}: int32"] if self.function.worker else []
        return f"<codelet {self.name}({', '.join(shown)})>"


_FREE = Costs(entry=0, before={}, each={}, then={}, other={}, width={}, collapsed=frozenset(), factor=(1, 1), lines={})


def _check(vectorize: Any, profile: Any, cycles: Any, partials: Any) -> None:
    if vectorize not in WIDTHS or isinstance(vectorize, bool):
        raise BadInput(f"@codelet: vectorize={vectorize!r}; it can be 1, 2 (float2, half2) or 4 (half4)")
    if profile not in PROFILES:
        raise UnknownName("profile of @codelet", str(profile), PROFILES)
    if partials not in _PARTIALS:
        raise UnknownName("partials of @codelet", str(partials), _PARTIALS)
    number = isinstance(cycles, int) and not isinstance(cycles, bool)
    if cycles is not None and not number and not callable(cycles):
        raise BadInput(f"@codelet: cycles={cycles!r}; it can be an integer, or a function of field sizes")
    if number and cycles < 0:
        raise BadInput(f"@codelet: cycles={cycles!r} is negative")


def _make(
    function: Callable[..., Any],
    around: Mapping[str, Any],
    *,
    vectorize: int,
    profile: str,
    cycles: Override,
    multi: bool,
    partials: str,
) -> TileCodelet:
    if isinstance(function, TileCodelet):
        raise BadInput(f"@codelet: {function.name} is a codelet already")
    tree = parse(function, multi=multi, partials=partials, around=around)
    return TileCodelet(function, tree, profile, vectorize, partials, cycles, data_dependent(tree), elementwise(tree))


@overload
def codelet(function: Callable[..., Any], /) -> TileCodelet: ...


@overload
def codelet(
    *,
    vectorize: int = 1,
    profile: str = "popc",
    cycles: Override = None,
    multi: bool = False,
    partials: str = "float32",
) -> Callable[[Callable[..., Any]], TileCodelet]: ...


def codelet(
    function: Callable[..., Any] | None = None,
    /,
    *,
    vectorize: int = 1,
    profile: str = "popc",
    cycles: Override = None,
    multi: bool = False,
    partials: str = "float32",
) -> TileCodelet | Callable[[Callable[..., Any]], TileCodelet]:
    """Makes a codelet of a Python function; use as `@codelet` or `@codelet(vectorize=2)`.

    `vectorize`: elements that inner loops are counted to work on at once.  `profile`: how well code is compiled (popc,
    serial, list, rpt, asm, pace: see `lang.costs`).  `cycles`: the thread cycles of a vertex, in place of a count from
    the source: a number, or a function.  `multi`: a MultiVertex, run by all six workers with their `worker_id`.
    `partials`: "half" lets a variable that starts from a bare number and takes halves be half.
    Raises `BadInput` with file and line for what the codelet language does not have.
    """
    _check(vectorize, profile, cycles, partials)
    frame = sys._getframe(1)
    around = dict(frame.f_locals) if frame.f_locals is not frame.f_globals else {}

    def make(decorated: Callable[..., Any]) -> TileCodelet:
        return _make(
            decorated,
            around,
            vectorize=vectorize,
            profile=profile,
            cycles=cycles,
            multi=multi,
            partials=partials,
        )

    return make if function is None else make(function)
