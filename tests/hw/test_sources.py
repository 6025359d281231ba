"""The presets against published figures: every row holds, and no number stands without a row that would miss it."""

import csv
import math
from pathlib import Path

import pytest

from ipusim.hw.presets import BOW, CHIP_NUMBERS, GC2, GC200, SYSTEMS

DATA = Path(__file__).parents[1] / "data" / "hardware.csv"
with DATA.open(newline="") as file:
    ROWS = {(row["chip"], row["parameter"]): row for row in csv.DictReader(file)}
CHIPS = {"GC2": GC2, "GC200": GC200, "Bow": BOW}

#: What a chip says about each published parameter, in the unit of the row.
OF_CHIP = {
    "tiles_usable": lambda c: c.tiles,
    "tiles_per_four_chips": lambda c: 4 * c.tiles,
    "clock_nominal": lambda c: c.clock_hz,
    "memory_per_tile": lambda c: c.tile.memory_bytes,
    "memory_total": lambda c: c.memory_bytes / 2**20,
    "memory_element_size": lambda c: c.tile.memory_element_bytes / 1024,
    "memory_elements": lambda c: c.tile.memory_bytes / c.tile.memory_element_bytes,
    "memory_element_port_width": lambda c: 8 * c.tile.data_path_bytes,
    "memory_read_bits_per_cycle": lambda c: 2 * 8 * c.tile.data_path_bytes,
    "memory_read_bandwidth_theoretical": lambda c: 2 * c.tile.data_path_bytes * c.tiles * c.clock_hz / 1e12,
    "worker_contexts": lambda c: c.tile.workers,
    "worker_threads_total": lambda c: c.tile.workers * c.tiles,
    "memcpy_bytes_per_cycle": lambda c: c.tile.copy_bytes_per_cycle,
    "amp_units_per_tile": lambda c: c.amp.units,
    "amp_macs_per_cycle_fp16": lambda c: c.amp.half_macs_per_cycle,
    "amp_macs_per_cycle_fp32": lambda c: c.amp.float_macs_per_cycle,
    "conv_half_weights_per_unit": lambda c: 2 * c.amp.half_weights_per_unit,
    "conv_float_weights_per_unit": lambda c: 4 * c.amp.float_weights_per_unit,
    "conv_half_load_elements": lambda c: c.amp.half_load_elements,
    "conv_float_load_elements": lambda c: c.amp.float_load_elements,
    "conv_weight_load_default": lambda c: c.amp.weight_load_bytes,
    "peak_fp16": lambda c: c.peak_half_flops / 1e12,
    "peak_mixed_fp16": lambda c: c.peak_half_flops / 1e12,
    "peak_fp32": lambda c: c.peak_float_flops / 1e12,
    "exchange_data_width": lambda c: 8 * c.exchange.bytes_per_cycle,
    "exchange_bytes_per_cycle_tile": lambda c: c.exchange.bytes_per_cycle,
    "exchange_bandwidth_theoretical": lambda c: c.exchange.bytes_per_cycle * c.tiles * c.clock_hz / 1e12,
    "tiles_per_shared_exchange_bus": lambda c: 2 if c.exchange.paired_receive else 1,
    "exchange_receive_setup": lambda c: c.exchange.lead_in_cycles,
    "exchange_latency_event_mean": lambda c: c.exchange.latency_cycles,
    "exchange_latency_event_min": lambda c: c.exchange.least_latency_cycles,
    "exchange_row_step": lambda c: c.exchange.row_cycles,
    "exchange_column_step": lambda c: c.exchange.column_cycles,
    "exchange_colbase_to_opposite_side_delay": lambda c: c.exchange.crossing_cycles,
    "columns": lambda c: c.exchange.columns,
    "tiles_per_supertile": lambda c: c.exchange.supertile_tiles,
    "sync_on_chip": lambda c: c.sync.on_chip_cycles,
    "sync_of_a_profiled_step": lambda c: c.sync.on_chip_cycles,
}
#: Figures that a better source contradicts: docs/numbers.md, Choices, says why the other one was taken.
OUTVOTED = {("GC2", "sync_on_chip"): "sync_of_a_profiled_step"}
#: Figures that the source rounds, or that need not be met to the last digit: relative tolerance.
ROUNDED = {
    "memory_total": 2e-3,
    "memory_read_bandwidth_theoretical": 2e-3,
    "peak_fp16": 5e-3,
    "peak_mixed_fp16": 1e-3,
    "peak_fp32": 1e-2,
    "exchange_bandwidth_theoretical": 1e-3,
    "exchange_receive_setup": 2e-2,
}
#: Rows about layouts, cards and servers, which no field of a chip holds alone.
OF_SYSTEM = {
    ("GC2", "supertiles_per_column_usable"): lambda: GC2.tiles / (16 * 4),
    ("GC2", "tiles_per_column_usable"): lambda: GC2.tiles / 16,
    ("GC2", "tiles_physical"): lambda: GC2.tiles * 20 / 19,
    ("C2", "ipus"): lambda: SYSTEMS["C2"].ipus,
    ("C2", "ipu_cores"): lambda: SYSTEMS["C2"].ipus * SYSTEMS["C2"].chip.tiles,
    ("C2", "cards_per_chassis"): lambda: SYSTEMS["DSS8440"].ipus / SYSTEMS["C2"].ipus,
    ("DSS8440", "ipus"): lambda: SYSTEMS["DSS8440"].ipus,
}
#: What the maker of the C2 card rounds for the brief: (our figure, relative tolerance).
BRIEF = {
    ("C2", "memory_total"): (lambda: 2 * GC2.memory_bytes / 1e6, 0.07),
    ("C2", "memory_bandwidth"): (lambda: 2 * GC2.tiles * 3 * GC2.tile.data_path_bytes * GC2.clock_hz / 1e12, 0.04),
}
#: Numbers taken from another generation or from a text that names no chip.
LATENCIES = {f"exchange.{name}_cycles" for name in ("latency", "least_latency", "row", "column")}
ASSUMED = {
    "GC2": {"exchange.paired_receive", "exchange.lead_in_cycles"} | LATENCIES,
    "GC200": {"exchange.columns", "exchange.supertile_tiles", "exchange.crossing_cycles"},
}
#: Rows about links and barriers between chips: tests/hw/test_links.py.
OF_LINKS = ("ipu_link", "external_exchange", "sync_inter")


def published(key):
    row = ROWS[key]
    return float(row["value"]) * (1024 if (row["parameter"], row["unit"]) == ("memory_per_tile", "KB") else 1)


def holds(key, chip):
    return math.isclose(OF_CHIP[key[1]](chip), published(key), rel_tol=ROUNDED.get(key[1], 1e-12))


def of_chip():
    named = [key for key in ROWS if not key[1].startswith(OF_LINKS)]
    return [key for key in named if key not in OF_SYSTEM and key not in BRIEF and key not in OUTVOTED]


def test_what_outvotes_a_figure_is_better_founded():
    for (chip, parameter), better in OUTVOTED.items():
        assert (ROWS[chip, parameter]["confidence"], ROWS[chip, better]["confidence"]) == ("quoted", "primary")


@pytest.mark.parametrize("key", of_chip(), ids=".".join)
def test_a_published_figure_of_a_chip(key):
    assert holds(key, CHIPS[key[0]]), f"{OF_CHIP[key[1]](CHIPS[key[0]])} is not {ROWS[key]}"


@pytest.mark.parametrize("key", OF_SYSTEM, ids=".".join)
def test_a_published_figure_of_a_layout_or_a_system(key):
    assert OF_SYSTEM[key]() == published(key)


@pytest.mark.parametrize("key", BRIEF, ids=".".join)
def test_a_figure_of_the_brief(key):
    found, tolerance = BRIEF[key]
    assert found() == pytest.approx(published(key), rel=tolerance)


@pytest.mark.parametrize("name", ["GC2", "GC200"])
def test_every_number_is_held_by_a_row_or_owned_up_to_as_assumed(name):
    """A chip whose number is doubled must miss a row; the machine is faked, for most such chips are refused."""
    for path, number in CHIP_NUMBERS[name].items():
        if path in ("name", "generation"):
            continue
        wrong = False if number.value is True else 2 * number.value
        fake = Faked(CHIPS[name], path, wrong)
        missed = [key for key in of_chip() if key[0] == name and not holds(key, fake)]
        owned_up = path in ASSUMED.get(name, ())
        assert missed or owned_up, f"{name} {path} = {number.value} stands without a row"
        assert (number.confidence == "assumed") == owned_up, path


def test_bow_is_a_gc200_at_another_clock():
    assert BOW.with_fields({"name": "GC200", "clock_hz": GC200.clock_hz}) == GC200


def test_every_row_names_its_source():
    assert {row["confidence"] for row in ROWS.values()} <= {"primary", "quoted", "derived"}
    assert [key for key, row in ROWS.items() if len(row["source"]) < 10] == []


class Faked:
    """A chip that answers with another value at one dotted path, unchecked."""

    def __init__(self, part, path, value):
        self._part, self._path, self._value = part, path, value

    def __getattr__(self, name):
        if name == self._path:
            return self._value
        head, _, rest = self._path.partition(".")
        if rest and head == name:
            return Faked(getattr(self._part, name), rest, self._value)
        derived = getattr(type(self._part), name, None)
        return derived.fget(self) if isinstance(derived, property) else getattr(self._part, name)
