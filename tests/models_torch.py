"""ResNet and BERT written with PyTorch functions, on the constants of a workload: an independent reference for values
and for time.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812


def weights(workload):
    """Constants by name as float32 tensors."""
    return {k: torch.from_numpy(c.array().astype("float32")) for k, c in workload.constants.items() if c.dtype.is_float}


def resnet(workload, x, blocks=(3, 4, 6, 3), w=None):
    """Logits of a ResNet workload for x (batch, 3, size, size)."""
    w = w or weights(workload)

    def conv(x, name, stride=1):
        weight = w[f"{name}/weight"]
        return F.conv2d(x, weight, w[f"{name}/bias"], stride, weight.shape[-1] // 2)

    y = F.max_pool2d(F.relu(conv(x, "stem", 2)), 3, 2, 1)
    for stage, count in enumerate(blocks):
        for block in range(count):
            name, stride = f"stage{stage + 1}/block{block + 1}", 2 if stage and not block else 1
            z = F.relu(conv(y, f"{name}/conv1"))
            z = F.relu(conv(z, f"{name}/conv2", stride))
            z = conv(z, f"{name}/conv3")
            y = conv(y, f"{name}/shortcut", stride) if f"{name}/shortcut/weight" in w else y
            y = F.relu(z + y)
    return F.linear(y.mean((2, 3)), w["fc/weight"], w["fc/bias"])


def bert(workload, ids, types, present, layers=12, heads=12, w=None):
    """(start, end) logits of a BERT workload."""
    w = w or weights(workload)
    hidden = w["embeddings/word"].shape[1]

    def dense(x, name):
        return x @ w[f"{name}/weight"] + w[f"{name}/bias"]

    def norm(x, name):
        return F.layer_norm(x, (hidden,), w[f"{name}/scale"], w[f"{name}/bias"], 1e-3)

    batch, sequence = ids.shape
    x = w["embeddings/word"][ids] + w["embeddings/position"][:sequence] + w["embeddings/segment"][types]
    x = norm(x, "embeddings/norm")
    mask = ((1 - present.float()) * -10000.0)[:, None, None, :]
    for layer in range(layers):
        name = f"layer{layer}"
        q, k, v = (
            t.view(batch, sequence, heads, -1).transpose(1, 2)
            for t in dense(x, f"{name}/attention/qkv").chunk(3, dim=2)
        )
        scores = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(hidden // heads) + mask, dim=-1)
        mixed = (scores @ v).transpose(1, 2).reshape(batch, sequence, hidden)
        x = norm(dense(mixed, f"{name}/attention/out") + x, f"{name}/norm1")
        y = dense(F.gelu(dense(x, f"{name}/feed1")), f"{name}/feed2")
        x = norm(y + x, f"{name}/norm2")
    start, end = dense(x, "squad").split(1, dim=2)
    return start[..., 0], end[..., 0]
