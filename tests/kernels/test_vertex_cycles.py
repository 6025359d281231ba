"""Every count of the golden file, exactly, and counts worked out from the source for sizes where its paths part."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.errors import IpuSimError
from ipusim_kernels import vertex_kinds

KINDS = vertex_kinds()


def rows():
    path = Path(__file__).parents[1] / "data" / "vertex_cycles.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def parameters(text):
    return dict(item.split("=", 1) for item in text.split(";") if item)


@pytest.mark.parametrize("kind", sorted({r["vertex"] for r in rows()}))
def test_golden_counts(kind):
    wrong = []
    for row in (r for r in rows() if r["vertex"] == kind):
        cycles = KINDS[kind](parameters(row["params"]), row["chip"])
        if cycles != int(row["cycles"]):
            wrong.append(f"{row['chip']} {row['params']}: {cycles}, golden {row['cycles']}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("kind", "chip", "params", "cycles"), [
    # some workers have two positions, some three, which take less
    ("poplin::ConvPartial1x1Out", "mk2", "acts=half;partials=float;convUnits=8;fieldElems=13;convGroups=1;inGroups=2;outGroups=1;outChansPerGroup=16;load128=0", 1168),
    ("poplin::ConvPartial1x1Out", "mk2", "acts=half;partials=half;convUnits=16;fieldElems=16;convGroups=2;inGroups=2;outGroups=2;outChansPerGroup=32;load128=0", 4812),
    # runs of none to three, fewer workers than six, an odd height
    ("poplin::ConvPartialnx1", "mk1", "acts=float;partials=float;convUnits=8;workerRows=0+1|2+3;convGroups=1;inGroups=2;outGroups=2;kernelInner=3;kernelOuter=2;ampKernelHeight=8;inChansPerGroup=8;outChansPerGroup=16;zerosInfo=37;load128=1", 41103),
    # short runs; eight groups; a run of nothing
    ("poplin::ConvPartial1xNSLIC", "mk2", "acts=half;partials=half;chains=2;workerRows=1+2+5|0+6|3;convGroupGroups=2;subKernels=3;convGroupsPerGroup=8;chansPerGroup=1;outStride=1;window=4", 10291),
    ("poplin::ConvPartial1xNSLIC", "mk1", "acts=half;partials=float;chains=4;workerRows=0+2;convGroupGroups=1;subKernels=2;convGroupsPerGroup=4;chansPerGroup=1;outStride=2;window=4", 1149),
    # eight groups of float partials take the path of four
    ("poplin::ConvPartialVerticalMac", "mk2", "acts=half;partials=float;workers=6;entriesPerWorker=5;entrySize=3;convGroups=2;inGroups=2;convGroupsPerGroup=8;zerosInfo=100", 3443),
    # strides beyond their fields
    ("poplin::OuterProduct", "mk2", "type=float;width=7;channels=2044;chansPerGroup=1022", 28803),
    ("poplin::OuterProduct", "mk2", "type=half;width=7;channels=28;chansPerGroup=14", 675),
    # leftovers of vectors, updates
    ("popops::Reduce(DEFAULT)", "mk2", "op=add;partials=half;out=float;outSizes=13+1;regionsPerOutput=2+3;elemsPerRegion=39+6;update=1", 457),
    ("popops::Reduce(DEFAULT)", "mk1", "op=max;partials=float;out=half;outSizes=7;regionsPerOutput=3;elemsPerRegion=14;update=0", 351),
    # workers that clear more than those with rows; no rows at all
    ("popnn::MaxPoolingGrad", "mk2", "initInfo=9;chansPerGroupD=1;chanGroups=2;rowsPerWorker=0+0+0+2+2+2;workItemsPerRow=3;elemsMinus1PerItem=4;unpackOut=1;unpackIn=1;unpackStartPos=2;unpackWorkList=5", 3925),
    ("popnn::SumPooling", "mk2", "initInfo=5;chansPerGroupD=2;chanGroups=1;rowsPerWorker=1+0+0+0+0+0;workItemsPerRow=1;elemsMinus1PerItem=0;unpackOut=0;unpackIn=0;unpackStartPos=0;unpackWorkList=5", 649),
    # less than a vector per worker, leftovers, mixed types, vectors enough or not for the short loop
    ("popops::ScaledAddSupervisor", "mk2", "A=half;B=half;n=7;memConstrained=0;layout=OnePtr", 285),
    ("popops::ScaledAddSupervisor", "mk2", "A=half;B=float;n=1003;memConstrained=0;layout=OnePtr", 1533),
    ("popops::ScaledAddSupervisor", "mk1", "A=half;B=float;n=3;memConstrained=0;layout=OnePtr", 279),
    ("popops::ScaledAddSupervisor", "mk2", "A=float;B=half;n=11;memConstrained=0;layout=OnePtr", 225),
    ("popops::ScaledAddSupervisor", "mk2", "A=float;B=float;n=150;memConstrained=1;layout=OnePtr", 339),
    ("popops::ScaledAddSupervisor", "mk2", "A=half;B=half;n=389;memConstrained=1;layout=OnePtr", 333),
    # vectors too long for the fast loops, odd ones, few rows
    ("popops::BroadcastVectorInner1D", "mk2", "op=add;type=half;broadcastFactor=20;sliceLen=2056;slices=1", 505981),
    ("popops::BroadcastVectorInner1DInPlace", "mk2", "op=add;type=half;broadcastFactor=3;sliceLen=7;slices=1", 853),
    ("popops::BroadcastVectorInner1DInPlace", "mk2", "op=sub;type=half;broadcastFactor=5;sliceLen=12;slices=1", 1237),
    ("popops::BroadcastVectorInner1D", "mk2", "op=mul;type=half;broadcastFactor=20;sliceLen=2048;slices=1", 46429),
    ("popops::BroadcastVectorInner1DInPlace", "mk2", "op=mul;type=half;broadcastFactor=20;sliceLen=6;slices=1", 1819),
    ("popops::BroadcastVectorOuterByRow1D", "mk2", "op=mul;type=half;rows=32;columns=64;allowMisaligned=1", 2189),
    # out of range, halves that do not fill words
    ("popops::MultiSlice", "mk2", "type=half;regionSize=16;numOffsets=4;inRange=1", 534),
    ("popops::MultiUpdateOp", "mk2", "op=ADD;type=half;regionSize=3;numOffsets=2;inRange=1;scaleWider=0", 660),
    ("popops::Transpose1D", "mk1", "type=half;rowsD4=1;colsD4=1;numTranspositionsPerWorker=1;layout=OnePtr", 139),
    ("popops::Transpose2D", "mk1", "type=half;rows=6;cols=4;matrices=1", 103),
    ("popops::HeapSortVertex", "mk2", "n=63", 50920),
    ("popnn::NonLinearity1D", "mk2", "nl=gelu;type=half;n=6;layout=OnePtr", 273),
    ("popnn::NonLinearityGrad1D", "mk2", "nl=swish;type=half;n=3;layout=OnePtr", 285),
    ("poprand::TruncatedNormal", "mk2", "type=float;n=3;iterations=4", 312),
])  # fmt: skip
def test_counts_where_paths_part(kind, chip, params, cycles):
    assert KINDS[kind](parameters(params), chip) == cycles


#: Parameters that stand for "no", "none" or "one" where they are left out.
OPTIONAL = {"load128", "singleInput", "fastReduce", "memConstrained", "allowMisaligned", "update", "scaleWider", "sharedBus",
            "slices", "layout", "workers", "inRange"}  # fmt: skip


@given(st.sampled_from(rows()), st.data())
def test_a_parameter_that_is_missing_or_nonsense_is_named(row, data):
    """What a formula reads it asks for by name; what it does not read changes nothing."""
    found = parameters(row["params"])
    name = data.draw(st.sampled_from(sorted(found)))
    without = {k: v for k, v in found.items() if k != name}
    for changed in [found | {name: "x"}] + [without] * (name not in OPTIONAL and not name.startswith("unpack")):
        try:
            said = str(KINDS[row["vertex"]](changed, row["chip"]))
        except IpuSimError as error:
            said = str(error)
        assert said == row["cycles"] or name in said or "'x'" in said


@pytest.mark.parametrize(("kind", "chip", "params", "message"), [
    ("popops::UnaryOp1D", "mk2", "op=exq;type=half;n=4", "no function with a price named 'exq'"),
    ("popops::UnaryOp1D", "mk2", "op=exp;type=double;n=4", "type=double"),
    ("popops::UnaryOp1D", "mk3", "op=exp;type=half;n=4", "no chip named 'mk3'"),
    ("popops::UnaryOp1D", "mk2", "op=exp;type=half;n=-4", "n=-4 is not a whole number"),
    ("popops::Cast1D", "mk2", "from=half;to=half;n=4", "no cast from half to half"),
    ("popops::MultiSlice", "mk2", "type=half;regionSize=16;numOffsets=4;inRange=5", "inRange=5 exceeds numOffsets=4"),
    ("popops::Reduce(DEFAULT)", "mk2", "op=add;partials=half;out=half;outSizes=4;regionsPerOutput=1+1;elemsPerRegion=8", "as many outputs"),
    ("popops::Transpose1D", "mk1", "type=float;rowsD4=1;colsD4=1;numTranspositionsPerWorker=1", "16 bits"),
    ("poplin::ConvPartialHorizontalMac1x1", "mk1", "acts=half;partials=float", "exists on mk2"),
    ("popnn::NonLinearity1D", "mk2", "nl=gelu;type=half;n=6;layout=Coiled", "layout=Coiled is not one of"),
])  # fmt: skip
def test_what_has_no_formula_is_refused(kind, chip, params, message):
    with pytest.raises(IpuSimError, match=message):
        KINDS[kind](parameters(params), chip)
