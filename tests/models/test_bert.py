"""BERT: published counts, values against networks written down independently, and what the mask hides."""

from dataclasses import replace
from math import prod

import numpy as np
import numpy_models
import pytest
import workload_numpy

from ipusim.errors import BadInput
from ipusim_models import ZOO
from ipusim_models.bert import BertConfig, build

SMALL = BertConfig(
    layers=2,
    hidden=64,
    heads=4,
    feed_forward=96,
    vocabulary=50,
    positions=20,
    sequence=14,
    batch=3,
    seed=2,
    name="small",
)
MATMULS = ("qkv", "scores", "mix", "out", "feed1", "feed2")


def inputs(config, seed=0):
    """Tokens; two segments; the first sequence whole, the others cut short."""
    rng = np.random.default_rng(seed)
    shape = (config.batch, config.sequence)
    lengths = np.linspace(config.sequence, config.sequence // 2, config.batch).astype(int)
    return {
        "input_ids": rng.integers(0, config.vocabulary, shape).astype(np.int32),
        "token_type_ids": np.broadcast_to(np.arange(shape[1]) > shape[1] // 3, shape).astype(np.int32),
        "attention_mask": (np.arange(shape[1]) < lengths[:, None]).astype(np.int32),
    }


def test_published_counts():
    workload = build(BertConfig())
    encoder = sum(n.macs for n in workload.nodes if n.name.rsplit("/", 1)[-1] in MATMULS)
    assert 2 * encoder == pytest.approx(22.3e9, rel=3e-3)
    assert workload.macs == encoder + 128 * 768 * 2
    weights = sum(prod(c.shape) for c in workload.constants.values() if c.shape)
    assert weights == 109_482_240 - 768 * 769 + 768 * 2 + 2  # the published model, no pooler, a head
    assert [v.shape for v in workload.inputs] == [(1, 128)] * 3
    assert [v.dtype.name for v in workload.inputs] == ["int32"] * 3


@pytest.mark.parametrize("batch", [1, 3])
def test_values_against_numpy(batch):
    config = replace(SMALL, batch=batch)
    workload, given = build(config), inputs(config)
    found = workload_numpy.evaluate(workload, given)
    expected = numpy_models.bert_forward(workload, given, layers=config.layers, heads=config.heads)
    for name in ("start", "end"):
        # constants such as 1 / sqrt(d) are stored in single precision
        assert np.abs(found[name] - expected[name]).max() < 1e-6 * np.abs(expected[name]).max()


def test_values_against_torch():
    pytest.importorskip("torch", reason="PyTorch is not installed; the numpy reference stands alone")
    import torch_models

    workload, given = build(SMALL), inputs(SMALL)
    found = workload_numpy.evaluate(workload, given)
    expected = torch_models.bert_forward(workload, given, heads=SMALL.heads)
    for name in ("start", "end"):
        assert np.abs(found[name] - expected[name].numpy()).max() < 1e-5 * np.abs(found[name]).max()


def test_masked_tokens_do_not_matter():
    workload, given = build(SMALL), inputs(SMALL)
    present = given["attention_mask"] == 1
    other = given | {"input_ids": np.where(present, given["input_ids"], (given["input_ids"] + 7) % SMALL.vocabulary)}
    before, after = (workload_numpy.evaluate(workload, g)["start"] for g in (given, other))
    assert np.array_equal(before[present], after[present])
    assert not np.any(before[~present] == after[~present])


def test_logits_tell_tokens_and_sequences_apart():
    start = workload_numpy.evaluate(build(SMALL), inputs(SMALL))["start"]
    assert start.std(axis=1).mean() > 0.1
    assert start.std(axis=0).mean() > 0.1


@pytest.mark.parametrize("wrong", [{"heads": 5}, {"sequence": 513}, {"layers": 0}, {"seed": -1}, {"vocabulary": 0}])
def test_sizes_are_checked(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        BertConfig(**wrong)


def test_a_stage_is_the_encoder_without_its_head():
    config = replace(SMALL, layers=1)
    whole, stage, given = build(config), build(replace(config, head=False)), inputs(config)
    hidden = workload_numpy.evaluate(stage, given)["hidden"]
    assert hidden.shape == (config.batch, config.sequence, config.hidden)
    weight, bias = (whole.constants[f"squad/{name}"].array().astype(np.float64) for name in ("weight", "bias"))
    logits = hidden @ weight + bias
    for index, name in enumerate(("start", "end")):
        expected = workload_numpy.evaluate(whole, given)[name]
        assert np.abs(logits[:, :, index] - expected).max() < 1e-9 * np.abs(expected).max()


def test_the_stage_of_the_zoo():
    """Half the layers of the whole model, with the same embeddings."""
    stage, base = ZOO["bert-base-stage"].build(), ZOO["bert-base"].build()
    head = 128 * 768 * 2
    assert 2 * stage.macs == base.macs - head
    assert stage.outputs["hidden"].shape == (1, 128, 768)
    assert set(stage.constants) < set(base.constants)
