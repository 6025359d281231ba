"""How many IPUs of a system run a model: one replica each, with an even part of the batch."""

from __future__ import annotations

from ipusim.errors import BadInput
from ipusim.hw.spec import SystemSpec
from ipusim.workload.graph import Workload


def workload_replicas(
    model: Workload, target: SystemSpec, batch: int | None
) -> tuple[Workload, int, tuple[str, ...]]:
    """A workload on one IPU, or on every IPU of a system where `batch` is that of all of them.

    Returns: the workload of a replica, replicas, what to say about them.  Raises BadInput for another batch.
    """
    several = target.ipus > 1 and batch == model.batch * target.ipus
    if batch is not None and batch != model.batch and not several:
        other = f" (batch {model.batch * target.ipus} puts a replica on each IPU)" if target.ipus > 1 else ""
        raise BadInput(f"workload {model.name!r} is built for batch {model.batch}, not {batch}{other}")
    if target.ipus > 1 and model.batch > 1 and not several:
        part, rest = divmod(model.batch, target.ipus)
        each = f"simulate it with batch={model.batch * target.ipus} for that batch"
        if not rest:
            each = f"build it for batch {part}, and simulate it with batch={model.batch} for a replica"
        raise BadInput(
            f"workload {model.name!r} is built for batch {model.batch} and cannot be split over {target.ipus} IPUs: "
            f"{each} on each, or simulate it on one IPU"
        )
    replicas, remarks = replicas_of(target, model.batch * target.ipus if several else model.batch)
    if replicas > 1 and model.inputs and all(v.shape[:1] != (model.batch,) for v in model.inputs):
        remarks += (f"no input has the batch of {model.batch} in front: every replica gets the same inputs",)
    return model, replicas, remarks


def replicas_of(target: SystemSpec, batch: int) -> tuple[int, tuple[str, ...]]:
    """(IPUs that run a replica, what to say about it).  Raises BadInput for a batch that does not divide over them."""
    if target.ipus == 1:
        return 1, ()
    if batch == 1:
        return 1, (f"batch 1 uses one of the {target.ipus} IPUs",)
    if batch % target.ipus:
        divisors = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
        near = batch // target.ipus * target.ipus
        nearest = " or ".join(str(n) for n in (near, near + target.ipus) if n)
        raise BadInput(
            f"batch {batch} does not divide over the {target.ipus} IPUs of {target.name} "
            f"(it divides over {divisors}): take {nearest}"
        )
    return target.ipus, (f"{target.ipus} replicas, each on one IPU with batch {batch // target.ipus}",)


def check_joined(workload: Workload, replicas: int) -> None:
    """Raises BadInput for an output that several replicas cannot join along its first axis, the batch's."""
    batch = workload.batch
    for name, value in workload.outputs.items():
        if replicas > 1 and value.shape[:1] != (batch,):
            raise BadInput(
                f"output {name!r} of a replica has shape {value.shape}: to join those of {replicas} replicas, its "
                f"first axis must be the batch of {batch}; transpose it, or run on one IPU"
            )
