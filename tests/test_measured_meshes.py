"""Meshes cut over IPUs, tiles and workers, and the steps of stencils on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim import BadInput, Engine, target
from ipusim_models.measured import mesh, star, stencil
from ipusim_models.measured.heat import equation


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 12), st.data())
def test_every_inner_cell_is_in_one_block_and_part(axes: int, ipus: int, tiles: int, data: st.DataObject) -> None:
    margin = data.draw(st.integers(1, 2))
    shape = [data.draw(st.integers(12, 20)) * ipus + 2 * margin for _ in range(axes)]
    made = mesh.cut(shape, margin=margin, ipus=ipus, tiles=tiles, along=data.draw(st.integers(0, axes - 1)))
    assert len(made.lo) == ipus * tiles
    seen, whole = np.zeros(shape, int), np.zeros(shape, int)
    counts = [data.draw(st.integers(1, 4)) for _ in range(axes)]
    for lo, hi, tile in zip(*made.parts(counts), strict=True):
        assert (made.lo[tile] <= lo).all()
        assert (hi <= made.hi[tile]).all()
        seen[tuple(map(slice, lo, hi))] += 1
    for lo, hi in zip(*made.owned(), strict=True):
        whole[tuple(map(slice, lo, hi))] += 1
    inside = tuple(slice(margin, side - margin) for side in shape)
    assert (whole == 1).all()
    assert (seen[inside] == 1).all()
    assert seen.sum() == made.cells


@given(st.integers(2, 4), st.integers(1, 6), st.integers(1, 2), st.integers(0, 1), st.data())
def test_faces_hold_what_is_read_across_a_cut(
    ipus: int, tiles: int, reach: int, along: int, data: st.DataObject
) -> None:
    shape = [data.draw(st.integers(12, 20)) * ipus for _ in range(2)]
    made = mesh.cut(shape, margin=reach, ipus=ipus, tiles=tiles, along=along)
    faces = made.faces(along, ipus, reach)
    owner, home = np.full(shape, -1), np.full(faces.shape, -1)
    for tile, (lo, hi) in enumerate(zip(*made.owned(), strict=True)):
        owner[tuple(map(slice, lo, hi))] = tile
    for lo, hi, tile in zip(*faces.owned, strict=True):
        home[tuple(map(slice, lo, hi))] = tile
    parts = made.parts((1, 2))
    across = []  # owners of the cells that parts read on other IPUs, by brute force
    for lo, hi, tile in zip(*parts, strict=True):
        halo = owner[tuple(map(slice, np.maximum(lo - reach, 0), hi + reach))]
        across += [(int(tile), int(o)) for o in halo[halo // tiles != tile // tiles]]
    found = []
    for lo, hi, tile in zip(*faces.read(*parts), strict=True):
        found += [(int(tile), int(o)) for o in home[tuple(map(slice, lo, hi))].reshape(-1)]
    assert (home >= 0).all()
    assert sorted(found) == sorted(across)


def test_the_grids_of_the_source() -> None:
    """smallest_partition of M0525 to M0529, height x width x depth."""
    for side, ipus, block in (
        (342, 1, [14, 42, 42]),
        (342, 2, [14, 21, 42]),
        (342, 4, [14, 21, 21]),
        (225, 1, [9, 27, 27]),
        (225, 2, [9, 13, 27]),
    ):
        made = mesh.cut((side,) * 3, margin=2, ipus=ipus, tiles=1472, along=0)
        depth, height, width = (made.hi - made.lo).min(axis=0)
        assert [height, width, depth] == block


def test_too_small_a_mesh_says_so() -> None:
    with pytest.raises(BadInput, match="8x8"):
        mesh.cut((8, 8), margin=1, ipus=8, tiles=1, along=0)
    with pytest.raises(BadInput, match="cannot be cut"):
        mesh.cut((8, 8), margin=1, ipus=1, tiles=1472, along=0)
    with pytest.raises(BadInput, match="2 planes"):
        mesh.cut((8, 12), margin=2, ipus=2, tiles=1, along=0).faces(0, 2, 2)


@pytest.mark.parametrize(("shape", "vectorize"), [((14, 17), 2), ((14, 17), 1), ((9, 10, 13), 2)])
def test_a_step_of_the_heat_equation(shape: tuple[int, ...], vectorize: int) -> None:
    step = equation(len(shape), vectorize, 6)
    made = mesh.cut(shape, margin=1, ipus=1, tiles=4, along=step.along)
    engine = Engine(*stencil.build(made, target("GC200", tiles=4), step))
    plate = np.random.default_rng(0).random(shape, np.float32)
    engine.write_tensor("inp", plate)
    engine.run()
    inside = (slice(1, -1),) * len(shape)
    around = sum(np.roll(plate, by, axis)[inside] for axis in range(len(shape)) for by in (1, -1))
    alpha, beta = (dict(step.members)[name] for name in ("alpha", "beta"))
    assert engine.read_tensor("out")[inside] == pytest.approx(beta * plate[inside] + alpha * around, abs=1e-5)


@pytest.mark.parametrize("wave", [False, True])
def test_a_step_of_the_star(wave: bool) -> None:
    shape = (10, 11, 13)
    step = star.equation(6, wave=wave)
    made = mesh.cut(shape, margin=2, ipus=1, tiles=4, along=0)
    engine = Engine(*stencil.build(made, target("GC200", tiles=4), step))
    rng = np.random.default_rng(0)
    fields = {name: rng.uniform(0.5, 1, shape).astype(np.float32) for name in ("inp", *step.beside)}
    for name, values in fields.items():
        engine.write_tensor(name, values)
    engine.run()
    inside = (slice(2, -2),) * 3
    u = fields["inp"]
    near, far = (sum(np.roll(u, by * s, axis) for axis in range(3) for s in (1, -1)) for by in (1, 2))
    c0, c1, c2 = (dict(step.members)[name] for name in ("c0", "c1", "c2"))
    expected = c0 * u + c1 * near + c2 * far
    if wave:
        s, d = fields["velocity"] ** -2.0, fields["damping"]
        expected = (expected + s * (2 * u - fields["before"]) + d * u) / (s + d)
    assert engine.read_tensor("out")[inside] == pytest.approx(expected[inside], abs=1e-4)


def test_pairs_of_floats_are_faster_but_not_twice() -> None:
    device = target("GC200", tiles=16)
    cycles = [stencil.timed(device, (200, 200), equation(2, width, 6))[1] for width in (1, 2)]
    assert 1.4 < cycles[0] / cycles[1] < 2


@pytest.mark.parametrize("shape", [(240, 240), (36, 36, 36)])
def test_several_ipus_in_two_programs_are_the_whole_program(shape: tuple[int, ...]) -> None:
    device = target("GC200", ipus=2, tiles=16)
    step = equation(len(shape), 2, 6)
    made = mesh.cut(shape, margin=1, ipus=2, tiles=16, along=step.along)
    engine = Engine(*stencil.build(made, device, step), timing_only=True)
    engine.run()
    cells, cycles = stencil.timed(device, shape, step)
    assert cells == made.cells
    assert cycles == pytest.approx(engine.report().cycles, rel=0.03)
