"""Claims about several cards: shared links by hand, and ranges that were there first."""

import pytest

from analysis.claims.devices import upload_bytes_per_s
from analysis.claims.reproduction import reproduce
from analysis.claims.setups import device_setups, shared_setups
from zo2sim.machines.file import named


def test_sixteen_cards_behind_four_switches_get_four_links():
    one = upload_bytes_per_s("16x-v100", every=False, both=False)
    every = upload_bytes_per_s("16x-v100", every=True, both=False)
    assert len(one) == 1
    assert len(every) == 16
    assert sum(every) == pytest.approx(4 * one[0])


def test_pairs_of_cards_have_half_of_what_a_link_gives_both_ways():
    every = upload_bytes_per_s("8x-a100", every=True, both=True)
    assert every == pytest.approx([named("8x-a100").link.both_h2d_bytes_per_s.value / 2] * 8)


def test_a_verdict_is_by_the_range_that_was_written_down():
    ranges = {(s["claim"], s["value"]): s for s in (*shared_setups(), *device_setups())}
    claims = {claim for claim, _ in ranges}
    rows = {(row.claim, row.item): row for row in reproduce() if row.claim in claims}
    assert rows.keys() == ranges.keys()
    for key, row in rows.items():
        assert row.agrees == (ranges[key]["low"] <= row.predicted <= ranges[key]["high"])
        assert row.settled
