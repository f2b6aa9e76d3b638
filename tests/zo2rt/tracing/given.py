"""Configs in a folder: shrunk, traced, and run beside what was traced.

    python -m tests.zo2rt.tracing.given ../shared/data/model_configs [NAME...]

Prints for each whether parameters, unit bytes and three steps' bits agree, and by how much the
arithmetic differs from what PyTorch counts; ends with 1 where one does not, or is 1 % off.
"""

import json
import sys
import warnings
from pathlib import Path

import torch

from tests.zo2rt.tracing.alike import (
    bits_are_resident_s,
    flops_of_the_class,
    length_for,
    traced,
    unit_bytes,
)
from tests.zo2rt.tracing.configs import Config, model_of
from tests.zo2rt.tracing.shrunk import FIRST_SPECIAL, shrunk


def told(config: Config) -> tuple[bool, str]:
    """Of a small config: whether all agrees, and a row of the table."""
    model, found = traced(config), model_of(config)
    parameters = model.elements == sum(p.numel() for p in found.parameters())
    off = model.flops(1, length_for(config)) / flops_of_the_class(config, FIRST_SPECIAL) - 1
    same, num_bytes = bits_are_resident_s(config, FIRST_SPECIAL)
    arena = num_bytes == unit_bytes(model)
    row = [f"{model.elements:,}", len(model.blocks), parameters, arena, same, f"{off:+.2%}"]
    return parameters and arena and same and abs(off) < 0.01, "  ".join(map(str, row))


def main(folder: Path, names: list[str]) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    good = True
    for path in sorted(folder.glob("*.json")):
        if names and path.stem not in names:
            continue
        try:
            fine, row = told(shrunk(json.loads(path.read_text())))
        except Exception as error:  # a table is wanted, whatever one of them does
            fine, row = False, f"{type(error).__name__}: {str(error).splitlines()[:1]}"
        good = good and fine
        sys.stdout.write(f"{'ok ' if fine else 'NO '} {path.stem}: {row}\n")
        sys.stdout.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
