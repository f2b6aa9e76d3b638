"""A browser that is installed here, without a window; tests are skipped where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextmanager
def started() -> Iterator[Any]:
    """The browser."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, fragment: str = "", **context: Any) -> Iterator[Any]:
    """A tab with a file, which shares nothing with another; ``complaints`` of it are messages,
    errors, and what it asked a network."""
    with browser.new_context(**context) as alone:
        tab = alone.new_page()
        tab.complaints = complaints_of(tab)
        tab.goto(f"{file.as_uri()}{fragment}")
        tab.locator("#command", has_text="zo2sim").wait_for()
        yield tab


def complaints_of(tab: Any) -> list[str]:
    found: list[str] = []
    tab.on("console", lambda message: found.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: found.append(str(error)))
    tab.on("request", lambda asked: found.append(asked.url) if _asks(asked.url) else None)
    return found


def _asks(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))
