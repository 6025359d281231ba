"""Reverse-mode differentiation: a workload with a scalar output -> a workload that also makes its gradients.

The nodes are kept as they are; after them come those of the backward pass, in reverse order, each rule in terms of the
same ops (Griewank and Walther, Evaluating Derivatives, 2008, chapter 3).  Contributions to one value are added in the
order of its readers.  At a kink (relu, abs, max, min, clip) the derivative of one side is taken.  Omitted: ops without
a rule in `RULES`, which are named in the error, and second derivatives as such (a gradient is a workload, so it can be
differentiated again where its ops have rules).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, sqrt
from typing import Any, Final

from ipusim.errors import BadInput
from ipusim.workload import ops, ops_norm, ops_shape
from ipusim.workload.autodiff_moves import MOVES, Rule, fit, zeros
from ipusim.workload.builder import WorkloadBuilder
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.passes import drop_dead


def gradient(
    workload: Workload,
    output: str | None = None,
    inputs: Sequence[str] | None = None,
    *,
    keep: Sequence[str] = (),
) -> Workload:
    """The workload with outputs `output` (its only one by default), those of `keep`, and "d NAME" for each of `inputs`
    (default: all floating-point inputs), of the input's shape and type.

    Raises BadInput if the output is not one floating-point number, for an unknown name, for an output that is called as
    a gradient is, for an input of integers, and for an op on the way that has no rule, naming its node.
    """
    name = _only(workload) if output is None else output
    wanted = [v.name for v in workload.inputs if v.dtype.is_float] if inputs is None else list(inputs)
    _check(workload, [name, *keep], wanted)
    build = WorkloadBuilder(f"{workload.name} gradient", workload.batch)
    values = {v.name: build.input(v.name, v.shape, v.dtype) for v in workload.inputs}
    made = build.inline(workload, values)
    grads = _backward(build, build.nodes, made[name], {values[n].name for n in wanted})
    outputs = {name: made[name]} | {n: made[n] for n in keep}
    for n in wanted:
        value = values[n]
        found = grads.get(value.name)
        outputs[f"d {n}"] = zeros(build, value) if found is None else found
    return drop_dead(build.build(outputs))


def _check(workload: Workload, outputs: Sequence[str], inputs: Sequence[str]) -> None:
    """Raises BadInput unless there are such outputs, the first of them one float, and such inputs, all of floats."""
    where, known = f"gradient of {workload.name!r}", {v.name: v for v in workload.inputs}
    for name in outputs:
        if name not in workload.outputs:
            raise BadInput(f"{where}: no output {name!r} (there are {', '.join(workload.outputs)})")
    target = workload.outputs[outputs[0]]
    if target.type.elements != 1 or not target.dtype.is_float:
        raise BadInput(f"{where}: output {outputs[0]!r} is {target.type}, not one float")
    for name in inputs:
        if name not in known:
            raise BadInput(f"{where}: no input {name!r} (there are {', '.join(known)})")
        if not known[name].dtype.is_float:
            raise BadInput(f"{where}: input {name!r} is {known[name].type}; only floats have a gradient")
        if f"d {name}" in outputs:
            raise BadInput(f"{where}: output 'd {name}' has the name of the gradient of input {name!r}; rename one")


def _only(workload: Workload) -> str:
    if len(workload.outputs) != 1:
        raise BadInput(f"gradient of {workload.name!r}: it has outputs {', '.join(workload.outputs)}; name one")
    return next(iter(workload.outputs))


def _backward(
    build: WorkloadBuilder, nodes: Sequence[Node], target: Value, inputs: set[str]
) -> dict[str, Value]:
    """Gradients by name of value, of those that depend on `inputs` and lead to the target."""
    needed = set(inputs)
    for node in nodes:
        if any(v.name in needed for v in node.inputs):
            needed.update(v.name for v in node.outputs)
    grads = {target.name: build.constant(_ones(target), "one")} if target.name in needed else {}
    for node in reversed(list(nodes)):
        reached = [grads.get(v.name) for v in node.outputs]
        if not any(v.name in needed for v in node.inputs) or all(g is None for g in reached):
            continue
        given = [g or zeros(build, v) for g, v in zip(reached, node.outputs, strict=True)]
        for value, part in zip(node.inputs, _rule(node)(build, node, given), strict=True):
            if part is not None and value.name in needed:
                before = grads.get(value.name)
                grads[value.name] = part if before is None else build.add(before, part)
    return grads


def _rule(node: Node) -> Rule:
    op = node.op
    kind = getattr(op, "kind", None)
    rule = RULES.get((type(op), kind)) or RULES.get((type(op), None))
    if rule is None:
        what = f"{type(op).__name__} {kind!r}" if kind else type(op).__name__
        raise BadInput(f"node {node.name!r}: {what} has no gradient")
    return rule


def _ones(value: Value) -> Any:
    import numpy as np

    return np.ones(value.shape, value.dtype.numpy)


# -- elementwise -------------------------------------------------------------------------------------------------------


def _unary(derivative: Callable[[WorkloadBuilder, Value, Value], Value]) -> Rule:
    """A rule from the derivative in terms of x and y."""

    def rule(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
        return [b.mul(grads[0], derivative(b, node.inputs[0], node.outputs[0]))]

    return rule


def _positive(b: WorkloadBuilder, x: Value) -> Value:
    return b.cast(b.binary("greater", x, 0.0), x.dtype)


_UNARY: Final[dict[str, Callable[[WorkloadBuilder, Value, Value], Value]]] = {
    "relu": lambda b, x, y: _positive(b, x),
    "exp": lambda b, x, y: y,
    "log": lambda b, x, y: b.unary("reciprocal", x),
    "tanh": lambda b, x, y: b.sub(1.0, b.unary("square", y)),
    "sigmoid": lambda b, x, y: b.mul(y, b.sub(1.0, y)),
    "sqrt": lambda b, x, y: b.div(0.5, y),
    "rsqrt": lambda b, x, y: b.mul(b.div(y, x), -0.5),
    "reciprocal": lambda b, x, y: b.unary("neg", b.unary("square", y)),
    "square": lambda b, x, y: b.mul(x, 2.0),
    "abs": lambda b, x, y: b.unary("sign", x),
    "sin": lambda b, x, y: b.unary("cos", x),
    "cos": lambda b, x, y: b.unary("neg", b.unary("sin", x)),
    "sinh": lambda b, x, y: b.unary("cosh", x),
    "cosh": lambda b, x, y: b.unary("sinh", x),
    "atan": lambda b, x, y: b.unary("reciprocal", b.add(b.unary("square", x), 1.0)),
    "erf": lambda b, x, y: b.mul(b.unary("exp", b.unary("neg", b.unary("square", x))), 2.0 / sqrt(pi)),
    "softplus": lambda b, x, y: b.unary("sigmoid", x),
    "softsign": lambda b, x, y: b.unary("reciprocal", b.unary("square", b.add(b.unary("abs", x), 1.0))),
}


def _neg(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    return [b.unary("neg", grads[0])]


def _add(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    return [fit(b, grads[0], v) for v in node.inputs]


def _sub(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    x, y = node.inputs
    return [fit(b, grads[0], x), b.unary("neg", fit(b, grads[0], y))]


def _mul(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    x, y = node.inputs
    return [fit(b, b.mul(grads[0], y), x), fit(b, b.mul(grads[0], x), y)]


def _div(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    x, y = node.inputs
    over = b.div(grads[0], y)
    return [fit(b, over, x), b.unary("neg", fit(b, b.mul(over, node.outputs[0]), y))]


def _pow(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    """x ** 0 has slope 0 everywhere, and so has 0 ** y for y that is not negative: there the formulas are 0 x inf."""
    x, y = node.inputs
    of_x = b.select(b.binary("equal", y, 0.0), 0.0, b.mul(y, b.binary("pow", x, b.sub(y, 1.0))))
    flat = b.binary("and", b.binary("equal", x, 0.0), b.binary("greater_equal", y, 0.0))
    of_y = b.select(flat, 0.0, b.mul(node.outputs[0], b.unary("log", x)))
    return [fit(b, b.mul(grads[0], of_x), x), fit(b, b.mul(grads[0], of_y), y)]


def _extreme(kind: str) -> Rule:
    def rule(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, y = node.inputs
        first = b.cast(b.binary("greater_equal" if kind == "max" else "less_equal", x, y), x.dtype)
        return [fit(b, b.mul(grads[0], first), x), fit(b, b.mul(grads[0], b.sub(1.0, first)), y)]

    return rule


def _select(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    condition, x, y = node.inputs
    return [None, fit(b, b.select(condition, grads[0], 0.0), x), fit(b, b.select(condition, 0.0, grads[0]), y)]


def _clip(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    inside = b.binary("equal", node.inputs[0], node.outputs[0])
    return [b.select(inside, grads[0], 0.0)]


def _cast(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    dtype = node.inputs[0].dtype
    return [b.cast(grads[0], dtype) if dtype.is_float else None]


# -- matrices and reductions -------------------------------------------------------------------------------------------


def _matmul(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    x, y = node.inputs
    rows = x if len(x.shape) > 1 else b.reshape(x, (1, *x.shape))
    columns = y if len(y.shape) > 1 else b.reshape(y, (*y.shape, 1))
    lead = node.outputs[0].shape[: len(node.outputs[0].shape) - (len(x.shape) > 1) - (len(y.shape) > 1)]
    grad = b.reshape(grads[0], (*lead, rows.shape[-2], columns.shape[-1]))
    of_rows = fit(b, b.matmul(grad, _turned(b, columns)), rows)
    of_columns = fit(b, b.matmul(_turned(b, rows), grad), columns)
    return [
        of_rows if of_rows.shape == x.shape else b.reshape(of_rows, x.shape),
        of_columns if of_columns.shape == y.shape else b.reshape(of_columns, y.shape),
    ]


def _turned(b: WorkloadBuilder, x: Value) -> Value:
    rank = len(x.shape)
    return b.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def _spread(b: WorkloadBuilder, node: Node, value: Value) -> Value:
    """A reduced value over the shape of the reduction's input."""
    op, x = node.op, node.inputs[0]
    assert isinstance(op, ops.Reduce)
    return b.expand(b.reshape(value, ops.reduced_shape(x.shape, op.axes, True)), x.shape)


def _reduce_sum(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    return [_spread(b, node, grads[0])]


def _reduce_mean(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    count = node.inputs[0].type.elements // max(1, node.outputs[0].type.elements)
    return [_spread(b, node, b.mul(grads[0], 1.0 / count))]


def _reduce_extreme(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    """Shared evenly by all elements that are the extreme one."""
    x = node.inputs[0]
    op = node.op
    assert isinstance(op, ops.Reduce)
    hit = b.cast(b.binary("equal", x, _spread(b, node, node.outputs[0])), x.dtype)
    share = b.div(grads[0], b.reduce("sum", hit, op.axes, keepdims=op.keepdims))
    return [b.mul(hit, _spread(b, node, share))]


def _reduce_squares(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    return [b.mul(_spread(b, node, grads[0]), b.mul(node.inputs[0], 2.0))]


def _reduce_l1(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    return [b.mul(_spread(b, node, grads[0]), b.unary("sign", node.inputs[0]))]


def _reduce_l2(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    """0 where all elements are: the least of the slopes there."""
    norm = node.outputs[0]
    share = b.select(b.binary("equal", norm, 0.0), 0.0, b.div(grads[0], norm))
    return [b.mul(_spread(b, node, share), node.inputs[0])]


def _log_sum_exp(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    weights = b.unary("exp", b.sub(node.inputs[0], _spread(b, node, node.outputs[0])))
    return [b.mul(_spread(b, node, grads[0]), weights)]


def _softmax(b: WorkloadBuilder, node: Node, grads: Sequence[Value]) -> Sequence[Value | None]:
    op, y, g = node.op, node.outputs[0], grads[0]
    assert isinstance(op, ops_norm.Softmax)
    if op.log:
        return [b.sub(g, b.mul(b.unary("exp", y), b.reduce("sum", g, op.axis)))]
    return [b.mul(y, b.sub(g, b.reduce("sum", b.mul(g, y), op.axis)))]


RULES: Final[dict[tuple[type[ops.Op], str | None], Rule]] = {
    **{(ops.Unary, kind): _unary(derivative) for kind, derivative in _UNARY.items()},
    (ops.Unary, "neg"): _neg,
    (ops.Binary, "add"): _add,
    (ops.Binary, "sub"): _sub,
    (ops.Binary, "mul"): _mul,
    (ops.Binary, "div"): _div,
    (ops.Binary, "pow"): _pow,
    (ops.Binary, "max"): _extreme("max"),
    (ops.Binary, "min"): _extreme("min"),
    (ops.Select, None): _select,
    (ops.Clip, None): _clip,
    (ops.MatMul, None): _matmul,
    (ops.Reduce, "sum"): _reduce_sum,
    (ops.Reduce, "mean"): _reduce_mean,
    (ops.Reduce, "max"): _reduce_extreme,
    (ops.Reduce, "min"): _reduce_extreme,
    (ops.Reduce, "sum_square"): _reduce_squares,
    (ops.Reduce, "l1"): _reduce_l1,
    (ops.Reduce, "l2"): _reduce_l2,
    (ops.Reduce, "log_sum_exp"): _log_sum_exp,
    (ops_norm.Softmax, None): _softmax,
    (ops_shape.Cast, None): _cast,
    **{(op, None): rule for op, rule in MOVES.items()},
}
