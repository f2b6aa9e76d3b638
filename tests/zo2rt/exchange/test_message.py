"""What travels, and what is refused before anything does."""

import json
from math import isnan, nan
from pathlib import Path

import pytest

from tests.families import build
from tests.zo2rt.engine.engine_runs import OPTIMIZER, recipe
from tests.zo2rt.engine.test_trainer import HOW, arguments
from tests.zo2rt.exchange.company import company
from tests.zo2rt.exchange.rank_jobs import gathers
from zo2rt.engine.assembly import Settings
from zo2rt.engine.shared_host import check_machines
from zo2rt.engine.trainer import ZerothOrderTrainer
from zo2rt.exchange import ALONE, Exchange, Patience
from zo2rt.exchange.message import Message
from zo2rt.memory.room import UNLIMITED
from zo2rt.optimizer import Objective
from zo2sim.memory.account import DoesNotFit
from zo2sim.plan.choices import Plan, Recipe

GIB = 1 << 30


class Silent(Exchange):
    """One of several ranks, which says nothing."""

    def gather(self, data: bytes, *, limit_s: float) -> tuple[bytes, ...]:
        raise AssertionError("refused before anything is said")

    def close(self) -> None:
        """There is nobody."""


def refused(size: int, plan: Plan, how: Recipe) -> str:
    """Why ranks may not begin with it."""
    settings = Settings(
        plan=plan,
        recipe=how,
        objective=Objective(example={}),
        optimizer=OPTIMIZER,
        folder=None,
        limit=UNLIMITED,
        exchange=Silent(0, size, Patience()),
    )
    with pytest.raises(ValueError) as found:
        settings.check()
    return str(found.value)


def test_losses_keep_their_bits():
    losses = (0.1, -0.0, 5e-324, float("inf"))
    sent = Message(call="a step", step=7, chain=b"01234567", losses=losses)
    assert Message.from_bytes(sent.to_bytes()) == sent
    (found,) = Message.from_bytes(
        Message(call="", step=0, chain=bytes(8), losses=(nan,)).to_bytes()
    ).losses
    assert isnan(found)


def test_a_message_of_eight_lanes_is_small():
    head, lanes = 32 + len("a step"), 8 * 8
    sent = Message(call="a step", step=7, chain=bytes(8), losses=(1.0,) * 8)
    assert len(sent.to_bytes()) == head + lanes


def test_what_is_longer_than_a_frame_arrives_whole():
    lengths = [0, 508, 509, 100_000]
    wanted = [bytes([rank]) * length for rank, length in enumerate(lengths)]
    with company(4) as four:
        assert four.does(gathers, lengths) == [tuple(wanted)] * 4


def test_a_step_s_patience_is_twenty_steps_and_a_minute_at_least():
    patience = Patience()
    assert [patience.for_a_step(s) for s in (0.1, 3.0, 10.0, None)] == [60.0, 60.0, 200.0, 1800.0]


def test_ranks_of_one_machine_share_its_memory():
    ranks = [("host a", 3 * GIB, 10 * GIB), ("host a", 4 * GIB, 9 * GIB), ("other b", GIB, 2 * GIB)]
    check_machines(ranks)
    with pytest.raises(
        DoesNotFit,
        match=r"3 ranks on host need 3\.00 GiB \+ 4\.00 GiB \+ 3\.00 GiB = 10\.00 GiB .* and "
        r"9\.00 GiB are free: 1\.00 GiB are missing; start fewer ranks there",
    ):
        check_machines([*ranks, ("host a", 3 * GIB, 10 * GIB)])


def test_a_rank_without_a_lane_is_refused():
    assert "has 2 (samples x 2 signs x microbatches); got 3 ranks; start 2" in refused(
        3, Plan(), recipe()
    )


def test_several_devices_of_a_rank_are_refused():
    found = refused(2, Plan(devices=2), recipe())
    assert found.startswith("each of several ranks has one device, as no group of lanes on a ring")
    assert "got 2 ranks with devices=2; start one rank, or use devices=1" in found


def test_a_trainer_on_several_ranks_refuses_devices_when_it_is_made(tmp_path: Path):
    with pytest.raises(ValueError, match="each of several ranks has one device"):
        ZerothOrderTrainer(
            build("opt"),
            arguments(tmp_path),
            plan=Plan(devices=2),
            recipe=HOW,
            exchange=Silent(0, 2, Patience()),
        )


def test_alone_nothing_is_sent():
    assert ALONE.gather(json.dumps({}).encode(), limit_s=0.0) == (b"{}",)
