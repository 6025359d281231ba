"""Laws of the timing formulas that planner and engine share."""

from fractions import Fraction
from math import ceil

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from ipusim.hw import cost
from ipusim.hw.presets import BOW, GC2

EXCHANGE = GC2.exchange
UNPAIRED = EXCHANGE.with_fields({"paired_receive": False})
OVERHEAD = EXCHANGE.lead_in_cycles + EXCHANGE.latency_cycles

amount = st.integers(0, 10**7)
widths = st.sampled_from([1, 2, 3, 4, 8, 64])


@st.composite
def phases(draw):
    """Bytes sent, received and received together with the bus partner, per tile; something moves."""
    received = draw(st.lists(amount, min_size=1, max_size=12).filter(any))
    sent = draw(st.lists(amount, min_size=len(received), max_size=len(received)))
    shared = [draw(st.integers(0, r)) for r in received]
    return tuple(np.array(column, np.int64) for column in (sent, received, shared))


@given(amount, st.fractions(0, 1), widths)
def test_bytes_for_both_partners_come_twice_as_fast(received, part, width):
    shared = int(received * part)
    exact = Fraction(received - shared, width) + Fraction(shared, 2 * width)
    assert cost.transfer_cycles(received, shared, width) == ceil(exact)


@given(phases(), widths)
def test_a_phase_is_as_long_as_its_busiest_tile(phase, width):
    """The closed form over arrays against the scalar formula the planner uses, tile by tile."""
    spec = EXCHANGE.with_fields({"bytes_per_cycle": width})
    tiles = [max(cost.transfer_cycles(r, b, width), ceil(Fraction(s, width))) for s, r, b in zip(*phase, strict=True)]
    assert cost.exchange_phase_cycles(*map(np.copy, phase), spec) == OVERHEAD + max(map(int, tiles))


@given(phases())
def test_pairing_helps_by_at_most_two_and_never_hurts(phase):
    paired, alone = (cost.exchange_phase_cycles(*phase, spec) - OVERHEAD for spec in (EXCHANGE, UNPAIRED))
    assert paired <= alone <= 2 * paired


@given(phases())
def test_without_pairing_sharing_does_not_matter(phase):
    sent, received, shared = phase
    assert cost.exchange_phase_cycles(sent, received, shared, UNPAIRED) == cost.exchange_phase_cycles(
        sent, received, shared * 0, UNPAIRED
    )


@given(phases())
def test_twice_the_width_is_half_the_transfer(phase):
    wide = EXCHANGE.with_fields({"bytes_per_cycle": 8})
    narrow = cost.exchange_phase_cycles(*phase, EXCHANGE) - OVERHEAD
    assert cost.exchange_phase_cycles(*phase, wide) - OVERHEAD == ceil(narrow / 2)


@given(phases(), st.randoms(use_true_random=False))
def test_neither_order_nor_idle_tiles_matter(phase, random):
    order = list(range(len(phase[0])))
    random.shuffle(order)
    moved = [np.concatenate([column[order], np.zeros(3, np.int64)]) for column in phase]
    assert cost.exchange_phase_cycles(*moved, EXCHANGE) == cost.exchange_phase_cycles(*phase, EXCHANGE)


@given(phases(), st.data())
def test_two_phases_are_never_faster_than_one(phase, data):
    first = [np.array([data.draw(st.integers(0, int(v))) for v in column], np.int64) for column in phase]
    second = [whole - part for whole, part in zip(phase, first, strict=True)]
    assume(first[1].any() and second[1].any())
    parts = sum(cost.exchange_phase_cycles(*part, UNPAIRED) for part in (first, second))
    assert cost.exchange_phase_cycles(*phase, UNPAIRED) <= parts


def test_a_barrier_costs_what_the_chip_says():
    assert cost.sync_cycles(GC2.sync) == 64
    assert cost.sync_cycles(GC2.sync.with_fields({"on_chip_cycles": 150})) == 150


def test_a_superstep_costs_what_the_measurements_support_before_any_byte_moves():
    """No measurement tells barrier, lead-in and latency apart; products on a Bow support a sum of 300 to 400 cycles."""
    assert 300 <= cost.sync_cycles(BOW.sync) + OVERHEAD <= 400
