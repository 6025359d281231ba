"""The builder's methods for device loops and other parts; bodies are Python functions that build their part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

from ipusim.errors import BadInput
from ipusim.workload.graph import Value, Workload
from ipusim.workload.ops import Op
from ipusim.workload.ops_loop import Loop, While

if TYPE_CHECKING:
    from ipusim.workload.builder import WorkloadBuilder

#: (builder of the body, its inputs...) -> the next carried values.
Body = Callable[..., "Value | Sequence[Value]"]


class LoopMethods(ABC):
    """Loops; the builder adds the rest."""

    @abstractmethod
    def add_node(self, op: Op, inputs: Sequence[Value], name: str | None = None) -> tuple[Value, ...]:
        """A node for any op."""

    @abstractmethod
    def constant(self, value: Any, name: str | None = None) -> Value:
        """A constant."""

    def inline(self, workload: Workload, inputs: Mapping[str, Value], prefix: str = "") -> dict[str, Value]:
        """A copy of another workload's nodes, reading `inputs` (by name) in place of its inputs; its outputs by name.

        Node and constant names get `prefix`.  Raises BadInput for an input that is missing or of another type.
        """
        known: dict[str, Value] = {}
        for value in workload.inputs:
            given = inputs.get(value.name)
            if given is None or given.type != value.type:
                found = "missing" if given is None else str(given.type)
                raise BadInput(f"{prefix or workload.name}: input {value.name!r} is {found}, wants {value.type}")
            known[value.name] = given
        for name, constant in workload.constants.items():
            known[name] = self.constant(constant, f"{prefix}{name}")
        for node in workload.nodes:
            made = self.add_node(node.op, [known[v.name] for v in node.inputs], f"{prefix}{node.name}")
            known.update(zip((v.name for v in node.outputs), made, strict=True))
        return {name: known[value.name] for name, value in workload.outputs.items()}

    def part(self, function: Body, inputs: Sequence[Value], name: str) -> Workload:
        """The workload that `function(builder, *values)` builds for inputs like the given values, called x0, x1, ...

        Raises BadInput for a function that takes another number of values, and if it uses values of another builder:
        whatever a body reads is an input of it.
        """
        _check_takes(name, function, 1 + len(inputs))
        build: WorkloadBuilder = type(self)(name, 1)  # type: ignore[call-arg, assignment]
        values = [build.input(f"x{i}", v.shape, v.dtype) for i, v in enumerate(inputs)]
        made: Any = function(build, *values)
        listed = list(made) if isinstance(made, Sequence) else [made]
        if any(not isinstance(v, Value) for v in listed):
            raise BadInput(f"node {name!r}: a body gives a value or a list of values, not {made!r}")
        return build.build({f"y{i}": v for i, v in enumerate(listed)})

    def loop(
        self,
        count: int,
        body: Body | Workload,
        carried: Sequence[Value],
        fixed: Sequence[Value] = (),
        *,
        name: str | None = None,
    ) -> tuple[Value, ...]:
        """`carried` after `count` runs of a body on the device.

        `body(builder, *carried, *fixed)` builds one run with its own builder and gives the next carried values, of the
        same shapes and types; `fixed` are the same in each run.  A workload does as well: its inputs are the carried
        and fixed values in order, its outputs the carried ones.  Raises BadInput naming the node.
        """
        label = name or "loop"
        given = _listed(label, carried, fixed)
        made = body if isinstance(body, Workload) else self.part(body, given, f"{label} body")
        return self.add_node(Loop(count, made), given, label)

    def while_loop(
        self,
        condition: Body | Workload,
        body: Body | Workload,
        carried: Sequence[Value],
        fixed: Sequence[Value] = (),
        *,
        most: int,
        name: str | None = None,
    ) -> tuple[Value, ...]:
        """As `loop`, as long as `condition(builder, *carried, *fixed)` makes a true bool, at most `most` times."""
        label = name or "while"
        given = _listed(label, carried, fixed)
        test = condition if isinstance(condition, Workload) else self.part(condition, given, f"{label} condition")
        made = body if isinstance(body, Workload) else self.part(body, given, f"{label} body")
        return self.add_node(While(test, made, most), given, label)


def _listed(name: str, carried: Any, fixed: Any) -> list[Value]:
    """Carried and fixed values in one list.  Raises BadInput for what is no list of values."""
    for what, given in (("carried", carried), ("fixed", fixed)):
        if not isinstance(given, Sequence) or any(not isinstance(v, Value) for v in given):
            raise BadInput(f"node {name!r}: {what} is a list of values, not {given!r}")
    return [*carried, *fixed]


def _check_takes(name: str, function: Any, count: int) -> None:
    """Raises BadInput for what is no function of a builder and `count` - 1 values."""
    if not callable(function):
        raise BadInput(f"node {name!r}: a body is a function of a builder and values, or a Workload, not {function!r}")
    try:
        known = signature(function)
    except ValueError:  # some functions written in C say nothing of themselves
        return
    try:
        known.bind(*range(count))
    except TypeError:
        wanted = f"a builder and {count - 1} value{'s' * (count != 2)} (carried, then fixed)"
        raise BadInput(f"node {name!r}: a body takes {wanted}; this one takes {known}") from None
