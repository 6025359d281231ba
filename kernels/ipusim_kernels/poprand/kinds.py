"""Random vertices by name: the parameters of a row to the arguments of their formulas, widths as in the source."""

from __future__ import annotations

from ipusim_kernels.parameters import Formula, Parameters
from ipusim_kernels.poprand import cycles


def _bernoulli(p: Parameters) -> int:
    """Integers are priced as floats."""
    return cycles.bernoulli(p.count("n"), not p.is_integer() and p.half(), cycles.SOURCE_WIDTHS)


KINDS: dict[str, Formula] = {
    "poprand::Uniform": lambda p: cycles.uniform(p.count("n"), p.half(), cycles.SOURCE_WIDTHS),
    "poprand::Normal": lambda p: cycles.normal(p.count("n"), p.half()),
    "poprand::TruncatedNormal": lambda p: cycles.truncated_normal(p.count("n"), p.half(), p.count("iterations")),
    "poprand::Bernoulli": _bernoulli,
    "poprand::Dropout": lambda p: cycles.dropout(p.count("n"), p.half()),
    "poprand::SetSeed": lambda p: cycles.set_seed(p.count("workers", 6)),
}
