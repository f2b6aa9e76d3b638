"""The preset ``opt175b-18gb``: what it asks, and that its words and figures follow the answers."""

import math
from functools import cache
from itertools import product

import pandas as pd
import pytest

from analysis.plots.sweep.figures import sweep_figures
from analysis.plots.sweep.ram import answers_ram, needs
from analysis.plots.sweep.share import answers_budget, shares
from analysis.report.document import Document, TableBlock
from analysis.report.sweep.card import largest
from analysis.report.sweep.document import BUDGET_TITLE, sweep_document
from analysis.report.wording import DASH
from experiments.case.spec import LINK_PCIE, PCIE_GENERATIONS, Spec, pcie_generation
from experiments.jobs import opt175b_18gb as budget
from experiments.jobs.job import Job
from experiments.jobs.opt175b_18gb import FORMATS, gpus, opt175b_18gb
from experiments.jobs.tables import device_items, wide, wide_row
from tests.analysis.report.test_report import words
from tests.sweep_table import GIB, published
from zo2sim.machines.file import named
from zo2sim.models.presets import every
from zo2sim.plan.choices import Plan, Policy, Recipe
from zo2sim.plan.refusals import refusal


@cache
def jobs() -> tuple[Job, ...]:
    return tuple(opt175b_18gb())


def of(question: str) -> list[Job]:
    return [job for job in jobs() if job.question == question]


def answer(job: Job) -> dict[str, float | str]:
    """Made up: a second of upload per step on PCIe 5, 2 on 4, 4 on 3; half a second per lane."""
    plan, recipe = job.spec.plan, job.spec.recipe
    pcie = dict(job.spec.changes).get(LINK_PCIE, 4.0)
    upload_s = 0.0 if plan.policy is Policy.RESIDENT else 2.0 ** (5 - pcie)
    upload_s *= 3.0 if plan.tier == "nvme" else 1.0
    step_s = max(upload_s, 0.5 * recipe.microbatches)
    elements = float(job.spec.model_elements)
    size = elements * recipe.storage_dtype.bits / 8
    rounded = 1.5 if plan.pinning == "rounded" else 1.0
    fits_device = recipe.microbatches < 64 and elements < 2e11
    return {
        "model_elements": elements,
        "step_s": step_s,
        "lower_bound_s": step_s,
        "tokens_per_step": float(recipe.tokens_per_step),
        "tokens_per_s": recipe.tokens_per_step / step_s,
        "h2d_bytes_per_s": 350e9 / 2.0 ** (5 - pcie),
        "device_bytes": 15e9 + 1e8 * recipe.microbatches,
        "host_bytes": 1.0 * GIB if plan.tier == "nvme" else size * rounded,
        "nvme_bytes": 2 * size if plan.tier == "nvme" else 0.0,
        "fits": float(fits_device),
        "fits_device": float(fits_device),
        "binding_resource": "compute" if step_s > upload_s else "link_both_ways",
    }


@cache
def table() -> pd.DataFrame:
    return wide([wide_row(job, answer(job)) for job in jobs()])


@cache
def document() -> Document:
    return sweep_document(table(), published(), summary={}, provenance={})


def rows(key: str) -> dict[str, tuple[str, ...]]:
    """A table of the report by its first column."""
    block = next(block for block in document().numbered if block.key == key)
    assert isinstance(block, TableBlock)
    return {row[0]: row[1:] for row in block.rows}


# What is asked


def test_every_gpu_meets_every_link_and_format():
    asked = {(j.spec.machine, dict(j.spec.changes)[LINK_PCIE], j.label) for j in of("budget")}
    old = {"t4-16gb", "v100-sxm-32gb"}  # they compute no bf16
    assert asked == {
        (machine, float(pcie), label)
        for machine, pcie, label in product(gpus(), PCIE_GENERATIONS, FORMATS)
        if not (machine in old and label == "bf16")
    }
    assert len(gpus()) == 9


def test_pinned_and_pageable_ram_and_nvme_microbatches_and_write_back_are_multiplied():
    plain = [j.spec for j in of("budget") if j.label == "fp16"]
    seen = {
        (s.plan.tier, s.plan.pinning, s.recipe.microbatches, s.plan.write_back_every) for s in plain
    }
    assert seen >= {*product(("ram", "nvme"), ("exact", "pageable"), (1, 4, 16), (1, 4))}


def test_nothing_that_is_refused_is_asked():
    assert all(refusal(job.spec.plan, job.spec.recipe) is None for job in jobs())


def test_the_budget_is_18_gb_or_the_whole_of_a_smaller_card():
    rooms = {j.spec.machine: dict(j.spec.changes)["device.memory_bytes"] for j in of("budget")}
    t4 = named("t4-16gb").device.memory_bytes.value
    assert rooms == dict.fromkeys(gpus(), 18e9) | {"t4-16gb": t4}


def test_every_preset_model_is_asked_about_in_every_way():
    ways = {label: [j.spec.model for j in of("with_24gb") if j.label == label] for label in WAYS}
    assert all(models == ways["fp16"] for models in ways.values())
    assert set(ways["fp16"]) == {*every()}, "traced ones, too"


WAYS = (
    *("fp16", "fp16, pinned by PyTorch", "fp16, card filled", "fp8 master", "int4, LoRA"),
    "fp16, NVMe",
)


def test_a_filled_card_is_full_and_not_fuller():
    (job,) = (j for j in of("with_24gb") if j.label == WAYS[2] and j.spec.model == "opt-30b")
    plan, step = job.spec.plan, job.spec.recipe
    more = Plan(resident_blocks=plan.resident_blocks + 1)
    assert budget._free_bytes("opt-30b", plan, step) >= 0
    assert budget._free_bytes("opt-30b", more, step) < 0


# Links


def linked(machine: str, pcie: float) -> Spec:
    changes = ((LINK_PCIE, pcie),)
    return Spec(model="opt-125m", machine=machine, plan=Plan(), recipe=Recipe(), changes=changes)


def test_a_machine_keeps_its_own_link_and_borrows_others():
    own = named("rtx-4090-24gb")
    assert pcie_generation(own) == 4
    assert linked("rtx-4090-24gb", 4.0).case().machine.link == own.link
    borrowed = linked("rtx-4090-24gb", 5.0).case().machine
    assert borrowed.link == named("h100-sxm-80gb").link
    assert borrowed.device == own.device


def test_an_unknown_generation_is_refused():
    with pytest.raises(ValueError, match=r"link\.pcie must be one of 3, 4, 5; got 6"):
        linked("rtx-4090-24gb", 6.0).case()


# What is answered


def test_the_preset_s_rows_answer_and_an_axis_that_renames_them_does_not():
    assert answers_budget(table())
    assert answers_ram(table())
    renamed = table().assign(label=table()["label"] + ", batch=2")
    assert not answers_budget(renamed)
    assert not answers_ram(renamed)
    assert not answers_budget(table()[table()["machine"] != "t4-16gb"].iloc[:50])


def test_offloading_is_free_once_the_upload_is_hidden():
    found = {one.pcie: one for one in shares(table()) if one.machine == "l40s-48gb"}
    assert found[3].share.tolist() == [0.125, 0.25, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert [found[pcie].hidden_from(0.99) for pcie in (3, 4, 5)] == [16384, 8192, 4096]
    assert math.isnan(found[3].hidden_from(1.01))
    assert rows("free-from")["l40s-48gb"] == ("16k", "8k", "4k") * 2


def test_steps_are_those_of_the_plainest_plan():
    assert rows("steps")["t4-16gb"] == ("4.00", "2.00", "1.00", "0.500")


def test_choices_are_weighed_one_at_a_time():
    assert rows("choices")["NVMe instead of RAM"] == ("0.333", "0.333", "0.333")
    assert rows("choices")["16 microbatches"] == ("8.00", "4.00", "2.00")


def test_room_is_told_by_format_and_microbatches():
    assert rows("room")["fp16"] == ("15.1", "15.2", "15.4", "15.8", "16.6", "18.2", "21.4")
    assert rows("room")["fp8 master"] == ("15.1", DASH, "15.4", DASH, "16.6", DASH, DASH)
    assert "fp16 fits up to 32 microbatches of one sequence of 2048 tokens" in words(document())


def test_the_largest_model_follows_the_ram():
    found = needs(table())
    fits = {ram: largest(found, "fp16", ram) for ram in (64, 128, 256, 512)}
    assert {ram: need.model for ram, need in fits.items() if need} == {
        64: "qwen3-30b-a3b",
        128: "opt-66b",
        256: "llama-4-scout",
        512: "bloom-176b",
    }
    assert largest(found, "fp16", 1) is None
    shown = words(document())
    assert "In fp16, 64 GiB are enough for qwen3-30b-a3b" in shown
    assert "The card itself is too small for" in shown
    assert "llama-3.1-405b" in shown.partition("The card itself is too small for")[2]


def test_host_memory_says_what_rounding_costs():
    assert "325 GiB where buffers" in words(document())
    assert "and needs 488 GiB, 1.50 times as much" in words(document())
    assert rows("host")["pinned by PyTorch"][-1] == "512 GiB"
    assert rows("host")["pinned, exact size"][-1] == "384 GiB"
    assert "A step that writes back writes 349 GB" in words(document())


def test_the_abstract_answers_what_the_preset_asks():
    (abstract,) = document().abstract
    for answer in (
        "OPT-175B needs 15.1 GB and takes 1.00 s to 4.00 s per step of 2048 tokens.",
        "from these tokens per step on: PCIe 3, 16k; PCIe 4, 8k; PCIe 5, 4k.",
        "take 325 GiB of host memory, or 488 GiB as PyTorch pins them.",
        "One rtx-4090-24gb can fine-tune qwen3-30b-a3b with 64 GiB of RAM, OPT-66B with 128 GiB",
    ):
        assert answer in str(abstract).replace("\u00a0", " ")


def test_the_upload_and_the_arithmetic_are_said_by_hand():
    shown = words(document())
    assert "2 bytes for each of 175 billion parameters are 349 GB" in shown
    assert "3.99 s at 87.5 GB/s on PCIe 3, 2.00 s at 175 GB/s on PCIe 4" in shown
    assert "4 FLOP per parameter and token, 1.43 PFLOP" in shown


def test_every_figure_and_table_of_the_report_is_there_and_referred_to():
    items = device_items(of("breakdown"))
    figures = sweep_figures(table(), published(), items=items)
    assert document().title == BUDGET_TITLE
    assert {*document().figure_keys} == {*figures} == {"breakdown", "share", "ram"}
    shown = words(document())
    assert all(f"[Ref(key='{block.key}')]" in shown for block in document().numbered)
