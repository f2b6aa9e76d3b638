"""Snapshots: whole or absent, the newest whole one is chosen, nothing is overwritten."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from tests.zo2rt.journal import toy_run
from tests.zo2rt.journal.lossy_disk import LossyDisk
from tests.zo2rt.journal.toy_run import HEADER, first_weights
from zo2rt.journal import DamageError, Position, durable, recovery, snapshot
from zo2rt.journal.chain import FIRST, unseal
from zo2rt.journal.durable import Disk
from zo2rt.journal.snapshot import Latest, Snapshot, latest

FOLDER = Path("/run/snapshots")


def position(step: int) -> Position:
    return Position(step=step, sha256=f"{step:064d}")


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(8, 8, generator=generator)
    return {
        "half": wide.half(),
        "brain": wide.bfloat16(),
        "small": wide.to(torch.float8_e4m3fn),
        "turned": wide.t(),
        "first": wide[0],
        "rest": wide[1:],
        "nothing": torch.empty(0, 3),
        "one": torch.tensor(float("nan")),
    }


def written(fs: LossyDisk, step: int, shard_bytes: int = 300) -> Snapshot:
    pairs = tensors(step).items()
    return snapshot.write(fs, FOLDER, position(step), pairs, shard_bytes=shard_bytes)


def flip(fs: LossyDisk, path: Path, place: int) -> None:
    data = fs.nodes[fs.open(path, new=False)]
    assert isinstance(data, bytearray)
    data[place % len(data)] ^= 1


def as_bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def assert_holds(fs: LossyDisk | Disk, found: Snapshot, expected: dict[str, Tensor]) -> None:
    held = dict(snapshot.read(fs, found))
    assert held.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (held[name].dtype, held[name].shape) == (tensor.dtype, tensor.shape)
        assert as_bytes(held[name]) == as_bytes(tensor)


@pytest.mark.parametrize("shard_bytes", [1, 300, 10**6])
def test_every_bit_comes_back(shard_bytes: int):
    fs = LossyDisk()
    made = written(fs, 4, shard_bytes)
    assert latest(fs, FOLDER).snapshot == made
    assert made.position == position(4)
    assert_holds(fs, made, tensors(4))
    assert len(made.shards) == {1: 8, 300: 4, 10**6: 1}[shard_bytes]


def test_shards_are_plain_safetensors(tmp_path: Path):
    made = snapshot.write(Disk(), tmp_path / "s", position(0), tensors().items())
    (shard,) = made.shards
    loaded = load_file(made.folder / shard.name)
    assert as_bytes(loaded["half"]) == as_bytes(tensors()["half"])
    assert_holds(Disk(), made, tensors())


def test_tensors_of_a_shard_are_aligned_however_long_its_header_is(tmp_path: Path):
    """So that who maps the file has them where a processor wants them."""
    for length in range(1, 9):
        named = {"n" * length: torch.ones(3)}
        made = snapshot.write(Disk(), tmp_path / str(length), position(0), named.items())
        data = (made.folder / made.shards[0].name).read_bytes()
        assert int.from_bytes(data[:8], "little") % 8 == 0
        assert len(data) == 8 + int.from_bytes(data[:8], "little") + 12


def test_the_newest_is_chosen_by_number_and_temporary_names_are_ignored():
    fs = LossyDisk()
    assert latest(fs, FOLDER).snapshot is None
    for step in (99_999_999, 100_000_000, 10):
        written(fs, step)
    fs.make_folder(FOLDER / "step-200000000.tmp")
    found = latest(fs, FOLDER)
    assert found.snapshot is not None
    assert (found.snapshot.position.step, found.damaged) == (100_000_000, ())
    written(fs, 11)
    assert "step-200000000.tmp" not in fs.names(FOLDER)


def test_it_is_durable_when_it_was_written():
    fs = LossyDisk()
    made = written(fs, 3)
    (left,) = fs.after_crash()
    assert latest(left, FOLDER).snapshot == made


def test_a_crash_while_old_ones_go_leaves_whole_ones():
    """Whatever of it had reached the disk: what has a snapshot's name can be read."""
    fs = LossyDisk()
    for step in range(4):
        written(fs, step)
    pruned = LossyDisk(fs.nodes)
    snapshot.prune(pruned, FOLDER)
    assert pruned.names(FOLDER) == ("step-00000000", "step-00000002", "step-00000003")
    for length in range(len(pruned.log) + 1):
        for disk in pruned.after_crash(length):
            kept = [name for name in disk.names(FOLDER) if not name.endswith(durable.TEMPORARY)]
            assert len(kept) in (3, 4)
            for name in kept:
                snapshot.check(disk, FOLDER / name)


def test_a_power_cut_after_a_kill_while_a_run_begins_loses_nothing_that_goes_on():
    """What the killed process had not made durable, the one that goes on does."""
    fs, folder = LossyDisk(), FOLDER.parent
    toy_run.resumed(fs, folder)
    for length in range(len(fs.log) + 1):
        again = fs.after_kill(length)
        toy_run.resumed(again, folder)
        for left in again.after_crash():
            assert left.exists(folder / recovery.JOURNAL), length
            state, weights = toy_run.resumed(left, folder)
            assert state.journal.position == HEADER.start
            assert toy_run.bits(weights) == toy_run.bits(first_weights())


def test_nothing_is_overwritten():
    fs = LossyDisk()
    made = written(fs, 3)
    with pytest.raises(ValueError, match="step-00000003: snapshots are never overwritten"):
        written(fs, 3)
    assert_holds(fs, made, tensors(3))


def test_a_damaged_one_is_named_and_passed_over_for_an_older_one():
    fs = LossyDisk()
    older, newer = written(fs, 1), written(fs, 2)
    flip(fs, newer.folder / newer.shards[1].name, 30)
    found = latest(fs, FOLDER)
    assert found.snapshot == older
    (complaint,) = found.damaged
    assert "step-00000002/weights-00002.safetensors: must be the" in complaint


def test_without_an_older_one_it_is_an_error():
    fs = LossyDisk()
    made = written(fs, 1)
    fs.remove(made.folder / made.shards[2].name)
    message = "at least one snapshot must be whole; .*weights-00003.safetensors: must be there; it"
    with pytest.raises(DamageError, match=message):
        latest(fs, FOLDER)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_flipped_bit_is_found(data: st.DataObject):
    fs = LossyDisk()
    made = written(fs, 1)
    name = data.draw(st.sampled_from(fs.names(made.folder)))
    path = made.folder / name
    flip(fs, path, data.draw(st.integers(0, len(fs.read(path)) - 1)))
    with pytest.raises(DamageError, match=name):
        snapshot.check(fs, made.folder)


@given(data=st.data())
def test_any_truncation_is_found(data: st.DataObject):
    fs = LossyDisk()
    made = written(fs, 1)
    name = data.draw(st.sampled_from(fs.names(made.folder)))
    handle = fs.open(made.folder / name, new=False)
    fs.truncate(handle, data.draw(st.integers(0, fs.size(handle) - 1)))
    with pytest.raises(DamageError, match=name):
        snapshot.check(fs, made.folder)


def test_damage_after_the_choice_is_found_before_a_tensor_is_given_out():
    fs = LossyDisk()
    made = written(fs, 1)
    flip(fs, made.folder / made.shards[0].name, 0)
    with pytest.raises(DamageError, match="weights-00001"):
        next(iter(snapshot.read(fs, made)))


def test_a_snapshot_says_which_versions_can_read_it():
    """One that does not know of files would take those that are elsewhere for no weights."""
    fs = LossyDisk()
    for step, files, version in ((0, {"model.safetensors": "0" * 64}, 3), (1, {}, 2)):
        made = snapshot.write(fs, FOLDER, position(step), [], files=files)
        manifest = unseal(FIRST, fs.read(made.folder / "manifest.json"))
        assert manifest is not None
        assert (manifest.content["format"], made.files) == (version, files)


class Forgetful(LossyDisk):
    """Writes other bytes than it was given, and says nothing."""

    def write(self, handle: int, data: memoryview) -> int:
        return super().write(handle, memoryview(bytes(data[:-1]) + bytes([data[-1] ^ 1])))


def test_what_is_written_is_read_back():
    fs = LossyDisk()
    first = written(fs, 0)
    with pytest.raises(DamageError, match="the snapshot of step 1 must hold the weights"):
        written(Forgetful(fs.nodes), 1)
    assert latest(fs, FOLDER) == Latest(snapshot=first)
    assert fs.names(FOLDER) == (first.folder.name,)


def test_of_a_file_no_tensor_is_in_memory_but_the_one_that_was_asked_for(tmp_path: Path):
    names = [f"w{number}" for number in range(8)]
    one = torch.zeros(1 << 18)
    made = snapshot.write(Disk(), tmp_path, position(0), [(name, one) for name in names])
    assert len(made.shards) == 1
    tracemalloc.start()
    held = snapshot.Weights(Disk(), made)
    assert all(torch.equal(held[name], one) for name in names)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < made.shards[0].num_bytes + 2.5 * one.nbytes


def test_a_snapshot_under_another_steps_name_is_damaged():
    fs = LossyDisk()
    made = written(fs, 1)
    fs.rename(made.folder, FOLDER / "step-00000007")
    with pytest.raises(DamageError, match="step-00000007: the folder's name must be that of step"):
        snapshot.check(fs, FOLDER / "step-00000007")


def test_a_snapshot_of_another_runs_records_is_not_this_ones():
    fs = LossyDisk()
    made = written(fs, 3)
    assert snapshot.check_at(fs, FOLDER, position(3)) == made
    assert snapshot.check_at(fs, FOLDER, position(4)) is None
    with pytest.raises(DamageError, match="step-00000003: must come from this run's records"):
        snapshot.check_at(fs, FOLDER, replace(position(3), sha256="f" * 64))


def test_names_come_once():
    pairs = [("a", torch.zeros(1)), ("a", torch.ones(1))]
    with pytest.raises(ValueError, match="must differ; a comes twice"):
        snapshot.write(LossyDisk(), FOLDER, position(0), pairs)


RUN = Path("/run")


def finished(steps: int = 8) -> LossyDisk:
    fs = LossyDisk()
    toy_run.run(fs, RUN, steps, save_every=3)
    return fs


def test_an_older_snapshot_is_brought_up_to_date_from_the_archives():
    fs = finished()
    flip(fs, FOLDER / "step-00000006" / "weights-00001.safetensors", -1)
    state, weights = toy_run.resumed(fs, RUN)
    assert (state.snapshot.position.step, len(state.records)) == (3, 5)
    assert "step-00000006" in state.damaged[0]
    assert toy_run.bits(weights) == toy_run.bits(toy_run.run(finished(), RUN, 8, save_every=3))


def test_another_base_is_refused():
    fs = finished()
    fs.rename(FOLDER / "step-00000006", FOLDER / "gone")
    end = Position(step=6, sha256=recovery.start(fs, RUN, HEADER, {}).journal.base.position.sha256)
    snapshot.write(fs, FOLDER, end, tensors().items())
    with pytest.raises(DamageError, match=r"must be the snapshot that journal\.jsonl starts from"):
        toy_run.resumed(fs, RUN)


def test_a_snapshot_that_the_journal_does_not_reach_is_refused():
    fs = finished()
    written(fs, 11)
    with pytest.raises(DamageError, match=r"which reach step 8; .* the journal has lost durable"):
        toy_run.resumed(fs, RUN)


def test_a_journal_without_snapshots_cannot_be_resumed():
    fs = finished()
    for name in fs.names(FOLDER):
        fs.rename(FOLDER / name, FOLDER / f"x{name}")
    with pytest.raises(DamageError, match="must hold the journal's base; it is empty"):
        toy_run.resumed(fs, RUN)


def test_snapshots_without_their_journal_are_no_new_run():
    fs = finished()
    fs.remove(RUN / "journal.jsonl")
    with pytest.raises(ValueError, match="needs a folder without snapshots; step-00000006 is"):
        toy_run.resumed(fs, RUN)


def test_a_base_of_other_weights_is_no_base():
    fs = LossyDisk()
    snapshot.write(fs, FOLDER, HEADER.start, tensors().items())
    with pytest.raises(ValueError, match="is there, of other weights or settings"):
        recovery.start(fs, RUN, HEADER, first_weights())


def test_the_first_and_the_two_newest_are_kept(tmp_path: Path):
    """So that every step can be rebuilt, also where the newest one is damaged."""
    trained = toy_run.run(Disk(), tmp_path, 20, save_every=4)
    names = [path.name for path in sorted((tmp_path / "snapshots").iterdir())]
    assert names == ["step-00000000", "step-00000016", "step-00000020"]
    (tmp_path / "snapshots" / "step-00000020" / "manifest.json").unlink()
    state, weights = toy_run.resumed(Disk(), tmp_path)
    assert (state.snapshot.position.step, state.journal.position.step) == (16, 20)
    assert toy_run.bits(weights) == toy_run.bits(trained)


def test_what_a_killed_process_left_half_removed_goes_with_the_next_snapshot():
    fs = LossyDisk()
    toy_run.run(fs, RUN, 12, save_every=4)
    whole = fs.names(FOLDER)
    again = LossyDisk()
    toy_run.run(again, RUN, 8, save_every=4)
    start = len(again.log)
    toy_run.run(again, RUN, 12, save_every=4)
    for length in range(start, len(again.log) + 1):
        left = again.after_kill(length)
        toy_run.run(left, RUN, 12, save_every=4)
        state, weights = toy_run.resumed(left, RUN)
        recovery.save(left, RUN, state.journal, weights.items())
        assert left.names(FOLDER) == whole


def test_a_snapshot_that_is_asked_for_twice_leaves_what_one_does():
    fs = LossyDisk()
    toy_run.run(fs, RUN, 8, save_every=4)
    names = (fs.names(RUN), fs.names(FOLDER))
    state, weights = toy_run.resumed(fs, RUN)
    recovery.save(fs, RUN, state.journal, weights.items())
    assert (fs.names(RUN), fs.names(FOLDER)) == names
