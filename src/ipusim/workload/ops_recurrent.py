"""Recurrent layers with ONNX's semantics: simple RNN, LSTM and GRU over a sequence, in one or both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, final

from ipusim.dtype import DType, int32
from ipusim.errors import BadInput
from ipusim.workload.ops import Op, Shape, TensorType, bad, expect, floats, kind_of

CELLS: Final = {"rnn": (1, 1), "lstm": (4, 3), "gru": (3, 2)}  # gates, activation functions
DIRECTIONS: Final = ("forward", "reverse", "bidirectional")
DEFAULTS: Final = {"rnn": ("tanh",), "lstm": ("sigmoid", "tanh", "tanh"), "gru": ("sigmoid", "tanh")}
#: Default alpha and beta of each activation function.
ACTIVATIONS: Final = {
    "relu": (0.0, 0.0),
    "tanh": (0.0, 0.0),
    "sigmoid": (0.0, 0.0),
    "affine": (1.0, 0.0),
    "leaky_relu": (0.01, 0.0),
    "thresholded_relu": (1.0, 0.0),
    "scaled_tanh": (1.0, 1.0),
    "hard_sigmoid": (0.2, 0.5),
    "elu": (1.0, 0.0),
    "softsign": (0.0, 0.0),
    "softplus": (0.0, 0.0),
}
#: Operands after x, w and r, in this order, those that are there.
OPTIONAL: Final = ("bias", "lengths", "h", "c", "peepholes")


@final
@dataclass(frozen=True, slots=True)
class Activation:
    """A function of a recurrent cell with its parameters.  Raises BadInput for a kind nobody knows."""

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ACTIVATIONS:
            raise BadInput(f"no activation {self.kind!r} (known: {', '.join(ACTIVATIONS)})")

    @staticmethod
    def default(kind: str) -> Activation:
        """A function with its default parameters."""
        return Activation(kind, *ACTIVATIONS.get(kind, (0.0, 0.0)))


@final
@dataclass(frozen=True, slots=True)
class Recurrent(Op):
    """A recurrent layer: x (T, N, I), w (D, G H, I), r (D, G H, H) -> y (T, D, N, H), last h (D, N, H), and for an LSTM
    the last c (D, N, H).

    D is 2 for "bidirectional", else 1; G gates: 1 for "rnn", 4 for "lstm" (input, output, forget, cell), 3 for "gru"
    (update, reset, hidden).  `given` names the further operands in the order of `OPTIONAL`: bias (D, 2 G H), for w and
    for r; lengths (N) int32, beyond which y is 0; initial h and c (D, N, H), else 0; peepholes (D, 3 H).
    `activations` are those of the first direction, then those of the second.  `clip` limits what goes into them (0: no
    limit).  `input_forget` (lstm): the forget gate is 1 minus the input gate.  `linear_before_reset` (gru): the reset
    gate multiplies the product with r, not its operand.
    """

    cell: str
    hidden: int
    direction: str = "forward"
    activations: tuple[Activation, ...] = ()
    clip: float = 0.0
    input_forget: bool = False
    linear_before_reset: bool = False
    given: tuple[str, ...] = ()

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.direction == "bidirectional" else 1

    @property
    def gates(self) -> int:
        """Rows of weights per hidden unit."""
        return CELLS[self.cell][0]

    def functions(self, direction: int) -> tuple[Activation, ...]:
        """Activations of a direction (0 or 1)."""
        count = CELLS[self.cell][1]
        return self.activations[direction * count : (direction + 1) * count]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """See the class."""
        self._check()
        expect(self, inputs, 3 + len(self.given))
        x = inputs[0]
        data = [t for t, name in zip(inputs, ("x", "w", "r", *self.given), strict=True) if name != "lengths"]
        dtype = floats(self, data)
        if len(x.shape) != 3:
            raise bad(self, f"x {x.shape} must be (steps, batch, features)")
        steps, batch, features = x.shape
        for name, t, wanted in self._operands(inputs, batch, features):
            if t.shape != wanted:
                raise bad(self, f"{name} {t.shape} must be {wanted} for x {x.shape} and {self.hidden} hidden units")
        state = TensorType((self.directions, batch, self.hidden), dtype)
        made = (TensorType((steps, self.directions, batch, self.hidden), dtype), state)
        return (*made, state) if self.cell == "lstm" else made

    def _check(self) -> None:
        kind_of(self, self.cell, tuple(CELLS))
        if self.direction not in DIRECTIONS:
            raise bad(self, f"direction {self.direction!r} must be one of {', '.join(DIRECTIONS)}")
        if self.hidden < 1:
            raise bad(self, f"hidden size {self.hidden} must be at least 1")
        wanted = CELLS[self.cell][1] * self.directions
        if len(self.activations) != wanted:
            raise bad(self, f"{len(self.activations)} activations, a {self.direction} {self.cell} takes {wanted}")
        if not 0 <= self.clip < inf:
            raise bad(self, f"clip {self.clip} must be a number above 0 (or 0: no limit)")
        for name, cell in (("input_forget", "lstm"), ("linear_before_reset", "gru")):
            if getattr(self, name) and self.cell != cell:
                raise bad(self, f"{name} is an option of cell {cell!r}, not of {self.cell!r}")
        only = {"c": "lstm", "peepholes": "lstm"}
        for name in self.given:
            if name not in OPTIONAL or only.get(name, self.cell) != self.cell:
                raise bad(self, f"operand {name!r} of cell {self.cell!r}")
        if list(self.given) != [name for name in OPTIONAL if name in self.given]:
            raise bad(self, f"operands {self.given} must be in the order {OPTIONAL}")

    def _operands(
        self, inputs: Sequence[TensorType], batch: int, features: int
    ) -> Iterator[tuple[str, TensorType, Shape]]:
        d, h, rows = self.directions, self.hidden, self.gates * self.hidden
        shapes: dict[str, Shape] = {
            "w": (d, rows, features),
            "r": (d, rows, h),
            "bias": (d, 2 * rows),
            "lengths": (batch,),
            "h": (d, batch, h),
            "c": (d, batch, h),
            "peepholes": (d, 3 * h),
        }
        for name, t in zip(("w", "r", *self.given), inputs[1:], strict=True):
            wanted: DType | None = int32 if name == "lengths" else None
            if wanted is not None and t.dtype != wanted:
                raise bad(self, f"{name} must be {wanted}, not {t.dtype}")
            yield name, t, shapes[name]

    def macs(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Both products, every step."""
        steps, batch, features = inputs[0].shape
        return steps * batch * self.directions * self.gates * self.hidden * (features + self.hidden)

    def flops(self, inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> int:
        """Two per multiply-add; per hidden unit and step one for each gate's bias and function, and those that join
        the gates (lstm: 4 and the tanh of the cell; gru: 4).
        """
        joins = {"rnn": 0, "lstm": 5, "gru": 4}[self.cell]
        return 2 * self.macs(inputs, outputs) + (2 * self.gates + joins) * outputs[0].elements
