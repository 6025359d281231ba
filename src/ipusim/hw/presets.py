"""The machines ipusim knows, every number with its source and confidence.

Confidence: "primary" (the chip's own header constants, a vendor document or an author's text), "quoted" (read in
someone else's text), "derived" (arithmetic on other rows), "assumed" (no source for this chip; the reason is in the
note).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from ipusim.errors import BadInput, UnknownName
from ipusim.hw.spec import AmpSpec, ChipSpec, ExchangeSpec, SyncSpec, SystemSpec, TileSpec


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A value with where it comes from and how far to trust it."""

    value: Any
    source: str
    confidence: str
    note: str = ""


_CONSTANTS = "ipu1 header constants, github Saghetti0/graphcore-ipu-research"
_HOT_CHIPS = "Hot Chips 33 (2021), Knowles deck"
_POPLIBS = "github graphcore/poplibs"
_IPU_STACK = "github osmarks/ipu-stack, validated on a C600"
_JIA = "Jia et al. arXiv 1912.03413"
_BURCHARD = "Burchard et al., iPUG"

_BLUR = "github thorbenlouw/lbm-graphcore, exchange-vs-compute.csv"
_ELK = "Elk paper text"
_PEAK_NOTEBOOK = "github graphcore-research/tessellate-ipu, IPU Peak Flops"

_COMMON: dict[str, Number] = {
    "amp.half_load_elements": Number(4, _POPLIBS, "derived", "one 64-bit load of halves"),
    "amp.float_load_elements": Number(2, _POPLIBS, "derived", "one 64-bit load of floats"),
    "amp.half_weights_per_unit": Number(16, _POPLIBS, "derived", "pipeline depth 4 x 4 elements a load"),
    "amp.float_weights_per_unit": Number(8, _POPLIBS, "derived", "pipeline depth 4 x 2 elements a load"),
    "amp.weight_load_bytes": Number(8, _POPLIBS, "primary", "default option; 16 with use128BitConvUnitLoad"),
    "sync.on_chip_cycles": Number(150, _HOT_CHIPS, "quoted", "hardware barrier over all tiles"),
}

_GC2 = _COMMON | {
    "sync.on_chip_cycles": Number(64, _BLUR, "primary", "the profile of a stencil step on one GC2; see Choices"),
    "name": Number("GC2", "vendor name", "primary"),
    "generation": Number("mk1", "vendor name", "primary"),
    "tiles": Number(1216, _CONSTANTS, "primary", "IPU_TILE_INSTANCES_WITH_REPAIR; 1280 physical"),
    "clock_hz": Number(1.6e9, _BURCHARD, "primary", "nominal; C2 cards were also seen at 1.3 GHz"),
    "tile.memory_bytes": Number(262144, _CONSTANTS, "primary", "TMEM_SIZE"),
    "tile.memory_element_bytes": Number(16384, _CONSTANTS, "primary", "TMEM_ELEMSIZE"),
    "tile.workers": Number(6, _CONSTANTS, "primary", "CTXT_WORKERS"),
    "tile.data_path_bytes": Number(8, _CONSTANTS, "primary", "TMEM_ATOMSIZE, one 64-bit port per element"),
    "tile.copy_bytes_per_cycle": Number(
        8, _POPLIBS, "primary", "the machine model of 2016 copies one data path per cycle (5f795b13, cba27e0c)"
    ),
    "amp.units": Number(8, _CONSTANTS, "primary", "TFPU_AMP_UNITS_PER_SET"),
    "amp.half_macs_per_cycle": Number(32, _JIA, "derived", "8 units x 4-wide dot; 124.5 TFLOP/s"),
    "amp.float_macs_per_cycle": Number(8, _JIA, "derived", "31.1 TFLOP/s"),
    "exchange.bytes_per_cycle": Number(4, _CONSTANTS, "primary", "TEXCH_DATA_WIDTH 32 bits, each way"),
    "exchange.paired_receive": Number(
        True, _POPLIBS, "assumed", "two tiles share a bus; the factor is asserted without naming the chip"
    ),
    "exchange.lead_in_cycles": Number(
        110, _IPU_STACK, "assumed", "112 on a C600; a GC2 stencil program rebuilt with 110 keeps to its profile"
    ),
    "exchange.latency_cycles": Number(
        65, _IPU_STACK, "assumed", "the mean of a C600; a GC2 column has 19 rows of supertiles, not 23"
    ),
}

_GC200 = _COMMON | {
    "name": Number("GC200", "vendor name", "primary"),
    "generation": Number("mk2", "vendor name", "primary"),
    "tiles": Number(1472, _ELK, "primary"),
    "clock_hz": Number(1.325e9, "eenewseurope.com report of Hot Chips 33", "quoted", "the API reports 1.33 GHz"),
    "tile.memory_bytes": Number(638976, _IPU_STACK, "primary", "624 KiB"),
    "tile.memory_element_bytes": Number(16384, _IPU_STACK, "primary", "TMEM_ELEMSIZE"),
    "tile.workers": Number(6, _POPLIBS, "primary", "the cycle estimators deal work to six contexts"),
    "tile.data_path_bytes": Number(8, _ELK, "derived", "128 bits read per cycle are two loads of 64"),
    "tile.copy_bytes_per_cycle": Number(8, _IPU_STACK, "primary", "Target::getMemcpyBytesPerCycle"),
    "amp.units": Number(16, _POPLIBS, "primary", "the ConvPartial1x1 test allows 16 units on ipu2"),
    "amp.half_macs_per_cycle": Number(64, _PEAK_NOTEBOOK, "primary", "128 FLOP per cycle and tile"),
    "amp.float_macs_per_cycle": Number(16, _IPU_STACK, "primary", "a quarter of half"),
    "exchange.bytes_per_cycle": Number(4, _IPU_STACK, "primary", "Target::getExchangeBytesPerCycle"),
    "exchange.paired_receive": Number(
        True, _POPLIBS, "primary", "lib/popops/ExchangeEstimator.cpp, when poplibs built for this generation only"
    ),
    "exchange.lead_in_cycles": Number(
        110, _IPU_STACK, "derived", "112 events before the receive mux switches on a C600, rounded"
    ),
    "exchange.latency_cycles": Number(
        65, _IPU_STACK, "derived", "mean of 19..165 cycles over tile pairs by the timing relation of a C600"
    ),
}

_BOW = _GC200 | {
    "name": Number("Bow", "vendor name", "primary"),
    "tiles": Number(1472, "docs.graphcore.ai, Bow-2000 datasheet", "derived", "5888 cores on four IPUs"),
    "clock_hz": Number(1.85e9, _PEAK_NOTEBOOK, "primary", "read on hardware"),
    "tile.memory_bytes": Number(638976, "docs.graphcore.ai, glossary", "primary", "624 KiB"),
}

#: Every field of every chip with its source: CHIP_NUMBERS["GC2"]["tile.memory_bytes"].value == 262144.
CHIP_NUMBERS: dict[str, dict[str, Number]] = {"GC2": _GC2, "GC200": _GC200, "Bow": _BOW}


def _chip(numbers: dict[str, Number]) -> ChipSpec:
    parts: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for path, number in numbers.items():
        head, _, rest = path.partition(".")
        if rest:
            parts.setdefault(head, {})[rest] = number.value
        else:
            top[head] = number.value
    return ChipSpec(
        **top,
        tile=TileSpec(**parts["tile"]),
        amp=AmpSpec(**parts["amp"]),
        exchange=ExchangeSpec(**parts["exchange"]),
        sync=SyncSpec(**parts["sync"]),
    )


GC2, GC200, BOW = (_chip(n) for n in CHIP_NUMBERS.values())

#: IPUs of each system, with source.
SYSTEM_NUMBERS: dict[str, Number] = {
    "GC2": Number(1, "one chip", "primary"),
    "C2": Number(2, "Graphcore C2 card product brief, 9 Jul 2020", "primary"),
    "DSS8440": Number(16, "Louw & McIntosh-Smith, EasyChair preprint 4896", "primary", "8 C2 cards"),
    "GC200": Number(1, "one chip", "primary"),
    "Bow": Number(1, "one chip", "primary"),
}

SYSTEMS: dict[str, SystemSpec] = {
    "GC2": SystemSpec("GC2", GC2, 1, "one first-generation IPU"),
    "C2": SystemSpec("C2", GC2, 2, "PCIe card with two GC2"),
    "DSS8440": SystemSpec("DSS8440", GC2, 16, "Dell server with eight C2 cards"),
    "GC200": SystemSpec("GC200", GC200, 1, "one second-generation IPU"),
    "Bow": SystemSpec("Bow", BOW, 1, "one Bow IPU: a GC200 at a higher clock"),
}


def system(which: str | SystemSpec | ChipSpec) -> SystemSpec:
    """The system of a name (any case), or a given one; a chip becomes a system of one IPU.  Raises UnknownName."""
    if isinstance(which, SystemSpec):
        return which
    if isinstance(which, ChipSpec):
        return SystemSpec(which.name, which, 1)
    if not isinstance(which, str):
        raise BadInput(f"a system is a name, a SystemSpec or a ChipSpec, not {type(which).__name__}")
    for name, spec in SYSTEMS.items():
        if name.lower() == which.lower():
            return spec
    raise UnknownName("system", which, SYSTEMS)
