"""A figure that was measured several times."""

import pytest

from zo2rt.measure.spread import Spread


def test_a_ratio_is_taken_pair_by_pair():
    ratio = Spread((2.0, 9.0, 8.0)).over(Spread((1.0, 3.0, 2.0)))
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 2.0, 4.0)
    assert ratio.times(10.0).figures("x") == {"x": 30.0, "x_low": 20.0, "x_high": 40.0}


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 value; got none"):
        Spread(())
