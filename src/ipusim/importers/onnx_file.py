"""Reading an ONNX file: from bytes to nodes and tensors, with every way it can be broken said in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput
from ipusim.importers.onnx_tensor import tensor_array

Array = NDArray[Any]
OLDEST_OPSET = 7
#: What protobuf can hold in one message.
LARGEST_FILE = (1 << 31) - 1


@final
@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node of the file.

    `inputs` and `outputs` are tensor names, "" for what is left out or (after the first output) nobody reads;
    `attributes` holds numbers, lists and text by name, tensors and graphs as ONNX has them; `label` is the node's name,
    or its first output if it has none.
    """

    op: str
    domain: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: Any = field(repr=False)

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def input(self, position: int) -> str:
        """The name of an input, "" if it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""


@final
@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of a file.

    `inputs` maps names to (element type code, axes), initializers left out: an axis is its size, the symbol of an open
    one, or None for an open one without a symbol; axes are None if the file does not give a rank.
    """

    path: Path
    opset: int
    nodes: tuple[OnnxNode, ...]
    inputs: dict[str, tuple[int, tuple[int | str | None, ...] | None]]
    outputs: tuple[str, ...]
    initializers: Mapping[str, Any]

    def initializer(self, name: str) -> Array:
        """The array of an initializer.  Raises BadInput."""
        return tensor_array(self.initializers[name], self.path, f"initializer {name!r}")

    def constant(self, node: OnnxNode) -> Array:
        """The array of a Constant node, in any of its forms.  Raises BadInput."""
        for name, value in node.attributes.items():
            if name == "value":
                return tensor_array(value, self.path, f"constant {node.label!r}")
            if name in ("value_float", "value_floats"):
                return np.asarray(value, np.float32)
            if name in ("value_int", "value_ints"):
                return np.asarray(value, np.int64)
        raise BadInput("has no numeric value")


def read(path: Path) -> Graph:
    """The graph of an ONNX file.  Raises BadInput."""
    onnx = _library()
    model = _parse(onnx, path)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise BadInput(
            f"{path}: opset {opset} is not between {OLDEST_OPSET} and {newest}, "
            f"the newest that onnx {onnx.__version__} knows"
        )
    graph = model.graph
    if not all(isinstance(name, str) for name in _names(graph)):  # protobuf hands out bytes that are no UTF-8
        raise BadInput(f"{path} is damaged: it has names that are not text")
    if graph.sparse_initializer:
        raise BadInput(f"{path}: sparse initializers are not supported")
    if not graph.output or not (graph.node or graph.initializer):
        raise BadInput(f"{path}: the graph has no outputs or no nodes")
    initializers = {t.name: t for t in graph.initializer}
    read_names = {name for node in graph.node for name in node.input} | {v.name for v in graph.output}
    return Graph(
        path=path,
        opset=opset,
        nodes=tuple(_node(onnx, n, read_names) for n in graph.node),
        inputs={v.name: _input(v) for v in graph.input if v.name not in initializers},
        outputs=tuple(v.name for v in graph.output),
        initializers=initializers,
    )


def _names(graph: Any) -> Iterator[Any]:
    """Every name in the graph."""
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output, *(a.name for a in node.attribute))
    for info in (*graph.input, *graph.output, *graph.initializer):
        yield info.name


def _library() -> Any:
    try:
        import onnx
        import onnx.defs
        import onnx.helper
        import onnx.inliner
    except ImportError:
        raise BadInput("reading ONNX files needs the onnx package: pip install 'ipusim[onnx]'") from None
    return onnx


def _parse(onnx: Any, path: Path) -> Any:
    """The parsed file, without external data, with functions of the file itself inlined."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(_content(path))
    except BadInput:
        raise
    except Exception:  # protobuf's error class depends on its implementation
        raise BadInput(f"{path} is not an ONNX file, or is cut off") from None
    if not model.ir_version or not model.opset_import or not model.HasField("graph"):
        raise BadInput(f"{path} is not an ONNX file, or is cut off")
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:
        raise BadInput(f"{path}: its functions are not valid: {' '.join(str(error).split())}") from None


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise BadInput(f"cannot read {path}: it is not a regular file")
        if path.is_file() and path.stat().st_size > LARGEST_FILE:
            raise BadInput(
                f"{path} is larger than the 2 GiB that an ONNX file can have: weights beyond that go to external data"
            )
        return path.read_bytes()
    except BadInput:
        raise
    except (FileNotFoundError, ValueError):  # ValueError: a name with a NUL
        raise BadInput(f"no file {path}") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None


def _input(info: Any) -> tuple[int, tuple[int | str | None, ...] | None]:
    tensor = info.type.tensor_type
    axes = tuple(_axis(d) for d in tensor.shape.dim) if tensor.HasField("shape") else None
    return int(tensor.elem_type), axes


def _axis(dim: Any) -> int | str | None:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return dim.dim_param or None


def _node(onnx: Any, proto: Any, read_names: set[str]) -> OnnxNode:
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    outputs = tuple(o if i == 0 or o in read_names else "" for i, o in enumerate(proto.output))
    label = proto.name or next((o for o in outputs if o), proto.op_type)
    label = label if label.isprintable() else repr(label)
    op = proto.op_type if proto.op_type.isprintable() else repr(proto.op_type)
    return OnnxNode(op, proto.domain, label, tuple(proto.input), outputs, attributes, proto)
