"""Published benchmark models as workloads, with seeded random weights.

`ZOO` is what the entry-point group `ipusim.models` asks a model package for: a dict from name to `ZooEntry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ipusim.workload.graph import Workload


@final
@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A model by name: one line about it, and the module whose `zoo(batch, seed)` builds it."""

    name: str
    summary: str
    module: str

    def build(self, batch: int = 1, seed: int = 0) -> Workload:
        """The workload for a batch, with weights from a seed."""
        made: Workload = import_module(f"ipusim_models.{self.module}").zoo(batch, seed)
        return made


ZOO: dict[str, ZooEntry] = {
    entry.name: entry
    for entry in (
        ZooEntry("resnet50", "ResNet-50 v1.5 inference, 224 x 224, batch norm folded", "resnet"),
        ZooEntry("bert-base", "BERT-base inference: embeddings, 12 layers, SQuAD head, sequence 128", "bert"),
    )
}
