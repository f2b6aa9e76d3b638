"""The server: the page and the engine, for this computer and this page alone."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from experiments.planner.server import LOOPBACK, Engine, server
from tests.experiments.planner.pages import COMPUTERS, MACHINES, MODELS

JSON = {"Content-Type": "application/json"}
ASKED = {"model": MODELS[0], "machine": MACHINES[2].name}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    engine = Engine(computers=COMPUTERS, models=MODELS)
    with server("<p>the page", engine, port=0) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


def asked(port: int, path: str, content: object = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    body = None if content is None else json.dumps(content)
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    said = response.read().decode()
    connection.close()
    page = response.headers["Content-Type"].startswith("text/html")
    return response.status, said if page else json.loads(said)


def test_it_serves_the_page_and_nothing_else(port: int):
    assert asked(port, "/") == (200, "<p>the page")
    assert asked(port, "/etc/passwd") == (404, {"error": "nothing is at /etc/passwd"})


def test_it_listens_on_the_loopback_address_alone(port: int):
    engine = Engine(computers=(), models=())
    with server("", engine, port=0) as other:
        assert other.server_address[0] == "127.0.0.1"


def test_the_engine_answers(port: int):
    status, found = asked(port, "/exact", ASKED, **JSON)
    assert (status, found["fits"], found["source"]) == (200, True, "engine")


def test_a_config_is_read_and_then_known_by_name(port: int):
    status, found = asked(port, "/tables", {"config": CONFIG}, **JSON)
    assert (status, found["content"]["name"]) == (200, "pasted-1")
    status, found = asked(port, "/exact", {**ASKED, "model": "pasted-1"}, **JSON)
    assert (status, found["fits"]) == (200, True)


def test_a_preset_s_tables_are_told(port: int):
    status, found = asked(port, "/tables", {"model": MODELS[0]}, **JSON)
    assert (status, found["content"]["config"]["model_type"]) == (200, "opt")
    assert [own["cards"] for own in found["content"]["formats"]] == [1] * 4


def test_tables_of_several_cards_are_told_when_they_are_asked_for(port: int):
    status, found = asked(port, "/tables", {"model": MODELS[0], "cards": 2}, **JSON)
    assert (status, [own["cards"] for own in found["content"]["formats"]]) == (200, [2] * 4)
    status, found = asked(port, "/exact", {**ASKED, "cards": 2}, **JSON)
    assert (status, found["flags"].endswith("--devices 2")) == (200, True)


@pytest.mark.parametrize(
    ("path", "question", "message"),
    [
        ("/exact", {**ASKED, "model": "opt-125n"}, "model must be one that the page offers; .*did"),
        ("/exact", {**ASKED, "machine": 7}, "machine must be one that the page offers; got 7"),
        ("/exact", {**ASKED, "cards": 3}, "cards must be one of 1, 2, 4, 8; got '3'"),
        (
            "/exact",
            {**ASKED, "machine": MACHINES[0].name, "cards": 2},
            "machine with 2 cards must be one that the page offers",
        ),
        ("/exact", {**ASKED, "link": 0}, "link must be positive"),
        ("/exact", [], "question: must be a JSON object"),
        ("/tables", {"config": {"model_type": "llama"}}, "pasted-"),
        ("/other", {}, "questions go to /exact or /tables"),
    ],
)
def test_a_bad_question_is_answered_with_what_is_wrong(port, path, question, message):
    status, found = asked(port, path, question, **JSON)
    assert status == 400
    with pytest.raises(ValueError, match=message):
        raise ValueError(found["error"])


def test_another_site_cannot_ask(port: int):
    """A form sends no JSON unless the browser may, and a name that was rebound is another."""
    assert asked(port, "/exact", ASKED, **{"Content-Type": "text/plain"})[0] == 403
    assert asked(port, "/exact", ASKED, **JSON, Host="evil.example")[0] == 403
    assert asked(port, "/", Host="evil.example")[0] == 403


def test_a_question_has_a_size(port: int):
    status, found = asked(port, "/exact", "x" * (1 << 20), **JSON)
    assert (status, found["error"][:22]) == (400, "a question must have 1")
