"""A card as a machine: known constants come back, and what was not measured stays as it was."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analysis.fits.card import CardRoom, base_machine, calibrated_card, start_s
from analysis.fits.law import Fit, fit
from analysis.fits.machine import HostSpecs
from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from zo2rt.backends import CudaBackend
from zo2rt.measure import card
from zo2rt.measure.card import CardSpecs
from zo2rt.measure.device_kernels import DeviceBenches
from zo2sim.cost.cpu import seconds_per
from zo2sim.cost.measured import Measured
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named

H100 = named("h100-sxm-80gb")
ROOM = HostSpecs(num_cores=8, memory_bytes=2e11, disk_bytes=1e12)
OURS = CardRoom(name="NVIDIA H100 NVL", memory_bytes=10**11, num_sms=132, architecture="hopper")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeAccelerator:
    return FakeAccelerator().install(monkeypatch)


# ---- The fit ----

FASTER = {
    "device.gemm_flops_per_s": 0.7,
    "device.memory_bytes_per_s": 0.8,
    "device.gaussian_noise_elements_per_s": 1.5,
    "device.rademacher_noise_elements_per_s": 0.6,
    "device.launch_s": 2.0,
    "link.h2d_bytes_per_s": 0.9,
    "link.pageable_h2d_bytes_per_s": 0.5,
    "link.both_h2d_bytes_per_s": 0.85,
    "link.latency_s": 1.3,
    "host.encode_bytes_per_s": 2.5,
}
"""Constants of a synthetic card, over those of the machine that the fit starts from."""


def synthetic(seed: int, benches: DeviceBenches) -> list[Measured]:
    """Timings of a card whose constants are known, with 3 % of noise."""
    rng = np.random.default_rng(seed)
    known = {key: q.value for key, q in H100.quantities.items()}
    truth = {key: value * FASTER.get(key, 1.0) for key, value in known.items()}
    truth |= {"bench.kernel_s": 4e-6, "bench.attention_bf16_over_model": 1.2}
    made = [
        *benches.gemms(Dtype.BF16, 30, seed=seed),
        *benches.attentions(Dtype.BF16, 6, seed=seed),
        *benches.moves(),
        *benches.noise([Dtype.BF16]),
    ]
    rows = [(bench.group, bench.name, dict(bench.amounts)) for bench in made for _ in range(3)]
    for size in (2**16, 2**20, 2**24, 2**28):
        for state in ("", "pageable_", "both_"):
            taken = {f"link.{state}h2d_bytes_per_s": float(size), "link.latency_s": 1.0}
            rows += [(f"copy {state}", f"{state}{size}", taken)] * 4
    rows += [("launch", "launch", {"device.launch_s": 500.0})] * 6
    rows += [("encode", f"encode {n}", {"host.encode_bytes_per_s": float(n)}) for n in (1e6, 4e6)]
    return [
        Measured(
            group=group,
            name=name,
            amounts=taken,
            seconds=sum(a * seconds_per(k, truth[k]) for k, a in taken.items())
            * float(np.exp(rng.normal(0.0, 0.03))),
        )
        for group, name, taken in rows
    ]


@pytest.fixture
def fitted(fake: FakeAccelerator) -> Fit:
    assert fake.device is not None
    with CudaBackend() as backend:
        rows = synthetic(3, DeviceBenches(backend=backend, machine=H100))
    keys = frozenset(key for row in rows for key in row.amounts)
    return fit(rows, start_s(H100, keys))


@pytest.mark.parametrize("key", FASTER)
def test_a_known_constant_comes_back(key: str, fitted: Fit):
    low, value, high = fitted.interval(key)
    expected = H100.quantities[key].value * FASTER[key]
    assert value == pytest.approx(expected, rel=0.08)
    assert low * 0.97 <= expected <= high * 1.03


def test_attention_is_told_as_a_ratio_to_the_model(fitted: Fit):
    _, value, _ = fitted.interval("bench.attention_bf16_over_model")
    assert value == pytest.approx(1.2, rel=0.08)


def test_the_machine_has_what_was_measured_and_says_so(fitted: Fit):
    machine = calibrated_card(H100, fitted, OURS, ROOM, source="a test")
    assert (machine.name, machine.device.name) == ("nvidia-h100-nvl", "NVIDIA H100 NVL")
    assert machine.device.memory_bytes.value == 1e11
    assert machine.device.bf16_flops_per_s is not None
    for key in FASTER:
        quantity = machine.quantities[key]
        assert (quantity.provenance, quantity.source) == ("fitted", "a test")
        assert quantity.low is not None
    assert machine.device.context_bytes == H100.device.context_bytes
    assert machine.link.half_size_bytes == H100.link.half_size_bytes


def test_no_copy_is_faster_than_one_way_from_page_locked_memory():
    rows = [
        Measured(group=key, name=key, amounts={key: 1e9}, seconds=seconds)
        for key, seconds in (
            ("link.h2d_bytes_per_s", 0.02),
            ("link.both_h2d_bytes_per_s", 0.019),
            ("link.pageable_d2h_bytes_per_s", 0.018),
            ("link.staged_h2d_bytes_per_s", 0.017),
            ("link.d2h_bytes_per_s", 0.02),
        )
        for _ in range(4)
    ]
    found = fit(rows, start_s(H100, frozenset(key for row in rows for key in row.amounts)))
    machine = calibrated_card(H100, found, OURS, ROOM, source="a test")
    assert machine.link.both_h2d_bytes_per_s == machine.link.h2d_bytes_per_s
    assert machine.link.both_d2h_bytes_per_s == machine.link.d2h_bytes_per_s
    assert machine.link.pageable_d2h_bytes_per_s == machine.link.d2h_bytes_per_s
    assert machine.link.staged_h2d_bytes_per_s == machine.link.h2d_bytes_per_s


# ---- Which card ----


@pytest.mark.parametrize(
    ("name", "capability", "base"),
    [
        ("NVIDIA H100 80GB HBM3", (9, 0), "h100-sxm-80gb"),
        ("NVIDIA H200", (9, 0), "h200-sxm-141gb"),
        ("NVIDIA GeForce RTX 4090", (8, 9), "rtx-4090-24gb"),
        ("NVIDIA L40S", (8, 9), "l40s-48gb"),
        ("NVIDIA GeForce RTX 3090", (8, 6), "rtx-3090-24gb"),
        ("NVIDIA A100-PCIE-80GB", (8, 0), "a100-pcie-80gb"),
        ("Tesla T4", (7, 5), "t4-16gb"),
        ("Tesla V100-SXM2-32GB", (7, 0), "v100-sxm-32gb"),
    ],
)
def test_what_is_not_measured_is_as_on_the_same_card_or_class(
    name: str, capability: tuple[int, int], base: str
):
    found = CardSpecs(name=name, memory_bytes=1, num_sms=1, capability=capability)
    assert base_machine(name, found.architecture).name == base


class Nvml:
    """NVML that knows one card by its UUID."""

    class NVMLError(Exception):
        pass

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != self.uuid:
            raise self.NVMLError
        return uuid

    def nvmlDeviceGetName(self, _: str) -> str:
        return "by NVML"

    def nvmlDeviceGetMemoryInfo(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(total=24)


@pytest.mark.parametrize(
    ("uuid", "told"), [("GPU-7", ("by NVML", 24)), ("GPU-8", ("by PyTorch", 23))]
)
def test_the_card_is_asked_of_nvml_by_its_uuid(
    uuid: str, told: tuple[str, int], monkeypatch: pytest.MonkeyPatch
):
    known = SimpleNamespace(
        uuid="7", name="by PyTorch", total_memory=23, multi_processor_count=9, major=8, minor=9
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: known)
    found = card.read_card(nvml=Nvml(uuid))
    assert (found.name, found.memory_bytes) == told
    assert (found.num_sms, found.architecture) == (9, "ada")
