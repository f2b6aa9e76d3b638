"""Serves the page on this computer alone, and the engine's answers to it.

Only the loopback address is listened on. A question must name that address as its host and bring
JSON, so no other site that a browser has open can put one. The engine answers one at a time.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from experiments.case.model import model_of
from experiments.cli import json_object
from experiments.planner.computers import Computer
from experiments.planner.exact import Question, exact
from experiments.planner.stored import stored_model
from zo2sim.models.presets import resolve_config
from zo2sim.models.shapes import Model
from zo2sim.spelling import suggestion

LOOPBACK = "127.0.0.1"
_MOST_BYTES = 1 << 20
_UNREAD_BYTES = 4 << 20
"""Of a longer question, taken and dropped: who is still sending hears no answer."""
_ASKED = ("cards", "storage", "trains", "microbatches", "device", "host", "link", "drive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Answers questions, one at a time. ``pasted`` are models of configs that were sent.

    A position of the sliders that waited while they moved on is not computed any more.
    """

    computers: tuple[Computer, ...]
    models: tuple[str, ...]
    pasted: dict[str, Model] = field(default_factory=dict[str, Model])
    _lock: Lock = field(default_factory=Lock)
    _newest: list[object] = field(default_factory=list[object])

    def answer(self, path: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """What a question at a path has for an answer; ``ValueError`` where it is a bad one."""
        ask = {"/exact": self._exact, "/tables": self._tables}.get(path)
        if ask is None:
            raise ValueError(f"questions go to /exact or /tables; this went to {path}")
        self._newest[:] = [question]
        with self._lock:
            if path == "/exact" and self._newest[0] is not question:
                raise ValueError("the sliders have moved on")
            return ask(question)

    def _exact(self, question: Mapping[str, Any]) -> dict[str, Any]:
        asked = Question(**{name: question[name] for name in _ASKED if name in question})
        own = {one.card: one for one in self.computers if one.cards == asked.cards}
        what = "machine" if asked.cards == 1 else f"machine with {asked.cards} cards"
        computer = _among(own, question.get("machine"), what)
        return exact(asked, self._model(question.get("model")), computer.machine)

    def _tables(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Those of one number of cards: several take a minute for a deep model."""
        config, cards = question.get("config"), (int(question.get("cards", 1)),)
        if config is None:
            name = question.get("model")
            own = resolve_config(str(name)) if name in self.models else None
            found = stored_model(self._model(name), self.computers, own, cards=cards)
        else:
            found = stored_model(self._paste(config), self.computers, cards=cards)
        return {"content": found.content, "numbers": found.numbers}

    def _model(self, name: object) -> Model:
        if name in self.pasted:
            return self.pasted[str(name)]
        return model_of(_among({known: known for known in self.models}, name, "model"))

    def _paste(self, config: object) -> Model:
        """The model of a config, read as `plan --model config.json` reads it."""
        with TemporaryDirectory() as folder:
            own = Path(folder) / f"pasted-{len(self.pasted) + 1}"
            own.mkdir()
            (own / "config.json").write_text(json.dumps(config), encoding="utf-8")
            model = model_of(str(own))
        self.pasted[model.name] = model
        return model


def server(page: str, engine: Engine, *, port: int) -> ThreadingHTTPServer:
    """A server that listens already; port 0 is any that is free. Raises ``OSError`` where the port
    is taken."""

    class Handler(_Handler):
        content = page.encode()
        answers = staticmethod(engine.answer)

    return ThreadingHTTPServer((LOOPBACK, port), Handler)


def _among(known: Mapping[str, Any], name: object, what: str) -> Any:
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"{what} must be one that the page offers; got {name!r}"
            f"{suggestion(str(name), tuple(known))}"
        )
    return known[name]


class _Handler(BaseHTTPRequestHandler):
    content: bytes
    answers: Callable[[str, Mapping[str, Any]], dict[str, Any]]

    def do_GET(self) -> None:
        if not self._is_ours():
            self._say({"error": "ask this server by its own address"}, HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._send(self.content, "text/html; charset=utf-8", HTTPStatus.OK)
        else:
            self._say({"error": f"nothing is at {self.path}"}, HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        json_is_said = self.headers.get("Content-Type", "").partition(";")[0] == "application/json"
        if not self._is_ours() or not json_is_said:
            self._say({"error": "only the page itself may ask"}, HTTPStatus.FORBIDDEN)
            return
        try:
            self._say(type(self).answers(self.path, self._question()), HTTPStatus.OK)
        except (ValueError, TypeError) as error:
            self._say({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    def _is_ours(self) -> bool:
        port = self.connection.getsockname()[1]
        return self.headers.get("Host") in (f"{LOOPBACK}:{port}", f"localhost:{port}")

    def _question(self) -> dict[str, Any]:
        size = int(self.headers.get("Content-Length", "0"))
        if not 0 < size <= _MOST_BYTES:
            self.rfile.read(min(max(size, 0), _UNREAD_BYTES))
            raise ValueError(f"a question must have 1 to {_MOST_BYTES} bytes; this has {size}")
        return json_object(self.rfile.read(size).decode(), where="question")

    def _say(self, content: Mapping[str, Any], status: HTTPStatus) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: what is asked is nobody else's business."""
