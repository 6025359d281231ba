"""ResNet and BERT written with PyTorch functions, on the constants of a workload: an independent reference.

The networks are written down from their papers, not derived from the nodes of the workload: only weights, by name, and
sizes, from the shapes of weights, are read from it.  All arithmetic is float32.
"""

import math
import re

import torch
import torch.nn.functional as F  # noqa: N812


def weights(workload):
    """Floating-point constants by name, as float32 tensors; worth keeping, as `w=`, for several calls."""
    return {
        name: torch.from_numpy(constant.array().astype("float32"))
        for name, constant in workload.constants.items()
        if constant.dtype.is_float
    }


def _count(w, pattern):
    """Different values of the group in `pattern` among the names of weights."""
    return len({m.group(1) for m in (re.match(pattern, name) for name in w) if m})


def resnet50_forward(workload, x, w=None):
    """Logits (batch, classes) of a bottleneck ResNet v1.5 for x (batch, 3, size, size), array or tensor."""
    w = w or weights(workload)
    stages = _count(w, r"stage(\d+)/")
    blocks = [_count(w, rf"stage{stage}/block(\d+)/") for stage in range(1, stages + 1)]

    def conv(x, name, stride=1):
        weight = w[f"{name}/weight"]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, w[f"{name}/bias"], stride, weight.shape[-1] // 2, 1, groups)

    with torch.inference_mode():
        y = F.max_pool2d(F.relu(conv(torch.as_tensor(x), "stem", 2)), 3, 2, 1)
        for stage, count in enumerate(blocks, 1):
            for block in range(1, count + 1):
                name, stride = f"stage{stage}/block{block}", 2 if stage > 1 and block == 1 else 1
                z = F.relu(conv(y, f"{name}/conv1"))
                z = F.relu(conv(z, f"{name}/conv2", stride))
                z = conv(z, f"{name}/conv3")
                shortcut = conv(y, f"{name}/shortcut", stride) if block == 1 else y
                y = F.relu(z + shortcut)
        return F.linear(y.mean((2, 3)), w["fc/weight"], w["fc/bias"])


def bert_forward(workload, inputs, heads=12, w=None):
    """{"start", "end"} logits (batch, sequence) of BERT for its three integer inputs by name, arrays or tensors."""
    w = w or weights(workload)
    hidden = w["embeddings/word"].shape[1]
    layers = _count(w, r"layer(\d+)/")
    ids, types, present = (
        torch.as_tensor(inputs[name]).long() for name in ("input_ids", "token_type_ids", "attention_mask")
    )
    batch, sequence = ids.shape

    def dense(x, name):
        return F.linear(x, w[f"{name}/weight"].T, w[f"{name}/bias"])

    def norm(x, name):
        return F.layer_norm(x, (hidden,), w[f"{name}/scale"], w[f"{name}/bias"], 1e-3)

    def attention(x, name):
        parts = dense(x, f"{name}/qkv").view(batch, sequence, 3, heads, hidden // heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / math.sqrt(hidden // heads) + (1 - present.float())[:, None, None, :] * -10000.0
        mixed = torch.softmax(scores, dim=-1) @ v
        return dense(mixed.permute(0, 2, 1, 3).reshape(batch, sequence, hidden), f"{name}/out")

    with torch.inference_mode():
        table = w["embeddings/word"][ids] + w["embeddings/position"][:sequence] + w["embeddings/segment"][types]
        x = norm(table, "embeddings/norm")
        for layer in range(layers):
            name = f"layer{layer}"
            x = norm(x + attention(x, f"{name}/attention"), f"{name}/norm1")
            y = dense(F.gelu(dense(x, f"{name}/feed1")), f"{name}/feed2")
            x = norm(x + y, f"{name}/norm2")
        start, end = dense(x, "squad").unbind(dim=2)
        return {"start": start, "end": end}
