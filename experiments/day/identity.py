"""What the machine is: card, driver, topology, host and the versions that run on it."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from experiments.folder.provenance import commit

_FIELDS = (
    *("index", "name", "uuid", "driver_version", "vbios_version", "memory.total"),
    *("power.limit", "power.default_limit", "clocks.max.sm", "clocks.max.memory", "clocks.sm"),
    *("temperature.gpu", "pcie.link.gen.current", "pcie.link.gen.max"),
    *("pcie.link.width.current", "pcie.link.width.max", "ecc.mode.current", "mig.mode.current"),
    *("persistence_mode", "clocks_event_reasons.active"),
)
_PACKAGES = ("torch", "transformers", "numpy", "numba", "triton", "accelerate", "safetensors")
_QUESTIONS: dict[str, tuple[str, ...]] = {
    "nvidia-smi": ("nvidia-smi",),
    "topology": ("nvidia-smi", "topo", "-m"),
    "cores": ("lscpu",),
    "numa": ("numactl", "--hardware"),
}
_LIMIT_S = 5.0


def identity() -> dict[str, Any]:
    """Everything that can be asked; what cannot says why in its place."""
    return {
        "commit": commit(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {
            name: _asked(lambda n=name: importlib.metadata.version(n)) for name in _PACKAGES
        },
        "torch.cuda": torch.version.cuda,
        "device": _asked(_device),
        "cards": {field: _asked(lambda f=field: _card(f)) for field in _FIELDS},
        "host_memory_bytes": psutil.virtual_memory().total,
        "host_available_bytes": psutil.virtual_memory().available,
        "num_cores": psutil.cpu_count(logical=False),
        "num_threads": psutil.cpu_count(),
        "cpu": _asked(_cpu),
        **{name: _asked(lambda w=words: _said(*w)) for name, words in _QUESTIONS.items()},
    }


def _card(field: str) -> list[str]:
    """Per card; fields are asked one by one, as an older driver refuses all for one."""
    return _said("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader").splitlines()


def _device() -> dict[str, Any]:
    known = torch.cuda.get_device_properties(torch.cuda.current_device())
    names = ("name", "total_memory", "multi_processor_count", "major", "minor", "L2_cache_size")
    return {name: getattr(known, name, None) for name in names}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


def _said(*words: str) -> str:
    return subprocess.run(
        words, capture_output=True, text=True, check=True, timeout=_LIMIT_S
    ).stdout.strip()


def _asked(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except Exception as error:
        return f"not known: {type(error).__name__}: {error}"
