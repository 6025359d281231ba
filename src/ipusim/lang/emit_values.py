"""Typed expressions -> text of generated code.

An operation leaves its value as it comes: an integer wider than 32 bits, a half not rounded.  `exact` brings it to
its type where that matters (assignment, comparison, division, right shift, conversion); the low 32 bits of a sum or
product do not depend on when its operands were wrapped, and an index that is a sum of products of variables needs
no wrap.  Where memory is checked, an expression may write statements before its text; what is behind `and`, `or` or
a condition then becomes statements under `if`.
"""

from __future__ import annotations

from ipusim.dtype import DType, bool_, half, uint32
from ipusim.lang import ir
from ipusim.lang.reads import walk
from ipusim.lang.status import DIVISION
from ipusim.lang.writer import Check, Code, RowNames, Writer, local

_MEMORY = {
    "float32": "f32",
    "float16": "f16",
    "int32": "i32",
    "uint32": "u32",
    "int16": "i16",
    "uint16": "u16",
    "int8": "i8",
    "uint8": "u8",
    "bool": "b8",
}
_STORED = _MEMORY | {"uint32": "i32", "uint16": "i16", "uint8": "i8"}
_FLOAT_WORDS = {"//": "floor_div", "%": "floor_mod", "**": "power", "min": "least", "max": "most"}
_HALF_WORDS = {"+": "add_half", "-": "sub_half", "*": "mul_half", "/": "div_half"}
_KEEPS_HALF = {"fabs", "floor", "ceil", "trunc", "round_even"}
_MATH_WORDS = {"abs": "fabs", "round": "round_even"}


def exact(writer: Writer, node: ir.Expr) -> str:
    """Text of an expression, brought to its type."""
    return settled(writer, node.type, emit(writer, node))


def settled(writer: Writer, dtype: DType, code: Code) -> str:
    """Text of a value, brought to its type."""
    if code.exact:
        return code.text
    if dtype == half:
        return writer.call("to_half", code.text)
    return writer.call("wrap_u32" if dtype == uint32 else "wrap_i32", code.text)


def emit(writer: Writer, node: ir.Expr) -> Code:
    """Text of an expression; checks and other statements that it needs are written first."""
    if isinstance(node, ir.Const):
        return Code(_constant(writer, node))
    if isinstance(node, ir.Name):
        return Code(local(node.name))
    if isinstance(node, ir.Load):
        return Code(_load(writer, node))
    if isinstance(node, ir.Length):
        return Code(_length(writer, node))
    if isinstance(node, ir.Unary):
        return _unary(writer, node)
    if isinstance(node, ir.Binary):
        return _float_binary(writer, node) if node.type.is_float else _binary(writer, node)
    if isinstance(node, ir.Compare):
        return Code(f"({exact(writer, node.left)} {node.op} {exact(writer, node.right)})")
    if isinstance(node, ir.Logic):
        return Code(_logic(writer, node))
    if isinstance(node, ir.Choose):
        return Code(_choose(writer, node))
    if isinstance(node, ir.Cast):
        return _cast(writer, node)
    if isinstance(node, ir.MathCall):
        return _math(writer, node)
    raise TypeError(type(node).__name__)


def _constant(writer: Writer, node: ir.Const) -> str:
    if node.type == bool_:
        return str(bool(node.value))
    if node.type.is_float:
        return writer.float_constant(node.value, node.type)
    return str(node.value) if node.value >= 0 else f"({node.value})"


def fail(writer: Writer, code: int, line: int) -> None:
    """Writes the report of what went wrong, and the way out."""
    writer.add(writer.call("fail", "status", code, "v", line, writer.worker))
    writer.add("return")


def _check(writer: Writer, field: int, index: str, length: str, line: int, of_row: bool = False) -> str:
    """Text of an index; where memory is checked, the next line is preceded by the check."""
    if not writer.checked:
        return index
    name = index if index.isidentifier() or index.isdigit() else writer.temporary(index)
    if (name, length) not in writer.proven:
        writer.proven.add((name, length))
        writer.checks.append(Check(line, field, of_row, name, length))
    return name


def index_text(writer: Writer, node: ir.Expr) -> str:
    """Text of an index.  Sums and products of variables are held in variables, each part once."""
    if not is_affine(node):
        return exact(writer, node)
    if isinstance(node, ir.Binary):
        return writer.value(f"{index_text(writer, node.left)} {node.op} {index_text(writer, node.right)}")
    return emit(writer, node).text


def is_affine(node: ir.Expr) -> bool:
    """Whether a value is a sum of products of variables, lengths and numbers."""
    for part in walk(node):
        known = isinstance(part, (ir.Const, ir.Name)) or (isinstance(part, ir.Length) and part.row is None)
        if not known and not (isinstance(part, ir.Binary) and part.op in {"+", "-", "*"}):
            return False
    return True


def place(writer: Writer, field: str, index: tuple[ir.Expr, ...], line: int) -> tuple[str, str]:
    """Texts of the address and the element number of an element; the checks are written."""
    number, spec = writer.spec(field)
    if spec.depth == 0:
        return f"{field}_at", "0"
    if spec.depth == 1:
        return f"{field}_at", _check(writer, number, index_text(writer, index[0]), f"{field}_len", line)
    row = find_row(writer, field, index[0], line)
    return row.address, _check(writer, number, index_text(writer, index[1]), row.length, line)


def find_row(writer: Writer, field: str, index: ir.Expr, line: int) -> RowNames:
    """Variables of a row: looked up before the loop, or here."""
    number, _ = writer.spec(field)
    text = index_text(writer, index)
    ready = writer.rows.get((field, text))
    name = _check(writer, number, text, f"{field}_len", line, of_row=True)
    if ready is not None:
        return ready
    address = writer.temporary(writer.call("get_i64", f"{field}_rows", f"{field}_first + {name}"))
    length = (
        writer.temporary(writer.call("get_i64", f"{field}_sizes", f"{field}_first + {name}")) if writer.checked else ""
    )
    writer.rows[field, text] = RowNames(address, length)
    return writer.rows[field, text]


def _load(writer: Writer, node: ir.Load) -> str:
    _, spec = writer.spec(node.field)
    if spec.depth == 0 and spec.role == "in":
        return f"{node.field}_value"
    address, element = place(writer, node.field, node.index, node.line)
    return writer.call(f"get_{_MEMORY[spec.dtype.name]}", address, element)


def store(writer: Writer, node: ir.Store) -> None:
    """Writes a store; memory narrows and rounds by itself."""
    _, spec = writer.spec(node.field)
    value = emit(writer, node.value).text
    if writer.checked and not value.isidentifier():
        value = writer.temporary(value)
    address, element = place(writer, node.field, node.index, node.line)
    writer.add(writer.call(f"set_{_STORED[spec.dtype.name]}", address, element, value))


def first_load(writer: Writer, spec: ir.FieldSpec) -> str:
    """Text of the load of a scalar field."""
    return writer.call(f"get_{_MEMORY[spec.dtype.name]}", f"{spec.name}_at", 0)


def member(writer: Writer, dtype: DType, column: str) -> str:
    """Text of the load of a plain member: columns hold float64 for floats, int64 for the rest."""
    if dtype.is_float:
        value = writer.call("get_f64", column, "v")
        return writer.call("to_half", value) if dtype == half else value
    value = writer.call("get_i64", column, "v")
    if dtype == bool_:
        return f"({value} != 0)"
    return settled(writer, dtype, Code(value, exact=False))


def _length(writer: Writer, node: ir.Length) -> str:
    if node.row is None:
        return f"{node.field}_len"
    if writer.checked:
        return find_row(writer, node.field, node.row, node.line).length
    text = index_text(writer, node.row)
    ready = writer.rows.get((node.field, text))
    return (
        ready.length
        if ready and ready.length
        else writer.call("get_i64", f"{node.field}_sizes", f"{node.field}_first + {text}")
    )


def _unary(writer: Writer, node: ir.Unary) -> Code:
    if node.op == "not":
        return Code(f"(not {exact(writer, node.operand)})")
    code = emit(writer, node.operand)
    if node.op == "neg":
        return Code(f"(-{code.text})", node.type.is_float and code.exact)
    return Code(f"(~{code.text})", code.exact and node.type != uint32)


def _binary(writer: Writer, node: ir.Binary) -> Code:
    op = node.op
    if node.type == bool_:
        a, b = exact(writer, node.left), exact(writer, node.right)
        return Code(f"({a} {({'min': '&', 'max': '|'}).get(op, op)} {b})")
    if op in {"+", "-", "*"}:
        return Code(f"({emit(writer, node.left).text} {op} {emit(writer, node.right).text})", exact=False)
    if op in {"&", "|", "^"}:
        low, high = emit(writer, node.left), emit(writer, node.right)
        cut = op == "&" and any(isinstance(n, ir.Const) and n.value >= 0 for n in (node.left, node.right))
        return Code(f"({low.text} {op} {high.text})", cut or (low.exact and high.exact))
    if op in {"//", "%"}:
        return _divide(writer, node)
    if op in {"<<", ">>"}:
        return _shift(writer, node)
    if op == "**" and isinstance(node.right, ir.Const) and node.right.value == 2:
        return Code(writer.call("square_i", exact(writer, node.left)), exact=False)
    word = {"min": "least_i", "max": "most_i", "**": "power_i"}[op]
    return Code(writer.call(word, exact(writer, node.left), exact(writer, node.right)), op != "**")


def _divide(writer: Writer, node: ir.Binary) -> Code:
    left, right = exact(writer, node.left), exact(writer, node.right)
    literal = isinstance(node.right, ir.Const)
    if writer.checked and not literal:
        left, right = writer.temporary(left), writer.temporary(right)
        with writer.inside(f"if {right} == 0:"):
            fail(writer, DIVISION, node.line)
    positive = isinstance(node.right, ir.Const) and node.right.value > 0
    return Code(f"({left} {node.op} {right})", node.op == "%" or positive)


def _shift(writer: Writer, node: ir.Binary) -> Code:
    left = emit(writer, node.left).text if node.op == "<<" else exact(writer, node.left)
    if isinstance(node.right, ir.Const) and 0 <= node.right.value < 32:
        return Code(f"({left} {node.op} {node.right.value})", node.op == ">>")
    word = "shift_left" if node.op == "<<" else "shift_right"
    return Code(writer.call(word, left, exact(writer, node.right)), node.op == ">>")


def _float_binary(writer: Writer, node: ir.Binary) -> Code:
    keeps = node.type != half
    if node.op == "**" and isinstance(node.right, ir.Const) and node.right.value == 2:
        return Code(writer.call("square", exact(writer, node.left)), keeps)
    a, b = exact(writer, node.left), exact(writer, node.right)
    if node.op in _FLOAT_WORDS:
        return Code(writer.call(_FLOAT_WORDS[node.op], a, b), keeps or node.op in {"min", "max"})
    if node.type == half:
        return Code(writer.call(_HALF_WORDS[node.op], a, b))
    return Code(f"({a} {node.op} {b})")


def _may_fail(node: ir.Expr) -> bool:
    """Whether evaluating it where Python would not could touch memory that is not there, or divide by zero."""
    for part in walk(node):
        if isinstance(part, (ir.Load, ir.Length)):
            return True
        if isinstance(part, ir.Binary) and part.op in {"//", "%"} and not part.type.is_float:
            return True
    return False


def _logic(writer: Writer, node: ir.Logic) -> str:
    texts = [exact(writer, node.parts[0])]
    asides: list[list[str]] = []
    for part in node.parts[1:]:
        with writer.aside() as lines:
            texts.append(exact(writer, part))
        asides.append(lines)
    if not any(asides):
        sign = node.op if any(map(_may_fail, node.parts[1:])) else {"and": "&", "or": "|"}[node.op]
        return f"({f' {sign} '.join(texts)})"
    found = writer.temporary(texts[0])
    depth = writer.indent
    for text, lines in zip(texts[1:], asides, strict=True):
        writer.add(f"if {found}:" if node.op == "and" else f"if not {found}:")
        writer.indent += 1
        writer.lines.extend("    " * (writer.indent - depth) + line for line in lines)
        writer.add(f"{found} = {text}")
    writer.indent = depth
    return found


def _choose(writer: Writer, node: ir.Choose) -> str:
    test = exact(writer, node.condition)
    arms: list[tuple[str, list[str]]] = []
    for part in (node.then, node.other):
        with writer.aside() as lines:
            text = exact(writer, part)
        arms.append((text, lines))
    (then, first), (other, second) = arms
    if not first and not second:
        return f"({then} if {test} else {other})"
    found = f"t{writer.temporaries}"
    writer.temporaries += 1
    for head, text, lines in ((f"if {test}:", then, first), ("else:", other, second)):
        with writer.inside(head):
            writer.lines.extend("    " + line for line in lines)
            writer.add(f"{found} = {text}")
    return found


def _cast(writer: Writer, node: ir.Cast) -> Code:
    source, target = node.operand.type, node.type
    if source == bool_:
        whole = writer.call("int_of_bool", exact(writer, node.operand))
        return Code(writer.call("float_of_i32", whole)) if target.is_float else Code(whole)
    if source.is_float:
        text = exact(writer, node.operand)
        if target.is_float:
            return Code(text, exact=target != half or source == half)
        return Code(writer.call("u32_of_float" if target == uint32 else "i32_of_float", text))
    text = emit(writer, node.operand).text
    if target.is_float:
        return Code(writer.call("float_of_u32" if source == uint32 else "float_of_i32", text), exact=target != half)
    return Code(text, exact=False)


def _math(writer: Writer, node: ir.MathCall) -> Code:
    arguments = [exact(writer, a) for a in node.arguments]
    if not node.type.is_float and node.type != bool_:
        return Code(writer.call("abs_i", *arguments), exact=False)
    word = _MATH_WORDS.get(node.function, node.function)
    return Code(writer.call(word, *arguments), node.type != half or word in _KEEPS_HALF)
