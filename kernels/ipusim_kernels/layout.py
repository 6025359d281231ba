"""Whether a codelet finds its operand in the order it reads, or the tile has to rearrange it first.

Matrix codelets read channels in groups (16 halves for AMP).  A tensor remembers how many neighbouring channels are
stored together and along which axis; a view can move that axis.
"""

from __future__ import annotations

from math import prod

from ipusim.program.tensor import Tensor


def stored_channels(tensor: Tensor, axis: int) -> int:
    """Neighbours along `axis` that are stored together; 1 if the axis is not the one that is grouped."""
    if tensor.variable is not None:
        variable = tensor.variable
        return variable.channels if variable.channel_axis == axis else 1
    source = tensor.sources[0]
    match tensor.kind:
        case "permute":
            return stored_channels(source, tensor.args[axis])
        case "reshape":
            inner = prod(tensor.shape[axis + 1 :])
            for before, size in enumerate(source.shape):
                if size > 1 and prod(source.shape[before + 1 :]) == inner:
                    return stored_channels(source, before)
            return 1
        case "concat":
            found = {stored_channels(s, axis) for s in tensor.sources}
            return found.pop() if len(found) == 1 else 1
        case "broadcast":
            return stored_channels(source, axis - len(tensor.shape) + len(source.shape))
        case _:
            return stored_channels(source, axis)
