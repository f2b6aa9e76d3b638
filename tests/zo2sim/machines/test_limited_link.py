"""A limit on the link: a number of the machine says so, and no text does."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.validation.op_errors import LIMIT, op_errors
from experiments.campaign.designs import held_out_runs
from experiments.campaign.recorded_run import case_of
from tests.calibrated import calibrated_host
from tests.thorough import examples
from zo2sim.machines.file import dump, load, named
from zo2sim.machines.machine import PARTS, Machine
from zo2sim.machines.quantity import quantities_of
from zo2sim.machines.what_if import cap_link, replace_all, scale_link
from zo2sim.models.presets import preset
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.predict.bands import band
from zo2sim.predict.case import Case
from zo2sim.predict.predict import predict
from zo2sim.predict.sensitivity import elasticities, varied

HOST, CARD = calibrated_host(1.5), named("a100-pcie-80gb")
RUN = replace(next(held_out_runs()), link_bytes_per_s=None)
MACHINES = {
    "a host": HOST,
    "a host, limited": cap_link(HOST, 2e8),
    "a card": CARD,
    "a card, limited": cap_link(CARD, 5e9),
}
RATES = {key for key in CARD.quantities if re.fullmatch(r"link\..*_bytes_per_s", key)}


def case(machine: Machine) -> Case:
    """Of a run as validation has it, or of a small model where a card computes."""
    if machine.cpu is not None:
        return case_of(RUN, machine)
    return Case(model=preset("opt-125m"), machine=machine, plan=Plan(), recipe=Recipe())


def reworded(machine: Machine, text: str) -> Machine:
    """The same numbers; every text that is free says this."""
    parts = {name: getattr(machine, name) for name in PARTS}
    said = {
        name: replace(part, **{k: replace(q, source=text) for k, q in quantities_of(part)})
        for name, part in parts.items()
        if part is not None
    }
    return replace(machine, name=text, description=text, **said)


# What a machine says in words


@settings(max_examples=examples(25), deadline=None)
@given(
    name=st.sampled_from(tuple(MACHINES)),
    words=st.tuples(st.text(max_size=9), st.text(max_size=9)).map(" limited to ".join),
)
def test_no_text_changes_a_prediction(name: str, words: str):
    machine = MACHINES[name]
    one, other = (predict(case(m)) for m in (machine, reworded(machine, words)))
    assert other.trace == one.trace
    assert (other.bound.step_s, other.fits) == (one.bound.step_s, one.fits)
    assert band(other, draws=20) == band(one, draws=20)
    assert blamed(other.case) == blamed(one.case)


def blamed(one: Case) -> list[str]:
    """The constants that stand for the operations of a case."""
    trace = predict(one).trace
    measured_s = {span.op.name: 1.0 for span in trace.spans}
    return [error.constant for error in op_errors(trace, one, measured_s, "run")]


def test_a_file_that_has_the_words_alone_is_of_no_limited_link():
    limited = cap_link(HOST, 2e8)
    text = re.sub(r"(?m)^limit_bytes_per_s.*\n", "", dump(limited))
    assert "limited to 2e+08 B/s" in text
    found = load(text, where="m.toml")
    assert not any(map(found.is_limited, found.quantities))
    assert replace(found, link=limited.link) == limited
    assert LIMIT in blamed(case(limited))
    assert LIMIT not in blamed(case(found))


# What a limit does


@pytest.mark.parametrize(
    ("limit_bytes_per_s", "step_s", "high_step_s"),
    [
        (None, 0.07206480319999983, 0.08255865088739825),
        (2e8, 0.08800831619999988, 0.0917883106110848),
        (2e9, 0.07206480319999983, 0.08359966198792326),
    ],
)
def test_a_prediction_with_a_limit_is_to_the_digit_what_it_was(
    limit_bytes_per_s: float | None, step_s: float, high_step_s: float
):
    prediction = predict(case_of(replace(RUN, link_bytes_per_s=limit_bytes_per_s), HOST))
    assert prediction.step_s == pytest.approx(step_s, rel=1e-12)
    assert band(prediction).high_step_s == pytest.approx(high_step_s, rel=1e-12)


def test_a_limit_sets_what_is_faster_and_hides_what_a_copy_costs_beside_its_bytes():
    mixed = {key: 1e9 if "d2h" in key else 3e9 for key in RATES}
    host, card = (cap_link(replace_all(m, mixed), 2e9) for m in (HOST, CARD))
    faster = {key for key in RATES if "h2d" in key} | {"link.limit_bytes_per_s"}
    assert {key for key in card.quantities if card.is_limited(key)} == faster
    beside = {"link.latency_s", "link.half_size_bytes"}
    assert {key for key in host.quantities if host.is_limited(key)} == faster | beside
    assert {key: q.value for key, q in card.quantities.items() if key in RATES} == {
        key: min(rate, 2e9) for key, rate in mixed.items()
    }


def test_of_two_limits_the_tighter_one_holds():
    for one, other in ((5e9, 2e9), (2e9, 5e9)):
        link = cap_link(cap_link(CARD, one), other).link
        assert {q.value for name, q in quantities_of(link) if name.endswith("per_s")} == {2e9}


def test_a_scaled_link_has_its_limit_scaled():
    link = scale_link(cap_link(CARD, 4e9), 0.5).link
    assert link.limit_bytes_per_s is not None
    assert link.limit_bytes_per_s.value == link.h2d_bytes_per_s.value == 2e9


def test_a_limit_bounds_how_far_a_rate_is_varied():
    limited = cap_link(CARD, 4e9)
    up, down = (varied(limited, "link.h2d_bytes_per_s", f).link for f in (2.0, 0.5))
    assert (up.h2d_bytes_per_s.value, down.h2d_bytes_per_s.value) == (4e9, 2e9)
    tighter = varied(limited, "link.limit_bytes_per_s", 0.5).quantities
    assert {tighter[key].value for key in RATES} == {2e9}
    wider = varied(limited, "link.limit_bytes_per_s", 2.0).quantities
    assert {wider[key].value for key in RATES} == {4e9}
    swings = {row.key: (row.low_s, row.high_s) for row in elasticities(case(limited))}
    low_s, high_s = swings["link.limit_bytes_per_s"]
    assert low_s > high_s == predict(case(limited)).step_s


# In a file


def test_a_limit_survives_its_file_and_takes_any_unit():
    limited = cap_link(HOST, 2e8)
    text = dump(limited)
    assert load(text, where="m.toml") == limited
    line = 'limit_gb_per_s = { value = 0.2, provenance = "assumed", source = "a quota" }'
    found = load(re.sub(r"(?m)^limit_bytes_per_s.*$", line, text), where="m.toml").link
    assert found.limit_bytes_per_s is not None
    assert found.limit_bytes_per_s.value == 2e8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'limit_gb_per_s = { value = 20, provenance = "assumed", source = "a quota" }',
            "link.h2d_bytes_per_s must not exceed link.limit_bytes_per_s (no more is let through); "
            "got 2.55e+10 and 2e+10 B/s",
        ),
        (
            "limit_bytes_per_s = true",
            "link.limit_bytes_per_s must be a table { value, provenance, source }; got True",
        ),
        (
            'limit_bytes_per_s = { value = 20, provenance = "assumed", source = "a quota" }',
            "link.limit_bytes_per_s must lie in [1e6, 1e13] B/s; got 20: is the unit GB/s? "
            "use limit_gb_per_s",
        ),
    ],
)
def test_a_limit_that_cannot_be_is_refused(line: str, message: str):
    text = dump(CARD).replace("[link]", f"[link]\n{line}")
    with pytest.raises(ValueError, match=f"^m.toml: {re.escape(message)}$"):
        load(text, where="m.toml")
