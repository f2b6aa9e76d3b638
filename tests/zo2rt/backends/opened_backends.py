"""Every backend under test, by name: the contract is the same for all of them."""

from collections.abc import Callable

import pytest
import torch

from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from zo2rt.backends import Backend, CudaBackend, HostBackend, LinkLimit, VirtualBackend
from zo2rt.races.backend import Checked

SLOW = LinkLimit(
    h2d_bytes_per_s=1e8, d2h_bytes_per_s=1e8, both_h2d_bytes_per_s=5e7, both_d2h_bytes_per_s=5e7
)

PLAIN: dict[str, Callable[[], Backend]] = {
    "host": HostBackend,
    "host, limited": lambda: HostBackend(SLOW),
    "virtual": VirtualBackend,
    "cuda, fake": CudaBackend,
}
CHECKED = {
    f"{name}, checked": lambda new=new: Checked(new())
    for name, new in PLAIN.items()
    if name != "host, limited"
}
REAL_DEVICE = pytest.param("cuda", marks=pytest.mark.gpu)
NAMES = (*PLAIN, *CHECKED, REAL_DEVICE)


def open_backend(name: str, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Skips the test where it asks for an accelerator that is not there."""
    if name == "cuda":
        if not torch.accelerator.is_available():
            pytest.skip("needs an accelerator")
        return CudaBackend()
    if "fake" in name:
        FakeAccelerator().install(monkeypatch)
    return {**PLAIN, **CHECKED}[name]()
