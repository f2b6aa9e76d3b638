"""The answer to one case: time, bound, memory, whether it fits, and where the numbers come from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from zo2sim.memory.account import Demand, MemoryAccount, fits
from zo2sim.memory.published.accounts import mezo_account
from zo2sim.models.shapes import Unit
from zo2sim.plan.choices import published_code
from zo2sim.plan.refusals import check
from zo2sim.predict.case import Case
from zo2sim.predict.extrapolation import outside
from zo2sim.predict.vectorised import walk_of
from zo2sim.schedule.ops import Program
from zo2sim.simulate.bounds import Bound, bound
from zo2sim.simulate.events import simulate
from zo2sim.simulate.trace import Breakdown, Trace, breakdown
from zo2sim.simulate.work import Resource

_LINKS = (Resource.LINK_H2D, Resource.LINK_D2H, Resource.PEER)
MAX_WRITE_BACK_EVERY = 64
"""A period has as many steps, and an update reads as many records: time grows with its square."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is predicted for a case; every figure is per step of the steady state.

    ``memory`` is what the plan needs. ``program`` is simulated when its times are asked for.
    """

    case: Case
    program: Program
    bound: Bound
    memory: MemoryAccount
    fits: tuple[Demand, ...]

    @cached_property
    def trace(self) -> Trace:
        """The first periods, up to the steady one; of a forward alone, that one pass."""
        case, cost = self.case, self.case.cost
        if case.workload.once:
            return replace(simulate(self.program, cost, cost.rates, periods=1), once=True)
        return simulate(self.program, cost, cost.rates)

    @cached_property
    def published(self) -> MemoryAccount:
        """What published figures count: for `resident` the code of MeZO with untied embeddings,
        which has no integer formats; for all else the same account."""
        case = self.case
        if case.plan.policy.traits.streams or case.recipe.storage_dtype.is_integer:
            return self.memory
        context_bytes = int(case.machine.device.context_bytes.value)
        return mezo_account(case.model.untied(), case.recipe, context_bytes=context_bytes)

    @property
    def step_s(self) -> float:
        """Seconds per step."""
        return self.trace.step_s

    @property
    def tokens_per_s(self) -> float:
        """Data tokens per second; lanes and samples of the same token count once."""
        return self.case.recipe.tokens_per_step / self.step_s

    @property
    def gap(self) -> float:
        """How far the step is above its lower bound, as a share of the bound."""
        return self.step_s / self.bound.step_s - 1.0

    @property
    def fit(self) -> bool:
        """Device, host and NVMe all have room."""
        return all(place.fits for place in self.fits)

    @cached_property
    def steady(self) -> Breakdown:
        """Where the steady period's time goes; divide by its steps for one step."""
        return breakdown(self.trace, self.trace.steady)

    @property
    def copied_bytes(self) -> Mapping[str, float]:
        """What each copy over a link moves, by the operation's name."""
        ops = {span.op.name: span.op for span in self.trace.spans}
        works = {name: self.case.cost(op).amounts for name, op in ops.items()}
        moved = {name: sum(own.get(link, 0.0) for link in _LINKS) for name, own in works.items()}
        return {name: nbytes for name, nbytes in moved.items() if nbytes}

    @cached_property
    def provenance(self) -> Mapping[str, str]:
        """By topic: what the numbers rest on."""
        notes = self.case.model.notes
        return {
            **({"model": "; ".join(notes)} if notes else {}),
            "compute": self._compute_source(),
            "memory": self._memory_source(),
            "link": self.case.machine.link.h2d_bytes_per_s.source,
            **self._between_devices(),
            "assumed": ", ".join(_assumed(self.case)) or "nothing",
            "extrapolated": ", ".join(extrapolations(self.case)) or "nothing",
        }

    def _between_devices(self) -> Mapping[str, str]:
        """Of what lies between several devices: their ways to each other, and what they share."""
        node = self.case.cost.setting.several
        if node is None:
            return {}
        between, uplink = node.peer_bytes_per_s(0, 1), node.uplink_h2d_bytes_per_s
        gather = node.measured_gather(node.devices)
        sliced = self.case.plan.placement == "sliced" and gather is not None
        return {
            "between devices": (gather or between).source if sliced else between.source,
            "uplinks": uplink.source,
            "memory of a socket": node.socket_dram_bytes_per_s.source,
        }

    def _memory_source(self) -> str:
        """Of what code the account is: this project's, or published code, which is OPT's."""
        case = self.case
        if published_code(case.plan, case.recipe) is None:
            return "this runtime's buffers, item by item"
        family = case.model.family
        note = "" if family == "opt" else f", extrapolated to {family}: the code is OPT's"
        return f"allocations of the published code, traced{note}"

    def _compute_source(self) -> str:
        setting = self.case.cost.setting
        if setting.cpu is None:
            return setting.kernels.provenance
        return f"constants of these cores; {setting.cpu.gemm_flops_per_s.source}"


def predict(case: Case) -> Prediction:
    """Build a case's program to be simulated, bound it, and account for its memory; says also what
    does not fit.

    Raises ``ValueError`` when the combination is refused, the device lacks a format, or a period
    is too long to simulate.
    """
    if case.plan.write_back_every > MAX_WRITE_BACK_EVERY:
        raise ValueError(
            f"write_back_every must be at most {MAX_WRITE_BACK_EVERY} to be predicted; "
            f"got {case.plan.write_back_every}"
        )
    check(case.plan, case.recipe)  # a walk is of any number of microbatches
    walk, cost = walk_of(case), case.cost
    memory = case.memory
    return Prediction(
        case=case,
        program=walk.program,
        bound=bound(walk.program, cost, cost.rates, chain=walk),
        memory=memory,
        fits=fits(memory, case.machine),
    )


def extrapolations(case: Case) -> tuple[str, ...]:
    """What of the case lies outside what was measured: matrix kernels, or calibrated sizes."""
    own = (*_untrained(case), *outside(case))
    if case.cost.setting.cpu is not None:
        return own
    kinds = (case.model.blocks[block] for block in dict.fromkeys(case.model.first_alike))
    found = (text for unit in (*kinds, case.model.tail) for text in _extrapolated(case, unit))
    return tuple(dict.fromkeys((*own, *found)))


def _untrained(case: Case) -> Iterator[str]:
    """Rotary positions go on beyond those that a model was made for: it runs, but never read so."""
    model, sequence = case.model, case.recipe.sequence
    if model.exceeds(sequence):
        yield f"sequence {sequence} (the model was made for {model.max_positions} positions)"


def _extrapolated(case: Case, unit: Unit) -> Iterator[str]:
    kernels, recipe = case.cost.setting.kernels, case.recipe
    dtype = recipe.compute_dtype
    for gemm in unit.gemms:
        rows = max(1.0, recipe.batch * recipe.sequence * gemm.rows_per_token)
        if kernels.gemm_extrapolated(rows, gemm.n, gemm.k, dtype):
            yield f"{dtype} GEMM {rows:.0f}x{gemm.n}x{gemm.k}"
    for a in unit.attentions:
        shape = (recipe.batch, recipe.sequence, a.heads, a.kv_heads, a.head_dim)
        if kernels.attention_extrapolated(*shape, causal=a.causal, window=a.window, dtype=dtype):
            yield f"{dtype} attention {shape[0]}x{shape[1]}x{a.heads}x{a.head_dim}"


def _assumed(case: Case) -> tuple[str, ...]:
    """Machine constants that nobody measured and that this case's prediction uses."""
    unused = {"nvme"} if case.plan.tier == "ram" else set[str]()
    unused |= {"node"} if case.cost.setting.several is None else set[str]()
    unused |= set[str]() if case.plan.policy.traits.streams else {"host"}
    keys = case.machine.quantities.items()
    return tuple(
        k for k, q in keys if q.provenance == "assumed" and k.partition(".")[0] not in unused
    )
