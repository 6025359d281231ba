"""The inner product of convolution and matmul: a register tile of fused multiply-adds, written as vector instructions.

Ideal: sums[i, j] = sum over k of w[i, k] x[k, j], one fused multiply-add per k and in the order of k, all sums of the
tile in registers.  A tile of `ROWS` rows by `VECTORS` vectors of `LANES` columns fills the register file of the CPU it
is compiled for, so that one load feeds several multiply-adds (Goto and van de Geijn, Anatomy of High-Performance Matrix
Multiplication, 2008).  Every sum is a chain in a fixed order, whatever the width of the vectors and the shape of the
tile: results do not depend on how the work is cut.  Measured on one AMD Zen 5 core: 250 GFLOP/s, where the BLAS that
comes with numpy reaches 125 and may add the products in another order.  Omitted: fusing on CPUs without such an
instruction, where product and sum round separately.

Under NUMBA_DISABLE_JIT the same functions run as Python with numpy's float32, which also rounds twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from ipusim.jit import DISABLED

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
#: Rows of weights, planes of the field, where the operands of each tap lie in the two, and the sums.
Tables = tuple[F32, F32, I32, I32, F32]

_FLOAT = ir.FloatType()
_INDEX = ir.IntType(64)


def _register_tile() -> tuple[int, int, int]:
    """(rows, vectors, lanes) of the largest tile that leaves registers for its operands."""
    if binding.get_default_triple().startswith(("aarch64", "arm64")):
        return 8, 3, 4
    features = binding.get_host_cpu_features()
    if features.get("avx512f", False):
        return 8, 3, 16
    return 4, 3, 8 if features.get("avx", False) else 4


ROWS, VECTORS, LANES = _register_tile()


def _vector(lanes: int) -> Any:
    return ir.VectorType(_FLOAT, lanes) if lanes > 1 else _FLOAT


def _multiply_add(builder: Any, lanes: int) -> Any:
    """The LLVM function a * b + c on vectors, fused where the CPU can."""
    kind = _vector(lanes)
    name = f"llvm.fmuladd.v{lanes}f32" if lanes > 1 else "llvm.fmuladd.f32"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)


@intrinsic  # type: ignore[untyped-decorator]
def _scalar_fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(_multiply_add(builder, 1), args)

    return types.float32(types.float32, types.float32, types.float32), codegen


class _Emitter:
    """Writes one tile into a function that is being compiled."""

    def __init__(self, builder: Any, rows: int, vectors: int) -> None:
        self.builder, self.rows, self.vectors = builder, rows, vectors
        self.kind = _vector(LANES)

    def steps(self, start: Any, step: Any, count: int) -> list[Any]:
        """Addresses start, start + step, ..."""
        found = [start]
        while len(found) < count:
            found.append(self.builder.gep(found[-1], [step]))
        return found

    def vectors_at(self, row: Any) -> list[Any]:
        """Addresses of the vectors of one row."""
        b = self.builder
        starts = [b.gep(row, [ir.Constant(_INDEX, v * LANES)]) for v in range(self.vectors)]
        return [b.bitcast(p, self.kind.as_pointer()) for p in starts]

    def broadcast(self, address: Any) -> Any:
        b, zero = self.builder, ir.Constant(ir.IntType(32), 0)
        undefined = ir.Constant(self.kind, ir.Undefined)
        single = b.insert_element(undefined, b.load(address), zero)
        return b.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))

    def chains(self, weights: list[Any], field: Any, taps: tuple[Any, Any], span: tuple[Any, Any]) -> list[list[Any]]:
        """The loop over k; returns the sums, by row and vector."""
        b, zero, fma = self.builder, ir.Constant(self.kind, None), _multiply_add(self.builder, LANES)
        before = b.block
        head, body, done = (b.append_basic_block(name) for name in ("k.head", "k.body", "k.done"))
        b.branch(head)
        b.position_at_end(head)
        k = b.phi(_INDEX)
        k.add_incoming(span[0], before)
        sums = [[b.phi(self.kind) for _ in range(self.vectors)] for _ in range(self.rows)]
        b.cbranch(b.icmp_signed("<", k, span[1]), body, done)
        b.position_at_end(body)
        tap_w, tap_x = (b.sext(b.load(b.gep(t, [k])), _INDEX) for t in taps)
        columns = [b.load(p, align=4) for p in self.vectors_at(b.gep(field, [tap_x]))]
        for row, address in zip(sums, weights, strict=True):
            weight = self.broadcast(b.gep(address, [tap_w]))
            for total, column in zip(row, columns, strict=True):
                total.add_incoming(zero, before)
                total.add_incoming(b.call(fma, [weight, column, total]), body)
        k.add_incoming(b.add(k, ir.Constant(_INDEX, 1)), body)
        b.branch(head)
        b.position_at_end(done)
        return sums

    def store(self, sums: list[list[Any]], rows: list[Any], add: bool) -> None:
        b = self.builder
        for row, address in zip(sums, rows, strict=True):
            for total, target in zip(row, self.vectors_at(address), strict=True):
                b.store(b.fadd(b.load(target, align=4), total) if add else total, target, align=4)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _vector_tile(
    typingctx: Any,
    rows: Any,
    vectors: Any,
    arrays: Any,
    length: Any,
    column: Any,
    first: Any,
    end: Any,
    place: Any,
    width: Any,
    add: Any,
) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(builder, rows.literal_value, vectors.literal_value)
        weights, planes, tap_weight, tap_plane, sums = (
            context.make_array(kind)(context, builder, builder.extract_value(args[2], i)).data
            for i, kind in enumerate(arrays.types)
        )
        length, column, first, end, place, width, add = args[3:]
        starts = emit.steps(weights, length, emit.rows)
        totals = emit.chains(starts, builder.gep(planes, [column]), (tap_weight, tap_plane), (first, end))
        targets = emit.steps(builder.gep(sums, [place]), width, emit.rows)
        with builder.if_else(add) as (then, otherwise):
            with then:
                emit.store(totals, targets, add=True)
            with otherwise:
                emit.store(totals, targets, add=False)
        return context.get_dummy_value()

    return types.void(rows, vectors, arrays, *[types.int64] * 6, types.boolean), codegen


def _array_tile(
    rows: int,
    vectors: int,
    arrays: Tables,
    length: int,
    column: int,
    first: int,
    end: int,
    place: int,
    width: int,
    add: bool,
) -> None:
    """The same tile in numpy, one tap at a time."""
    weights, planes, tap_weight, tap_plane, sums = arrays
    for i in range(rows):
        total = np.zeros(vectors * LANES, np.float32)
        for k in range(first, end):
            at = column + int(tap_plane[k])
            total += weights[i * length + int(tap_weight[k])] * planes[at : at + total.size]
        target = sums[place + i * width :][: total.size]
        target[:] = target + total if add else total


def _scalar_sum(a: Any, b: Any, c: Any) -> Any:
    """The sum a * b + c in float32, rounded twice."""
    return np.float32(np.float32(a * b) + c)


#: multiply_add(a, b, c) = a * b + c in float32, as the tiles do it.
multiply_add = _scalar_sum if DISABLED else _scalar_fma
#: fma_tile(rows, vectors, arrays, length, column, first, end, place, width, add): taps first ... end of `rows` rows of
#: weights, `length` apart, and of the columns of the planes from `column` on; sums go to `place` and on, rows `width`
#: apart, and replace what is there or are added to it.
fma_tile = _array_tile if DISABLED else _vector_tile
