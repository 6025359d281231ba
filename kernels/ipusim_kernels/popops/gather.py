"""Gathers and scatters with indices that are known at run time.

A gather cuts the table (rows, elements) into columns first, since those need no second step, then into blocks of rows
where a tile could not hold a column.  Every tile gets all indices and gives the rows that its block has; where there
are several blocks of rows a second step picks, for each index, the row of the block that has it (poplibs
lib/popops/DynamicSlice.cpp).  Parts of the table that are on other tiles are exchanged at each call: map the table as
`create_sliceable` does to avoid that.  A scatter runs where the table is: each tile gets all indices, and those values
that belong to its columns.  Indices outside the table give zeros, and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ipusim.dtype import DType, as_dtype, int32, uint32
from ipusim.errors import BadInput
from ipusim.program import control as prog
from ipusim.program.graph import ComputeSet, Graph
from ipusim.program.tensor import Tensor
from ipusim_kernels.popops import codelets, work

BLOCK_BYTES = 32768  # [own choice] of a table on a tile before its rows are cut as well: an eighth of a GC2 tile


@final
@dataclass(frozen=True, slots=True)
class _Grid:
    """Blocks of a table of `rows` x `width`: `height` rows, `columns` elements of each; tiles row after row."""

    rows: int
    width: int
    height: int
    columns: int

    @property
    def blocks(self) -> list[tuple[int, int, int, int]]:
        """(first row, end, first column, end) of each block, in order of tiles."""
        return [
            (r, min(self.rows, r + self.height), c, min(self.width, c + self.columns))
            for r in range(0, self.rows, self.height)
            for c in range(0, self.width, self.columns)
        ]


def _grid(rows: int, width: int, dtype: DType, tiles: int) -> _Grid:
    grain = work.grain_of(dtype)
    columns = -(-width // min(tiles, -(-width // grain)))
    columns = min(width, -(-columns // grain) * grain)
    across = -(-width // columns)
    down = min(rows, max(1, tiles // across), -(-rows * columns * dtype.bytes // BLOCK_BYTES))
    return _Grid(rows, width, -(-rows // down), columns)


def create_sliceable(
    graph: Graph, shape: tuple[int, ...], dtype: DType | str, axis: int = 0, name: str = "table"
) -> Tensor:
    """A variable that is mapped as `gather` along `axis` wants it."""
    kind = as_dtype(dtype)
    if not -len(shape) <= axis < len(shape) or not all(shape):
        raise BadInput(f"popops.create_sliceable: no axis {axis} of shape {shape}, or nothing to slice")
    made = work.variable(graph, shape, kind, name)
    table = _table("popops.create_sliceable", made, axis)
    rows, width = table.shape
    for tile, (r0, r1, c0, c1) in enumerate(_grid(rows, width, kind, graph.tiles).blocks):
        graph.set_tile_mapping(table[r0:r1, c0:c1], tile)
    return made


def gather(graph: Graph, x: Tensor, indices: Tensor, axis: int, program: prog.Sequence, name: str = "") -> Tensor:
    """out[..., k, ...] = x[..., indices[k], ...] along an axis, as numpy's take.

    `indices`: int32 or uint32 of any shape, which replaces the axis in the shape of the result.  Raises BadInput for
    other types, an axis that x does not have, or an empty x.
    """
    call = "popops.gather"
    work.check_graph(call, graph, [x, indices], program)
    table, axis = _table(call, x, axis), axis % max(1, x.ndim)
    at = _indices(call, indices)
    made = _Gather(graph, program, work.title(name, "gather"), table, at)
    out = made.run()
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    whole = out.reshape((*indices.shape, *rest))
    n = indices.ndim
    return whole.transpose([*range(n, n + axis), *range(n), *range(n + axis, n + len(rest))])


def multi_slice(graph: Graph, x: Tensor, offsets: Tensor, program: prog.Sequence, name: str = "") -> Tensor:
    """Rows of x by run-time numbers: `gather` along axis 0."""
    return gather(graph, x, offsets, 0, program, work.title(name, "multi_slice"))


def dynamic_slice(
    graph: Graph, x: Tensor, offset: Tensor, axis: int, size: int, program: prog.Sequence, name: str = ""
) -> Tensor:
    """`size` elements of an axis from a run-time `offset` (one integer): x[..., offset : offset + size, ...]."""
    call = "popops.dynamic_slice"
    work.check_graph(call, graph, [x, offset], program)
    table = _table(call, x, axis)
    if offset.elements != 1 or not 1 <= size <= table.shape[0]:
        raise BadInput(f"{call}: needs one offset and a size of 1 to {table.shape[0]}, not {work.show(offset)}, {size}")
    _indices(call, offset)
    label = work.title(name, "dynamic_slice")
    counted = work.variable(graph, (size,), offset.dtype, f"{label}/rows")
    tile = next(t for t, spans in enumerate(graph.get_tile_mapping(offset)) if spans)
    graph.set_tile_mapping(counted, tile)
    chosen = work.compute_set(graph, program, f"{label}/rows")
    fields = {"start": offset, "out": counted}
    graph.add_vertex(chosen, codelets.count_from(offset.dtype), fields, tile=tile)
    return gather(graph, x, counted, axis, program, label)


def scatter_update(
    graph: Graph, x: Tensor, indices: Tensor, values: Tensor, program: prog.Sequence, axis: int = 0, name: str = ""
) -> None:
    """x[..., indices[k], ...] = values[..., k, ...] along an axis; of equal indices the last one counts."""
    _scatter("scatter_update", graph, x, indices, values, program, axis, name)


def scatter_add(
    graph: Graph, x: Tensor, indices: Tensor, values: Tensor, program: prog.Sequence, axis: int = 0, name: str = ""
) -> None:
    """x[..., indices[k], ...] += values[..., k, ...] along an axis, in the order of k."""
    _scatter("scatter_add", graph, x, indices, values, program, axis, name)


def _table(call: str, x: Tensor, axis: int) -> Tensor:
    """x as (axis, all else)."""
    if not -x.ndim <= axis < x.ndim:
        raise BadInput(f"{call}: no axis {axis} in {work.show(x)}")
    if not x.elements:
        raise BadInput(f"{call}: {work.show(x)} is empty")
    axis %= x.ndim
    moved = x.transpose([axis, *(a for a in range(x.ndim) if a != axis)])
    return moved.reshape((x.shape[axis], x.elements // x.shape[axis]))


def _indices(call: str, indices: Tensor) -> Tensor:
    if indices.dtype not in (int32, uint32):
        raise BadInput(f"{call}: indices are int32 or uint32, not {work.show(indices)}")
    return indices.flatten()


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Gather:
    """One call: the table (rows, width), the indices (lookups,)."""

    graph: Graph
    program: prog.Sequence
    label: str
    table: Tensor
    at: Tensor

    def run(self) -> Tensor:
        """Returns: (lookups, width)."""
        lookups, (rows, width) = self.at.elements, self.table.shape
        grid = _grid(rows, width, self.table.dtype, self.graph.tiles)
        down = -(-rows // grid.height)
        out = work.variable(self.graph, (lookups, width), self.table.dtype, self.label)
        if not lookups:
            self.graph.map_linearly(out)
            return out
        if down == 1:
            self._blocks(grid, [out], self.label)
            return out
        parts = [
            work.variable(self.graph, (lookups, width), self.table.dtype, f"{self.label}/block{d}") for d in range(down)
        ]
        self._blocks(grid, parts, f"{self.label}/blocks")
        self._pick(grid, parts, out)
        return out

    def _blocks(self, grid: _Grid, parts: list[Tensor], label: str) -> None:
        chosen = work.compute_set(self.graph, self.program, label)
        made = codelets.gather_rows(self.table.dtype, self.at.dtype, len(parts) == 1)
        for tile, (r0, r1, c0, c1) in enumerate(grid.blocks):
            out = parts[r0 // grid.height][:, c0:c1]
            self.graph.set_tile_mapping(out, tile)
            block = self.table[r0:r1, c0:c1]
            fields = {"x": block, "at": self.at, "out": out, "first": r0, "share": _share(self.at)}
            self.graph.add_vertex(chosen, made, fields, tile=tile)

    def _pick(self, grid: _Grid, parts: list[Tensor], out: Tensor) -> None:
        chosen = work.compute_set(self.graph, self.program, self.label)
        made = codelets.gather_pick(self.table.dtype, self.at.dtype)
        lookups, across = self.at.elements, -(-grid.width // grid.columns)
        each = -(-lookups // max(1, min(lookups, self.graph.tiles // across)))
        tile = 0
        for k0 in range(0, lookups, each):
            k1 = min(lookups, k0 + each)
            for c0 in range(0, grid.width, grid.columns):
                c1 = min(grid.width, c0 + grid.columns)
                self.graph.set_tile_mapping(out[k0:k1, c0:c1], tile)
                rows = [row for part in parts for row in _rows(part[k0:k1, c0:c1])]
                at = self.at[k0:k1]
                fields = {"parts": rows, "at": at, "out": out[k0:k1, c0:c1], "height": grid.height}
                self.graph.add_vertex(chosen, made, {**fields, "share": _share(at)}, tile=tile)
                tile += 1


def _share(vector: Tensor) -> int:
    return -(-len(vector) // work.WORKERS)


def _rows(matrix: Tensor) -> list[Tensor]:
    return [matrix[i] for i in range(len(matrix))]


def _scatter(
    what: str, graph: Graph, x: Tensor, indices: Tensor, values: Tensor, program: prog.Sequence, axis: int, name: str
) -> None:
    call = f"popops.{what}"
    work.check_graph(call, graph, [x, indices, values], program)
    table, axis = _table(call, x, axis), axis % max(1, x.ndim)
    at = _indices(call, indices)
    wanted = (*x.shape[:axis], at.elements, *x.shape[axis + 1 :])
    if indices.ndim != 1 or values.shape != wanted or values.dtype != x.dtype:
        raise BadInput(
            f"{call}: {work.show(values)} is not what {work.show(indices)} and {work.show(x)} along axis {axis} ask "
            f"for, which is {wanted} {x.dtype}"
        )
    if not at.elements:
        return
    rows = _table(call, values, axis)
    chosen = work.compute_set(graph, program, work.title(name, what))
    for held in work.shares(call, [table.flatten()], whole_rows=True):
        for block in _own_blocks(held, table.shape[1]):
            _scatter_block(graph, chosen, (table, at, rows), held.tile, block, what == "scatter_add")


def _scatter_block(
    graph: Graph,
    chosen: ComputeSet,
    tensors: tuple[Tensor, Tensor, Tensor],
    tile: int,
    block: tuple[int, int, int, int],
    adds: bool,
) -> None:
    table, at, values = tensors
    r0, r1, c0, c1 = block
    fields = {
        "x": table[r0:r1, c0:c1],
        "at": at,
        "values": values[:, c0:c1],
        "first": r0,
        "share": -(-(r1 - r0) // work.WORKERS),
    }
    graph.add_vertex(chosen, codelets.scatter_rows(table.dtype, at.dtype, adds), fields, tile=tile)


def _own_blocks(held: work.Share, width: int) -> list[tuple[int, int, int, int]]:
    """What a tile holds of a table, as (first row, end, first column, end)."""
    found: list[tuple[int, int, int, int]] = []
    for begin, end in held.rows:
        while begin < end:
            row, column = divmod(begin, width)
            whole = (end - begin) // width if column == 0 else 0
            stop = begin + whole * width if whole else min(end, (row + 1) * width)
            block = (row, row + max(1, whole), column, width if whole else column + stop - begin)
            last = found[-1] if found else None
            if last is not None and last[1] == block[0] and last[2:] == block[2:]:
                found[-1] = (last[0], block[1], *block[2:])
            else:
                found.append(block)
            begin = stop
    return found
