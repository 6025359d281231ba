"""Every golden cycle count of the vertex kinds that are built, exactly; and which kinds of the file are not built is
stated, not found out.
"""

import csv
from pathlib import Path

import golden_conv
import golden_elementwise
import golden_others
import pytest

BUILT = golden_conv.BUILT | golden_elementwise.BUILT | golden_others.BUILT

#: Kinds in the file that ipusim has no vertex for yet.
NOT_BUILT = {
    "poplin::OuterProduct",
    "popnn::LossCrossEntropyTransform",
    "popnn::LossSumSquaredTransform",
    "popnn::MaxPoolingGrad",
    "popnn::NonLinearity2D",
    "popnn::NonLinearityGrad1D",
    "popops::Fill2d",
    "popops::HeapSortVertex",
    "popops::MultiUpdate",
    "popops::MultiUpdateOp",
    "popops::Reduce(DEFAULT)",
    "popops::ScaledAddSupervisor",
    "popops::ScaledMultiUpdateOp",
    "popops::Transpose1D",
    "popops::Transpose2D",
    "popops::aXPlusbYSupervisor",
    "poprand::Bernoulli",
    "poprand::Dropout",
    "poprand::Normal",
    "poprand::SetSeed",
    "poprand::TruncatedNormal",
    "poprand::Uniform",
}


def rows():
    path = Path(__file__).parents[1] / "data" / "vertex_cycles.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", sorted(BUILT))
def test_golden_counts(kind):
    mine = [r for r in rows() if r["vertex"] == kind]
    assert mine
    wrong = []
    for row in mine:
        parameters = dict(item.split("=", 1) for item in row["params"].split(";"))
        cycles = BUILT[kind](parameters, row["chip"])
        if cycles != int(row["cycles"]):
            wrong.append(f"{row['chip']} {row['params']}: {cycles}, golden {row['cycles']}")
    assert not wrong, "\n".join(wrong)


def test_every_kind_is_built_or_named():
    assert {r["vertex"] for r in rows()} == set(BUILT) | NOT_BUILT
    assert not set(BUILT) & NOT_BUILT
