"""Whatever is changed in a machine, it is either a machine again or refused by the name of the field."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipusim.errors import BadHardware, UnknownName
from ipusim.hw.presets import BOW, GC2, GC200, SYSTEMS
from ipusim.hw.spec import ChipSpec, SystemSpec

WHOLE = [path for path in GC2.paths() if isinstance(GC2.get(path), int) and not isinstance(GC2.get(path), bool)]
MAY_BE_ZERO = {"exchange.lead_in_cycles", "exchange.latency_cycles", "sync.on_chip_cycles"} | {
    f"exchange.{name}_cycles" for name in ("least_latency", "row", "column", "crossing")
}
#: Fields whose value is part of the vertex formulas; the tile counts and rates around them are free.
FIXED = {
    "tile.workers", "tile.data_path_bytes", "amp.half_load_elements", "amp.float_load_elements",
    "amp.half_weights_per_unit", "amp.float_weights_per_unit",
}  # fmt: skip

machines = st.sampled_from([GC2, GC200, BOW])
nonsense = st.one_of(
    st.integers(max_value=-1), st.integers(min_value=2**31), st.floats(), st.booleans(), st.none(), st.text(max_size=3)
)


@given(machines, st.sampled_from(WHOLE), nonsense)
def test_a_value_that_is_no_count_is_refused_by_name(chip, path, value):
    with pytest.raises(BadHardware) as caught:
        chip.with_fields({path: value})
    assert str(caught.value).startswith(f"{path} = {value!r}: must be ")


@given(machines, st.sampled_from(WHOLE))
def test_zero_is_refused_except_where_waiting_may_be_free(chip, path):
    if path in MAY_BE_ZERO:
        assert chip.with_fields({path: 0}).get(path) == 0
    else:
        with pytest.raises(BadHardware, match="= 0: must be at least 1"):
            chip.with_fields({path: 0})


@given(machines, st.one_of(st.floats(max_value=0), st.sampled_from([math.inf, -math.inf, math.nan, True, None, "1"])))
def test_a_clock_ticks(chip, clock):
    with pytest.raises(BadHardware, match=r"^clock_hz = .*: must be a finite number above 0$"):
        chip.with_fields({"clock_hz": clock})


@given(machines, st.integers(1, 2**30))
def test_memory_is_whole_elements(chip, size):
    if size % 16384:
        with pytest.raises(BadHardware, match=rf"^tile.memory_bytes = {size}: .* memory elements of 16384 bytes"):
            chip.with_fields({"tile.memory_bytes": size})
    else:
        assert chip.with_fields({"tile.memory_bytes": size}).memory_bytes == chip.tiles * size


@pytest.mark.parametrize("path", sorted(FIXED))
def test_a_what_if_that_the_vertex_formulas_would_ignore_is_refused(path):
    with pytest.raises(BadHardware, match=rf"^{path} = {2 * GC2.get(path)}: the vertex formulas know {GC2.get(path)}$"):
        GC2.with_fields({path: 2 * GC2.get(path)})


@given(machines, st.data())
def test_change_and_change_back(chip, data):
    """A sound change shows in its own path only, prints to text that reads back, and can be undone."""
    path = data.draw(st.sampled_from(sorted(set(WHOLE) - FIXED - {"amp.units", "amp.weight_load_bytes"})))
    step = 16384 if path == "tile.memory_bytes" else 1
    value = step * data.draw(st.integers(1, 2**20 // step))
    if path == "tile.memory_element_bytes":
        value = 2 ** (value % 14)
    changed = chip.with_fields({path: value})
    assert [p for p in chip.paths() if changed.get(p) != chip.get(p)] == [path] * (value != chip.get(path))
    assert all(changed.parse(p, str(changed.get(p))) == changed.get(p) for p in chip.paths())
    assert changed.with_fields({path: chip.get(path)}) == chip
    assert hash(changed.with_fields({path: chip.get(path)})) == hash(chip)


@given(st.text(st.characters(codec="ascii"), max_size=12))
def test_a_path_that_does_not_exist_lists_those_that_do(path):
    if path not in GC2.paths():
        with pytest.raises(UnknownName) as caught:
            GC2.with_fields({path: 1})
        assert caught.value.known == GC2.paths()


@pytest.mark.parametrize(("field", "value"), [
    ("tile", GC2.amp), ("amp", None), ("exchange", GC2.sync), ("sync", {"on_chip_cycles": 1}), ("name", 3),
])  # fmt: skip
def test_parts_in_the_wrong_place_are_refused(field, value):
    parts = {f.name: getattr(GC2, f.name) for f in dataclasses.fields(GC2)}
    with pytest.raises(BadHardware, match=rf"^{field} = .*: must be of type "):
        ChipSpec(**(parts | {field: value}))


def test_a_system_has_a_chip():
    with pytest.raises(BadHardware, match=r"^chip = 'GC2': must be of type ChipSpec$"):
        SystemSpec("mine", "GC2")


@pytest.mark.parametrize(
    "record", [SYSTEMS["C2"], GC2, GC2.tile, GC2.amp, GC2.exchange, GC2.sync], ids=lambda r: type(r).__name__
)
def test_records_do_not_change(record):
    field = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, field, getattr(record, field))


def test_settings_apply_in_order():
    found = SYSTEMS["GC2"].parse_settings(["chip.tiles=7", " chip.tiles = 9 ", "chip.clock_hz=1.3e9"])
    assert (found.chip.tiles, found.chip.clock_hz) == (9, 1.3e9)
    assert SYSTEMS["GC2"].parse_settings([]) is SYSTEMS["GC2"]
