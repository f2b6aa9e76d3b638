"""A plan beside first-order training of the same model on the same machine: `plan --compare`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.answer.metrics import summary
from experiments.answer.trust import Trust
from experiments.case.sizes import show_times
from experiments.cli import Answer
from experiments.screen import headed, left, right, tracked
from zo2sim import baselines
from zo2sim.baselines import CONVERGENCE, FIRST_ORDER, ZEROTH_ORDER, Method, Training, TrainingCase
from zo2sim.dtypes import Dtype
from zo2sim.memory.account import GIB, Demand
from zo2sim.predict.predict import Prediction

_TITLES = {
    Method.ADAMW: "AdamW, all on the card",
    Method.ZERO_OFFLOAD: "as ZeRO-Offload",
    Method.ROUNDPIPE: "as RoundPipe",
    Method.ZERO_INFINITY: "as ZeRO-Infinity",
    Method.FUYOU: "as Fuyou",
}
_WIDTH = 80
_HALVES = (Dtype.FP16, Dtype.BF16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One way to train: what it needs and takes, or the reason why the machine cannot."""

    title: str
    order: str
    needs: tuple[Demand, ...] = ()
    step_s: float | None = None
    tokens_per_step: int = 1
    reason: str = ""

    @property
    def fits(self) -> bool:
        return self.step_s is not None and all(place.fits for place in self.needs)

    @property
    def token_s(self) -> float | None:
        return None if self.step_s is None else self.step_s / self.tokens_per_step

    @property
    def content(self) -> dict[str, Any]:
        """For JSON."""
        bytes_of = {f"{place.place}_bytes": place.needed_bytes for place in self.needs}
        return {
            "training": self.title,
            "order": self.order,
            "fits": self.fits,
            **bytes_of,
            "step_s": self.step_s,
            "seconds_per_token": self.token_s,
            "reason": self.reason or None,
        }


def compare(prediction: Prediction, trust: Trust) -> Answer:
    """The plan, and every first-order method with as many tokens per step; no where it fits not.

    Raises ``ValueError`` for a plan that first-order training has no counterpart of here.
    """
    _check(prediction)
    own = Compared(
        title=f"this plan, {prediction.case.plan.policy}",
        order="zeroth",
        needs=prediction.fits,
        step_s=prediction.step_s,
        tokens_per_step=prediction.case.recipe.tokens_per_step,
    )
    rows = [own, *(_first_order(prediction, m) for m in tracked(_TITLES, "methods", total=5))]
    content = {
        **summary(prediction, trust),
        "compared": [row.content for row in rows],
        "budgets": {"zeroth": asdict(ZEROTH_ORDER), "first": asdict(FIRST_ORDER)},
    }
    return Answer(content, lambda: _show(prediction, rows), yes=prediction.fit)


def _check(prediction: Prediction) -> None:
    plan, recipe = prediction.case.plan, prediction.case.recipe
    if recipe.trainable != "all":
        raise ValueError(
            "--compare is about training every weight; "
            f"got trainable={recipe.trainable}; leave --trainable out"
        )
    if plan.devices > 1:
        raise ValueError(
            f"--compare is about one device; got devices={plan.devices}; give --devices 1"
        )


def _first_order(prediction: Prediction, method: Method) -> Compared:
    """The method's prediction, in the format that the plan computes in, or in fp16."""
    case, recipe = prediction.case, prediction.case.recipe
    whole = method is Method.ZERO_INFINITY  # sums no gradients over microbatches
    try:
        training = TrainingCase(
            model=case.model,
            machine=case.machine,
            training=Training(
                method=method,
                batch=recipe.batch * (recipe.microbatches if whole else 1),
                microbatches=1 if whole else recipe.microbatches,
                sequence=recipe.sequence,
                dtype=recipe.compute_dtype if recipe.compute_dtype in _HALVES else Dtype.FP16,
            ),
        )
        found = baselines.predict(training)
    except ValueError as error:  # no drive, or no half precision
        return Compared(title=_TITLES[method], order="first", reason=str(error))
    return Compared(
        title=_TITLES[method],
        order="first",
        needs=training.fits,
        step_s=found.step_s,
        tokens_per_step=training.training.tokens_per_step,
    )


def _show(prediction: Prediction, rows: list[Compared]) -> None:
    case, console = prediction.case, Console()
    name = f"{case.model.name} on {case.machine.name}"
    console.print(f"{name}, {case.recipe.tokens_per_step:,} tokens per step")
    console.print()
    console.print(_table(rows))
    console.print()
    for row in rows:
        if row.reason:
            console.print("\n".join(wrap(f"{row.title}: {row.reason}", _WIDTH)), highlight=False)
            console.print()
    console.print("\n".join(_steps()), highlight=False)


def _table(rows: list[Compared]) -> Table:
    figures = right("card GiB", "host GiB", "drive GiB", "step", "per token", whole=True)
    table = headed(*left("trained", whole=True), *figures, *left("fits", whole=True), gap=1)
    steps = show_times([row.step_s for row in rows if row.step_s is not None])
    tokens = show_times([row.token_s for row in rows if row.token_s is not None])
    times = zip(steps, tokens, strict=True)
    for row in rows:
        if row.step_s is None:
            table.add_row(row.title, *[""] * 5, "cannot", style="dim")
            continue
        verdict, style = ("yes", None) if row.fits else ("no", "dim")
        table.add_row(row.title, *map(_amount, row.needs), *next(times), verdict, style=style)
    return table


def _amount(place: Demand) -> str:
    """What there is no room for is marked."""
    if not place.needed_bytes:
        return ""
    return f"{place.needed_bytes / GIB:.1f}{'' if place.fits else '!'}"


def _steps() -> Iterator[str]:
    ratio = ZEROTH_ORDER.examples / FIRST_ORDER.examples
    words = (
        f"Zeroth-order training needs many more steps. MeZO's scripts run "
        f"{_budget(ZEROTH_ORDER)} of the tasks where the same authors' first-order ones run "
        f"{_budget(FIRST_ORDER)}: {ratio:.0f} times as many examples. So a first-order row that "
        f"fits ends its budget sooner where a token takes less than {ratio:.0f} times as long. "
        f"Elsewhere, {CONVERGENCE}."
    )
    yield from wrap(words, _WIDTH)
    notes = (
        "First-order steps are point predictions, and none was measured by this project. A mark "
        "says which memory is too small. RoundPipe's several devices and its update with "
        "gradients a step old are left out."
    )
    yield ""
    yield from wrap(notes, _WIDTH)


def _budget(budget: baselines.Budget) -> str:
    return f"{budget.steps:,} steps of {budget.examples_per_step} examples"
