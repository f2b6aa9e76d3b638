"""What is said to fit, and the largest models that are said to fit."""

from collections.abc import Callable, Iterator

from analysis.claims.row import Row, value
from analysis.claims.setups import Setup, machine_named, model_named, setup
from zo2sim.baselines import Training, account
from zo2sim.memory.account import GIB, Demand, MemoryAccount, MemoryPlace, fits
from zo2sim.memory.published.accounts import mezo_account, zo2_reference_account
from zo2sim.memory.runtime import account as runtime_account
from zo2sim.models.presets import names, preset
from zo2sim.models.shapes import Model
from zo2sim.plan.choices import Plan, Recipe

A100 = "a100-pcie-80gb"
PUBLISHED_GB = 1000 * 1024**2
"""The GB of ZO2's scripts: MiB / 1000."""
WHOLE_GB = 0.5
"""Half of the last digit of a figure in whole GB."""
A_BIT = 0.01
"""Share of a place's room below which nobody asks."""
INFERENCE_SHARE = 1.1
"""Up to here memory counts as that of inference."""


def feasibility_rows() -> Iterator[Row]:
    """Every claim that something fits."""
    yield from _zo2_rows()
    yield from _largest_rows()
    yield _sparse_mezo_row()
    for claim, item in (
        ("zero-offload", "max_params_b"),
        ("zero-infinity-1t", "params_b"),
        ("fuyou", "params_b"),
    ):
        yield _fitting_row(setup(claim, item))


def _zo2_rows() -> Iterator[Row]:
    """OPT-175B on 18 GB of device and 600 GB of host memory, by the published code."""
    model = preset("opt-175b", tied=False)
    published = zo2_reference_account(model, Recipe())
    own = runtime_account(model, Plan(), Recipe())
    for item, needed, ours, on_device in (
        ("device_gb", published.device_bytes, own.device_bytes, True),
        ("host_gb", published.host_bytes, own.host_bytes, False),
    ):
        same = "; a figure of zo2-nvml-memory, rounded" if on_device else ""
        limit, predicted = value("zo2-175b-18gb", item), needed / PUBLISHED_GB
        yield Row(
            claim="zo2-175b-18gb",
            item=item,
            kind="feasibility",
            unit="GB",
            published=limit,
            predicted=predicted,
            agrees=predicted <= limit + WHOLE_GB,
            why=f"the published code{same}; this project's runtime takes "
            f"{ours / PUBLISHED_GB:.1f} GB",
            context="used" if on_device else "",
        )


def _largest_rows() -> Iterator[Row]:
    """The largest OPT on one A100 80 GB: by MeZO, and by AdamW."""
    first_order = setup("mezo-30b-a100", "first_order_params_b")
    training = Training(**first_order.training)
    yield _largest_row("mezo_params_b", lambda m: mezo_account(m, Recipe()), "MeZO, fp16")
    how = "AdamW, fp16 with fp32 master weights and moments: 16 bytes per parameter"
    yield _largest_row("first_order_params_b", lambda m: account(m, training), how)


def _largest_row(item: str, account_of: Callable[[Model], MemoryAccount], how: str) -> Row:
    machine, published = machine_named(A100), value("mezo-30b-a100", item)
    found, missing = 0.0, ""
    for name in (n for n in names() if n.startswith("opt-") and n.endswith("b")):
        places = fits(account_of(preset(name)), machine)
        if all(place.fits for place in places):
            found = billions(name)
        else:
            missing = f"; {name}: {_sentence(places)}"
            break
    return Row(
        claim="mezo-30b-a100",
        item=item,
        kind="fit",
        context="used",
        unit="1e9",
        published=published,
        predicted=found,
        agrees=found == published,
        why=f"the largest OPT that fits; {how}{missing}",
    )


def billions(name: str) -> float:
    """The size in a preset's name: 2.7 of ``opt-2.7b``."""
    return float(name.rpartition("-")[2].removesuffix("b"))


def _sparse_mezo_row() -> Row:
    """Its mask is computed on the way (arXiv:2402.15751), so the account is MeZO's."""
    model, machine = model_named("llama-30b"), machine_named(A100)
    memory = mezo_account(model, Recipe())
    weights = model.elements * Recipe().storage_dtype.bytes
    share = memory.device_allocated_bytes / weights
    places = fits(memory, machine)
    good = all(place.fits for place in places) and share <= INFERENCE_SHARE
    return Row(
        claim="sparse-mezo-llama-30b",
        item="params_b",
        kind="fit",
        context="used",
        unit="1e9",
        published=value("sparse-mezo-llama-30b", "params_b"),
        predicted=model.elements / 1e9 if good else 0.0,
        agrees=good,
        why=f"{_sentence(places)}; {share - 1:.0%} more than the weights (a mask computed on the "
        f"way takes nothing; LLaMA's 30B has {model.elements / 1e9:.1f}e9 parameters)",
    )


def _fitting_row(one: Setup) -> Row:
    """A model of the published size, against its machine."""
    case = one.nominal
    context_bytes = int(case.machine.device.context_bytes.value)
    memory = account(
        case.model, case.training, context_bytes=context_bytes, num_devices=one.num_devices
    )
    places = fits(memory, case.machine)
    good = all(place.fits for place in places)
    return Row(
        claim=one.claim,
        item=one.value,
        kind="fit",
        context="used",
        unit="1e9",
        published=value(one.claim, one.value),
        predicted=case.model.elements / 1e9 if good else 0.0,
        agrees=good and round(case.model.elements / 1e9) >= value(one.claim, one.value) * 0.99,
        why=_sentence(places),
    )


def _sentence(places: tuple[Demand, ...]) -> str:
    """Needs and room of the device, and of every other place that is used for more than a bit."""
    words = (
        f"{p.place} {_size(p.needed_bytes)} of {_size(p.available_bytes)}"
        + ("" if p.fits else ", does not fit")
        for p in places
        if p.place is MemoryPlace.DEVICE or p.needed_bytes > A_BIT * p.available_bytes
    )
    return ", ".join(words)


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e12:.1f} TB" if nbytes >= 2e12 else f"{nbytes / GIB:.1f} GiB"
