"""What the examples share: sizes as arguments, errors of one line, and how a run ends.

Exit codes: 2 for sizes that make no sense, 3 for a program that does not fit the tiles.
"""

import argparse
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NoReturn

from ipusim import DoesNotFit, IpuSimError


class Parser(argparse.ArgumentParser):
    """Arguments of an example, with `--system` and `--json`; a mistake in them is one line and exit code 2."""

    def __init__(self, description: str, system: str = "GC2") -> None:
        super().__init__(description=description.splitlines()[0])
        self.add_argument("--system", default=system, help=f"system whose first IPU runs it (default {system})")
        self.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def count(least: int = 1) -> Callable[[str], int]:
    """A whole number of at least `least`."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return whole


def extents(form: str, least: int = 1) -> Callable[[str], tuple[int, ...]]:
    """Whole numbers as `form` shows them, say HxW."""

    def split(text: str) -> tuple[int, ...]:
        parts = text.split("x")
        if len(parts) != form.count("x") + 1 or not all(p.isdecimal() and int(p) >= least for p in parts):
            raise argparse.ArgumentTypeError(f"{text!r} is not {form} in whole numbers of at least {least}")
        return tuple(int(p) for p in parts)

    return split


def even(size: int, parts: int) -> list[range]:
    """0..size in consecutive ranges as even as possible, larger ones first; no empty ones."""
    parts = min(parts, size)
    base, larger = divmod(size, parts)
    edges = [0]
    for i in range(parts):
        edges.append(edges[-1] + base + (i < larger))
    return [range(a, b) for a, b in pairwise(edges)]


def grid(height: int, width: int, tiles: int) -> tuple[int, int]:
    """Rows and columns of blocks on at most `tiles` tiles: fewest cells in the largest block and its halo."""

    def cost(rows: int) -> tuple[int, int]:
        columns = min(width, tiles // rows)
        h, w = -(-height // rows), -(-width // columns)
        return (h + 2) * (w + 2), h

    rows = min(range(1, min(height, tiles) + 1), key=cost)
    return rows, min(width, tiles // rows)


def show(as_json: bool, facts: dict[str, Any], text: str) -> None:
    """Prints what an example found, as an object or as text."""
    print(json.dumps(facts) if as_json else text)


def finish(main: Callable[[], None]) -> NoReturn:
    """Runs an example; errors become one line and an exit code."""
    try:
        main()
    except DoesNotFit as error:
        print(f"does not fit: {error}", file=sys.stderr)
        raise SystemExit(3) from None
    except IpuSimError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
    raise SystemExit(0)
