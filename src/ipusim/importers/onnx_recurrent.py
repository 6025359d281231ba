"""ONNX's recurrent operators: RNN, LSTM and GRU in both layouts and all directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from ipusim.errors import BadInput
from ipusim.importers.onnx_file import OnnxNode
from ipusim.importers.onnx_work import Import
from ipusim.workload.graph import Value
from ipusim.workload.ops_recurrent import ACTIVATIONS, CELLS, DEFAULTS, Activation

Converter = Callable[[Import, OnnxNode], Sequence[Value]]
_NAMES: Final = {name.replace("_", ""): name for name in ACTIVATIONS}
#: Where the optional operands stand in the node.
_PLACES: Final = {"bias": 3, "lengths": 4, "h": 5, "c": 6, "peepholes": 7}
#: Functions that take no, one or two of the listed alphas and betas.
_TAKES: Final = {
    "affine": (1, 1), "leaky_relu": (1, 0), "thresholded_relu": (1, 0), "scaled_tanh": (1, 1), "hard_sigmoid": (1, 1),
    "elu": (1, 0),
}  # fmt: skip


def _recurrent(cell: str) -> Converter:
    def convert(work: Import, node: OnnxNode) -> Sequence[Value]:
        build, batchwise = work.builder, bool(node.attribute("layout", 0))
        x, w, r = (work.value(name) for name in node.inputs[:3])
        if len(r.shape) != 3:
            raise BadInput(f"recurrent weights {r.shape} must be (directions, rows, hidden)")
        given = {name: work.value(node.input(place)) for name, place in _PLACES.items() if node.input(place)}
        if batchwise:
            x = build.transpose(x, (1, 0, 2), name=f"{node.label}/steps_first")
            for name in ("h", "c"):
                if name in given:
                    given[name] = build.transpose(given[name], (1, 0, 2), name=f"{node.label}/{name}")
        direction, clip = node.attribute("direction", "forward"), float(node.attribute("clip", 0.0))
        if "clip" in node.attributes and not clip > 0:
            raise BadInput(f"clip {clip} must be above 0")
        made = build.recurrent(
            cell,
            x,
            w,
            r,
            **given,
            direction=direction,
            activations=_activations(cell, 2 if direction == "bidirectional" else 1, node),
            clip=clip,
            input_forget=bool(node.attribute("input_forget", 0)),
            linear_before_reset=bool(node.attribute("linear_before_reset", 0)),
            name=node.label,
        )
        if node.attribute("hidden_size", r.shape[2]) != r.shape[2]:
            raise BadInput(f"hidden_size {node.attributes['hidden_size']} is not that of the weights, {r.shape[2]}")
        if not batchwise:
            return list(made)
        y = build.transpose(made[0], (2, 0, 1, 3), name=f"{node.label}/batch_first")
        last = [build.transpose(v, (1, 0, 2), name=f"{node.label}/last{i}") for i, v in enumerate(made[1:])]
        return [y, *last]

    return convert


def _activations(cell: str, directions: int, node: OnnxNode) -> list[Activation]:
    """The functions of all directions; alphas and betas are taken in turn by those that have any."""
    count = CELLS[cell][1] * directions
    given = [
        name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        for name in node.attribute("activations", [])
    ]
    named = [name.lower().replace("_", "") for name in given]
    kinds = [_NAMES.get(name, name) for name in named] or list(DEFAULTS[cell]) * directions
    if len(kinds) != count:
        raise BadInput(f"{len(kinds)} activations, wants {count}")
    alphas, betas = iter(node.attribute("activation_alpha", [])), iter(node.attribute("activation_beta", []))
    found = []
    for kind in kinds:
        base = Activation.default(kind)
        takes = _TAKES.get(kind, (0, 0))
        alpha = next(islice(alphas, takes[0]), base.alpha) if takes[0] else base.alpha
        beta = next(islice(betas, takes[1]), base.beta) if takes[1] else base.beta
        found.append(Activation(kind, float(alpha), float(beta)))
    return found


RECURRENT: dict[str, Converter] = {"RNN": _recurrent("rnn"), "LSTM": _recurrent("lstm"), "GRU": _recurrent("gru")}
