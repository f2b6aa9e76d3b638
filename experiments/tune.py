"""The best plan for a model on a machine, with proof of how good it is.

    python -m experiments.tune --model opt-175b --machine rtx-4090-24gb --device-memory 18GB
    python -m experiments.tune --model opt-13b --free microbatches --axis tier=ram

Every axis of a plan is free, since none of them changes the result; what changes bits or
statistics stays as the recipe says, unless --free or --axis names it.
"""

import shlex
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.answer.trust import Trust
from experiments.case.axes import Freedom, recipe_part, show_values
from experiments.case.model import model_of
from experiments.case.sizes import show_bytes, show_number, show_seconds
from experiments.case.spec import Spec
from experiments.case.target import Site, plan_flags
from experiments.cli import Answer, finish, run, write_file
from experiments.entry.flags import RECIPE, explained, refuse, without
from experiments.folder.traces import TraceFormat
from experiments.screen import headed, pairs, progress_bar, right, show_command
from zo2sim.machines.file import resolve
from zo2sim.plan.choices import Placement, Plan, Recipe
from zo2sim.plan.file import dump, fields_of
from zo2sim.predict.case import of_usual_devices, of_usual_length
from zo2sim.predict.predict import predict
from zo2sim.search.search import Effort, Found, NothingFits, Objective, Search, search
from zo2sim.search.space import PlanSpace

_SHOWN = 12  # points of the front on the screen
_PROGRAMS = 64
"""Of several devices, whose programs are long."""
_NEXT = "next  "
_OF_DEVICES = ("devices", "placement", "lane_groups")


@dataclass(frozen=True, kw_only=True)
class Config(Site):
    """The best plan, the Pareto front and the proven bound. Exit code 3: nothing fits."""

    recipe: Annotated[Recipe, explained(Recipe)]
    objective: Objective = "tokens"
    """Most tokens/s, most samples of the estimator per second, or least memory."""
    free: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Vary a field of the recipe, too, e.g. 'microbatches' or 'wire-dtype'; repeatable."""
    axis: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Values to try, e.g. 'num-slots=1,2,4'; one value pins; repeatable."""
    devices: int | None = None
    """Devices of the machine to use; otherwise all that it has."""
    placement: Placement | None = None
    """How several devices share the work; otherwise each way is tried."""
    lane_groups: int | None = None
    """Groups of lanes of a sign on a ring; otherwise several numbers are tried."""
    tolerance: float = 0.001
    """Relative distance to the proven bound at which the search stops."""
    simulations: int = 16
    """Most plans that are simulated for the best one, and again for the front."""
    grain: float = 0.15
    """Relative difference below which two points of the front are alike."""
    write_plan: Path | None = None
    """Write the best plan and its recipe to this TOML file, which --plan reads."""
    out: Path | None = None
    """Write a run's folder with records, figures, trace and report, which report takes."""
    trace_format: TraceFormat = "perfetto"
    json: str | None = None
    """Write the answer as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """Refuse a value of the recipe where an axis has several."""
        without(flags & RECIPE.keys(), (*self.free, *self.axis), by="--free or --axis")
        if self.out is None:
            refuse(flags, ("--trace-format",), "without --out")
        if "--sequence" in flags:
            return self
        return replace(self, recipe=of_usual_length(model_of(self.model), self.recipe))


def main(config: Config) -> int:
    space = _space(config)
    effort = Effort(
        tolerance=config.tolerance,
        simulations=config.simulations,
        grain=config.grain,
        programs=None if space.base.plan.devices == 1 else _PROGRAMS,
    )
    try:
        found = _searched_for(space, config.objective, effort)
    except NothingFits as error:
        return finish(_nothing(str(error)), config.json)
    best = found.best.case
    trust = Trust.of(predict(best))
    if config.write_plan is not None:
        write_file(config.write_plan, dump(best.plan, best.recipe).encode())
    content = _content(config, space, found, trust)
    if config.out is not None:
        from experiments.folder.write import write_run
        from experiments.jobs.tuned import tuned  # what draws takes a second to load

        plans = [" ".join(plan_flags(point.case, config.recipe)) for point in found.pareto]
        left = tuned(config, content, found, plans=plans, axes=space.axes, trust=trust)
        write_run(config.out, left)
    answer = Answer(
        content,
        lambda: _print(config, space, found, trust, Console()),
    )
    return finish(answer, config.json)


def _searched_for(space: PlanSpace, objective: Objective, effort: Effort) -> Search:
    """The search, with a bar that counts simulations: no more for the front than for the best."""
    with progress_bar() as progress:
        bar = progress.add_task("searching plans", total=2 * effort.simulations)

        def watch(walked: int, simulated: int) -> None:
            words = f"{walked:,} plans walked, simulated"
            progress.update(bar, completed=simulated, description=words)

        return search(space, objective, effort=effort, watch=watch)


def _space(config: Config) -> PlanSpace:
    chosen = {name: getattr(config, name) for name in _OF_DEVICES}
    given = {name: value for name, value in chosen.items() if value is not None}
    plan, machine = Plan(**given), resolve(config.machine)
    spec = Spec(
        model=config.model,
        machine=config.machine,
        plan=of_usual_devices(machine, plan, config.recipe, given.keys()),
        recipe=config.recipe,
        changes=config.changes,
    )
    base = spec.case()
    pinned = (f"{name}={value}" for name, value in given.items() if name != "devices")
    freedom = Freedom(free=config.free, axis=(*config.axis, *pinned))
    return PlanSpace(base=base, axes=freedom.axes(base))


def _nothing(reason: str) -> Answer:
    return Answer(
        {"best": None, "reason": reason},
        lambda: Console().print(escape(reason), soft_wrap=True),
        yes=False,
    )


def _content(config: Config, space: PlanSpace, answer: Search, trust: Trust) -> dict[str, Any]:
    return {
        "model": space.base.model.name,
        "machine": space.base.machine.name,
        "objective": config.objective,
        "axes": {name: list(values) for name, values in space.axes.items()},
        "axes_that_change_the_recipe": sorted(recipe_part(space.axes)),
        "best": _point(answer.best),
        **trust.content,
        "step_s": answer.best.step_s,
        "lower_bound_s": answer.lower_bound_s,
        "gap": answer.gap,
        "plans_evaluated": answer.plans_evaluated,
        "plans_fitting": answer.plans_fitting,
        "plans_walked": answer.plans_walked,
        "plans_simulated": answer.plans_simulated,
        "pareto": [_point(point) for point in answer.pareto],
    }


def _point(point: Found) -> dict[str, Any]:
    return {
        "plan": fields_of(point.case.plan),
        "recipe": asdict(point.case.recipe),
        "step_s": point.step_s,
        "tokens_per_s": point.tokens_per_s,
        "samples_per_s": point.samples_per_s,
        "device_bytes": point.device_bytes,
        "host_bytes": point.host_bytes,
        "nvme_bytes": point.nvme_bytes,
        "simulated": point.simulated,
    }


def _print(
    config: Config, space: PlanSpace, answer: Search, trust: Trust, console: Console
) -> None:
    best = answer.best
    name = f"{space.base.model.name} on {space.base.machine.name}"
    console.print(f"{escape(name)}: the best of {answer.plans_evaluated:,} plans", highlight=False)
    console.print(f"  [bold]{' '.join(plan_flags(best.case, config.recipe))}[/]", highlight=False)
    console.print(_figures(answer, trust))
    console.print(_searched(config, space))
    console.print(_front(answer, config.recipe))
    _print_next(config, console)


def _print_next(config: Config, console: Console) -> None:
    """What to do with the plan, and how to find a faster one."""
    if config.write_plan is None:
        console.print(f"{_NEXT}--write-plan best.toml writes the plan, which zo2sim run takes, too")
    else:
        plan = f"--plan {shlex.quote(str(config.write_plan))}"
        show_command(console, _NEXT, ("zo2sim plan", *config.site_flags, plan))
        console.print(f"{'':{len(_NEXT)}}which zo2sim run takes, too: --plan")
    if not config.free and not config.axis:
        faster = "--free microbatches may find a faster one: more tokens per upload"
        console.print(f"{'':{len(_NEXT)}}{faster}", highlight=False)


def _figures(answer: Search, trust: Trust) -> Table:
    best = answer.best
    proof = "no plan of the space is faster"
    if answer.gap > 1e-6:
        proof = f"the best is {answer.gap:.2%} above what no plan of the space can beat"
    rows = (
        *trust.speed(best.step_s, best.tokens_per_s),
        ("samples/s", f"{best.samples_per_s:.4g}"),
        ("memory", f"device {show_bytes(best.device_bytes)}, host {show_bytes(best.host_bytes)}"),
        ("lower bound", f"{show_seconds(answer.lower_bound_s)}: {proof}"),
        (
            "looked at",
            f"{answer.plans_evaluated:,} bounded, {answer.plans_fitting:,} fit, "
            f"{answer.plans_walked:,} walked, {answer.plans_simulated:,} simulated",
        ),
        *trust.rows(),
    )
    return pairs(rows)


def _searched(config: Config, space: PlanSpace) -> Table:
    """What was varied, the recipe's part marked, and what was not."""
    table = headed("axis", "values", "changes", title="searched", gap=1)
    changing = recipe_part(space.axes)
    for name, values in space.axes.items():
        if len(values) > 1:
            effect = "[yellow]the recipe[/]" if name in changing else "nothing in the result"
            table.add_row(name, show_values(values), effect)
    kept = [name for name in ("microbatches", "samples", "wire_dtype") if name not in changing]
    pinned = ", ".join(f"{name} {getattr(config.recipe, name)}" for name in kept)
    if pinned:
        table.add_row("pinned", pinned, "--free NAME frees", style="dim")
    return table


def _front(answer: Search, recipe: Recipe) -> Table:
    """From the fastest to the smallest; a figure that is only a bound has a mark."""
    title = "what buys what (Pareto front; <= only bounded)"
    figures = right("tokens/s", "device", "host", whole=True)
    table = headed(*figures, "plan", title=title, gap=1)
    for point in answer.pareto[:_SHOWN]:
        mark = "" if point.simulated else "<= "
        table.add_row(
            f"{mark}{show_number(point.tokens_per_s)}",
            show_bytes(point.device_bytes),
            show_bytes(point.host_bytes),
            " ".join(plan_flags(point.case, recipe)),
        )
    if len(answer.pareto) > _SHOWN:
        table.add_row("", "", "", f"and {len(answer.pareto) - _SHOWN} more (--json has all)")
    return table


if __name__ == "__main__":
    sys.exit(run(main, Config))
