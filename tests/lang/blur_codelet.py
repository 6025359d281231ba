"""The nine-region Gaussian blur of four-channel images, one source for float, float2 and half4.

out = (nw + ne + sw + se) / 16 + 2 (n + s + e + w) / 16 + 4 m / 16 for each channel.  The block is width x height
pixels; its neighbours come as the rows `n`, `s`, the columns `w`, `e` and the corner pixels `nw`, `ne`, `sw`, `se`.
"""

from typing import Any

from ipusim.dtype import DType
from ipusim.lang.fields import Input, Output, Vector


def make(dtype: DType) -> Any:
    """The codelet's function for images of `dtype` (float32 or half)."""

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
