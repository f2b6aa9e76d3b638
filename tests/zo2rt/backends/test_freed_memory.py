"""Lanes find the memory that earlier lanes freed, instead of faulting it in anew."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from zo2rt.backends.process import keep_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")

_PAGES = 1000
_FAULTS = f"""
import resource
from threading import Thread
from zo2rt.backends import HostBackend

def lane():
    kept = [bytearray(b"x" * 100_000) for _ in range({_PAGES * 4096 // 100_000})]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = Thread(target=lane)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def median():
    return sorted(faults() for _ in range(9))[4]

print(median())
HostBackend().close()
print(median())
"""
"""A thread that comes, uses four megabytes in pieces, frees them and goes: faults, the median."""


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch):
    """The environment says nothing of malloc."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)


@glibc
def test_a_lane_finds_what_the_one_before_it_freed():
    said = subprocess.check_output([sys.executable, "-c", _FAULTS])
    before, found = map(int, said.split())
    assert before > 0.5 * _PAGES  # what there would be, were nothing done
    assert found < 0.1 * _PAGES


@glibc
def test_glibc_takes_every_setting():
    assert keep_freed_memory()


def test_what_the_environment_says_stands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_another_malloc_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
