"""The kernels of ipusim: codelets with their cycles, and how each op is lowered to them.

`rules()` is what the entry-point group `ipusim.kernels` asks a kernel package for: a dict from op type to lowering
rule.  `vertex_kinds()` is the same for `ipusim validate --vertices`: a dict from a vertex's name to the function that
prices a row of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ipusim.lower.rules import Rule
from ipusim.workload.ops import Op


def rules() -> dict[type[Op], Rule]:
    """Lowering rules by op type (kernels are imported here, not before)."""
    from ipusim.workload import ops, ops_loop, ops_mcmc, ops_norm, ops_random, ops_recurrent, ops_shape
    from ipusim_kernels import loop, norm, views
    from ipusim_kernels.cast import codelets as cast
    from ipusim_kernels.conv import rule as conv
    from ipusim_kernels.elementwise import rule as elementwise
    from ipusim_kernels.gather import dynamic
    from ipusim_kernels.gather import rule as gather
    from ipusim_kernels.pool import rule as pool
    from ipusim_kernels.poprand import rule as poprand
    from ipusim_kernels.recurrent import rule as recurrent
    from ipusim_kernels.reduce import rule as reduce

    return {
        ops.Conv: conv.lower_conv,
        ops.MatMul: conv.lower_matmul,
        ops.Unary: elementwise.lower_unary,
        ops.Binary: elementwise.lower_binary,
        ops.Select: elementwise.lower_select,
        ops.Clip: elementwise.lower_clip,
        ops.Reduce: reduce.lower_reduce,
        ops.ArgReduce: reduce.lower_arg_reduce,
        ops.Pool: pool.lower_pool,
        ops_norm.BatchNorm: norm.lower_batch_norm,
        ops_norm.LayerNorm: norm.lower_layer_norm,
        ops_norm.GroupNorm: norm.lower_group_norm,
        ops_norm.LRN: norm.lower_lrn,
        ops_norm.Softmax: norm.lower_softmax,
        ops_random.Random: poprand.lower_random,
        ops_random.Dropout: poprand.lower_dropout,
        ops_mcmc.Evaluate: loop.lower_composite,
        ops_mcmc.Leapfrog: loop.lower_composite,
        ops_mcmc.Metropolis: loop.lower_composite,
        ops_mcmc.Finite: loop.lower_finite,
        ops_shape.DynamicSlice: dynamic.lower_dynamic_slice,
        ops_shape.DynamicUpdate: dynamic.lower_dynamic_update,
        ops_loop.Loop: loop.lower_loop,
        ops_loop.While: loop.lower_while,
        ops_recurrent.Recurrent: recurrent.lower_recurrent,
        ops_shape.Gather: gather.lower_gather,
        ops_shape.Cast: cast.lower_cast,
        ops_shape.Reshape: views.lower_reshape,
        ops_shape.Transpose: views.lower_transpose,
        ops_shape.Concat: views.lower_concat,
        ops_shape.Slice: views.lower_slice,
        ops_shape.Pad: views.lower_pad,
        ops_shape.Split: views.lower_split,
        ops_shape.Expand: views.lower_expand,
    }


def vertex_kinds() -> dict[str, Callable[[Mapping[str, str], str], int]]:
    """Prices by name of a vertex, as poplibs names it: (parameters by name, chip `mk1` or `mk2`) -> cycles.

    Cycles are those of a worker or of the tile, whichever the source counts.  What cannot be priced raises an
    IpuSimError that says why.
    """
    from ipusim_kernels import exchange_kinds
    from ipusim_kernels.cast import kinds as cast
    from ipusim_kernels.conv import kinds as conv
    from ipusim_kernels.elementwise import kinds as elementwise
    from ipusim_kernels.gather import kinds as gather
    from ipusim_kernels.parameters import on_chip
    from ipusim_kernels.pool import kinds as pool
    from ipusim_kernels.popops import kinds as popops
    from ipusim_kernels.poprand import kinds as poprand
    from ipusim_kernels.reduce import kinds as reduce

    families = (conv, elementwise, cast, reduce, pool, gather, popops, poprand, exchange_kinds)
    return {name: partial(on_chip, formula) for family in families for name, formula in family.KINDS.items()}
