"""Golden counts of convolution and reduction vertices, by name of the vertex: parameters -> cycles."""

from ipusim_kernels.conv import amp_cycles as amp
from ipusim_kernels.conv import mac_cycles as mac
from ipusim_kernels.conv import slic_cycles as slic
from ipusim_kernels.reduce import cycles as reduce


def runs(text):
    """14+14|2 -> [[14, 14], [2]]: one list per worker."""
    return [[int(n) for n in worker.split("+") if n] for worker in text.split("|")]


def flags(p):
    return p.get("acts") == "half", p.get("partials") == "half"


def load_bytes(p):
    return 16 if p["load128"] == "1" else 8


def amp_1x1(p, chip):
    half, half_partials = flags(p)
    return amp.amp_1x1(
        int(p["fieldElems"]),
        int(p["convGroups"]),
        int(p["inGroups"]),
        int(p["outGroups"]),
        int(p["outChansPerGroup"]),
        half,
        half_partials,
        int(p["convUnits"]),
        load_bytes(p),
    )


def amp_nx1(p, chip):
    half, half_partials = flags(p)
    mk1, units = chip == "mk1", int(p["convUnits"])
    workers = [
        amp.nx1_start(half_partials, mk1) + sum(amp.nx1_run(n, half, half_partials, units, mk1) for n in worker)
        for worker in runs(p["workerRows"])
    ]
    least = min(workers) if len(workers) == 6 else 0
    calls = max(6 * max(workers), 6 * least + 9)
    elements = int(p["zerosInfo"])
    return amp.nx1_total(
        calls,
        int(p["convGroups"]),
        int(p["inGroups"]),
        int(p["outGroups"]),
        int(p["outChansPerGroup"]),
        int(p["kernelOuter"]),
        int(p["kernelInner"]),
        int(p["ampKernelHeight"]),
        elements,
        half_partials,
        False,
        units,
        load_bytes(p),
        mk1,
    )


def slic_vertex(p, chip):
    half_partials, chains = p["partials"] == "half", int(p["chains"])
    half8 = chains == 2 and half_partials
    cg, stride = int(p["convGroupsPerGroup"]), int(p["outStride"])
    workers = runs(p["workerRows"])
    start = slic.slic_start(half8, cg) + (2 if half8 else 0)

    def worst(zeroing):
        return max(start + sum(slic.slic_run(n, stride, chains, half_partials, zeroing) for n in w) for w in workers)

    outputs = sum(map(sum, workers))
    return slic.slic_total(
        slic.slic_inner(worst(True), outputs, half8, True),
        slic.slic_inner(worst(False), outputs, half8, False),
        int(p["convGroupGroups"]),
        int(p["subKernels"]),
        cg,
        int(p["chansPerGroup"]),
        chains,
        half_partials,
    )


def hmac(p, chip):
    half, half_partials = flags(p)
    mk1 = chip == "mk1"
    worst = mac.hmac_worker(
        int(p["convSizePerPosition"]),
        1,
        int(p["kernelPositions"]),
        int(p["inChansPerGroup"]),
        int(p["outChansPerGroup"]),
        half,
        half_partials,
        mk1,
    )
    return mac.hmac_total(
        worst,
        int(p["convGroups"]),
        int(p["inGroups"]),
        int(p["outGroups"]),
        int(p["zerosInfo"]),
        half,
        half_partials,
        False,
        mk1,
    )


def hmac_1x1(p, chip):
    return mac.hmac_1x1(
        int(p["convSizePerPosition"]),
        1,
        int(p["convGroups"]),
        int(p["inGroups"]),
        int(p["outGroups"]),
        int(p["inChansPerGroup"]),
        int(p["outChansPerGroup"]),
        int(p["zerosInfo"]),
    )


def vmac(p, chip):
    half_partials = p["partials"] == "half"
    cg = int(p["convGroupsPerGroup"])
    worst = mac.vmac_worker(int(p["entriesPerWorker"]), int(p["entrySize"]), cg, half_partials)
    return mac.vmac_total(
        worst, int(p["convGroups"]), int(p["inGroups"]), cg, int(p["zerosInfo"]), half_partials, chip == "mk1"
    )


def reduce_add(p, chip):
    half_out, half_partials = p["out"] == "half", p["partials"] == "half"
    size, partials = int(p["outSize"]), int(p["numPartials"])
    if p["singleInput"] == "1":
        return reduce.conv_reduce_single_input(size, partials, half_out, half_partials, p["fastReduce"] == "1")
    return reduce.conv_reduce_add(size, partials, half_out, half_partials)


BUILT = {
    "poplin::ConvPartial1x1Out": amp_1x1,
    "poplin::ConvPartialnx1": amp_nx1,
    "poplin::ConvPartial1xNSLIC": slic_vertex,
    "poplin::ConvPartialHorizontalMac": hmac,
    "poplin::ConvPartialHorizontalMac1x1": hmac_1x1,
    "poplin::ConvPartialVerticalMac": vmac,
    "poplin::ReduceAdd": reduce_add,
}
