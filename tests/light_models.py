"""The light models inside the onnx package, with their constant weights replaced by seeded random ones."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

NAMES = (
    "light_bvlc_alexnet",
    "light_densenet121",
    "light_inception_v1",
    "light_inception_v2",
    "light_resnet50",
    "light_shufflenet",
    "light_squeezenet",
    "light_vgg19",
    "light_zfnet512",
)


def path(name):
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"{name}.onnx"


def _shapes(model):
    """Shape of every ConstantOfShape output whose shape input is known."""
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return {
        n.output[0]: tuple(int(v) for v in known[n.input[0]])
        for n in model.graph.node
        if n.op_type == "ConstantOfShape"
    }


def _roles(model):
    """How each weight is used: (operator, input position)."""
    roles = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            roles.setdefault(name, (node.op_type, position))
            if node.op_type in ("Unsqueeze", "Reshape") and position == 0:
                roles[name] = (node.op_type, position)
    return roles


def _value(rng, shape, role):
    op, position = role
    if op == "BatchNormalization":
        low, high = [(0, 0), (0.4, 0.8), (-0.2, 0.2), (-0.2, 0.2), (0.5, 2.0)][position]
        return rng.uniform(low, high, shape)
    if op in ("Conv", "Gemm", "MatMul") and position == 1:
        fan_in = np.prod(shape[1:])
        return rng.normal(size=shape) * np.sqrt(2.0 / fan_in)
    if op in ("Mul",) or (op in ("Unsqueeze",) and len(shape) == 1):
        return rng.uniform(0.7, 1.3, shape)
    return rng.normal(size=shape) * 0.1


def reweighted(name, seed=0):
    """The model with every ConstantOfShape weight an initializer of seeded random values."""
    model = onnx.load(path(name))
    rng = np.random.default_rng(seed)
    shapes, roles = _shapes(model), _roles(model)
    weights = {}
    for made, shape in shapes.items():
        weights[made] = _value(rng, shape, roles.get(made, ("", 0))).astype(np.float32)
    nodes = [n for n in model.graph.node if n.op_type != "ConstantOfShape"]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in weights.items())
    return model


def logits_name(model):
    """The tensor before the final softmax, or the output itself."""
    last = model.graph.node[-1]
    return last.input[0] if last.op_type == "Softmax" else model.graph.output[0].name


def with_logits(name, seed=0):
    """The reweighted model with its logits as the only output."""
    model = reweighted(name, seed)
    logits = logits_name(model)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=logits))
    return model
