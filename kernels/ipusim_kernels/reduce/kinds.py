"""Reduction vertices by name: the parameters of a row to the arguments of their formulas."""

from __future__ import annotations

from ipusim.errors import BadInput
from ipusim_kernels.parameters import Formula, Parameters
from ipusim_kernels.reduce import cycles, general_cycles
from ipusim_kernels.reduce.general_cycles import ACCUMULATED, LOG_ADD_SCALAR, LOG_ADD_VECTOR, VECTORISED

NAMES = {"squareadd": "square_add", "logadd": "log_add", "maximum": "max", "minimum": "min", "multiply": "mul"}


def _op(p: Parameters) -> str:
    word = p.text("op").lower().replace("-", "_")
    found = NAMES.get(word, word)
    if found not in (*VECTORISED, "log_add", "logical_and", "logical_or"):
        raise BadInput(f"parameter op={p.text('op')} is not a kind of reduction")
    return found


def _conv_reduce(p: Parameters) -> int:
    half_out, half_partials = p.half("out"), p.half("partials")
    size, partials = p.count("outSize"), p.count("numPartials")
    if p.flag("singleInput"):
        return cycles.conv_reduce_single_input(size, partials, half_out, half_partials, p.flag("fastReduce"))
    return cycles.conv_reduce_add(size, partials, half_out, half_partials)


def _strided(p: Parameters) -> int:
    """A product or a sum of squares of halves has no entry for storing in the source, which then counts none."""
    op, half, update = _op(p), p.half("partials"), p.flag("update")
    each = 1
    if op == "log_add":
        post = _log_add_post(half, p.half("out"), update)
        each = LOG_ADD_VECTOR[half]
    elif half and op in ("mul", "square_add"):
        post = 1
    else:
        post = cycles.strided_post(half, p.half("out"), op == "add", update)
    sizes = p.count("numOutputs"), p.count("numPartials"), p.count("stride"), p.count("outerStrides")
    return cycles.strided_total(*sizes, half, post, each)


def _log_add_post(half: bool, half_out: bool, update: bool) -> int:
    if half:
        return 1 + ((22 if half_out else 56) if update else 7)
    return 2 + ((13 if half_out else 27) if update else 2)


def _single_input(p: Parameters) -> int:
    op, half, half_out = _op(p), p.half("partials"), p.half("out")
    if op in ACCUMULATED:
        return cycles.single_input_reduce(p.count("n"), half, half_out)
    return cycles.single_input_other(p.count("n"), half, half_out, LOG_ADD_SCALAR if op == "log_add" else 1)


def _continuous(p: Parameters) -> int:
    scalar = _op(p) == "log_add"
    vector = 1 if scalar else (4 if p.half("partials") else 2)
    per_vector = LOG_ADD_SCALAR if scalar else 1
    return cycles.continuous_reduce(p.count("numOutputs"), p.count("numPartials"), vector, per_vector, p.flag("update"))


def _general(p: Parameters) -> int:
    op, half, half_out = _op(p), p.half("partials"), p.half("out")
    outputs, regions, elements = p.counts("outSizes"), p.counts("regionsPerOutput"), p.counts("elemsPerRegion")
    if not len(outputs) == len(regions) == len(elements):
        raise BadInput("outSizes, regionsPerOutput and elemsPerRegion have to list as many outputs")
    if op not in VECTORISED:
        return general_cycles.scalar_reduce(regions, elements, op == "log_add", half != half_out)
    return general_cycles.vector_reduce(outputs, regions, elements, half, half_out, op in ACCUMULATED, p.flag("update"))


def _arg_gather(p: Parameters) -> int:
    if p.is_integer():
        return cycles.arg_gather_integers(p.count("size"), p.count("workerSize"))
    p.half()
    return cycles.arg_gather(p.count("size"), p.count("workerSize"))


def _arg_sparse(p: Parameters) -> int:
    if p.is_integer():
        return cycles.arg_sparse_integers(p.count("n"))
    p.half()
    return cycles.arg_sparse(p.count("n"))


def _deviation(p: Parameters) -> int:
    return 6 + sum(cycles.inverse_deviation_region(n) for n in p.counts("sizes"))


KINDS: dict[str, Formula] = {
    "poplin::ReduceAdd": _conv_reduce,
    "poplin::InverseStdDeviation": _deviation,
    "popops::Reduce(STRIDED_REDUCE)": _strided,
    "popops::Reduce(SCALAR_OUTPUT_SINGLE_INPUT)": _single_input,
    "popops::Reduce(DEFAULT)": _general,
    "popops::Reduce(SCALAR_OUTPUT_REGIONS)": _general,
    "popops::ContinuousReduce": _continuous,
    "popnn::ReduceMaxClassGather": _arg_gather,
    "popnn::ReduceMaxClassSparse": _arg_sparse,
}
