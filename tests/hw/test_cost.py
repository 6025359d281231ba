"""Laws of the timing formulas that planner and engine share."""

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from ipusim.hw import cost
from ipusim.hw.presets import BOW, GC2

EXCHANGE = GC2.exchange
OVERHEAD = EXCHANGE.lead_in_cycles + EXCHANGE.latency_cycles

amount = st.integers(0, 10**7)
widths = st.sampled_from([1, 2, 3, 4, 8, 64])


@given(amount, st.fractions(0, 1), widths)
def test_bytes_for_both_partners_come_twice_as_fast(received, part, width):
    shared = int(received * part)
    exact = Fraction(received - shared, width) + Fraction(shared, 2 * width)
    assert cost.transfer_cycles(received, shared, width) == ceil(exact)


@given(amount, st.fractions(0, 1), widths)
def test_pairing_helps_by_at_most_two_and_never_hurts(received, part, width):
    paired, alone = (cost.transfer_cycles(received, shared, width) for shared in (int(received * part), 0))
    assert paired <= alone <= 2 * paired


@given(amount, st.integers(0, 100))
def test_gaps_are_a_share_of_the_time_and_rounded_up(cycles, percent):
    assert cost.with_gaps(cycles, percent) == ceil(Fraction(cycles * (100 + percent), 100))


def test_a_barrier_costs_what_the_chip_says():
    assert cost.sync_cycles(GC2.sync) == 64
    assert cost.sync_cycles(GC2.sync.with_fields({"on_chip_cycles": 150})) == 150


def test_a_superstep_costs_what_the_measurements_support_before_any_byte_moves():
    """No measurement tells barrier, lead-in and latency apart; products on a Bow support a sum of 300 to 400 cycles."""
    assert 300 <= cost.sync_cycles(BOW.sync) + OVERHEAD <= 400
