"""Elementwise vertices by name: the parameters of a row to the arguments of their formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ipusim.errors import UnknownName
from ipusim_kernels.elementwise import cycles, nonlinear_cycles, vertex_loops
from ipusim_kernels.elementwise.cycles import Loop
from ipusim_kernels.parameters import Formula, Parameters


def _op(p: Parameters) -> str:
    return vertex_loops.named(p.text("op"))


def _unary_loop(p: Parameters, in_place: bool) -> Loop:
    if p.is_integer():
        return vertex_loops.integer_unary(_op(p))
    return vertex_loops.unary(_op(p), p.half(), in_place, p.mk1)


def _unary_1d(in_place: bool) -> Formula:
    def run(p: Parameters) -> int:
        return cycles.unary_1d(_unary_loop(p, in_place), p.count("n"), in_place, _op(p) == "exp")

    return run


def _unary_2d(in_place: bool) -> Formula:
    def run(p: Parameters) -> int:
        return cycles.unary_2d(_unary_loop(p, in_place), p.counts("sizes"))

    return run


def _binary_loop(p: Parameters, in_place: bool) -> Loop:
    if p.is_integer():
        return vertex_loops.integer_binary(_op(p), False)
    return vertex_loops.binary(_op(p), p.half(), in_place, p.mk1)


def _binary_1d(in_place: bool) -> Formula:
    def run(p: Parameters) -> int:
        is_float = not p.is_integer() and not p.half()
        return cycles.binary_1d(_binary_loop(p, in_place), p.count("n"), is_float, in_place)

    return run


def _binary_2d(in_place: bool) -> Formula:
    def run(p: Parameters) -> int:
        return cycles.binary_2d(_binary_loop(p, in_place), p.counts("sizes"), in_place)

    return run


def _scalar_1d(p: Parameters) -> int:
    if p.is_integer():
        loop = vertex_loops.integer_binary(_op(p), True)
    else:
        loop = vertex_loops.broadcast(_op(p), p.half())
    return cycles.broadcast_scalar_1d(loop, p.count("n"))


def _inner(in_place: bool) -> Formula:
    def run(p: Parameters) -> int:
        kind = _op(p)
        if kind not in vertex_loops.ASSEMBLY:
            raise UnknownName("function of a vector along rows", kind, vertex_loops.ASSEMBLY)
        sizes = p.count("sliceLen"), p.count("broadcastFactor"), p.count("slices", 1)
        return cycles.vector_inner_1d(kind, p.half(), *sizes, in_place or p.flag("inPlace"))

    return run


def _outer(formula: Callable[[Loop, int, int, bool], int]) -> Formula:
    def run(p: Parameters) -> int:
        loop = vertex_loops.outer(_op(p), p.half())
        return formula(loop, p.count("rows"), p.count("columns"), not p.flag("allowMisaligned"))

    return run


def _known(p: Parameters, table: Mapping[str, object]) -> str:
    kind = p.text("nl").lower()
    if kind not in table:
        raise UnknownName("non-linearity with a price", kind, table)
    return kind


def _nonlinearity_1d(p: Parameters) -> int:
    kind = _known(p, nonlinear_cycles.NONLINEARITY | nonlinear_cycles.EARLY)
    return nonlinear_cycles.nonlinearity_1d(kind, p.half(), p.count("n")) + 6 * p.unpack()


def _nonlinearity_2d(p: Parameters) -> int:
    kind = _known(p, nonlinear_cycles.NONLINEARITY | nonlinear_cycles.EARLY)
    return nonlinear_cycles.nonlinearity_2d(kind, p.half(), p.counts("sizes"))


def _gradient_1d(p: Parameters) -> int:
    kind = _known(p, nonlinear_cycles.GRADIENT)
    scaled = p.unpack() + 2 if p.text("layout", "OnePtr") == "ScaledPtr64" else 0
    return nonlinear_cycles.gradient_1d(kind, p.half(), p.count("n")) + 6 * scaled


def _gradient_2d(p: Parameters) -> int:
    return nonlinear_cycles.gradient_2d(_known(p, nonlinear_cycles.GRADIENT), p.half(), p.counts("sizes"))


def _loss(cross_entropy: bool) -> Formula:
    return lambda p: nonlinear_cycles.loss(cross_entropy, p.half(), p.count("n"))


KINDS: dict[str, Formula] = {
    "popops::UnaryOp1D": _unary_1d(False),
    "popops::UnaryOp1DInPlace": _unary_1d(True),
    "popops::UnaryOp2D": _unary_2d(False),
    "popops::UnaryOp2DInPlace": _unary_2d(True),
    "popops::BinaryOp1D": _binary_1d(False),
    "popops::BinaryOp1DInPlace": _binary_1d(True),
    "popops::BinaryOp2D": _binary_2d(False),
    "popops::BinaryOp2DInPlace": _binary_2d(True),
    "popops::BroadcastScalar1D": _scalar_1d,
    "popops::BroadcastScalar1DInPlace": _scalar_1d,
    "popops::BroadcastVectorInner1D": _inner(False),
    "popops::BroadcastVectorInner1DInPlace": _inner(True),
    "popops::BroadcastVectorOuterByRow1D": _outer(cycles.vector_outer_by_row),
    "popops::BroadcastVectorOuterByColumn1D": _outer(cycles.vector_outer_by_column),
    "popops::Fill": lambda p: cycles.fill(p.count("n"), p.element_bytes()),
    "popops::Fill2d": lambda p: cycles.fill_2d(p.counts("sizes"), p.element_bytes()),
    "popnn::NonLinearity1D": _nonlinearity_1d,
    "popnn::NonLinearity2D": _nonlinearity_2d,
    "popnn::NonLinearityGrad1D": _gradient_1d,
    "popnn::NonLinearityGrad2D": _gradient_2d,
    "popnn::LossCrossEntropyTransform": _loss(True),
    "popnn::LossSumSquaredTransform": _loss(False),
}
