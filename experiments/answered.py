"""What a command of one question leaves in its folder: its settings, and numbers as records."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import pandas as pd

from experiments import folder
from experiments.identity import run_id

_OF_THIS_CALL = ("out", "json", "write_plan", "figure", "check", "show", "text")

Number = tuple[Mapping[str, Any], str, float | None, str]
"""What a number is of, its metric, its value, and the unit."""


def settings(config: object) -> dict[str, Any]:
    """Every setting of a command as plain data, without where its results go."""
    assert is_dataclass(config), "a command is configured by a dataclass"
    assert not isinstance(config, type), "settings are those of an instance"
    values = {k: v for k, v in asdict(config).items() if k not in _OF_THIS_CALL}
    return json.loads(json.dumps(values, default=str))


def number_records(
    config: Mapping[str, Any], numbers: Iterable[Number], *, source: str
) -> pd.DataFrame:
    """The numbers as a table of records; ``source`` says what they rest on."""
    identity = run_id(f"{key}={value}" for key, value in config.items())
    common = {"run_id": identity, "config_hash": identity, "provenance": source}
    return folder.records(
        [
            {**common, **of, "metric": metric, "value": value, "unit": unit}
            for of, metric, value, unit in numbers
        ]
    )
