"""A slow interpreter of the typed tree that computes values and counts slots by the definition of `Costs`.

It is the reference for compiled counting: every entry is added where the definition says, nothing is hoisted.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ipusim.lang import ir
from ipusim.lang.costs import Costs


class _Leave(Exception):
    pass


class _Again(Exception):
    pass


class _Done(Exception):
    pass


class Count:
    """Slots of one vertex before the profile's factor: `Count(function, costs, fields, members).slots`."""

    def __init__(self, function: ir.Function, costs: Costs, fields: dict[str, Any], members: dict[str, Any]) -> None:
        self.costs, self.fields, self.names = costs, fields, dict(members)
        self.types = {f.name: f for f in function.fields}
        self.slots = costs.entry
        self.counting = True
        self.loops: dict[int, int] = {}
        with np.errstate(all="ignore"), contextlib.suppress(_Done):
            self.block(function.body)
        up, down = costs.factor
        self.thread_slots = -(-self.slots * up // down)

    def add(self, table: dict[int, int], node: ir.Stmt, times: int = 1) -> None:
        if self.counting:
            self.slots += table.get(id(node), 0) * times

    def block(self, body: Iterable[ir.Stmt]) -> None:
        for stmt in body:
            self.add(self.costs.before, stmt)
            match stmt:
                case ir.Assign():
                    self.names[stmt.name] = self.value(stmt.value)
                case ir.Store():
                    index = tuple(int(self.value(i)) for i in stmt.index)
                    target = self.fields[stmt.field]
                    if len(index) == 2:
                        target, index = target[index[0]], index[1:]
                    assert not index or 0 <= index[0] < len(target), (stmt.line, index)
                    target[index[0] if index else 0] = self.value(stmt.value)
                case ir.If():
                    taken = bool(self.value(stmt.condition))
                    self.add(self.costs.then if taken else self.costs.other, stmt)
                    self.block(stmt.then if taken else stmt.other)
                case ir.For():
                    self.for_(stmt)
                case ir.While():
                    self.while_(stmt)
                case ir.Break():
                    raise _Leave
                case ir.Continue():
                    raise _Again
                case _:
                    raise _Done

    def for_(self, stmt: ir.For) -> None:
        span = range(int(self.value(stmt.start)), int(self.value(stmt.stop)), stmt.step)
        self.loops[stmt.line] = self.loops.get(stmt.line, 0) + len(span)
        was = self.counting
        self.counting = was and id(stmt) not in self.costs.collapsed
        if span:
            self.add(self.costs.entered, stmt)
        for n, i in enumerate(span):
            self.names[stmt.name] = i
            if n % self.costs.width.get(id(stmt), 1) == 0:
                self.add(self.costs.each, stmt)
            try:
                self.block(stmt.body)
            except _Leave:
                break
            except _Again:
                continue
        self.counting = was

    def while_(self, stmt: ir.While) -> None:
        while self.value(stmt.condition):
            self.loops[stmt.line] = self.loops.get(stmt.line, 0) + 1
            self.add(self.costs.each, stmt)
            try:
                self.block(stmt.body)
            except _Leave:
                break
            except _Again:
                continue

    def value(self, node: ir.Expr) -> Any:
        raw = self.raw(node)
        if node.type.is_float:
            return node.type.numpy.type(raw)
        return bool(raw) if node.type.kind == "bool" else int(raw)

    def raw(self, node: ir.Expr) -> Any:
        match node:
            case ir.Const():
                return node.value
            case ir.Name():
                return self.names[node.name]
            case ir.Load():
                found = self.fields[node.field]
                for i in node.index:
                    at = int(self.value(i))
                    assert 0 <= at < len(found), (node.line, node.field, at, len(found))
                    found = found[at]
                return found if node.index else found[0]
            case ir.Length():
                found = self.fields[node.field]
                return len(found if node.row is None else found[int(self.value(node.row))])
            case ir.Unary():
                inner = self.value(node.operand)
                return -inner if node.op == "neg" else (not inner) if node.op == "not" else ~inner
            case ir.Logic():
                return all(map(self.value, node.parts)) if node.op == "and" else any(map(self.value, node.parts))
            case ir.Choose():
                return self.value(node.then if self.value(node.condition) else node.other)
            case ir.Cast():
                return self.value(node.operand)
            case ir.MathCall():
                return self.call(node)
            case ir.Binary() | ir.Compare():
                return self.binary(node.op, self.value(node.left), self.value(node.right))
        raise AssertionError(node)

    def call(self, node: ir.MathCall) -> Any:
        arguments = [self.value(a) for a in node.arguments]
        if node.function == "abs":
            return abs(arguments[0])
        special = {"rsqrt": lambda x: 1 / math.sqrt(x), "sigmoid": lambda x: 1 / (1 + math.exp(-x))}
        return (special.get(node.function) or getattr(math, node.function))(*map(float, arguments))

    @staticmethod
    def binary(op: str, a: Any, b: Any) -> Any:
        match op:
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return a * b
            case "/":
                return a / b
            case "//":
                return a // b
            case "%":
                return a % b
            case "**":
                return a**b
            case "&":
                return a & b
            case "|":
                return a | b
            case "^":
                return a ^ b
            case "<<":
                return a << b
            case ">>":
                return a >> b
            case "min" | "max":
                return min(a, b) if op == "min" else max(a, b)
            case "<":
                return a < b
            case "<=":
                return a <= b
            case ">":
                return a > b
            case ">=":
                return a >= b
            case "==":
                return a == b
            case "!=":
                return a != b
        raise AssertionError(op)
