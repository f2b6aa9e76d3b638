"""Traces as PyTorch's profiler writes them, read by the tool that people read those with."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.holistic import CALLS, POINT, opened, shares
from tests.machines import costs, rates
from zo2sim.machines.file import named
from zo2sim.models.presets import preset
from zo2sim.models.shapes import deeper
from zo2sim.plan.choices import Plan, Recipe
from zo2sim.policies import Shape, build
from zo2sim.predict.case import Case
from zo2sim.predict.predict import Prediction, predict
from zo2sim.schedule.ops import Stream
from zo2sim.simulate.events import simulate
from zo2sim.simulate.kineto import kineto_json
from zo2sim.simulate.trace import Trace, Window, breakdown


def written(trace: Trace, **options: Any) -> dict[str, Any]:
    return json.loads(kineto_json(trace, name="run", metadata={"commit": "0123abc"}, **options))


def slices(document: dict[str, Any], category: str) -> list[dict[str, Any]]:
    return [e for e in document["traceEvents"] if e["ph"] == "X" and e["cat"] == category]


@pytest.fixture(scope="module")
def trace() -> Trace:
    program = build(Shape(num_blocks=3), Plan(), Recipe())
    return simulate(program, costs(h2d=3, forward=4, d2h=2, loss=1), rates(), periods=3)


def test_an_operation_on_the_device_correlates_with_one_launch(trace: Trace):
    document = written(trace)
    launches = Counter(e["args"]["correlation"] for e in slices(document, "cuda_runtime"))
    works = [*slices(document, "kernel"), *slices(document, "gpu_memcpy")]
    assert launches == Counter(e["args"]["correlation"] for e in works)
    assert set(launches.values()) == {1}


def test_a_launch_comes_before_what_it_launches(trace: Trace):
    document = written(trace)
    at = {e["args"]["correlation"]: e["ts"] for e in slices(document, "cuda_runtime")}
    works = [*slices(document, "kernel"), *slices(document, "gpu_memcpy")]
    assert all(at[e["args"]["correlation"]] < e["ts"] for e in works)


def test_slices_of_a_stream_are_whole_microseconds_and_never_overlap(trace: Trace):
    ends: defaultdict[int, int] = defaultdict(int)
    for event in [*slices(written(trace), "kernel"), *slices(written(trace), "gpu_memcpy")]:
        assert all(isinstance(event[key], int) for key in ("ts", "dur"))
        assert event["ts"] >= ends[event["tid"]]
        ends[event["tid"]] = event["ts"] + event["dur"]


def test_a_step_lasts_from_loss_to_loss(trace: Trace):
    steps = slices(written(trace), "user_annotation")
    assert [e["name"] for e in steps] == ["ProfilerStep#0", "ProfilerStep#1", "ProfilerStep#2"]
    assert [e["ts"] + e["dur"] for e in steps] == [1 + 1e6 * end_s for end_s in trace.losses_s]


def test_a_copy_bears_its_bytes_where_they_are_known(trace: Trace):
    (copy, *_) = slices(written(trace, copied_bytes={"H0": 6e9}), "gpu_memcpy")
    assert copy["name"] == "Memcpy HtoD (Pinned -> Device)"
    assert (copy["args"]["bytes"], copy["args"]["memory bandwidth (GB/s)"]) == (6e9, 2.0)
    (untold, *_) = slices(written(trace), "gpu_memcpy")
    assert "bytes" not in untold["args"]


# Holistic Trace Analysis


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    model, machine = deeper(preset("opt-1.3b"), 6), named("rtx-4090-24gb")
    return predict(Case(model=model, machine=machine, plan=Plan(), recipe=Recipe()))


@pytest.fixture(scope="module")
def analysis(prediction: Prediction, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("traces")
    return opened(prediction.trace, folder, copied_bytes=prediction.copied_bytes)


@pytest.fixture(scope="module")
def window(prediction: Prediction) -> Window:
    """What it looks at: all steps but the last."""
    return Window(0.0, prediction.trace.losses_s[-2])


@pytest.mark.filterwarnings("ignore")
def test_it_finds_the_same_shares(analysis: Any, prediction: Prediction, window: Window):
    own = breakdown(prediction.trace, window)
    assert shares(analysis) == pytest.approx(
        {
            "computing": own.busy_s[Stream.COMPUTE] / own.length_s,
            "idle": own.bubble_s / own.length_s,
            "exposed": own.exposed_s / (own.length_s - own.bubble_s),
        },
        abs=POINT,
    )


@pytest.mark.filterwarnings("ignore")
def test_it_finds_the_bandwidth_that_was_predicted(analysis: Any, prediction: Prediction):
    """Of both ways; where one copy follows another within its rounding, it sums the two."""
    series = analysis.get_memory_bw_time_series()[0]
    found = series["memory_bw_gbps"][series["memory_bw_gbps"] > 0.0]
    copies = [s for s in prediction.trace.spans if s.op.name in prediction.copied_bytes]
    own = [prediction.copied_bytes[s.op.name] / s.duration_s / 1e9 for s in copies if s.duration_s]
    assert found.median() == pytest.approx(median(own), rel=0.05)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", CALLS)
def test_its_other_calls_answer(analysis: Any, call: str):
    assert len(CALLS[call](analysis)) > 0


@pytest.mark.filterwarnings("ignore")
def test_queues_are_never_shorter_than_nothing(analysis: Any):
    lengths = analysis.get_queue_length_summary()["queue_length"]
    assert (lengths["min"] >= 0).all()
    assert (lengths["max"] > 0).all()


@pytest.mark.filterwarnings("ignore")
def test_it_adds_its_counters(analysis: Any, tmp_path: Path):
    analysis.generate_trace_with_counters(output_suffix="_counted")
    (file,) = Path(analysis.t.trace_path).glob("*_counted*")
    assert file.stat().st_size > 0
