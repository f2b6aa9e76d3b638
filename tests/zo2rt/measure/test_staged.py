"""Copies by threads through page-locked buffers: all bytes arrive, and the rows count them."""

import pytest

from tests.zo2rt.backends.fake_accelerator import FakeAccelerator
from zo2rt.backends import CudaBackend, HostBackend
from zo2rt.measure import staged as module
from zo2rt.measure.staged import staged


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("nbytes", [256, 1000, 5000])
def test_what_is_copied_up_comes_down(
    num_threads: int, nbytes: int, monkeypatch: pytest.MonkeyPatch
):
    """With fewer chunks than buffers, and with more."""
    seen: list[tuple[list[bytes], list[bytes]]] = []
    download = module._download

    def noted(backend, pool, buffers, device, host) -> None:  # type: ignore[no-untyped-def]
        for chunk in host:
            chunk.zero_()
        download(backend, pool, buffers, device, host)
        seen.append(([bytes(c.numpy()) for c in device], [bytes(c.numpy()) for c in host]))

    monkeypatch.setattr(module, "_download", noted)
    with HostBackend() as backend:
        rows = [*staged(backend, nbytes, num_threads=num_threads, chunk_bytes=256)]
    whole = -(-nbytes // 256)
    assert all(device == host == [b"\x01" * 256] * whole for device, host in seen)
    assert [row.amounts for row in rows] == [
        *[{"link.staged_h2d_bytes_per_s": 256.0 * whole}] * 3,
        *[{"link.staged_d2h_bytes_per_s": 256.0 * whole}] * 3,
    ]


def test_only_the_buffers_between_are_page_locked(monkeypatch: pytest.MonkeyPatch):
    fake = FakeAccelerator().install(monkeypatch)
    with CudaBackend() as backend:  # which refuses other memory
        for _ in staged(backend, 4096, num_threads=2, chunk_bytes=256):
            assert backend.memory().pinned_bytes == 2 * 2 * 256
    assert fake.locked == {}
