"""`calibrate --backend cuda` over the recorded fake: what a benchmark calls, and the command."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.fits.card import CardRoom
from analysis.fits.machine import HostSpecs
from experiments import calibrate
from experiments.campaign import card as device_rows
from experiments.campaign import host as calibration_rows
from experiments.campaign.card import CardCampaign
from experiments.campaign.designs import device_runs, opt, recipe
from tests.commands import call
from tests.families import BLOCKS
from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from zo2rt.backends import CudaBackend
from zo2rt.measure import host_work, links, on_device
from zo2rt.measure.card import CardSpecs
from zo2rt.measure.device_kernels import DeviceBenches, Sizes
from zo2rt.measure.runs import RunSpec
from zo2rt.measure.timing import Bench, Effort
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named, resolve
from zo2sim.machines.machine import Machine
from zo2sim.plan.choices import Plan
from zo2sim.schedule.ops import Stream

H100 = named("h100-sxm-80gb")
HASTY = Effort(rounds=1, budget_s=1e-6, least=2)
TINY = Sizes(rows=(16,), widths=(32, 64), sequences=(16,), heads=(2,), elements=(1 << 10, 1 << 12))
ROOM = HostSpecs(num_cores=8, memory_bytes=2e11, disk_bytes=1e12)
OURS = CardRoom(name="NVIDIA H100 NVL", memory_bytes=10**11, num_sms=132, architecture="hopper")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAccelerator:
    return FakeAccelerator().install(monkeypatch)


@pytest.fixture
def benches(fake: FakeAccelerator) -> Iterator[DeviceBenches]:
    with CudaBackend(pageable_copies=True) as backend:
        yield DeviceBenches(backend=backend, machine=H100, sizes=TINY)


# ---- The calls of a benchmark ----


def of_compute(fake: FakeAccelerator, start: int) -> list[str]:
    """Names of the calls on the stream that worked, with the waits for everything."""
    (stream,) = {call.stream for call in fake.log[start:] if call.name == "work"}
    return [
        call.name
        for call in fake.log[start:]
        if call.name == "event.synchronize" or call.stream == stream
    ]


def test_events_stand_around_the_calls_and_the_host_waits_only_after_them(fake: FakeAccelerator):
    with CudaBackend() as backend:
        start = len(fake.log)
        work = lambda: fake.mark("call")  # noqa: E731
        assert on_device.on_device_s(backend, work, Effort(budget_s=1e-9, least=3)) > 0.0
        calls = of_compute(fake, start)
    text = " ".join("w" if name == "work" else name for name in calls)
    spans = text.replace("event.synchronize", "|").split("record w")
    counts = [1 + span.split(" record")[0].count("w") for span in spans[1:]]
    assert counts == [1, 1, 3, 3, 3], "two calls to warm up, then three spans of three"
    assert all("|" not in span.split(" record")[0] for span in spans[1:])


def test_nothing_is_allocated_while_it_is_timed(fake: FakeAccelerator, benches: DeviceBenches):
    every = [
        *benches.gemms(Dtype.BF16, 2, seed=0),
        *benches.attentions(Dtype.FP32, 1, seed=0),
        *benches.moves(),
        *benches.noise([Dtype.FP32, Dtype.BF16]),
    ]
    for bench in every:
        work = bench.prepare()
        before = len(fake.calls("empty"))
        seconds = on_device.on_device_s(benches.backend, work, HASTY)
        assert seconds > 0.0, bench.name
        assert len(fake.calls("empty")) == before, bench.name


def test_every_bench_does_what_its_name_says(benches: DeviceBenches):
    (gemm,) = benches.gemms(Dtype.FP32, 1, seed=0)
    m, n, k = map(int, gemm.name.split()[-1].split("x"))
    assert gemm.prepare()().shape == (m, n)  # type: ignore[attr-defined]
    reached = H100.quantity("device.fp32_gemm_flops_per_s").value
    assert gemm.amounts["device.fp32_gemm_flops_per_s"] >= 2.0 * m * n * k
    assert gemm.amounts["device.fp32_gemm_flops_per_s"] / reached < 1e-3
    kinds = {bench.name.split()[0] + " " + bench.name.split()[1] for bench in benches.noise([])}
    assert kinds == {"torch noise"}
    named_kinds = {b.group for b in benches.noise([Dtype.BF16])}
    assert named_kinds == {f"{w} {k}" for w in ("update", "perturb") for k in KINDS} | {
        "torch noise"
    }


KINDS = ("gaussian", "rademacher")
LINK_STATES = ("", "both_", "pageable_", "staged_")


def test_a_pass_counts_what_binds_it(benches: DeviceBenches):
    """16 draws per element take longer than to read and write it; one takes less."""
    keys = {
        bench.name.split()[0]: next(iter(bench.amounts))
        for bench in benches.noise([Dtype.FP32])
        if "rademacher" in bench.name
    }
    assert keys == {
        "update": "device.rademacher_noise_elements_per_s",
        "perturb": "device.memory_bytes_per_s",
    }


def test_copies_go_the_way_of_their_stream(fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch):
    with CudaBackend(pageable_copies=True) as backend:
        made: list[tuple[Stream, bool, bool]] = []
        alive = list[Any]()  # or another buffer would get the address of one that is gone
        copy = CudaBackend.copy

        def noted(self: Any, stream: Stream, target: Any, source: Any, *, label: str) -> None:
            alive.append((target, source))
            to, of = (t.data_ptr() in fake.on_device for t in (target, source))
            made.append((stream, to, of))
            copy(self, stream, target, source, label=label)

        monkeypatch.setattr(CudaBackend, "copy", noted)
        rows = [*links.one_way(backend, (64, 128), ramp_bytes=8.0, pinned=False)]
    assert set(made) == {(Stream.H2D, True, False), (Stream.D2H, False, True)}
    assert {key for row in rows for key in row.amounts} == {
        "link.latency_s",
        "link.pageable_h2d_bytes_per_s",
        "link.pageable_d2h_bytes_per_s",
    }
    assert {row.amounts.get("link.pageable_h2d_bytes_per_s") for row in rows} == {72.0, 136.0, None}


def test_launches_are_timed_on_the_host_and_streams_by_their_events(benches: DeviceBenches):
    rows = [*on_device.launches(benches.backend, benches.small(), count=2)]
    assert [row.amounts for row in rows] == [{"device.launch_s": 500.0}] * 2
    handed = [*on_device.event_handovers(benches.backend, count=1)]
    assert all("bench.event_handover_s" in row.amounts for row in handed)


def test_the_host_beside_the_card_is_measured_too():
    rows = [*host_work.contention(2, nbytes=1 << 12, count=2), *host_work.handovers(count=2)]
    assert [row.amounts for row in rows] == [
        *[{"host.dram_bytes_per_s": 4.0 * (1 << 12)}] * 2,
        *[{"host.stream_handover_s": 400.0}] * 2,
    ]
    every: list[Bench] = [*host_work.encodings((2048,)), *host_work.updates((2048,))]
    assert {key for bench in every for key in bench.amounts} == {
        "host.encode_bytes_per_s",
        "host.gaussian_update_elements_per_s",
        "host.rademacher_update_elements_per_s",
    }
    for bench in every:
        bench.prepare()()


# ---- The command ----


def hasty(self: CardCampaign) -> CardCampaign:
    return replace(self, sizes=TINY, copy_sizes=(1 << 10, 1 << 12), both_ways_bytes=1 << 12)


def test_the_command_writes_the_file_of_the_card(
    fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """End to end, with a processor in the card's place: its numbers mean nothing."""
    rows = CardCampaign.rows
    monkeypatch.setattr(CardCampaign, "rows", lambda self: rows(hasty(self)))
    monkeypatch.setattr(calibration_rows.Campaign, "rounds", HASTY)
    monkeypatch.setattr(device_rows, "_STEPS", 2)
    monkeypatch.setattr(host_work, "ELEMENTS", (2048,))
    found = CardSpecs(name="NVIDIA H100", memory_bytes=10**11, num_sms=132, capability=(9, 0))
    monkeypatch.setattr(calibrate, "read_card", lambda: found)
    spec = RunSpec(
        name="tiny",
        config=opt(32, BLOCKS, vocab=64),
        plan=Plan(),
        recipe=recipe(batch=1, sequence=8),
    )
    monkeypatch.setattr(device_rows, "device_runs", lambda: iter([spec]))
    taken: list[Machine] = []
    monkeypatch.setattr(calibrate, "calibrated_card", plausible(taken))
    file = tmp_path / "card.toml"
    done = call(
        calibrate, "--backend", "cuda", "--effort", "0.1", "--out", str(file), "--json", "-"
    )
    assert (done.code, done.err) == (0, "")
    told = set(done.json["constants"])
    assert told >= {
        *("device.gemm_flops_per_s", "device.fp32_gemm_flops_per_s"),
        *(f"device.{n}_noise_elements_per_s" for n in (*KINDS, "torch")),
        *(f"link.{s}{w}_bytes_per_s" for s in LINK_STATES for w in ("h2d", "d2h")),
        *("device.memory_bytes_per_s", "device.launch_s", "link.latency_s"),
        *("host.dram_bytes_per_s", "host.encode_bytes_per_s", "host.stream_handover_s"),
        *("host.fsync_s", "nvme.read_bytes_per_s", "nvme.write_bytes_per_s", "nvme.latency_s"),
        *("bench.forward_over_model", "bench.h2d_over_model", "bench.update_over_model"),
    }
    assert resolve(file) == taken[0]
    assert file.with_suffix(".residuals.svg").stat().st_size > 1000


def plausible(taken: list[Machine]) -> Any:
    """A processor is too slow for the limits of a card's constants; its machine is the base's."""

    def calibrated(machine: Machine, *_: Any, source: str) -> Machine:
        assert "--backend cuda on NVIDIA H100" in source
        taken.append(machine)
        return machine

    return calibrated


@pytest.mark.parametrize("device", [None, torch.device("xpu", 0)])
def test_without_a_cuda_device_it_is_refused(
    device: torch.device | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    FakeAccelerator(device).install(monkeypatch)
    done = call(calibrate, "--backend", "cuda", "--out", str(tmp_path / "out" / "card.toml"))
    assert done.code == 2
    assert done.complaint.startswith("--backend cuda needs a CUDA device; ")
    assert not (tmp_path / "out").exists()


def test_runs_on_a_card_stream_and_stay_in_both_widths():
    specs = [*device_runs()]
    assert {spec.recipe.storage_dtype for spec in specs} == {Dtype.BF16, Dtype.FP32}
    assert {str(spec.plan.policy) for spec in specs} == {"zo2", "resident"}
    assert all(spec.model.elements > 2e8 for spec in specs)
