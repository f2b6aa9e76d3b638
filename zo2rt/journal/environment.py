"""The environment of this process, as the journal header records it."""

import numpy as np
import torch

from zo2rt.journal.header import Environment


def environment(device: torch.device) -> Environment:
    """Versions, intra-op threads and the kind of device; equal ones give equal bits (DESIGN 3)."""
    return Environment(
        torch=torch.__version__,
        numpy=np.__version__,
        threads=torch.get_num_threads(),
        device=_device_name(device),
    )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
