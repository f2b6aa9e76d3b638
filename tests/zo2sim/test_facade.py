"""`zo2sim.predict` and its like: the numbers of the commands, errors in words, a card in HTML."""

import doctest
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import zo2sim
from experiments import plan, tune, verify
from tests import ROOT
from tests.commands import call
from zo2sim.machines.file import dump, named
from zo2sim.models.presets import preset
from zo2sim.plan.workload import Workload
from zo2sim.predicted import Predicted
from zo2sim.search.search import NothingFits

CASES = [
    ((), {}),
    (("--microbatches", "4", "--num-slots", "3"), {"microbatches": 4, "num_slots": 3}),
    (("--policy", "zo2_reference"), {"policy": "zo2_reference"}),
    (
        ("--device-memory", "12GB", "--host-memory", "8GiB"),
        {"device_memory": "12gb", "host_memory": 8 * 2**30},
    ),
    (("--work", "forward"), {"workload": Workload(work="forward")}),
    (
        ("--wire-dtype", "fp8", "--policy", "host_update"),
        {"wire_dtype": "fp8", "policy": "host_update"},
    ),
]


@pytest.mark.parametrize(("flags", "choices"), CASES)
def test_a_prediction_has_the_numbers_of_the_command(flags, choices):
    found = zo2sim.predict("opt-1.3b", "rtx-4090-24gb", **choices)
    said = call(plan, "opt-1.3b", "rtx-4090-24gb", *flags, "--json", "-").json
    assert found.step_s == said["step_s"]
    assert found.tokens_per_s == said["tokens_per_s"]
    assert list(found.step_s_band) == said["band"]["step_s"]
    assert list(found.tokens_per_s_band) == said["band"]["tokens_per_s"]
    assert found.fits == said["fits"]
    assert list(found.prediction.bound.binds) == said["binds"]
    assert found.memory["device"][0] == said["device_bytes"]
    assert found.memory["host"][0] == said["host_bytes"]
    assert list(found.extrapolated) == said["extrapolated"]


def test_the_best_plan_is_that_of_the_command():
    found = zo2sim.tune("opt-125m", "l40s-48gb", free=["microbatches"], tier="ram", num_slots=2)
    axes = ("--axis", "tier=ram", "--axis", "num-slots=2")
    said = call(tune, "opt-125m", "l40s-48gb", "--free", "microbatches", *axes, "--json", "-").json
    assert found.best.step_s == said["step_s"]
    assert found.gap == said["gap"]
    assert str(found.plan.policy) == said["best"]["plan"]["policy"]
    assert found.recipe.microbatches == said["best"]["recipe"]["microbatches"]
    assert len(found.search.pareto) == len(said["pareto"])


@pytest.mark.parametrize(
    ("flags", "choices"),
    [((), {}), (("--policy", "naive", "--blocks", "3"), {"policy": "naive", "blocks": 3})],
)
def test_a_proof_is_that_of_the_command(flags, choices):
    said = call(verify, *flags, "--json", "-").json
    assert [str(hazard) for hazard in zo2sim.verify(**choices)] == said["hazards"] == []


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"microbatch": 4}, r"got 'microbatch'; did you mean microbatches"),
        ({"num_slots": 0}, "num_slots must be a whole number >= 1; got 0"),
        ({"device_memory": "24"}, "device_memory must be a size .*; did you mean 24GB or 24GiB"),
        ({"sequence": 4096}, "sequence must be at most 2048 for opt-125m"),
        ({"policy": "swap"}, "policy must be one of"),
    ],
)
def test_errors_say_what_is_meant(choices, message: str):
    with pytest.raises(ValueError, match=message):
        zo2sim.predict("opt-125m", **choices)


def test_a_search_says_what_may_not_be_free_and_what_does_not_fit():
    with pytest.raises(ValueError, match=r"free must name some of .*; got 'num_slots'"):
        zo2sim.tune("opt-125m", free=["num_slots"])
    with pytest.raises(ValueError, match="microbatches must be free or have a value, not both"):
        zo2sim.tune("opt-125m", free=["microbatches"], microbatches=2)
    with pytest.raises(NothingFits):
        zo2sim.tune("opt-125m", device_memory="1GB")


def test_models_and_machines_may_be_objects_or_files(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text(dump(named("l40s-48gb")))
    steps = {
        zo2sim.predict(preset("opt-125m"), machine).step_s
        for machine in ("l40s-48gb", named("l40s-48gb"), str(file))
    }
    assert len(steps) == 1


# Shown


class Tags(HTMLParser):
    """Opened and closed tags must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize(("memory", "verdict"), [("8GB", "fits"), ("1GB", "does not fit")])
def test_a_card_says_verdict_band_and_memory(memory: str, verdict: str):
    found = zo2sim.predict("opt-125m", "l40s-48gb", device_memory=memory)
    card = Tags(found._repr_html_())
    assert card.open == []
    text = " ".join(card.words)
    assert f"opt-125m on l40s-48gb, zo2: {verdict} step" in text
    assert "90\xa0%: " in text
    assert ("GiB missing" in text) == (not found.fits)
    assert card.words.count("device") == card.words.count("host") == 1


def test_a_name_is_no_markup():
    machine = replace(named("l40s-48gb"), name="<b>lab")
    card = Tags(zo2sim.predict("opt-125m", machine)._repr_html_())
    assert "opt-125m on <b>lab, zo2: fits" in card.words


def test_a_line_of_text_is_the_answer():
    found = zo2sim.predict("opt-125m", "l40s-48gb")
    assert isinstance(found, Predicted)
    assert repr(found).startswith("<opt-125m on l40s-48gb, zo2: fits; ")


# The package


def test_the_package_loads_in_no_time_and_is_still_a_package():
    code = (
        "import sys, zo2sim\n"
        "assert not {'numpy', 'zo2sim.facade'} & set(sys.modules)\n"
        "import zo2sim.predict.predict\n"
        "from zo2sim.predict.bands import band\n"
        "assert zo2sim.predict('opt-125m').fits and zo2sim.__version__\n"
        "assert {'predict', 'tune', 'verify'} <= set(dir(zo2sim))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = zo2sim.nope  # pyright: ignore


def test_the_documentation_is_true():
    found = doctest.testfile(str(ROOT / "docs/api.md"), module_relative=False)
    assert (found.failed, found.attempted > 10) == (0, True)
