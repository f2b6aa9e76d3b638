"""A card's calibration: benchmarks on it and on its host, then short runs of the engine."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal, get_args

import psutil

from analysis.fits.card import CardRoom
from analysis.validation.op_errors import op_errors
from analysis.validation.replay import mean_durations_s
from experiments.campaign.benchmarks import Campaign, file_rows, host_rows
from experiments.campaign.designs import device_runs
from experiments.campaign.recorded_run import case_of
from experiments.screen import progress_bar
from zo2rt.backends import Backend, CudaBackend
from zo2rt.measure import host_work, links, on_device
from zo2rt.measure.card import CardSpecs
from zo2rt.measure.device_kernels import DeviceBenches, Sizes
from zo2rt.measure.runs import opened
from zo2rt.measure.staged import staged
from zo2rt.measure.timing import Bench
from zo2sim.cost.measured import Measured
from zo2sim.dtypes import Dtype
from zo2sim.machines.machine import Machine

COPY_SIZES = (1 << 16, 1 << 20, 1 << 24, 1 << 26, 1 << 28)
"""Bytes of one copy."""
_BOTH_WAYS = 1 << 28
_WARM_UP, _STEPS = 3, 10  # of a run
_SIZES = Sizes()
_SHAPES = 40  # of products per dtype, in a whole calibration
_MOST_STAGING = 8  # threads: more share the memory, and are no faster

PartName = Literal["products", "moves", "noise", "launches", "link", "host", "files"]
Part = tuple[PartName, str, Callable[[], Iterable[Measured]]]
"""What is measured, for a person, and how."""


def open_card() -> Backend:
    """A backend of the card. Raises ``ValueError`` where there is none, or it is not CUDA's."""
    try:
        backend = CudaBackend(pageable_copies=True)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--backend cuda needs a CUDA device; {error}") from None
    if backend.device.type != "cuda":
        kind = backend.device.type
        backend.close()
        raise ValueError(f"--backend cuda needs a CUDA device; the accelerator here is {kind}")
    return backend


def card_room(card: CardSpecs) -> CardRoom:
    """The card as the fit takes it."""
    return CardRoom(
        name=card.name,
        memory_bytes=card.memory_bytes,
        num_sms=card.num_sms,
        architecture=card.architecture,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardCampaign:
    """What is measured on a card; ``machine`` is the one whose constants are to be corrected."""

    campaign: Campaign
    machine: Machine
    sizes: Sizes = _SIZES
    only: Collection[PartName] = get_args(PartName)
    copy_sizes: Sequence[int] = COPY_SIZES
    both_ways_bytes: int = _BOTH_WAYS
    dtypes: Collection[Dtype] = (Dtype.FP32, Dtype.FP16, Dtype.BF16)

    def rows(self) -> list[Measured]:
        """Everything that constants of the machine are fitted from."""
        rows: list[Measured] = []
        with open_card() as backend, progress_bar() as bar:
            parts = self.parts(backend)
            task = bar.add_task("measuring", total=len(parts))
            for _, name, part in parts:
                bar.update(task, description=name)
                rows += part()
                bar.advance(task)
        return rows

    def parts(self, backend: Backend) -> list[Part]:
        """What is to be measured, in order; a part's rows come as they are measured."""
        everything = (*self._on_card(backend), *self._on_host())
        return [part for part in everything if part[0] in self.only]

    def _on_card(self, backend: Backend) -> Iterator[Part]:
        own = DeviceBenches(backend=backend, machine=self.machine, sizes=self.sizes)
        seed, count = self.campaign.seed, self.campaign.count(_SHAPES, 4)
        known = self._dtypes()
        for dtype in known:
            gemms = [*own.gemms(dtype, count, seed=seed)]
            attentions = [*own.attentions(dtype, max(2, count // 2), seed=seed)]
            yield "products", f"products in {dtype}", self._timed(backend, gemms + attentions)
        yield "moves", "moves", self._timed(backend, [*own.moves()])
        yield "noise", "noise", self._timed(backend, [*own.noise(known)])
        yield "launches", "launches", lambda: on_device.launches(backend, own.small())
        yield "launches", "hand-overs of streams", lambda: on_device.event_handovers(backend)
        yield "link", "copies", partial(self._copies, backend)

    def _on_host(self) -> Iterator[Part]:
        yield "host", "hand-overs of threads", host_work.handovers
        yield "host", "work of the host", lambda: host_rows(self.campaign)
        yield "files", "files", lambda: file_rows(self.campaign)

    def _timed(self, backend: Backend, benches: list[Bench]) -> Callable[[], Iterator[Measured]]:
        """In turns; where each has only one, a row comes as soon as it is measured."""
        effort, seed = self.campaign.rounds, self.campaign.seed
        groups = [benches] if effort.rounds > 1 else [[bench] for bench in benches]
        timed = partial(on_device.measure_on, backend, effort=effort, seed=seed)
        return lambda: chain.from_iterable(map(timed, groups))

    def _copies(self, backend: Backend) -> Iterator[Measured]:
        ramp_bytes = self.machine.link.half_size_bytes.value
        for pinned in (True, False):
            yield from links.one_way(backend, self.copy_sizes, ramp_bytes=ramp_bytes, pinned=pinned)
        yield from links.both_ways(backend, self.both_ways_bytes)
        threads = min(_MOST_STAGING, psutil.cpu_count(logical=False) or 1)
        yield from staged(backend, 4 * self.both_ways_bytes, num_threads=threads)

    def _dtypes(self) -> tuple[Dtype, ...]:
        device = self.machine.device
        rates: dict[Dtype, Any] = {
            Dtype.FP32: device.fp32_flops_per_s,
            Dtype.FP16: device.fp16_flops_per_s,
            Dtype.BF16: device.bf16_flops_per_s,
        }
        return tuple(d for d, rate in rates.items() if rate is not None and d in self.dtypes)


def run_rows(machine: Machine) -> list[Measured]:
    """Operations of real runs beside what the calibrated ``machine`` predicts of them."""
    rows: list[Measured] = []
    specs = [*device_runs()]
    with progress_bar() as bar:
        task = bar.add_task("short runs", total=len(specs))
        for spec in specs:
            with opened(spec, open_card) as running:
                steps = running.steps_s(_STEPS, warm_up=_WARM_UP).keys()
                trace = running.engine.trace()
            case = case_of(spec, machine)
            for error in op_errors(trace, case, mean_durations_s(trace, steps), spec.name):
                kind = str(error.kind).lower()
                rows.append(
                    Measured(
                        group=f"{kind} in a run",
                        name=f"{spec.name}, {error.op}",
                        amounts={f"bench.{kind}_over_model": error.predicted_s},
                        seconds=error.measured_s,
                    )
                )
            bar.advance(task)
    return rows
