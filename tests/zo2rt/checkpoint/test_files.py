"""Files of a folder that is not whole: which one, which tensor, and what to do."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from zo2rt.checkpoint.file import tensors
from zo2rt.checkpoint.folder import INDEX, stored_tensors
from zo2rt.tensor_file import DTYPES

A, B = torch.arange(6.0).view(2, 3), torch.arange(4, dtype=torch.bfloat16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file({"a": A, "b": B}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def raw(path: Path, header: Any, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


def test_a_tensor_is_read_when_it_is_asked_for(path: Path):
    found = tensors(path)
    assert {n: (t.shape, t.dtype) for n, t in found.items()} == {
        "a": ((2, 3), torch.float32),
        "b": ((4,), torch.bfloat16),
    }
    assert torch.equal(found["a"].read(), A)
    assert torch.equal(found["b"].read(), B)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read_as_it_was_written(dtype: str, tmp_path: Path):
    written = torch.tensor([[0, 1], [1, 0]]).to(DTYPES[dtype])
    save_file({"a": written}, tmp_path / "f")
    read = tensors(tmp_path / "f")["a"].read()
    assert (read.dtype, read.shape) == (written.dtype, written.shape)
    assert torch.equal(read.view(torch.uint8), written.view(torch.uint8))


def test_a_scalar_and_an_empty_tensor(tmp_path: Path):
    save_file({"a": torch.tensor(3.0), "b": torch.empty(0, 4)}, tmp_path / "f")
    found = tensors(tmp_path / "f")
    assert (found["a"].read().item(), [*found["b"].read().shape]) == (3.0, [0, 4])


@pytest.mark.parametrize("left", [4, 8, 40, -1, -9])
def test_a_torn_file_is_named(left: int, path: Path):
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"model\.safetensors: .+(copy or download it again)"):
        tensors(path)


def test_the_tensor_that_is_cut_is_named(path: Path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"is torn: b lies at bytes .+ and the file ends at"):
        tensors(path)


def test_so_is_what_follows_the_last_one(path: Path):
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ValueError, match=r"must end at byte \d+, behind b; it has"):
        tensors(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "F31"},
        {"shape": [3]},
        {"shape": [-2]},
        {"data_offsets": [-8, 0]},
        {"data_offsets": [8]},
        {"shape": "no"},
    ],
    ids=str,
)
def test_a_header_that_contradicts_itself_is_refused(changes: dict[str, Any], tmp_path: Path):
    path = raw(tmp_path / "f", entry(**changes), bytes(8))
    with pytest.raises(ValueError, match=r"f: a must have a dtype of I64, .+ a shape"):
        tensors(path)


def test_a_gap_between_tensors_is_refused(tmp_path: Path):
    path = raw(tmp_path / "f", entry(data_offsets=[4, 12]), bytes(12))
    with pytest.raises(ValueError, match="f: tensors must lie one behind the other; a begins"):
        tensors(path)


def test_a_header_of_something_else_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="its header must be a JSON object"):
        tensors(raw(tmp_path / "f", [1]))


def test_a_file_that_changes_meanwhile_is_named(path: Path):
    found = tensors(path)
    os.utime(path, (1, 1))
    with pytest.raises(ValueError, match="was changed while it was in use; load it anew"):
        found["a"].read()


def test_another_file_of_the_same_size_and_time_is_named(path: Path, tmp_path: Path):
    found, about = tensors(path), path.stat()
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(path)
    with pytest.raises(ValueError, match="was changed while it was in use; load it anew"):
        found["a"].read()


# The index


def sharded(folder: Path, **weight_map: str) -> Path:
    save_file({"a": A}, folder / "1.safetensors")
    save_file({"b": B}, folder / "2.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_every_tensor_of_the_files_that_the_index_names(tmp_path: Path):
    found = stored_tensors(sharded(tmp_path, a="1.safetensors", b="2.safetensors"))
    assert {name: one.files[0].name for name, one in found.items()} == {
        "a": "1.safetensors",
        "b": "2.safetensors",
    }


def test_a_tensor_that_is_missing_is_named(tmp_path: Path):
    folder = sharded(tmp_path, a="1.safetensors", b="2.safetensors", c="2.safetensors")
    with pytest.raises(ValueError, match=r"2\.safetensors: must hold c, as model"):
        stored_tensors(folder)


def test_a_shard_that_is_missing_is_named(tmp_path: Path):
    folder = sharded(tmp_path, a="1.safetensors", b="3.safetensors")
    with pytest.raises(ValueError, match=r"3\.safetensors: must be there, as model"):
        stored_tensors(folder)


def test_a_tensor_in_two_shards_is_named(tmp_path: Path):
    folder = sharded(tmp_path, a="1.safetensors", b="2.safetensors")
    save_file({"a": A, "b": B}, folder / "2.safetensors")
    with pytest.raises(ValueError, match=r"a must be in one shard; it is in 1\.safetensors and in"):
        stored_tensors(folder)


@pytest.mark.parametrize("outside", ["../1.safetensors", "/tmp/1.safetensors", 3])
def test_nothing_outside_of_the_folder_is_read(outside: Any, tmp_path: Path):
    with pytest.raises(ValueError, match="a shard must be a file beside it; got"):
        stored_tensors(sharded(tmp_path, a=outside))


@pytest.mark.parametrize("text", ["", "[1]", '{"weight_map": {}}', "[" * 9000])
def test_an_index_that_is_none_is_refused(text: str, tmp_path: Path):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ValueError, match=r"index\.json: must (be JSON|have a weight_map)"):
        stored_tensors(tmp_path)
