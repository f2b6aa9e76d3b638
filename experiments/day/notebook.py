"""What was measured so far, on disk after every part, and the machine that it makes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from analysis.fits.card import fitted_constants, start_s
from analysis.fits.law import fit
from analysis.fits.machine import with_constants
from experiments.cli import write_file
from experiments.day.parts import Deadline
from zo2sim.cost.measured import Measured
from zo2sim.machines.file import dump
from zo2sim.machines.machine import Machine
from zo2sim.machines.quantity import Quantity


class Notebook:
    """Collects measurements. ``base`` is the machine whose constants hold until they are measured;
    ``machine`` the one that was made of what is in the notebook.

    ``measurements.json`` and ``machine.toml`` in the folder are those of the latest `save`.
    """

    def __init__(self, folder: Path, base: Machine, source: str) -> None:
        self.folder = folder
        self.source = source
        self.base = base
        self.machine = base
        self.refused: dict[str, str] = {}
        self._rows: list[Measured] = []
        self._found: dict[str, Quantity] = {}

    def __len__(self) -> int:
        return len(self._rows) + len(self._found)

    def take(self, rows: Iterable[Measured], deadline: Deadline) -> None:
        """Enter rows as they come; raises `TimeUp` where more would come after the deadline."""
        for row in rows:
            self._rows.append(row)
            deadline.check()

    def put(self, key: str, value: float, low: float, high: float) -> None:
        """Enter a constant that was measured as such."""
        ends = min(low, value), max(high, value)
        self._found[key] = Quantity(value, "measured", self.source, low=ends[0], high=ends[1])

    def save(self) -> None:
        """Fit the machine anew, and write both files, each of which is whole or as before."""
        rows = [asdict(row) for row in self._rows]
        write_file(self.folder / "measurements.json", json.dumps(rows, indent=1).encode())
        self.refused = {}
        self.machine = self._applied({**self._fitted(), **self._found})
        write_file(self.folder / "machine.toml", dump(self.machine).encode())

    def _fitted(self) -> Mapping[str, Quantity]:
        if not self._rows:
            return {}
        keys = frozenset(key for row in self._rows for key in row.amounts)
        try:
            fitted = fit(self._rows, start_s(self.base, keys))
            return fitted_constants(self.base, fitted, source=self.source)
        except ValueError as error:
            self.refused["fit"] = str(error)
            return {}

    def _applied(self, constants: Mapping[str, Quantity]) -> Machine:
        """The base with all constants that a machine can have together; the others are refused.

        One may need another one first, so they are tried again as long as that helps.
        """
        machine, left = self.base, dict(constants)
        before = len(left) + 1
        while left and len(left) < before:
            before = len(left)
            for key in [*left]:
                try:
                    machine = with_constants(machine, {key: left[key]})
                    del left[key]
                    self.refused.pop(key, None)
                except ValueError as error:
                    self.refused[key] = str(error)
        return machine
