"""Values of one direction of a layer, all its steps together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ipusim.program.codelet import Array
from ipusim_kernels.recurrent import numeric
from ipusim_kernels.recurrent.codelets import check_lengths
from ipusim_kernels.recurrent.panels import panels


@final
@dataclass(frozen=True, slots=True)
class WholeAttrs:
    """The layer, which optional operands follow x, w and r, and the name of the node."""

    layer: numeric.Layer
    given: tuple[str, ...]
    node: str


def whole_layer(attrs: WholeAttrs, arrays: Sequence[Array]) -> None:
    """x, w, r, those of bias, peepholes and lengths that are given, y, h and, for an LSTM, c (initial, then last)."""
    x, w, r, *rest = arrays
    given = dict(zip(attrs.given, rest, strict=False))
    if "lengths" in given:
        check_lengths(attrs.node, given["lengths"], x.shape[0])
    y, *state = rest[len(attrs.given) :]
    bias, peepholes, lengths = (given.get(name) for name in ("bias", "peepholes", "lengths"))
    cut = 2 * r.shape[1]
    own = [panels(r[:cut]), panels(r[cut:])] if attrs.layer.cell == "gru" else [panels(r)]
    numeric.run(attrs.layer, x, panels(w), own, bias, peepholes, lengths, state, y)
