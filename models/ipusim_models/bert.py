"""BERT encoder with embeddings and a SQuAD head.

Definition: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
arXiv:1810.04805; base: 12 layers, hidden 768, 12 heads of 64, feed-forward 3072, 512 positions, the 30522 words of the
published uncased vocabulary; inference, so no dropout; gelu with the error function.  22.3 GFLOP in the matmuls for a
sequence of 128.  As in the vendor's own application (graphcore/examples, applications/popart/bert) query, key and value
are one matmul and layer norm has epsilon 0.001; unlike it, the attention matmuls have biases, as published, and the
vocabulary is not cut to 30400.

The mask is additive: -10000, exact in half, where the attention mask is 0.  Weights are random, normal as BERT is
initialised (deviation 0.02); embeddings and the head are larger, so that tokens stay apart and logits differ.  Sharper
attention would do the opposite: in an untrained network it makes all tokens alike after a few layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from ipusim.dtype import float32, int32
from ipusim.errors import BadInput
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Value, Workload

WEIGHT_DEVIATION = 0.02
EMBEDDING_DEVIATION = 0.2
HEAD_DEVIATION = 0.06
MASKED = -10000.0
EPSILON = 1e-3


@final
@dataclass(frozen=True, slots=True)
class BertConfig:
    """Sizes of the encoder, batch and weight seed; `head`: with the SQuAD head."""

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    feed_forward: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    sequence: int = 128
    batch: int = 1
    seed: int = 0
    head: bool = True
    name: str = "bert-base"

    def __post_init__(self) -> None:
        sizes = (self.layers, self.hidden, self.heads, self.feed_forward, self.vocabulary, self.sequence, self.batch)
        if min(sizes) < 1 or self.hidden % self.heads or self.sequence > self.positions or self.seed < 0:
            raise BadInput(
                f"{self}: sizes must be at least 1, hidden a multiple of heads, sequence within the positions, "
                "the seed at least 0"
            )


class _Layers:
    """The builder with the weights of a BERT."""

    def __init__(self, config: BertConfig) -> None:
        self.config, self.b, self.count = config, WorkloadBuilder(config.name, batch=config.batch), 0

    def weight(self, name: str, shape: tuple[int, ...], std: float = WEIGHT_DEVIATION, mean: float = 0.0) -> Value:
        """A normally distributed weight with the next seed."""
        self.count += 1
        made = Constant.normal(shape, float32, self.config.seed * 100_003 + self.count, std, mean)
        return self.b.constant(made, name)

    def dense(self, x: Value, name: str, size: int, std: float = WEIGHT_DEVIATION) -> Value:
        """x @ weight + bias over the last axis."""
        y = self.b.matmul(x, self.weight(f"{name}/weight", (x.shape[-1], size), std), name=name)
        return self.b.add(y, self.weight(f"{name}/bias", (size,)), name=f"{name}/add")

    def norm(self, x: Value, name: str) -> Value:
        """Layer norm over the last axis."""
        scale = self.weight(f"{name}/scale", (x.shape[-1],), WEIGHT_DEVIATION, 1.0)
        bias = self.weight(f"{name}/bias", (x.shape[-1],))
        return self.b.layer_norm(x, scale, bias, axis=-1, epsilon=EPSILON, name=name)

    def attention(self, x: Value, mask: Value, name: str) -> Value:
        """Self attention of x (batch, sequence, hidden)."""
        c, b = self.config, self.b
        size = c.hidden // c.heads
        qkv = self.dense(x, f"{name}/qkv", 3 * c.hidden)
        parts = []
        for part, title in zip(b.split(qkv, (c.hidden,) * 3, axis=2, name=f"{name}/split"), "qkv", strict=True):
            heads = b.reshape(part, (c.batch, c.sequence, c.heads, size), name=f"{name}/{title}/heads")
            parts.append(b.transpose(heads, (0, 2, 1, 3), name=f"{name}/{title}/transpose"))
        q, k, v = parts
        scores = b.matmul(q, b.transpose(k, (0, 1, 3, 2), name=f"{name}/k/columns"), name=f"{name}/scores")
        scores = b.mul(scores, 1.0 / math.sqrt(size), name=f"{name}/scale")
        scores = b.softmax(b.add(scores, mask, name=f"{name}/mask"), name=f"{name}/softmax")
        mixed = b.transpose(b.matmul(scores, v, name=f"{name}/mix"), (0, 2, 1, 3), name=f"{name}/back")
        flat = b.reshape(mixed, (c.batch, c.sequence, c.hidden), name=f"{name}/join")
        return self.dense(flat, f"{name}/out", c.hidden)

    def layer(self, x: Value, mask: Value, name: str) -> Value:
        """One encoder layer."""
        b = self.b
        attended = b.add(self.attention(x, mask, f"{name}/attention"), x, name=f"{name}/attention/residual")
        x = self.norm(attended, f"{name}/norm1")
        y = self.b.gelu(self.dense(x, f"{name}/feed1", self.config.feed_forward), name=f"{name}/gelu")
        y = self.dense(y, f"{name}/feed2", self.config.hidden)
        return self.norm(b.add(y, x, name=f"{name}/feed/residual"), f"{name}/norm2")

    def embeddings(self, ids: Value, types: Value) -> Value:
        """Word, position and segment embeddings, normalised."""
        c, b = self.config, self.b
        words = b.gather(
            self.weight("embeddings/word", (c.vocabulary, c.hidden), EMBEDDING_DEVIATION), ids, name="embeddings/words"
        )
        segments = b.gather(
            self.weight("embeddings/segment", (2, c.hidden), EMBEDDING_DEVIATION), types, name="embeddings/segments"
        )
        table = self.weight("embeddings/position", (c.positions, c.hidden), EMBEDDING_DEVIATION)
        positions = b.slice(table, (0, 0), (c.sequence, c.hidden), name="embeddings/positions")
        y = b.add(b.add(words, positions, name="embeddings/add"), segments, name="embeddings/add2")
        return self.norm(y, "embeddings/norm")


def build(config: BertConfig) -> Workload:
    """The workload, in float32.

    Inputs "input_ids", "token_type_ids" and "attention_mask" (1 = present), int32; outputs the logits "start" and
    "end"; all are (batch, sequence).  Without the head the output is "hidden", (batch, sequence, hidden).
    """
    made = _Layers(config)
    b, shape = made.b, (config.batch, config.sequence)
    ids, types = b.input("input_ids", shape, int32), b.input("token_type_ids", shape, int32)
    present = b.cast(b.input("attention_mask", shape, int32), float32, name="mask/cast")
    hidden = b.mul(b.sub(1.0, present, name="mask/absent"), MASKED, name="mask/scale")
    mask = b.reshape(hidden, (config.batch, 1, 1, config.sequence), name="mask/shape")
    x = made.embeddings(ids, types)
    for layer in range(config.layers):
        x = made.layer(x, mask, f"layer{layer}")
    if not config.head:
        return b.build({"hidden": x})
    logits = made.dense(x, "squad", 2, HEAD_DEVIATION)
    start, end = b.split(logits, (1, 1), axis=2, name="squad/split")
    return b.build(
        {
            "start": b.reshape(start, shape, name="squad/start"),
            "end": b.reshape(end, shape, name="squad/end"),
        }
    )


def zoo(batch: int, seed: int) -> Workload:
    """BERT-base at sequence 128 for a batch, in float32."""
    return build(BertConfig(batch=batch, seed=seed))


def stage(batch: int, seed: int) -> Workload:
    """The first of the two pipeline stages of BERT-base: embeddings and 6 layers, in float32."""
    return build(BertConfig(layers=6, head=False, batch=batch, seed=seed, name="bert-base-stage"))
