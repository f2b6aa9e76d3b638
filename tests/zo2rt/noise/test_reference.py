"""The numpy reference against committed answers and an independent Philox in plain Python."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from tests.thorough import examples
from tests.zo2rt.noise import slow_philox as slow
from tests.zo2rt.noise.noise_cases import KEY
from zo2rt.noise import Extent, reference, sample_key, table
from zo2rt.noise.keys import seed_shifted
from zo2rt.noise.rounding import stochastic
from zo2sim.dtypes import Dtype

ANSWERS: dict[str, Any] = json.loads(table.PATH.with_name("known_answers.json").read_text())
U64 = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        (0, (0,) * 4, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x299F31D0A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_answers_of_its_authors(key: int, counter: Any, words: Any) -> None:
    """Random123, kat_vectors, philox4x32 with ten rounds."""
    j_low, j_high, p, word3 = counter
    calls = np.array([j_high << 32 | j_low], dtype=np.uint64)
    assert slow.philox(key, counter) == words
    assert reference.words(key, p, calls, word3=word3).tolist() == [list(words)]


def test_splitmix64_gives_its_published_outputs() -> None:
    assert slow.splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize("answer", ANSWERS["sample_keys"], ids=lambda answer: answer["key"])
def test_committed_keys(answer: dict[str, Any]) -> None:
    numbers = answer["run_seed"], answer["step"], answer["sample"]
    assert f"{sample_key(*numbers):016x}" == answer["key"] == f"{slow.key_of(*numbers):016x}"


@given(U64, U64, U64)
def test_keys_are_the_splitmix64_chain(run_seed: int, step: int, sample: int) -> None:
    assert sample_key(run_seed, step, sample) == slow.key_of(run_seed, step, sample)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_seed_out_of_range_is_refused_by_name(place: int, value: int) -> None:
    name = ("run_seed", "step", "sample")[place]
    numbers = [0, 0, 0]
    numbers[place] = value
    with pytest.raises(ValueError, match=rf"^{name} must be in 0 \.\. 2\^64 - 1; got {value}$"):
        sample_key(*numbers)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_run_s_seed_out_of_range_is_not_shifted(value: int) -> None:
    with pytest.raises(ValueError, match=rf"^run_seed must be in 0 \.\. 2\^64 - 1; got {value}$"):
        seed_shifted(value, 1)


@given(U64, st.integers(0, 2**20), st.integers(0, 2**20), st.integers(0, 9))
@example(0, 0, 0, 0)
@example(2**64 - 1, 2**20, 0, 1)
def test_a_shifted_seed_draws_what_comes_later(seed: int, steps: int, step: int, s: int) -> None:
    assert sample_key(seed_shifted(seed, steps), step, s) == sample_key(seed, step + steps, s)


def test_committed_words_cross_2_to_the_32() -> None:
    calls = {int(answer["j"], 16) for answer in ANSWERS["words"]}
    assert {2**32 - 1, 2**32, 2**32 + 1} <= calls
    for answer in ANSWERS["words"]:
        key, j = int(answer["key"], 16), int(answer["j"], 16)
        counter = (j % 2**32, j // 2**32, answer["p"], answer["word3"])
        expected = [int(word, 16) for word in answer["words"]]
        calls_array = np.array([j], dtype=np.uint64)
        got = reference.words(key, answer["p"], calls_array, word3=answer["word3"])
        assert list(slow.philox(key, counter)) == expected == got[0].tolist()


def test_committed_elements_of_both_kinds() -> None:
    elements = ANSWERS["elements"]
    key = sample_key(elements["run_seed"], elements["step"], elements["sample"])
    for answer in elements["z"]:
        place = Extent(p=elements["p"], first_element=answer["element"])
        gaussian = reference.noise(key, place, 1, "gaussian")
        assert float(gaussian[0]).hex() == answer["gaussian"]
        assert reference.noise(key, place, 1, "rademacher").tolist() == [answer["rademacher"]]


@settings(max_examples=examples(25))
@given(U64, st.integers(0, 2**32 - 1), st.integers(0, 2**50), st.sampled_from((0, 1)))
def test_halves_and_bits_lie_where_the_specification_says(
    key: int, p: int, first: int, word3: int
) -> None:
    place, count = Extent(p=p, first_element=first), 11
    elements = range(first, first + count)
    halves = [slow.half(key, e, p, word3) for e in elements]
    assert reference.halves(key, place, count, word3=word3).tolist() == halves
    signs = [1 - 2 * slow.bit(key, e, p) for e in elements]
    assert reference.noise(key, place, count, "rademacher").tolist() == signs


def test_the_table_is_the_normal_quantile() -> None:
    quantiles = table.quantiles()
    exact = ndtri((np.arange(65536) + 0.5) / 65536)
    assert np.abs(quantiles - exact).max() <= np.spacing(np.float32(4.33)) / 2
    assert quantiles.tolist() == (-quantiles[::-1]).tolist()
    assert (np.diff(quantiles) > 0).all()
    assert not quantiles.flags.writeable


def test_the_tables_moments_are_those_promised() -> None:
    exact = table.quantiles().astype(np.float64)
    variance = (exact**2).mean()
    assert round(variance, 5) == 0.99998
    assert round((exact**4).mean() / variance**2, 3) == 2.999
    assert np.abs(exact).max() < 4.33


def test_a_damaged_table_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "normal_quantile.f32"
    damaged.write_bytes(bytes(262144))
    monkeypatch.setattr(table, "PATH", damaged)
    with pytest.raises(ValueError, match=r"must have SHA-256 1cfbba.*install the package again"):
        table.quantiles.__wrapped__()


def test_half_a_million_gaussians_have_the_moments_and_no_neighbour_correlation() -> None:
    """The bounds are five standard errors."""
    count = 2**19
    z = reference.noise(KEY, Extent(p=3), count, "gaussian").astype(np.float64)
    error = 5 / np.sqrt(count)
    assert abs(z.mean()) < error
    assert abs((z**2).mean() - 0.99998) < error * np.sqrt(2)
    assert abs((z**4).mean() - 2.999) < error * np.sqrt(96)
    assert all(abs((z[:-lag] * z[lag:]).mean()) < error for lag in (1, 2, 8))


@pytest.mark.parametrize(("dtype", "last"), [(Dtype.FP16, 2.0**-24), (Dtype.BF16, 2.0**-133)])
def test_below_the_normal_numbers_a_grid_has_one_step(dtype: Dtype, last: float) -> None:
    """Half a step goes up where the draw is one of the upper half."""
    values = np.array([0.5, 0.5, -0.5, 1.5, 1.5, 2.0], np.float32) * np.float32(last)
    draws = np.array([32767, 32768, 32768, 32767, 32768, 65535], np.uint16)
    steps = stochastic(values, draws, dtype) / np.float32(last)
    assert steps.tolist() == [0.0, 1.0, -1.0, 1.0, 2.0, 2.0]


def test_noise_differs_by_key_parameter_and_purpose() -> None:
    count, base = 64, reference.halves(KEY, Extent(p=1), 64)
    others = [
        reference.halves(KEY + 1, Extent(p=1), count),
        reference.halves(KEY, Extent(p=2), count),
        reference.halves(KEY, Extent(p=1), count, word3=reference.ROUNDING),
    ]
    assert all((base == other).mean() < 0.1 for other in others)


def test_torch_noise_has_no_addresses() -> None:
    with pytest.raises(ValueError, match="gaussian, rademacher; got 'torch'"):
        reference.noise(KEY, Extent(p=0), 1, "torch")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("p", "first"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**63)])
def test_places_out_of_range_are_refused(p: int, first: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Extent(p=p, first_element=first)
