"""Slicing vertices by name: the parameters of a row to the arguments of their formulas."""

from __future__ import annotations

from ipusim.errors import BadInput
from ipusim_kernels.gather import cycles
from ipusim_kernels.parameters import Formula, Parameters


def _dynamic_slice(p: Parameters) -> int:
    size, region, pieces = p.element_bytes(), p.count("regionSize"), p.count("numSubElements")
    if size == 1:
        return cycles.dynamic_slice_1d_bytes(region, pieces)
    half = size == 2
    return cycles.dynamic_slice_1d(2 * region if size == 8 else region, pieces, half, p.mk1)


def _offsets(p: Parameters) -> tuple[int, int, int]:
    """Offsets, how many of them are in range, elements of each."""
    offsets = p.count("numOffsets")
    in_range = p.count("inRange", offsets)
    if in_range > offsets:
        raise BadInput(f"parameter inRange={in_range} exceeds numOffsets={offsets}")
    return offsets, in_range, p.count("regionSize")


def _element_bytes(p: Parameters) -> int:
    size = p.element_bytes()
    if size == 8:
        raise BadInput(f"parameter type={p.text('type')}: this vertex moves elements of 8, 16 and 32 bits")
    return size


_OPERATIONS = {"ADD": 1, "MUL": 0, "MIN": 0, "MAX": 0}
_ADDS = _OPERATIONS | {name.lower(): adds for name, adds in _OPERATIONS.items()}


def _update_op(scaled: bool) -> Formula:
    def run(p: Parameters) -> int:
        size = _element_bytes(p)
        if size == 1:
            raise BadInput(f"parameter type={p.text('type')}: this vertex combines elements of 16 and 32 bits")
        wide = p.flag("scaleWider") and size == 2
        return cycles.multi_update_op(*_offsets(p), size == 4, scaled, wide, bool(p.choice("op", _ADDS)))

    return run


KINDS: dict[str, Formula] = {
    "popops::DynamicSlice1D": _dynamic_slice,
    "popops::DynamicUpdateSlice1D": _dynamic_slice,
    "popops::MultiSlice": lambda p: cycles.multi_slice(*_offsets(p), _element_bytes(p), p.mk1),
    "popops::MultiUpdate": lambda p: cycles.multi_update(*_offsets(p), _element_bytes(p)),
    "popops::MultiUpdateOp": _update_op(scaled=False),
    "popops::ScaledMultiUpdateOp": _update_op(scaled=True),
}
