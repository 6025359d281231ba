"""One planned convolution as supersteps: rearrange, slice, compute partial sums, reduce, cast, accumulate, rearrange.

Operands come as activations (N, G, Ci, H, W) and weights (G, Co, Ci, KH, KW).  The plan's transform is a view where
elements keep their order and a rearrangement where they do not.  A serial loop is unrolled, its code held once: each
step slices its operands, convolves, and adds to the sums of the steps before (in channels) or updates its part of the
result (out channels).  The first step over in channels makes the sums, so it adds nothing.  Zeros that a vertex wants
around its operands are written in a superstep before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from ipusim.dtype import DType, float16, float32
from ipusim.lower.rules import Lowering
from ipusim.program import mapping as maps
from ipusim.program.codelet import Codelet
from ipusim.program.graph import Boxes, Field, Rows, VertexGroup, WholeOp
from ipusim.program.mapping import Mapping
from ipusim.program.tensor import Tensor
from ipusim_kernels.cast.codelets import cast_group
from ipusim_kernels.conv.codelets import CODELETS, REDUCE, ConvAttrs, ReduceAttrs
from ipusim_kernels.conv.cost import padding_zeros
from ipusim_kernels.conv.geometry import Geometry, best_factors, cuts, geometry, operand_map, reduce_map, reduce_rows
from ipusim_kernels.conv.moves import Move
from ipusim_kernels.conv.plan import Plan, shape_numbers
from ipusim_kernels.conv.rearrange import REARRANGE, REGROUP, Operand, RearrangeAttrs, RegroupAttrs, rearrangement
from ipusim_kernels.conv.serial import ADD, SLICE, UPDATE, ZERO, MoveAttrs, ZeroAttrs
from ipusim_kernels.conv.shape import ConvShape
from ipusim_kernels.layout import stored_channels
from ipusim_kernels.reduce.cycles import conv_reduce_stages


@final
@dataclass(eq=False, slots=True)
class Pass:
    """A plan being lowered: `x` and `w` as given, `steps` the compute sets so far."""

    low: Lowering
    plan: Plan
    x: Tensor
    w: Tensor
    dtype: DType
    steps: list[tuple[str, list[VertexGroup]]] = field(default_factory=list)

    @property
    def step(self) -> ConvShape:
        """What one serial step convolves."""
        s = self.plan.shape
        return replace(s, ci=s.ci // self.plan.serial_ci, co=s.co // self.plan.serial_co)

    @property
    def partial_type(self) -> DType:
        """Type of partial sums."""
        return float16 if self.plan.method.half_partials else float32

    @property
    def mk1(self) -> bool:
        """Whether the chip is of the first generation."""
        return self.low.chip.generation == "mk1"

    def add(self, name: str, *groups: VertexGroup) -> None:
        """Runs vertices in a superstep of their own, whose values the last superstep makes."""
        self.steps.append((name, [replace(g, deferred=True) for g in groups]))

    def variable(self, shape: Sequence[int], dtype: DType, name: str, mapping: Mapping, channels: int = 1) -> Tensor:
        """A new variable, the channels of its third or fourth axis in groups."""
        axis = {5: 2, 6: 3}.get(len(shape), -1)
        return Tensor.of(self.low.variable(tuple(shape), dtype, name, mapping, channels=channels, channel_axis=axis))

    def finish(self, whole: WholeOp) -> None:
        """Adds everything to the program; `whole` makes the values."""
        last = self.steps[-1][1]
        last[-1] = replace(last[-1], whole=whole, deferred=False)
        rounds: set[str] = set()
        for name, groups in self.steps:
            within = name.partition("/")[2] if self.plan.serial > 1 and name.startswith("step") else ""
            self.low.execute(name, groups, again=within in rounds)
            rounds |= {within} - {""}


def convolve(work: Pass) -> Tensor:
    """Adds the supersteps of a plan; the result, (1, N, G, Co, Ho, Wo) as transformed, or (N, G, Co, Ho, Wo) if it was
    rearranged.
    """
    x, w = _operands(work)
    plan, s = work.plan, work.step
    geo = geometry(s, plan.partition)
    sums: Tensor | None = None
    out = None if plan.serial_ci > 1 else _result(work, geo)
    for number in range(plan.serial):
        name = f"step{number}/" if plan.serial > 1 else ""
        ci, co = (number * s.ci, 0) if plan.serial_ci > 1 else (0, number * s.co)
        step_x, step_w = _slices(work, (x, w), (ci, co), name)
        if plan.serial_co > 1:
            made = _one(work, geo, step_x, step_w, name, None, work.dtype)
            assert out is not None
            _update(work, made, out.slice(3, co, co + s.co), name)
        elif plan.serial_ci > 1:
            made = _one(work, geo, step_x, step_w, name, None, work.partial_type)
            sums = made if sums is None else _add(work, made, sums, name)
        else:
            _one(work, geo, step_x, step_w, name, out, work.dtype)
    if sums is not None:
        out = sums if work.partial_type == work.dtype else _result(work, geo)
        if out is not sums:
            work.add("cast", cast_group(sums, out, sums.mapping, None))
    assert out is not None
    return _moved(work, out)


# -- operands ----------------------------------------------------------------------------------------------------------


def _operands(work: Pass) -> tuple[Tensor, Tensor]:
    """x (N, G, Ci, H, W) and w (G, Co, Ci, KH, KW) of the transformed shape, rearranged as the plan says."""
    plan, s = work.plan, work.step
    p, t = plan.partition, plan.transform
    home = operand_map(s, p)
    field_map = None if home is None else _in_series(home, plan.serial_ci, 2)
    series = (plan.serial_ci, 2) if plan.serial_ci > 1 else (plan.serial_co, 1)
    weight_map = _in_series(geometry(s, p).weight_map, *series)
    flat = flat_field(work.x, plan) if t.flattened and not t.taps else work.x
    sources: tuple[tuple[Tensor, Operand], tuple[Tensor, Operand]] = ((flat, "field"), (work.w, "weights"))
    if t.swapped:
        sources = sources[1], sources[0]
    moved: list[VertexGroup] = []
    made = []
    shapes = ((s.batch, s.groups, plan.shape.ci, s.height, s.width), _weight_shape(plan.shape))
    for role, (source, operand) in enumerate(sources):
        move, mapping = (plan.moves.x, field_map) if role == 0 else (plan.moves.w, weight_map)
        name = "x" if role == 0 else "w"
        if move.travels:
            mapping = mapping or work.low.spread(shapes[role], work.dtype)
            tensor = work.variable(shapes[role], work.dtype, f"{name}/rearranged", mapping, plan.stored_group)
            moved.append(_rearranged(work, work.low.mapped(source), tensor, operand, t.swapped, move))
        else:
            tensor = _seen_as(source, operand, plan) if t.flattened else source
            store_together(tensor, 2, plan.stored_group)
            work.low.place(tensor, mapping)
            if move.rate:
                tensor, group = _regrouped(work, tensor, move, f"{name}/regrouped", plan.stored_group)
                moved.append(group)
        made.append(tensor)
    if moved:
        work.add("rearrange", *moved)
    return made[0], made[1]


def store_together(tensor: Tensor, axis: int, channels: int) -> None:
    """Lets an operand that has no place yet be stored in groups of channels along `axis` of `tensor`."""
    chain = tensor.chain()
    if chain is None or chain[0].mapping is not None or chain[0].channels > 1 or tensor.shape[axis] % channels:
        return
    variable = chain[0]
    variable.channels = channels
    for a in range(len(variable.shape)):
        variable.channel_axis = a
        if variable.shape[a] % channels == 0 and stored_channels(tensor, axis) == channels:
            return
    variable.channels, variable.channel_axis = 1, -1


def _weight_shape(s: ConvShape) -> tuple[int, ...]:
    return s.groups, s.co, s.ci, s.kernel_height, s.kernel_width


def flat_field(x: Tensor, plan: Plan) -> Tensor:
    """(N, G, Ci, H, W) as one row of positions, (1, G, Ci, 1, N * H * W)."""
    n, g, c, h, w = x.shape
    if n == 1:
        return x.reshape((1, g, c, 1, h * w))
    return x.transpose((1, 2, 0, 3, 4)).reshape((1, g, c, 1, n * h * w))


def _seen_as(source: Tensor, operand: Operand, plan: Plan) -> Tensor:
    """A flat field or the weights of a product, in the role that the transform gives them."""
    if not plan.transform.swapped:
        return source
    if operand == "weights":
        g, o, c = source.shape[:3]
        return source.reshape((g, o, c)).transpose((0, 2, 1)).reshape((1, g, c, 1, o))
    _, g, c, _, n = source.shape
    return source.reshape((g, c, n)).transpose((0, 2, 1)).reshape((g, n, c, 1, 1))


def _in_series(mapping: Mapping, steps: int, axis: int) -> Mapping:
    if steps == 1:
        return mapping
    return mapping.memo(("serial", steps, axis), lambda: maps.concat([mapping] * steps, axis))


def _rearranged(work: Pass, source: Tensor, made: Tensor, operand: Operand, turned: bool, move: Move) -> VertexGroup:
    attrs = RearrangeAttrs(
        work.plan.request.shape, work.plan.transform, operand, turned, move, work.dtype.bytes
    )
    rows, read, written = rearrangement(attrs, made.mapping)
    fields = (Field("in", "in", source, read), Field("out", "out", made, written))
    return VertexGroup(REARRANGE, attrs, rows, fields)


def _regrouped(work: Pass, tensor: Tensor, move: Move, name: str, channels: int) -> tuple[Tensor, VertexGroup]:
    """A copy with other groups of channels, each tile from what it holds."""
    source = tensor.solid()
    mapping = source.mapping
    made = work.variable(tensor.shape, work.dtype, name, mapping, channels)
    fields = (Field("in", "in", source, Boxes.shares(mapping)), Field("out", "out", made, Boxes.shares(mapping)))
    attrs = RegroupAttrs(move, work.dtype.bytes)
    return made, VertexGroup(REGROUP, attrs, _share_rows(mapping), fields)


def _share_rows(mapping: Mapping) -> Rows:
    shares = mapping.shares()
    return mapping.memo("share rows", lambda: Rows(shares.tiles, shares.elements.astype(np.int32)[:, None]))


def _slices(work: Pass, operands: tuple[Tensor, Tensor], start: tuple[int, int], name: str) -> tuple[Tensor, Tensor]:
    """The operands of one serial step, copied into variables of their own."""
    plan, s = work.plan, work.step
    x, w = operands
    if plan.serial == 1:
        return x, w
    axis, first, size = (2, start[0], s.ci) if plan.serial_ci > 1 else (1, start[1], s.co)
    groups = []
    w, group = _sliced(work, w.slice(axis, first, first + size), geometry(s, plan.partition).weight_map, f"{name}w")
    groups.append(group)
    if plan.serial_ci > 1:
        x, group = _sliced(work, x.slice(2, first, first + size), operand_map(s, plan.partition), f"{name}x")
        groups.append(group)
    work.add(f"{name}slice", *groups)
    return x, w


def _sliced(work: Pass, part: Tensor, home: Mapping | None, name: str) -> tuple[Tensor, VertexGroup]:
    part = part.solid()
    mapping = home if home is not None and _alike(home, part.mapping) else part.mapping
    made = work.variable(part.shape, work.dtype, name, mapping, work.plan.stored_group)
    return made, _moving(SLICE, work, part, made, mapping)


def _alike(a: Mapping, b: Mapping) -> bool:
    same = len(a.cuts) == len(b.cuts) and all(np.array_equal(p, q) for p, q in zip(a.cuts, b.cuts, strict=True))
    return same and np.array_equal(a.tiles, b.tiles)


def _moving(codelet: Codelet, work: Pass, source: Tensor, target: Tensor, mapping: Mapping) -> VertexGroup:
    boxes = Boxes.shares(mapping)
    role = "inout" if codelet is ADD else "out"
    fields = (Field("in", "in", source, boxes), Field("out", role, target, boxes))  # type: ignore[arg-type]
    return VertexGroup(codelet, MoveAttrs(source.dtype == float16, work.mk1), _share_rows(mapping), fields)


# -- one step ----------------------------------------------------------------------------------------------------------


def targets(geo: Geometry) -> list[tuple[int, Mapping]]:
    """(members, mapping of the sums) of each reduction stage; empty if one tile computes each sum whole."""
    depth, mapping, stages = len(geo.pieces), geo.partial_map, []
    if depth == 1:
        return []
    for left in (*conv_reduce_stages(depth), 1):
        members = -(-mapping.shape[0] // left)
        mapping = reduce_map(mapping, members)
        stages.append((members, mapping))
    return stages


def _last_map(geo: Geometry) -> Mapping:
    stages = targets(geo)
    return stages[-1][1] if stages else geo.partial_map


def _result(work: Pass, geo: Geometry) -> Tensor:
    """Storage of the result, (1, N, G, Co, Ho, Wo): where the last stage of each step leaves it."""
    s, plan = work.plan.shape, work.plan
    mapping = _in_series(_last_map(geo), plan.serial_co, 3)
    depthwise = s.co == 1 and s.groups > 1
    channels = plan.method.group_group if depthwise else min(plan.method.out_group, s.co)
    shape = (1, s.batch, s.groups, s.co, s.out_height, s.out_width)
    return Tensor.of(
        work.low.variable(shape, work.dtype, "out", mapping, channels=channels, channel_axis=2 if depthwise else 3)
    )


def _one(work: Pass, geo: Geometry, x: Tensor, w: Tensor, name: str, out: Tensor | None, dtype: DType) -> Tensor:
    """Convolves, reduces and casts into `out`, or into a new variable of `dtype`; where the sums are."""
    stages, partial_type = targets(geo), work.partial_type

    def result() -> Tensor:
        if out is not None:
            return out
        mapping = _last_map(geo)
        return work.variable((1, *mapping.shape[1:]), dtype, f"{name}sums", mapping)

    direct = not stages and partial_type == dtype
    home = geo.partial_map
    partials = result() if direct else work.variable(home.shape, partial_type, f"{name}partials", home)
    attrs = ConvAttrs(work.plan.method, work.step.stride, work.step.dilation)
    fields = (Field("x", "in", x, geo.x), Field("w", "in", w, geo.w), Field("partials", "out", partials, geo.partials))
    vertices = VertexGroup(CODELETS[work.plan.method.kind], attrs, geo.rows, fields)
    zeros = _zeros(work, geo, name)
    if zeros:
        work.add(f"{name}zeros", zeros)
    work.add(f"{name}convolve", vertices)
    if direct:
        return partials
    if not stages:
        target = result()
        work.add(f"{name}cast", cast_group(partials, target, geo.partial_map, None))
        return target
    for number, (members, mapping) in enumerate(stages):
        last = number + 1 == len(stages)
        to = result() if last else work.variable(mapping.shape, partial_type, f"{name}reduce{number}/sums", mapping)
        _reduce(work, partials, to, mapping, members, f"{name}reduce{number}")
        partials = to
    return partials


def _reduce(work: Pass, partials: Tensor, out: Tensor, mapping: Mapping, members: int, name: str) -> None:
    rows, boxes = reduce_rows(mapping, partials.shape[0], members)
    attrs = ReduceAttrs(out.dtype == float16, partials.dtype == float16)
    fields = (Field("partials", "in", partials, boxes), Field("out", "out", out, Boxes.shares(mapping)))
    work.add(name, VertexGroup(REDUCE, attrs, rows, fields))


def _zeros(work: Pass, geo: Geometry, name: str) -> VertexGroup | None:
    """Vertices that write the zeros a method wants around its operands, into storage of their own."""
    numbers, s = work.plan.method.numbers(), shape_numbers(work.step)
    most = geo.rows.sizes[:, :7].max(axis=0).tolist()
    batch, groups, co, ci, y, x, ky = (int(n) for n in most)
    count = sum(padding_zeros(numbers, s, (batch, groups, ci, co, y, x, ky)))
    if not count:
        return None
    tiles = len(geo.rows.tile)
    bounds = (np.arange(tiles + 1, dtype=np.int32), np.array([0, count], np.int32))
    key = ("zeros", count)
    mapping = geo.partial_map.memo(key, lambda: Mapping((tiles, count), bounds, geo.rows.tile.copy()[:, None]))
    made = work.variable((tiles, count), work.dtype, f"{name}zeros", mapping)
    fields = (Field("out", "out", made, Boxes.shares(mapping)),)
    return VertexGroup(ZERO, ZeroAttrs(work.dtype.bytes), _share_rows(mapping), fields)


def _update(work: Pass, made: Tensor, target: Tensor, name: str) -> None:
    work.add(f"{name}update", _moving(UPDATE, work, made, target, made.mapping))


def _add(work: Pass, made: Tensor, sums: Tensor, name: str) -> Tensor:
    work.add(f"{name}add", _moving(ADD, work, made, sums, sums.mapping))
    return sums


# -- the result --------------------------------------------------------------------------------------------------------


def canonical(out: Tensor, plan: Plan) -> Tensor:
    """The transformed result as (N, G, Co, Ho, Wo), groups still combined and channels still padded."""
    s, t = plan.request.shape, plan.transform
    _, n, g, o, h, w = out.shape
    if not t.flattened:
        return out.reshape((n, g, o, h, w))
    field = (s.batch, s.out_height, s.out_width)
    if not t.swapped:
        return out.reshape((g, o, *field)).transpose((2, 0, 1, 3, 4))
    positions = s.batch * s.out_height * s.out_width
    return out.reshape((g, o, w)).slice(1, 0, positions).reshape((g, *field, w)).transpose((1, 0, 4, 2, 3))


def _moved(work: Pass, out: Tensor) -> Tensor:
    """The result, rearranged or regrouped where the plan says so."""
    plan, move = work.plan, work.plan.moves.result
    s = plan.request.shape
    if move.travels:
        shape = (s.batch, s.groups, s.co, s.out_height, s.out_width)
        made = work.variable(shape, work.dtype, "result", _even(shape, work.low.chip.tiles), 32 // work.dtype.bytes)
        work.add("rearrange result", _rearranged(work, canonical(out, plan), made, "result", False, move))
        return made
    if move.rate:
        made, group = _regrouped(work, out, move, "result", 16 if work.dtype == float16 else 8)
        work.add("regroup result", group)
        return made
    return out


_EVEN: dict[tuple[tuple[int, ...], int], Mapping] = {}


def _even(shape: tuple[int, ...], tiles: int) -> Mapping:
    """A tensor cut into equal boxes, one per tile."""
    if (shape, tiles) not in _EVEN:
        factors = best_factors(shape, tiles, 0)
        bounds = tuple(cuts(n, f) for n, f in zip(shape, factors, strict=True))
        grid = tuple(len(b) - 1 for b in bounds)
        _EVEN[shape, tiles] = Mapping(shape, bounds, np.arange(int(np.prod(grid)), dtype=np.int32).reshape(grid))
    return _EVEN[shape, tiles]
