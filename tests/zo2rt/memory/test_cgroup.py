"""What a control group leaves a process, from folders as the kernel has them."""

from pathlib import Path

import pytest

from zo2rt.memory import cgroup

NO_LIMIT_V1 = 2**63 - 4096


def v2(folder: Path, limit: int | str, usage: int, *, inactive: int = 0, active: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    stat = f"anon 5\nfile 9\ninactive_file {inactive}\nactive_file {active}\n"
    (folder / "memory.stat").write_text(stat)


def v1(folder: Path, limit: int, usage: int, *, inactive: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    stat = f"inactive_file 1\ntotal_inactive_file {inactive}\ntotal_active_file 0\n"
    (folder / "memory.stat").write_text(stat)


def free(root: Path, *lines: str) -> int | None:
    membership = root.with_name("membership")
    membership.write_text("".join(line + "\n" for line in lines))
    return cgroup.free_bytes(root, membership)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def test_a_group_leaves_its_limit_less_what_it_holds(root: Path):
    v2(root / "a", 1000, 300)
    assert free(root, "0::/a") == 700


def test_what_files_have_in_memory_can_be_dropped(root: Path):
    v2(root / "a", 1000, 900, inactive=200, active=50)
    assert free(root, "0::/a") == 350


def test_the_tightest_group_on_the_way_counts(root: Path):
    v2(root / "a" / "b" / "c", 1000, 100)
    v2(root / "a" / "b", 900, 500)
    v2(root / "a", "max", 500)
    v2(root / "another", 1, 1)
    assert free(root, "0::/a/b/c") == 400


def test_max_is_no_limit(root: Path):
    v2(root / "a", "max", 300)
    assert free(root, "0::/a") is None


def test_a_container_that_does_not_see_its_own_name_has_the_limit_at_the_root(root: Path):
    v2(root, 1000, 1)
    assert free(root, "0::/docker/0123abc") == 999
    assert free(root, "0::/../../outside") == 999


def test_the_first_version_has_other_names(root: Path):
    v1(root / "memory" / "a", 1000, 900, inactive=20)
    v1(root / "memory", NO_LIMIT_V1, 5000)
    assert free(root, "5:cpu,cpuacct:/a", "4:memory:/a", "0::/") == 120


def test_a_group_above_its_limit_leaves_nothing(root: Path):
    v2(root / "a", 1000, 1200)
    assert free(root, "0::/a") == 0


def test_where_there_are_no_groups_nothing_is_limited(root: Path):
    assert cgroup.free_bytes(root, root / "nowhere") is None
    assert free(root, "0::/") is None


def test_this_process_can_be_asked_about():
    left = cgroup.free_bytes()
    assert left is None or left >= 0
