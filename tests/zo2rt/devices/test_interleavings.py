"""A few of the orders that `interleavings` draws."""

from tests.thorough import examples
from tests.zo2rt.devices import interleavings


def test_no_order_that_devices_may_take_leaves_other_bytes():
    said = list[str]()
    assert interleavings.main(examples(200), seed=1, tell=said.append) == 0
    assert said[0].split(":")[0] == f"{examples(200)} orders of {examples(200) // 5} plans"
