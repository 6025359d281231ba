"""Small workloads that between them use every op, and a compiler for tests."""

import numpy as np

from ipusim import api
from ipusim.dtype import as_dtype
from ipusim.engine.run import compute_values, initial_values, measure_time
from ipusim.hw.presets import GC2
from ipusim.lower.compile import lower
from ipusim.lower.rules import Options
from ipusim.program.graph import Loop
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.passes import with_precision


def compiled(workload, precision="float16", chip=GC2, **options):
    """A workload compiled for one chip."""
    return lower(with_precision(workload, as_dtype(precision)), chip, Options(**options), api._rules())


def trace(program, chip=GC2):
    return measure_time(program.graph, program.outputs.values(), chip, "test")


def values(program, inputs, vertices=False, chip=GC2):
    """(outputs by name, busy cycles per superstep) of a compiled program."""
    held = {}
    cycles = ran(program, inputs, vertices, chip, held).cycles
    return {name: tensor.read(held) for name, tensor in program.outputs.items()}, cycles


def loops(program):
    """All loops of a compiled program, also those inside others."""
    found, steps = [], list(program.graph.steps)
    while steps:
        step = steps.pop()
        if isinstance(step, Loop):
            found.append(step)
            steps += step.steps
    return found


def ran(program, inputs, vertices=False, chip=GC2, held=None):
    """What running a compiled program showed; its variables' arrays are added to `held`."""
    given = {}
    for name, tensor in program.inputs.items():
        given[tensor.variables()[0]] = np.asarray(inputs[name]).astype(tensor.dtype.numpy)
    held = {} if held is None else held
    held.update(initial_values(program.graph, given))
    return compute_values(program.graph, held, chip, vertices=vertices)


def _weights(seed):
    rng = np.random.default_rng(seed)

    def make(*shape, scale=None):
        fan_in = int(np.prod(shape[1:])) or 1
        return (rng.normal(size=shape) * (scale or np.sqrt(2 / fan_in))).astype(np.float32)

    return make


def convnet():
    """Convolutions of several kinds, pools, norms of channels, a residual, a classifier."""
    w, b = _weights(0), WorkloadBuilder("convnet")
    x = b.input("x", (2, 3, 20, 20))
    y = b.relu(b.conv(x, w(16, 3, 7, 7), w(16, scale=0.1), stride=2, padding=3, name="stem"))
    y = b.max_pool(y, 3, stride=2, padding=1, ceil_mode=True)
    z = b.relu(b.conv(y, w(32, 16, 1, 1), name="wide"))
    z = b.conv(z, w(32, 4, 3, 3), padding=1, groups=8, name="grouped")
    z = b.batch_norm(z, *(np.abs(w(32, scale=0.3)) + 0.5 for _ in range(4)))
    z = b.conv(z, w(32, 1, 3, 3), padding=1, groups=32, name="depthwise")
    z = b.conv(z, w(16, 32, 1, 1), w(16, scale=0.1), name="narrow")
    y = b.add(z, y, name="residual")
    y = b.lrn(y, 5, alpha=1e-2)
    y = b.group_norm(y, w(16, scale=0.1) + 1, w(16, scale=0.1), 4)
    y = b.avg_pool(y, 2, stride=1, padding=1, count_include_pad=True)
    y = b.conv(y, w(24, 16, 3, 2), stride=2, dilation=2, padding=2, name="dilated")
    y = b.reduce("mean", y, (2, 3), keepdims=False)
    y = b.gemm(y, w(10, 24), w(10, scale=0.1), trans_b=True, name="fc")
    return b.build({"logits": y, "probabilities": b.softmax(y), "class": b.arg_reduce("max", y, 1)})


def transformer():
    """Embeddings, attention, layer norm, gelu, mask, slices and joins."""
    w, b = _weights(1), WorkloadBuilder("transformer")
    ids = b.input("ids", (1, 12), "int32")
    mask = b.input("mask", (1, 12), "int32")
    x = b.gather(w(50, 32, scale=1.0), ids, name="words")
    x = b.layer_norm(x, w(32, scale=0.1) + 1, w(32, scale=0.1))
    qkv = b.add(b.matmul(x, w(96, 32).T.copy(), name="qkv"), w(96, scale=0.1))
    q, k, v = (b.transpose(b.reshape(p, (1, 12, 4, 8)), (0, 2, 1, 3)) for p in b.split(qkv, (32, 32, 32), axis=2))
    scores = b.mul(b.matmul(q, b.transpose(k, (0, 1, 3, 2)), name="scores"), 0.35)
    hidden = b.mul(b.sub(1.0, b.cast(mask, "float32")), -100.0)
    scores = b.add(scores, b.reshape(hidden, (1, 1, 1, 12)))
    mixed = b.matmul(b.softmax(scores), v, name="mix")
    y = b.add(b.matmul(b.reshape(b.transpose(mixed, (0, 2, 1, 3)), (1, 12, 32)), w(32, 32), name="out"), x)
    y = b.gelu(b.matmul(b.layer_norm(y), w(32, 64), name="feed"))
    first = b.reshape(b.slice(y, (0, 0, 0), (1, 1, 64)), (1, 64))
    y = b.concat([b.tanh(first), b.clip(b.reduce("max", y, 1, keepdims=False), -1.0, 1.0)], axis=1)
    return b.build({"y": y, "log": b.softmax(y, log=True)})


INPUTS = {
    "convnet": {"x": np.random.default_rng(2).normal(size=(2, 3, 20, 20)).astype(np.float32)},
    "transformer": {
        "ids": np.random.default_rng(3).integers(0, 50, (1, 12)),
        "mask": (np.arange(12) < 9).astype(np.int32)[None],
    },
}
MODELS = {"convnet": convnet, "transformer": transformer}
