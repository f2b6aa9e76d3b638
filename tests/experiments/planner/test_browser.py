"""The page in a browser: positions of its sliders beside the engine, and who can use it."""

import json
import random
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from experiments import plan
from experiments.entry.arguments import parse
from tests.browser import opened, started
from tests.experiments.planner.pages import COMPUTERS, MACHINES, MODELS, small_page
from tests.thorough import THOROUGH
from zo2sim.machines.file import named as resolve_machine
from zo2sim.machines.machine import Machine
from zo2sim.memory.account import fits
from zo2sim.models.presets import resolve_config
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.search.candidates import Candidates
from zo2sim.search.space import PlanSpace, plan_axes

POSITIONS = 200 if THOROUGH else 20
FORMATS = ("fp16", "int8", "int4")
LONG = "#model=opt-6.7b&machine=a100-sxm-80gb&microbatches=4&device=5&storage=int4&trains=adapters"
"""A position with a long command."""
NARROW = {"width": 400, "height": 800}
CUT = """() => [...document.querySelectorAll(".scroll")]
  .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.textContent)"""
BROKEN = """() => [...document.querySelectorAll("#command .word")]
  .filter((word) => word.getClientRects().length !== 1 || word.offsetHeight > 30)
  .map((word) => word.textContent)"""
READ = """() => {
  const { fits, step, source, found } = current.shown[0];
  return { fits, step, source, lower: found.lower, upper: found.upper, drive: current.state.drive };
}"""
MOVE = """async ([inputs, checked]) => {
  const settled = async () => {
    await modelNamed(current.state.model);
    await new Promise((done) => setTimeout(done));
  };
  for (const [id, event] of [["machine", "change"], ["model", "change"], ["trains", "change"],
      ["storage", "change"]]) {
    byId(id).value = inputs[id];
    byId(id).dispatchEvent(new Event(event));
    await settled();
  }
  byId("drive").checked = checked;
  byId("drive").dispatchEvent(new Event("change"));
  for (const id of ["cards", "device", "host", "link", "load"]) {
    byId(id).value = Math.floor(inputs[id] * (Number(byId(id).max) + 1));
    byId(id).dispatchEvent(new Event("input"));
    await settled();
  }
}"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(small_page(MODELS, COMPUTERS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as found:
        yield found


@contextmanager
def planner(browser: Any, file: Path, fragment: str = "", **context: Any) -> Iterator[Any]:
    """A tab with the page, which has answered."""
    with opened(browser, file, fragment, **context) as tab:
        tab.locator("#command", has_text="zo2sim").wait_for()
        yield tab


@pytest.fixture
def tab(browser: Any, file: Path) -> Iterator[Any]:
    with planner(browser, file) as found:
        yield found


def position(rng: random.Random) -> list[Any]:
    """Places on the sliders as shares of their length; every third position has the own link."""
    trains, storage = rng.choice([("all", "fp16")] * 2 + [("adapters", s) for s in FORMATS])
    inputs = {
        "machine": rng.choice(MACHINES).name,
        "model": rng.choice(MODELS),
        "cards": rng.random(),
        "trains": trains,
        "storage": storage,
        "device": rng.random(),
        "host": rng.random() ** 3,  # hosts that are short of memory are the interesting ones
        "link": rng.choice([0.5, 0.5, rng.random()]),
        "load": rng.random(),
    }
    return [inputs, rng.random() < 0.6]


def case_of(command: str) -> Case:
    """What the command on the page asks."""
    _, _, *words = shlex.split(command)
    config = parse(plan.Config, words)
    return config.spec.case()


@cache
def candidates(
    model: Model, machine: Machine, devices: int, recipe: Recipe, tiers: tuple[str, ...]
) -> Candidates:
    """Every plan of the engine, but for what only takes more memory: of several devices on a ring
    in any groups of lanes."""
    base = Case(model=model, machine=machine, plan=Plan(devices=devices), recipe=recipe)
    axes = plan_axes(base, fixed=("write_back_every", "scratch_copies", "placement"))
    return Candidates.of(PlanSpace(base=base, axes={**axes, "tier": tiers}))


def some_plan_fits(case: Case, *, drive: bool) -> bool:
    """By the engine: one of all plans, not of the stored ones."""
    devices, tiers = case.plan.devices, ("ram", "nvme") if drive else ("ram",)
    alike = MACHINES[0] if devices == 1 else resolve_machine(case.machine.name)
    every = candidates(case.model, alike, devices, case.recipe, tiers)
    return bool(every.fitting(case.machine).any())


def check_step(shown: dict[str, Any], case: Case) -> None:
    """Within 2 % where it was looked up, between its ends where these are shown."""
    if shown["source"] == "stored":
        assert shown["step"] == pytest.approx(predict(case).step_s, rel=0.02)
    elif shown["source"] == "between":
        assert shown["lower"] * 0.9999 <= predict(case).step_s <= shown["upper"] * 1.0001


def test_positions_of_the_sliders_say_what_the_engine_says(tab: Any):
    rng, sources, cards = random.Random(7), [], []
    for _ in range(POSITIONS):
        tab.evaluate(MOVE, position(rng))
        shown, said = tab.evaluate(READ), tab.inner_text("#source")
        case = case_of(tab.inner_text("#command"))
        assert shown["fits"] == some_plan_fits(case, drive=shown["drive"])
        assert not shown["fits"] or all(place.fits for place in fits(case.memory, case.machine))
        assert said.startswith("Looked up" if shown["source"] == "stored" else "Interpolated")
        check_step(shown, case)
        sources.append(shown["source"])
        cards.append(case.plan.devices)
    assert tab.seen.complaints == []
    assert {"stored", "scaled"} <= set(sources)
    assert {*cards} == {1, 2, 4, 8}
    assert sources.count("stored") > POSITIONS / 3


def test_an_answer_comes_within_a_tenth_of_a_second(tab: Any):
    """From the slider's event to the page that is changed, the slowest half left out."""
    taken = tab.evaluate(
        """async () => {
          const taken = [];
          for (let i = 0; i < 15; i += 1) {
            byId("device").value = i;
            const begun = performance.now();
            byId("device").dispatchEvent(new Event("input"));
            await new Promise((done) => setTimeout(done));
            taken.push(performance.now() - begun);
          }
          return taken;
        }"""
    )
    assert sorted(taken)[len(taken) // 2] < 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_needs_no_scrolling_sideways(browser: Any, file: Path, scheme: str):
    with planner(browser, file, LONG, viewport=NARROW, color_scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        assert tab.evaluate(CUT) == []
        assert tab.evaluate(BROKEN) == []
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        assert tab.seen.complaints == []


def test_the_keyboard_moves_the_sliders_and_the_address_follows(tab: Any):
    tab.focus("#load")
    tab.keyboard.press("ArrowRight")
    assert "microbatches=2" in tab.evaluate("location.hash")
    assert tab.inner_text("#load-shown") == "4,096"
    assert tab.get_attribute("#load", "aria-valuetext") == "4,096"
    assert tab.evaluate("document.activeElement.id") == "load"


def test_every_input_and_picture_has_a_name(tab: Any):
    nameless = tab.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button, [role=img]")]
          .filter((one) => !(one.labels?.length || one.textContent.trim()
                             || one.getAttribute("aria-label")))
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_an_address_is_a_position(browser: Any, file: Path):
    with planner(browser, file, f"{LONG}&price.a100-sxm-80gb=2") as tab:
        assert "--device-memory 5GiB --microbatches 4" in tab.inner_text("#command")
        assert "--trainable lora:16 --storage-dtype int4" in tab.inner_text("#command")
        first = tab.inner_text("#ranking tbody tr:first-child")
        assert first.startswith("a100-sxm-80gb")


def test_cards_are_dragged_and_the_command_takes_a_computer_that_has_them(tab: Any):
    assert tab.input_value("#machine") == "rtx-4090-24gb"
    one = tab.inner_text("#sentence")
    tab.focus("#cards")
    for _ in range(2):
        tab.keyboard.press("ArrowRight")
    assert "cards=4" in tab.evaluate("location.hash")
    assert tab.inner_text("#sentence") != one
    assert tab.inner_text("#cards-shown") == "4, of 4x-rtx-4090"
    assert tab.inner_text("#command").startswith("zo2sim plan opt-125m 4x-rtx-4090 ")
    assert tab.inner_text("#command").endswith("--devices 4")
    tab.select_option("#machine", "rtx-3060-12gb")
    assert tab.is_disabled("#cards")
    assert tab.inner_text("#cards-said").startswith("No computer with more of this card")
    assert "cards=" not in tab.evaluate("location.hash")


def test_of_every_slider_one_change_is_told_and_of_every_amount_one_speed(tab: Any):
    """Not 2 cards, and as a second row 4 that are no faster."""
    changes = tab.locator("#changes tbody td:first-child").all_inner_texts()
    assert ["cards in one computer" in words for words in changes].count(True) == 1
    assert ["microbatches" in words for words in changes].count(True) <= 1
    amounts = re.findall(r"rom ([\d.]+) GiB", tab.inner_text("#front-words"))
    assert len(amounts) == len(set(amounts)) > 1


def test_a_pasted_config_is_one_of_the_stored_models_or_is_said_not_to_be(tab: Any):
    tab.click("#paste summary")
    config = resolve_config("opt-6.7b") or {}
    tab.fill("#config", json.dumps(config))
    tab.click("#read")
    assert tab.inner_text("#config-said") == "These are the sizes of opt-6.7b, which is stored."
    assert tab.input_value("#model") == "opt-6.7b"
    tab.fill("#config", json.dumps({**config, "hidden_size": 5}))
    tab.click("#read")
    assert tab.inner_text("#config-said").startswith("None of the stored models has these sizes.")
