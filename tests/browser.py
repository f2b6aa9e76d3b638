"""A browser that is installed here, without a window: what a page logs, asks for, looks like."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    "chrome-headless-shell",
)
_LOCAL = ("file:", "data:", "blob:", "about:")


def executable() -> str | None:
    """The browser's path; None where there is none, or nothing that drives it."""
    if find_spec("playwright") is None:
        return None
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass  # without slots: the driver leaves notes on what it calls
class Seen:
    """What a tab has come to so far: ``errors`` are warnings, too, ``requests`` addresses that are
    neither files nor inside the page, ``messages`` all that it logs."""

    errors: list[str]
    requests: list[str]
    messages: list[str]

    @classmethod
    def by(cls, tab: Any) -> "Seen":
        """All that comes from now on."""
        seen = cls([], [], [])
        tab.on("console", seen._log)
        tab.on("pageerror", lambda error: seen.errors.append(str(error)))
        tab.on("request", seen._ask)
        return seen

    @property
    def complaints(self) -> list[str]:
        """Whatever a quiet page does not do."""
        return [*self.messages, *self.errors, *self.requests]

    def _log(self, message: Any) -> None:
        self.messages.append(f"{message.type}: {message.text}")
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _ask(self, asked: Any) -> None:
        if not asked.url.startswith(_LOCAL):
            self.requests.append(asked.url)


@contextmanager
def started() -> Iterator[Any]:
    """The browser. The test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
    program = executable()
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, fragment: str = "", **context: Any) -> Iterator[Any]:
    """A tab with a file, which shares nothing with another, and as ``seen`` what it did."""
    with browser.new_context(**context) as alone:
        tab = alone.new_page()
        tab.seen = Seen.by(tab)
        tab.goto(f"{file.resolve().as_uri()}{fragment}")
        yield tab


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What opening a page showed; ``said`` is what an expression came to there."""

    errors: tuple[str, ...]
    requests: tuple[str, ...]
    title: str
    said: Any
    height: float


def visit(page: Path, *, ask: str = "null") -> Visit:
    """Open a local file, wait until it has loaded, evaluate ``ask``, and say what happened.

    It is evaluated as in the console, which no policy of the page keeps from it.
    """
    room = {"width": 1000, "height": 800}
    with started() as browser, opened(browser, page, viewport=room) as tab:
        console = tab.context.new_cdp_session(tab)
        height, said = (
            console.send("Runtime.evaluate", {"expression": words})["result"].get("value")
            for words in ("document.documentElement.scrollHeight", ask)
        )
        return Visit(
            errors=tuple(tab.seen.errors),
            requests=tuple(tab.seen.requests),
            title=tab.title(),
            said=said,
            height=height,
        )
