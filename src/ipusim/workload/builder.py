"""Building a workload in Python: every method adds a node and returns its value.

Numbers and arrays are accepted wherever a value is; they become constants of the other operand's element type.  Node
names are the user's or made from the op; value names follow node names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipusim.dtype import DType, as_dtype, float32
from ipusim.errors import BadInput
from ipusim.workload import ops, ops_norm, ops_shape
from ipusim.workload.builder_loop import LoopMethods
from ipusim.workload.builder_random import RandomMethods
from ipusim.workload.builder_recurrent import RecurrentMethods
from ipusim.workload.builder_shape import MoveMethods, from_front
from ipusim.workload.constants import Constant
from ipusim.workload.graph import Node, Value, Workload
from ipusim.workload.ops import Op, TensorType

Operand: TypeAlias = "Value | float | NDArray[Any]"
Ints = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]


class WorkloadBuilder(MoveMethods, RecurrentMethods, LoopMethods, RandomMethods):
    """Collects nodes; `build` checks them and makes the workload."""

    def __init__(self, name: str, batch: int | None = None) -> None:
        self.name, self.batch = name, batch
        self._inputs: list[Value] = []
        self._nodes: list[Node] = []
        self._constants: dict[str, Constant] = {}
        self._names: dict[str, int] = {}
        self._values: set[str] = set()

    # -- sources and nodes ---------------------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int], dtype: DType | str = float32) -> Value:
        """An input of the workload.  Raises BadInput for a name in use or a size below 1."""
        if name in self._values:
            raise BadInput(f"input {name!r}: the name is in use")
        if any(int(n) < 1 for n in shape):
            raise BadInput(f"input {name!r}: shape {tuple(shape)} must have sizes of at least 1")
        value = Value(self._fresh(name), TensorType(tuple(int(n) for n in shape), as_dtype(dtype)))
        self._inputs.append(value)
        return value

    def constant(self, value: Constant | ArrayLike, name: str | None = None) -> Value:
        """A constant from an array, a number or a `Constant`."""
        made = value if isinstance(value, Constant) else Constant.of(_array(value))
        key = self._fresh(name or "constant")
        self._constants[key] = made
        return Value(key, TensorType(made.shape, made.dtype))

    def add_node(self, op: Op, inputs: Sequence[Value], name: str | None = None) -> tuple[Value, ...]:
        """A node for any op; returns its outputs.  Raises BadInput naming the node."""
        for value in inputs:
            if value.name not in self._values:
                raise BadInput(f"{name or type(op).__name__}: value {value.name!r} is not of builder {self.name!r}")
        label = self._node_name(name or type(op).__name__.lower())
        try:
            types = op.infer(*(v.type for v in inputs))
        except BadInput as error:
            raise BadInput(f"node {label!r}: {error}") from None
        many = len(types) > 1
        outputs = tuple(Value(self._fresh(f"{label}:{i}" if many else label), t) for i, t in enumerate(types))
        self._nodes.append(Node(op, tuple(inputs), outputs, label))
        return outputs

    def one(self, op: Op, inputs: Sequence[Value], name: str | None = None) -> Value:
        """A node with one output."""
        return self.add_node(op, inputs, name)[0]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes so far, in order."""
        return tuple(self._nodes)

    def build(self, outputs: dict[str, Value]) -> Workload:
        """The workload with the given outputs by name."""
        if not outputs:
            raise BadInput(f"workload {self.name!r} has no outputs")
        first = self._inputs[0].shape if self._inputs else ()
        batch = self.batch or (first[0] if first else 1)
        return Workload(self.name, tuple(self._inputs), dict(outputs), tuple(self._nodes), dict(self._constants), batch)

    def _fresh(self, name: str) -> str:
        unique, count = name, 0
        while unique in self._values:
            count += 1
            unique = f"{name}.{count}"
        self._values.add(unique)
        return unique

    def _node_name(self, name: str) -> str:
        count = self._names.get(name, -1) + 1
        self._names[name] = count
        return name if count == 0 else self._node_name(f"{name}.{count}")

    def _value(self, operand: Operand, like: DType) -> Value:
        if isinstance(operand, Value):
            return operand
        return self.constant(_as_type(operand, like))

    def _pair(self, a: Operand, b: Operand) -> tuple[Value, Value]:
        dtype = next((v.dtype for v in (a, b) if isinstance(v, Value)), float32)
        return self._value(a, dtype), self._value(b, dtype)

    # -- matrices ------------------------------------------------------------------------------------------------------

    def conv(
        self,
        x: Value,
        weight: Operand,
        bias: Operand | None = None,
        *,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        name: str | None = None,
    ) -> Value:
        """Convolution of x (N, C, *S) with weight (O, C / groups, *K); padding: number, one per dim, pairs, or
        "same".
        """
        w = self._value(weight, x.dtype)
        if len(w.shape) != len(x.shape):
            raise BadInput(f"node {name or 'conv'!r}: x {x.shape} and weight {w.shape} must both have 3 or 4 axes")
        where, sizes = f"node {name or 'conv'!r}", x.shape[2:]
        s, d = (_tuple(n, len(sizes), f"{where}: {what}") for n, what in ((stride, "stride"), (dilation, "dilation")))
        pads = _padding(padding, sizes, w.shape[2:], s, d, where)
        used = [x, w] if bias is None else [x, w, self._value(bias, x.dtype)]
        return self.one(ops.Conv(s, d, pads, groups), used, name)

    def matmul(self, a: Operand, b: Operand, name: str | None = None) -> Value:
        """numpy.matmul."""
        return self.one(ops.MatMul(), self._pair(a, b), name)

    def gemm(
        self,
        a: Value,
        b: Operand,
        c: Operand | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        trans_a: bool = False,
        trans_b: bool = False,
        name: str | None = None,
    ) -> Value:
        """alpha * a @ b + beta * c for matrices, each of a and b transposed first if asked."""
        label = name or "gemm"
        left = self.transpose(a, (1, 0), name=f"{label}/a") if trans_a else a
        right = self._value(b, a.dtype)
        right = self.transpose(right, (1, 0), name=f"{label}/b") if trans_b else right
        y = self.matmul(left, right, name=label)
        y = y if alpha == 1.0 else self.mul(y, alpha, name=f"{label}/alpha")
        if c is None or beta == 0.0:
            return y
        addend = self._value(c, a.dtype)
        addend = addend if beta == 1.0 else self.mul(addend, beta, name=f"{label}/beta")
        return self.add(y, addend, name=f"{label}/c")

    # -- elements ------------------------------------------------------------------------------------------------------

    def unary(self, kind: str, x: Value, *, alpha: float = 0.0, beta: float = 0.0, name: str | None = None) -> Value:
        """One function of each element; `ops.UNARY` lists the kinds."""
        return self.one(ops.Unary(kind, alpha, beta), [x], name or kind)

    def binary(self, kind: str, a: Operand, b: Operand, name: str | None = None) -> Value:
        """One function of two elements with broadcasting; `ops.BINARY` lists the kinds."""
        return self.one(ops.Binary(kind), self._pair(a, b), name or kind)

    def relu(self, x: Value, name: str | None = None) -> Value:
        """max(x, 0)."""
        return self.unary("relu", x, name=name)

    def gelu(self, x: Value, name: str | None = None) -> Value:
        """x * Phi(x), with the error function."""
        return self.unary("gelu", x, name=name)

    def tanh(self, x: Value, name: str | None = None) -> Value:
        """Hyperbolic tangent."""
        return self.unary("tanh", x, name=name)

    def sigmoid(self, x: Value, name: str | None = None) -> Value:
        """1 / (1 + exp(-x))."""
        return self.unary("sigmoid", x, name=name)

    def add(self, a: Operand, b: Operand, name: str | None = None) -> Value:
        """a + b."""
        return self.binary("add", a, b, name)

    def sub(self, a: Operand, b: Operand, name: str | None = None) -> Value:
        """a - b."""
        return self.binary("sub", a, b, name)

    def mul(self, a: Operand, b: Operand, name: str | None = None) -> Value:
        """a * b."""
        return self.binary("mul", a, b, name)

    def div(self, a: Operand, b: Operand, name: str | None = None) -> Value:
        """a / b."""
        return self.binary("div", a, b, name)

    def select(self, condition: Value, a: Operand, b: Operand, name: str | None = None) -> Value:
        """a where the condition holds, else b."""
        return self.one(ops.Select(), [condition, *self._pair(a, b)], name)

    def clip(self, x: Value, lo: float | None = None, hi: float | None = None, name: str | None = None) -> Value:
        """x limited to lo..hi."""
        return self.one(ops.Clip(lo, hi), [x], name)

    # -- reductions and norms ------------------------------------------------------------------------------------------

    def reduce(
        self, kind: str, x: Value, axes: Ints | None = None, *, keepdims: bool = True, name: str | None = None
    ) -> Value:
        """Reduction over axes (all if None); `ops.REDUCE` lists the kinds."""
        rank = len(x.shape)
        chosen = range(rank) if axes is None else ([axes] if isinstance(axes, int) else axes)
        op = ops.Reduce(kind, tuple(sorted({a % rank if -rank <= a < rank else a for a in chosen})), keepdims)
        return self.one(op, [x], name or f"reduce_{kind}")

    def arg_reduce(
        self, kind: str, x: Value, axis: int = 0, *, keepdims: bool = True, name: str | None = None
    ) -> Value:
        """Index of the first largest ("max") or smallest ("min") element."""
        return self.one(ops.ArgReduce(kind, from_front(axis, len(x.shape)), keepdims), [x], name)

    def pool(
        self,
        kind: str,
        x: Value,
        kernel: Ints,
        *,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
        name: str | None = None,
    ) -> Value:
        """Pooling of x (N, C, *S), kind "max" or "avg"; the stride defaults to 1."""
        label, sizes = name or f"{kind}_pool", x.shape[2:]
        given = (("kernel", kernel), ("dilation", dilation), ("stride", 1 if stride is None else stride))
        k, d, s = (_tuple(n, len(sizes), f"node {label!r}: {what}") for what, n in given)
        pads = _padding(padding, sizes, k, s, d, f"node {label!r}")
        extra = tuple(
            _ceil_extra(n + lo + hi, (kk - 1) * dd + 1, ss, n + lo) if ceil_mode else 0
            for n, kk, ss, dd, (lo, hi) in zip(sizes, k, s, d, pads, strict=True)
        )
        return self.one(ops.Pool(kind, k, s, d, pads, count_include_pad, extra), [x], label)

    def max_pool(self, x: Value, kernel: Ints, **options: Any) -> Value:
        """`pool` of kind "max"."""
        return self.pool("max", x, kernel, **options)

    def avg_pool(self, x: Value, kernel: Ints, **options: Any) -> Value:
        """`pool` of kind "avg"."""
        return self.pool("avg", x, kernel, **options)

    def batch_norm(
        self,
        x: Value,
        scale: Operand,
        bias: Operand,
        mean: Operand,
        var: Operand,
        *,
        epsilon: float = 1e-5,
        name: str | None = None,
    ) -> Value:
        """Inference batch norm over axis 1."""
        parameters = [self._value(v, x.dtype) for v in (scale, bias, mean, var)]
        return self.one(ops_norm.BatchNorm(epsilon), [x, *parameters], name)

    def layer_norm(
        self,
        x: Value,
        scale: Operand | None = None,
        bias: Operand | None = None,
        *,
        axis: int = -1,
        epsilon: float = 1e-5,
        name: str | None = None,
    ) -> Value:
        """Normalisation over the axes from `axis` on."""
        if bias is not None and scale is None:
            raise BadInput("layer_norm: a bias needs a scale")
        used = [x, *(self._value(v, x.dtype) for v in (scale, bias) if v is not None)]
        return self.one(ops_norm.LayerNorm(from_front(axis, len(x.shape)), epsilon), used, name)

    def group_norm(
        self, x: Value, scale: Operand, bias: Operand, groups: int, *, epsilon: float = 1e-5, name: str | None = None
    ) -> Value:
        """Normalisation over groups of channels; instance norm has as many groups as channels."""
        return self.one(
            ops_norm.GroupNorm(groups, epsilon), [x, self._value(scale, x.dtype), self._value(bias, x.dtype)], name
        )

    def lrn(
        self,
        x: Value,
        size: int,
        *,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
        name: str | None = None,
    ) -> Value:
        """Local response normalisation over channels."""
        return self.one(ops_norm.LRN(size, alpha, beta, bias), [x], name)

    def softmax(self, x: Value, axis: int = -1, *, log: bool = False, name: str | None = None) -> Value:
        """Softmax along an axis, or its logarithm."""
        return self.one(ops_norm.Softmax(from_front(axis, len(x.shape)), log), [x], name)

    def gather(self, data: Operand, indices: Value, axis: int = 0, name: str | None = None) -> Value:
        """Slices of data picked by indices; an array of integers keeps its element type, one of floats is float32."""
        if isinstance(data, np.ndarray) and data.dtype.kind in "iub":
            data = self.constant(data)
        table = self._value(data, float32)
        return self.one(ops_shape.Gather(from_front(axis, len(table.shape))), [table, indices], name)


def _array(value: ArrayLike) -> NDArray[Any]:
    made = np.asarray(value)
    return made.astype(np.float32) if made.dtype == np.float64 and not isinstance(value, np.ndarray) else made


def _as_type(operand: Operand, dtype: DType) -> NDArray[Any]:
    """Numbers as an array of an element type; an integer type takes integers only."""
    given = np.asarray(operand)
    shown = repr(given.tolist()) if given.ndim == 0 else f"{given.dtype} array {given.shape}"
    if given.dtype.kind not in "fiub":
        raise BadInput(f"{shown} is not a number or an array of numbers")
    with np.errstate(invalid="ignore"):
        made = given.astype(dtype.numpy)
    if not dtype.is_float and not np.array_equal(made, given):
        raise BadInput(f"{shown} does not fit {dtype}, the element type of the other operand; cast that one first")
    return made


def _tuple(value: Ints, dims: int, what: str) -> tuple[int, ...]:
    out = tuple(value) if isinstance(value, Iterable) else (value,) * dims
    if len(out) != dims or any(not isinstance(v, (int, np.integer)) or v < 1 for v in out):
        raise BadInput(f"{what} {value} wants a number, or {dims} numbers, of at least 1")
    return tuple(int(v) for v in out)


def _padding(
    padding: Padding,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    where: str,
) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        if padding != "same":
            raise BadInput(f"{where}: padding {padding!r} wants numbers or 'same'")
        windows = zip(sizes, kernel, stride, dilation, strict=True)
        totals = [max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in windows]
        return tuple((total // 2, total - total // 2) for total in totals)
    given = list(padding) if isinstance(padding, Iterable) else [padding] * len(sizes)
    pairs = [tuple(p) if isinstance(p, Iterable) else (p, p) for p in given]
    if len(pairs) != len(sizes) or any(
        len(p) != 2 or not all(isinstance(n, (int, np.integer)) for n in p) for p in pairs
    ):
        raise BadInput(f"{where}: padding {padding} wants a number, {len(sizes)} numbers or {len(sizes)} pairs")
    return tuple((int(lo), int(hi)) for lo, hi in pairs)


def _ceil_extra(padded: int, window: int, stride: int, last_start: int) -> int:
    """High padding that ceil mode adds: whole windows that start in the input or its leading padding."""
    outputs = -(-(padded - window) // stride) + 1
    if (outputs - 1) * stride >= last_start:
        outputs -= 1
    return max(0, (outputs - 1) * stride + window - padded)
