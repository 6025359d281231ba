"""The machines ipusim knows, every number with its source and confidence.

Confidence: "primary" (the chip's own header constants, a vendor document or an author's text), "quoted" (read in
someone else's text), "derived" (arithmetic on other rows), "assumed" (no source for this chip; the reason is in the
note).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from ipusim.errors import BadInput, UnknownName
from ipusim.hw.spec import AmpSpec, ChipSpec, ExchangeSpec, LinkSpec, SyncSpec, SystemSpec, TileSpec


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

_UTIL = "github graphcore/poplibs lib/poplibs_test/Util.cpp"
_BMC = "vengineer.hatenablog.com 2023-01-23, block diagram of the IPU-M2000 BMC guide"
_BLUR = "github thorbenlouw/lbm-graphcore, exchange-vs-compute.csv"
_ELK = "Elk paper text"
_COOKBOOK = "github graphcore/hpc-cookbook, gc-inventory of a C2; the same in Burchard et al."
_TOOLKIT = "github JuliaIPU/IPUToolkit.jl, docs/src/compiler.md"
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
    "exchange.columns": Number(16, _CONSTANTS, "primary", "8 on each side of the spine"),
    "exchange.supertile_tiles": Number(4, _CONSTANTS, "primary", "tiles of a supertile, all at one distance"),
    "exchange.least_latency_cycles": Number(19, _IPU_STACK, "assumed", "the least of a C600"),
    "exchange.row_cycles": Number(2, _IPU_STACK, "assumed", "as on a C600"),
    "exchange.column_cycles": Number(6, _IPU_STACK, "assumed", "as on a C600"),
    "exchange.crossing_cycles": Number(17, _CONSTANTS, "primary", "BNET_COLBASE2OPPOSIDEDLY; 19 back"),
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
    "exchange.columns": Number(16, _CONSTANTS, "assumed", "as on GC2: 23 supertiles in each make 1472 tiles"),
    "exchange.supertile_tiles": Number(4, _CONSTANTS, "assumed", "as on GC2"),
    "exchange.least_latency_cycles": Number(19, _IPU_STACK, "derived", "the least by the timing relation"),
    "exchange.row_cycles": Number(2, _IPU_STACK, "primary", "per row of distance from the spine, both ends"),
    "exchange.column_cycles": Number(6, _IPU_STACK, "primary", "per column step along the spine"),
    "exchange.crossing_cycles": Number(17, _CONSTANTS, "assumed", "as on GC2; the longest way is then 166, not 165"),
}

_BOW = _GC200 | {
    "name": Number("Bow", "vendor name", "primary"),
    "tiles": Number(1472, "docs.graphcore.ai, Bow-2000 datasheet", "derived", "5888 cores on four IPUs"),
    "clock_hz": Number(1.85e9, _PEAK_NOTEBOOK, "primary", "read on hardware"),
    "tile.memory_bytes": Number(638976, "docs.graphcore.ai, glossary", "primary", "624 KiB"),
}

#: Every field of every chip with its source: CHIP_NUMBERS["GC2"]["tile.memory_bytes"].value == 262144.
CHIP_NUMBERS: dict[str, dict[str, Number]] = {"GC2": _GC2, "GC200": _GC200, "Bow": _BOW}

#: Clocks in Hz that each chip is documented or was seen at; the nominal one of a chip is its `clock_hz`.
CLOCKS: dict[str, tuple[Number, ...]] = {
    "GC2": (
        Number(1.6e9, _BURCHARD, "primary", "documented clock"),
        Number(1.3e9, _COOKBOOK, "primary", "clock seen on C2 cards, limited by power or heat"),
    ),
    "GC200": (
        Number(1.325e9, "eenewseurope.com report of Hot Chips 33", "quoted", "documented clock"),
        Number(1.33e9, _TOOLKIT, "primary", "clock that the interface reports"),
    ),
    "Bow": (Number(1.85e9, _PEAK_NOTEBOOK, "primary", "documented clock"),),
}


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

_C2_LINKS: dict[str, Number] = {
    "rung_links": Number(4, _UTIL, "primary", "between the two IPUs of a C2; two of them for traffic that passes"),
    "side_links": Number(2, _UTIL, "primary", "up and down each side of the ladder"),
    "bytes_per_second": Number(17.18e9, _UTIL, "primary", "128 Gibit/s per link and direction"),
    "efficiency": Number(0.85, _UTIL, "primary", "part of the rate that carries data"),
    "payload_bytes": Number(1024, _CONSTANTS, "primary", "TLINK max payload"),
    "contexts": Number(64, _CONSTANTS, "primary", "16 exchange blocks (TEXCH_NUM_XBS) of 4 contexts"),
    "packet_cycles": Number(129, _BLUR, "derived", "fitted with the latency to M0070, M0071 and M0103"),
    "latency_cycles": Number(300, _BLUR, "derived", "fitted with the cycles of a packet"),
    "hop_seconds": Number(15e-9, _UTIL, "primary", "of a barrier, each way; Hot Chips 33 says the same"),
    "sync_cycles": Number(261, _BLUR, "derived", "501 cycles of sync on 16 IPUs less 5 hops there and back"),
}

_M2000_LINKS = _C2_LINKS | {
    "rung_links": Number(6, _BMC, "quoted", "x8 Gen4 links between paired IPUs of an M2000"),
    "side_links": Number(2, _BMC, "quoted", "x8 Gen4 links to the ports of the machine"),
    "bytes_per_second": Number(16e9, _HOT_CHIPS, "derived", "320 GB/s both ways over 10 links"),
    "efficiency": Number(0.85, _UTIL, "assumed", "as on C2 cards"),
    "contexts": Number(64, _CONSTANTS, "assumed", "as on C2 cards"),
    "payload_bytes": Number(1024, _CONSTANTS, "assumed", "as on C2 cards"),
    "packet_cycles": Number(129, _BLUR, "assumed", "as on C2 cards"),
    "latency_cycles": Number(300, _BLUR, "assumed", "as on C2 cards"),
    "sync_cycles": Number(
        520, _IPU_STACK, "assumed", "600 cycles (Target::getGlobalSyncCycles) less the hops of four IPUs"
    ),
}

#: Every field of the links between chips of a kind, with source.
LINK_NUMBERS: dict[str, dict[str, Number]] = {"GC2": _C2_LINKS, "GC200": _M2000_LINKS}

_LADDER, _MACHINES = (LinkSpec(**{k: n.value for k, n in numbers.items()}) for numbers in LINK_NUMBERS.values())

#: IPUs that a program can have: whole subtrees of a ladder, so that rows of links stay its own.
PARTITIONS = (1, 2, 4, 8, 16)

#: IPUs of each system, with source.
SYSTEM_NUMBERS: dict[str, Number] = {
    "GC2": Number(1, "one chip", "primary"),
    "C2": Number(2, "Graphcore C2 card product brief, 9 Jul 2020", "primary"),
    "DSS8440": Number(16, "Louw & McIntosh-Smith, EasyChair preprint 4896", "primary", "8 C2 cards"),
    "GC200": Number(1, "one chip", "primary"),
    "M2000": Number(4, _BMC, "quoted", "a machine; POD4 is one with its host"),
    "POD16": Number(16, "vendor name", "primary", "four M2000"),
    "Bow": Number(1, "one chip", "primary"),
    "Bow-2000": Number(4, "docs.graphcore.ai, Bow-2000 datasheet", "primary"),
    "Bow Pod16": Number(16, "vendor name", "primary", "four Bow-2000"),
}

SYSTEMS: dict[str, SystemSpec] = {
    "GC2": SystemSpec("GC2", GC2, 1, "one first-generation IPU"),
    "C2": SystemSpec("C2", GC2, 2, "PCIe card with two GC2", _LADDER),
    "DSS8440": SystemSpec("DSS8440", GC2, 16, "Dell server with eight C2 cards", _LADDER),
    "GC200": SystemSpec("GC200", GC200, 1, "one second-generation IPU"),
    "M2000": SystemSpec("M2000", GC200, 4, "machine with four GC200 (a POD4)", _MACHINES),
    "POD16": SystemSpec("POD16", GC200, 16, "four M2000", _MACHINES),
    "Bow": SystemSpec("Bow", BOW, 1, "one Bow IPU: a GC200 at a higher clock"),
    "Bow-2000": SystemSpec("Bow-2000", BOW, 4, "machine with four Bow IPUs (a Bow Pod4)", _MACHINES),
    "Bow Pod16": SystemSpec("Bow Pod16", BOW, 16, "four Bow-2000", _MACHINES),
}


ALIASES = {"pod4": "M2000", "bow pod4": "Bow-2000"}  # other names of systems, in lower case


def largest(of: SystemSpec) -> SystemSpec:
    """The largest system that a single chip is sold in, or a given system of several.

    The chip stays as it is, so that a changed one can be tried in a system of its generation.
    """
    if of.ipus > 1:
        return of
    known = [s for s in SYSTEMS.values() if s.chip.generation == of.chip.generation]
    same = [s for s in known if s.chip == of.chip] or known
    most = max(same, key=lambda s: s.ipus)
    return SystemSpec(of.name, of.chip, most.ipus, links=most.links)


def system(which: str | SystemSpec | ChipSpec) -> SystemSpec:
    """The system of a name (any case), or a given one; a chip becomes a system of one IPU.  Raises UnknownName."""
    if isinstance(which, SystemSpec):
        return which
    if isinstance(which, ChipSpec):
        return SystemSpec(which.name, which, 1)
    if not isinstance(which, str):
        raise BadInput(f"a system is a name, a SystemSpec or a ChipSpec, not {type(which).__name__}")
    for name, spec in SYSTEMS.items():
        if name.lower() == ALIASES.get(which.lower(), which).lower():
            return spec
    raise UnknownName("system", which, SYSTEMS)
