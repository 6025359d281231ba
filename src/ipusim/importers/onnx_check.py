"""What is checked of a whole ONNX graph before any of it is converted: operators, element types, order, arity.

Each check looks at every node or tensor and reports all offenders of its kind at once.  A node counts as fixed if it
depends on no input of the model (the shape of anything is fixed: all sizes are known); operators without a converter
are accepted there, since they are computed ahead of time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ipusim.errors import BadInput, Unsupported
from ipusim.importers.onnx_file import Graph, OnnxNode
from ipusim.importers.onnx_tensor import CONSTANT_TYPES, VALUE_TYPES, type_name

#: Operators that give another result every time.
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
#: Operators whose result depends on the shape of their input only.
SHAPE_ONLY = frozenset({"Shape", "Size"})
#: ONNX's definitions give the largest integer as the limit where there is none.
_ANY_NUMBER = 1 << 30


def check(graph: Graph, converters: Collection[str]) -> None:
    """Raises Unsupported for operators and BadInput for all else that cannot be converted."""
    fixed = _fixed_nodes(graph)
    _check_operators(graph, converters, fixed)
    _check_types(graph, fixed)
    _check_order(graph)
    for node in graph.nodes:
        _check_node(graph, node)


def _fixed_nodes(graph: Graph) -> set[int]:
    """Positions of the nodes that depend on no input of the model."""
    constant = set(graph.initializers)
    fixed = set()
    for position, node in enumerate(graph.nodes):
        if node.op in SHAPE_ONLY or all(name in constant for name in node.inputs if name):
            fixed.add(position)
            constant.update(name for name in node.outputs if name)
    return fixed


def _check_operators(graph: Graph, converters: Collection[str], fixed: set[int]) -> None:
    unknown: dict[str, list[str]] = {}
    for position, node in enumerate(graph.nodes):
        standard = node.domain in ("", "ai.onnx")
        if not standard or not (node.op in converters or (position in fixed and _computable(node))):
            unknown.setdefault(node.op if standard else f"{node.domain}.{node.op}", []).append(node.label)
    if unknown:
        raise Unsupported(str(graph.path), unknown)


def _computable(node: OnnxNode) -> bool:
    """Whether an operator without a converter can be computed ahead of time: it is ONNX's, is not random and has no
    graph inside.
    """
    import onnx

    subgraph = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.proto.attribute)
    return onnx.defs.has(node.op) and node.op not in RANDOM and not subgraph


def _check_types(graph: Graph, fixed: set[int]) -> None:
    unknown: dict[str, list[str]] = {}
    for code, place in _types(graph, fixed):
        unknown.setdefault(type_name(code), []).append(place)
    if unknown:
        listed = "; ".join(f"{kind} ({', '.join(places)})" for kind, places in unknown.items())
        many = "an element type" if len(unknown) == 1 else "element types"
        raise BadInput(f"{graph.path} has {many} that the IPU does not have: {listed}")


def _types(graph: Graph, fixed: set[int]) -> Iterator[tuple[int, str]]:
    """(number, where) of every element type that is not allowed there."""
    for name, (code, _) in graph.inputs.items():
        if code not in VALUE_TYPES:
            yield code, f"input {name!r}"
    for name, tensor in graph.initializers.items():
        if tensor.data_type not in CONSTANT_TYPES:
            yield tensor.data_type, f"initializer {name!r}"
    for position, node in enumerate(graph.nodes):
        if node.op in ("Constant", "ConstantOfShape"):
            code = getattr(node.attribute("value", None), "data_type", 1)
            if code not in CONSTANT_TYPES:
                yield code, f"constant {node.label!r}"
        elif node.op == "Cast" and position not in fixed and node.attribute("to", 1) not in VALUE_TYPES:
            yield node.attribute("to", 1), f"node {node.label!r}"


def _check_order(graph: Graph) -> None:
    """Every tensor is made once, before it is read."""
    made = dict.fromkeys((*graph.inputs, *graph.initializers), "the model")
    maker = {name: node.label for node in graph.nodes for name in node.outputs if name}
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in made:
                later = f"node {maker[name]!r} makes only later" if name in maker else "nothing makes"
                raise BadInput(f"{graph.path}: node {node.label!r} reads {name!r}, which {later}")
        for name in node.outputs:
            if name in made:
                raise BadInput(f"{graph.path}: node {node.label!r} makes {name!r}, which {made[name]} has already")
            if name:
                made[name] = f"node {node.label!r}"
    for name in graph.outputs:
        if name not in made:
            raise BadInput(f"{graph.path}: output {name!r} is made by no node")


def _check_node(graph: Graph, node: OnnxNode) -> None:
    """The number of inputs and the attributes against ONNX's own definition of the operator."""
    schema = _schema(node.op, graph.opset)
    where = f"{graph.path}: node {node.label!r} ({node.op})"
    least, most = schema.min_input, schema.max_input
    any_number = most >= _ANY_NUMBER
    needed = node.inputs if any_number else node.inputs[:least]
    if not least <= len(node.inputs) <= most or not all(needed):
        wanted = f"at least {least}" if any_number else str(least) if least == most else f"{least} to {most}"
        raise BadInput(f"{where} takes {wanted} inputs, got {sum(1 for n in node.inputs if n)}")
    optional = schema.min_output == 0
    if not any(node.outputs) or not (node.outputs[0] or optional) or len(node.outputs) > schema.max_output:
        raise BadInput(f"{where} has {len(node.outputs)} outputs")
    given = {a.name: a.type for a in node.proto.attribute}
    for name, attribute in schema.attributes.items():
        if attribute.required and name not in given:
            raise BadInput(f"{where} lacks its attribute {name!r}")
        if name in given and given[name] != attribute.type.value:
            raise BadInput(f"{where}: attribute {name!r} is not of the type that the operator takes")


def _schema(op: str, opset: int) -> Any:
    """ONNX's definition of an operator in an opset; the newest if the opset does not have it yet, as exporters fuse
    into operators that came later.
    """
    import onnx

    try:
        return onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return onnx.defs.get_schema(op, "")
