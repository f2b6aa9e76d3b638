"""What memory a run takes: its arena, and by how much a process of its own grows.

The runtime and libraries keep what lanes have freed or may need again ([Note: freed memory] in
`zo2rt.backends.process`), up to a half more than a run with long sequences needs. That is no part
of the account, so the process is told to give back at once what it frees.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import psutil

from zo2rt.measure.runs import RunSpec, opened

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # proc(5): resets the peak resident set size to the current one
_STEPS = 2
_KEEPING_NOTHING = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 17),  # mallopt(3): glibc's default, held fixed
    "MKL_DISABLE_FAST_MM": "1",  # oneMKL Developer Guide: no buffers kept for a thread
}
_SMALL = {
    "hidden_size": 32,
    "ffn_dim": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "word_embed_proj_dim": 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes of the runtime's device buffers, and the process's growth from before the model was
    made to the peak of its steps (resident set size)."""

    arena_bytes: int
    grown_bytes: int


def footprint_apart(spec: RunSpec) -> Footprint:
    """Measured in a new process, because one that has run other models has memory to reuse.

    Needs Linux, whose kernel tells a process the peak of its memory (proc(5)). Raises
    ``ChildProcessError`` where the process dies, as it does where there is too little memory.
    """
    with (
        _environment(_KEEPING_NOTHING),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
    ):
        try:
            return executor.submit(_footprint, spec).result()
        except BrokenExecutor as error:
            raise ChildProcessError(
                f"{spec.name}: the process that measures memory died; is there enough? ({error})"
            ) from error


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started inside inherit; those of before afterwards."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _footprint(spec: RunSpec) -> Footprint:
    with opened(_small(spec)) as running:  # loads libraries and compiles kernels
        running.steps_s(_STEPS, warm_up=0)
    before = psutil.Process().memory_info().rss
    with opened(spec) as running:
        running.steps_s(_STEPS, warm_up=0)
        _CLEAR.write_text(_FORGET_PEAK)
        running.steps_s(_STEPS, warm_up=0)
        arena_bytes = running.engine.device_bytes
        return Footprint(arena_bytes=arena_bytes, grown_bytes=_peak_bytes() - before)


def _small(spec: RunSpec) -> RunSpec:
    """The same plan and recipe on a model of the same family that weighs nothing."""
    small = {name: _SMALL.get(name, value) for name, value in spec.config.items()}
    recipe = replace(spec.recipe, sequence=min(spec.recipe.sequence, 8))
    plan = replace(spec.plan, num_slots=min(spec.plan.num_slots, 2))
    return replace(spec, config=small, recipe=recipe, plan=plan)


def _peak_bytes() -> int:
    """The largest resident set size since it was last forgotten."""
    lines = _STATUS.read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024
