"""The model that a run makes for itself: made once, on one thread, and kept for the next run."""

from pathlib import Path

import pytest

from experiments.training import tiny_model
from experiments.training.code_or_prose import Texts, read_texts
from zo2rt.backends.process import intra_op_threads
from zo2rt.data.pretrain import Pretraining

STEPS = 2


@pytest.fixture(scope="module")
def texts() -> Texts:
    return read_texts()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    brief = Pretraining(steps=STEPS, lr=1e-3, warmup_steps=1)
    monkeypatch.setattr(tiny_model, "PRETRAINING", brief)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_it_is_made_once_and_every_run_has_its_own(tmp_path: Path, texts: Texts):
    first, second = tmp_path / "a", tmp_path / "b"
    assert len([*tiny_model.obtain(first, texts)]) == STEPS
    assert [*tiny_model.obtain(second, texts)] == []
    assert weights(first) == weights(second)
    assert [path.name for path in (tmp_path / "cache" / "zo2sim").iterdir()] != []


def test_another_pre_training_is_another_model(tmp_path: Path, texts: Texts, monkeypatch):
    _ = [*tiny_model.obtain(tmp_path / "a", texts)]
    other = Pretraining(steps=STEPS + 1, lr=1e-3, warmup_steps=1)
    monkeypatch.setattr(tiny_model, "PRETRAINING", other)
    assert len([*tiny_model.obtain(tmp_path / "b", texts)]) == STEPS + 1


def test_where_nothing_can_be_kept_it_is_made_in_the_run_s_folder(
    tmp_path: Path, texts: Texts, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len([*tiny_model.obtain(tmp_path / "a", texts)]) == STEPS
    assert weights(tmp_path / "a")


def test_it_does_not_depend_on_the_number_of_threads(tmp_path: Path, texts: Texts):
    for threads in (1, 2):
        with intra_op_threads(threads):
            _ = [*tiny_model.make(tmp_path / str(threads), texts)]
    assert weights(tmp_path / "1") == weights(tmp_path / "2")
