"""A headless Chromium, spoken to over a pipe: what a page logs, asks the network for, looks like.

The DevTools protocol (chromedevtools.github.io/devtools-protocol) with ``--remote-debugging-pipe``:
JSON messages that end in a null byte, written to file descriptor 3 and read from 4.
"""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"),
)
_PATIENCE_S = 60.0
_WITH_PIPES = """import fcntl, os, sys
out, into = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(out, 3)
os.dup2(into, 4)
os.execv(sys.argv[3], sys.argv[3:])"""
_LOCAL = ("file:", "data:", "about:")


def executable() -> str | None:
    """The browser's path, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What opening a page showed. ``requests`` are addresses beyond the page itself, ``said`` what
    an expression came to there."""

    errors: tuple[str, ...]
    requests: tuple[str, ...]
    title: str
    said: Any
    size: tuple[float, float]
    screenshot: bytes


def visit(page: Path, *, width: int = 1000, ask: str = "null") -> Visit:
    """Open a local file, wait until it has loaded, evaluate ``ask``, and say what happened."""
    with _browser() as browser:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        browser.session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            browser.call(f"{domain}.enable")
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.call("Page.navigate", url=page.resolve().as_uri())
        browser.wait_for("Page.loadEventFired")
        title, said = (
            browser.call("Runtime.evaluate", expression=words)["result"].get("value")
            for words in ("document.title", ask)
        )
        size = browser.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = browser.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        return Visit(
            errors=tuple(browser.errors()),
            requests=tuple(browser.requests()),
            title=title,
            said=said,
            size=(size["width"], size["height"]),
            screenshot=base64.b64decode(shot),
        )


class _Browser:
    """One process; events are kept in the order in which they came."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._out = os.fdopen(to_browser, "wb", buffering=0)
        self._in = from_browser
        self._text = b""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command and its result; raises ``RuntimeError`` with the browser's complaint."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait_for(self, method: str) -> None:
        """Read on until an event has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def errors(self) -> Iterator[str]:
        """Errors and warnings of the console, and exceptions."""
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    yield params["entry"]["text"]
                case "Runtime.exceptionThrown":
                    yield params["exceptionDetails"]["text"]
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
                    yield str(params["args"])
                case _:
                    pass

    def requests(self) -> Iterator[str]:
        """Addresses that the page asked for and that are neither files nor inside the page."""
        for event in self.events:
            if event.get("method") == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if not url.startswith(_LOCAL):
                    yield url

    def close(self) -> None:
        self._out.close()
        os.close(self._in)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._text:
            ready, _, _ = select.select([self._in], [], [], _PATIENCE_S)
            piece = os.read(self._in, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError(f"the browser says no more after {self._text[:200]!r}")
            self._text += piece
        message, _, self._text = self._text.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def _browser() -> Iterator[_Browser]:
    path = executable()
    assert path is not None
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = (path, *_FLAGS, f"--user-data-dir={profile}")
        process = subprocess.Popen(
            [sys.executable, "-c", _WITH_PIPES, str(down_read), str(up_write), *words],
            pass_fds=(down_read, up_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down_read)
        os.close(up_write)
        browser = _Browser(down_write, up_read)
        try:
            yield browser
        finally:
            browser.close()
            process.terminate()
            process.wait(timeout=20)
