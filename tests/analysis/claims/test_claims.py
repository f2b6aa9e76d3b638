"""Published claims: plausible setups, verdicts, and every row that the project answers for."""

import re
from dataclasses import replace
from functools import cache

import pytest

from analysis.claims import overhead
from analysis.claims.galore import adam_state_bytes, state_bytes
from analysis.claims.reproduction import reproduce
from analysis.claims.row import Row, inside, within
from analysis.claims.setups import (
    Setup,
    machine_named,
    model_named,
    setup,
    tolerance,
    with_range,
)
from analysis.fits.memory import published_claims
from zo2sim.baselines import check_training
from zo2sim.dtypes import Dtype
from zo2sim.machines.file import named
from zo2sim.machines.what_if import replace as what_if
from zo2sim.models.presets import preset
from zo2sim.schedule.verify import verify


@cache
def rows() -> dict[str, Row]:
    return {f"{row.claim}/{row.item}": row for row in reproduce()}


def of(claim: str) -> list[Row]:
    return [row for row in rows().values() if row.claim == claim]


def test_every_published_value_has_a_row():
    wanted = {
        f"{claim}/{item}" for claim, entry in published_claims().items() for item in entry["values"]
    }
    assert wanted <= set(rows())
    assert {row.claim for row in rows().values()} == set(published_claims())


def test_no_disagreement_is_left_unexplained():
    assert [name for name, row in rows().items() if not row.settled] == []


def test_what_disagrees():
    """The whole list, so that one more, or one less, is noticed."""
    assert [name for name, row in rows().items() if not row.agrees] == [
        "zo2-no-overhead/fp32 opt-13b",
        "zero-offload/tflops_pytorch_1.4b",
        "galore-7b-24gb/saved_8bit_percent",
        "nvbandwidth-all-a100/h2d_gb_per_s",
        "distzo2-175b/speedup",
        "roundpipe-8x4090/speedup",
    ]


def test_rows_that_helped_to_fit_the_context_say_so_and_what_others_would_predict():
    fitted = [row for row in rows().values() if row.context == "fitted"]
    assert {row.claim for row in fitted} == {"zo2-nvml-memory", "mezo-memory-fp16"}
    assert len(fitted) == 10
    for row in fitted:
        assert row.left_out is not None
        away, left_out = row.predicted - row.published, row.left_out - row.published
        assert away * left_out > 0.0
        assert abs(away) < abs(left_out) < 0.041 * row.published
    assert {row.claim for row in rows().values() if row.kind == "memory" and not row.context} == {
        "zo2-allocated-memory-fp16"
    }


def test_what_only_fits_has_no_error():
    fit = {name: row for name, row in rows().items() if row.kind == "fit"}
    assert len(fit) == 8
    assert all(row.relative_error is None and row.context == "used" for row in fit.values())


def test_a_saved_share_is_judged_by_what_is_left():
    plain, eight = (
        rows()[f"galore-7b-24gb/{item}"] for item in ("saved_percent", "saved_8bit_percent")
    )
    assert plain.relative_error == pytest.approx(34.89 / 34.5 - 1, abs=1e-3)
    assert eight.relative_error == pytest.approx(20.93 / 17.5 - 1, abs=1e-3)
    assert eight.why.endswith("were they counted in 8 bits too, 82.6 % would be saved")


def test_galore_projects_matrices_of_blocks_only():
    one = preset("llama-2-7b")
    full = adam_state_bytes(one, Dtype.BF16)
    assert full == 4 * one.elements
    ends = one.head.elements + one.tail.elements
    smallest = state_bytes(one, 1, Dtype.BF16, eight_bit=False)
    assert 4 * ends < smallest < 4.1 * ends


def test_at_full_rank_galore_saves_nothing():
    one = preset("llama-2-7b")
    assert state_bytes(one, 4096, Dtype.BF16, eight_bit=False) > adam_state_bytes(one, Dtype.BF16)


def test_only_a_fitted_row_has_a_prediction_without_itself():
    with pytest.raises(ValueError, match="a row that helped to fit the context, and no other"):
        replace(rows()["adamw-memory/opt-6.7b"], left_out=1.0)


@pytest.mark.parametrize(
    ("claim", "bound"),
    [
        ("zo2-nvml-memory", 0.031),
        ("zo2-allocated-memory-fp16", 0.003),
        ("mezo-memory-fp16", 0.04),
        ("adamw-memory", 0.02),
    ],
)
def test_memory_rows_stay_as_close_as_they_are(claim: str, bound: float):
    assert max(abs(row.ratio - 1.0) for row in of(claim)) < bound


@pytest.mark.parametrize(("claim", "bound"), [("gpt2-block", 0.15), ("megatron-1.2b", 0.06)])
def test_measurements_that_are_no_claims_are_met(claim: str, bound: float):
    """They test the cost model of training on the cards of the throughput claims."""
    assert max(abs(row.ratio - 1.0) for row in of(claim)) < bound


def test_every_feasibility_claim_agrees():
    assert all(row.agrees for row in rows().values() if row.kind in ("feasibility", "fit"))


def test_a_slow_link_explains_the_overhead_of_a_large_model(monkeypatch: pytest.MonkeyPatch):
    slow = what_if(named(overhead.MACHINE), "link.both_h2d_gb_per_s", 8)
    monkeypatch.setattr(overhead, "named", lambda _: slow)
    only = {"zo2-nvml-memory": {"values": ["opt-175b"]}}
    monkeypatch.setattr(overhead, "published_claims", lambda: only)
    row = next(overhead.overhead_rows())
    assert (row.item, row.agrees) == ("fp16 opt-175b", False)
    assert re.match(r"the link takes \d+\.\d\d s for a step whose compute takes", row.why)
    assert "uploads get 8.0 of 25.5 GB/s on the median host" in row.why


def test_a_rate_that_is_predicted_too_high_names_the_closest_setup():
    why = rows()["zero-offload/tflops_pytorch_1.4b"].why
    assert re.search(r"closest is 3\d\.\d \(\+1\d%\) with batch 1, checkpointing off", why)
    assert re.search(r"a step of Megatron-LM's 1.2B on this card \([+-]\d%\)", why)
    assert "without it the nominal setup gives 3" in why


def test_tf32_explains_why_fp32_has_no_more_overhead_here():
    why = rows()["zo2-no-overhead/fp32 opt-13b"].why
    assert re.search(r"with TF32 allowed the ratio is 0\.[67]\d$", why)


def test_overhead_grows_with_size():
    ratios = [row.predicted for row in of("zo2-no-overhead") if row.item.startswith("fp16")]
    assert ratios == sorted(ratios, reverse=True)


def test_rates_are_inside_their_range():
    for row in rows().values():
        if row.kind == "throughput":
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.predicted <= row.high <= 2 * row.low


@pytest.mark.parametrize("one", with_range("tflops"), ids=lambda s: f"{s.claim}/{s.value}")
def test_every_plausible_setup_fits_and_is_free_of_hazards(one: Setup):
    for case in one.cases():
        assert all(place.fits for place in case.fits)
    program = one.nominal.program
    assert (*verify(program), *check_training(program)) == ()


def test_the_nominal_setup_takes_the_first_option_of_everything():
    cases = list(setup("zero-offload", "tflops_10b").cases())
    found = [
        (c.training.microbatches, c.machine.device.fp16_flops_per_s.value / 1e12)  # pyright: ignore[reportOptionalMemberAccess]
        for c in cases
    ]
    assert found == [(1, 125.0), (1, 83.0), (4, 125.0), (4, 83.0)]
    assert setup("zero-offload", "tflops_10b").nominal == cases[0]


def test_setups_say_why():
    for one in with_range(""):
        assert one.why
        assert all(part.why for part in one.opens)


def test_a_machine_of_a_claim_keeps_the_provenance_of_each_change():
    found = machine_named("fuyou-server-deepspeed-io")
    nvme = found.nvme
    assert nvme is not None
    assert nvme.read_bytes_per_s.value == 30e9
    assert "deepnvme" in nvme.read_bytes_per_s.source
    assert found.host.num_cores.value == 52
    assert found.device == machine_named("rtx-4090-24gb").device


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("gpt2-10b", 10.28),
        ("gpt2-1.2b", 1.215),
        ("gpt2-1.4b", 1.414),
        ("gpt3-13b", 12.85),
        ("gpt-1t", 1008.0),
        ("llama-30b", 32.53),
        ("opt-13b", 12.85),
    ],
)
def test_models_of_claims_have_the_published_size(name: str, billions: float):
    assert model_named(name).elements / 1e9 == pytest.approx(billions, rel=0.002)


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match=r"a setup's model must be one of gpt2-10b, .*; nothing"):
        model_named("nothing")


def test_within_is_relative_to_the_publication():
    assert within(75.0, 100.0, 0.25)
    assert not within(74.9, 100.0, 0.25)
    assert within(125.0, 100.0, 0.25)


def test_a_range_that_spans_more_than_a_factor_of_two_says_nothing():
    assert tolerance("widest_range") == 2.0
    assert inside(1.0, 2.0, 1.5)
    assert not inside(1.0, 2.1, 1.5)
    assert not inside(1.0, 2.0, 2.05)


def test_a_disagreement_without_a_reason_is_unsettled():
    row = Row(
        claim="fuyou",
        item="tflops_13b",
        kind="throughput",
        unit="TFLOP/s",
        published=156.0,
        predicted=78.0,
        agrees=False,
    )
    assert not row.settled
    assert row.relative_error == -0.5
    assert row.record["id"] == "fuyou/tflops_13b"
    assert row.source == "abstract of arXiv:2403.06504"
