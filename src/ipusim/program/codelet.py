"""A codelet: what a vertex computes and how long it takes, one object, one signature.

A worker vertex runs on one of the six contexts of a tile; its cycles are thread cycles, and one thread cycle is six
tile cycles whether or not the other contexts are busy.  A MultiVertex occupies all contexts; its cycles are tile
cycles already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


#: One vertex: (attrs, sizes of the vertex, one list of boxes per field in field order); outputs are written in place.
Compute = Callable[[Any, tuple[int, ...], Sequence[Sequence[Array]]], None]
#: A whole group: (attrs, one array per field); outputs are written in place.
Batched = Callable[[Any, Sequence[Array]], None]


@final
@dataclass(frozen=True, slots=True)
class Codelet:
    """`compute` is the meaning, `cycles(attrs, *sizes)` the time, `batched` the same values for a whole group at once.

    `sizes` names the columns that `cycles` takes; `flops(attrs, *sizes)` counts floating-point operations as the
    vendor's estimators do (a multiply-add is two).  `code_bytes` is charged once on each tile that uses the codelet.
    `listed` names the fields that it takes as a list of regions, a pointer for each: they may lie apart.  `moves`: it
    only puts what it reads where its result lies, as a `Copy` does, and takes no time beside that.
    """

    name: str
    sizes: tuple[str, ...]
    cycles: Callable[..., int]
    compute: Compute
    batched: Batched | None
    flops: Callable[..., int]
    kind: Literal["worker", "multi"] = "multi"
    code_bytes: int = 512
    listed: tuple[str, ...] = ()
    moves: bool = False


def evaluate_rows(
    function: Callable[..., int], attrs: Any, sizes: NDArray[np.int32], rows: NDArray[np.int64]
) -> list[int]:
    """`function(attrs, *sizes[r])` for the given rows, as Python integers."""
    return [int(function(attrs, *row)) for row in sizes[rows].tolist()]
