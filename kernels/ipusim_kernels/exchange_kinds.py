"""What the planner assumes for an exchange, by name: the parameters of a row to the arguments of its formula."""

from __future__ import annotations

from ipusim.hw.cost import transfer_cycles
from ipusim_kernels.parameters import Formula, Parameters


def _exchange(p: Parameters) -> int:
    received = p.count("bytes")
    return transfer_cycles(received, received if p.flag("sharedBus") else 0, p.count("bytesPerCycle"))


KINDS: dict[str, Formula] = {"planner:exchange": _exchange}
