"""Assemble runs into one paper: PDF, and one HTML file that works offline.

    python -m experiments.report runs/sweep runs/tune --out runs/paper

A RUN is the folder that a command wrote (`experiments.folder.write`). Whatever it holds is shown:
its own report where it has one, else its numbers, figures and traces as they are.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from analysis.report.paper import Part, paper, prefixed
from analysis.report.wording import counted
from experiments.cli import Answer, finish, run
from experiments.folder.provenance import provenance
from experiments.folder.read import FinishedRun
from experiments.folder.write import Run, write_run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Assemble runs into one paper: PDF, and one HTML file that works offline."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, in the order of the paper."""
    out: Path = Path("runs/report")
    """Folder of the paper, a run's folder like any other."""
    title: str = "Zeroth-order fine-tuning with offloaded weights"
    """Title of the paper."""
    json: str | None = None
    """Write what was put together as JSON to this file, or to stdout with '-'."""


def main(config: Config) -> int:
    if not config.runs:
        raise ValueError("give at least one run's folder, such as runs/sweep")
    if config.out.resolve() in [path.resolve() for path in config.runs]:
        raise ValueError(f"--out must not be one of the runs; got {config.out}")
    found = [FinishedRun.read(path) for path in config.runs]
    names = _names(config.runs)
    parts = [_part(one, name) for one, name in zip(found, names, strict=True)]
    source = _source()
    written = Run(
        verb="report",
        config={"runs": names},
        summary=_summary(parts),
        provenance=source,
        figures=_named_apart([one.figures for one in found]),
        traces=_named_apart([one.traces for one in found]),
        document=paper(parts, title=config.title, provenance=source),
    )
    write_run(config.out, written)
    answer = Answer(written.summary, lambda: _print(config, parts))
    return finish(answer, config.json)


def _source() -> dict[str, str]:
    """Of the paper itself, which draws nothing and asks no machine."""
    known = provenance(seed=0, machines=())
    return {what: known[what] for what in ("commit", "command", "python")}


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the folders; with those of their parents where two are alike."""
    last = [path.resolve().name for path in paths]
    counts = Counter(last)
    return [
        name if counts[name] == 1 else "/".join(path.resolve().parts[-2:])
        for name, path in zip(last, paths, strict=True)
    ]


def _part(one: FinishedRun, name: str) -> Part:
    return Part(
        name=name,
        verb=one.verb,
        document=one.document,
        num_records=one.num_records,
        files=tuple(one.traces),
    )


def _named_apart(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        prefixed(number, name): content
        for number, part in enumerate(parts, start=1)
        for name, content in part.items()
    }


def _summary(parts: Sequence[Part]) -> dict[str, object]:
    return {
        "runs": [
            {
                "name": part.name,
                "verb": part.verb,
                "records": part.num_records,
                "figures": len(part.document.figure_keys),
                "traces": len(part.files),
            }
            for part in parts
        ]
    }


def _print(config: Config, parts: Sequence[Part]) -> None:
    for part in parts:
        print(
            f"{part.name} ({part.verb}): {counted(part.num_records, 'record')}, "
            f"{counted(len(part.document.figure_keys), 'figure')}, "
            f"{counted(len(part.files), 'trace')}"
        )
    print(f"paper: {config.out / 'report.pdf'} and {config.out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run(main, Config))
