"""Noise by parameter: what is prepared once is neither stale nor kept for good."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.zo2rt.noise.noise_cases import KEY, update_of
from zo2rt import noise
from zo2rt.model.units import UnitParameter
from zo2rt.noise import Extent
from zo2rt.noise.draws import SPLIT_ELEMENTS, Both, ElementDraws, MezoDraws

COUNT = 96


def parameter(index: int, *, decays: bool = True) -> UnitParameter:
    return UnitParameter(
        index=index,
        name=f"p{index}",
        shape=(COUNT,),
        trainable=True,
        decays=decays,
        tensor=nn.Parameter(torch.zeros(COUNT)),
    )


def draws(**known: Any) -> ElementDraws:
    return ElementDraws("gaussian", thresholds={}, **known)


def weights(seed: int) -> Tensor:
    return torch.randn(COUNT, generator=torch.Generator().manual_seed(seed))


def test_every_room_and_every_parameter_has_noise_of_its_own():
    own, theta = draws(), weights(0)
    rooms = [torch.zeros(COUNT) for _ in range(3)]
    for _ in range(2):
        own.perturb(rooms[0], theta, parameter(3), key=KEY, scaled_eps=1e-3)
        own.perturb(rooms[1], theta, parameter(4), key=KEY, scaled_eps=1e-3)
        own.perturb(rooms[2], theta, parameter(3), key=KEY, scaled_eps=-1e-3)
        for room, p, c in zip(rooms, (3, 4, 3), (1e-3, 1e-3, -1e-3), strict=True):
            want = torch.zeros(COUNT)
            noise.perturb(want, theta, Extent(p=p), key=KEY, coefficient=c, kind="gaussian")
            assert torch.equal(room, want)
            room.zero_()


def test_both_signs_are_those_of_two_calls():
    own, theta = draws(), weights(1)
    both, plus, minus = Both(*torch.zeros(2, COUNT)), *torch.zeros(2, COUNT)
    own.perturb_both(both, theta, parameter(3), key=KEY, eps=1e-3)
    own.perturb(plus, theta, parameter(3), key=KEY, scaled_eps=1e-3)
    own.perturb(minus, theta, parameter(3), key=KEY, scaled_eps=-1e-3)
    assert torch.equal(both.plus, plus)
    assert torch.equal(both.minus, minus)


def test_other_updates_are_not_the_last_ones():
    own, theta, want = draws(), weights(2), weights(2)
    groups = {True: [update_of(0, 1)], False: [update_of(0, 1, weight_decay=0.0)]}
    later = {True: [update_of(1, 2)], False: [update_of(1, 2, weight_decay=0.0)]}
    for updates in (groups, later, groups):
        for p in (parameter(3), parameter(4, decays=False)):
            own.update(theta, p, updates[p.decays])
            noise.update(want, Extent(p=p.index), updates=updates[p.decays], kind="gaussian")
            assert torch.equal(theta, want)


def test_weights_that_go_are_not_kept():
    own, array = draws(), np.zeros(COUNT, dtype=np.float32)
    theta, memory = torch.from_numpy(array), weakref.ref(array)
    own.update(theta, parameter(3), [update_of(0, 1)])
    del array
    gc.collect()
    assert memory() is not None
    del theta
    gc.collect()
    assert memory() is None


def test_threads_share_what_is_large_and_in_host_memory():
    shared, alone = draws(threads=2), draws()
    large, small = (torch.empty(count, device="meta") for count in (SPLIT_ELEMENTS, COUNT))
    host = torch.empty(SPLIT_ELEMENTS)
    assert [shared._is_split(one) for one in (host, host[:-1], large, small)] == [
        True,
        *[False] * 3,
    ]
    assert not alone._is_split(host)


def test_mezo_s_noise_reaches_both_rooms_and_leaves_theta():
    own, theta = MezoDraws([parameter(3)], torch.device("cpu")), weights(0)
    own.begin([5])
    z = torch.normal(0.0, 1.0, size=(COUNT,), generator=torch.Generator().manual_seed(5))
    both = Both(*torch.zeros(2, COUNT))
    own.perturb_both(both, theta, parameter(3), key=5, eps=0.5)
    assert torch.equal(both.plus, weights(0) + 0.5 * z)
    assert torch.equal(both.minus, weights(0) - 0.5 * z)
    alone = torch.zeros(COUNT)
    own.perturb(alone, theta, parameter(3), key=5, scaled_eps=0.5)
    assert torch.equal(alone, both.plus)
    assert torch.equal(theta, weights(0))


def test_a_seed_of_the_step_before_is_still_known_after_it_came_again():
    """Two samples of torch's noise have the seeds of a step and the next one."""
    own = MezoDraws([parameter(3)], torch.device("cpu"))
    for seed in (5, 4, 10):
        own.begin([seed, seed + 1])
    theta = weights(0)
    for key in (4, 5, 10, 11):
        own.perturb(theta, theta, parameter(3), key=key, scaled_eps=1e-3)
    with pytest.raises(KeyError):
        own.perturb(theta, theta, parameter(3), key=6, scaled_eps=1e-3)
