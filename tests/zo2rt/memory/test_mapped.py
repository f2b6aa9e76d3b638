"""What tensors give back: memory does, pages of a file were free already."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zo2rt.memory.mapped import Mapping, file_mappings, given_back_bytes

CPU = torch.device("cpu")
SMAPS = """\
1000-3000 r--p 00000000 fe:00 17                         /data/model file.safetensors
Size:                  8 kB
Anonymous:             4 kB
VmFlags: rd mr mw me
3000-5000 rw-p 00000000 00:00 0
Anonymous:             8 kB
5000-6000 rw-s 00000000 00:01 9                          /dev/shm/torch_1 (deleted)
Anonymous:             0 kB
7000-8000 rw-p 00000000 00:00 0                          [heap]
Anonymous:             4 kB
"""


@pytest.fixture
def smaps(tmp_path: Path) -> Path:
    path = tmp_path / "smaps"
    path.write_text(SMAPS)
    return path


def test_only_files_on_a_disk_are_page_cache(smaps: Path):
    assert [*file_mappings(smaps)] == [Mapping(0x1000, 0x3000, 4096)]


def test_pages_that_were_written_are_memory():
    mapping = Mapping(0x1000, 0x3000, 4096)
    assert mapping.cached_bytes([range(0x0, 0x9000)]) == 4096
    assert mapping.cached_bytes([range(0x0, 0x1000), range(0x3000, 0x9000)]) == 0
    assert mapping.cached_bytes([range(0x1000, 0x1100)]) == 0
    assert (
        mapping.cached_bytes([range(0x800, 0x1800), range(0x2000, 0x3800)]) == 0x800 + 0x1000 - 4096
    )


def test_a_storage_counts_once_however_many_tensors_show_it(tmp_path: Path):
    whole = torch.empty(1000, dtype=torch.uint8)
    nowhere = tmp_path / "nowhere"
    assert given_back_bytes([whole[:10], whole[500:]], CPU, smaps=nowhere) == 1000
    assert given_back_bytes([whole], torch.device("cuda", 0), smaps=nowhere) == 0
    assert given_back_bytes([], CPU) == 0


def test_weights_that_a_file_shows_give_nothing_back(tmp_path: Path):
    if not Path("/proc/self/smaps").exists():
        pytest.skip("the system does not tell what is mapped")
    save_file({"w": torch.ones(1 << 20)}, tmp_path / "w.safetensors")
    loaded = load_file(tmp_path / "w.safetensors")["w"]
    own = loaded.clone()
    assert given_back_bytes([own], CPU) == own.nbytes
    assert given_back_bytes([loaded], CPU) < loaded.nbytes / 100
