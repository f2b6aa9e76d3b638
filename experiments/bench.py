"""How fast the toolkit itself is: the simulator, with ``--runtime`` the runtime, or its ranks.

    python -m experiments.bench --json -
    python -m experiments.bench --devices 8
    python -m experiments.bench --runtime --json -
    python -m experiments.bench --ranks 2 --machine machine.toml

Figures are medians over repeats in this process, with the range beside them; they hold for this
machine while nothing else runs.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

from experiments.cli import FAILED, Answer, finish, run
from experiments.entry.flags import refuse
from experiments.speed import devices as devices_speed
from experiments.speed import simulator as simulator_speed


@dataclass(frozen=True, kw_only=True)
class Config:
    """How fast the toolkit itself is."""

    repeats: int = 5
    """Times that each figure of the simulator is measured; the median counts."""
    plans: int = 50_000
    """Plans that the fast path evaluates per repeat."""
    seed: int = 0
    """Draws the plans."""
    devices: int | None = None
    """Measure this instead: how long plans of OPT-175B on so many devices take to build, to prove,
    to simulate, and to walk by the thousand; processor time."""
    runtime: bool = False
    """Measure the runtime instead: steps of OPT-125m's shape."""
    backend: Literal["host", "cuda"] = "host"
    """With --runtime: one thread of this machine and links of several speeds, or its card."""
    ranks: int | None = None
    """Measure this instead: the same step on so many ranks, with a core each, and on one."""
    machine: str | None = None
    """With --ranks: this machine's calibrated file, whose prediction is printed beside."""
    pairs: int = 9
    """Interleaved pairs of steps behind each figure of runtime or ranks; the median counts."""
    json: str | None = None
    """Write the figures as JSON to this file, or to stdout with '-'."""

    def typed(self, flags: frozenset[str]) -> Self:
        """Refuse the flags of what is not measured."""
        simulator = ("--repeats", "--plans", "--seed", "--devices")
        if self.devices is not None:
            others = ("--runtime", "--backend", "--ranks", "--machine", "--pairs")
            refuse(flags, ("--plans", "--seed", *others), "with --devices")
        elif self.ranks is not None:
            refuse(flags, (*simulator, "--runtime", "--backend"), "with --ranks")
        elif self.runtime:
            refuse(flags, (*simulator, "--machine"), "with --runtime")
        else:
            refuse(flags, ("--backend", "--pairs", "--machine"), "without --runtime or --ranks")
        return self


def main(config: Config) -> int:
    if config.repeats < 1 or config.plans < 100 or config.pairs < 1:
        raise ValueError(
            "--repeats must be >= 1, --plans >= 100 and --pairs >= 1; "
            f"got {config.repeats}, {config.plans} and {config.pairs}"
        )
    if config.devices is not None:
        return _devices(config, config.devices)
    if config.ranks is not None:
        return _ranks(config, config.ranks)
    return _runtime(config) if config.runtime else _simulator(config)


def _simulator(config: Config) -> int:
    return _listed(
        simulator_speed.figures(repeats=config.repeats, plans=config.plans, seed=config.seed),
        config,
    )


def _devices(config: Config, devices: int) -> int:
    return _listed(devices_speed.figures(devices, repeats=config.repeats), config)


def _listed(figures: dict[str, float], config: Config) -> int:
    lines = [
        f"{name:32}{value:10.4g}{_range(figures, name)}"
        for name, value in figures.items()
        if _without_end(name) == name
    ]
    return finish(Answer(figures, lambda: print("\n".join(lines))), config.json)


def _without_end(name: str) -> str:
    return name.replace("_low", "").replace("_high", "")


def _range(figures: dict[str, float], name: str) -> str:
    """Over the repeats, where it was measured more than once."""
    ends = [v for end, v in figures.items() if _without_end(end) == name != end]
    return f"  ({' to '.join(f'{end:.4g}' for end in ends)})" if len({*ends}) > 1 else ""


def _runtime(config: Config) -> int:
    from experiments.speed import card as card_speed
    from experiments.speed import runtime as runtime_speed

    measured = {"host": runtime_speed.figures, "cuda": card_speed.figures}[config.backend]
    return _measured(lambda: measured(runtime_speed.OPT_125M, pairs=config.pairs), config)


def _ranks(config: Config, ranks: int) -> int:
    from experiments.speed import ranks as ranks_speed
    from experiments.speed.runtime import OPT_125M
    from zo2sim.machines.file import resolve

    machine = None if config.machine is None else resolve(config.machine)
    figures = partial(ranks_speed.figures, OPT_125M, ranks, pairs=config.pairs, machine=machine)
    return _measured(figures, config)


def _measured(measure: Callable[[], Sequence[Any]], config: Config) -> int:
    """``measure`` gives figures, of a module that imports torch."""
    try:
        figures = measure()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    parts = (figure.spread.figures(figure.name) for figure in figures)
    numbers = {name: value for part in parts for name, value in part.items()}
    lines = [f"{'':26}{'median':>10}{'low':>10}{'high':>10}  wanted"]
    for f in figures:
        s = f.spread
        lines.append(f"{f.name:26}{s.median:10.4g}{s.low:10.4g}{s.high:10.4g}  {f.wanted}")
    return finish(Answer(numbers, lambda: print("\n".join(lines))), config.json)


if __name__ == "__main__":
    sys.exit(run(main, Config))
