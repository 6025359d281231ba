"""ResNet and BERT written down from their papers in plain numpy, double precision, on the weights of a workload."""

import math

import numpy as np


def weights(workload):
    """Floating-point constants by name, as float64 arrays."""
    return {k: c.array().astype(np.float64) for k, c in workload.constants.items() if c.dtype.is_float}


def _windows(x, kernel, stride, fill):
    """(batch, channels, rows, columns, kernel, kernel) of x padded by kernel // 2."""
    pad = kernel // 2
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def resnet_forward(workload, x, *, blocks):
    """Logits (batch, classes) of a bottleneck ResNet v1.5 for x (batch, 3, size, size)."""
    w = weights(workload)

    def conv(x, name, stride=1):
        weight = w[f"{name}/weight"]
        channels = weight.shape[1]  # of one group; the outputs of the groups follow each other
        parts = []
        for group, own in enumerate(np.split(weight, x.shape[1] // channels)):
            windows = _windows(x[:, group * channels : (group + 1) * channels], weight.shape[-1], stride, 0.0)
            parts.append(np.einsum("bcyxkl,ockl->boyx", windows, own))
        return np.concatenate(parts, 1) + w[f"{name}/bias"][:, None, None]

    def relu(x):
        return np.where(x > 0, x, 0.0)

    y = _windows(relu(conv(np.asarray(x, np.float64), "stem", 2)), 3, 2, -np.inf).max((4, 5))
    for stage, count in enumerate(blocks, 1):
        for block in range(1, count + 1):
            name, stride = f"stage{stage}/block{block}", 2 if stage > 1 and block == 1 else 1
            z = relu(conv(relu(conv(y, f"{name}/conv1")), f"{name}/conv2", stride))
            shortcut = conv(y, f"{name}/shortcut", stride) if block == 1 else y
            y = relu(conv(z, f"{name}/conv3") + shortcut)
    return y.mean((2, 3)) @ w["fc/weight"].T + w["fc/bias"]


def bert_forward(workload, inputs, *, layers, heads):
    """{"start", "end"} logits (batch, sequence) of BERT for its three integer inputs by name."""
    w = weights(workload)
    ids, types, present = (inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask"))
    erf = np.vectorize(math.erf, otypes=[np.float64])

    def dense(x, name):
        return x @ w[f"{name}/weight"] + w[f"{name}/bias"]

    def norm(x, name):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * w[f"{name}/scale"] + w[
            f"{name}/bias"
        ]

    def head(qkv, number):
        """What one head mixes: softmax over the tokens that are present, one query at a time."""
        q, k, v = (part[:, :, number] for part in qkv)
        scores = np.einsum("bqd,bkd->bqk", q, k) / math.sqrt(q.shape[-1])
        grades = np.where(present[:, None, :] == 1, np.exp(scores), 0.0)
        return np.einsum("bqk,bkd->bqd", grades / grades.sum(-1, keepdims=True), v)

    table = w["embeddings/word"][ids] + w["embeddings/segment"][types] + w["embeddings/position"][: ids.shape[1]]
    x = norm(table, "embeddings/norm")
    for layer in range(layers):
        name = f"layer{layer}"
        qkv = [part.reshape(*ids.shape, heads, -1) for part in np.split(dense(x, f"{name}/attention/qkv"), 3, axis=-1)]
        mixed = np.concatenate([head(qkv, number) for number in range(heads)], axis=-1)
        x = norm(x + dense(mixed, f"{name}/attention/out"), f"{name}/norm1")
        y = dense(x, f"{name}/feed1")
        x = norm(x + dense(y * 0.5 * (1 + erf(y / math.sqrt(2))), f"{name}/feed2"), f"{name}/norm2")
    logits = dense(x, "squad")
    return {"start": logits[..., 0], "end": logits[..., 1]}
