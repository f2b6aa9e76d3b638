"""The engine under the race detector: nothing races, and what a deleted edge lets race is seen.

What is watched is what operations touch in fact: PyTorch's operators on the streams' threads and
in the lanes, transfers, and the kernels of the noise, which say so themselves.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import Thread, current_thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.families import batch, build
from tests.thorough import crossed, examples
from tests.zo2rt.engine.engine_cases import CASES, TRIED, Case
from zo2rt.backends import Backend, HostBackend, StreamFailed, VirtualBackend
from zo2rt.engine import engine as engine_module
from zo2rt.engine.assembly import Parts
from zo2rt.engine.engine import Engine, MezoSgd, Objective
from zo2rt.lanes import traversal
from zo2rt.lanes.lane import Lane
from zo2rt.model.loss import model_loss
from zo2rt.races.backend import Checked
from zo2rt.races.detector import Access, Race, RaceFound
from zo2sim.policies import build as build_program
from zo2sim.schedule.ops import LETTERS, BufferSpace, Kind, Op, Program, Schedule
from zo2sim.schedule.unroll import unroll
from zo2sim.schedule.verify import races

NUM_STEPS = 3
Change = Callable[[Program], Program]


def unchanged(program: Program) -> Program:
    return program


def found(
    case: Case,
    change: Change = unchanged,
    backend: Callable[..., Backend] = VirtualBackend,
) -> tuple[Race, ...]:
    """Races of some steps, an evaluation and the flush, of a program that was changed."""
    model, data = build("opt"), batch("opt", rows=2 * case.recipe.microbatches)
    with (
        pytest.MonkeyPatch.context() as patch,
        Checked(backend(devices=case.plan.devices)) as checked,
        case.folder() as folder,
    ):
        patch.setattr(engine_module, "build", lambda *about: change(build_program(*about)))
        running = advancing(checked, patch)

        def loss_fn(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            lane = current_thread()
            with checked.helping(lambda: running.get(lane)):
                return model_loss(model, batch)

        engine = Engine(
            model,
            *case,
            Objective(example=data, loss_fn=loss_fn),
            backend=checked,
            optimizer=MezoSgd(lr=1e-2),
            folder=folder,
        )
        name_slices(checked, engine._parts)
        try:
            for _ in range(NUM_STEPS):
                engine.step(data)
            engine.evaluate(data)
            engine.close()
        except RaceFound:
            pass
        return checked.detector.races


def advancing(checked: Checked, patch: pytest.MonkeyPatch) -> dict[Thread | None, Access]:
    """The operation that runs each lane, by the lane's thread."""
    running: dict[Thread | None, Access] = {}

    class Noted(Lane):
        """Says on whose behalf it goes on; the self-test is no operation."""

        def advance(self, unit: int, device: int = 0) -> None:
            self._note()
            super().advance(unit, device)

        def _start(self) -> None:
            super()._start()
            self._note()

        def _note(self) -> None:
            with suppress(RuntimeError):
                running[self.thread] = checked.current

    patch.setattr(traversal, "Lane", Noted)
    return running


def name_slices(checked: Checked, parts: Parts) -> None:
    """Slices of a slot, and of a block in host memory, are places of their own."""
    arena, layout = parts.arena, parts.layout
    for number in layout.streamed if layout.sliced else ():
        unit, space = parts.units[number], BufferSpace.SLICE
        for owner in arena.devices:
            own = owner.own(unit)
            checked.name(arena.host[number][own], f"slice {owner.formats.number} of {unit.name}")
            for here in arena.devices:
                place = (here.formats.number, space, layout.slot(number), owner.formats.number)
                checked.name(here.device(unit)[own], place)


# ---- Nothing races ----


@pytest.mark.parametrize(("name", "backend"), crossed([*TRIED], [HostBackend, VirtualBackend]))
def test_no_policy_races(name: str, backend: Callable[..., Backend]):
    assert found(CASES[name], backend=backend) == ()


# ---- Proved able to fail: deleted edges ----


def edges(program: Program) -> list[tuple[str, str]]:
    """Edges between tracks, in the steady period.

    A gather's to its own device's update are left out: it is said to read all slices, and its own
    lies where it belongs.
    """
    named = {op.name: op for op in program.period.ops}
    pairs = (
        (op, edge, named[edge.removesuffix("^")]) for op in program.period.ops for edge in op.after
    )
    return [
        (op.name, edge)
        for op, edge, before in pairs
        if before.track != op.track
        and not (
            op.kind is Kind.GATHER and before.kind is Kind.UPDATE and before.device == op.device
        )
    ]


def without(edge: tuple[str, str], program: Program) -> Program:
    """The program less one edge, in its prologue too."""
    return replace(
        program, prologue=_less(program.prologue, *edge), period=_less(program.period, *edge)
    )


def _less(schedule: Schedule, name: str, edge: str) -> Schedule:
    return replace(
        schedule, ops=tuple(_cut(op, edge) if op.name == name else op for op in schedule.ops)
    )


def _cut(op: Op, edge: str) -> Op:
    return replace(op, after=tuple(other for other in op.after if other != edge))


def deleted_edges() -> list[tuple[str, str, str]]:
    """Name of the case, operation, and what it waited for.

    What waits for the loss is left out: the caller waits for the loss, too, before the next step.
    """
    return [
        (name, *edge)
        for name, case in CASES.items()
        for edge in edges(case.program)
        if not edge[1].startswith(LETTERS[Kind.LOSS])
    ]


def is_predicted(program: Program) -> bool:
    """Whether the verifier finds a race in memory: records and the journal are no buffers."""
    elsewhere = (BufferSpace.RECORD, BufferSpace.JOURNAL)
    return any(race.buffer.space not in elsewhere for race in races(unroll(program, periods=4)))


@given(st.sampled_from(deleted_edges()))
@settings(max_examples=examples(12, ordinary=5))
def test_what_a_deleted_edge_lets_race_is_reported(deleted: tuple[str, str, str]):
    """Whenever the verifier predicts it. The pair that is named may be a later one on the same
    buffer: an update without a record touches nothing."""
    name, *edge = deleted
    change = partial(without, (edge[0], edge[1]))
    predicted = is_predicted(change(CASES[name].program))
    try:
        reported = bool(found(CASES[name], change))
    except StreamFailed as failure:  # some say themselves that they came too early
        early = ("must be version", "must run the", "must be sent to")
        reported = any(words in str(failure) for words in early)
    assert reported == predicted
