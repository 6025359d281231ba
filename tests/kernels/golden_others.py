"""Golden counts of pooling, slicing and reduction vertices, by name of the vertex: parameters -> cycles."""

from ipusim.hw.cost import transfer_cycles
from ipusim_kernels.gather import cycles as gather
from ipusim_kernels.pool import cycles as pool
from ipusim_kernels.reduce import cycles as reduce


def max_pooling(p, chip):
    vectors, groups = int(p["chansPerGroupD"]), int(p["chanGroups"])
    taps, outputs = int(p["workItemsPerRow"]), int(p["elemsMinus1PerItem"]) + 1
    share, unpack = pool.init_share(int(p["initInfo"]), vectors), int(p["unpackWorkList"])
    workers = [
        pool.pool_worker(int(rows), taps, outputs, share, groups, vectors, True, unpack)
        for rows in p["rowsPerWorker"].split("+")
    ]
    return pool.pool_total(max(workers))


def dynamic_slice(p, chip):
    return gather.dynamic_slice_1d(int(p["regionSize"]), int(p["numSubElements"]), p["type"] == "half", chip == "mk1")


def multi_slice(p, chip):
    return gather.multi_slice(int(p["numOffsets"]), int(p["regionSize"]), chip == "mk1")


def strided(p, chip):
    return reduce.strided_reduce(
        int(p["numOutputs"]),
        int(p["numPartials"]),
        int(p["stride"]),
        int(p["outerStrides"]),
        p["partials"] == "half",
        p["out"] == "half",
        p["op"] in ("add", "square-add", "squareadd"),
        p["update"] == "1",
    )


def single_input(p, chip):
    return reduce.single_input_reduce(int(p["n"]), p["partials"] == "half", p["out"] == "half")


def continuous(p, chip):
    return reduce.continuous_reduce(int(p["numOutputs"]), int(p["numPartials"]), p["partials"] == "half", False)


def arg_gather(p, chip):
    return reduce.arg_gather(int(p["size"]), int(p["workerSize"]))


def arg_sparse(p, chip):
    return reduce.arg_sparse(int(p["n"]))


def deviation(p, chip):
    return 6 + sum(reduce.inverse_deviation_region(int(n)) for n in p["sizes"].split("+"))


def exchange(p, chip):
    received = int(p["bytes"])
    return transfer_cycles(received, received if p["sharedBus"] == "1" else 0, int(p["bytesPerCycle"]))


BUILT = {
    "popnn::ReduceMaxClassGather": arg_gather,
    "popnn::ReduceMaxClassSparse": arg_sparse,
    "poplin::InverseStdDeviation": deviation,
    "planner:exchange": exchange,
    "popnn::MaxPooling": max_pooling,
    "popops::DynamicSlice1D": dynamic_slice,
    "popops::MultiSlice": multi_slice,
    "popops::Reduce(STRIDED_REDUCE)": strided,
    "popops::Reduce(SCALAR_OUTPUT_SINGLE_INPUT)": single_input,
    "popops::ContinuousReduce": continuous,
}
