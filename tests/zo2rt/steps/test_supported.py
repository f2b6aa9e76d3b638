"""What the runtime refuses to execute, with its reason."""

from typing import cast

import pytest

from zo2rt.steps.operations import Operations
from zo2sim.schedule.ops import FIRST_ORDER, Kind, Op, Stream


@pytest.mark.parametrize("kind", FIRST_ORDER)
def test_operations_of_baselines_are_refused_before_anything_is_touched(kind: Kind):
    nothing = cast(Operations, None)
    op = Op(kind=kind, stream=Stream.COMPUTE, unit=0)
    with pytest.raises(ValueError, match=f"{op.name}: first-order baselines are predicted"):
        Operations.work(nothing, op, 0)
