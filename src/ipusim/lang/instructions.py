"""Instructions of an expression or a condition.

Rules that matter: a multiply-add is two operations, `x ** 2` one; division by a power of two is a multiply, by
anything else a divide; `1 / sqrt(x)` is one instruction; an integer used as a float goes through memory, since nothing
moves from the integer to the float registers; floor division and remainder by a power of two are one shift or mask,
otherwise a library call.  A float condition is compare, move to MAIN, branch; an integer condition with zero is the
branch alone.  `and` and `or` are booked as if every part was evaluated.  A literal takes the type of its operand, so
`0.5 * x` on halves converts nothing; a float32 field or member times a half does.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import final

from ipusim.dtype import DType, bool_, float32
from ipusim.errors import BadInput
from ipusim.lang import affine, memory
from ipusim.lang.blocks import Piece, State, Value, pieces_of
from ipusim.lang.ir import (
    Binary,
    Cast,
    Choose,
    Compare,
    Const,
    Expr,
    FieldSpec,
    Length,
    Load,
    Logic,
    MathCall,
    Name,
    Unary,
)
from ipusim.lang.slots import WORKER_ID, kind_of, lanes_of

_FLOAT = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "fmod", "**": "pow", "min": "min", "max": "max"}
_INT = {
    "&": "and", "|": "or", "^": "xor", "<<": "shl", ">>": "shr", "min": "min", "max": "max",
    "+": "add", "-": "sub", "*": "mul",
}  # fmt: skip
_COMMUTES = frozenset({"add", "mul", "min", "max", "and", "or", "xor"})
_ROUNDING = frozenset({"floor", "ceil", "trunc", "round"})
SELECT_OPS = 3  # [graphcore/ipu_assembly_support: and, andc, or] a select by mask in the AUX registers
MOST_POWER = 16  # [own choice] larger literal exponents call the library


@final
class Evaluator:
    """Issues the instructions of expressions into a `State`; `fields` by name, `worker` as in the function."""

    def __init__(self, state: State, fields: Mapping[str, FieldSpec], worker: str | None) -> None:
        self.state, self.fields, self.worker = state, fields, worker

    def value(self, node: Expr) -> Value:
        """The value of an expression; integers may still be lazy."""
        match node:
            case Const():
                return self.state.constant(node.value, node.type)
            case Name():
                return self._name(node)
            case Load():
                return self._load(node)
            case Length():
                row = self.index(node.row) if node.row is not None else None
                return memory.length(self.state, self.fields[node.field], row, node.line)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Compare() | Logic():
                return self._truth(node)
            case Choose():
                return self._choose(node)
            case Cast():
                return self._cast(node)
            case MathCall():
                return self._call(node)
            case _:
                raise BadInput(f"line {node.line}: no instructions for {type(node).__name__}")

    def index(self, node: Expr) -> affine.Poly:
        """A subscript as a polynomial."""
        value = self.value(node)
        return value.poly if value.poly is not None else affine.number(int(value.const or 0))

    # -- leaves

    def _name(self, node: Name) -> Value:
        held = self.state.env.get(node.name)
        if held is None:  # a plain member, or the worker's number: read once, at entry
            slots = WORKER_ID if node.name == self.worker else 1
            made = (self.state.issue(0, [("main", 1)] * slots, (), node.line),)
            held = self.state.env[node.name] = self.state.value(node.type, 0, made)
        return held

    def _load(self, node: Load) -> Value:
        field = self.fields[node.field]
        if node.index:
            return memory.load(self.state, field, tuple(self.index(i) for i in node.index), node.line)
        held = self.state.env.get(field.name)
        if held is None:
            deps = memory.pointer(self.state, field, node.line)
            made = (self.state.issue(0, [("main", 1)], deps, node.line),)
            held = self.state.env[field.name] = self.state.value(node.type, 0, made)
        return held

    # -- operators

    def _unary(self, node: Unary) -> Value:
        operand = self.value(node.operand)
        if node.op == "neg" and operand.poly is not None:
            return self.state.lazily(affine.scale(operand.poly, -1), node.type)
        if operand.const is not None and node.op == "neg":
            return self.state.constant(-operand.const, node.type)
        return self.state.operate("neg" if node.op == "neg" else "xor", [operand], node.type, node.line)

    def _binary(self, node: Binary) -> Value:
        if node.op == "/" and _number(node.left) == 1 and _is_sqrt(node.right):
            root = node.right
            assert isinstance(root, MathCall)
            return self.state.operate("rsqrt", [self.value(root.arguments[0])], node.type, node.line)
        left, right = self.value(node.left), self.value(node.right)
        if node.type.is_float:
            return self._float_binary(node, left, right)
        return self._int_binary(node, left, right)

    def _float_binary(self, node: Binary, left: Value, right: Value) -> Value:
        op, state = node.op, self.state
        if op == "**" and right.const is not None:
            return self._power(left, float(right.const), node)
        if op == "/" and right.const is not None and _is_power_of_two(right.const):
            right, op = state.constant(1 / right.const, right.dtype), "*"
        if op == "/" and left.const == 1:
            return state.operate("recip", [right], node.type, node.line)
        if op == "//":
            return state.operate(
                "round", [state.operate("div", [left, right], node.type, node.line)], node.type, node.line
            )
        name = _FLOAT[op]
        operands = sorted([left, right], key=lambda v: v.id) if name in _COMMUTES else [left, right]
        return state.operate(name, operands, node.type, node.line)

    def _power(self, base: Value, exponent: float, node: Binary) -> Value:
        """Literal exponents: small whole ones by multiplying, halves by roots, others by the library."""
        state = self.state
        if exponent in (0.5, -0.5):
            return state.operate("sqrt" if exponent > 0 else "rsqrt", [base], node.type, node.line)
        whole = int(abs(exponent))
        if whole != abs(exponent) or whole > MOST_POWER:
            return state.operate("pow", [base, state.constant(exponent, node.type)], node.type, node.line)
        if whole == 0:
            return state.constant(1.0, node.type)
        result: Value | None = None
        square = base
        while whole:
            if whole & 1:
                result = square if result is None else state.operate("mul", [result, square], node.type, node.line)
            whole >>= 1
            if whole:
                square = state.operate("mul", [square, square], node.type, node.line)
        assert result is not None
        return result if exponent > 0 else state.operate("recip", [result], node.type, node.line)

    def _int_binary(self, node: Binary, left: Value, right: Value) -> Value:
        state, op = self.state, node.op
        a, b = left.poly or (), right.poly or ()
        literal = affine.constant(b) if affine.is_constant(b) else None
        poly: affine.Poly | None = None
        if op in ("+", "-"):
            poly = affine.add(a, b, 1 if op == "+" else -1)
        elif op == "*":
            poly = affine.multiply(a, b)
        elif op == "<<" and literal is not None and 0 <= literal < 31:
            poly = affine.scale(a, 1 << literal)
        elif op == "**" and literal is not None and 0 <= literal <= MOST_POWER:
            poly = affine.number(1)
            for _ in range(literal):
                poly = affine.multiply(poly, a) if poly is not None else None
        if poly is not None and len(poly) <= affine.MOST_TERMS:
            return state.lazily(poly, node.type)
        if (
            affine.is_constant(a)
            and literal is not None
            and (folded := _fold(op, affine.constant(a), literal)) is not None
        ):
            return state.constant(folded, node.type)
        name = _INT.get(op)
        if op in ("//", "%"):
            easy = literal is not None and literal > 0 and literal & (literal - 1) == 0
            name = "div_pow2" if easy else "div" if op == "//" else "mod"
        if op == "**":
            name = "pow"
        assert name is not None
        key = (op, node.type.name, left.key, right.key)
        slots = sum(
            state.slots.of(name, "f32" if name == "pow" else "i32" if name == "div_pow2" else kind_of(node.type))
        )
        state.note_slow(node.line, f"integer {op}", slots)
        return self._integer(key, [("main", slots)], [left, right], node)

    def _integer(self, key: Hashable, pieces: list[Piece], operands: list[Value], node: Expr) -> Value:
        if any(v.lanes > 1 for v in operands):
            raise self.state.refuse("integer arithmetic along it")
        cheap = sum(slots for _, slots in pieces) == 1
        return self.state.emit(key, pieces, operands, node.type, node.line, speculate=cheap)

    # -- conversions and functions

    def _cast(self, node: Cast) -> Value:
        operand, state = self.value(node.operand), self.state
        source, target = operand.dtype, node.type
        if operand.const is not None:
            return state.constant(_convert(operand.const, target), target)
        if source == target:
            return operand
        if source.is_float and target.is_float:
            return self._between_floats(operand, node)
        if source.is_float and target == bool_:
            return self._flag(("cast", "bool", operand.key), [operand], 1, node)
        if source.is_float:
            single = self._widened(operand, node)
            main, aux = state.slots.of("float_to_int", "f32->i32")
            return self._integer(("cast", target.name, single.key), pieces_of(main, aux, True), [single], node)
        if target.is_float:
            if operand.lanes > 1:
                raise state.refuse("it turns integers into floats")
            key = ("cast", "float32", operand.key)
            single = state.emit(
                key, pieces_of(*state.slots.of("int_to_float", "i32->f32")), [operand], float32, node.line
            )
            return single if target == float32 else self._between_floats(single, node)
        if target == bool_:
            return self._integer(("cast", "bool", operand.key), [("main", 1)], [operand], node)
        return state.lazily(operand.poly, target) if operand.poly is not None else operand

    def _widened(self, operand: Value, node: Expr) -> Value:
        if operand.dtype == float32:
            return operand
        return self._between_floats(operand, Cast(node.line, float32, node))

    def _between_floats(self, operand: Value, node: Expr) -> Value:
        """half <-> float32: two elements an instruction, four when narrowing."""
        narrowing = node.type.bytes == 2
        per = 4 if narrowing else 2
        name = ("cast_f32_f16", "f32->f16") if narrowing else ("cast_f16_f32", "f16->f32")
        copies = -(-operand.lanes // per)
        return self.state.emit(
            ("cast", node.type.name, operand.key), pieces_of(*self.state.slots.of(*name)), [operand], node.type,
            node.line, lanes=operand.lanes, copies=copies,
        )  # fmt: skip

    def _call(self, node: MathCall) -> Value:
        operands = [self.value(a) for a in node.arguments]
        state, name = self.state, node.function
        if name in ("isnan", "isinf"):
            return self._flag((name, operands[0].key), operands, 1 if name == "isnan" else 2, node)
        if name == "abs" and not node.type.is_float:
            return self._integer(("abs", operands[0].key), [("main", 1)], operands, node)
        kind = operands[0].dtype
        op = "round" if name in _ROUNDING else name
        if not node.type.is_float:
            single = self._widened(operands[0], node)
            pieces = pieces_of(*state.slots.of("float_to_int", "f32->i32"), aux_first=True)
            return self._integer((name, "int", single.key), pieces, [single], node)
        if op == "round":  # the instruction is one, the results differ
            return self._rounded(name, operands[0], node)
        return state.operate(op, operands, node.type, node.line, kind=kind)

    def _rounded(self, name: str, operand: Value, node: Expr) -> Value:
        copies, per = lanes_of(node.type, operand.lanes)
        pieces = pieces_of(*self.state.slots.of("round", kind_of(node.type, per)))
        return self.state.emit(
            (name, operand.key), pieces, [operand], node.type, node.line, lanes=operand.lanes, copies=copies
        )

    # -- truth values

    def _flag(self, key: Hashable, operands: list[Value], compares: int, node: Expr) -> Value:
        """A float test as a bool in a MAIN register."""
        if any(v.lanes > 1 for v in operands):
            raise self.state.refuse("a comparison kept as a value")
        pieces: list[Piece] = [("aux", 1)] * compares
        pieces.append(("main", sum(self.state.slots.of("atom_mov", "f32->mrf"))))
        return self.state.emit(key, pieces, operands, bool_, node.line)

    def _truth(self, node: Compare | Logic) -> Value:
        if isinstance(node, Compare):
            left, right = self.value(node.left), self.value(node.right)
            key = ("compare", node.op, left.key, right.key)
            if left.dtype.is_float:
                return self._flag(key, [left, right], 2 if node.op == "!=" else 1, node)
            return self._integer(key, [("main", 1)], [left, right], node)
        values = [self.value(p) for p in node.parts]
        result = values[0]
        for value in values[1:]:
            result = self._integer((node.op, result.key, value.key), [("main", 1)], [result, value], node)
        return result

    def mask(self, node: Compare) -> Value:
        """A float comparison as a mask in the AUX registers."""
        left, right = self.value(node.left), self.value(node.right)
        lanes = max(left.lanes, right.lanes)
        copies, _ = lanes_of(left.dtype, lanes)
        pieces: list[Piece] = [("aux", 1)] * (2 if node.op == "!=" else 1)
        key = ("mask", node.op, left.key, right.key)
        return self.state.emit(key, pieces, [left, right], left.dtype, node.line, lanes=lanes, copies=copies)

    def _choose(self, node: Choose) -> Value:
        """A branch around a move; for vectors a select by mask."""
        floats = isinstance(node.condition, Compare) and node.condition.left.type.is_float
        test = (
            self.mask(node.condition) if floats and isinstance(node.condition, Compare) else self.value(node.condition)
        )
        then, other = self.value(node.then), self.value(node.other)
        lanes = max(test.lanes, then.lanes, other.lanes)
        key = ("choose", test.key, then.key, other.key)
        operands = [test, then, other]
        if not node.type.is_float:
            return self._integer(key, [("main", 1)] * (2 if floats else 1), operands, node)
        pieces: list[Piece] = [("main", 1)] * (2 if floats else 1)
        pieces.append(("aux", 1))
        copies = 1
        if lanes > 1:
            if test.lanes == 1 and not floats:
                raise self.state.refuse("a choice by an integer")
            copies, _ = lanes_of(node.type, lanes)
            pieces = [("aux", 1)] * SELECT_OPS
        return self.state.emit(key, pieces, operands, node.type, node.line, lanes=lanes, copies=copies)

    def condition(self, node: Expr) -> None:
        """Evaluate a condition and branch on it."""
        if isinstance(node, Logic):
            for part in node.parts:
                self.condition(part)
            return
        if isinstance(node, Unary) and node.op == "not":
            self.condition(node.operand)
            return
        deps = self._tested(node)
        if deps is not None:
            self.state.branch(deps, node.line)

    def _tested(self, node: Expr) -> tuple[int, ...] | None:
        """What the branch has to wait for, or None if nothing is tested."""
        state = self.state
        if not isinstance(node, Compare):
            value = state.register(self.value(node), node.line)
            state.use(value)
            return value.made if value.const is None else None
        if node.left.type.is_float:
            mask = self.mask(node)
            return (
                state.issue(state.here, [("main", sum(state.slots.of("atom_mov", "f32->mrf")))], mask.made, node.line),
            )
        left, right = self.value(node.left), self.value(node.right)
        if left.const is not None and right.const is not None:
            return None
        if left.const == 0 or right.const == 0:
            held = state.register(right if left.const == 0 else left, node.line)
            state.use(held)
            return held.made
        key = ("compare", node.op, left.key, right.key)
        return self._integer(key, [("main", 1)], [left, right], Cast(node.line, bool_, node)).made


def _number(node: Expr) -> float | None:
    while isinstance(node, Cast):
        node = node.operand
    return float(node.value) if isinstance(node, Const) else None


def _is_sqrt(node: Expr) -> bool:
    return isinstance(node, MathCall) and node.function == "sqrt"


def _is_power_of_two(number: float) -> bool:
    return number != 0 and math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5


def _convert(number: int | float | bool, target: DType) -> int | float | bool:
    if target.is_float:
        return float(number)
    return bool(number) if target == bool_ else int(number) if math.isfinite(number) else 0


def _fold(op: str, left: int, right: int) -> int | None:
    """Integer operators on two literals."""
    if op in ("//", "%"):
        return None if right == 0 else left // right if op == "//" else left % right
    if op in ("<<", ">>") and not 0 <= right < 32:
        return None
    table = {"&": left & right, "|": left | right, "^": left ^ right, "min": min(left, right), "max": max(left, right)}
    if op in table:
        return table[op]
    return left >> right if op == ">>" else left << right if op == "<<" else None
