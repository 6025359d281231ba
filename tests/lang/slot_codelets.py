"""Codelets whose slots were counted by hand: see tests/data/codelet_slots.csv for the counts and how they arise."""

from __future__ import annotations

import math

from ipusim.dtype import float32, half, int32, uint32
from ipusim.lang.fields import InOut, Input, Output, Vector


def dot(x: Input[Vector[float32]], y: Input[Vector[float32]], out: Output[float32]) -> None:
    s = 0.0
    for i in range(len(x)):
        s += x[i] * y[i]
    out[0] = s


def saxpy(x: Input[Vector[float32]], y: InOut[Vector[float32]], a: float) -> None:
    for i in range(len(x)):
        y[i] = a * x[i] + y[i]


def triad(a: Output[Vector[float32]], b: Input[Vector[float32]], c: Input[Vector[float32]], s: float) -> None:
    for i in range(len(a)):
        a[i] = b[i] + s * c[i]


def pi(out: Output[float32], n: uint32, h: float) -> None:
    s = 0.0
    for i in range(n):
        x = (float32(i) + 0.5) * h
        s += 4.0 / (1.0 + x * x)
    out[0] = s * h


def stencil(
    u: Input[Vector[float32]], out: Output[Vector[float32]], width: int, height: int, a: float, b: float
) -> None:
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            centre = u[y * width + x]
            around = u[y * width + x - 1] + u[y * width + x + 1] + u[(y - 1) * width + x] + u[(y + 1) * width + x]
            out[y * width + x] = a * centre + b * around


def stencil_rows(
    u: Input[Vector[Vector[float32]]], out: Output[Vector[Vector[float32]]], width: int, height: int, a: float, b: float
) -> None:
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            around = u[y][x - 1] + u[y][x + 1] + u[y - 1][x] + u[y + 1][x]
            out[y][x] = a * u[y][x] + b * around


def mandelbrot(cr: Input[Vector[float32]], ci: Input[Vector[float32]], out: Output[Vector[int32]], most: int) -> None:
    for k in range(len(cr)):
        a = cr[k]
        b = ci[k]
        x = 0.0
        y = 0.0
        n = 0
        while n < most and x * x + y * y < 4.0:
            t = x * x - y * y + a
            y = 2.0 * x * y + b
            x = t
            n += 1
        out[k] = n


def insertion_sort(a: InOut[Vector[float32]]) -> None:
    for i in range(1, len(a)):
        key = a[i]
        j = i - 1
        while j >= 0 and a[j] > key:
            a[j + 1] = a[j]
            j -= 1
        a[j + 1] = key


def softmax(x: InOut[Vector[float32]]) -> None:
    most = x[0]
    for i in range(len(x)):
        most = max(most, x[i])
    s = 0.0
    for i in range(len(x)):
        e = math.exp(x[i] - most)
        x[i] = e
        s += e
    r = 1.0 / s
    for i in range(len(x)):
        x[i] = x[i] * r


def search(keys: Input[Vector[float32]], wanted: Input[Vector[float32]], out: Output[Vector[int32]]) -> None:
    for k in range(len(wanted)):
        w = wanted[k]
        low = 0
        high = len(keys)
        while low < high:
            middle = (low + high) >> 1
            if keys[middle] < w:
                low = middle + 1
            else:
                high = middle
        out[k] = low


def half_scale(x: InOut[Vector[half]]) -> None:
    for i in range(len(x)):
        x[i] = x[i] * 0.5


def explained(x: Input[Vector[float32]], k: Input[Vector[int32]], out: Output[Vector[half]], n: int) -> None:
    low = 1.0
    for i in range(n):
        low = min(low, x[i])
    for i in range(n):
        out[i] = half(math.sin(x[i] - low) * float32(k[i] // n))
