"""The smallest app: it works as printed, and it is what the README prints."""

from __future__ import annotations

import json
import re
from uuid import uuid4

from quart_wshub import JWTUtils
from tests.examples.conftest import SECRET
from tests.harness.clients import closed_with, connect, envelope, recv_json
from tests.harness.server import ROOT, Server, run_server

DEVELOPMENT_SECRET = "for-development-only-0123456789abcdef"

SECRET_LINES = re.compile(r"^(import os|tokens = JWTUtils\(.*)\n", re.MULTILINE)


def test_it_is_the_program_that_the_readme_prints() -> None:
    printed = re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert printed is not None, "README.md has no ```python block"
    program = (ROOT / "examples/minimal/app.py").read_text()
    # A secret does not stand in a README, and the program reads its own from the environment.
    assert SECRET_LINES.sub("", program) == SECRET_LINES.sub("", printed[1])


def test_two_users_chat_in_a_room(minimal: Server) -> None:
    tokens = JWTUtils(SECRET)
    ada, grace, linus = (uuid4() for _ in range(3))
    with (
        connect(minimal, "/ws", token=tokens.encode(ada)) as first,
        connect(minimal, "/ws", token=None, subprotocols=["bearer", tokens.encode(grace)]) as second,
        connect(minimal, "/ws", token=tokens.encode(linus)) as elsewhere,
    ):
        assert second.subprotocol == "bearer"
        for client, topic in ((first, "engines"), (second, "engines"), (elsewhere, "kernels")):
            client.send(envelope("subscribe", topic=topic))
            # Messages of one client are taken in order, so this comes back once the subscription stands.
            client.send(envelope("chat.message", room=topic, text="I am here"))
            assert recv_json(client)["data"]["text"] == "I am here"
        assert recv_json(first)["data"] == {"from": str(grace), "text": "I am here"}

        first.send(envelope("chat.message", room="engines", text="Hello!"))
        hello = {"type": "chat.message", "data": {"from": str(ada), "text": "Hello!"}, "request_id": None}
        assert recv_json(second) == recv_json(first) == hello
        elsewhere.send(json.dumps({"type": "chat.message", "data": {"room": "kernels", "text": "Still alone"}}))
        assert recv_json(elsewhere)["data"]["text"] == "Still alone"


def test_a_token_that_it_did_not_issue_is_refused(minimal: Server) -> None:
    forged = JWTUtils("another secret than that of the server").encode(uuid4())
    not_a_user = JWTUtils(SECRET).encode("ada")
    for token in (forged, not_a_user, "no token at all", None):
        with connect(minimal, "/ws", token=token, hello=True) as client:
            assert closed_with(client)[0] == 4401


def test_it_runs_without_any_configuration() -> None:
    with (
        run_server("app:app", cwd=ROOT / "examples/minimal") as server,
        connect(server, "/ws", token=JWTUtils(DEVELOPMENT_SECRET).encode(uuid4()), hello=True) as client,
    ):
        assert recv_json(client)["type"] == "hello"
