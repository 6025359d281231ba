"""ipusim: a cycle-approximate simulator of Graphcore's IPU.

    >>> import ipusim
    >>> report = ipusim.simulate("resnet50", system="GC2", batch=1)
    >>> print(report)

Names are loaded when they are first used, so importing the package costs little.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipusim import program
    from ipusim.api import Report, load_report, models, simulate, systems
    from ipusim.device import Engine, Superstep, target
    from ipusim.dtype import bool_, float16, float32, half, int8, int16, int32, uint8, uint16, uint32
    from ipusim.errors import (
        Aborted,
        BadHardware,
        BadInput,
        CodeletError,
        DoesNotFit,
        InvalidProgram,
        IpuSimError,
        UnknownName,
        Unsupported,
    )
    from ipusim.hw.presets import system
    from ipusim.hw.spec import ChipSpec, SystemSpec
    from ipusim.lang.decorator import codelet
    from ipusim.lang.fields import InOut, Input, Output, Vector
    from ipusim.program.graph import Graph
    from ipusim.program.tensor import Tensor
    from ipusim.tilewise import (
        TileArray,
        TileSession,
        tile_barrier,
        tile_constant_replicated,
        tile_constant_sharded,
        tile_cycle_count,
        tile_gather,
        tile_map,
        tile_put_replicated,
        tile_put_sharded,
    )
    from ipusim.workload.builder import WorkloadBuilder
    from ipusim.workload.constants import Constant
    from ipusim.workload.graph import Workload

_HOME = {
    "Report": "api",
    "load_report": "api",
    "models": "api",
    "simulate": "api",
    "systems": "api",
    "system": "hw.presets",
    "Engine": "device",
    "Superstep": "device",
    "target": "device",
    "Graph": "program.graph",
    "Tensor": "program.tensor",
    "codelet": "lang.decorator",
    **dict.fromkeys(("InOut", "Input", "Output", "Vector"), "lang.fields"),
    **dict.fromkeys(
        (
            "TileArray",
            "TileSession",
            "tile_barrier",
            "tile_constant_replicated",
            "tile_constant_sharded",
            "tile_cycle_count",
            "tile_gather",
            "tile_map",
            "tile_put_replicated",
            "tile_put_sharded",
        ),
        "tilewise",
    ),
    "ChipSpec": "hw.spec",
    "SystemSpec": "hw.spec",
    "Workload": "workload.graph",
    "WorkloadBuilder": "workload.builder",
    "Constant": "workload.constants",
    **dict.fromkeys(
        (
            "Aborted",
            "BadHardware",
            "BadInput",
            "CodeletError",
            "DoesNotFit",
            "InvalidProgram",
            "IpuSimError",
            "UnknownName",
            "Unsupported",
        ),
        "errors",
    ),
    **dict.fromkeys(
        ("bool_", "float16", "float32", "half", "int16", "int32", "int8", "uint16", "uint32", "uint8"), "dtype"
    ),
}

__all__ = [
    "Aborted",
    "BadHardware",
    "BadInput",
    "ChipSpec",
    "CodeletError",
    "Constant",
    "DoesNotFit",
    "Engine",
    "Graph",
    "InOut",
    "Input",
    "InvalidProgram",
    "IpuSimError",
    "Output",
    "Report",
    "Superstep",
    "SystemSpec",
    "Tensor",
    "TileArray",
    "TileSession",
    "UnknownName",
    "Unsupported",
    "Vector",
    "Workload",
    "WorkloadBuilder",
    "bool_",
    "codelet",
    "float16",
    "float32",
    "half",
    "int8",
    "int16",
    "int32",
    "load_report",
    "models",
    "program",
    "simulate",
    "system",
    "systems",
    "target",
    "tile_barrier",
    "tile_constant_replicated",
    "tile_constant_sharded",
    "tile_cycle_count",
    "tile_gather",
    "tile_map",
    "tile_put_replicated",
    "tile_put_sharded",
    "uint8",
    "uint16",
    "uint32",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("ipusim")
    if name == "program":
        return import_module("ipusim.program")
    if name not in _HOME:
        raise AttributeError(f"module 'ipusim' has no attribute {name!r}")
    value = getattr(import_module(f"ipusim.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
