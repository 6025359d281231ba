"""An independent evaluator of workloads in plain numpy, in double precision: the meaning of every op, written for clarity."""

import itertools
import math

import numpy as np

from ipusim.dtype import float32
from ipusim.workload import ops, ops_loop, ops_mcmc, ops_norm, ops_recurrent, ops_shape
from ipusim.workload.ops import TensorType


def evaluate(workload, inputs):
    """Outputs by name; floating-point values are float64 throughout."""
    held = {}
    for value in workload.inputs:
        held[value.name] = _double(np.asarray(inputs[value.name]))
    for name, constant in workload.constants.items():
        held[name] = _double(constant.array())
    for node in workload.nodes:
        made = compute(node.op, [held[v.name] for v in node.inputs])
        for value, array in zip(node.outputs, made if isinstance(made, list) else [made], strict=True):
            assert array.shape == value.shape, (node.name, array.shape, value.shape)
            held[value.name] = array
    return {name: held[v.name] for name, v in workload.outputs.items()}


def _double(array):
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def compute(op, x):
    """The output (or list of outputs) of an op."""
    return _RULES[type(op)](op, *x)


def conv(op, x, w, bias=None):
    spatial = x.shape[2:]
    x = np.pad(x, [(0, 0), (0, 0), *op.padding])
    kernel = w.shape[2:]
    sizes = [
        (n + lo + hi - (k - 1) * d - 1) // s + 1
        for n, k, s, d, (lo, hi) in zip(spatial, kernel, op.stride, op.dilation, op.padding, strict=True)
    ]
    out = np.zeros((x.shape[0], w.shape[0], *sizes))
    per_in, per_out = w.shape[1], w.shape[0] // op.groups
    for g in range(op.groups):
        xs = x[:, g * per_in : (g + 1) * per_in]
        ws = w[g * per_out : (g + 1) * per_out]
        for tap in itertools.product(*(range(k) for k in kernel)):
            window = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, op.dilation, sizes, op.stride, strict=True)
            )
            out[:, g * per_out : (g + 1) * per_out] += np.einsum(
                "oc,nc...->no...", ws[(slice(None), slice(None), *tap)], xs[(slice(None), slice(None), *window)]
            )
    return out if bias is None else out + bias.reshape((1, -1) + (1,) * len(kernel))


def pool(op, x):
    sizes = [
        (n + lo + hi + e - (k - 1) * d - 1) // s + 1
        for n, k, s, d, (lo, hi), e in zip(
            x.shape[2:], op.kernel, op.stride, op.dilation, op.padding, op.extra, strict=True
        )
    ]
    out = np.empty((*x.shape[:2], *sizes))
    for at in itertools.product(*(range(n) for n in sizes)):
        taps, counted = [], 0
        for tap in itertools.product(*(range(k) for k in op.kernel)):
            where = [
                a * s + t * d - lo
                for a, s, t, d, (lo, _) in zip(at, op.stride, tap, op.dilation, op.padding, strict=True)
            ]
            inside = all(0 <= w < n for w, n in zip(where, x.shape[2:], strict=True))
            padded = all(-lo <= w < n + hi for w, n, (lo, hi) in zip(where, x.shape[2:], op.padding, strict=True))
            counted += padded if op.count_include_pad else inside
            if inside:
                taps.append(x[(slice(None), slice(None), *where)])
        stack = np.array(taps) if taps else np.full((1, *x.shape[:2]), -np.inf if op.kind == "max" else 0.0)
        out[(slice(None), slice(None), *at)] = stack.max(0) if op.kind == "max" else stack.sum(0) / max(counted, 1)
    return out


_ERF = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unary(op, x):
    a, b = op.alpha, op.beta
    with np.errstate(all="ignore"):
        return {
            "relu": lambda: np.maximum(x, 0), "exp": lambda: np.exp(x), "log": lambda: np.log(x), "tanh": lambda: np.tanh(x),
            "sigmoid": lambda: _sigmoid(x), "sqrt": lambda: np.sqrt(x), "rsqrt": lambda: 1 / np.sqrt(x),
            "reciprocal": lambda: 1 / x, "square": lambda: x * x, "neg": lambda: -x, "abs": lambda: np.abs(x),
            "ceil": lambda: np.ceil(x), "floor": lambda: np.floor(x), "round": lambda: np.round(x), "sign": lambda: np.sign(x),
            "erf": lambda: _ERF(x), "gelu": lambda: 0.5 * x * (1 + _ERF(x / math.sqrt(2))),
            "gelu_tanh": lambda: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
            "sin": lambda: np.sin(x), "cos": lambda: np.cos(x), "tan": lambda: np.tan(x), "asin": lambda: np.arcsin(x),
            "acos": lambda: np.arccos(x), "atan": lambda: np.arctan(x), "sinh": lambda: np.sinh(x), "cosh": lambda: np.cosh(x),
            "asinh": lambda: np.arcsinh(x), "acosh": lambda: np.arccosh(x), "atanh": lambda: np.arctanh(x),
            "leaky_relu": lambda: np.where(x < 0, a * x, x), "elu": lambda: np.where(x < 0, a * (np.exp(x) - 1), x),
            "selu": lambda: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * (np.exp(x) - 1), x),
            "celu": lambda: np.maximum(x, 0) + np.minimum(0, a * (np.exp(x / a) - 1)),
            "hard_sigmoid": lambda: np.clip(a * x + b, 0, 1), "hard_swish": lambda: x * np.clip(x / 6 + 0.5, 0, 1),
            "swish": lambda: x * _sigmoid(a * x), "softplus": lambda: np.log1p(np.exp(x)), "softsign": lambda: x / (1 + np.abs(x)),
            "mish": lambda: x * np.tanh(np.log1p(np.exp(x))), "thresholded_relu": lambda: np.where(x > a, x, 0),
            "not": lambda: ~x, "isnan": lambda: np.isnan(x), "isinf": lambda: np.isinf(x),
        }[op.kind]()  # fmt: skip


def binary(op, a, b):
    with np.errstate(all="ignore"):
        return {
            "add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b,
            "div": lambda: a / b if a.dtype.kind == "f" else np.trunc(a / b).astype(a.dtype), "max": lambda: np.maximum(a, b),
            "min": lambda: np.minimum(a, b), "pow": lambda: a**b, "mod": lambda: np.mod(a, b), "equal": lambda: a == b,
            "less": lambda: a < b, "less_equal": lambda: a <= b, "greater": lambda: a > b, "greater_equal": lambda: a >= b,
            "not_equal": lambda: a != b, "and": lambda: a & b, "or": lambda: a | b, "xor": lambda: a ^ b,
            "prelu": lambda: np.where(a < 0, a * b, a),
        }[op.kind]()  # fmt: skip


def reduce(op, x):
    axes, keep = tuple(op.axes), op.keepdims
    with np.errstate(all="ignore"):
        return np.asarray({
            "sum": lambda: x.sum(axes, keepdims=keep), "mean": lambda: x.mean(axes, keepdims=keep),
            "max": lambda: x.max(axes, keepdims=keep), "min": lambda: x.min(axes, keepdims=keep),
            "prod": lambda: x.prod(axes, keepdims=keep), "sum_square": lambda: (x * x).sum(axes, keepdims=keep),
            "l1": lambda: np.abs(x).sum(axes, keepdims=keep), "l2": lambda: np.sqrt((x * x).sum(axes, keepdims=keep)),
            "log_sum": lambda: np.log(x.sum(axes, keepdims=keep)),
            "log_sum_exp": lambda: np.log(np.exp(x).sum(axes, keepdims=keep)),
        }[op.kind]()).astype(x.dtype)  # fmt: skip


def arg_reduce(op, x):
    found = (np.argmax if op.kind == "max" else np.argmin)(x, axis=op.axis)
    return (np.expand_dims(found, op.axis) if op.keepdims else found).astype(np.int32)


def _channels(v, x):
    return v.reshape((1, -1) + (1,) * (x.ndim - 2))


def batch_norm(op, x, scale, bias, mean, var):
    return _channels(scale, x) * (x - _channels(mean, x)) / np.sqrt(_channels(var, x) + op.epsilon) + _channels(bias, x)


def layer_norm(op, x, scale=1.0, bias=0.0):
    axes = tuple(range(op.axis, x.ndim))
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + op.epsilon) * scale + bias


def group_norm(op, x, scale, bias):
    grouped = x.reshape(x.shape[0], op.groups, -1)
    centred = grouped - grouped.mean(2, keepdims=True)
    y = (centred / np.sqrt((centred**2).mean(2, keepdims=True) + op.epsilon)).reshape(x.shape)
    return y * _channels(scale, x) + _channels(bias, x)


def lrn(op, x):
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        lo, hi = max(0, c - (op.size - 1) // 2), min(x.shape[1], c + math.ceil((op.size - 1) / 2) + 1)
        squares = (x[:, lo:hi] ** 2).sum(1)
        out[:, c] = x[:, c] / (op.bias + op.alpha / op.size * squares) ** op.beta
    return out


def softmax(op, x):
    shifted = x - x.max(op.axis, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(op.axis, keepdims=True))
    return log if op.log else np.exp(log)


def slice_(op, x):
    return x[tuple(slice(a, b if b >= 0 else None, s) for a, b, s in zip(op.starts, op.stops, op.steps, strict=True))]


def pad(op, x):
    return np.pad(x, op.padding, op.mode, **({"constant_values": op.value} if op.mode == "constant" else {}))


def cast(op, x):
    return x.astype(np.float64) if op.dtype.is_float else x.astype(op.dtype.numpy)


_ACTIVATIONS = {
    "relu": lambda x, a, b: np.maximum(x, 0),
    "tanh": lambda x, a, b: np.tanh(x),
    "sigmoid": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "affine": lambda x, a, b: a * x + b,
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "thresholded_relu": lambda x, a, b: np.where(x > a, x, 0),
    "scaled_tanh": lambda x, a, b: a * np.tanh(b * x),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(x), x),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "softplus": lambda x, a, b: np.logaddexp(0, x),
}


def recurrent(op, x, w, r, *given):
    given = dict(zip(op.given, given, strict=True))
    steps, batch, _ = x.shape
    y = np.zeros((steps, op.directions, batch, op.hidden))
    lasts = []
    for d in range(op.directions):
        backwards = op.direction == "reverse" or d == 1
        lengths = given.get("lengths", np.full(batch, steps))
        per_sequence = []
        for n in range(batch):
            order = range(lengths[n])[:: -1 if backwards else 1]
            state = [given[k][d, n] if k in given else np.zeros(op.hidden) for k in "hc"]
            for t in order:
                state = _cell(op, d, x[t, n], w[d], r[d], given, state)
                y[t, d, n] = state[0]
            per_sequence.append(state)
        lasts.append(per_sequence)
    count = 2 if op.cell == "lstm" else 1
    return [y, *(np.array([[s[k] for s in seqs] for seqs in lasts]) for k in range(count))]


def _cell(op, d, x, w, r, given, state):
    h, c = state
    size = op.hidden
    wb, rb = (given["bias"][d] if "bias" in given else np.zeros(2 * op.gates * size)).reshape(2, -1)
    limit = (lambda v: np.clip(v, -op.clip, op.clip)) if op.clip else (lambda v: v)
    f, *more = [
        lambda v, a=a: _ACTIVATIONS[a.kind](limit(v), a.alpha, a.beta) for a in op.functions(d)
    ]
    if op.cell == "rnn":
        return f(w @ x + wb + r @ h + rb), c
    if op.cell == "gru":
        z, reset = np.split(f((w @ x + wb + r @ h + rb)[: 2 * size]), 2)
        wh, rh, wbh, rbh = w[2 * size :], r[2 * size :], wb[2 * size :], rb[2 * size :]
        inner = reset * (rh @ h + rbh) if op.linear_before_reset else rh @ (reset * h) + rbh
        return (1 - z) * more[0](wh @ x + wbh + inner) + z * h, c
    pi, po, pf = given["peepholes"][d].reshape(3, size) if "peepholes" in given else np.zeros((3, size))
    i, o, forget, z = np.split(w @ x + wb + r @ h + rb, 4)
    i = f(i + pi * c)
    forget = 1 - i if op.input_forget else f(forget + pf * c)
    c = forget * c + i * more[0](z)
    return f(o + po * c) * more[1](c), c


def _part(workload, values):
    """The outputs of a workload on values in the order of its inputs."""
    return list(evaluate(workload, dict(zip((v.name for v in workload.inputs), values, strict=True))).values())


def loop(op, *x):
    several = len(op.body.outputs)
    carried, fixed = list(x[:several]), x[several:]
    for _ in range(op.most if isinstance(op, ops_loop.While) else op.count):
        if isinstance(op, ops_loop.While) and not _part(op.condition, [*carried, *fixed])[0].reshape(-1)[0]:
            break
        carried = _part(op.body, [*carried, *fixed])
    return carried


def _window(x, axis, index, size):
    start = min(max(int(index.reshape(-1)[0]), 0), x.shape[axis] - size)
    return (slice(None),) * axis + (slice(start, start + size),)


def dynamic_update(op, x, value, index):
    made = x.copy()
    made[_window(x, op.axis, index, value.shape[op.axis])] = value
    return made


def metropolis(op, ratio, u, *state):
    accept = np.log(u) < ratio
    wide = [accept.reshape(-1, *(1,) * (s.ndim - 1)) for s in state[: op.values]]
    pairs = zip(wide, state[op.values :], state[: op.values], strict=True)
    return [*(np.where(a, new, old) for a, new, old in pairs), accept.astype(float)]


_RULES = {
    ops_loop.Loop: loop,
    ops_loop.While: loop,
    ops_mcmc.Metropolis: metropolis,
    ops_mcmc.Evaluate: lambda op, *x: _part(op.workload, x),
    ops_mcmc.Leapfrog: lambda op, *x: _part(op.expanded(tuple(TensorType(a.shape, float32) for a in x)), x),
    ops_mcmc.Finite: lambda op, *x: x if len(x) > 1 else x[0],
    ops_shape.DynamicSlice: lambda op, x, i: x[_window(x, op.axis, i, op.size)],
    ops_shape.DynamicUpdate: dynamic_update,
    ops_recurrent.Recurrent: recurrent,
    ops.Conv: conv,
    ops.MatMul: lambda op, a, b: a @ b,
    ops.Unary: unary,
    ops.Binary: binary,
    ops.Select: lambda op, c, a, b: np.where(c, a, b),
    ops.Clip: lambda op, x: np.clip(x, op.lo, op.hi) if (op.lo, op.hi) != (None, None) else x,
    ops.Reduce: reduce,
    ops.ArgReduce: arg_reduce,
    ops.Pool: pool,
    ops_norm.BatchNorm: batch_norm,
    ops_norm.LayerNorm: layer_norm,
    ops_norm.GroupNorm: group_norm,
    ops_norm.LRN: lrn,
    ops_norm.Softmax: softmax,
    ops_shape.Gather: lambda op, x, i: np.take(x, i, axis=op.axis),
    ops_shape.Cast: cast,
    ops_shape.Reshape: lambda op, x: x.reshape(op.shape),
    ops_shape.Transpose: lambda op, x: x.transpose(op.perm),
    ops_shape.Concat: lambda op, *xs: np.concatenate(xs, op.axis),
    ops_shape.Slice: slice_,
    ops_shape.Pad: pad,
    ops_shape.Split: lambda op, x: np.split(x, np.cumsum(op.sizes)[:-1], op.axis),
    ops_shape.Expand: lambda op, x: np.broadcast_to(x, op.shape),
}
