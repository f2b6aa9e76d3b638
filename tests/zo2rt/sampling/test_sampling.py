"""The sampler: GPUs through recorded answers, the host itself, and what goes wrong with either."""

from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import pandas as pd
import pynvml
import pytest
import torch

from analysis.plots.machine_use import machine_use
from analysis.plots.style import svg_text
from experiments.campaign.samples import sample_frame
from experiments.folder.write import write_samples
from experiments.training import observation
from experiments.training.observation import Observation, Observed, probes_of
from tests.zo2rt.sampling.fake_nvml import FakeNvml
from zo2rt.sampling import nvml
from zo2rt.sampling.card import Card, current_card
from zo2rt.sampling.host import HostProbe
from zo2rt.sampling.nvml import NvmlProbe, open_nvml
from zo2rt.sampling.sample import FIELDS, Probe, Reading, Sample
from zo2rt.sampling.sampler import Sampler
from zo2rt.steps.outcome import Outcome

ONE = Card(index=0, uuid="one", pci="00000000:3B:00.0")


def opened(name: str, card: Card = ONE) -> NvmlProbe:
    probe = open_nvml(card, nvml=FakeNvml(name))
    assert isinstance(probe, NvmlProbe)
    return probe


def told(reading: Reading) -> dict[str, object]:
    return {key: value for key, value in asdict(reading).items() if value is not None}


def test_a_healthy_card_tells_everything_in_si_units():
    probe = opened("healthy")
    assert told(probe.read()) == {
        "device_memory_bytes": 16 * 2.0**30,
        "device_busy": 0.93,
        "pcie_h2d_bytes_per_s": 12_000_000 * 1024.0,
        "pcie_d2h_bytes_per_s": 6_000_000 * 1024.0,
        "sm_clock_hz": 1.755e9,
        "memory_clock_hz": 2.619e9,
        "power_w": 412.5,
        "temperature_c": 61.0,
        "throttled": "power_cap",
    }
    assert probe.notes == ()


@pytest.mark.parametrize(
    ("name", "missing", "note"),
    [
        ("consumer", {"throttled"}, "throttle reasons: the card does not offer it"),
        (
            "no_permission",
            {"pcie_h2d_bytes_per_s", "pcie_d2h_bytes_per_s", "power_w"},
            "PCIe throughput: this user is not permitted to read it; ask for access",
        ),
        ("partitioned", {"device_busy"}, "MIG: the card is partitioned; memory, power and clocks"),
    ],
)
def test_what_is_refused_is_missing_and_noted_once(name: str, missing: set[str], note: str):
    probe = opened(name)
    readings = [probe.read(), probe.read()]
    assert told(readings[0]) == told(readings[1])
    assert set(told(opened("healthy").read())) - set(told(readings[0])) == missing
    assert [said.startswith(note) for said in probe.notes].count(True) == 1
    assert len(probe.notes) == len(set(probe.notes)) <= 2


def test_a_lost_device_is_asked_nothing_more():
    fake = FakeNvml("lost")
    probe = open_nvml(ONE, nvml=fake)
    assert isinstance(probe, NvmlProbe)
    assert set(told(probe.read())) == {"device_memory_bytes"}
    asked = len(fake.asked)
    assert told(probe.read()) == {}
    assert len(fake.asked) == asked
    assert probe.notes == (
        "utilisation: the device is lost; it needs a reset, and nothing more is read of it "
        "(NVML: error 15)",
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_library", "the library libnvidia-ml is not installed"),
        ("no_driver", "the driver is not loaded"),
    ],
)
def test_without_nvml_there_is_a_sentence_instead_of_a_probe(name: str, reason: str):
    sentence = open_nvml(ONE, nvml=FakeNvml(name))
    assert isinstance(sentence, str)
    assert sentence.startswith(f"no GPU figures: {reason}")


@pytest.mark.parametrize(
    ("card", "gib"),
    [
        (Card(index=0, uuid="one"), 1),
        (Card(index=0, uuid="two", pci="00000000:3B:00.0"), 2),  # the UUID is asked first
        (Card(index=1, uuid="unknown", pci="00000000:AF:00.0"), 2),
        (Card(index=1, pci="00000000:3B:00.0"), 1),
    ],
    ids=str,
)
def test_the_card_that_computes_is_read_whatever_its_number(card: Card, gib: int):
    assert opened("two_cards", card).read().device_memory_bytes == gib * 2.0**30


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        (
            Card(index=1, uuid="lost", pci="00000000:01:00.0"),
            "no GPU figures: NVML cannot tell which card is PyTorch's device 1 (lost, "
            "00000000:01:00.0); it knows no such device (NVML: error 6)",
        ),
        (
            Card(index=1),
            "no GPU figures: NVML cannot tell which card is PyTorch's device 1 (neither UUID nor "
            "bus known); nothing names it",
        ),
        ("PyTorch computes on no card here", "no GPU figures: PyTorch computes on no card here"),
    ],
    ids=["unknown", "unnamed", "none"],
)
def test_no_other_card_is_read_in_its_place(card: Card | str, sentence: str):
    assert open_nvml(card, nvml=FakeNvml("two_cards")) == sentence


def test_a_card_is_named_as_pytorch_knows_it():
    bus = {"pci_domain_id": 0, "pci_bus_id": 0x3B, "pci_device_id": 0}
    assert Card.of(2, SimpleNamespace(uuid="one", **bus)) == replace(ONE, index=2)
    assert Card.of(0, SimpleNamespace(uuid="GPU-one")) == Card(index=0, uuid="one")
    assert Card.of(0, SimpleNamespace()) == Card(index=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_real_card_is_found_and_holds_what_was_allocated():
    held = torch.ones(1 << 26, device="cuda")
    probe = open_nvml(current_card())
    assert isinstance(probe, NvmlProbe)
    used_bytes = probe.read().device_memory_bytes
    assert used_bytes is not None
    assert used_bytes > held.nbytes


def test_without_a_card_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    assert current_card() == "PyTorch computes on no card here"


def test_the_bits_and_constants_are_those_of_the_library():
    names = {
        "power_cap": "SwPowerCap",
        "hardware_slowdown": "HwSlowdown",
        "sync_boost": "SyncBoost",
        "software_thermal": "SwThermalSlowdown",
        "hardware_thermal": "HwThermalSlowdown",
        "power_brake": "HwPowerBrakeSlowdown",
    }
    theirs = {getattr(pynvml, f"nvmlClocksEventReason{n}"): ours for ours, n in names.items()}
    assert theirs == nvml._REASONS
    constants = [name for name in vars(FakeNvml) if name.startswith("NVML_")]
    assert {n: getattr(FakeNvml, n) for n in constants} == {
        n: getattr(pynvml, n) for n in constants
    }
    asked = {*FakeNvml("two_cards").answers, *FakeNvml("partitioned").answers}
    assert all(hasattr(pynvml, question) for question in asked)


def test_the_host_tells_its_memory():
    reading = HostProbe().read()
    assert set(told(reading)) == {"host_rss_bytes", "host_available_bytes", "host_cpu"}
    assert reading.host_rss_bytes is not None
    assert reading.host_rss_bytes > 1e6


def test_gpu_and_host_make_one_row_of_one_schema():
    sampler = Sampler([opened("healthy"), HostProbe()])
    sampler.sample()
    (row,) = [sample.row for sample in sampler.samples]
    assert list(row) == ["time_s", *FIELDS]
    assert row["power_w"] == 412.5
    assert row["host_rss_bytes"] is not None


def test_times_count_from_the_entry():
    clock = count(100)
    with Sampler([HostProbe()], interval_s=1e-3, clock=lambda: float(next(clock))) as sampler:
        pass
    assert [s.time_s for s in sampler.samples] == [
        float(i + 1) for i in range(len(sampler.samples))
    ]


class Broken(Probe):
    """Fails at the second reading."""

    def __init__(self) -> None:
        self.left = 1

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def read(self) -> Reading:
        self.left -= 1
        if self.left < 0:
            raise OSError("gone")
        return Reading(power_w=1.0)


def test_a_probe_that_fails_ends_the_sampling_and_not_the_run():
    with Sampler([Broken()], interval_s=1e-4) as sampler:
        done = sum(range(1000))
    assert done == 499_500
    assert [s.reading.power_w for s in sampler.samples] == [1.0]
    assert sampler.notes == ("sampling ended early: OSError('gone')",)


def test_an_interval_must_last():
    with pytest.raises(ValueError, match=r"interval_s must be > 0; got 0"):
        Sampler([], interval_s=0)


def test_a_sample_is_a_value():
    assert Sample(1.0, Reading(power_w=2.0)) == Sample(1.0, Reading(power_w=2.0))


def test_every_machine_writes_the_same_columns(tmp_path: Path):
    for name, probes in (("gpu", [opened("healthy"), HostProbe()]), ("host", [HostProbe()])):
        sampler = Sampler(probes)
        sampler.sample()
        write_samples(tmp_path / name, sample_frame(sampler.samples))
    gpu, host = (pd.read_parquet(tmp_path / n / "samples.parquet") for n in ("gpu", "host"))
    assert list(gpu.columns) == list(host.columns) == ["time_s", *FIELDS]
    assert gpu.dtypes.to_dict() == host.dtypes.to_dict()
    assert gpu["throttled"].tolist() == ["power_cap"]
    assert host["power_w"].isna().to_numpy().all()


# During a run


@pytest.mark.parametrize(
    ("answers", "devices", "note"),
    [
        ("healthy", 1, None),
        ("partitioned", 1, None),
        ("no_library", 0, "no GPU figures: the library libnvidia-ml is not installed"),
        ("no_driver", 0, "no GPU figures: the driver is not loaded"),
    ],
)
def test_a_run_on_a_card_samples_it_or_says_why_not(
    answers: str, devices: int, note: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(observation, "open_nvml", lambda _: open_nvml(ONE, nvml=FakeNvml(answers)))
    probes, said = probes_of("cuda")
    assert [type(p) for p in probes] == [NvmlProbe] * devices + [HostProbe]
    assert said is note or (note is not None and said is not None and said.startswith(note))
    assert [type(p) for p in probes_of("host")[0]] == [HostProbe]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("healthy", []),
        ("no_permission", ["PCIe throughput", "power"]),
        ("partitioned", ["utilisation", "MIG"]),
        ("lost", ["utilisation"]),
        ("no_driver", ["no GPU figures"]),
    ],
)
def test_a_run_goes_on_and_says_once_what_was_not_read(
    answers: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(observation, "open_nvml", lambda _: open_nvml(ONE, nvml=FakeNvml(answers)))
    with Observation("cuda", interval_s=1e-3) as observed:
        sleep(0.01)
    found = observed.observed
    assert len(found.samples) > 2
    assert sorted(note.partition(":")[0] for note in found.notes) == sorted(expected)
    assert found.summary["host_rss_bytes"] is not None
    assert (found.summary["device_memory_bytes"] is None) == (answers == "no_driver")


def line(step: int, wall_s: float) -> Outcome:
    return Outcome(
        step=step, loss=1.0, g=1.0, lr=1.0, skipped=False, tokens=1, wall_s=wall_s, exposed_s=0.0
    )


def test_a_step_is_noted_from_its_beginning_to_its_end():
    shown = list[Outcome]()
    with Observation("host") as observing:
        sleep(0.02)
        observing.seeing(shown.append)(line(7, 0.01))
    found = observing.observed
    ((start_s, end_s),) = found.steps.values()
    assert [*found.steps] == [7] == [line.step for line in shown]
    assert end_s - start_s == pytest.approx(0.01)
    assert found.samples[0].time_s < start_s < end_s < found.samples[-1].time_s


def test_energy_is_that_of_each_step_and_not_of_what_lies_between():
    """Power grows by 10 W per second: a step from a to b takes 5 (b^2 - a^2) J."""
    samples = tuple(Sample(float(t), Reading(power_w=10.0 * t)) for t in range(11))
    observed = Observed(samples=samples, steps={0: (1.0, 3.0), 1: (4.0, 5.0), 2: (9.0, 12.0)})
    assert observed.energies_j == pytest.approx({0: 40.0, 1: 45.0})
    assert observed.summary["energy_per_step_j"] == pytest.approx(42.5)


def test_without_power_there_is_no_energy():
    samples = tuple(Sample(float(t), Reading(host_cpu=1.0)) for t in range(3))
    observed = Observed(samples=samples, steps={0: (0.5, 1.5)})
    assert observed.energies_j == {}
    assert observed.summary["energy_per_step_j"] is None


def test_panels_are_those_that_the_machine_tells():
    host = Reading(host_rss_bytes=2.0**30, host_cpu=1.5)
    gpu = Reading(device_memory_bytes=2.0**34, device_busy=0.9, power_w=400.0).or_else(host)
    for reading, labels in (
        (host, ["memory (GiB)", "busy cores"]),
        (gpu, ["memory (GiB)", "busy cores", "GPU busy (%)", "power (W)"]),
    ):
        table = sample_frame([Sample(float(t), reading) for t in range(4)])
        figure = machine_use(table)
        assert [axes.get_ylabel() for axes in figure.axes] == labels
        assert svg_text(figure) == svg_text(machine_use(table))
