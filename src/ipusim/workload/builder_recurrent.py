"""The builder's methods for recurrent layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ipusim.errors import BadInput
from ipusim.workload.graph import Value
from ipusim.workload.ops import Op
from ipusim.workload.ops_recurrent import CELLS, DEFAULTS, OPTIONAL, Activation, Recurrent


class RecurrentMethods(ABC):
    """Simple RNN, LSTM and GRU layers; the builder adds the rest."""

    @abstractmethod
    def add_node(self, op: Op, inputs: Sequence[Value], name: str | None = None) -> tuple[Value, ...]:
        """A node for any op."""

    @abstractmethod
    def reshape(self, x: Value, shape: Sequence[int], name: str | None = None) -> Value:
        """x under another shape."""

    def recurrent(
        self,
        cell: str,
        x: Value,
        w: Value,
        r: Value,
        *,
        bias: Value | None = None,
        lengths: Value | None = None,
        h: Value | None = None,
        c: Value | None = None,
        peepholes: Value | None = None,
        direction: str = "forward",
        activations: Sequence[Activation | str] | None = None,
        clip: float = 0.0,
        input_forget: bool = False,
        linear_before_reset: bool = False,
        name: str | None = None,
    ) -> tuple[Value, ...]:
        """A recurrent layer of `cell` "rnn", "lstm" or "gru"; see `ops_recurrent.Recurrent` for operands and results.

        Activations are given for one direction or for each; names take their default parameters.  Raises BadInput.
        """
        label = name or cell
        if cell not in CELLS:
            raise BadInput(f"node {label!r}: no cell {cell!r} (known: {', '.join(CELLS)})")
        both = 2 if direction == "bidirectional" else 1
        kinds = [_activation(label, a) for a in activations or DEFAULTS[cell]]
        if len(kinds) == CELLS[cell][1] and both == 2:
            kinds = kinds * 2
        optional = dict(zip(OPTIONAL, (bias, lengths, h, c, peepholes), strict=True))
        given = {key: value for key, value in optional.items() if value is not None}
        op = Recurrent(
            cell,
            r.shape[-1] if r.shape else 0,
            direction,
            tuple(kinds),
            float(clip),
            input_forget,
            linear_before_reset,
            tuple(given),
        )
        return self.add_node(op, [x, w, r, *given.values()], label)

    def lstm(
        self, x: Value, w: Value, r: Value, bias: Value | None = None, *, name: str | None = None
    ) -> tuple[Value, Value, Value]:
        """A forward LSTM: x (T, N, I), w (1, 4 H, I), r (1, 4 H, H), gates in the order input, output, forget, cell ->
        y (T, 1, N, H), last h and last c (1, N, H).  `recurrent` has the other options.
        """
        y, h, c = self.recurrent("lstm", x, w, r, bias=bias, name=name)
        return y, h, c

    def lstm_cell(
        self,
        x: Value,
        h: Value,
        c: Value,
        w: Value,
        r: Value,
        bias: Value | None = None,
        *,
        name: str | None = None,
    ) -> tuple[Value, Value]:
        """One step of an LSTM: x (N, I), h and c (N, H), weights as in `lstm` -> the next h and c (N, H)."""
        label = name or "lstm_cell"
        step = self.reshape(x, (1, *x.shape), name=f"{label}/step")
        before = [self.reshape(v, (1, *v.shape), name=f"{label}/{n}") for v, n in ((h, "h"), (c, "c"))]
        _, *after = self.recurrent("lstm", step, w, r, bias=bias, h=before[0], c=before[1], name=label)
        last, cell = (self.reshape(v, v.shape[1:], name=f"{label}/last_{n}") for v, n in zip(after, "hc", strict=True))
        return last, cell


def _activation(label: str, given: Activation | str) -> Activation:
    """A function, by name with its default parameters.  Raises BadInput that names the node."""
    if isinstance(given, Activation):
        return given
    try:
        return Activation.default(given)
    except BadInput as error:
        raise BadInput(f"node {label!r}: {error}") from None
