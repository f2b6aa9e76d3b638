"""What the machine did while a run went on: samples, and the energy of every step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from analysis.energy import energy_j
from experiments.campaign.samples import sample_frame
from experiments.training.settings import BackendName
from zo2rt.sampling.card import current_card
from zo2rt.sampling.host import HostProbe
from zo2rt.sampling.nvml import open_nvml
from zo2rt.sampling.sample import Probe, Sample
from zo2rt.sampling.sampler import Sampler
from zo2rt.steps.outcome import Outcome

INTERVAL_S = 0.5
"""Between two samples of a run, which may last for days."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Samples of one run, and start and end of its steps on the samples' clock.

    ``notes`` says once what could not be read and why.
    """

    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    steps: Mapping[int, tuple[float, float]] = field(default_factory=dict[int, tuple[float, float]])

    @property
    def table(self) -> pd.DataFrame:
        """The samples, a row each."""
        return sample_frame(self.samples)

    @property
    def energies_j(self) -> Mapping[int, float]:
        """Joules of every step through which power is known."""
        times_s = [sample.time_s for sample in self.samples]
        power_w = [sample.reading.power_w for sample in self.samples]
        ends_s = np.array([*self.steps.values()], dtype=np.float64).ravel()
        found = energy_j(times_s, power_w, ends_s)[::2]  # the others lie between two steps
        return {s: float(j) for s, j in zip(self.steps, found, strict=True) if np.isfinite(j)}

    @property
    def summary(self) -> dict[str, Any]:
        """Headline numbers; None for what the machine does not tell."""
        energies = [*self.energies_j.values()]
        return {
            "energy_per_step_j": median(energies) if energies else None,
            "host_rss_bytes": self._most("host_rss_bytes"),
            "device_memory_bytes": self._most("device_memory_bytes"),
            "sampling_notes": list(self.notes),
        }

    def _most(self, name: str) -> float | None:
        values = [getattr(sample.reading, name) for sample in self.samples]
        return max((v for v in values if v is not None), default=None)


class Observation(Sampler):
    """A sampler that is told of every step as it ends.

    A card is asked where one computes; what it does not tell never ends the run.
    """

    def __init__(self, backend: BackendName, *, interval_s: float = INTERVAL_S) -> None:
        probes, note = probes_of(backend)
        super().__init__(probes, interval_s=interval_s)
        self._missing = () if note is None else (note,)
        self._steps: dict[int, tuple[float, float]] = {}

    def seeing(self, show: Callable[[Outcome], None]) -> Callable[[Outcome], None]:
        """``show``, and a note of when the step began and ended."""

        def shown(line: Outcome) -> None:
            end_s = self.now_s
            assert line.wall_s is not None, "it has just ended"
            self._steps[line.step] = (end_s - line.wall_s, end_s)
            show(line)

        return shown

    @property
    def observed(self) -> Observed:
        """Everything, after the exit."""
        notes = (*self._missing, *self.notes)
        return Observed(samples=self.samples, notes=notes, steps=dict(self._steps))


def probes_of(backend: BackendName) -> tuple[list[Probe], str | None]:
    """The card and the host, or the host alone and, where a card computes, why."""
    if backend != "cuda":
        return [HostProbe()], None
    gpu = open_nvml(current_card())
    return ([HostProbe()], gpu) if isinstance(gpu, str) else ([gpu, HostProbe()], None)
