"""The trace of a real run in Kineto's form: the tool that reads it finds what we find."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.holistic import CALLS, POINT, opened, shares
from tests.zo2rt.engine.engine_runs import recipe, run
from zo2sim.plan.choices import Plan
from zo2sim.schedule.ops import Stream
from zo2sim.simulate.trace import Window, breakdown


@pytest.mark.filterwarnings("ignore")
def test_a_measured_trace_is_read_with_the_same_shares(tmp_path: Path):
    trace = run("opt", Plan(), recipe()).trace
    analysis = opened(trace, tmp_path)
    ended = tuple(span for span in trace.spans if span.step < len(trace.losses_s))  # as it does
    own = breakdown(replace(trace, spans=ended), Window(0.0, trace.losses_s[-1]))
    assert shares(analysis) == pytest.approx(
        {
            "computing": own.busy_s[Stream.COMPUTE] / own.length_s,
            "idle": own.bubble_s / own.length_s,
            "exposed": own.exposed_s / (own.length_s - own.bubble_s),
        },
        abs=POINT,
    )
    assert all(len(call(analysis)) for call in CALLS.values())
    analysis.generate_trace_with_counters(output_suffix="_counted")
    assert [*tmp_path.glob("*_counted*")]
