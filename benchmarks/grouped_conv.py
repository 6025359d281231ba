"""Grouped convolutions: what a chip's planner reaches as groups get smaller.

    python benchmarks/grouped_conv.py [CHIP]

A 7 x 7 field, 512 filters, a 3 x 3 kernel, batch 32, half with half partials; group width (channels per conv group)
from 512 to 1.  Per width: the plan's TFLOP/s and method, and, below 16 channels, what block-diagonal groups of 16 reach
on the matrix unit (the plan of the wider layer, so without rearranging weights).  These are plans' estimates, not
measurements.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ipusim.dtype import float16
from ipusim.hw.presets import system
from ipusim.hw.spec import ChipSpec
from ipusim.lower.rules import Options
from ipusim_kernels.conv.plan import Plan, plan
from ipusim_kernels.conv.shape import ConvShape

FIELD, FILTERS, KERNEL, BATCH = 7, 512, 3, 32
BLOCK = 16  # half channels of the matrix unit: conv groups are combined up to it
WIDTHS = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Row:
    """A group width with its plan, TFLOP/s, and TFLOP/s of block-diagonal groups (None: too wide)."""

    width: int
    plan: Plan
    rate: float
    combined: float | None


def layer(width: int, field: int = FIELD, batch: int = BATCH) -> ConvShape:
    """The layer with `width` channels per conv group."""
    sizes = (field,) * 4
    return ConvShape(batch, FILTERS // width, width, width, *sizes, KERNEL, KERNEL, (1, 1), (1, 1), (1, 1))


def row(width: int, chip: ChipSpec, field: int = FIELD, batch: int = BATCH) -> Row:
    """One group width on one chip."""
    shape = layer(width, field, batch)
    options = Options(partials=float16)
    chosen = plan(shape, float16, chip, options)
    work = 2e-12 * shape.macs * chip.clock_hz
    combined = work / plan(layer(BLOCK, field, batch), float16, chip, options).estimate if width < BLOCK else None
    return Row(width, chosen, work / chosen.estimate, combined)


def table(chip: ChipSpec) -> list[Row]:
    """A row per group width."""
    return [row(width, chip) for width in WIDTHS]


def main(arguments: list[str]) -> int:
    """Prints the table of a chip (default GC2)."""
    chip = system(arguments[0] if arguments else "GC2").chip
    print(f"{chip.name}, peak {chip.peak_half_flops / 1e12:.1f} TFLOP/s in half")
    print(f"{'width':>5} {'TFLOP/s':>8} {'combined':>9}  method")
    for row in table(chip):
        method = row.plan.method
        combined = "" if row.combined is None else f"{row.combined:.1f}"
        print(f"{row.width:>5} {row.rate:>8.1f} {combined:>9}  {method.kind}, {method.in_group} channels together")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
