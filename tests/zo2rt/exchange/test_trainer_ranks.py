"""A Trainer on two ranks is one Trainer: weights, log and checkpoints."""

from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.families import build
from tests.zo2rt.engine.test_trainer import HOW, PLAN, arguments
from tests.zo2rt.exchange.company import company
from tests.zo2rt.exchange.trainer_job import trains
from zo2rt.engine.trainer import ZerothOrderTrainer
from zo2rt.exchange import ALONE


def files(folder: Path) -> dict[str, str]:
    """Weights and states, by name; what names the folder or the clock is left out."""
    kept = (".safetensors", "scheduler.pt", "optimizer.pt")
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.name.endswith(kept)
    }


def test_two_ranks_train_and_save_what_one_does(tmp_path: Path):
    one = trains(ALONE, tmp_path / "one")
    with company(2) as two:
        assert two.does(trains, tmp_path / "two") == [one, one]
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert len(files(tmp_path / "one")) == 6


def test_arguments_that_would_deal_the_examples_are_refused(tmp_path: Path):
    args = arguments(tmp_path)
    args.distributed_state = SimpleNamespace(num_processes=2, distributed_type="MULTI_CPU")  # type: ignore[assignment]
    with pytest.raises(ValueError, match="make the arguments inside `with zo2rt"):
        ZerothOrderTrainer(build("opt"), args, plan=PLAN, recipe=HOW)
