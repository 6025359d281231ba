"""Chips and systems: what is accepted, what is refused and how, what every number is based on."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.errors import BadHardware, BadInput, UnknownName
from ipusim.hw import presets
from ipusim.hw.presets import BOW, GC2, GC200, SYSTEMS


def test_gc2_is_the_chip_of_the_papers():
    assert (GC2.tiles, GC2.tile.memory_bytes, GC2.tile.workers) == (1216, 256 * 1024, 6)
    assert GC2.memory_bytes == 304 * 2**20
    assert GC2.peak_half_flops == pytest.approx(124.5e12, rel=1e-3)
    assert GC2.peak_float_flops == pytest.approx(31.1e12, rel=2e-3)


def test_peaks_of_the_second_generation():
    assert GC200.peak_half_flops == pytest.approx(250e12, rel=5e-3)
    assert BOW.peak_half_flops == pytest.approx(350e12, rel=5e-3)
    assert GC200.memory_bytes == pytest.approx(897 * 2**20, rel=1e-3)


def test_systems_by_name_in_any_case():
    first = {"GC2": 1, "C2": 2, "DSS8440": 16}
    second = {"GC200": 1, "M2000": 4, "POD16": 16, "Bow": 1, "Bow-2000": 4, "Bow Pod16": 16}
    assert {n: s.ipus for n, s in SYSTEMS.items()} == first | second
    assert presets.system("POD4") is SYSTEMS["M2000"]
    assert presets.system("bow") is SYSTEMS["Bow"]
    assert presets.system(GC2).ipus == 1
    with pytest.raises(UnknownName, match="no system named 'X9'"):
        presets.system("X9")
    with pytest.raises(BadInput, match="not int"):
        presets.system(3)


@pytest.mark.parametrize(("setting", "message"), [
    ("chip.tiles=0", "tiles = 0: must be at least 1"),
    ("chip.tiles=1.5", "tiles = 1.5: must be a whole number"),
    ("chip.exchange.bytes_per_cycle=-4", "exchange.bytes_per_cycle = -4"),
    ("chip.tile.memory_bytes=100000", "tile.memory_bytes = 100000: must be a whole number of memory elements"),
    ("chip.clock_hz=nan", "clock_hz = nan: must be a finite number"),
    ("chip.clock_hz=-1", "clock_hz = -1.0"),
    ("chip.amp.units=12", "amp.units = 12: the vertex formulas know 8 and 16"),
    ("chip.amp.units=16", "a mk1 chip has 8"),
    ("chip.sync.on_chip_cycles=-1", "sync.on_chip_cycles = -1"),
    ("ipus=0", "ipus = 0: must be at least 1"),
])  # fmt: skip
def test_nonsense_is_refused_by_name(setting, message):
    with pytest.raises(BadHardware) as caught:
        SYSTEMS["GC2"].parse_settings([setting])
    assert message in str(caught.value)


@pytest.mark.parametrize(("setting", "kind"), [
    ("chip.tile=3", UnknownName), ("chip.tils=3", UnknownName), ("tiles=3", UnknownName), ("chip.tiles", BadInput),
    ("chip.tiles=many", BadInput), ("chip.exchange.paired_receive=maybe", BadInput),
])  # fmt: skip
def test_settings_that_cannot_be_read(setting, kind):
    with pytest.raises(kind):
        SYSTEMS["GC2"].parse_settings([setting])


def test_a_what_if_chip_differs_in_what_was_changed():
    changed = SYSTEMS["C2"].parse_settings(["chip.tiles=608", "chip.exchange.paired_receive=false", "ipus=3"])
    assert (changed.ipus, changed.chip.tiles, changed.chip.exchange.paired_receive) == (3, 608, False)
    assert changed.chip.tile == GC2.tile
    assert changed.with_fields({"ipus": 2, "chip.tiles": 1216, "chip.exchange.paired_receive": True}) == SYSTEMS["C2"]


@given(st.integers(1, 5000), st.integers(1, 64))
def test_any_sound_change_is_taken_and_read_back(tiles, width):
    chip = GC2.with_fields({"tiles": tiles, "exchange.bytes_per_cycle": width})
    assert (chip.get("tiles"), chip.get("exchange.bytes_per_cycle")) == (tiles, width)
    assert chip.memory_bytes == tiles * GC2.tile.memory_bytes


@pytest.mark.parametrize("name", sorted(presets.CHIP_NUMBERS))
def test_every_field_has_a_source(name):
    chip = {"GC2": GC2, "GC200": GC200, "Bow": BOW}[name]
    numbers = presets.CHIP_NUMBERS[name]
    assert set(numbers) == set(chip.paths())
    for path, number in numbers.items():
        assert chip.get(path) == number.value
        assert number.source
        assert number.confidence in ("primary", "quoted", "derived", "assumed")
    assert set(presets.SYSTEM_NUMBERS) == set(SYSTEMS)


def test_the_page_of_numbers_is_made_from_the_code():
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("make_numbers", root / "docs" / "make_numbers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (root / "docs" / "numbers.md").read_text() == module.text()
    assert len(module.constants()) >= 8
