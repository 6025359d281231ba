"""The codelet of the Gaussian blur: nine loop regions of a block, and variants for blocks of one row or column.

    out = (nw + ne + sw + se) / 16 + (n + s + e + w) 2 / 16 + m 4 / 16    for each of four channels

A vertex has its block and, as eight fields more, the edges and corner pixels around it, each contiguous.  The channel
loop is unrolled in each region; counted on 1 (float), 2 (float2) or 4 (half4) channels at once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ipusim import Input, Output, Vector, codelet, float32, half

CHANNELS = 4
#: Data type -> (element type, channels that the codelet works on at once).
TYPES = {"float": (float32, 1), "float2": (float32, 2), "half4": (half, 4)}


@cache
def make_codelet(dtype: Any, vectorize: int, cycles: Any = None) -> Any:
    """The blur of a block of `width` x `height` pixels of `dtype`, in nine regions; thin blocks have their own.

    `cycles` as `@codelet` takes it.
    """

    @codelet(vectorize=vectorize, cycles=cycles)
    def blur(
        inp: Input[Vector[dtype]],
        out: Output[Vector[dtype]],
        n: Input[Vector[dtype]],
        s: Input[Vector[dtype]],
        e: Input[Vector[dtype]],
        w: Input[Vector[dtype]],
        nw: Input[Vector[dtype]],
        ne: Input[Vector[dtype]],
        sw: Input[Vector[dtype]],
        se: Input[Vector[dtype]],
        width: int,
        height: int,
    ) -> None:
        row = width * 4
        right = row - 4
        last = (height - 1) * row
        if width > 1 and height > 1:
            for c in range(4):
                out[c] = mix(nw[c], n[c], n[4 + c], w[c], inp[c], inp[4 + c], w[4 + c], inp[row + c], inp[row + 4 + c])
            for x in range(1, width - 1):
                for c in range(4):
                    out[x * 4 + c] = mix(
                        n[x * 4 - 4 + c], n[x * 4 + c], n[x * 4 + 4 + c],
                        inp[x * 4 - 4 + c], inp[x * 4 + c], inp[x * 4 + 4 + c],
                        inp[row + x * 4 - 4 + c], inp[row + x * 4 + c], inp[row + x * 4 + 4 + c],
                    )  # fmt: skip
            for c in range(4):
                out[right + c] = mix(
                    n[right - 4 + c], n[right + c], ne[c],
                    inp[right - 4 + c], inp[right + c], e[c],
                    inp[row + right - 4 + c], inp[row + right + c], e[4 + c],
                )  # fmt: skip
            for y in range(1, height - 1):
                for c in range(4):
                    out[y * row + c] = mix(
                        w[y * 4 - 4 + c], inp[(y - 1) * row + c], inp[(y - 1) * row + 4 + c],
                        w[y * 4 + c], inp[y * row + c], inp[y * row + 4 + c],
                        w[y * 4 + 4 + c], inp[(y + 1) * row + c], inp[(y + 1) * row + 4 + c],
                    )  # fmt: skip
            for y in range(1, height - 1):
                for x in range(1, width - 1):
                    for c in range(4):
                        out[y * row + x * 4 + c] = mix(
                            inp[(y - 1) * row + x * 4 - 4 + c], inp[(y - 1) * row + x * 4 + c],
                            inp[(y - 1) * row + x * 4 + 4 + c],
                            inp[y * row + x * 4 - 4 + c], inp[y * row + x * 4 + c], inp[y * row + x * 4 + 4 + c],
                            inp[(y + 1) * row + x * 4 - 4 + c], inp[(y + 1) * row + x * 4 + c],
                            inp[(y + 1) * row + x * 4 + 4 + c],
                        )  # fmt: skip
            for y in range(1, height - 1):
                for c in range(4):
                    out[y * row + right + c] = mix(
                        inp[(y - 1) * row + right - 4 + c], inp[(y - 1) * row + right + c], e[y * 4 - 4 + c],
                        inp[y * row + right - 4 + c], inp[y * row + right + c], e[y * 4 + c],
                        inp[(y + 1) * row + right - 4 + c], inp[(y + 1) * row + right + c], e[y * 4 + 4 + c],
                    )  # fmt: skip
            for c in range(4):
                out[last + c] = mix(
                    w[height * 4 - 8 + c], inp[last - row + c], inp[last - row + 4 + c],
                    w[height * 4 - 4 + c], inp[last + c], inp[last + 4 + c],
                    sw[c], s[c], s[4 + c],
                )  # fmt: skip
            for x in range(1, width - 1):
                for c in range(4):
                    out[last + x * 4 + c] = mix(
                        inp[last - row + x * 4 - 4 + c], inp[last - row + x * 4 + c], inp[last - row + x * 4 + 4 + c],
                        inp[last + x * 4 - 4 + c], inp[last + x * 4 + c], inp[last + x * 4 + 4 + c],
                        s[x * 4 - 4 + c], s[x * 4 + c], s[x * 4 + 4 + c],
                    )  # fmt: skip
            for c in range(4):
                out[last + right + c] = mix(
                    inp[last - row + right - 4 + c], inp[last - row + right + c], e[height * 4 - 8 + c],
                    inp[last + right - 4 + c], inp[last + right + c], e[height * 4 - 4 + c],
                    s[right - 4 + c], s[right + c], se[c],
                )  # fmt: skip
        elif height > 1:  # one column
            for c in range(4):
                out[c] = mix(nw[c], n[c], ne[c], w[c], inp[c], e[c], w[4 + c], inp[4 + c], e[4 + c])
            for y in range(1, height - 1):
                for c in range(4):
                    out[y * 4 + c] = mix(
                        w[y * 4 - 4 + c], inp[y * 4 - 4 + c], e[y * 4 - 4 + c],
                        w[y * 4 + c], inp[y * 4 + c], e[y * 4 + c],
                        w[y * 4 + 4 + c], inp[y * 4 + 4 + c], e[y * 4 + 4 + c],
                    )  # fmt: skip
            for c in range(4):
                out[last + c] = mix(
                    w[last - 4 + c], inp[last - 4 + c], e[last - 4 + c], w[last + c], inp[last + c], e[last + c],
                    sw[c], s[c], se[c],
                )  # fmt: skip
        elif width > 1:  # one row
            for c in range(4):
                out[c] = mix(nw[c], n[c], n[4 + c], w[c], inp[c], inp[4 + c], sw[c], s[c], s[4 + c])
            for x in range(1, width - 1):
                for c in range(4):
                    out[x * 4 + c] = mix(
                        n[x * 4 - 4 + c], n[x * 4 + c], n[x * 4 + 4 + c],
                        inp[x * 4 - 4 + c], inp[x * 4 + c], inp[x * 4 + 4 + c],
                        s[x * 4 - 4 + c], s[x * 4 + c], s[x * 4 + 4 + c],
                    )  # fmt: skip
            for c in range(4):
                out[right + c] = mix(
                    n[right - 4 + c], n[right + c], ne[c], inp[right - 4 + c], inp[right + c], e[c],
                    s[right - 4 + c], s[right + c], se[c],
                )  # fmt: skip
        else:
            for c in range(4):
                out[c] = mix(nw[c], n[c], ne[c], w[c], inp[c], e[c], sw[c], s[c], se[c])

    return blur


def mix(nw: Any, n: Any, ne: Any, w: Any, m: Any, e: Any, sw: Any, s: Any, se: Any) -> Any:
    """One output element of its nine neighbours."""
    return (nw + ne + sw + se) * 0.0625 + (n + s + e + w) * 0.125 + m * 0.25
