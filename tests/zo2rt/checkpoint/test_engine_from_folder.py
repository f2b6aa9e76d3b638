"""An engine that reads its weights by shard has the bits of one whose model was loaded whole.

And its folder begins from the model's files, which nobody may change.
"""

import json
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers.utils import logging

from tests.by_shard import BY_SHARD
from tests.families import batch, build
from tests.thorough import THOROUGH, crossed
from tests.zo2rt.engine.adapted_models import RANK
from tests.zo2rt.engine.engine_runs import OPTIMIZER, engine, losses_of, recipe
from tests.zo2rt.journal.kill_server import NEVER, killed_after_operations
from zo2rt.backends import HostBackend
from zo2rt.checkpoint import Checkpoint
from zo2rt.checkpoint import checkpoint as loader
from zo2rt.engine.engine import Engine
from zo2rt.journal.durable import Disk, FileSystem
from zo2rt.journal.replay import weights_at
from zo2rt.model.codec import TORCH_DTYPES
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Policy, Recipe

pytestmark = [
    BY_SHARD,
    # PEFT 0.21 with transformers 5.24
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),
]
logging.disable_progress_bar()

INT4 = Recipe(trainable="lora:2", storage_dtype=Dtype.INT4, compute_dtype=Dtype.BF16, sequence=8)
CASES: dict[str, tuple[str, Plan, Recipe]] = {
    "streamed": ("llama-tied", Plan(), recipe()),
    "narrower than the files": ("opt", Plan(resident_blocks=1), recipe(Dtype.BF16)),
    "blocks on NVMe": ("gpt2", Plan(tier="nvme"), recipe()),
    "experts that are fused": ("mixtral", Plan(policy=Policy.RESIDENT), recipe()),
    "four bits and adapters": ("llama", Plan(tier="nvme"), INT4),
}


class Trained(NamedTuple):
    """What a run leaves behind."""

    losses: list[tuple[float, ...]]
    evaluation: float
    weights: dict[str, Tensor]


def saved(family: str, folder: Path) -> Path:
    model: Any = build(family)
    model.save_pretrained(folder / "model", max_shard_size="20KB")
    return folder / "model"


def opened(family: str, folder: Path, how: Recipe, *, whole: bool) -> tuple[Any, Checkpoint | None]:
    """The family's model, with adapters where the recipe has any."""
    kind: Any = type(build(family))
    dtype = TORCH_DTYPES[how.plain_dtype]
    checkpoint = None if whole else Checkpoint(kind, folder, dtype)
    model = kind.from_pretrained(folder, dtype=dtype) if checkpoint is None else checkpoint.model
    if how.lora_rank is None:
        return model, checkpoint
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=RANK, target_modules="all-linear", lora_dropout=0.0)
    return get_peft_model(model, config, autocast_adapter_dtype=False).eval(), checkpoint


@contextmanager
def running(
    case: str, model_folder: Path, run: Path | None, *, whole: bool = False
) -> Iterator[tuple[Any, Engine]]:
    family, plan, how = CASES[case]
    model, checkpoint = opened(family, model_folder, how, whole=whole)
    with engine(
        model, plan, how, batch(family), HostBackend, OPTIMIZER, run, checkpoint
    ) as trained:
        yield model, trained


def trained(case: str, model_folder: Path, run: Path, *, whole: bool) -> Trained:
    family = CASES[case][0]
    data = [batch(family, seed=seed) for seed in range(2)]
    with running(case, model_folder, run, whole=whole) as (model, one):
        losses, evaluation = losses_of(one, data), one.evaluate(data[0])
    return Trained(losses, evaluation, dict(model.state_dict()))


@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_a_model_that_was_loaded_whole(case: str, tmp_path: Path):
    folder = saved(CASES[case][0], tmp_path)
    one = trained(case, folder, tmp_path / "by shard", whole=False)
    other = trained(case, folder, tmp_path / "whole", whole=True)
    assert (one.losses, one.evaluation) == (other.losses, other.evaluation)
    assert [*one.weights] == [*other.weights]
    assert [k for k, v in one.weights.items() if not torch.equal(v, other.weights[k])] == []


# The model's files are the base snapshot


def test_a_run_has_no_copy_of_what_it_begins_from(tmp_path: Path):
    folder = saved("llama-tied", tmp_path)
    with running("streamed", folder, tmp_path / "run"):
        (base,) = (tmp_path / "run" / "snapshots").iterdir()
        assert [path.name for path in base.iterdir()] == ["manifest.json"]
    named = json.loads((base / "manifest.json").read_text().splitlines()[-1])
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert sorted(str(named).split("'files': {")[1].split("}")[0].split("'")[1::4]) == shards


def test_a_run_goes_on_from_the_files_and_its_journal(tmp_path: Path):
    folder, run = saved("llama-tied", tmp_path), tmp_path / "run"
    wanted = trained("streamed", folder, tmp_path / "at once", whole=False)
    with running("streamed", folder, run) as (_, one):
        one.step(batch("llama-tied", seed=0))
    with running("streamed", folder, run) as (model, one):
        assert one.num_steps == 1
        one.step(batch("llama-tied", seed=1))
    different = [k for k, v in model.state_dict().items() if not torch.equal(v, wanted.weights[k])]
    assert different == []


@pytest.mark.parametrize("case", ["streamed", "four bits and adapters"])
def test_a_run_is_not_saved_over_what_it_goes_on_from(case: str, tmp_path: Path):
    folder, run, data = saved(CASES[case][0], tmp_path), tmp_path / "run", batch(CASES[case][0])
    (tmp_path / "link").symlink_to(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with running(case, folder, run) as (_, one):
        one.step(data)
        for there in (folder, tmp_path / "link"):
            with pytest.raises(ValueError, match="a model is saved beside what its run began from"):
                one.save(there)
        one.save(tmp_path / "beside")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with running(case, folder, run) as (_, one):
        assert one.num_steps == 1


def test_without_a_journal_a_model_may_be_saved_over_its_own_files(tmp_path: Path):
    folder = saved("llama-tied", tmp_path)
    with running("streamed", folder, None) as (_, one):
        one.save(folder)


def test_a_run_is_refused_where_a_file_has_changed(tmp_path: Path):
    folder, run = saved("llama-tied", tmp_path), tmp_path / "run"
    with running("streamed", folder, run) as (_, one):
        one.step(batch("llama-tied"))
    path = sorted(folder.glob("*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with (
        pytest.raises(ValueError, match=rf"{path.name} in the model's folder must be the file"),
        running("streamed", folder, run),
    ):
        pass


def test_a_run_from_files_does_not_go_on_with_other_weights(tmp_path: Path):
    folder, run = saved("llama-tied", tmp_path), tmp_path / "run"
    with running("streamed", folder, run):
        pass
    with (
        pytest.raises(ValueError, match=r"began from the files model-0.+ give it the zo2rt\."),
        running("streamed", folder, run, whole=True),
    ):
        pass


def test_any_step_is_rebuilt_from_the_files(tmp_path: Path):
    folder, run = saved("llama-tied", tmp_path), tmp_path / "run"
    with running("streamed", folder, run) as (model, one):
        one.step(batch("llama-tied"))
    whole: Any = type(build("llama-tied"))
    files = dict(whole.from_pretrained(folder).named_parameters())
    with pytest.raises(ValueError, match="step 1 is rebuilt from the weights of a model's folder"):
        weights_at(Disk(), run, 1)
    found = weights_at(Disk(), run, 1, files=files)
    wanted = dict(model.named_parameters())
    assert [k for k, v in found.items() if not torch.equal(v, wanted[k])] == []


# What goes wrong while weights are read


def interrupt() -> None:
    raise KeyboardInterrupt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ended_after(
    reads: int | None, case: str, folder: Path, run: Path, end: Callable[[], None] = interrupt
) -> int:
    """How often a parameter was read; after so many of them it ends, as Ctrl-C ends it."""
    family, plan, how = CASES[case]
    model, checkpoint = opened(family, folder, how, whole=False)
    assert checkpoint is not None
    done = 0

    def told(_: int) -> None:
        nonlocal done
        done += 1
        if done == reads:
            end()

    checkpoint.told = told
    with engine(model, plan, how, batch(family), folder=run, checkpoint=checkpoint):
        return done


@pytest.mark.parametrize(("case", "times"), [("streamed", 4), ("four bits and adapters", 5)])
def test_no_weight_is_read_more_often_than_it_must(
    case: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By both lanes alone, in lockstep, and to move in; what is frozen, to be hashed."""
    family, plan, how = CASES[case]
    model, checkpoint = opened(family, saved(family, tmp_path), how, whole=False)
    assert checkpoint is not None
    read, hashed = Counter[Any](), Counter[Path]()
    weights, sha256 = checkpoint.weights, loader.sha256

    def reading(parameter: Any) -> Tensor:
        read[parameter] += checkpoint.is_read(parameter)
        return weights(parameter)

    def hashing(path: Path) -> str:
        hashed[path] += 1
        return sha256(path)

    monkeypatch.setattr(checkpoint, "weights", reading)
    monkeypatch.setattr(loader, "sha256", hashing)
    run = tmp_path / "run"
    with engine(model, plan, how, batch(family), folder=run, checkpoint=checkpoint):
        assert max(read.values()) == times
        assert {*hashed.values()} == {1}


@pytest.mark.parametrize(
    ("part", "case"),
    crossed([0.1, 0.9, 0.99][: 3 if THOROUGH else 2], ["streamed", "blocks on NVMe"]),
    ids=lambda x: {0.1: "in the self-test", 0.9: "moving in", 0.99: "at the end"}.get(x, x),
)
def test_an_end_in_the_middle_of_loading_damages_nothing(part: float, case: str, tmp_path: Path):
    family = CASES[case][0]
    folder, run = saved(family, tmp_path), tmp_path / "run"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    reads = ended_after(None, case, folder, tmp_path / "counted")
    with pytest.raises(KeyboardInterrupt):
        ended_after(int(part * reads), case, folder, run)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    one = trained(case, folder, run, whole=False)
    other = trained(case, folder, tmp_path / "other", whole=True)
    assert one.losses == other.losses


def load(_: FileSystem, folder: Path) -> None:
    """What is killed; a file says of what, and after how many reads."""
    case, reads = (folder / "when").read_text().split(":")
    ended_after(int(reads), case, folder / "model", folder / "run", die)


@pytest.mark.parametrize("case", ["narrower than the files", "blocks on NVMe"])
def test_a_process_that_is_killed_while_it_loads_damages_nothing(case: str, tmp_path: Path):
    """Again and again, each time a little later."""
    folder = saved(CASES[case][0], tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    reads = ended_after(None, case, folder, tmp_path / "counted")
    for part in (0.1, 0.5, 0.9, 1.0) if THOROUGH else (0.5, 1.0):
        (tmp_path / "when").write_text(f"{case}:{int(part * reads)}")
        assert killed_after_operations(load, tmp_path, NEVER)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    one = trained(case, folder, tmp_path / "run", whole=False)
    other = trained(case, folder, tmp_path / "other", whole=False)
    assert one.losses == other.losses
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in other.weights)


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path):
    folder = saved("llama-tied", tmp_path)
    model, checkpoint = opened("llama-tied", folder, recipe(), whole=False)
    path = sorted(folder.glob("*.safetensors"))[-1]
    path.write_bytes(path.read_bytes()[:-1])
    with (
        pytest.raises(ValueError, match=rf"{path.name}: was changed while it was in use"),
        engine(model, Plan(), recipe(), batch("llama-tied"), checkpoint=checkpoint),
    ):
        pass


def test_a_disk_without_room_for_the_blocks_is_named(tmp_path: Path):
    """A limit on the size of files stands for the disk's."""
    folder, run = saved("gpt2", tmp_path), tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with (
            pytest.raises(OSError, match=r"two versions of every block .+ make room"),
            running("blocks on NVMe", folder, run),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [*(run / "nvme").iterdir()] == []
    trained("blocks on NVMe", folder, run, whole=False)
