"""NVML as a file of answers: what each question is answered, or the error that it is refused with.

The files under tests/data/nvml are written after NVIDIA's NVML API reference, not recorded on a
card. A list is answered item by item, by the question's last argument's place in `_SELECTORS`;
under "for" stands an answer per first argument, and whoever is not there is not found.
"""

import json
from types import SimpleNamespace
from typing import Any

from tests import TESTS

FOLDER = TESTS / "data" / "nvml"
_NOT_FOUND = 6
_SELECTORS = {
    "nvmlDeviceGetPcieThroughput": (1, 0),  # receive, send
    "nvmlDeviceGetClockInfo": (1, 2),  # SM, memory
}


class NVMLError(Exception):
    """As pynvml raises it."""

    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class FakeNvml:
    """Stands for the module `pynvml`; constants have the library's values."""

    NVMLError = NVMLError
    NVML_PCIE_UTIL_TX_BYTES = 0
    NVML_PCIE_UTIL_RX_BYTES = 1
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, name: str) -> None:
        self.answers: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
        self.asked: list[str] = []

    def __getattr__(self, question: str) -> Any:
        if question not in self.answers:
            raise AttributeError(question)
        return lambda *arguments: self._answer(question, arguments)

    def _answer(self, question: str, arguments: tuple[Any, ...]) -> Any:
        self.asked.append(question)
        answer = self.answers[question]
        if question in _SELECTORS and isinstance(answer, list):
            return answer[_SELECTORS[question].index(arguments[-1])]
        if isinstance(answer, dict) and "for" in answer:
            answer = answer["for"].get(arguments[0], {"error": _NOT_FOUND})
        if isinstance(answer, dict) and "error" in answer:
            raise NVMLError(answer["error"])
        return SimpleNamespace(**answer) if isinstance(answer, dict) else answer
