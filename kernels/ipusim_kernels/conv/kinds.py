"""Convolution vertices by name: the parameters of a row to the arguments of their formulas."""

from __future__ import annotations

from ipusim.errors import BadInput
from ipusim_kernels.conv import amp_cycles as amp
from ipusim_kernels.conv import mac_cycles as mac
from ipusim_kernels.conv import slic_cycles as slic
from ipusim_kernels.parameters import Formula, Parameters


def _units(p: Parameters) -> int:
    """Units of the matrix engine that a vertex uses: 8 or 16."""
    units = p.count("convUnits")
    if units not in (8, 16):
        raise BadInput(f"convUnits={units}: a vertex uses 8 or 16")
    return units


def _load_bytes(p: Parameters) -> int:
    return 16 if p.flag("load128") else 8


def _amp_1x1(p: Parameters) -> int:
    return amp.amp_1x1(
        p.count("fieldElems"),
        p.count("convGroups"),
        p.count("inGroups"),
        p.count("outGroups"),
        p.count("outChansPerGroup"),
        p.half("acts"),
        p.half("partials"),
        _units(p),
        _load_bytes(p),
    )


def _amp_nx1(p: Parameters) -> int:
    half, half_partials, units = p.half("acts"), p.half("partials"), _units(p)
    workers = [
        amp.nx1_start(half_partials, p.mk1) + sum(amp.nx1_run(n, half, half_partials, units, p.mk1) for n in worker)
        for worker in p.runs("workerRows")
    ]
    least = min(workers) if len(workers) == 6 else 0
    return amp.nx1_total(
        max(6 * max(workers), 6 * least + 9),
        p.count("convGroups"),
        p.count("inGroups"),
        p.count("outGroups"),
        p.count("outChansPerGroup"),
        p.count("kernelOuter"),
        p.count("kernelInner"),
        p.count("ampKernelHeight"),
        p.count("zerosInfo"),
        half_partials,
        False,
        units,
        _load_bytes(p),
        p.mk1,
    )


def _slic(p: Parameters) -> int:
    half_partials, chains = p.half("partials"), p.count("chains")
    half8 = chains == 2 and half_partials
    groups, stride = p.count("convGroupsPerGroup"), p.count("outStride")
    workers = p.runs("workerRows")
    start = slic.slic_start(half8, groups) + (2 if half8 else 0)

    def worst(zeroing: bool) -> int:
        return max(start + sum(slic.slic_run(n, stride, chains, half_partials, zeroing) for n in w) for w in workers)

    outputs = sum(map(sum, workers))
    return slic.slic_total(
        slic.slic_inner(worst(True), outputs, half8, True),
        slic.slic_inner(worst(False), outputs, half8, False),
        p.count("convGroupGroups"),
        p.count("subKernels"),
        groups,
        p.count("chansPerGroup"),
        chains,
        half_partials,
    )


def _hmac(p: Parameters) -> int:
    half, half_partials = p.half("acts"), p.half("partials")
    worst = mac.hmac_worker(
        p.count("convSizePerPosition"),
        1,
        p.count("kernelPositions"),
        p.count("inChansPerGroup"),
        p.count("outChansPerGroup"),
        half,
        half_partials,
        p.mk1,
    )
    return mac.hmac_total(
        worst,
        p.count("convGroups"),
        p.count("inGroups"),
        p.count("outGroups"),
        p.count("zerosInfo"),
        half,
        half_partials,
        False,
        p.mk1,
    )


def _hmac_1x1(p: Parameters) -> int:
    if p.mk1 or not p.half("acts") or p.half("partials"):
        raise BadInput("the 1x1 form exists on mk2, with half activations and float partials")
    return mac.hmac_1x1(
        p.count("convSizePerPosition"),
        1,
        p.count("convGroups"),
        p.count("inGroups"),
        p.count("outGroups"),
        p.count("inChansPerGroup"),
        p.count("outChansPerGroup"),
        p.count("zerosInfo"),
    )


def _vmac(p: Parameters) -> int:
    half_partials, groups = p.half("partials"), p.count("convGroupsPerGroup")
    worst = mac.vmac_worker(p.count("entriesPerWorker"), p.count("entrySize"), groups, half_partials)
    return mac.vmac_total(
        worst, p.count("convGroups"), p.count("inGroups"), groups, p.count("zerosInfo"), half_partials, p.mk1
    )


def _outer_product(p: Parameters) -> int:
    return mac.outer_product(p.count("width"), p.count("channels"), p.count("chansPerGroup"), p.half())


KINDS: dict[str, Formula] = {
    "poplin::ConvPartial1x1Out": _amp_1x1,
    "poplin::ConvPartialnx1": _amp_nx1,
    "poplin::ConvPartial1xNSLIC": _slic,
    "poplin::ConvPartialHorizontalMac": _hmac,
    "poplin::ConvPartialHorizontalMac1x1": _hmac_1x1,
    "poplin::ConvPartialVerticalMac": _vmac,
    "poplin::OuterProduct": _outer_product,
}
