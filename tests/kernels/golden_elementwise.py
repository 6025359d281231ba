"""Golden counts of elementwise and cast vertices, by name of the vertex: parameters -> cycles."""

from ipusim_kernels.cast import cycles as cast
from ipusim_kernels.elementwise import cycles as e

NAMES = {
    "neg": "neg",
    "inv": "reciprocal",
    "inverse": "reciprocal",
    "signum": "sign",
    "gelu_erf": "gelu",
    "gelu-erf": "gelu",
    "round": "round",
    "rem": "mod",
    "eq": "equal",
    "lt": "less",
    "lte": "less_equal",
    "gt": "greater",
    "gte": "greater_equal",
    "neq": "not_equal",
    "absolute": "abs",
    "exponent": "exp",
    "logarithm": "log",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "maximum": "max",
    "v2i": "variance_to_rsqrt",
}


def name(p):
    return NAMES.get(p["op"], p["op"])


def unary(in_place):
    def run(p, chip):
        half = p["type"] == "half"
        entry = e.unary_entry(name(p), half, in_place, chip == "mk1")
        return e.unary_1d(entry, int(p["n"]), in_place, name(p) == "exp")

    return run


def regions(p):
    return tuple(int(n) for n in p["sizes"].split("+"))


def unary_2d(p, chip):
    return e.unary_2d(e.unary_entry(name(p), p["type"] == "half", False, chip == "mk1"), regions(p))


def binary(in_place):
    def run(p, chip):
        half = p["type"] == "half"
        entry = e.INTEGER_LOOP if p["type"] == "int" else e.binary_entry(name(p), half, in_place, chip == "mk1")
        return e.binary_1d(entry, int(p["n"]), p["type"] == "float", in_place)

    return run


def binary_2d(p, chip):
    return e.binary_2d(e.binary_entry(name(p), p["type"] == "half", False, chip == "mk1"), regions(p), False)


def scalar(p, chip):
    return e.broadcast_scalar_1d(e.BROADCAST[name(p)][p["type"] == "half"], int(p["n"]))


def inner(p, chip):
    half = p["type"] == "half"
    in_place = p.get("inPlace") == "1"
    return e.vector_inner_1d(name(p), half, int(p["sliceLen"]), int(p["broadcastFactor"]), int(p["slices"]), in_place)


def by_row(p, chip):
    return e.vector_outer_by_row(e.BROADCAST[name(p)][p["type"] == "half"], int(p["rows"]), int(p["columns"]))


def by_column(p, chip):
    return e.vector_outer_by_column(e.BROADCAST[name(p)][p["type"] == "half"], int(p["rows"]), int(p["columns"]))


def cast_1d(p, chip):
    return cast.cast_1d(int(p["n"]), p["from"] == "half", p["to"] == "half")


def cast_single(p, chip):
    return cast.cast_1d_single(int(p["n"]), p["from"] == "half", p["to"] == "half")


def cast_2d(p, chip):
    return 5 + sum(11 + cast.cast_worker(n, p["from"] == "half", p["to"] == "half") for n in regions(p))


def planner_cast(p, chip):
    return cast.planner_cast(int(p["n"]), int(p["partialsVectorWidth"]), int(p["outputVectorWidth"]))


def nonlinearity(p, chip):
    return e.nonlinearity_1d(p["nl"], p["type"] == "half", int(p["n"]))


def fill(p, chip):
    return e.fill(int(p["n"]), {"half": 2, "float": 4, "int": 4, "char": 1, "quarter": 1}[p["type"]])


BUILT = {
    "popops::UnaryOp1D": unary(False),
    "popops::UnaryOp1DInPlace": unary(True),
    "popops::UnaryOp2D": unary_2d,
    "popops::BinaryOp1D": binary(False),
    "popops::BinaryOp1DInPlace": binary(True),
    "popops::BinaryOp2D": binary_2d,
    "popops::BroadcastScalar1D": scalar,
    "popops::BroadcastVectorInner1D": inner,
    "popops::BroadcastVectorOuterByRow1D": by_row,
    "popops::BroadcastVectorOuterByColumn1D": by_column,
    "popops::Cast1D": cast_1d,
    "popops::Cast1DSingleWorker": cast_single,
    "popops::Cast2D": cast_2d,
    "planner:estimateCastCycles": planner_cast,
    "popnn::NonLinearity1D": nonlinearity,
    "popops::Fill": fill,
}
