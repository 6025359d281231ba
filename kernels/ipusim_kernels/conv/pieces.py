"""Parts of the reduction in the order in which a plan sums them, as the values need them.

A part is a range of transformed channels and of kernel rows.  Kernel positions that were made channels are given back:
the part becomes boxes (first channel, end, first kernel row, end, first kernel column, end), in the order in which a
vertex meets them.  Padding and the zeros of combined groups add nothing and are left out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ipusim_kernels.conv.geometry import geometry
from ipusim_kernels.conv.plan import Plan
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.conv.transform import Transform

Box = tuple[int, int, int, int, int, int]
Part = tuple[Box, ...]


@lru_cache(maxsize=512)
def parts(plan: Plan) -> tuple[Part, ...]:
    """Parts of the reduction of a plan in order, those that are not all zeros."""
    s = plan.shape
    step = replace(s, ci=s.ci // plan.serial_ci, co=s.co // plan.serial_co)
    found: dict[Part, None] = {}
    for number in range(plan.serial_ci):
        for c0, c1, k0, k1 in geometry(step, plan.partition).pieces:
            made = _part(plan.request.shape, plan.transform, (c0 + number * step.ci, c1 + number * step.ci), (k0, k1))
            if made:
                found[made] = None
    return tuple(found)


def _part(s: ConvShape, t: Transform, channels: tuple[int, int], rows: tuple[int, int]) -> Part:
    down, across = t.expanded
    taps = (s.kernel_height if down else 1) * (s.kernel_width if across else 1)
    if t.combined > 1:
        # members of a combined group do not share channels: each sees its own, wherever the range is cut
        channels = (0, s.ci * taps)
    if not t.taps:
        end = min(channels[1], s.ci)
        return ((channels[0], end, *rows, 0, s.kernel_width),) if end > channels[0] else ()
    found = []
    for tap in range(channels[0] // s.ci, min(taps, -(-channels[1] // s.ci))):
        c0, c1 = max(0, channels[0] - tap * s.ci), min(s.ci, channels[1] - tap * s.ci)
        y = tap // s.kernel_width if across and down else tap
        x = tap % s.kernel_width if across and down else tap
        box_y = (y, y + 1) if down else rows
        box_x = (x, x + 1) if across else (0, s.kernel_width)
        found.append((c0, c1, *box_y, *box_x))
    return tuple(found)
