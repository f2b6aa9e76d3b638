"""The fit: known constants come back with honest intervals, and it says what it cannot tell."""

from collections.abc import Mapping

import numpy as np
import pytest

from analysis.fits.law import Fit, fit
from analysis.fits.machine import START_S
from zo2sim.cost.cpu import attention_amounts, gemm_amounts, noise_amounts, seconds_per
from zo2sim.cost.measured import Measured
from zo2sim.machines.keys import LIMITS
from zo2sim.models.shapes import Attention

TRIALS = 100
TRUE: Mapping[str, float] = {
    "cpu.gemm_flops_per_s": 1.4e11,
    "cpu.gemm_weight_elements_per_s": 4e9,
    "cpu.gemm_output_elements_per_s": 4e9,
    "cpu.launch_s": 5e-6,
    "cpu.attention_flops_per_s": 6e10,
    "cpu.softmax_elements_per_s": 1e9,
    "cpu.gaussian_perturb_elements_per_s": 5e8,
    "cpu.call_s": 3e-5,
    "link.latency_s": 2e-5,
    "link.h2d_bytes_per_s": 9e9,
}
"""A synthetic machine."""
SIGMAS = {"gemm": 0.03, "attention": 0.05, "perturb": 0.04, "copy": 0.06, "launch": 0.05}


def synthetic(seed: int, *, outliers: float = 0.02) -> list[Measured]:
    """Measurements of the synthetic machine; a few are interrupted and take far longer."""
    rng = np.random.default_rng(seed)
    rows: list[Measured] = []

    def add(group: str, name: str, amounts: Mapping[str, float]) -> None:
        exact = sum(float(a) * seconds_per(key, TRUE[key]) for key, a in amounts.items())
        noise = rng.normal(0.0, SIGMAS[group])
        noise += rng.exponential(0.5) if rng.random() < outliers else 0.0
        numbers = {key: float(a) for key, a in amounts.items()}
        seconds = exact * float(np.exp(noise))
        rows.append(Measured(group=group, name=name, amounts=numbers, seconds=seconds))

    for m in (16, 64, 128, 512):
        for n in (128, 512, 2048):
            for k in (128, 512, 2048):
                add("gemm", f"{m}x{n}x{k}", gemm_amounts(m, n, k, bias=True))
    for seq in (32, 64, 128, 256, 512):
        for dim in (32, 64, 128):
            shape = Attention(heads=8, kv_heads=8, head_dim=dim)
            add("attention", f"{seq}x{dim}", attention_amounts(1, seq, shape))
    for elements in (2**8, 2**10, 2**14, 2**16, 2**18, 2**20):
        for repeat in range(2):
            taken = noise_amounts("gaussian", "perturb", elements, calls=1)
            add("perturb", f"{elements} {repeat}", taken)
    for nbytes in (2**12, 2**14, 2**18, 2**20, 2**22, 2**24):
        for repeat in range(2):
            taken = {"link.latency_s": 1.0, "link.h2d_bytes_per_s": float(nbytes)}
            add("copy", f"{nbytes} {repeat}", taken)
    for number in range(12):
        add("launch", f"launch {number}", {"cpu.launch_s": 1.0})
    return rows


def start() -> dict[str, float]:
    return {key: seconds_per(key, value) * 2.0 for key, value in TRUE.items()}


@pytest.fixture(scope="module")
def fits() -> list[Fit]:
    return [fit(synthetic(seed), start()) for seed in range(TRIALS)]


@pytest.mark.parametrize("key", TRUE)
def test_a_known_constant_lies_in_its_interval_in_at_least_90_of_100_trials(
    key: str, fits: list[Fit]
):
    intervals = [one.interval(key) for one in fits]
    assert sum(low <= TRUE[key] <= high for low, _, high in intervals) >= 90
    assert float(np.median([high / low for low, _, high in intervals])) < 2.0


def test_calibrating_twice_gives_intervals_that_overlap(fits: list[Fit]):
    pairs = list(zip(fits[::2], fits[1::2], strict=True))
    for key in TRUE:
        overlaps = [_overlap(a.interval(key), b.interval(key)) for a, b in pairs]
        assert sum(overlaps) >= 0.95 * len(pairs), key


def _overlap(a: tuple[float, float, float], b: tuple[float, float, float]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2]


def test_what_is_well_measured_gives_no_warning(fits: list[Fit]):
    assert sum(bool(one.warnings) for one in fits) <= 10


def rows(*amounts: Mapping[str, float], seconds: float = 1.0) -> list[Measured]:
    return [
        Measured(group="g", name=str(i), amounts=a, seconds=seconds * (1.0 + 0.01 * (-1) ** i))
        for i, a in enumerate(amounts)
    ]


def test_constants_that_always_come_together_cannot_be_told_apart():
    together = {"nvme.read_bytes_per_s": 1.0, "link.h2d_bytes_per_s": 1.0}
    start_s = dict.fromkeys(together, 0.5)
    found = fit(rows(*[together] * 20), start_s)
    assert [w for w in found.warnings if w.startswith("this run cannot tell")]
    total = sum(1.0 / found.interval(key)[1] for key in together)
    assert total == pytest.approx(1.0, rel=0.02)


def test_a_constant_that_hardly_matters_is_named():
    amounts = {"host.fsync_s": 1.0, "cpu.launch_s": 1e-6}
    found = fit(rows(*[amounts] * 20), {"host.fsync_s": 1.0, "cpu.launch_s": 1.0})
    (warning,) = found.warnings
    assert warning.startswith("this run cannot tell cpu.launch_s: its interval is a factor of")


def test_one_disturbed_row_among_twenty_moves_nothing():
    good = rows(*[{"host.fsync_s": 1.0}] * 20)
    bad = Measured(group="g", name="bad", amounts={"host.fsync_s": 1.0}, seconds=50.0)
    low, value, high = fit([*good, bad], {"host.fsync_s": 1.0}).interval("host.fsync_s")
    assert value == pytest.approx(1.0, rel=0.01)
    assert low < value < high


def test_a_part_that_is_known_is_not_fitted():
    amounts = {"cpu.throttle_s": 1.0}
    given = [
        Measured(group="g", name=str(n), amounts=amounts, seconds=n + 0.25, known_s=float(n))
        for n in range(1, 9)
    ]
    _, value, _ = fit(given, {"cpu.throttle_s": 1.0}).interval("cpu.throttle_s")
    assert value == pytest.approx(0.25, rel=1e-3)


def test_loops_give_the_shape_and_runs_the_level():
    """The loop is 20 % faster throughout; the runs see only the sum of both constants."""
    true = {"cpu.gemm_flops_per_s": 2.0, "cpu.gemm_weight_elements_per_s": 1.0}

    def row(flops: float, elements: float, factor: float, number: int, loop: bool) -> Measured:
        exact = flops * true["cpu.gemm_flops_per_s"]
        exact += elements * true["cpu.gemm_weight_elements_per_s"]
        return Measured(
            group="loop" if loop else "run",
            name=f"{loop} {number}",
            amounts={
                "cpu.gemm_flops_per_s": flops,
                "cpu.gemm_weight_elements_per_s": elements,
            },
            seconds=exact * factor * (1.0 + 0.002 * (-1) ** number),
            in_loop=loop,
        )

    loops = [row(f, e, 0.8, 10 * f + e, True) for f in (1, 2, 5) for e in (1, 3, 9)]
    runs = [row(3, 4, 1.0, number, False) for number in range(8)]
    found = fit([*loops, *runs], dict.fromkeys(true, 1.0))
    for key, value in true.items():
        assert 1.0 / found.interval(key)[1] == pytest.approx(value, rel=0.02)


def test_a_fit_needs_rows_and_start_values():
    with pytest.raises(ValueError, match="at least one measurement"):
        fit([], START_S)
    with pytest.raises(ValueError, match=r"needs a start value; none for cpu\.unheard_of_s"):
        fit(rows({"cpu.unheard_of_s": 1.0}), START_S)


def test_a_fit_starts_within_the_range_of_every_number_of_a_machine():
    starts = {key: seconds_per(key, start_s) for key, start_s in START_S.items() if key in LIMITS}
    assert {key for key in LIMITS if key.startswith("cpu.")} - starts.keys() == {
        *("cpu.misfit_ratio", "cpu.jitter_ratio", "cpu.together_ratio"),
        *("cpu.crowded_ratio", "cpu.crowded_launch_ratio", "cpu.crowded_misfit_ratio"),
        *("cpu.large_reference_s", "cpu.small_reference_s"),
    }
    outside = [
        key for key, start in starts.items() if not LIMITS[key][0] <= start <= LIMITS[key][1]
    ]
    assert outside == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_must_be_one(seconds: float):
    with pytest.raises(ValueError, match=r"x: seconds must be finite and > 0"):
        Measured(group="g", name="x", amounts={"cpu.launch_s": 1.0}, seconds=seconds)


def test_a_measurement_must_take_something():
    with pytest.raises(ValueError, match=r"x: a measurement must take some amount; got none"):
        Measured(group="g", name="x", amounts={"cpu.launch_s": 0.0}, seconds=1.0)
