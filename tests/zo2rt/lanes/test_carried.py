"""What a block is called with, received tensor by tensor; and lanes that move."""

import pytest
import torch
from torch import Tensor

from tests.families import batch, build
from zo2rt.lanes.carried import moved
from zo2rt.lanes.traversal import Traversal
from zo2rt.model.loss import model_loss
from zo2rt.model.units import find_units
from zo2sim.schedule.ops import HEAD, TAIL


def test_every_tensor_is_received_once_and_all_else_stays():
    one, other = torch.zeros(1), torch.ones(2)
    received = list[Tensor]()

    def receive(tensor: Tensor) -> Tensor:
        received.append(tensor)
        return tensor.clone()

    carried = ((one, "text", None), {"mask": other, "pair": [one, 3]})
    (first, text, nothing), kwargs = moved(carried, receive)
    assert (text, nothing, kwargs["pair"][1]) == ("text", None, 3)
    assert first is kwargs["pair"][0]
    assert first is not one
    assert [t.numel() for t in received] == [1, 2]


def lanes() -> Traversal:
    model, data = build("opt"), batch("opt")
    units = find_units(model, model_loss, data)
    return Traversal(model, units, model_loss, [data, data], devices=[0, 0])


def flipped(tensor: Tensor) -> Tensor:
    return tensor.flip(-1) if tensor.is_floating_point() else tensor.clone()


@torch.no_grad()
def test_a_lane_goes_on_with_what_arrived():
    """Lane 1 arrives at block 1 with other hidden states, and goes on with them."""
    with lanes() as traversal:
        for unit in (HEAD, 0, 1, 2, TAIL):
            for lane, change in enumerate((torch.clone, flipped)):
                if unit in (1, 2):
                    receive = change if unit == 1 else torch.clone
                    traversal.move(lane, unit, int(unit == 1), receive)
                traversal.advance(lane, unit, int(unit == 1))
        untouched, changed = traversal.losses()
        assert untouched != changed


@torch.no_grad()
def test_a_lane_that_was_not_sent_is_refused_by_name():
    with lanes() as traversal:
        traversal.advance(0, HEAD)
        with pytest.raises(RuntimeError, match=r"lane 0 must be sent to device 1 before it runs"):
            traversal.advance(0, 0, 1)
        with pytest.raises(ValueError, match=r"lane 0 must run the block 0 .* told to run the"):
            traversal.move(0, 1, 1, torch.clone)
