"""Codelets of the measured programs other than the blur: triad, midpoints of pi, and steps of stencils.

Those of stencils: fields are lists of rows, of a worker's part with its halo to read and of the part alone to write.
The operations are those that the counted FLOPs say: 6 a cell in two dimensions and 8 in three, that is one sum of the
neighbours, two products and one more addition.  West and east are added first, as the pair that is not aligned in
vectors (`ipusim.lang.align`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ipusim import Input, Output, Vector, codelet, float32, uint32
from ipusim.errors import BadInput
from ipusim.lang.slots import UNROLL_TRIPS, VECTOR_BYTES

Rows = Vector[Vector[float32]]


@cache
def triad(dtype: Any, profile: str, wide: bool) -> Any:
    """The loop over elements of `dtype`."""

    @codelet(profile=profile, vectorize=VECTOR_BYTES // dtype.bytes if wide else 1)
    def loop(a: Output[Vector[dtype]], b: Input[Vector[dtype]], c: Input[Vector[dtype]], s: dtype) -> None:
        for i in range(len(a)):
            a[i] = b[i] + s * c[i]

    return loop


@cache
def midpoints(unroll: int) -> Any:
    """The loop with `unroll` points to an iteration; those beyond a multiple are taken one by one.

    Raises BadInput where `unroll` is no product of two numbers of at most `UNROLL_TRIPS`.
    """
    outer = next((n for n in range(1, UNROLL_TRIPS + 1) if unroll % n == 0 and unroll // n <= UNROLL_TRIPS), 0)
    if not outer:
        raise BadInput(f"unroll={unroll}: the codelet has a product of two numbers up to {UNROLL_TRIPS}")
    inner = unroll // outer

    @codelet
    def single(out: Output[float32], first: Input[uint32], points: int, step: float) -> None:
        total = 0.0
        begin = first[0]
        for n in range(points):
            x = (float32(begin + uint32(n)) + 0.5) * step
            total += 4.0 / (1.0 + x * x)
        out[0] = total * step

    @codelet
    def unrolled(out: Output[float32], first: Input[uint32], points: int, step: float) -> None:
        total = 0.0
        begin = first[0]
        for n in range(0, points - unroll + 1, unroll):
            base = float32(begin + uint32(n))
            for j in range(outer):
                for k in range(inner):
                    x = (base + (float32(j * inner + k) + 0.5)) * step
                    total += 4.0 / (1.0 + x * x)
        for n in range(points - points % unroll, points):
            x = (float32(begin + uint32(n)) + 0.5) * step
            total += 4.0 / (1.0 + x * x)
        out[0] = total * step

    return single if unroll == 1 else unrolled


@codelet(cycles=0)
def receive(inp: Input[Rows]) -> None:
    """Nothing: its field has to be there."""
    return


@cache
def heat_2d(vectorize: int) -> Any:
    """The 5-point step; `vectorize`: 2 for pairs of floats, 1 for one at a time."""

    @codelet(vectorize=vectorize)
    def heat(inp: Input[Rows], out: Output[Rows], alpha: float, beta: float) -> None:
        for y in range(len(out)):
            for x in range(len(out[y])):
                out[y, x] = beta * inp[y + 1, x + 1] + alpha * (
                    (inp[y + 1, x] + inp[y + 1, x + 2]) + inp[y, x + 1] + inp[y + 2, x + 1]
                )

    return heat


@cache
def heat_3d(vectorize: int) -> Any:
    """The 7-point step; `height`: rows of a plane of the part."""

    @codelet(vectorize=vectorize)
    def heat(inp: Input[Rows], out: Output[Rows], depth: int, height: int, alpha: float, beta: float) -> None:
        for z in range(depth):
            for y in range(height):
                m = (z + 1) * (height + 2) + y + 1
                n = z * height + y
                for x in range(len(out[n])):
                    out[n, x] = beta * inp[m, x + 1] + alpha * (
                        (inp[m, x] + inp[m, x + 2])
                        + inp[m - 1, x + 1]
                        + inp[m + 1, x + 1]
                        + inp[m - height - 2, x + 1]
                        + inp[m + height + 2, x + 1]
                    )

    return heat


@cache
def diffusion() -> Any:
    """The 13-point step of fourth order, one float at a time: two cells each way along every axis."""

    @codelet
    def diffusion(
        inp: Input[Rows], out: Output[Rows], depth: int, height: int, c0: float, c1: float, c2: float
    ) -> None:
        for z in range(depth):
            for y in range(height):
                m = (z + 2) * (height + 4) + y + 2
                n = z * height + y
                for x in range(len(out[n])):
                    out[n, x] = (
                        c0 * inp[m, x + 2]
                        + c1 * (
                            inp[m, x + 1] + inp[m, x + 3]
                            + inp[m - 1, x + 2] + inp[m + 1, x + 2]
                            + inp[m - height - 4, x + 2] + inp[m + height + 4, x + 2]
                        )
                        + c2 * (
                            inp[m, x] + inp[m, x + 4]
                            + inp[m - 2, x + 2] + inp[m + 2, x + 2]
                            + inp[m - 2 * height - 8, x + 2] + inp[m + 2 * height + 8, x + 2]
                        )
                    )  # fmt: skip

    return diffusion


@cache
def wave() -> Any:
    """The acoustic wave's step: the same star, the step before, a damping and a velocity of every cell.

    With s = 1 / velocity squared: next = (laplace + s (2 u - before) + damping u) / (s + damping), steps of time in
    the coefficients.
    """

    @codelet
    def wave(
        inp: Input[Rows],
        before: Input[Rows],
        damping: Input[Rows],
        velocity: Input[Rows],
        out: Output[Rows],
        depth: int,
        height: int,
        c0: float,
        c1: float,
        c2: float,
    ) -> None:
        for z in range(depth):
            for y in range(height):
                m = (z + 2) * (height + 4) + y + 2
                n = z * height + y
                for x in range(len(out[n])):
                    u = inp[m, x + 2]
                    laplace = (
                        c0 * u
                        + c1 * (
                            inp[m, x + 1] + inp[m, x + 3]
                            + inp[m - 1, x + 2] + inp[m + 1, x + 2]
                            + inp[m - height - 4, x + 2] + inp[m + height + 4, x + 2]
                        )
                        + c2 * (
                            inp[m, x] + inp[m, x + 4]
                            + inp[m - 2, x + 2] + inp[m + 2, x + 2]
                            + inp[m - 2 * height - 8, x + 2] + inp[m + 2 * height + 8, x + 2]
                        )
                    )  # fmt: skip
                    s = 1.0 / (velocity[n, x] * velocity[n, x])
                    d = damping[n, x]
                    out[n, x] = (laplace + s * (2.0 * u - before[n, x]) + d * u) / (s + d)

    return wave
