"""Machines: the catalogue, rates by name, and numbers changed for a what-if."""

import dataclasses
import re

import pytest

from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named, names, without
from zo2sim.machines.keys import LIMITS
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity
from zo2sim.machines.what_if import (
    replace,
    replace_all,
    scale_link,
    with_device_memory,
    with_host_memory,
)

A100 = named("a100-pcie-80gb")

# The catalogue


def test_the_catalogue_has_the_cards_that_people_own():
    assert len(names()) >= 30
    assert {"rtx-3060-12gb", "rtx-4090-24gb", "rtx-4090-24gb-desktop", "a10-24gb"} <= set(names())
    assert {"a100-sxm-80gb", "h100-nvl-94gb", "gh200-96gb", "b200-sxm-180gb"} <= set(names())
    assert "this-host" in names()


@pytest.mark.parametrize("name", names())
def test_a_machine_bears_its_name_and_sources_every_number(name: str):
    machine = named(name)
    assert machine.name == name
    lacking = {key for key in LIMITS if key.startswith(("cpu.", "node."))}  # one device, no host
    lacking.add("link.limit_bytes_per_s")
    if machine.architecture in ("volta", "turing"):
        lacking.add("device.bf16_flops_per_s")
    if machine.architecture == "host":
        lacking |= {key for key in LIMITS if key.startswith("nvme.")}
        lacking |= {key for key in LIMITS if "staged" in key or "gemm" in key}
        lacking.add("device.sustained_ratio")
    assert machine.quantities.keys() == LIMITS.keys() - lacking
    assert all(len(q.source) > 10 for q in machine.quantities.values())


@pytest.mark.parametrize("name", [name for name in names() if name != "this-host"])
def test_a_rate_that_differs_between_hosts_has_an_interval(name: str):
    known = named(name).quantities
    wide = [k for k in known if k.startswith("link.") and k.endswith("_bytes_per_s")]
    wide += ["device.gemm_flops_per_s", "device.sustained_ratio", "device.launch_s"]
    wide += ["device.fp32_gemm_flops_per_s", "device.pass_ratio", "host.dram_bytes_per_s"]
    assert all(low < high for low, high in (known[key].interval for key in wide))


def test_a_desktop_has_the_memory_of_a_desktop():
    assert named("rtx-4090-24gb-desktop").host.memory_bytes.value == 128 * 2**30
    assert named("rtx-3060-12gb").host.memory_bytes.value == 128 * 2**30


def test_what_nobody_else_measured_is_not_known():
    """A machine without a source is one whose constants owe nothing to it."""
    known = named("a100-sxm-80gb").device.sustained_ratio
    other = without("a100-sxm-80gb", ["optimum"]).device.sustained_ratio
    assert known is not None
    assert other is not None
    assert "optimum-benchmark" in known.source
    assert "optimum-benchmark" not in other.source


@pytest.mark.parametrize("name", names())
def test_a_direction_is_no_faster_with_the_other_one_busy(name: str):
    link = named(name).link
    assert link.both_h2d_bytes_per_s.value <= link.h2d_bytes_per_s.value
    assert link.both_d2h_bytes_per_s.value <= link.d2h_bytes_per_s.value


def test_published_figures_arrive_in_si_units():
    q = A100.quantities
    assert q["device.memory_bytes"].value == 80 * 2**30
    assert q["device.memory_bytes_per_s"].value == 1.935e12
    assert q["device.bf16_flops_per_s"].value == 312e12
    assert 25e9 < q["link.h2d_bytes_per_s"].value < 26e9
    assert 11e9 < q["link.both_h2d_bytes_per_s"].value < 18.6e9
    assert q["link.both_h2d_bytes_per_s"].provenance == "measured"
    assert "NVIDIA/nvbandwidth issue 11" in q["link.both_h2d_bytes_per_s"].source


def test_a_small_machine_says_that_its_numbers_wait_for_calibration():
    link = named("this-host").link
    assert link.h2d_bytes_per_s.provenance == "assumed"
    assert "until calibrated" in link.h2d_bytes_per_s.source


# Rates by name


def test_rates_by_format_and_noise():
    assert A100.device.flops_per_s(Dtype.FP32).value == 19.5e12
    assert A100.device.noise_elements_per_s("gaussian").value == 1e11
    assert A100.host.update_elements_per_s("rademacher").value == 2.5e9


def test_a_card_without_bf16_says_what_to_use():
    t4 = named("t4-16gb").device
    assert t4.half_flops_per_s.value == 65e12
    with pytest.raises(ValueError, match=r"^Tesla T4 lacks bf16 arithmetic; use fp16 or fp32$"):
        t4.flops_per_s(Dtype.BF16)


def test_half_precision_falls_back_to_fp32_where_there_is_none():
    device = dataclasses.replace(A100.device, bf16_flops_per_s=None, fp16_flops_per_s=None)
    assert device.half_flops_per_s.value == 19.5e12


def test_the_host_has_no_rate_for_torch_noise():
    with pytest.raises(ValueError, match="must be gaussian or rademacher"):
        A100.host.update_elements_per_s("torch")


# What-ifs


def test_replace_changes_one_number_and_labels_it():
    changed = replace(A100, "link.h2d_gb_per_s", 50, source="PCIe 5.0 some day")
    assert changed.link.h2d_bytes_per_s == Quantity(50e9, "assumed", "PCIe 5.0 some day")
    before, after = A100.quantities, changed.quantities
    assert [key for key in before if before[key] != after[key]] == ["link.h2d_bytes_per_s"]


def test_replace_takes_grouped_keys_and_numbers_that_the_card_lacks():
    v100 = named("v100-sxm-32gb")
    grouped = replace(v100, "device.tflops_per_s.bf16", 100)
    assert grouped == replace(v100, "device.bf16_flops_per_s", 100e12)
    assert grouped.device.flops_per_s(Dtype.BF16).value == 100e12


def test_memory_shortcuts():
    assert with_device_memory(A100, 18e9).device.memory_bytes.value == 18e9
    assert with_host_memory(A100, 600e9).host.memory_bytes.value == 600e9


def test_numbers_that_depend_on_each_other_change_together():
    slow = {"link.h2d_gb_per_s": 5, "link.both_h2d_gb_per_s": 4}
    assert replace_all(A100, slow).link.both_h2d_bytes_per_s.value == 4e9
    with pytest.raises(ValueError, match="must not exceed"):
        replace(A100, "link.h2d_gb_per_s", 5)


def test_copies_through_page_locked_memory_are_no_faster_than_a_slower_link():
    slow = {"link.h2d_gb_per_s": 15, "link.both_h2d_gb_per_s": 15}
    link, was = replace_all(A100, slow).link, A100.link
    assert link.staged_h2d_bytes_per_s == link.h2d_bytes_per_s
    assert link.pageable_h2d_bytes_per_s == was.pageable_h2d_bytes_per_s
    assert link.staged_d2h_bytes_per_s == was.staged_d2h_bytes_per_s
    with pytest.raises(ValueError, match="no copy is faster than one from page-locked memory"):
        replace_all(A100, slow | {"link.pageable_h2d_gb_per_s": 16})


def test_a_scaled_link_keeps_its_proportions():
    half = scale_link(A100, 0.5)
    for rate in ("h2d", "both_d2h", "pageable_d2h"):
        key = f"link.{rate}_bytes_per_s"
        assert half.quantity(key).value == 0.5 * A100.quantity(key).value
    assert half.link.latency_s == A100.link.latency_s
    assert half.link.h2d_bytes_per_s.source == "0.5 times the link of a100-pcie-80gb"


@pytest.mark.parametrize(
    ("machine", "key", "value", "message"),
    [
        (
            A100,
            "link.h2d_bytes",
            1e9,
            "a key must name a number of a machine; got 'link.h2d_bytes'; "
            "closest: link.h2d_bytes_per_s, link.h2d_tb_per_s, link.h2d_mb_per_s",
        ),
        (
            named("this-host"),
            "nvme.read_gb_per_s",
            3,
            "nvme.read_gb_per_s needs a machine with [nvme]; this-host has none",
        ),
        (A100, "host.num_cores", 2.5, "host.num_cores must be a whole number; got 2.5"),
        (A100, "host.num_cores", -1, "host.num_cores must be positive and finite; got -1"),
        (A100, "host.num_cores", True, "host.num_cores must be a number; got True"),
        (A100, "device.memory_bytes", 18, "use memory_gib"),
    ],
)
def test_a_wrong_what_if_is_refused(machine: Machine, key: str, value: float, message: str):
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        replace(machine, key, value)
