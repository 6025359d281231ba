"""Reading an ONNX file: from bytes to nodes and arrays, with every way it can be broken said in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ipusim.errors import BadInput

Array = NDArray[Any]
OLDEST_OPSET = 7


@final
@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node of the file: operator, names of what it reads and makes ("" where nobody reads it), attributes by name."""

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

    def constant(self) -> Array:
        """The array of a Constant node, in any of its forms."""
        for name, value in self.attributes.items():
            if name == "value":
                return np.asarray(value)
            if name in ("value_float", "value_floats"):
                return np.asarray(value, np.float32)
            if name in ("value_int", "value_ints"):
                return np.asarray(value, np.int64)
        raise BadInput("has no numeric value")


@final
@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of a file.  `inputs`: (element type code, sizes, names of open axes, or None) by name, initializers
    left out.
    """

    path: Path
    opset: int
    nodes: tuple[OnnxNode, ...]
    inputs: dict[str, tuple[int, tuple[int | str | None, ...]]]
    outputs: tuple[str, ...]
    initializers: dict[str, Array]


def read(path: Path) -> Graph:
    """The graph of an ONNX file.  Raises BadInput."""
    onnx = _library()
    model = _parse(onnx, path)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise BadInput(
            f"{path}: opset {opset} is not between {OLDEST_OPSET} and {newest}, "
            f"the newest that onnx {onnx.__version__} knows"
        )
    initializers = {t.name: _array(onnx, t, path) for t in model.graph.initializer}
    if model.graph.sparse_initializer:
        raise BadInput(f"{path}: sparse initializers are not supported")
    inputs = {
        v.name: (v.type.tensor_type.elem_type, tuple(_size(d) for d in v.type.tensor_type.shape.dim))
        for v in model.graph.input
        if v.name not in initializers
    }
    if not model.graph.output or not (model.graph.node or initializers):
        raise BadInput(f"{path}: the graph has no outputs or no nodes")
    used = _read_names(model.graph)
    return Graph(
        path=path,
        opset=opset,
        nodes=tuple(_node(onnx, n, path, used) for n in model.graph.node),
        inputs=inputs,
        outputs=tuple(v.name for v in model.graph.output),
        initializers=initializers,
    )


def _library() -> Any:
    try:
        import onnx
        import onnx.defs
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise BadInput("reading ONNX files needs the onnx package: pip install 'ipusim[onnx]'") from None
    return onnx


def _parse(onnx: Any, path: Path) -> Any:
    """The parsed file, without external data."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"no file {path}") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's error class depends on its implementation
        raise BadInput(f"{path} is not an ONNX file, or is cut off") from None
    if not model.ir_version or not model.opset_import or not model.HasField("graph"):
        raise BadInput(f"{path} is not an ONNX file, or is cut off")
    return model


def _size(dim: Any) -> int | str | None:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return dim.dim_param or None


def _array(onnx: Any, tensor: Any, path: Path) -> Array:
    """An initializer's array; external data is read from the model's folder only."""
    base = ""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        base = str(_external(tensor, path))
    try:
        made = np.asarray(onnx.numpy_helper.to_array(tensor, base))
    except Exception:  # whatever numpy or protobuf say of broken data
        raise BadInput(f"{path}: initializer {tensor.name!r} is broken (its data does not match its shape)") from None
    if made.dtype.kind not in "fiub" or made.dtype.itemsize == 16:
        raise BadInput(
            f"{path}: initializer {tensor.name!r} has element type {made.dtype}, which the IPU does not have"
        )
    return made


def _external(tensor: Any, path: Path) -> Path:
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    folder = path.absolute().parent.resolve()
    target = (folder / location).resolve()
    if not location or Path(location).is_absolute() or folder not in target.parents:
        raise BadInput(
            f"{path}: initializer {tensor.name!r} keeps its data at {location!r}, outside the model's folder"
        )
    if not target.is_file():
        raise BadInput(f"{path}: initializer {tensor.name!r} keeps its data in {location!r}, which does not exist")
    return folder


def _read_names(graph: Any) -> set[str]:
    """Tensors that a node or the outside reads."""
    return {name for node in graph.node for name in node.input} | {v.name for v in graph.output}


def _node(onnx: Any, proto: Any, path: Path, used: set[str]) -> OnnxNode:
    attributes: dict[str, Any] = {}
    for a in proto.attribute:
        value = onnx.helper.get_attribute_value(a)
        if a.type == onnx.AttributeProto.TENSOR:
            value = _array(onnx, value, path)
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        attributes[a.name] = value
    outputs = tuple(o if i == 0 or o in used else "" for i, o in enumerate(proto.output))
    label = proto.name or next((o for o in outputs if o), proto.op_type)
    return OnnxNode(proto.op_type, proto.domain, label, tuple(proto.input), outputs, attributes, proto)
