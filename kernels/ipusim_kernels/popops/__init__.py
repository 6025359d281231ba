"""Library calls for tile programs, named as poplibs' popops.

Every call takes the graph, tensors, the `Sequence` it appends to, and a debug name, which goes into the names of its
compute sets and results.  What a call returns is new, and mapped: elementwise results lie where the first operand of
their shape lies.  Arguments that do not go together raise BadInput with the call and the tensors.

    >>> from ipusim_kernels import popops
    >>> y = popops.mul(graph, popops.exp(graph, x, program), scale, program)
    >>> done = popops.all_true(graph, popops.less(graph, error, 1e-3, program), program)
"""

from __future__ import annotations

from ipusim_kernels.popops import expr
from ipusim_kernels.popops.cast_fill import (
    cast,
    fill,
    scaled_add_to,
    zero,
)
from ipusim_kernels.popops.elementwise import (
    map,  # noqa: A004
    map_in_place,
)
from ipusim_kernels.popops.functions import (
    abs,  # noqa: A004
    add,
    add_in_place,
    bitwise_not,
    ceil,
    clamp,
    cos,
    div,
    div_in_place,
    equal,
    erf,
    exp,
    exp_in_place,
    floor,
    greater,
    greater_equal,
    inv,
    isnan,
    less,
    less_equal,
    log,
    log_in_place,
    logical_and,
    logical_not,
    logical_or,
    max,  # noqa: A004
    max_in_place,
    min,  # noqa: A004
    min_in_place,
    mul,
    mul_in_place,
    neg,
    neg_in_place,
    not_equal,
    pow,  # noqa: A004
    relu,
    relu_in_place,
    round,  # noqa: A004
    rsqrt,
    select,
    sigmoid,
    sigmoid_in_place,
    sign,
    sin,
    sqrt,
    sqrt_in_place,
    square,
    square_in_place,
    sub,
    sub_in_place,
    tanh,
    tanh_in_place,
)
from ipusim_kernels.popops.gather import (
    create_sliceable,
    dynamic_slice,
    gather,
    multi_slice,
    scatter_add,
    scatter_update,
)
from ipusim_kernels.popops.reduce import (
    all_true,
    any_true,
    reduce,
)
from ipusim_kernels.popops.scan import (
    prefix_sum,
)
from ipusim_kernels.popops.sort import (
    arg_max,
    arg_min,
    sort,
    sort_pairs,
    top_k,
)

__all__ = [
    "abs",
    "add",
    "add_in_place",
    "all_true",
    "any_true",
    "arg_max",
    "arg_min",
    "bitwise_not",
    "cast",
    "ceil",
    "clamp",
    "cos",
    "create_sliceable",
    "div",
    "div_in_place",
    "dynamic_slice",
    "equal",
    "erf",
    "exp",
    "exp_in_place",
    "expr",
    "fill",
    "floor",
    "gather",
    "greater",
    "greater_equal",
    "inv",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log_in_place",
    "logical_and",
    "logical_not",
    "logical_or",
    "map",
    "map_in_place",
    "max",
    "max_in_place",
    "min",
    "min_in_place",
    "mul",
    "mul_in_place",
    "multi_slice",
    "neg",
    "neg_in_place",
    "not_equal",
    "pow",
    "prefix_sum",
    "reduce",
    "relu",
    "relu_in_place",
    "round",
    "rsqrt",
    "scaled_add_to",
    "scatter_add",
    "scatter_update",
    "select",
    "sigmoid",
    "sigmoid_in_place",
    "sign",
    "sin",
    "sort",
    "sort_pairs",
    "sqrt",
    "sqrt_in_place",
    "square",
    "square_in_place",
    "sub",
    "sub_in_place",
    "tanh",
    "tanh_in_place",
    "top_k",
    "zero",
]
