"""A calibration's benchmarks: what each of the machine's parts takes, alone or beside others."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from zo2rt.backends import HostBackend
from zo2rt.backends.process import intra_op_threads
from zo2rt.measure import codecs, disk, host_work, kernels, links, noise
from zo2rt.measure.timing import Effort, measure
from zo2sim.cost.measured import Measured
from zo2sim.schedule.ops import Stream

_LIMITS_BYTES_PER_S = (0.5e9, 1e9, 2e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """How much to measure, from which seed, and where files may be written for a moment."""

    effort: float
    seed: int
    folder: Path

    @property
    def rounds(self) -> Effort:
        return Effort(rounds=5 if self.effort >= 0.5 else 1)

    def count(self, whole: int, least: int) -> int:
        """A share of what a whole calibration measures."""
        return max(least, round(whole * self.effort))


Benchmarks = Callable[[Campaign], list[Measured]]
"""A few that are made at one time."""


def made(
    benchmarks: Iterable[Benchmarks], campaign: Campaign, done: Callable[[], None]
) -> Iterator[Measured]:
    """Rows of some benchmarks, one after the other; ``done`` is called after each."""
    for one in benchmarks:
        yield from one(campaign)
        done()


def _products(campaign: Campaign) -> list[Measured]:
    """Matrix products and attentions."""
    seed, count = campaign.seed, campaign.count(80, 8)
    benches = [*kernels.gemms(count, seed=seed), *kernels.attentions(count // 3, seed=seed)]
    with intra_op_threads(1):
        return [*measure(benches, campaign.rounds, seed=seed)]


def _passes(campaign: Campaign) -> list[Measured]:
    """Noise, and the codecs of the wire."""
    benches = [*noise.passes(), *codecs.codecs()]
    with intra_op_threads(1):
        return [*measure(benches, campaign.rounds, seed=campaign.seed)]


def _copies(_: Campaign) -> list[Measured]:
    """Over a link as fast as memory, and over slower ones."""
    with HostBackend(own_core=True) as backend:
        free = [*links.one_way(backend), *links.both_ways(backend)]
        free += links.one_way(backend, links.SIZES[-2:], pinned=False)
    return [*free, *(row for rate in _LIMITS_BYTES_PER_S for row in links.limited(rate))]


def _handovers(_: Campaign) -> list[Measured]:
    """Between threads, from where lanes run."""
    found: list[Measured] = []
    with HostBackend(own_core=True) as backend:
        backend.launch(Stream.COMPUTE, lambda: found.extend(host_work.handovers()), label="")
        backend.synchronize()
    return found


def host_rows(campaign: Campaign) -> list[Measured]:
    """What the host does beside a device: encoding and updates on a core, and all cores' memory."""
    sizes, cores = host_work.ELEMENTS, psutil.cpu_count(logical=False) or 1
    benches = [*host_work.encodings(sizes), *host_work.updates(sizes)]
    with intra_op_threads(1):
        timed = measure(benches, campaign.rounds, seed=campaign.seed)
        return [*timed, *host_work.contention(cores)]


def file_rows(campaign: Campaign, *, time: str = "only") -> list[Measured]:
    """The drive under the campaign's folder: rows of one time are named alike.

    A drive changes from minute to minute by more than it scatters within one; measured at several
    times, its constants have intervals that hold what the minutes of a calibration changed.
    """
    with TemporaryDirectory(dir=campaign.folder) as folder:
        found = [*disk.fsyncs(Path(folder)), *disk.pieces(Path(folder))]
    return [replace(row, name=f"{row.name}, {time} time") for row in found]


BEFORE_RUNS: tuple[Benchmarks, ...] = (
    partial(file_rows, time="first"),
    *(_products, _passes, _copies, _handovers, host_rows),
    partial(file_rows, time="second"),
)
AFTER_RUNS: tuple[Benchmarks, ...] = (partial(file_rows, time="last"),)
