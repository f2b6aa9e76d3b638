"""Several devices in `plan` and `tune`: one screen, what is taken where nobody chose, refusals."""

from typing import Any

import pytest

import zo2sim
from experiments import plan, tune
from experiments.answer.advice import advise
from tests.commands import call
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.case import asked, of_usual_devices, socket_bytes

BOX = ("opt-125m", "4x-rtx-4090", "--sequence", "512")
PINNED = ("policy=zo2", "tier=ram", "num-slots=3", "resident-blocks=0", "write-back-every=1")


def test_a_node_is_used_whole_on_one_screen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = call(plan, "opt-125m", "8x-a100", "--sequence", "512", "--microbatches", "4")
    lines = found.out.splitlines()
    assert lines[0] == "opt-125m on 8x-a100, zo2, 8 devices, ring of 4 lane groups a sign: fits"
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    text = " ".join(found.out.split())
    for said in ("step", "(90 %:", "tokens/s", "binds", "host", "GiB of blocks, 1024 GiB each"):
        assert said in text


def test_devices_that_somebody_chose_are_those():
    assert call(plan, *BOX, "--devices", "1").out.startswith("opt-125m on 4x-rtx-4090, zo2: fits")
    two = call(plan, *BOX, "--devices", "2", "--placement", "whole").out
    assert two.startswith("opt-125m on 4x-rtx-4090, zo2, 2 devices, whole: fits")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--devices", "8"), "devices=8 needs a machine with as many; 4x-rtx-4090 has 4: use one"),
        (("--devices", "4", "--tier", "nvme"), "use tier=ram or devices=1"),
        (("--devices", "1", "--placement", "whole"), "--placement"),
        (
            ("--placement", "whole"),
            "needs a microbatch: use at least lane_groups of them on a ring",
        ),
    ],
)
def test_what_several_devices_cannot_do_is_refused(flags: tuple[str, ...], complaint: str):
    found = call(plan, *BOX, *flags)
    assert found.code == 2
    assert complaint in found.err


def test_what_to_change_is_how_devices_share_the_work_too():
    _, *others = BOX
    whole = call(plan, "opt-350m", *others, "--placement", "whole", "--microbatches", "2")
    assert "--placement ring" in whole.out
    assert "--devices 4" in call(plan, *BOX, "--devices", "1").out


@pytest.mark.parametrize("chosen", [{}, {"microbatches": 2, "placement": "sliced"}], ids=str)
def test_what_is_advised_is_what_is_then_said(chosen: dict[str, Any]):
    """A change leaves out what nobody chose: the groups of lanes on a ring."""
    base = zo2sim.predict("opt-125m", "4x-rtx-4090", sequence=512, **chosen).prediction
    for advice in advise(base, most=9):
        words = advice.change.split()
        names = (word.strip("-").replace("-", "_") for word in words[::2])
        values = (int(word) if word.isdecimal() else word for word in words[1::2])
        changed = {"sequence": 512, **chosen, **dict(zip(names, values, strict=True))}
        found = zo2sim.predict("opt-125m", "4x-rtx-4090", **changed).prediction
        assert found.step_s == advice.prediction.step_s, advice.change


def test_what_needs_one_device_gets_one():
    machine = named("4x-rtx-4090")
    nvme = Plan(tier="nvme")
    assert of_usual_devices(machine, nvme, Recipe(), ()) == nvme
    assert of_usual_devices(machine, Plan(), Recipe(), ()) == Plan(devices=4)
    four = of_usual_devices(machine, Plan(), Recipe(microbatches=4), ())
    assert four == Plan(devices=4, lane_groups=2)
    assert of_usual_devices(machine, Plan(devices=1), Recipe(), ("devices",)) == Plan()


def test_blocks_lie_with_the_socket_of_the_device_that_uploads_them():
    model, machine = preset("opt-1.3b"), named("8x-a100")
    block = model.blocks[0].elements * 2
    ring, sliced = (
        asked(model, machine, Plan(devices=8, placement=placement), Recipe(microbatches=4))
        for placement in ("ring", "sliced")
    )
    assert socket_bytes(ring) == (12 * block, 12 * block)
    assert sum(socket_bytes(sliced)) == pytest.approx(24 * block, rel=1e-6)
    assert socket_bytes(asked(model, named("a100-sxm-80gb"), Plan(), Recipe())) == (24 * block,)


def test_tune_tries_every_way_to_share_the_work():
    axes = [word for axis in PINNED for word in ("--axis", axis)]
    found = call(tune, *BOX, "--microbatches", "2", *axes, "--simulations", "6", "--json", "-").json
    assert found["axes"]["placement"] == ["ring", "whole", "sliced"]
    assert found["axes"]["lane_groups"] == [1, 2]
    assert found["best"]["plan"]["devices"] == 4
    one = call(tune, *BOX, *axes, "--devices", "1", "--json", "-").json
    assert "placement" not in one["axes"]


def test_python_takes_what_the_command_takes():
    found = zo2sim.predict("opt-125m", "4x-rtx-4090", sequence=512)
    assert found.prediction.case.plan.devices == 4
