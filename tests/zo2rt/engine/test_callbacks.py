"""A callback of the Trainer sees the weights of the step that was made, and costs nothing else."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from transformers import TrainerCallback

from tests.families import build
from tests.thorough import THOROUGH
from tests.zo2rt.engine.test_trainer import STEPS, Tokens, arguments, same, trainer, weights
from zo2rt.engine.engine import Engine
from zo2sim.plan.choices import Plan, Policy


class Reads(TrainerCallback):
    """What parameters show whenever a callback may look."""

    EVENTS = ("on_step_end", "on_log", "on_evaluate", "on_save", "on_epoch_end", "on_train_end")

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.seen: dict[tuple[int, str], dict[str, Tensor]] = {}
        for event in self.EVENTS:
            setattr(self, event, partial(self._look, event))

    def _look(self, event: str, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.seen[state.global_step, event] = weights(self.model)


@pytest.mark.parametrize("every", [1, 4] if THOROUGH else [4])
def test_a_callback_sees_the_step_that_was_made(tmp_path: Path, every: int):
    args: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2}
    args |= {"save_strategy": "steps", "save_steps": 3}
    seen: list[Any] = []
    for name, plan in (("resident", Plan(policy=Policy.RESIDENT)), ("zo2", Plan())):
        model = build("opt")
        reads, plan = Reads(model), replace(plan, write_back_every=every if name == "zo2" else 1)
        others: dict[str, Any] = {"callbacks": [reads], "eval_dataset": Tokens(4), "plan": plan}
        with trainer(model, arguments(tmp_path / name, **args), **others) as mine:
            mine.train()
        assert same(reads.seen[STEPS, "on_step_end"], weights(model))
        seen.append(reads.seen)
    want, found = seen
    assert {event for _, event in found} == {*Reads.EVENTS}
    assert [key for key in want if not same(want[key], found[key])] == []
    steps = [found[number, "on_step_end"] for number in range(1, STEPS + 1)]
    assert not any(same(one, other) for one, other in pairwise(steps))


def test_where_nobody_looks_updates_stay_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Hugging Face's own callbacks, `zero_grad` and the schedule read no weight."""
    flushes, flush = [], Engine.flush

    def counting(self: Engine) -> None:
        flushes.append(self.num_steps)
        flush(self)

    monkeypatch.setattr(Engine, "flush", counting)
    with trainer(build("opt"), arguments(tmp_path, disable_tqdm=False)) as mine:
        mine.train()
    assert {*flushes} == {STEPS}
