"""Every flag of every command changes something, or is refused: none is silently without effect."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from experiments import (
    baseline,
    bench,
    calibrate,
    plan,
    run,
    sensitivity,
    sweep,
    tune,
    validate,
    verify,
)
from experiments.entry.flags import PLAN, RECIPE
from tests.commands import call
from tests.thorough import THOROUGH, some_of
from zo2sim.models.presets import names
from zo2sim.plan.choices import Plan, Policy
from zo2sim.plan.refusals import unread

Words = tuple[str, ...]

SMALL = ("--model", "opt-125m", "--machine", "rtx-4090-24gb")
CHOICES: dict[str, Words] = {
    "--policy": ("dual",),
    "--num-slots": ("3",),
    "--scratch-copies": ("2",),
    "--write-back-every": ("2",),
    "--resident-blocks": ("3",),
    "--pinning": ("pageable",),
    "--tier": ("nvme",),
    "--no-overlap": (),
    "--no-reuse-slots": (),
    "--no-deferred-update": (),
    "--devices": ("2",),
    "--placement": ("whole",),
    "--lane-groups": ("2",),
    "--batch": ("2",),
    "--sequence": ("512",),
    "--microbatches": ("2",),
    "--samples": ("2",),
    "--trainable": ("lora:4",),
    "--storage-dtype": ("fp32",),
    "--wire-dtype": ("fp8",),
    "--compute-dtype": ("fp32",),
    "--noise": ("rademacher",),
    "--perturbation": ("in_place",),
    "--reference": ("mezo",),
}
"""A value other than the default of every field of a plan and a recipe."""
ALONE = ("--placement", "--lane-groups")
"""What one device does not need."""
SITE: dict[str, Words] = {
    "--model": ("opt-350m",),
    "--machine": ("l40s-48gb",),
    "--device-memory": ("100MB",),
    "--host-memory": ("1GB",),
}


FIXED: dict[str, Words] = {"--policy": ("zo2",), "--num-slots": ("2",), "--no-overlap": ()}
"""Of a plan, defaults too: who types one means it."""


def found(command: ModuleType, *words: str) -> str | None:
    """All that a command says as JSON; None where it refuses."""
    asked = (command.__name__, words)
    if asked not in _KNOWN:
        outcome = call(command, *words, "--json", "-")
        _KNOWN[asked] = None if outcome.code == 2 else outcome.out
    return _KNOWN[asked]


_KNOWN: dict[tuple[str, Words], str | None] = {}


def idle(command: ModuleType, mode: Words, flags: Mapping[str, Words]) -> list[str]:
    """The flags that leave the answer as it is, and are taken."""
    typed = {word for word in mode if word.startswith("--")}
    before = found(command, *mode)
    assert before is not None, mode
    return [
        flag
        for flag, value in flags.items()
        if flag not in typed and found(command, *mode, flag, *value) == before
    ]


def test_every_choice_is_tried():
    assert {*PLAN, *RECIPE} == {*CHOICES}


@pytest.mark.parametrize(("number", "policy"), [*enumerate(Policy)])
def test_a_plan_hears_every_flag_or_refuses_it(number: int, policy: Policy):
    """Where not all is tried, a policy has a third of the flags, and each flag two policies."""
    asked = (*SMALL, "--policy", policy)
    own = {"--tokens": ("1e9",), "--watts": ("500",), "--target-tokens-per-s": ("100",)}
    assert idle(plan, asked, every_third(CHOICES | own, number)) == []
    assert idle(plan, ("--policy", policy), every_third(SITE, number)) == []
    once = {"--logits": ("last",), "--attention": ("eager",)}
    forward = (*asked, "--work", "forward")
    assert idle(plan, forward, every_third(CHOICES | once, number + 1)) == []


def every_third(flags: Mapping[str, Words], first: int) -> Mapping[str, Words]:
    names = [*flags]
    turned = (*names[first % 3 :], *names[: first % 3])
    return {name: flags[name] for name in some_of(turned, every=3)}


def test_what_a_policy_has_no_use_for_is_refused_by_all():
    for policy in Policy:
        names = [
            flag for flag, field in (PLAN | RECIPE).items() if field in unread(Plan(policy=policy))
        ]
        for flag in names:
            for command in (plan, sensitivity):
                said = call(command, "--policy", policy, flag, *CHOICES[flag]).complaint
                of = "devices 1" if flag in ALONE else f"policy {policy}"
                assert f"{flag} has no effect with --{of}" in said


LARGEST: Words = ("--machine", "a100-pcie-80gb", "--host-memory", "200GiB", "--largest-model")


def test_the_largest_model_hears_the_plan():
    """A plan may fit what the best one does; that it was fixed is in the answer."""
    flags = {"--scratch-copies": ("1",), "--batch": ("64",), "--device-memory": ("1GB",)}
    assert idle(plan, (*LARGEST, "--policy", "resident"), flags) == []


@pytest.mark.parametrize(
    "chosen",
    [
        ("--policy", "resident"),
        ("--policy", "naive", "--tier", "ram"),
        ("--num-slots", "8", "--policy", "zo2", "--tier", "ram", "--resident-blocks", "4"),
    ],
    ids=" ".join,
)
def test_the_largest_model_fits_as_plan_says(chosen: Words):
    """What the search may not change, `plan` asks about: where all is fixed both are one."""
    asked = json.loads(found(plan, *LARGEST, *chosen) or "")["largest_model"]
    some = [name for name in names() if name.startswith(("opt", "llama-3.1"))]
    some.sort(key=lambda name: asked["presets"][name]["elements"])
    fits = {n: asked["presets"][n]["fits"] for n in some}
    edge = [*fits.values()].index(False)
    own = [word for word in LARGEST if word != "--largest-model"]
    rest = () if "--num-slots" in chosen or "resident" in chosen else ("--num-slots", "1")
    for name in some if THOROUGH else some[edge - 1 : edge + 1]:
        one = json.loads(found(plan, "--model", name, *own, *chosen, *rest) or "")
        assert one["fits"] == fits[name], name
    assert {*fits.values()} == {True, False}


def test_a_plan_file_fixes_the_whole_plan(tmp_path: Path):
    file = tmp_path / "plan.toml"
    file.write_text('[plan]\npolicy = "resident"\n')
    asked = json.loads(found(plan, *LARGEST, "--plan", str(file)) or "")["largest_model"]
    assert asked["fixed"]["policy"] == "resident"
    assert asked["largest"] == "qwen3-32b"


def test_a_target_and_prices_keep_what_is_fixed(tmp_path: Path):
    prices = tmp_path / "prices.toml"
    prices.write_text('[[machine]]\nname = "rtx-4090-24gb"\nprice_per_hour = 1\n')
    few = ("--model", "opt-125m", "--scratch-copies", "1", "--write-back-every", "1")
    target = (*few, "--machine", "rtx-4090-24gb", "--target-tokens-per-s", "500")
    cheapest = (*few, "--cheapest", str(prices))
    assert idle(plan, target, every_third(FIXED, 0)) == []
    assert idle(plan, cheapest, every_third(FIXED, 2)) == []
    own = {"--tokens": ("1e9",), "--watts": ("9",), "--write-plan": (str(tmp_path / "p"),)}
    assert idle(plan, target, every_third(own, 2)) == []
    assert idle(plan, cheapest, every_third(own | dict(list(SITE.items())[1:]), 2)) == []
    assert not (tmp_path / "p").exists()


REFUSED: tuple[tuple[ModuleType, Words, str], ...] = (
    (plan, ("--watts", "500"), "--watts has no effect without --tokens"),
    (plan, ("--write-plan", "x.toml", "--largest-model"), "no effect beside --largest-model"),
    (plan, ("--cheapest", "x.toml", "--machine", "t4-16gb"), "its table has the machines"),
    (plan, ("--plan", "x.toml", "--policy", "zo2"), "--plan x.toml or the flags of a plan"),
    (sensitivity, ("--policy", "resident", "--num-slots", "2"), "with --policy resident"),
    (sweep, ("--model", "opt-13b"), "--preset paper brings its own"),
    (
        sweep,
        ("--preset", "none", "--num-slots", "2", "--axis", "num-slots=1,3"),
        "--num-slots has no effect beside --axis",
    ),
    (tune, ("--samples", "2", "--axis", "samples=1,2"), "--samples has no effect beside --free"),
    (tune, ("--free", "samples", "--axis", "samples=1"), "give --free samples or --axis samples"),
    (verify, ("--file", "x", "--num-slots", "2"), "--num-slots has no effect with --file"),
    (verify, ("--batch", "2"), "--batch has no effect on the order"),
    (verify, ("--text", "--json", "-"), "--text has no effect with --json -"),
    (baseline, ("--show", "--text"), "--text has no effect with --show"),
    (baseline, ("--text", "--host-memory", "1GB"), "--host-memory has no effect with --text"),
    (baseline, ("--num-slots", "3"), "--num-slots has no effect with --method adamw"),
    (bench, ("--pairs", "3"), "--pairs has no effect without --runtime"),
    (bench, ("--runtime", "--plans", "300"), "--plans has no effect with --runtime"),
    (calibrate, ("--machine", "this-host"), "--machine has no effect without --from-run"),
    (calibrate, ("--from-run", "x", "--effort", "1", "--seed", "2"), "--effort, --seed have no"),
    (validate, ("--measured", "x", "--turns", "3"), "--turns has no effect with --measured"),
    (validate, ("--no-report",), "--no-report has no effect without --out"),
    (run, ("--resume", "--seed", "0"), "--seed has no effect with --resume"),
    (run, ("--plan", "x.toml", "--batch", "16"), "the flags of a recipe, not both"),
    (run, ("--plan", "auto", "--policy", "zo2"), "the flags of a plan, not both"),
    (run, ("--policy", "resident", "--resident-blocks", "1"), "with --policy resident"),
    (run, ("--rule", "sign", "--clip", "3"), "--clip has no effect with --rule sign"),
    (run, ("--stochastic-rounding",), "--stochastic-rounding has no effect on fp32 weights"),
    (run, ("--backend", "cuda", "--machine", "this-host"), "--machine has no effect with"),
    (run, ("--eval-examples", "0"), "--eval-examples must be >= 1; got 0"),
)


@pytest.mark.parametrize(("command", "words", "message"), REFUSED)
def test_a_flag_without_effect_is_refused(command: ModuleType, words: Words, message: str):
    outcome = call(command, *words)
    assert outcome.code == 2
    assert message in outcome.complaint


def test_a_flag_counts_as_typed_however_it_is_written():
    assert "--num-slots" in call(plan, "--policy=resident", "--num_slots=2").complaint


METHODS = ("adamw", "zero_offload", "zero_infinity", "fuyou")


@pytest.mark.parametrize("method", METHODS)
def test_a_baseline_hears_every_flag(method: str):
    """fp16 and bf16 products take the same time here, and so does what takes no more room."""
    own: dict[str, Words] = {
        "--sequence": ("512",),
        "--microbatches": ("2",),
        "--no-checkpointing": (),
        "--attention": ("eager",),
        "--num-slots": ("3",),
        "--batch": ("2",),
    }
    limits = {"--device-memory": ("50MB",), "--host-memory": ("50MB",)}
    assert idle(baseline, ("--model", "opt-125m", "--method", method), own | limits) == []
