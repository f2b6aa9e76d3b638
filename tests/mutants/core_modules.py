"""The modules on which every result rests, and which tests are theirs (`tests.mutate`)."""

from dataclasses import dataclass
from pathlib import Path

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
        tests=(
            f"{_ENGINE}test_operations.py",
            "tests/zo2rt/steps/test_supported.py",
            "tests/zo2rt/weights",
            "tests/zo2rt/devices",
        ),
    ),
    "journal": Group(
        modules=(
            "zo2rt/journal/file.py",
            "zo2rt/journal/record.py",
            "zo2rt/journal/chain.py",
            "zo2rt/journal/reading.py",
            "zo2rt/journal/durable.py",
        ),
        tests=(
            "tests/zo2rt/journal/test_journal.py",
            "tests/zo2rt/journal/test_lines.py",
            "tests/zo2rt/journal/test_durable.py",
        ),
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
        modules=("zo2rt/model/codec.py", "zo2rt/model/layout.py"),
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


def _equivalent(text: str) -> dict[str, str]:
    """Each line is a mutant, as it is printed; what it stands under says why it changes nothing."""
    found, why = dict[str, str](), ""
    for line in filter(None, text.splitlines()):
        if line.startswith("# "):
            why = line.removeprefix("# ")
        else:
            found[line] = why
    return found


EQUIVALENT = _equivalent((Path(__file__).parent / "equivalent.txt").read_text())
"""Mutants that change no result, and why not."""
