"""A folder that is written tensor by tensor has the bytes of `save_pretrained`'s, file by file."""

import resource
import weakref
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.utils import logging

from tests.families import FAMILIES, batch, build
from tests.thorough import THOROUGH, crossed
from tests.zo2rt.checkpoint.test_engine_from_folder import CASES, running
from tests.zo2rt.checkpoint.test_engine_from_folder import saved as in_shards
from tests.zo2rt.engine.engine_runs import engine, recipe
from tests.zo2rt.tracing.configs import CONFIGS, real
from zo2rt.checkpoint import Checkpoint, Stored
from zo2rt.checkpoint.folder import stored_tensors
from zo2rt.checkpoint.saving import save
from zo2sim.dtypes import Dtype
from zo2sim.plan.choices import Plan, Recipe

logging.disable_progress_bar()
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),
]
SHARD_BYTES = 20_000


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check(found: Path, model: Any, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Of experts that are fused in the model, the files hold the same, but not each the same."""
    wanted = expected(model, folder, shard_bytes)
    if not any("experts" in name for name, _ in model.named_parameters()):
        assert contents(found) == wanted
        return
    mine, theirs = stored_tensors(found), stored_tensors(folder)
    assert mine.keys() == theirs.keys()
    assert [n for n, one in mine.items() if not torch.equal(one.read(), theirs[n].read())] == []
    assert (found / "config.json").read_bytes() == wanted["config.json"]


def expected(model: Any, folder: Path, shard_bytes: int = SHARD_BYTES) -> dict[str, bytes]:
    model.save_pretrained(folder, max_shard_size=shard_bytes)
    return contents(folder)


@pytest.mark.parametrize(
    ("family", "dtype"), crossed([*FAMILIES], [torch.bfloat16, torch.float32]), ids=str
)
def test_a_family(family: str, dtype: torch.dtype, tmp_path: Path):
    model: Any = build(family, dtype=dtype)
    save(model, tmp_path / "mine", {}, shard_bytes=SHARD_BYTES)
    check(tmp_path / "mine", model, tmp_path / "theirs")


@pytest.mark.parametrize("case", CONFIGS if THOROUGH else [*CONFIGS][1::2])
def test_a_class_of_any_kind(case: str, tmp_path: Path):
    """Of those that are not read in `test_checkpoint`, where not all are wanted."""
    model = real(case)
    save(model, tmp_path / "mine", {}, shard_bytes=SHARD_BYTES)
    check(tmp_path / "mine", model, tmp_path / "theirs")


@pytest.mark.parametrize("family", ["llama-tied", "mixtral"])
def test_one_file_where_all_fits(family: str, tmp_path: Path):
    model: Any = build(family)
    save(model, tmp_path / "mine", {})
    found = contents(tmp_path / "mine")
    assert found == expected(model, tmp_path / "theirs", 1 << 30)
    assert "model.safetensors" in found


class Alive:
    """Reads the weights of a hollow model, and knows how many there are of them at once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint, self._alive, self.most = checkpoint, weakref.WeakSet[Any](), 0
        self.model = checkpoint.model

    def read(self, parameter: nn.Parameter) -> Tensor:
        tensor = self._checkpoint.weights(parameter)
        self._alive.add(tensor)
        self.most = max(self.most, len(self._alive))
        return tensor

    @property
    def weights(self) -> Mapping[nn.Parameter, Stored]:
        return {
            p: Stored(
                name="", shape=(*p.shape,), dtype=p.dtype, files=(), read=partial(self.read, p)
            )
            for p in self._checkpoint.model.parameters()
        }


@pytest.mark.parametrize("family", ["llama-tied", "mixtral"])
def test_no_more_than_one_tensor_is_in_memory(family: str, tmp_path: Path):
    """Of experts that the model has fused, the one that they are in."""
    kind: Any = type(build(family))
    folder = in_shards(family, tmp_path)
    alive = Alive(Checkpoint(kind, folder, torch.float32))
    save(alive.model, tmp_path / "mine", alive.weights, shard_bytes=SHARD_BYTES)
    check(tmp_path / "mine", kind.from_pretrained(folder), tmp_path / "theirs")
    assert alive.most == 1


SCALES = Recipe(
    trainable="scales",
    storage_dtype=Dtype.INT4,
    compute_dtype=Dtype.FP32,
    sequence=8,
)
SAVED: dict[str, tuple[str, Plan, Recipe]] = {
    "in memory": ("llama-tied", Plan(), recipe()),
    "on NVMe": ("llama-tied", Plan(tier="nvme"), recipe()),
    "fused, on NVMe": ("mixtral", Plan(tier="nvme"), recipe()),
    "in four bits": ("llama", Plan(), SCALES),
    "in four bits, on NVMe": ("llama", Plan(tier="nvme"), SCALES),
}


@pytest.mark.parametrize("case", SAVED)
def test_an_engine_saves_what_its_model_comes_back_with(case: str, tmp_path: Path):
    family, plan, how = SAVED[case]
    model: Any = build(family)
    with engine(model, plan, how, batch(family), folder=tmp_path / "run") as one:
        one.step(batch(family))
        one.save(tmp_path / "mine")
    assert contents(tmp_path / "mine") == expected(model, tmp_path / "theirs", 1 << 28)


def test_what_is_encoded_is_saved_dense_though_there_is_room_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folders = []
    for room in (1 << 40, 1000):
        monkeypatch.setattr("zo2rt.engine.contents.free_host_bytes", lambda room=room: room)
        with engine(build("llama"), Plan(), SCALES, batch("llama")) as one:
            one.step(batch("llama"))
            one.save(tmp_path / str(room))
        folders.append(contents(tmp_path / str(room)))
    assert folders[0] == folders[1]


def test_adapters_are_saved_without_what_they_adapt(tmp_path: Path):
    folder = in_shards("llama", tmp_path)
    with running("four bits and adapters", folder, tmp_path / "run") as (model, one):
        one.step(batch(CASES["four bits and adapters"][0]))
        one.save(tmp_path / "mine")
    model.save_pretrained(tmp_path / "theirs")
    assert contents(tmp_path / "mine") == contents(tmp_path / "theirs")


# A folder that is there already


@pytest.mark.parametrize(
    ("before", "after"), [(1 << 30, 20_000), (20_000, 1 << 30), (20_000, 50_000)], ids=str
)
def test_nothing_of_an_earlier_save_is_left(before: int, after: int, tmp_path: Path):
    old: Any = build("opt")
    save(old, tmp_path / "mine", {}, shard_bytes=before)
    new: Any = build("llama")
    save(new, tmp_path / "mine", {}, shard_bytes=after)
    assert contents(tmp_path / "mine") == expected(new, tmp_path / "theirs", after)


def test_a_full_disk_leaves_the_earlier_weights(tmp_path: Path):
    """A limit on the size of files stands for the disk's."""
    model: Any = build("llama")
    with engine(model, Plan(), recipe(), batch("llama")) as one:
        one.save(tmp_path / "it")
        before = contents(tmp_path / "it")
        one.step(batch("llama"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        try:
            with pytest.raises(OSError, match=r"make room on the disk, then start again: .+it'"):
                one.save(tmp_path / "it")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert contents(tmp_path / "it") == before
        one.save(tmp_path / "it")
    assert contents(tmp_path / "it") == expected(model, tmp_path / "theirs", 1 << 28)


def test_what_a_killed_process_left_goes(tmp_path: Path):
    left = ("model-00001-of-00009.safetensors.tmp", "model.safetensors.index.json.tmp", "a.tmp")
    for name in left:
        (tmp_path / name).write_bytes(b"half")
    model: Any = build("llama")
    save(model, tmp_path, {}, shard_bytes=SHARD_BYTES)
    assert sorted(p.name for p in tmp_path.glob("*.tmp")) == ["a.tmp"]
