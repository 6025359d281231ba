"""The zoo as a list: what an entry promises, weights made from seeds when needed, models loaded when built."""

import subprocess
import sys

import numpy as np
import pytest

from ipusim.workload.constants import Constant
from ipusim_models import ZOO, bert, resnet

SMALL = {
    "resnet": lambda seed: resnet.build(resnet.ResNetConfig((1, 1), width=4, image=16, classes=5, seed=seed)),
    "resnext": lambda seed: resnet.build(
        resnet.ResNetConfig((1, 1), width=4, groups=2, group_width=3, image=16, classes=5, seed=seed)
    ),
    "bert": lambda seed: bert.build(bert.BertConfig(1, 8, 2, 8, vocabulary=9, positions=6, sequence=4, seed=seed)),
}


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("batch", [1, 3])
def test_entries(name, batch):
    entry = ZOO[name]
    workload = entry.build(batch, 0)
    assert entry.name == name == workload.name
    assert entry.summary
    assert workload.batch == batch
    assert {v.shape[0] for v in (*workload.inputs, *workload.outputs.values())} == {batch}
    assert workload.macs == batch * entry.build(1, 0).macs
    assert workload.parameters == entry.build(1, 0).parameters


@pytest.mark.parametrize("name", ZOO)
def test_building_makes_no_array(name, monkeypatch):
    monkeypatch.setattr(Constant, "array", lambda self: pytest.fail(f"an array of {self.shape} was made"))
    weights = [c for c in ZOO[name].build().constants.values() if c.shape]
    assert len({(c.fingerprint, c.shape, c.dtype) for c in weights}) == len(weights)


@pytest.mark.parametrize("name", SMALL)
def test_weights_come_from_the_seed(name):
    """All of them, to the bit, in whatever order they are made; and no two weights are alike."""
    first, again, other = SMALL[name](1), SMALL[name](1), SMALL[name](2)
    for key in reversed(first.constants):
        array = again.constants[key].array()
        assert array.dtype == np.float32
        if array.ndim:
            assert array.tobytes() == first.constants[key].array().tobytes() != other.constants[key].array().tobytes()
    arrays = [c.array().tobytes() for c in first.constants.values() if c.shape]
    assert len(set(arrays)) == len(arrays)


def test_listing_loads_no_model():
    code = "import sys, ipusim_models; list(ipusim_models.ZOO); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"numpy", "numba", "ipusim_models.resnet", "ipusim_models.bert"} & set(loaded)
