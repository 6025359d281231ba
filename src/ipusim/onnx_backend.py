"""ONNX's backend interface: `Backend.prepare(model)` gives an object whose `run` executes the model on a simulated IPU.

>>> outputs = ipusim.onnx_backend.Backend.prepare(onnx.load("model.onnx")).run([x])

With it ONNX's own test suite runs against ipusim.  A model is compiled for the shapes it is run with.  Inputs that must
be known when it is compiled (axes, shapes, limits) become constants of it.  Omitted: kinds of values other than
tensors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipusim.api import Report, simulate
from ipusim.errors import BadInput, IpuSimError, NotKnown, UnknownName, Unsupported
from ipusim.importers.onnx import load
from ipusim.workload.graph import Workload

Array = NDArray[Any]


class _Prepared:
    """A model ready to run; `report` is that of its last run."""

    def __init__(self, model: Any, options: Mapping[str, Any]) -> None:
        self._model, self._options = model, _known_options(options)
        self.report: Report | None = None

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """Outputs in the model's order and element types.

        `inputs`: one array, a sequence in the order of the model's inputs, or a mapping by name; options of
        `ipusim.simulate` given here precede those of `prepare`.  Raises BadInput and Unsupported as
        `ipusim.simulate` does.
        """
        options = {"execute": True, "precision": "float32", **self._options, **_known_options(kwargs)}
        feed = self._feed(inputs)
        workload = _load(self._model, feed)
        given = {v.name: feed[v.name] for v in workload.inputs}
        self.report = simulate(workload, given, **options)
        types = [_numpy_type(v) for v in self._model.graph.output]
        made = zip(self.report.outputs.values(), types, strict=True)
        return tuple(value if kind is None else value.astype(kind) for value, kind in made)

    def _feed(self, inputs: Any) -> dict[str, Array]:
        constant = {t.name for t in self._model.graph.initializer}
        names = [v.name for v in self._model.graph.input if v.name not in constant]
        if isinstance(inputs, Mapping):
            feed = {str(name): np.asarray(value) for name, value in inputs.items()}
        else:
            listed = list(inputs) if isinstance(inputs, Sequence) and not isinstance(inputs, str) else [inputs]
            if len(listed) > len(names):
                raise BadInput(f"{len(listed)} arrays for the {len(names)} inputs of the model ({', '.join(names)})")
            feed = {name: np.asarray(value) for name, value in zip(names, listed, strict=False)}
        for name, value in feed.items():
            if name not in names:
                raise UnknownName("input", name, names)
            if value.dtype.kind == "f" and not value.size:
                raise BadInput(f"input {name!r} has shape {value.shape}: each axis needs at least one element")
        missing = [name for name in names if name not in feed]
        if missing:
            raise BadInput(f"input {missing[0]!r} is missing (inputs: {', '.join(names)})")
        return feed


class _Backend:
    """The adapter: `prepare`, `run_model`, `run_node`, `supports_device`."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """True for "IPU" and, since everything runs on the host, for "CPU"."""
        return device.split(":")[0] in ("IPU", "CPU")

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether every operator of the model is known."""
        try:
            _check(model)
        except Unsupported:
            return False
        except BadInput:
            pass
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Any:
        """A model (ModelProto) ready to run; further options are those of `ipusim.simulate`.

        Raises BadInput for a device that is not "IPU" or "CPU", Unsupported for operators nobody knows.
        """
        if not cls.supports_device(device):
            raise BadInput(f"device {device!r}: ipusim simulates an IPU on the CPU")
        if not isinstance(model, _library().ModelProto):
            raise BadInput(f"the ONNX backend takes a ModelProto, as onnx.load makes it, not {type(model).__name__}")
        _check(model)
        return _class("Prepared")(model, kwargs)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Array, ...]:
        """The outputs of one node for its inputs, in order, without those left out; `opset_version` selects ONNX's
        version of it.  Raises BadInput for another number of arrays than the node has inputs.
        """
        onnx = _library()
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        arrays = [np.asarray(value) for value in inputs]
        names = [name for name in node.input if name]
        if len(arrays) != len(names):
            raise BadInput(f"{len(arrays)} arrays for the {len(names)} inputs of the node ({', '.join(names)})")
        infos = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in zip(names, arrays, strict=True)
        ]
        made = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", infos, made)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        found: tuple[Array, ...] = cls.prepare(model, device).run(arrays, **kwargs)
        return found


def _known_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `simulate`.  Raises UnknownName for others."""
    allowed = [name for name in signature(simulate).parameters if name not in ("model", "inputs")]
    for name in given:
        if name not in allowed:
            raise UnknownName("option", name, allowed)
    return dict(given)


@contextmanager
def _folder() -> Iterator[str]:
    """A folder for the model's file; errors do not name it."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield folder
        except IpuSimError as error:
            error.args = tuple(a.replace(f"{folder}/", "") if isinstance(a, str) else a for a in error.args)
            raise


def _check(model: Any) -> None:
    from ipusim.importers.onnx_check import check
    from ipusim.importers.onnx_file import read
    from ipusim.importers.onnx_ops import CONVERTERS

    with _folder() as folder:
        check(read(_saved(model, folder)), CONVERTERS)


def _saved(model: Any, folder: str) -> Path:
    path = Path(folder) / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _load(model: Any, feed: Mapping[str, Array]) -> Workload:
    """The workload for the shapes of `feed`; inputs that must be known become constants."""
    onnx = _library()
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    for info in proto.graph.input:
        if info.name in feed and info.type.HasField("tensor_type"):
            shape = info.type.tensor_type.shape
            del shape.dim[:]
            for size in feed[info.name].shape:
                shape.dim.add().dim_value = size
    fixed: set[str] = set()
    with _folder() as folder:
        while True:
            try:
                return load(_saved(proto, folder))
            except NotKnown as error:
                if error.tensor not in feed or error.tensor in fixed:
                    raise
                fixed.add(error.tensor)
                proto.graph.initializer.append(onnx.numpy_helper.from_array(feed[error.tensor], error.tensor))


def _numpy_type(info: Any) -> Any:
    code = info.type.tensor_type.elem_type
    return _library().helper.tensor_dtype_to_np_dtype(code) if code else None


def _library() -> Any:
    """The onnx package.  Raises BadInput where it is not installed."""
    try:
        import onnx
        import onnx.backend.base
        import onnx.defs
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise BadInput("the ONNX backend needs the onnx package: pip install 'ipusim[onnx]'") from None
    return onnx


@lru_cache(maxsize=2)
def _class(name: str) -> Any:
    """`Backend` or `Prepared`, as subclasses of onnx's; made when first asked for, since onnx is an extra."""
    base = _library().backend.base
    own, theirs = {"Backend": (_Backend, base.Backend), "Prepared": (_Prepared, base.BackendRep)}[name]
    return type(name, (own, theirs), {"__doc__": own.__doc__, "__module__": __name__})


def __getattr__(name: str) -> Any:
    """`Backend`, `Prepared`, and what onnx expects of a backend's module: `prepare`, `run_model` and the like."""
    if name in ("Backend", "Prepared"):
        return _class(name)
    if name in ("prepare", "run_model", "run_node", "supports_device", "is_compatible"):
        return getattr(_class("Backend"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
