"""The zoo: sizes as published, values against numpy and PyTorch, the same weights every time."""

import numpy as np
import pytest
import workload_numpy

import ipusim
from ipusim.errors import BadInput
from ipusim_models import ZOO, bert, resnet

SMALL_RESNET = resnet.ResNetConfig(blocks=(2, 1), width=8, image=32, classes=10, batch=2, name="small")
SMALL_BERT = bert.BertConfig(
    layers=2, hidden=32, heads=4, feed_forward=64, vocabulary=100, positions=32, sequence=16, batch=2, name="small"
)


def relative(found, expected):
    return np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64)).max() / np.abs(expected).max()


def test_resnet50_has_the_published_size():
    workload = ZOO["resnet50"].build()
    assert workload.macs / 1e9 == pytest.approx(4.089, abs=1e-3)
    norms = 2 * sum(c.shape[0] for name, c in workload.constants.items() if name.endswith("bias") and name != "fc/bias")
    assert (workload.parameters + norms // 2) / 1e6 == pytest.approx(
        25.56, abs=0.01
    )  # a folded norm leaves one vector of two


def test_bert_base_has_the_published_size():
    workload = ZOO["bert-base"].build()
    encoder = sum(n.macs for n in workload.nodes if n.name.startswith("layer"))
    assert 2 * encoder / 1e9 == pytest.approx(22.3, abs=0.1)
    assert workload.parameters / 1e6 == pytest.approx(108.9, abs=0.1)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_same_seed_gives_the_same_model(name):
    one, again, other = (ZOO[name].build(seed=s) for s in (3, 3, 4))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    found = [constants(workload) for workload in (one, again, other)]
    drawn = [i for i, c in enumerate(found[0]) if "normal" in c.fingerprint or "uniform" in c.fingerprint]
    small = min(drawn, key=lambda i: np.prod(found[0][i].shape))
    assert np.array_equal(found[0][small].array(), found[1][small].array())
    assert not np.array_equal(found[0][small].array(), found[2][small].array())


def constants(workload):
    """Those of the workload and of the parts of its ops, in order."""
    parts = [part for node in workload.nodes for part in node.op.parts()]
    return [*workload.constants.values(), *(c for part in parts for c in constants(part))]


def bert_inputs(config, seed=0):
    rng = np.random.default_rng(seed)
    shape = (config.batch, config.sequence)
    present = np.ones(shape, np.int32)
    present[:, config.sequence * 3 // 4 :] = 0
    return {
        "input_ids": rng.integers(0, config.vocabulary, shape).astype(np.int32),
        "token_type_ids": rng.integers(0, 2, shape).astype(np.int32),
        "attention_mask": present,
    }


def test_a_small_resnet_computes_what_numpy_computes():
    workload = resnet.build(SMALL_RESNET)
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    expected = workload_numpy.evaluate(workload, {"x": x})["logits"]
    for precision, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        report = ipusim.simulate(workload, {"x": x}, execute=True, precision=precision)
        assert relative(report.outputs["logits"], expected) <= tolerance


def test_a_small_bert_computes_what_numpy_computes():
    workload = bert.build(SMALL_BERT)
    inputs = bert_inputs(SMALL_BERT)
    expected = workload_numpy.evaluate(workload, inputs)
    assert expected["start"].std() > 0.1 * np.abs(expected["start"]).max()
    for precision, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        report = ipusim.simulate(workload, inputs, execute=True, precision=precision)
        for name, value in expected.items():
            assert relative(report.outputs[name], value) <= tolerance


def test_resnet50_in_full_agrees_with_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
    import torch_models

    workload = ZOO["resnet50"].build()
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    expected = torch_models.resnet50_forward(workload, x).numpy()
    assert expected.std() > 0.1 * np.abs(expected).max()
    for precision, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        report = ipusim.simulate("resnet50", {"x": x}, execute=True, precision=precision)
        assert relative(report.outputs["logits"], expected) <= tolerance


def test_bert_base_in_full_agrees_with_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
    import torch_models

    workload = ZOO["bert-base"].build()
    inputs = bert_inputs(bert.BertConfig())
    logits = torch_models.bert_forward(workload, inputs)
    for precision, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        report = ipusim.simulate("bert-base", inputs, execute=True, precision=precision)
        for name, expected in ((k, v.numpy()) for k, v in logits.items()):
            assert expected.std() > 0.1 * np.abs(expected).max()
            assert relative(report.outputs[name], expected) <= tolerance


def test_sizes_that_make_no_model():
    with pytest.raises(BadInput, match="hidden a multiple of heads"):
        bert.BertConfig(heads=7)
    with pytest.raises(BadInput, match="at least 1"):
        resnet.ResNetConfig(batch=0)
