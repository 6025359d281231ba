"""Published benchmark models as workloads, with seeded random weights.

`ZOO` is what the entry-point group `ipusim.models` asks a model package for: a dict from name to `ZooEntry`.  It may
also have `measured_programs()`: what `ipusim validate --data` predicts rows of a file with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ipusim.validate_data import Row
    from ipusim.workload.graph import Workload


@final
@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A model by name: one line about it, and where it is built: a module, whose `zoo(batch, seed)` is called, or
    "module:function"; `note` is what a report of it has to say.
    """

    name: str
    summary: str
    module: str
    note: str = ""

    def build(self, batch: int = 1, seed: int = 0) -> Workload:
        """The workload for a batch, with weights from a seed."""
        module, _, function = self.module.partition(":")
        made: Workload = getattr(import_module(f"ipusim_models.{module}"), function or "zoo")(batch, seed)
        return made


CHAIN = (
    "a sample of the batch, and of the throughput, is a chain of 400 kept states; the published runs were in float32 "
    "(precision)"
)
DERIVED = "the time is derived, not predicted: the chain was made as long as the published 4.5 minutes"

ZOO: dict[str, ZooEntry] = {
    entry.name: entry
    for entry in (
        ZooEntry("resnet50", "ResNet-50 v1.5 inference, 224 x 224, batch norm folded", "resnet"),
        ZooEntry("resnext101", "ResNeXt-101 32x4d inference, 224 x 224, batch norm folded", "resnext"),
        ZooEntry("resnext101-norms", "the same with batch norm behind every convolution", "resnext:with_norms"),
        ZooEntry("bert-base", "BERT-base inference: embeddings, 12 layers, SQuAD head, sequence 128", "bert"),
        ZooEntry("bert-base-stage", "first of two pipeline stages of it: embeddings and 6 layers", "bert:stage"),
        ZooEntry("lstm-2x256", "two LSTM layers of 256 units, 200 steps of 16 features, dense output", "lstm"),
        ZooEntry("lstm-deepbench", "one LSTM layer of DeepBench, forward: 512 units, 25 steps", "lstm:deepbench"),
        ZooEntry("mcmc-tfp", "Hamiltonian Monte Carlo of a Bayesian network: 963 parameters, 500 steps", "mcmc", CHAIN),
        ZooEntry("mcmc-customer", "the same with a chain of 4.5 minutes", "mcmc:customer", f"{CHAIN}; {DERIVED}"),
    )
}


def measured_programs() -> dict[str, Callable[[Row], float]]:
    """Generators of measured points by workload: each builds the program of a row and returns the row's metric."""
    from ipusim_models.measured import programs

    return programs()
