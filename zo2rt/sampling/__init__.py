"""What the machine does while a run goes on: memory, clocks, power, traffic, ten times a second.

`sampler.Sampler` asks a probe; `nvml.NvmlProbe` knows GPUs, `host.HostProbe` the machine itself.
"""

from zo2rt.sampling.card import Card, current_card
from zo2rt.sampling.host import HostProbe
from zo2rt.sampling.nvml import NvmlProbe, open_nvml
from zo2rt.sampling.sample import FIELDS, Probe, Reading, Sample
from zo2rt.sampling.sampler import Sampler

__all__ = [
    "FIELDS",
    "Card",
    "HostProbe",
    "NvmlProbe",
    "Probe",
    "Reading",
    "Sample",
    "Sampler",
    "current_card",
    "open_nvml",
]
