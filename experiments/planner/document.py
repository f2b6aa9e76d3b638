"""The page as one HTML file that needs nothing else: scripts, styles and data stand in it.

Its policy names the hashes of what may run and lets a browser fetch nothing; where it is served,
it may ask the server that it came from.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from experiments.planner.choices import MICROBATCHES
from experiments.planner.machines import TYPICAL
from experiments.planner.packed import WIDTH_STEP
from experiments.planner.tables import POOLED_LIMITS, SHARED_LIMITS
from zo2sim import __version__
from zo2sim.simulate.bounds import PLAIN_WORDS

_FOLDER = files("experiments.planner") / "page"
SCRIPTS = (
    *("format.js", "store.js", "limits.js", "between.js", "answer.js", "advice.js", "state.js"),
    *("elements.js", "chart.js", "view.js", "ranking.js", "engine.js", "main.js"),
)
"""In the order in which they run."""
_VENDOR = ("vendor/uPlot.iife.min.js", "vendor/uPlot.min.css", "vendor/uPlot.LICENSE")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """One model's words and packed numbers, as `tables` and `packed` make them."""

    content: Mapping[str, Any]
    numbers: str


def page(
    machines: Sequence[Mapping[str, Any]],
    models: Sequence[StoredModel],
    *,
    served: bool,
    date: str,
) -> str:
    """The HTML text; the same input gives the same text. ``served``: it may ask `/exact`."""
    library, library_style, licence = (_read(name) for name in _VENDOR)
    script = "\n".join(['"use strict";', *(_read(name) for name in SCRIPTS)])
    style = f"{library_style}\n{_read('page.css')}"
    common = {
        "version": __version__,
        "date": date,
        "served": served,
        "microbatches": MICROBATCHES,
        "shared_limits": SHARED_LIMITS,
        "pooled_limits": POOLED_LIMITS,
        "width_step": WIDTH_STEP,
        "typical": TYPICAL,
        "words": PLAIN_WORDS,
        "machines": machines,
        "models": [model.content for model in models],
    }
    blobs = "\n".join(
        f'<script type="text/plain" id="numbers-{number}">{model.numbers}</script>'
        for number, model in enumerate(models)
        if model.numbers
    )
    return _filled(
        {
            "policy": _policy((library, script), style, served=served),
            "style": style,
            "licence": escape(licence),
            "library": library,
            "script": script,
            "data": _in_script(common),
            "numbers": blobs,
            "version": escape(__version__),
        }
    )


def _filled(parts: Mapping[str, str]) -> str:
    """The page with every ``%%name%%`` in place of its part; parts are put in as they are."""
    return re.sub(r"%%(\w+)%%", lambda mark: parts[mark[1]], _read("page.html"))


def _policy(scripts: Sequence[str], style: str, *, served: bool) -> str:
    runs = " ".join(_hash(script) for script in scripts)
    asks = "connect-src 'self'; " if served else ""
    return (
        f"default-src 'none'; script-src {runs}; style-src {_hash(style)}; img-src data:; "
        f"{asks}base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _in_script(content: Mapping[str, Any]) -> str:
    """JSON that ends no script element, whatever a name holds."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
