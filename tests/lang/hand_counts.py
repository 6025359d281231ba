"""Slots counted by hand, and what the package counts for the same codelets; docs/make_validation.py prints both."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from lang import slot_codelets
from lang.slot_interpreter import Count

from ipusim.lang import ir
from ipusim.lang.costs import Costs, costs
from ipusim.lang.parse import parse
from ipusim.lang.reads import statements

DATA = Path(__file__).parents[1] / "data" / "codelet_slots.csv"
HAND = list(csv.DictReader(DATA.read_text().splitlines()))
KERNELS = (
    "dot",
    "saxpy",
    "triad",
    "pi",
    "stencil",
    "stencil_rows",
    "mandelbrot",
    "insertion_sort",
    "softmax",
    "search",
)
KINDS = {"for": ir.For, "while": ir.While, "if": ir.If}
PROFILES = ("asm", "list", "serial")


def function_of(name: str) -> ir.Function:
    return parse(getattr(slot_codelets, name))


def at(function: ir.Function, counted: Costs, where: str) -> int:
    """Slots of `for 2`: each iteration of the second one in source order; `while 1 + then 1`: a sum of such."""
    total = 0
    for part in where.split(" + "):
        word, number = part.split()
        kind = KINDS.get(word, ir.If)
        table = {"then": counted.then, "other": counted.other}.get(word, counted.each)
        total += table.get(id([s for s in statements(function.body) if isinstance(s, kind)][int(number) - 1]), 0)
    return total


def run(name: str, profile: str, fields: dict[str, Any], members: dict[str, Any], vectorize: int = 1) -> Count:
    function = function_of(name)
    return Count(function, costs(function, profile=profile, vectorize=vectorize), fields, members)


def stencil_slots(profile: str) -> int:
    u = np.ones(64 * 64, np.float32)
    return run("stencil", profile, {"u": u, "out": u.copy()}, {"width": 64, "height": 64, "a": 0.5, "b": 0.1}).slots


def mandelbrot_slots(profile: str) -> tuple[int, float]:
    re, im = (a.ravel().astype(np.float32) for a in np.meshgrid(np.linspace(-2, 0.5, 10), np.linspace(-1, 1, 8)))
    out = np.zeros(80, np.int32)
    count = run("mandelbrot", profile, {"cr": re, "ci": im, "out": out}, {"most": 50})
    return count.slots, 11.5 * int(out.sum()) + 4 * 80


def schedules() -> list[tuple[str, float, dict[str, int]]]:
    """(kernel, slots of a hand-made list schedule, slots of each profile) of whole kernels on fixed data."""
    keys = np.random.default_rng(3).permutation(100).astype(np.float32)
    moves = sum(int((keys[:i] > keys[i]).sum()) for i in range(1, 100))
    table = np.arange(1024, dtype=np.float32)
    wanted = np.random.default_rng(4).uniform(0, 1024, 200).astype(np.float32)
    steps = _search("list", table, wanted)
    ones = np.ones(1000, np.float32)
    hand = {
        "dot": 4 * 1000,
        "saxpy": 5 * 1000,
        "stencil": 10 * 62 * 62 + 8 * 62,
        "mandelbrot": mandelbrot_slots("list")[1],
        "insertion_sort": 7 * moves + 9 * 99,
        "softmax": 13 * 1000,
        "search": 10 * steps.loops[max(steps.loops)],
    }
    ours = {
        "dot": lambda p: run("dot", p, {"x": ones, "y": ones, "out": ones[:1].copy()}, {}).slots,
        "saxpy": lambda p: run("saxpy", p, {"x": ones, "y": ones.copy()}, {"a": 2.0}).slots,
        "stencil": stencil_slots,
        "mandelbrot": lambda p: mandelbrot_slots(p)[0],
        "insertion_sort": lambda p: run("insertion_sort", p, {"a": keys.copy()}, {}).slots,
        "softmax": lambda p: run("softmax", p, {"x": ones.copy()}, {}).slots,
        "search": lambda p: _search(p, table, wanted).slots,
    }
    return [(name, hand[name], {p: ours[name](p) for p in PROFILES}) for name in hand]


def _search(profile: str, table: Any, wanted: Any) -> Count:
    return run("search", profile, {"keys": table, "wanted": wanted, "out": np.zeros(len(wanted), np.int32)}, {})
