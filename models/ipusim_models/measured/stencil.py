"""One step of a stencil on a mesh: the program, and its cycles on one IPU or several.

All variables have one mapping (`mesh.cut`).  A worker's part of the variable that has a halo is a list of rows with the
halo around; of the others it is the part alone.  The steps of a run differ in the variables' names only, so one is
timed.

Several IPUs do the same on parts that differ by a plane at most, so the compute, copies and exchange on chip are those
of the thickest part, on one IPU, with the planes beyond it as a border of its own.  What crosses IPUs is timed by a
program of all IPUs that fetches the halo of every part that touches another IPU and does nothing else; its link phase
and its sync are the step's.  (The whole program would be the same to within the copies of the rows beyond, and hundreds
of millions of rows.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np

from ipusim import Engine, Graph, SystemSpec, float32, target
from ipusim import program as prog
from ipusim.lang.decorator import TileCodelet
from ipusim_models.measured.codelets import receive
from ipusim_models.measured.mesh import Mesh, cut


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A stencil: its codelet and how deep it reads.

    `halo`, `out`: fields of the variable that is read around a cell and of the one that is written; `beside`: fields of
    variables that are read at the cell alone.  `along`: axis over IPUs; `workers`: parts of a block along each axis.
    `members`: plain members of the codelet; "depth" and "height" of three dimensions are set from the part.
    """

    codelet: TileCodelet
    reach: int
    along: int
    workers: tuple[int, ...]
    members: tuple[tuple[str, float], ...]
    beside: tuple[str, ...] = ()
    halo: str = "inp"
    out: str = "out"


@cache
def timed(device: SystemSpec, shape: tuple[int, ...], step: Step) -> tuple[int, int]:
    """(cells inside, cycles of a step).  Raises DoesNotFit, BadInput for a mesh that has too few cells."""
    tiles = device.chip.tiles
    mesh = cut(shape, margin=step.reach, ipus=device.ipus, tiles=tiles, along=step.along)
    if device.ipus == 1:
        return mesh.cells, sum(_phases(build(mesh, device, step)).values())
    thick = -(-(shape[step.along] - 2 * step.reach) // device.ipus) + 2 * step.reach
    part = tuple(thick if axis == step.along else side for axis, side in enumerate(shape))
    alone = cut(part, margin=step.reach, ipus=1, tiles=tiles, along=step.along)
    here = _phases(build(alone, target(device, ipus=1), step))
    across = _phases(fetch(mesh, device, step))
    found = here | {name: across[name] for name in ("link", "sync")}
    return mesh.cells, sum(found.values())


def _phases(made: tuple[Graph, prog.Execute]) -> dict[str, int]:
    engine = Engine(*made, timing_only=True)
    engine.run(0)
    return dict(engine.report().phases)


def build(mesh: Mesh, device: SystemSpec, step: Step) -> tuple[Graph, prog.Execute]:
    """The whole step."""
    graph = Graph(device, name=step.codelet.name)
    lo, hi, tiles = mesh.parts(step.workers)
    fields: dict[str, Any] = dict(step.members)
    for name in (step.halo, step.out, *step.beside):
        array = _placed(graph, mesh, name)
        reach = step.reach if name == step.halo else 0
        fields[name] = array.blocks(lo - reach, hi + reach)
    if len(mesh.shape) == 3:
        fields |= {"depth": hi[:, 0] - lo[:, 0], "height": hi[:, 1] - lo[:, 1]}
    work = graph.add_compute_set(step.codelet.name)
    graph.add_vertices(work, step.codelet, fields, tiles)
    return graph, prog.Execute(work)


def fetch(mesh: Mesh, device: SystemSpec, step: Step) -> tuple[Graph, prog.Execute]:
    """A step that only brings the halo cells of other IPUs to the parts that read them.

    Of every IPU's part of the mesh it has the first and the last planes that another IPU reads, and no others.
    """
    faces = mesh.faces(step.along, device.ipus, step.reach)
    graph = Graph(device, name=f"{step.codelet.name} between IPUs")
    array = graph.add_variable(faces.shape, float32, step.halo)
    graph.set_tile_mapping(array.blocks(*faces.owned[:2]), faces.owned[2])
    work = graph.add_compute_set("fetch")
    lo, hi, tiles = faces.read(*mesh.parts(step.workers))
    graph.add_vertices(work, receive, {"inp": array.blocks(lo, hi)}, tiles)
    return graph, prog.Execute(work)


def _placed(graph: Graph, mesh: Mesh, name: str) -> Any:
    array = graph.add_variable(mesh.shape, float32, name)
    lo, hi = mesh.owned()
    graph.set_tile_mapping(array.blocks(lo, hi), np.arange(len(lo)))
    return array
