"""What a codelet cannot say: each error names file, line, function and construct, and what to write instead."""

from __future__ import annotations

import linecache
import re
from pathlib import Path

import numpy as np
import pytest
from lang.tables import codelet_of, function_of

from ipusim.errors import BadInput, IpuSimError
from ipusim.lang.decorator import codelet
from ipusim.lang.fields import Input, Output, Vector
from ipusim.lang.parse import parse

HEAD = (
    "def f(x: Input[Vector[float32]], n: Input[Vector[int32]], rows: InOut[Vector[Vector[int32]]], k: InOut[half],\n"
    "      out: Output[Vector[float32]], size: int, flag: bool):\n"
)


def two_returns(v):
    if v > 0:
        return v
    return -v


def no_return(v):
    v + 1


def recursive(v):
    return recursive(v - 1)


def with_statements(v):
    v += 1
    return v


def starred(*v):
    return v[0]


NAMES = {"two_returns": two_returns, "no_return": no_return, "recursive": recursive, "with_statements": with_statements,
         "starred": starred, "ARRAY": np.zeros(3), "TABLE": (1.0, 2.0), "anonymous": lambda v: v,
         "DOUBLE": np.complex64(1)}  # fmt: skip

CASES = [
    # constructs that a tile does not have
    ("v = [1, 2]", "a tile has no lists"),
    ("v = [i for i in range(3)]", "a tile has no lists; write a loop"),
    ("v = {1: 2}", "a tile has no dictionaries"),
    ("v = (1, 2)", "a tuple is no value"),
    ("v = lambda a: a", "no functions of its own; write one outside"),
    ("v = f'{size}'", "no strings"),
    ("v = 'text'", "no values of type str"),
    ("v = 1j", "no values of type complex"),
    ("if (v := size) > 1:\n    pass", "assign on a line of its own"),
    ("def g():\n    pass", "no functions of its own; define it outside"),
    ("class A:\n    pass", "no classes"),
    ("with size:\n    pass", "no context managers"),
    ("try:\n    pass\nfinally:\n    pass", "no exceptions"),
    ("raise ValueError", "no exceptions; store a flag"),
    ("assert size > 1", "AbortOnCondition"),
    ("import os", "import at the top"),
    ("global v", "connect an InOut field"),
    ("del size", "local variables end by themselves"),
    ("print(size)", "use PrintTensor"),
    ("size + 1", "the value of this is not used"),
    ("return 1", "store into an Output field"),
    ("yield 1", "the value of this is not used"),
    ("v = x @ x", "write the loops of the product"),
    ("v = size in (1, 2)", "compare numbers with"),
    ("v = size is flag", "compare numbers with"),
    # loops
    ("for v in x:\n    pass", "a loop runs over range"),
    ("for i, v in enumerate(x):\n    pass", "counts with one name"),
    ("for i in range(0, 9, size):\n    pass", "the step of range is an integer literal"),
    ("for i in range(0, 9, 0):\n    pass", "other than 0"),
    ("for i in range(x[0]):\n    pass", "a bound of range is an integer, and this is float32"),
    ("for i in range(3):\n    pass\nelse:\n    pass", "a loop has no else"),
    ("while flag:\n    break\nelse:\n    pass", "a loop has no else"),
    ("for i in range(3):\n    i = 2", "counts a loop around this"),
    ("for i in range(3):\n    for i in range(3):\n        pass", "counts a loop around this"),
    ("i = 0.5\nfor i in range(3):\n    pass\nv = i", "holds something else elsewhere"),
    ("for i in range(3):\n    pass\ni = 0.5", "counts a loop elsewhere"),
    # names
    ("v = nothing", "no local variable, field, member or module constant has the name 'nothing'"),
    ("v = sise", "did you mean 'size'"),
    ("if flag:\n    v = 1\nout[0] = v", "'v' is not assigned on every way here"),
    ("for i in range(3):\n    v = 1\nout[0] = v", "not assigned on every way"),
    ("for i in range(3):\n    pass\nout[0] = i", "not assigned on every way"),
    ("while flag:\n    if size > 1:\n        break\n    v = 1\nout[0] = v", "not assigned on every way"),
    ("v += 1", "'v' is not assigned on every way"),
    ("size = 3", "a member of the vertex; copy it"),
    ("flag += 1", "a member of the vertex; copy it"),
    ("k = 1.0", "'k' is a field; write k[0] = ..."),
    ("x = 1.0", "'x' is a field"),
    ("v = ARRAY", "is an array of shape (3,): connect it as a field"),
    ("v = ARRAY[size]", "connect it as an Input"),
    ("v = TABLE[size]", "connect it as an Input, or index it with a literal"),
    ("v = math", "is a module"),
    ("v = math.nope", "math has no 'nope'"),
    ("v = abs", "is a function: call it"),
    ("v = DOUBLE", "is a complex64"),
    ("v = size.real", "numbers on the tile have no attributes"),
    # fields
    ("x[0] = 1.0", "field 'x' is an Input and cannot be written"),
    ("v = out[0]", "field 'out' is an Output and cannot be read; make it InOut"),
    ("out[0] += 1", "field 'out' is an Output and cannot be read"),
    ("v = x", "is a vector, not a number; give it 1 more index"),
    ("v = rows + 1", "is a vector of vectors, not a number; give it 2 more indices"),
    ("v = rows[0] + 1", "is a vector, not a number"),
    ("rows[0] = 1", "is a row; assign to its elements"),
    ("v = x[0][1]", "field 'x' takes 1 index"),
    ("v = x[0, 1]", "field 'x' takes 1 index"),
    ("v = rows[0][1][2]", "field 'rows' takes 2 indices"),
    ("v = k[1]", "is a scalar: its only index is 0"),
    ("v = x[-1]", "write f[len(f) - 1]"),
    ("v = x[1.5]", "an index is an integer"),
    ("v = x[x[0]]", "an index is an integer, and this is float32; convert it with int"),
    ("v = x[flag]", "an index is an integer, and this is bool"),
    ("v = x[1:2]", "a slice is no element"),
    ("v = len(size)", "len takes a vector field"),
    ("v = len(k)", "len takes a vector field"),
    ("v = size[0]", "'size' is no field"),
    ("row = rows[0]\nrow = 2", "bound to a row elsewhere"),
    ("row = 2\nrow = rows[0]", "holds a number elsewhere"),
    ("if flag:\n    row = rows[0]\nv = row[0]", "not bound to a row on every way"),
    ("row = rows[0]\nv = row + 1", "is a vector, not a number"),
    ("a, b = rows[0], rows[1]", "bind rows one on a line"),
    ("a, b = size", "write 2 values on the right side"),
    # types
    ("v = x[0] & 1", "& takes integers, and one operand is float32"),
    ("v = ~x[0]", "~ takes integers"),
    ("v = ~flag", "write `not`"),
    ("v = n[0] // 0", "divides an integer by zero"),
    ("v = 1 / 0", "division by zero"),
    ("v = n[0] ** -1", "to a negative power"),
    ("v = size and 3", "and / or join truth values"),
    ("v = k * 1e6", "beyond the largest half, 65504; write float32(1000000.0)"),
    ("v = n[0] + 3000000000", "does not fit int32; write uint32(3000000000)"),
    ("v = 5000000000", "does not fit int32"),
    ("rows[0][0] = 0.5", "holds int32, and 0.5 is no integer"),
    ("v: int8 = 0", "int8 exists in memory only; a local variable is int32"),
    ("v: Vector = 0", "is not an element type"),
    ("v: int = 0\nv: float = 1.0", "has type int32 elsewhere"),
    ("v = math.sqrt(-1.0)", "cannot be computed"),
    # calls
    ("v = math.gamma(x[0])", "cannot be called on a tile"),
    ("v = nothing(1)", "'nothing' is not a function known here"),
    ("v = math.exp(x[0], 1)", "takes 1 argument, not 2"),
    ("v = min(size)", "min takes two or more"),
    ("v = max(x[0], y=1)", "arguments by place"),
    ("v = two_returns(size)", "two_returns has more than one return"),
    ("v = no_return(size)", "no_return does not end in `return`"),
    ("v = recursive(size)", "calls itself; a tile has no recursion"),
    ("v = with_statements(1, 2)", "with_statements takes 1 arguments, not 2"),
    ("v = flag and with_statements(size) > 1", "has statements and this call may be skipped"),
    ("v = with_statements(size) if flag else 1", "has statements and this call may be skipped"),
    ("v = starred(size)", "only plain ones are known"),
    ("v = anonymous(size)", "a lambda has no statements; define it with def"),
]


@pytest.mark.parametrize(("body", "message"), CASES, ids=[c[0].replace("\n", " ")[:40] for c in CASES])
def test_a_message_says_where_and_what_instead(body, message):
    function = function_of(HEAD + "\n".join("    " + line for line in body.split("\n")), **NAMES)
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        parse(function, multi=False, partials="float32")
    if "anonymous" not in body:  # that one is in this file, on a line of its own
        here = rf"{re.escape(function.__code__.co_filename)}:[3-9]: codelet f: `|\(called from line 3 of codelet f\)$"
        assert re.search(here, str(caught.value))


SIGNATURES = [
    ("def f(x):\n    pass", "`x`: needs an annotation"),
    ("def f(x: Vector[float32]):\n    pass", "say how the field is used"),
    ("def f(x: Input[Vector[Vector[Vector[half]]]]):\n    pass", "Vector nests at most twice"),
    ("def f(x: Input[Input[half]]):\n    pass", "Input cannot hold another field"),
    ("def f(x: Input[Vector[Input[half]]]):\n    pass", "Input, Output and InOut stand outside"),
    ("def f(x: Input[str]):\n    pass", "is not an element type"),
    (
        "def f(x: 'Input[Vector[double]]'):\n    pass",
        "the annotation cannot be evaluated: name 'double' is not defined",
    ),
    ("def f(x: 'Input[Vector[np.float64]]'):\n    pass", "no element type named 'float64'"),
    ("def f(x: int8):\n    pass", "a member is int32, uint32, float32, half or bool, not int8"),
    ("def f(x: list):\n    pass", "is not an element type"),
    ("def f(x: int = 3):\n    pass", "a member has no default"),
    ("def f(*x: int):\n    pass", "all plain"),
    ("def f(*, x: int):\n    pass", "all plain"),
    ("def f(x: int) -> int:\n    pass", "a codelet returns nothing"),
    ("def f(worker_id: int):\n    pass", "write @codelet(multi=True)"),
    ("async def f(x: int):\n    pass", "async functions cannot run on a tile"),
]


@pytest.mark.parametrize(("text", "message"), SIGNATURES)
def test_signatures(text, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        parse(function_of(text))


def test_multi_needs_its_worker():
    with pytest.raises(BadInput, match="add the argument worker_id: int"):
        codelet_of("def f(x: int):\n    pass", options={"multi": True})
    with pytest.raises(BadInput, match="worker_id is an int"):
        codelet_of("def f(worker_id: float):\n    pass", options={"multi": True})


def test_what_has_no_source():
    scope = {}
    exec("def f(x: int):\n    pass", scope)
    with pytest.raises(BadInput, match="its source cannot be read; define it in a file"):
        codelet(scope["f"])
    with pytest.raises(BadInput, match="a lambda has no statements"):
        codelet(lambda x: x)
    with pytest.raises(BadInput, match="a plain Python function is needed, not type"):
        codelet(int)


def test_the_error_of_a_decorated_function_names_this_file():
    with pytest.raises(IpuSimError) as caught:

        @codelet
        def wrong(x: Input[Vector[int]], y: Output[Vector[int]]):
            for i in range(len(x)):
                y[i] = sum(x)

    message = str(caught.value)
    file, line = message.split(":")[0], int(message.split(":")[1])
    assert file == Path(__file__).name
    assert linecache.getline(__file__, line).strip() == "y[i] = sum(x)"
    assert "codelet wrong: `x`: is a vector, not a number" in message


def test_errors_in_called_functions_name_the_call():
    inner = function_of("def inner(v):\n    w = v.real\n    return w", "inner")
    function = function_of(HEAD + "    out[0] = inner(x[0])", inner=inner)
    with pytest.raises(
        BadInput, match=r"<codelet \d+>:2: function inner: `v.real`: .*\(called from line 3 of codelet f\)"
    ):
        parse(function)
