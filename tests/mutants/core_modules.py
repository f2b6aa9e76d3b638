"""The modules on which every result rests, and which tests are theirs (`tests.mutate`)."""

from dataclasses import dataclass

_SCHEDULE, _SIMULATE = "tests/zo2sim/schedule/", "tests/zo2sim/simulate/"
_ENGINE, _DEVICES = "tests/zo2rt/engine/", f"{_SCHEDULE}test_devices.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Modules, and the tests that are theirs, quick ones first."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = {
    "schedule": Group(
        modules=("zo2sim/schedule/ops.py", "zo2sim/schedule/unroll.py", "zo2sim/schedule/text.py"),
        tests=(f"{_SCHEDULE}test_ops.py", f"{_SCHEDULE}test_unroll.py", "tests/zo2sim/policies"),
    ),
    "edges": Group(
        modules=("zo2sim/schedule/edges.py",),
        tests=(f"{_SCHEDULE}test_edges.py", "tests/zo2sim/policies", _DEVICES),
    ),
    "verify": Group(
        modules=(
            "zo2sim/schedule/verify.py",
            "zo2sim/schedule/versions.py",
            "zo2sim/schedule/completeness.py",
            "zo2sim/schedule/hazard.py",
        ),
        tests=(
            f"{_SCHEDULE}test_versions.py",
            f"{_SCHEDULE}test_verify.py",
            _DEVICES,
            f"{_SCHEDULE}test_completeness.py",
        ),
    ),
    "simulate": Group(
        modules=(
            "zo2sim/simulate/events.py",
            "zo2sim/simulate/steady.py",
            "zo2sim/simulate/work.py",
            "zo2sim/simulate/trace.py",
        ),
        tests=(f"{_SIMULATE}test_events.py", _SIMULATE),
    ),
    "bounds": Group(
        modules=("zo2sim/simulate/bounds.py",),
        tests=(
            f"{_SIMULATE}test_bounds.py",
            f"{_SIMULATE}test_sharing.py",
            "tests/zo2sim/predict/test_predict.py",
        ),
    ),
    "memory": Group(
        modules=(
            "zo2sim/memory/account.py",
            "zo2sim/memory/runtime.py",
            "zo2sim/memory/workspace.py",
            "zo2sim/memory/pinned.py",
            "zo2sim/memory/placements.py",
        ),
        tests=(
            "tests/zo2sim/memory",
            "tests/zo2rt/memory/test_room.py",
            "tests/zo2sim/search/test_search.py",
        ),
    ),
    "cost": Group(
        modules=(
            "zo2sim/cost/__init__.py",
            "zo2sim/cost/cpu.py",
            "zo2sim/cost/passes.py",
            "zo2sim/cost/setting.py",
            "zo2sim/cost/transfer.py",
            "zo2sim/cost/forward.py",
        ),
        tests=("tests/zo2sim/cost", "tests/zo2sim/predict/test_forward.py"),
    ),
    "policies": Group(
        modules=(
            "zo2sim/policies/__init__.py",
            "zo2sim/policies/layout.py",
            "zo2sim/policies/streaming.py",
            "zo2sim/policies/visit.py",
            "zo2sim/policies/reference.py",
            "zo2sim/policies/task.py",
        ),
        tests=("tests/zo2sim/policies", _DEVICES, f"{_SCHEDULE}test_completeness.py"),
    ),
    "execute": Group(
        modules=("zo2rt/steps/executor.py", "zo2rt/steps/conformance.py"),
        tests=("tests/zo2rt/steps",),
    ),
    "operations": Group(
        modules=("zo2rt/steps/operations.py", "zo2rt/steps/step.py"),
        tests=(f"{_ENGINE}test_operations.py", "tests/zo2rt/weights", "tests/zo2rt/devices"),
    ),
    "journal": Group(
        modules=(
            "zo2rt/journal/file.py",
            "zo2rt/journal/record.py",
            "zo2rt/journal/chain.py",
            "zo2rt/journal/reading.py",
            "zo2rt/journal/durable.py",
        ),
        tests=("tests/zo2rt/journal/test_journal.py", "tests/zo2rt/journal/test_durable.py"),
    ),
    "recovery": Group(
        modules=("zo2rt/journal/recovery.py", "zo2rt/journal/replay.py", "zo2rt/journal/run.py"),
        tests=(
            "tests/zo2rt/journal/test_journal.py",
            "tests/zo2rt/journal/test_snapshot.py",
            f"{_ENGINE}test_resume.py",
        ),
    ),
    "snapshot": Group(
        modules=("zo2rt/journal/snapshot.py", "zo2rt/journal/shard.py"),
        tests=("tests/zo2rt/journal/test_snapshot.py", f"{_ENGINE}test_resume.py"),
    ),
    "codec": Group(
        modules=("zo2rt/model/codec.py",),
        tests=("tests/zo2rt/model/test_codec.py", "tests/zo2rt/model"),
    ),
    "noise": Group(
        modules=(
            "zo2rt/noise/keys.py",
            "zo2rt/noise/kernels.py",
            "zo2rt/noise/draws.py",
            "zo2rt/noise/updates.py",
            "zo2rt/noise/sparsity.py",
            "zo2rt/noise/reference.py",
            "zo2rt/noise/rounding.py",
        ),
        tests=("tests/zo2rt/noise",),
    ),
}
"""The core, by what it is for."""


_OFFSET = "places on a track are only compared with each other"
_GATHERED = "the same bytes are written, in more or fewer calls"
EQUIVALENT = {
    "zo2sim/schedule/edges.py: self._clock_of = [[0] * len(tracks) for _ in tracks]  # of the last "
    "one on each track  # 0 -> 1": _OFFSET,
    "zo2sim/schedule/edges.py: clock[access.track] += 1  # 1 -> 2": _OFFSET,
    "zo2sim/schedule/edges.py: _PERIODS = 3  # the third period's edges are those of the steady "
    "state  # 3 -> 4": "so are the fourth's",
    "zo2sim/schedule/ops.py: TAIL = -2  # 2 -> 3": "a number that is no block's, nor the head's",
    "zo2sim/schedule/versions.py: last = steps[-1].step if steps else 0  # 0 -> 1": "without steps "
    "none is compared with it",
    "zo2sim/simulate/bounds.py: if limits[DEPENDENCIES] > max(result.values(), default=0.0) * "
    "(1 + 1e-9):  # limits[DEPENDENCIES] > max(result.values(), default=0.0) * (1 + 1e-09) -> "
    "limits[DEPENDENCIES] >= max(result.values(), default=0.0) * (1 + 1e-09)": "a tie of the last "
    "bit, between times that differ by rounding",
    'zo2sim/simulate/bounds.py: links = max(single.get("link_h2d", 0.0), single.get("link_d2h", '
    "0.0))  # 0.0 -> 1.0": "without traffic one way, both ways take what the other one takes",
    "zo2rt/journal/durable.py: _AT_ONCE = 2**20  # bytes that are gathered before they are "
    "written  # 2 -> 3": _GATHERED,
    "zo2rt/journal/durable.py: if len(small) + len(piece) > _AT_ONCE:  # len(small) + len(piece) > "
    "_AT_ONCE -> len(small) + len(piece) >= _AT_ONCE": _GATHERED,
    "zo2sim/simulate/steady.py: PERIODS = 4  # 4 -> 5": "it only says where to begin looking",
    "zo2rt/noise/sparsity.py: _CHUNK = 2**20  # 20 -> 21": "the same weights are counted, in fewer "
    "pieces",
    "zo2rt/steps/step.py: cursor: int = 0  # 0 -> 1": "only a step that trains is recorded, and "
    "it says its cursor",
    "zo2rt/model/codec.py: at_once = max(1, _ELEMENTS_AT_ONCE // source.shape[1])  # 1 -> 2": (
        "rows of which one alone fills the room are taken two at a time, to the same bytes"
    ),
}
"""Mutants that change no result, and why not."""
