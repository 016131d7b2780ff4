"""The chat's server, without its page: what other clients than that page can do to it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from quart_wshub import JWTUtils
from tests.examples.conftest import OPERATOR_KEY, SECRET
from tests.harness.clients import ClientConnection, closed_with, connect, envelope, recv_json
from tests.harness.server import ROOT, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator


def post(server: Server, path: str, body: object, *, key: str | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.post(server.url(path), content=content, headers=headers)


@contextmanager
def joined(server: Server, name: str, room: str = "lobby") -> Iterator[ClientConnection]:
    """Somebody with a token of `POST /login`, in a room."""
    token = post(server, "/login", {"name": name}).json()["token"]
    with connected(server, token) as client:
        client.send(envelope("room.join", room=room))
        assert next_of(client, "room.joined") == {"room": room}
        yield client


@contextmanager
def connected(server: Server, token: str) -> Iterator[ClientConnection]:
    with connect(server, "/ws", token=None, subprotocols=["bearer", token]) as client:
        yield client


def next_of(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The data of the next message of this type; what comes before it is dropped."""
    while (message := recv_json(client))["type"] != kind:
        pass
    data: dict[str, Any] = message["data"]
    return data


def people(presence: dict[str, Any]) -> dict[str, int]:
    return {room["name"]: room["people"] for room in presence["rooms"]}


def test_the_page_forbids_everything_foreign(chat: Server) -> None:
    answer = httpx.get(chat.url())
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    for file in ("chat.js", "connection.js", "session.js", "view.js", "chat.css", "icon.svg"):
        assert httpx.get(chat.url(f"/static/{file}")).status_code == 200


@pytest.mark.parametrize("name", ["Ada", "  Ada  Lovelace ", "Zoë", "李", "O'Neil-Smith 2.0", "x" * 24])
def test_a_login_gives_a_token_of_that_name(chat: Server, name: str) -> None:
    answer = post(chat, "/login", {"name": name})
    assert answer.status_code == 200
    tidy = " ".join(name.split())
    assert answer.json()["name"] == tidy
    assert JWTUtils(SECRET).decode(answer.json()["token"])["sub"] == tidy


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff",
        b"[]",
        {},
        {"name": ""},
        {"name": "   "},
        {"name": 7},
        {"name": "x" * 25},
        {"name": "<b>Ada</b>"},
        {"name": "a\u202eb"},
    ],
)
def test_a_bad_login_is_explained(chat: Server, body: object) -> None:
    answer = post(chat, "/login", body)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_a_body_that_is_too_big_is_refused(chat: Server) -> None:
    assert post(chat, "/login", {"name": "x" * 20_000}).status_code == 413


def test_a_name_is_taken_while_its_owner_is_online(chat: Server) -> None:
    with joined(chat, "Ada"), joined(chat, "Grace") as grace:
        assert post(chat, "/login", {"name": "aDA"}).status_code == 409
        assert next_of(grace, "presence")["users"] == ["Ada", "Grace"]


def test_a_connection_that_is_cut_is_told_to_the_others(chat: Server) -> None:
    with joined(chat, "Ada") as ada, joined(chat, "Grace", "engines") as grace:
        grace.send(envelope("room.join", room="lobby"))
        assert next_of(ada, "member.joined") == {"room": "lobby", "user": "Grace"}
        grace.socket.close()
        assert next_of(ada, "member.left") == {"room": "lobby", "user": "Grace"}
        presence = next_of(ada, "presence")
        assert presence["users"] == ["Ada"]
        assert people(presence) == {"lobby": 1, "random": 0, "help": 0}


def test_a_connection_that_the_server_closes_is_told_to_the_others(chat: Server) -> None:
    with joined(chat, "Ada") as ada, joined(chat, "Grace") as grace:
        grace.send("x" * 70_000)
        assert closed_with(grace)[0] == 1009
        assert next_of(ada, "member.left") == {"room": "lobby", "user": "Grace"}
        assert next_of(ada, "presence")["users"] == ["Ada"]


def test_two_connections_of_one_person_are_one_person(chat: Server) -> None:
    token = post(chat, "/login", {"name": "Ada"}).json()["token"]
    with joined(chat, "Grace") as grace:
        with connected(chat, token) as first, connected(chat, token) as second:
            for client in (first, second):
                client.send(envelope("room.join", room="lobby"))
                assert next_of(client, "room.joined") == {"room": "lobby"}
                assert people(next_of(client, "presence"))["lobby"] == 2
            second.send(envelope("room.leave", room="lobby"))
            assert next_of(second, "room.left") == {"room": "lobby"}
            first.send(envelope("chat.send", room="lobby", text="Still here"))
            seen = []
            while (message := recv_json(grace))["type"] != "chat.message":
                seen.append(message["type"])
            assert seen.count("member.joined") == 1
            assert "member.left" not in seen
        assert next_of(grace, "member.left") == {"room": "lobby", "user": "Ada"}


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ("not JSON", "not JSON"),
        ("[]", "not an envelope"),
        ('{"type": ""}', "not an envelope"),
        (b"binary", "text message"),
        (envelope("dance", "7"), "unknown type"),
        (envelope("room.join", "7"), "room: Field required"),
        (envelope("room.join", "7", room=["lobby"]), "room: Input should be a valid string"),
        (envelope("room.join", "7", room="two words"), "letters, digits"),
        (envelope("chat.send", "7", room="lobby", text=" "), "text: "),
        (envelope("chat.send", "7", room="lobby", text="x" * 2001), "text: "),
        (envelope("chat.send", "7", room="secret", text="psst"), "join secret before"),
    ],
)
def test_nonsense_is_answered_and_nothing_else_happens(chat: Server, sent: str | bytes, says: str) -> None:
    with joined(chat, "Ada") as ada:
        ada.send(sent)
        while (message := recv_json(ada))["type"] != "error":
            pass
        assert says in message["data"]["message"]
        assert message["request_id"] == ("7" if '"7"' in str(sent) else None)
        ada.send(envelope("chat.send", room="lobby", text="Never mind"))
        assert next_of(ada, "chat.message")["text"] == "Never mind"


def test_the_operator_reaches_everyone(chat: Server) -> None:
    with joined(chat, "Ada") as ada, joined(chat, "Grace", "engines") as grace:
        answer = post(chat, "/announce", {"text": "Lunch!"}, key=OPERATOR_KEY)
        assert (answer.status_code, answer.json()) == (200, {"delivered": 2})
        assert next_of(ada, "announcement") == next_of(grace, "announcement") == {"text": "Lunch!"}


def test_nobody_else_can_announce(chat: Server) -> None:
    for value in (b"Bearer", b"Bearer guessed", b"Bearer \xff", OPERATOR_KEY.encode()):
        headers = {b"Authorization": value}
        assert httpx.post(chat.url("/announce"), json={"text": "Lunch!"}, headers=headers).status_code == 401
    assert post(chat, "/announce", {"text": "Lunch!"}).status_code == 401
    assert post(chat, "/announce", {"text": ""}, key=OPERATOR_KEY).status_code == 422


def test_without_configuration_it_runs_and_announcements_are_off() -> None:
    with run_server("app:app", cwd=ROOT / "examples/chat") as server, joined(server, "Ada"):
        answer = post(server, "/announce", {"text": "Lunch!"}, key="None")
        assert answer.status_code == 403
        assert "CHAT_OPERATOR_KEY" in answer.json()["error"]
        assert "Traceback" not in server.log()
